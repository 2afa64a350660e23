package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"testing"
	"testing/iotest"
)

func packet(code uint32, rest string) []byte { return append(appendUint32(nil, code), rest...) }

func TestDecodeStartup(t *testing.T) {
	for _, tt := range []struct {
		name   string
		packet []byte
		want   Startup
		params []Param
		err    *Error
	}{
		{"3.0", packet(Protocol30, "user\x00u\x00database\x00d\x00\x00"), Startup{Code: Protocol30}, []Param{{"user", "u"}, {"database", "d"}}, nil},
		{"3.2", packet(Protocol32, "user\x00u\x00\x00"), Startup{Code: Protocol32}, []Param{{"user", "u"}}, nil},
		{"order and repetition are kept", packet(Protocol30, "b\x001\x00a\x002\x00b\x003\x00\x00"), Startup{Code: Protocol30}, []Param{{"b", "1"}, {"a", "2"}, {"b", "3"}}, nil},
		{"empty value", packet(Protocol30, "user\x00\x00\x00"), Startup{Code: Protocol30}, []Param{{"user", ""}}, nil},
		{"no parameters", packet(Protocol30, "\x00"), Startup{Code: Protocol30}, nil, nil},
		{"no terminator", packet(Protocol30, "user\x00u\x00"), Startup{}, nil, ErrStartupTerminator},
		{"nothing", packet(Protocol30, ""), Startup{}, nil, ErrStartupTerminator},
		{"a name without a value", packet(Protocol30, "user\x00"), Startup{}, nil, ErrStartupTerminator},
		{"a name without an end", packet(Protocol30, "user"), Startup{}, nil, ErrStartupTerminator},
		{"terminator too early", packet(Protocol30, "user\x00u\x00\x00more\x00x\x00\x00"), Startup{}, nil, ErrStartupTerminator},
		{"too short", []byte{0, 3, 0}, Startup{}, nil, ErrStartupLength},
		{"too long", make([]byte, MaxStartup+1), Startup{}, nil, ErrStartupLength},
		{"SSLRequest", packet(CodeSSLRequest, ""), Startup{Code: CodeSSLRequest}, nil, nil},
		{"CancelRequest", packet(CodeCancelRequest, "\x00\x00\x00\x07abcd"), Startup{Code: CodeCancelRequest, PID: 7, Secret: []byte("abcd")}, nil, nil},
		{"CancelRequest without key", packet(CodeCancelRequest, "\x00\x00\x00\x07"), Startup{}, nil, ErrCancelKeyLength},
		{"CancelRequest without pid", packet(CodeCancelRequest, "\x00\x00"), Startup{}, nil, ErrCancelLength},
		{"CancelRequest with a huge key", packet(CodeCancelRequest, "\x00\x00\x00\x07"+string(make([]byte, 257))), Startup{}, nil, ErrCancelKeyLength},
		{"2.0", packet(2<<16, "anything"), Startup{Code: 2 << 16}, nil, nil},
	} {
		s, err := DecodeStartup(tt.packet)
		if tt.err != nil {
			if err != error(tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		params := s.Params()
		s.params = nil
		if err != nil || !reflect.DeepEqual(s, tt.want) || !reflect.DeepEqual(params, tt.params) {
			t.Errorf("%s: %+v %v %v", tt.name, s, params, err)
		}
	}
}

func TestReaderTakesMessagesApart(t *testing.T) {
	stream := append(AppendSSLRequest(nil), AppendStartup(nil, Protocol30, []Param{{"user", "u"}})...)
	stream = AppendSync(AppendPassword(stream, "secret"))
	for name, in := range map[string]io.Reader{
		"at once":      bytes.NewReader(stream),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
	} {
		r := NewReader(in)
		ssl, err := r.Startup()
		if err != nil || !bytes.Equal(ssl, packet(CodeSSLRequest, "")) {
			t.Fatalf("%s: %q %v", name, ssl, err)
		}
		startup, err := r.Startup()
		if err != nil || !bytes.Equal(startup, packet(Protocol30, "user\x00u\x00\x00")) {
			t.Fatalf("%s: %q %v", name, startup, err)
		}
		typ, body, err := r.Message(100)
		if typ != MsgPasswordMessage || string(body) != "secret\x00" || err != nil {
			t.Fatalf("%s: %q %q %v", name, typ, body, err)
		}
		if name == "at once" && !bytes.Equal(r.Leftover(), AppendSync(nil)) {
			t.Fatalf("leftover %q", r.Leftover())
		}
		if typ, body, err = r.Message(100); typ != MsgSync || len(body) != 0 || err != nil {
			t.Fatalf("%s: %q %q %v", name, typ, body, err)
		}
		if _, _, err = r.Message(100); err != io.EOF {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestReaderErrors(t *testing.T) {
	startup := func(in string) error { _, err := NewReader(bytes.NewReader([]byte(in))).Startup(); return err }
	message := func(in string) error { _, _, err := NewReader(bytes.NewReader([]byte(in))).Message(100); return err }
	for _, tt := range []struct {
		name string
		err  error
		want error
	}{
		{"nothing", startup(""), ErrNoStartup},
		{"two bytes", startup("\x00\x00"), ErrStartupIncomplete},
		{"half", startup("\x00\x00\x00\x09\x00\x03"), ErrStartupIncomplete},
		{"length 0", startup("\x00\x00\x00\x00"), ErrStartupLength},
		{"length 7", startup("\x00\x00\x00\x07\x00\x03\x00"), ErrStartupLength},
		{"length 10005", startup("\x00\x00\x27\x15"), ErrStartupLength},
		{"2 GB", startup("\x7f\xff\xff\xff"), ErrStartupLength},
		{"negative", startup("\xff\xff\xff\xff"), ErrStartupLength},
		{"HTTP", startup("GET / HTTP/1.1\r\n"), ErrStartupLength},
		{"no message", message(""), io.EOF},
		{"half a header", message("p\x00"), io.ErrUnexpectedEOF},
		{"half a message", message("p\x00\x00\x00\x09abc"), io.ErrUnexpectedEOF},
		{"message over its limit", message("p\x00\x00\x00\x65"), ErrMessageLength},
		{"message of 1 GB", message("p\x40\x00\x00\x00"), ErrMessageLength},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
}

// HAZARDS 21: a length is not believed: memory grows with what arrived.
func TestHazard21ReaderDoesNotReserveWhatIsClaimed(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := NewReader(bytes.NewReader([]byte("d\x3f\xff\xff\xff some"))).Message(MaxMessageLength)
	runtime.ReadMemStats(&after)
	if err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Fatalf("%d bytes allocated", n)
	}
}
