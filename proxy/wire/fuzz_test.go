package wire

import (
	"bytes"
	"testing"
)

// Each decoder has a target. None may panic or look outside its slice (the capacity ends with the body, so that doing so
// panics), and what was accepted, built again, gives the same bytes: nothing was misread.

// fuzz runs f on bodies whose capacity is their length.
func fuzz(f *testing.F, check func(t *testing.T, body []byte)) {
	f.Fuzz(func(t *testing.T, body []byte) { check(t, body[:len(body):len(body)]) })
}

func same(t *testing.T, body, built []byte) {
	t.Helper()
	if !bytes.Equal(body, Body(built)) {
		t.Fatalf("%q was read as %q", body, Body(built))
	}
}

func collect(v Values) [][]byte {
	var all [][]byte
	n := v.Len()
	for x, ok := v.Next(); ok; x, ok = v.Next() {
		all = append(all, x)
	}
	if len(all) != n {
		panic("Len is wrong")
	}
	return all
}

func codes(f Formats) []int16 {
	var all []int16
	for i := range f.Len() {
		all = append(all, f.At(i))
	}
	return all
}

func oids(o OIDs) []uint32 {
	var all []uint32
	for i := range o.Len() {
		all = append(all, o.At(i))
	}
	return all
}

func FuzzFrame(f *testing.F) {
	f.Fuzz(func(t *testing.T, buf []byte) {
		_, n, err := Frame(buf)
		if err == nil && len(buf) >= HeaderLen && (n < HeaderLen || n > MaxMessageLength+1) {
			t.Fatal(n)
		}
		Body(buf)
	})
}

func FuzzParse(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if p, err := DecodeParse(body); err == nil {
			same(t, body, AppendParse(nil, string(p.Name), string(p.Query), oids(p.ParamTypes)...))
			again, err := AppendParseAs(nil, p, p.Name)
			if err != nil {
				t.Fatal(err)
			}
			same(t, body, again)
		}
	})
}

func FuzzBind(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		portal, statement, n := DecodeBindNames(body)
		b, err := DecodeBind(body)
		if err != nil {
			return
		}
		if !bytes.Equal(b.Portal, portal) || !bytes.Equal(b.Statement, statement) || !bytes.Equal(b.Rest(), body[n:]) {
			t.Fatal("the names differ from those of the beginning")
		}
		same(t, body, AppendBind(nil, string(portal), string(statement), codes(b.ParamFormats), collect(b.Params), codes(b.ResultFormats)))
		again, err := AppendBindAs(nil, b, portal, statement)
		if err != nil {
			t.Fatal(err)
		}
		same(t, body, again)
	})
}

func FuzzDescribe(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if n, err := DecodeDescribe(body); err == nil {
			same(t, body, AppendDescribeAs(nil, n.Object, n.Name))
		}
	})
}

func FuzzClose(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if n, err := DecodeClose(body); err == nil {
			same(t, body, AppendCloseAs(nil, n.Object, n.Name))
		}
	})
}

func FuzzExecute(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if e, err := DecodeExecute(body); err == nil {
			same(t, body, AppendExecuteAs(nil, e, e.Portal))
		}
	})
}

func FuzzQuery(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if q, err := DecodeQuery(body); err == nil {
			same(t, body, AppendQuery(nil, string(q)))
		}
	})
}

func FuzzFunctionCall(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if c, err := DecodeFunctionCall(body); err == nil {
			same(t, body, AppendFunctionCall(nil, c.Function, codes(c.ArgFormats), collect(c.Args), c.ResultFormat))
		}
	})
}

func FuzzSASLInitialResponse(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if r, err := DecodeSASLInitialResponse(body); err == nil {
			same(t, body, AppendSASLInitialResponse(nil, string(r.Mechanism), r.Response))
		}
	})
}

