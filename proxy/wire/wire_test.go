package wire

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestFrameRefusesImpossibleLengths(t *testing.T) {
	for _, tt := range []struct {
		name string
		buf  []byte
		typ  byte
		n    int
		err  error
	}{
		{"nothing", nil, 0, 0, nil},
		{"half a header", []byte{'Q', 0, 0, 0}, 0, 0, nil},
		{"header of an empty message", []byte{'S', 0, 0, 0, 4}, 'S', 5, nil},
		{"header alone", []byte{'Q', 0, 0, 1, 0}, 'Q', 257, nil},
		{"more than the message", []byte{'S', 0, 0, 0, 4, 'X'}, 'S', 5, nil},
		{"length 0", []byte{'Q', 0, 0, 0, 0}, 'Q', 0, ErrMessageLength},
		{"length 3", []byte{'Q', 0, 0, 0, 3}, 'Q', 0, ErrMessageLength},
		{"largest", []byte{'Q', 0x3f, 0xff, 0xff, 0xff}, 'Q', MaxMessageLength + 1, nil},
		{"too large", []byte{'Q', 0x40, 0, 0, 0}, 'Q', 0, ErrMessageLength},
		{"2 GB", []byte{'Q', 0x7f, 0xff, 0xff, 0xff}, 'Q', 0, ErrMessageLength},
		{"negative", []byte{'Q', 0xff, 0xff, 0xff, 0xff}, 'Q', 0, ErrMessageLength},
	} {
		typ, n, err := Frame(tt.buf)
		if typ != tt.typ || n != tt.n || err != error(tt.err) && !(err == nil && tt.err == nil) {
			t.Errorf("%s: %q %d %v", tt.name, typ, n, err)
		}
	}
}

// Messages of a client, built here and as pgx builds them.
var frontendMessages = []struct {
	name   string
	ours   []byte
	theirs pgproto3.FrontendMessage
}{
	{"Query", AppendQuery(nil, "select 1"), &pgproto3.Query{String: "select 1"}},
	{"empty Query", AppendQuery(nil, ""), &pgproto3.Query{}},
	{"Parse", AppendParse(nil, "s", "select $1, $2", 23, 0), &pgproto3.Parse{Name: "s", Query: "select $1, $2", ParameterOIDs: []uint32{23, 0}}},
	{"Bind", AppendBind(nil, "p", "s", []int16{0, 1}, [][]byte{[]byte("1"), nil}, []int16{1}),
		&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s", ParameterFormatCodes: []int16{0, 1},
			Parameters: [][]byte{[]byte("1"), nil}, ResultFormatCodes: []int16{1}}},
	{"Bind of nothing", AppendBind(nil, "", "", nil, nil, nil), &pgproto3.Bind{}},
	{"Bind of an empty value", AppendBind(nil, "", "", nil, [][]byte{{}}, nil), &pgproto3.Bind{Parameters: [][]byte{{}}}},
	{"Describe", AppendDescribe(nil, ObjectStatement, "s"), &pgproto3.Describe{ObjectType: 'S', Name: "s"}},
	{"Describe of a portal", AppendDescribe(nil, ObjectPortal, ""), &pgproto3.Describe{ObjectType: 'P'}},
	{"Close", AppendClose(nil, ObjectPortal, "p"), &pgproto3.Close{ObjectType: 'P', Name: "p"}},
	{"Execute", AppendExecute(nil, "p", 7), &pgproto3.Execute{Portal: "p", MaxRows: 7}},
	{"Sync", AppendSync(nil), &pgproto3.Sync{}},
	{"Flush", AppendFlush(nil), &pgproto3.Flush{}},
	{"Terminate", AppendTerminate(nil), &pgproto3.Terminate{}},
	{"CopyData", AppendCopyData(nil, []byte("1\t2\n")), &pgproto3.CopyData{Data: []byte("1\t2\n")}},
	{"CopyDone", AppendCopyDone(nil), &pgproto3.CopyDone{}},
	{"CopyFail", AppendCopyFail(nil, "no"), &pgproto3.CopyFail{Message: "no"}},
	{"FunctionCall", AppendFunctionCall(nil, 1598, []int16{1}, [][]byte{[]byte("ab"), nil}, 1),
		&pgproto3.FunctionCall{Function: 1598, ArgFormatCodes: []uint16{1}, Arguments: [][]byte{[]byte("ab"), nil}, ResultFormatCode: 1}},
	{"PasswordMessage", AppendPassword(nil, "secret"), &pgproto3.PasswordMessage{Password: "secret"}},
	{"SASLInitialResponse", AppendSASLInitialResponse(nil, "SCRAM-SHA-256", []byte("n,,n=,r=x")),
		&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: []byte("n,,n=,r=x")}},
	{"SASLResponse", AppendSASLResponse(nil, []byte("c=biws")), &pgproto3.SASLResponse{Data: []byte("c=biws")}},
	{"StartupMessage", AppendStartup(nil, Protocol30, []Param{{"user", "u"}}),
		&pgproto3.StartupMessage{ProtocolVersion: Protocol30, Parameters: map[string]string{"user": "u"}}},
	{"SSLRequest", AppendSSLRequest(nil), &pgproto3.SSLRequest{}},
	{"GSSENCRequest", AppendGSSENCRequest(nil), &pgproto3.GSSEncRequest{}},
	{"CancelRequest", AppendCancelRequest(nil, 7, []byte("abcd")), &pgproto3.CancelRequest{ProcessID: 7, SecretKey: []byte("abcd")}},
}

