package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// stranger is an Admitter that knows nobody.
func stranger(timeout time.Duration) *Admitter {
	return NewAdmitter(AdmitConfig{Verifiers: noone{}, Nodes: func() []backend.Target { return nil }, Timeout: timeout})
}

func startup(code uint32, params ...string) []byte {
	var list []wire.Param
	for i := 0; i < len(params); i += 2 {
		list = append(list, wire.Param{Name: params[i], Value: params[i+1]})
	}
	return wire.AppendStartup(nil, code, list)
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// answer is what the Admitter says to a client that sends all this and then half-closes.
func answer(t *testing.T, d *door, sent []byte) string {
	t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		conn.Write(sent)
		conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	return string(got)
}

func TestGarbage(t *testing.T) {
	d := open(t, stranger(0))
	ssl := wire.AppendSSLRequest(nil)
	u := startup(wire.Protocol30, "user", "u")
	first := wire.AppendSASLInitialResponse(nil, auth.MechanismSCRAM, []byte("n,,n=,r=abc"))
	for _, tt := range []struct {
		name string
		sent []byte
		code string // of the FATAL error; "": nothing is said
		text string
	}{
		{"nothing", nil, "", ""},
		{"one byte", []byte{0}, "08P01", "incomplete startup packet"},
		{"half a packet", u[:9], "08P01", "incomplete startup packet"},
		{"length 0", []byte{0, 0, 0, 0}, "08P01", "invalid length of startup packet"},
		{"length 7", []byte{0, 0, 0, 7, 0, 3, 0}, "08P01", "invalid length of startup packet"},
		{"2 GB", []byte{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0}, "08P01", "invalid length of startup packet"},
		{"4 GB", []byte{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0}, "08P01", "invalid length of startup packet"},
		{"too long", startup(wire.Protocol30, "user", strings.Repeat("u", wire.MaxStartup)), "08P01", "invalid length of startup packet"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "08P01", "invalid length of startup packet"},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "", ""},
		{"protocol 2", startup(2<<16, "user", "u"), "0A000", "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"},
		{"protocol 4", startup(4<<16, "user", "u"), "0A000", "unsupported frontend protocol 4.0: server supports 3.0 to 3.2"},
		{"no parameters", startup(wire.Protocol30), "28000", "no PostgreSQL user name specified in startup packet"},
		{"no user", startup(wire.Protocol30, "database", "d"), "28000", "no PostgreSQL user name specified in startup packet"},
		{"empty user", startup(wire.Protocol30, "user", ""), "28000", "no PostgreSQL user name specified in startup packet"},
		{"no terminator", []byte("\x00\x00\x00\x0e\x00\x03\x00\x00user\x00u"), "08P01", "expected terminator as last byte"},
		{"replication", startup(wire.Protocol30, "user", "u", "replication", "true"), "0A000", "replication connections are not supported"},
		{"logical replication", startup(wire.Protocol30, "user", "u", "replication", "database"), "0A000", "replication connections are not supported"},
		{"replication, as nobody says it", startup(wire.Protocol30, "user", "u", "replication", "maybe"), "22023", `invalid value for parameter "replication": "maybe"`},
		{"no replication", cat(startup(wire.Protocol30, "user", "u", "replication", "off"), wire.AppendSync(nil)), "08P01", "expected SASL response"},
		{"SSL twice", cat(ssl, ssl), "08P01", "received unencrypted data after SSL request"},
		{"query instead of a password", cat(u, wire.AppendQuery(nil, "select 1")), "08P01", "expected SASL response, got message type 81"},
		{"a cleartext password", cat(u, wire.AppendPassword(nil, "secret")), "08P01", "insufficient data left in message"},
		{"another mechanism", cat(u, wire.AppendSASLInitialResponse(nil, "PLAIN", []byte("x"))), "08P01", "invalid SASL authentication mechanism"},
		{"channel binding", cat(u, wire.AppendSASLInitialResponse(nil, auth.MechanismSCRAMPlus, []byte("p=x"))), "08P01", "invalid SASL authentication mechanism"},
		{"malformed SCRAM", cat(u, wire.AppendSASLInitialResponse(nil, auth.MechanismSCRAM, []byte("hello"))), "08P01", "malformed SCRAM message"},
		{"a huge password message", cat(u, []byte("p\x7f\xff\xff\xff")), "08P01", "invalid message length"},
		{"a long password message", cat(u, []byte("p\x00\x01\x00\x00")), "08P01", "invalid message length"},
		{"a forged proof", cat(u, first, wire.AppendSASLResponse(nil, []byte("c=biws,r=abc,p=AAAA"))), "08P01", "invalid SCRAM response"},
		{"gone before the proof", cat(u, first), "", ""},
		{"gone before authentication", u, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := answer(t, d, tt.sent)
			_, refused := d.last(t)
			var r *Refusal
			if !errors.As(refused, &r) {
				t.Fatal(refused)
			}
			// What comes before it is 'N', the SASL request and the challenge.
			at := strings.Index(got, "SFATAL\x00VFATAL\x00C")
			if at >= 0 {
				at -= wire.HeaderLen
			}
			if tt.code == "" {
				if at >= 0 || r.Told != nil {
					t.Errorf("%q %v", got, r.Told)
				}
				return
			}
			if at < 0 {
				t.Fatalf("%q %v", got, refused)
			}
			msg := []byte(got[at:])
			if _, n, err := wire.Frame(msg); n != len(msg) || err != nil {
				t.Fatalf("%q", msg)
			}
			e, err := wire.DecodeError(wire.Body(msg))
			if err != nil || e.Severity != "FATAL" || e.Code != tt.code || !strings.Contains(e.Message, tt.text) {
				t.Errorf("%v %v", e, err)
			}
		})
	}
}