func FuzzAuthentication(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		a, err := DecodeAuthentication(body)
		if err != nil {
			return
		}
		same(t, body, AppendAuthentication(nil, a.Kind, a.Data))
		list, err := a.Mechanisms()
		if a.Kind != AuthSASL || err != nil {
			return
		}
		var names []string
		for m, ok := list.Next(); ok; m, ok = list.Next() {
			names = append(names, string(m))
		}
		same(t, body, AppendAuthenticationSASL(nil, names...))
	})
}

func FuzzParameterStatus(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if name, value, err := DecodeParameterStatus(body); err == nil {
			same(t, body, AppendParameterStatus(nil, string(name), string(value)))
		}
	})
}

func FuzzBackendKeyData(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if pid, secret, err := DecodeBackendKeyData(body); err == nil {
			same(t, body, AppendBackendKeyData(nil, pid, secret))
		}
	})
}

func FuzzReadyForQuery(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if status, err := DecodeReadyForQuery(body); err == nil {
			same(t, body, AppendReadyForQuery(nil, status))
		}
	})
}

func FuzzParameterDescription(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if o, err := DecodeParameterDescription(body); err == nil {
			same(t, body, AppendParameterDescription(nil, oids(o)...))
		}
	})
}

func FuzzRowDescription(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		r, err := DecodeRowDescription(body)
		if err != nil {
			return
		}
		var columns []Column
		n := r.Len()
		for v, ok := r.Next(); ok; v, ok = r.Next() {
			columns = append(columns, Column{string(v.Name), v.TableOID, v.TableColumn, v.TypeOID, v.TypeSize, v.TypeModifier, v.Format})
		}
		if len(columns) != n {
			t.Fatal("Len is wrong")
		}
		same(t, body, AppendRowDescription(nil, columns...))
	})
}

func FuzzDataRow(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if v, err := DecodeDataRow(body); err == nil {
			same(t, body, AppendDataRow(nil, collect(v)...))
		}
	})
}

func FuzzCopyResponse(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if r, err := DecodeCopyResponse(body); err == nil {
			same(t, body, AppendCopyInResponse(nil, int16(r.Format), codes(r.Columns)...))
		}
	})
}

func FuzzNotification(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		if n, err := DecodeNotification(body); err == nil {
			same(t, body, AppendNotificationResponse(nil, n.PID, string(n.Channel), string(n.Payload)))
		}
	})
}

func FuzzNegotiateProtocolVersion(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		protocol, list, err := DecodeNegotiateProtocolVersion(body)
		if err != nil {
			return
		}
		var names []string
		for s, ok := list.Next(); ok; s, ok = list.Next() {
			names = append(names, string(s))
		}
		same(t, body, AppendNegotiateProtocolVersion(nil, protocol, names...))
	})
}

func FuzzError(f *testing.F) {
	fuzz(f, func(t *testing.T, body []byte) {
		e, err := DecodeError(body)
		ErrorField(body, 'C')
		if err != nil {
			return
		}
		// Built again, the fields may come in another order, and of two with one type the last is left; but a second time
		// nothing changes any more.
		once := AppendErrorResponse(nil, e)
		f, err := DecodeError(Body(once))
		if err != nil {
			t.Fatal(err)
		}
		if twice := AppendErrorResponse(nil, f); !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q", once, twice)
		}
	})
}

func FuzzStartup(f *testing.F) {
	fuzz(f, func(t *testing.T, packet []byte) {
		s, err := DecodeStartup(packet)
		if err != nil {
			return
		}
		var built []byte
		switch {
		case s.Code == CodeCancelRequest:
			built = AppendCancelRequest(nil, s.PID, s.Secret)
		case s.Code>>16 == 3:
			built = AppendStartup(nil, s.Code, s.Params())
		default:
			return
		}
		if !bytes.Equal(packet, built[4:]) {
			t.Fatalf("%q was read as %q", packet, built[4:])
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := NewReader(bytes.NewReader(stream))
		if _, err := r.Startup(); err != nil {
			return
		}
		for {
			if _, _, err := r.Message(1000); err != nil {
				return
			}
		}
	})
}