// Messages of a server, built here and as pgx builds them.
var backendMessages = []struct {
	name   string
	ours   []byte
	theirs pgproto3.BackendMessage
}{
	{"AuthenticationOk", AppendAuthenticationOk(nil), &pgproto3.AuthenticationOk{}},
	{"AuthenticationMD5Password", AppendAuthentication(nil, AuthMD5Password, []byte("salt")), &pgproto3.AuthenticationMD5Password{Salt: [4]byte([]byte("salt"))}},
	{"AuthenticationSASL", AppendAuthenticationSASL(nil, "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"),
		&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}}},
	{"AuthenticationSASLContinue", AppendAuthentication(nil, AuthSASLContinue, []byte("r=x")), &pgproto3.AuthenticationSASLContinue{Data: []byte("r=x")}},
	{"ParameterStatus", AppendParameterStatus(nil, "TimeZone", "UTC"), &pgproto3.ParameterStatus{Name: "TimeZone", Value: "UTC"}},
	{"BackendKeyData", AppendBackendKeyData(nil, 1, []byte{1, 2, 3, 4}), &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}}},
	{"BackendKeyData of 3.2", AppendBackendKeyData(nil, 1, bytes.Repeat([]byte{7}, 32)), &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: bytes.Repeat([]byte{7}, 32)}},
	{"ReadyForQuery", AppendReadyForQuery(nil, TxActive), &pgproto3.ReadyForQuery{TxStatus: 'T'}},
	{"ParseComplete", AppendParseComplete(nil), &pgproto3.ParseComplete{}},
	{"BindComplete", AppendBindComplete(nil), &pgproto3.BindComplete{}},
	{"CloseComplete", AppendCloseComplete(nil), &pgproto3.CloseComplete{}},
	{"NoData", AppendNoData(nil), &pgproto3.NoData{}},
	{"PortalSuspended", AppendPortalSuspended(nil), &pgproto3.PortalSuspended{}},
	{"EmptyQueryResponse", AppendEmptyQueryResponse(nil), &pgproto3.EmptyQueryResponse{}},
	{"CommandComplete", AppendCommandComplete(nil, "SELECT 1"), &pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")}},
	{"ParameterDescription", AppendParameterDescription(nil, 23, 25), &pgproto3.ParameterDescription{ParameterOIDs: []uint32{23, 25}}},
	{"RowDescription", AppendRowDescription(nil, Column{"a", 1, 2, 23, 4, -1, 1}, TextColumn("b")),
		&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{
			{Name: []byte("a"), TableOID: 1, TableAttributeNumber: 2, DataTypeOID: 23, DataTypeSize: 4, TypeModifier: -1, Format: 1},
			{Name: []byte("b"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}}},
	{"RowDescription of text", AppendTextRowDescription(nil, "a", ""),
		&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{
			{Name: []byte("a"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1},
			{Name: []byte{}, DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}}},
	{"DataRow", AppendDataRow(nil, []byte("1"), nil, []byte{}), &pgproto3.DataRow{Values: [][]byte{[]byte("1"), nil, {}}}},
	{"DataRow of text", AppendTextRow(nil, "1", ""), &pgproto3.DataRow{Values: [][]byte{[]byte("1"), {}}}},
	{"CopyInResponse", AppendCopyInResponse(nil, 1, 1, 1), &pgproto3.CopyInResponse{OverallFormat: 1, ColumnFormatCodes: []uint16{1, 1}}},
	{"CopyOutResponse", AppendCopyOutResponse(nil, 0, 0), &pgproto3.CopyOutResponse{ColumnFormatCodes: []uint16{0}}},
	{"NotificationResponse", AppendNotificationResponse(nil, 9, "c", "hi"), &pgproto3.NotificationResponse{PID: 9, Channel: "c", Payload: "hi"}},
}

func TestBuildersAgreeWithPgx(t *testing.T) {
	check := func(name string, ours []byte, encode func([]byte) ([]byte, error)) {
		theirs, err := encode(nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%s:\nours   %q\ntheirs %q", name, ours, theirs)
		}
	}
	for _, m := range frontendMessages {
		check(m.name, m.ours, m.theirs.Encode)
	}
	for _, m := range backendMessages {
		check(m.name, m.ours, m.theirs.Encode)
	}
}

func TestNegotiateProtocolVersion(t *testing.T) {
	m := AppendNegotiateProtocolVersion(nil, Protocol32, "_pq_.a", "_pq_.b")
	want := []byte("v\x00\x00\x00\x1a\x00\x03\x00\x02\x00\x00\x00\x02_pq_.a\x00_pq_.b\x00")
	if !bytes.Equal(m, want) {
		t.Fatalf("%q", m)
	}
	protocol, unknown, err := DecodeNegotiateProtocolVersion(Body(m))
	if err != nil || protocol != Protocol32 || unknown.Len() != 2 {
		t.Fatal(protocol, unknown, err)
	}
	a, _ := unknown.Next()
	b, _ := unknown.Next()
	_, more := unknown.Next()
	if string(a) != "_pq_.a" || string(b) != "_pq_.b" || more {
		t.Fatalf("%q %q %v", a, b, more)
	}
	// A count that the message can't hold must not be believed.
	if _, _, err := DecodeNegotiateProtocolVersion([]byte{0, 3, 0, 0, 0xff, 0xff, 0xff, 0xff, 0}); err == nil {
		t.Fatal("a count of 4 billion was believed")
	}
}

// decoders are all decoders of bodies, for the tests that hold for each.
var decoders = map[string]func(body []byte) error{
	"Parse":                     func(b []byte) error { _, err := DecodeParse(b); return err },
	"Bind":                      func(b []byte) error { _, err := DecodeBind(b); return err },
	"Describe":                  func(b []byte) error { _, err := DecodeDescribe(b); return err },
	"Close":                     func(b []byte) error { _, err := DecodeClose(b); return err },
	"Execute":                   func(b []byte) error { _, err := DecodeExecute(b); return err },
	"Query":                     func(b []byte) error { _, err := DecodeQuery(b); return err },
	"CopyFail":                  func(b []byte) error { _, err := DecodeCopyFail(b); return err },
	"PasswordMessage":           func(b []byte) error { _, err := DecodePassword(b); return err },
	"FunctionCall":              func(b []byte) error { _, err := DecodeFunctionCall(b); return err },
	"SASLInitialResponse":       func(b []byte) error { _, err := DecodeSASLInitialResponse(b); return err },
	"ParameterStatus":           func(b []byte) error { _, _, err := DecodeParameterStatus(b); return err },
	"BackendKeyData":            func(b []byte) error { _, _, err := DecodeBackendKeyData(b); return err },
	"ReadyForQuery":             func(b []byte) error { _, err := DecodeReadyForQuery(b); return err },
	"CommandComplete":           func(b []byte) error { _, err := DecodeCommandComplete(b); return err },
	"ParameterDescription":      func(b []byte) error { _, err := DecodeParameterDescription(b); return err },
	"RowDescription":            func(b []byte) error { _, err := DecodeRowDescription(b); return err },
	"DataRow":                   func(b []byte) error { _, err := DecodeDataRow(b); return err },
	"CopyInResponse":            func(b []byte) error { _, err := DecodeCopyResponse(b); return err },
	"NotificationResponse":      func(b []byte) error { _, err := DecodeNotification(b); return err },
	"AuthenticationMD5Password": func(b []byte) error { _, err := DecodeAuthentication(b); return err },
	"AuthenticationSASL": func(b []byte) error {
		a, err := DecodeAuthentication(b)
		if err == nil {
			_, err = a.Mechanisms()
		}
		return err
	},
}

func TestDecodersAreStrict(t *testing.T) {
	bodies := map[string][]byte{}
	for _, m := range frontendMessages {
		bodies[m.name] = Body(m.ours)
	}
	for _, m := range backendMessages {
		bodies[m.name] = Body(m.ours)
	}
	for name, decode := range decoders {
		body, ok := bodies[name]
		if !ok {
			t.Fatalf("no sample of %s", name)
		}
		if err := decode(body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range body {
			if name == "BackendKeyData" && n >= 8 {
				continue
			}
			if err := decode(body[:n:n]); err == nil {
				t.Errorf("%s: cut to %d of %d bytes, and no error", name, n, len(body))
			}
		}
		if name == "BackendKeyData" { // the secret may be longer
			continue
		}
		if err := decode(append(bytes.Clone(body), 0)); err == nil {
			t.Errorf("%s: a byte too many, and no error", name)
		}
	}
	if err := decoders["BackendKeyData"](make([]byte, 4+MaxCancelKey+1)); err == nil {
		t.Error("a secret of 257 bytes is accepted")
	}
}

func TestValuesTellNullFromEmpty(t *testing.T) {
	v, err := DecodeDataRow(Body(AppendDataRow(nil, []byte("x"), nil, []byte{})))
	if err != nil || v.Len() != 3 {
		t.Fatal(v, err)
	}
	x, _ := v.Next()
	null, ok1 := v.Next()
	empty, ok2 := v.Next()
	_, more := v.Next()
	if string(x) != "x" || null != nil || !ok1 || empty == nil || len(empty) != 0 || !ok2 || more {
		t.Fatalf("%q %v %v %v", x, null, empty, more)
	}
}

func TestNegativeValueLengthIsRefused(t *testing.T) {
	body := []byte{0, 1, 0xff, 0xff, 0xff, 0xfe} // -2
	if _, err := DecodeDataRow(body); err != ErrShortMessage {
		t.Fatal(err)
	}
}

func TestFormatsOf(t *testing.T) {
	for _, tt := range []struct {
		codes []int16
		want  [3]int16
	}{
		{nil, [3]int16{0, 0, 0}},
		{[]int16{1}, [3]int16{1, 1, 1}},
		{[]int16{0, 1, 0}, [3]int16{0, 1, 0}},
		{[]int16{1, 1}, [3]int16{1, 1, 0}},
	} {
		b, err := DecodeBind(Body(AppendBind(nil, "", "", tt.codes, nil, nil)))
		if err != nil {
			t.Fatal(err)
		}
		f := b.ParamFormats
		if got := [3]int16{f.Of(0), f.Of(1), f.Of(2)}; got != tt.want {
			t.Errorf("%v: %v", tt.codes, got)
		}
	}
}

func TestRenamingLeavesTheRest(t *testing.T) {
	bind, err := DecodeBind(Body(AppendBind(nil, "p", "s", []int16{1}, [][]byte{{0, 0, 0, 7}, nil}, []int16{1, 0})))
	if err != nil {
		t.Fatal(err)
	}
	got, err := AppendBindAs([]byte("before"), bind, []byte(""), []byte("other"))
	want := AppendBind([]byte("before"), "", "other", []int16{1}, [][]byte{{0, 0, 0, 7}, nil}, []int16{1, 0})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Bind: %q %v", got, err)
	}
	head, err := AppendBindHead(nil, []byte(""), []byte("other"), len(bind.Rest()))
	if err != nil || !bytes.Equal(append(head, bind.Rest()...), want[len("before"):]) {
		t.Errorf("Bind in two parts: %q %v", head, err)
	}
	parse, err := DecodeParse(Body(AppendParse(nil, "s", "select $1", 23, 25)))
	if err != nil {
		t.Fatal(err)
	}
	got, err = AppendParseAs(nil, parse, []byte("other"))
	if want := AppendParse(nil, "other", "select $1", 23, 25); err != nil || !bytes.Equal(got, want) {
		t.Errorf("Parse: %q %v", got, err)
	}
	if got := AppendDescribeAs(nil, ObjectStatement, []byte("o")); !bytes.Equal(got, AppendDescribe(nil, ObjectStatement, "o")) {
		t.Errorf("Describe: %q", got)
	}
	if got := AppendCloseAs(nil, ObjectPortal, []byte("o")); !bytes.Equal(got, AppendClose(nil, ObjectPortal, "o")) {
		t.Errorf("Close: %q", got)
	}
	if got := AppendExecuteAs(nil, Execute{MaxRows: 3}, []byte("o")); !bytes.Equal(got, AppendExecute(nil, "o", 3)) {
		t.Errorf("Execute: %q", got)
	}
}

// HAZARDS 27: a length above the limit must become an error, not a wrapped length.
func TestHazard27RenamingNeverMakesAMessageTooLong(t *testing.T) {
	before := []byte("before")
	got, err := AppendBindHead(before, nil, []byte("name"), MaxMessageLength-9)
	if !errors.Is(err, ErrTooLong) || string(got) != "before" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := AppendBindHead(before, nil, []byte("name"), MaxMessageLength-10); err != nil {
		t.Error(err)
	}
	if _, err := AppendBindHead(before, nil, nil, -1); err == nil {
		t.Error("a negative length is accepted")
	}
}

// HAZARDS 27: a NUL within a string would let its rest be read as the next field.
func TestHazard27StringsEndAtTheirNUL(t *testing.T) {
	if got, want := AppendParse(nil, "a\x00b", "select 1\x00; drop"), AppendParse(nil, "a", "select 1"); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got, want := AppendDescribeAs(nil, 'S', []byte("a\x00b")), AppendDescribe(nil, 'S', "a"); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got, want := AppendErrorResponse(nil, Errorf("42601", "x\x00Mforged")), AppendErrorResponse(nil, Errorf("42601", "x")); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestBindNamesOfABeginning(t *testing.T) {
	body := Body(AppendBind(nil, "portal", "stmt", nil, [][]byte{make([]byte, 100)}, nil))
	names := len("portal") + len("stmt") + 2
	for n := range body {
		portal, statement, got := DecodeBindNames(body[:n])
		if n < names {
			if got != 0 {
				t.Fatalf("names from %d bytes", n)
			}
			continue
		}
		if string(portal) != "portal" || string(statement) != "stmt" || got != names {
			t.Fatalf("%d bytes: %q %q %d", n, portal, statement, got)
		}
	}
}

func TestViewsCannotBeAppendedInto(t *testing.T) {
	body := Body(AppendBind(nil, "p", "s", nil, [][]byte{[]byte("value")}, nil))
	whole := bytes.Clone(body)
	b, _ := DecodeBind(body)
	v, _ := b.Params.Next()
	for _, view := range [][]byte{b.Portal, b.Statement, v, b.ParamFormats} {
		_ = append(view, "overwritten"...)
	}
	if !bytes.Equal(body, whole) {
		t.Fatal("an append to a view wrote into the message")
	}
}

func TestDecodersDoNotAllocate(t *testing.T) {
	bind := Body(AppendBind(nil, "p", "s", []int16{0}, [][]byte{[]byte("1"), []byte("2")}, []int16{0}))
	parse := Body(AppendParse(nil, "s", "select $1", 23))
	row := Body(AppendTextRow(nil, "a", "b"))
	desc := Body(AppendTextRowDescription(nil, "a", "b"))
	failure := Body(AppendErrorResponse(nil, Errorf("25006", "no")))
	dst := make([]byte, 0, 1024)
	name := []byte("other")
	if n := testing.AllocsPerRun(100, func() {
		b, err := DecodeBind(bind)
		for v, ok := b.Params.Next(); ok; v, ok = b.Params.Next() {
			_ = v
		}
		p, err2 := DecodeParse(parse)
		r, err3 := DecodeDataRow(row)
		d, err4 := DecodeRowDescription(desc)
		if err != nil || err2 != nil || err3 != nil || err4 != nil || r.Len() != 2 || d.Len() != 2 {
			panic("broken")
		}
		if string(ErrorField(failure, 'C')) != "25006" {
			panic("broken")
		}
		out, _ := AppendBindAs(dst, b, nil, name)
		out, _ = AppendParseAs(out, p, name)
		AppendReadyForQuery(AppendDescribeAs(out, 'S', name), TxIdle)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestErrorsKeepAllFields(t *testing.T) {
	e := &Error{
		Severity: "ERROR", Localized: "FEHLER", Code: "23505", Message: "m", Detail: "d", Hint: "h", Position: "1",
		InternalPosition: "2", InternalQuery: "q", Where: "w", Schema: "s", Table: "t", Column: "c", DataType: "y",
		Constraint: "n", File: "f", Line: "l", Routine: "r", Unknown: []Field{{'x', "new"}, {'y', ""}},
	}
	body := Body(AppendErrorResponse(nil, e))
	got, err := DecodeError(body)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Fatalf("%+v %v", got, err)
	}
	var theirs pgproto3.ErrorResponse
	if err := theirs.Decode(body); err != nil || theirs.Severity != "FEHLER" || theirs.SeverityUnlocalized != "ERROR" ||
		theirs.Code != "23505" || theirs.Routine != "r" || theirs.UnknownFields['x'] != "new" {
		t.Fatalf("pgx reads %+v %v", theirs, err)
	}
}

// HAZARDS 27: a server's error without SQLSTATE must reach clients with one.
func TestHazard27ErrorWithoutSQLSTATE(t *testing.T) {
	e, err := DecodeError([]byte("SERROR\x00Mbroken\x00\x00"))
	if err != nil || e.Severity != "ERROR" {
		t.Fatal(e, err)
	}
	body := Body(AppendErrorResponse(nil, e))
	for typ, want := range map[byte]string{'S': "ERROR", 'V': "ERROR", 'C': "XX000", 'M': "broken"} {
		if got := ErrorField(body, typ); string(got) != want {
			t.Errorf("%c is %q", typ, got)
		}
	}
	empty, err := DecodeError([]byte{0})
	if err != nil {
		t.Fatal(err)
	}
	if m := ErrorField(Body(AppendErrorResponse(nil, empty)), 'M'); len(m) == 0 {
		t.Error("no message")
	}
}

func TestMalformedErrors(t *testing.T) {
	for _, body := range []string{"", "S", "SERROR", "SERROR\x00", "SERROR\x00\x00more"} {
		if e, err := DecodeError([]byte(body)); err == nil {
			t.Errorf("%q: %+v", body, e)
		}
	}
}

func TestFrontendLimits(t *testing.T) {
	for _, tt := range []struct {
		typ  byte
		want int
	}{{'Q', MaxMessageLength}, {'d', MaxMessageLength}, {'S', MaxSmallMessage}, {'D', MaxSmallMessage}, {'p', 0}, {'Z', 0}, {0, 0}} {
		if got := FrontendLimit(tt.typ); got != tt.want {
			t.Errorf("%q: %d", tt.typ, got)
		}
	}
}