// in is a client that sends step by step, and after each step reads what is expected.
func in(t *testing.T, d *door, steps ...[]byte) (net.Conn, *wire.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	for _, s := range steps {
		conn.Write(s)
		var b [1]byte
		if _, err := io.ReadFull(conn, b[:]); err != nil || b[0] != 'N' {
			t.Fatalf("%q is answered by %q %v", s, b, err)
		}
	}
	return conn, wire.NewReader(conn)
}

func TestEncryptionRequestsMayFollowEachOtherOnce(t *testing.T) {
	d := open(t, stranger(0))
	ssl, gss, u := wire.AppendSSLRequest(nil), wire.AppendGSSENCRequest(nil), startup(wire.Protocol30, "user", "u")
	for name, steps := range map[string][][]byte{
		"none": {}, "SSL": {ssl}, "GSS": {gss}, "SSL, GSS": {ssl, gss}, "GSS, SSL": {gss, ssl},
	} {
		conn, r := in(t, d, steps...)
		conn.Write(u)
		if typ, body, err := r.Message(1000); typ != wire.MsgAuthentication || err != nil {
			t.Errorf("%s: %q %q %v", name, typ, body, err)
		}
		conn.Close()
		d.last(t)
	}
	for name, again := range map[string][]byte{"SSL": ssl, "GSS": gss} {
		conn, r := in(t, d, again)
		conn.Write(again)
		typ, body, err := r.Message(1000)
		if typ != wire.MsgErrorResponse || err != nil || string(wire.ErrorField(body, 'C')) != "0A000" ||
			!strings.HasPrefix(string(wire.ErrorField(body, 'M')), "unsupported frontend protocol 1234.") {
			t.Errorf("%s twice: %q %q %v", name, typ, body, err)
		}
		conn.Close()
		d.last(t)
	}
}

// HAZARDS 23: what was sent before the answer to SSLRequest is not read as if it came after.
func TestHazard23BytesBehindARequestForEncryption(t *testing.T) {
	d := open(t, stranger(0))
	for _, request := range [][]byte{wire.AppendSSLRequest(nil), wire.AppendGSSENCRequest(nil)} {
		got := answer(t, d, cat(request, startup(wire.Protocol30, "user", "u")))
		if !strings.HasPrefix(got, "NE") || !strings.Contains(got, "received unencrypted data after") {
			t.Errorf("%q", got)
		}
		if strings.Contains(got, auth.MechanismSCRAM) {
			t.Error("the bytes sent early were read")
		}
		d.last(t)
	}
}

func TestCancelRequest(t *testing.T) {
	d := open(t, stranger(0))
	long := bytes.Repeat([]byte{7}, 32)
	for _, secret := range [][]byte{[]byte("abcd"), long} {
		for _, steps := range [][][]byte{{}, {wire.AppendSSLRequest(nil)}} {
			conn, _ := in(t, d, steps...)
			conn.Write(wire.AppendCancelRequest(nil, 42, secret))
			if got, err := io.ReadAll(conn); err != nil || len(got) != 0 {
				t.Errorf("%q %v", got, err)
			}
			admitted, err := d.last(t)
			if err != nil || admitted.Cancel == nil || admitted.Cancel.PID != 42 || !bytes.Equal(admitted.Cancel.Secret, secret) ||
				admitted.User != "" {
				t.Errorf("%+v %v", admitted, err)
			}
		}
	}
}

func TestProtocolIsNegotiated(t *testing.T) {
	d := open(t, stranger(0))
	for _, tt := range []struct {
		name    string
		packet  []byte
		version uint32 // 0: nothing to negotiate
		unknown []string
	}{
		{"3.0", startup(wire.Protocol30, "user", "u"), 0, nil},
		{"3.2", startup(wire.Protocol32, "user", "u"), 0, nil},
		{"3.9", startup(3<<16|9, "user", "u"), wire.Protocol32, nil},
		{"3.9999, as libpq tries it", startup(3<<16|9999, "user", "u", "_pq_.test_protocol_negotiation", ""), wire.Protocol32, []string{"_pq_.test_protocol_negotiation"}},
		{"options", startup(wire.Protocol30, "user", "u", "_pq_.a", "1", "x", "y", "_pq_.b", "2"), wire.Protocol30, []string{"_pq_.a", "_pq_.b"}},
	} {
		conn, r := in(t, d)
		conn.Write(tt.packet)
		typ, body, err := r.Message(1000)
		if err != nil {
			t.Fatal(err)
		}
		if tt.version != 0 {
			version, unknown, err := wire.DecodeNegotiateProtocolVersion(body)
			if typ != wire.MsgNegotiateProtocolVersion || err != nil || version != tt.version || unknown.Len() != len(tt.unknown) {
				t.Errorf("%s: %q %q %v", tt.name, typ, body, err)
			}
			for _, want := range tt.unknown {
				if got, _ := unknown.Next(); string(got) != want {
					t.Errorf("%s: %q", tt.name, got)
				}
			}
			typ, _, _ = r.Message(1000)
		}
		if typ != wire.MsgAuthentication {
			t.Errorf("%s: %q", tt.name, typ)
		}
		conn.Close()
		d.last(t)
	}
}

// A client that says a little now and then must not stay for longer than one that says nothing.
func TestHazard27SlowClientsAreCut(t *testing.T) {
	const timeout = 60 * time.Millisecond
	d := open(t, stranger(timeout))
	u := startup(wire.Protocol30, "user", "u")
	for name, tt := range map[string]struct {
		atOnce []byte
		told   bool
	}{
		"in the startup packet":  {nil, false},
		"in the authentication":  {u, true},
		"in the second password": {cat(u, wire.AppendSASLInitialResponse(nil, auth.MechanismSCRAM, []byte("n,,n=,r=abc"))), true},
	} {
		conn, _ := in(t, d)
		conn.Write(tt.atOnce)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			drip := []byte("\x00\x00\x10\x00\x00\x03\x00\x00")
			if tt.atOnce != nil {
				drip = []byte("p\x00\x00\x01\x00")
			}
			for i := 0; ; i++ {
				b := byte('x')
				if i < len(drip) {
					b = drip[i]
				}
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond) // the client that is tested for
			}
		}()
		got, _ := io.ReadAll(conn)
		if told := bytes.Contains(got, []byte("C57014\x00Mcanceling authentication due to timeout\x00")); told != tt.told {
			t.Errorf("%s: %q", name, got)
		}
		conn.Close()
		<-stop
		if _, err := d.last(t); !errors.Is(err, errAdmitTimeout) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The client's first messages may come with its last one of the handshake. They belong to the session.
func TestEarlyMessagesAreLeftOver(t *testing.T) {
	a := NewAdmitter(AdmitConfig{AuthType: AuthTrust, Console: "freshet"})
	defer a.Close()
	client, server := tcpPair(t)
	query := wire.AppendQuery(nil, "show pools")
	client.Write(cat(startup(wire.Protocol30, "user", "u", "database", "freshet"), query))
	admitted, err := a.Admit(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	// Both were written at once, but TCP promises nothing.
	rest := make([]byte, len(query)-len(admitted.Leftover))
	server.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(server, rest); err != nil {
		t.Fatal(err)
	}
	if got := cat(admitted.Leftover, rest); !bytes.Equal(got, query) {
		t.Fatalf("%q", got)
	}
}

func TestSplitOptions(t *testing.T) {
	for _, tt := range []struct {
		options string
		want    []string
	}{
		{"", nil},
		{"  \t\n", nil},
		{"a b", []string{"a", "b"}},
		{" a  b ", []string{"a", "b"}},
		{`a\ b`, []string{"a b"}},
		{`a\\ b`, []string{`a\`, "b"}},
		{`a\\\ b`, []string{`a\ b`}},
		{`\`, []string{""}},
		{`a\`, []string{"a"}},
		{`\a`, []string{"a"}},
		{"a\vb\fc\rd", []string{"a", "b", "c", "d"}},
		{"a\u00a0b", []string{"a\u00a0b"}},
	} {
		if got := splitOptions(tt.options); strings.Join(got, "|") != strings.Join(tt.want, "|") || len(got) != len(tt.want) {
			t.Errorf("%q: %q", tt.options, got)
		}
	}
}

func FuzzOptions(f *testing.F) {
	for _, s := range []string{"", "-c a=b", `--a-b=c\ d`, "-S 1 -e -fs", `\`, "-", "--", "-c", "-c=", "-ee-ca=b", "- a=b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, options string) {
		q := startupRequest{options: options, params: []wire.Param{{Name: "LAST", Value: "x"}}}
		settings, err := q.settings()
		if err != nil {
			return
		}
		if n := len(settings); n == 0 || settings[n-1] != (wire.Param{Name: "last", Value: "x"}) {
			t.Fatalf("%q", settings)
		}
		for _, s := range settings {
			if s.Name == "" || lowerASCII(s.Name) != s.Name {
				t.Fatalf("%q", s)
			}
		}
	})
}

// FuzzAdmit sends anything to an Admitter. It must end, without having let anybody in.
func FuzzAdmit(f *testing.F) {
	u := startup(wire.Protocol30, "user", "u")
	f.Add([]byte{})
	f.Add(u)
	f.Add(cat(wire.AppendSSLRequest(nil), u))
	f.Add(cat(u, wire.AppendSASLInitialResponse(nil, auth.MechanismSCRAM, []byte("n,,n=,r=abc")), wire.AppendSASLResponse(nil, []byte("c=biws,r=abc,p=AAAA"))))
	f.Add(wire.AppendCancelRequest(nil, 1, []byte("abcd")))
	f.Add(startup(3<<16|9, "user", "u", "_pq_.x", "y", "options", "-c a=b"))
	f.Add(cat(wire.AppendSSLRequest(nil), clientHello(f)))
	f.Add(clientHello(f))
	f.Add([]byte("\x16\x03\x01\x00\x00"))
	plain := stranger(5 * time.Second)
	f.Cleanup(plain.Close)
	var current auth.TLS
	current.Store(newPapers(f).load(auth.TLSAllow))
	secure := NewAdmitter(AdmitConfig{Verifiers: noone{}, Nodes: plain.cfg.Nodes, Timeout: 5 * time.Second, TLS: &current})
	f.Cleanup(secure.Close)
	f.Fuzz(func(t *testing.T, sent []byte) {
		for _, a := range []*Admitter{plain, secure} {
			c := &scripted{in: bytes.NewReader(sent)}
			admitted, err := a.Admit(t.Context(), c)
			if err == nil && admitted.Cancel == nil {
				t.Fatalf("admitted: %+v", admitted)
			}
			if err != nil && !c.closed {
				t.Fatal("refused, and not closed")
			}
		}
	})
}

// clientHello is how a client begins a TLS handshake.
func clientHello(t testing.TB) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		tls.Client(client, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{auth.ALPN}}).Handshake()
	}()
	hello := make([]byte, 5)
	if _, err := io.ReadFull(server, hello); err != nil {
		t.Fatal(err)
	}
	hello = append(hello, make([]byte, int(hello[3])<<8|int(hello[4]))...)
	if _, err := io.ReadFull(server, hello[5:]); err != nil {
		t.Fatal(err)
	}
	return hello
}

// scripted is a connection whose peer has sent all it will send.
type scripted struct {
	in     *bytes.Reader
	closed bool
}

func (c *scripted) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (c *scripted) Close() error                     { c.closed = true; return nil }
func (c *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }
