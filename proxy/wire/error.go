package wire

import (
	"bytes"
	"fmt"
)

// Field is one field of an ErrorResponse or NoticeResponse that Error has no name for.
type Field struct {
	Type  byte
	Value string
}

// Error is an ErrorResponse or a NoticeResponse. All fields are kept, so that a server's error can be passed on word
// for word. Treat it as immutable.
type Error struct {
	// Severity is not localised: ERROR, FATAL, PANIC; WARNING, NOTICE, DEBUG, INFO, LOG in a notice.
	Severity string
	// Localized is the severity in the server's language; empty: the same as Severity.
	Localized string
	// Code is the SQLSTATE.
	Code    string
	Message string
	Detail  string
	Hint    string
	// Position and InternalPosition are decimal numbers of characters, from 1, as the server sent them; else empty.
	Position         string
	InternalPosition string
	InternalQuery    string
	Where            string
	Schema           string
	Table            string
	Column           string
	DataType         string
	Constraint       string
	File             string
	Line             string
	Routine          string
	// Unknown holds fields of other types, in their order.
	Unknown []Field
}

// Errors of framing and decoding, in Postgres' words. They may be sent to the client as they are; don't modify them.
var (
	// ErrMessageLength: a header's length is impossible. Postgres closes the connection.
	ErrMessageLength = Fatal("08P01", "invalid message length")
	// ErrShortMessage: the message ends before its content does.
	ErrShortMessage = Errorf("08P01", "insufficient data left in message")
	// ErrString: a string has no end.
	ErrString = Errorf("08P01", "invalid string in message")
	// ErrMessageFormat: the message goes on after its content, or holds an impossible value.
	ErrMessageFormat = Errorf("08P01", "invalid message format")
	// ErrTooLong: what was to be built would be longer than MaxMessageLength.
	ErrTooLong = Errorf("54000", "message is too long for the Postgres protocol")
)

// Errorf makes an Error of severity ERROR.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Severity: "ERROR", Code: code, Message: fmt.Sprintf(format, args...)}
}

// Fatal makes an Error of severity FATAL: whoever receives it expects the connection to be closed.
func Fatal(code, format string, args ...any) *Error {
	return &Error{Severity: "FATAL", Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithDetail returns a copy with another detail.
func (e *Error) WithDetail(format string, args ...any) *Error {
	c := *e
	c.Detail = fmt.Sprintf(format, args...)
	return &c
}

// WithHint returns a copy with another hint.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithSeverity returns a copy with another severity, for passing an ERROR on as FATAL.
func (e *Error) WithSeverity(severity string) *Error {
	c := *e
	c.Severity, c.Localized = severity, ""
	return &c
}

// Error is the severity, the message and the SQLSTATE.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (SQLSTATE %s)", e.Severity, e.Message, e.Code)
}

// DecodeError reads the body of an ErrorResponse or NoticeResponse. It copies: the Error outlives body. A field that
// is missing stays empty; a server that sends no SQLSTATE gets XX000 in AppendErrorResponse.
func DecodeError(body []byte) (*Error, error) {
	var e Error
	for {
		typ, value, rest, err := nextField(body)
		if err != nil {
			return nil, err
		}
		if typ == 0 {
			if e.Severity == "" { // a server before 9.6
				e.Severity = e.Localized
			}
			return &e, nil
		}
		body = rest
		if p := e.field(typ); p != nil {
			*p = string(value)
		} else {
			e.Unknown = append(e.Unknown, Field{typ, string(value)})
		}
	}
}

// ErrorField returns a view of the first field of the given type in the body of an ErrorResponse or NoticeResponse:
// 'C' is the SQLSTATE, 'M' the message. It is nil if there is none.
func ErrorField(body []byte, typ byte) []byte {
	for {
		t, value, rest, err := nextField(body)
		if err != nil || t == 0 {
			return nil
		}
		if t == typ {
			return value
		}
		body = rest
	}
}

// nextField cuts one field off; typ 0 is the end of the list.
func nextField(body []byte) (typ byte, value, rest []byte, err error) {
	if len(body) == 0 {
		return 0, nil, nil, ErrShortMessage
	}
	if body[0] == 0 {
		if len(body) > 1 {
			return 0, nil, nil, ErrMessageFormat
		}
		return 0, nil, nil, nil
	}
	i := bytes.IndexByte(body[1:], 0)
	if i < 0 {
		return 0, nil, nil, ErrString
	}
	return body[0], body[1 : 1+i], body[2+i:], nil
}

// field is where a field of this type is kept; nil: it has no name here.
func (e *Error) field(typ byte) *string {
	switch typ {
	case 'S':
		return &e.Localized
	case 'V':
		return &e.Severity
	case 'C':
		return &e.Code
	case 'M':
		return &e.Message
	case 'D':
		return &e.Detail
	case 'H':
		return &e.Hint
	case 'P':
		return &e.Position
	case 'p':
		return &e.InternalPosition
	case 'q':
		return &e.InternalQuery
	case 'W':
		return &e.Where
	case 's':
		return &e.Schema
	case 't':
		return &e.Table
	case 'c':
		return &e.Column
	case 'd':
		return &e.DataType
	case 'n':
		return &e.Constraint
	case 'F':
		return &e.File
	case 'L':
		return &e.Line
	case 'R':
		return &e.Routine
	}
	return nil
}

// AppendErrorResponse appends e as an ErrorResponse. S, V, C and M are always there, because clients rely on them:
// what e lacks becomes ERROR, XX000 and "unknown error".
func AppendErrorResponse(dst []byte, e *Error) []byte {
	return appendFields(dst, MsgErrorResponse, e, "ERROR", "XX000", "unknown error")
}

// AppendNoticeResponse appends e as a NoticeResponse; what it lacks becomes NOTICE, 00000 and an empty message.
func AppendNoticeResponse(dst []byte, e *Error) []byte {
	return appendFields(dst, MsgNoticeResponse, e, "NOTICE", "00000", "")
}

// AppendTo appends e as an ErrorResponse; see AppendErrorResponse.
func (e *Error) AppendTo(dst []byte) []byte { return AppendErrorResponse(dst, e) }

func appendFields(dst []byte, typ byte, e *Error, severity, code, message string) []byte {
	if e.Severity != "" {
		severity = e.Severity
	} else if e.Localized != "" {
		severity = e.Localized
	}
	localized := severity
	if e.Localized != "" {
		localized = e.Localized
	}
	if e.Code != "" {
		code = e.Code
	}
	if e.Message != "" {
		message = e.Message
	}
	dst, at := begin(dst, typ)
	// In the order in which Postgres sends them.
	dst = appendField(dst, 'S', localized)
	dst = appendField(dst, 'V', severity)
	dst = appendField(dst, 'C', code)
	dst = appendField(dst, 'M', message)
	for _, f := range [...]struct {
		typ   byte
		value string
	}{
		{'D', e.Detail}, {'H', e.Hint}, {'P', e.Position}, {'p', e.InternalPosition}, {'q', e.InternalQuery},
		{'W', e.Where}, {'s', e.Schema}, {'t', e.Table}, {'c', e.Column}, {'d', e.DataType}, {'n', e.Constraint},
		{'F', e.File}, {'L', e.Line}, {'R', e.Routine},
	} {
		if f.value != "" {
			dst = appendField(dst, f.typ, f.value)
		}
	}
	for _, f := range e.Unknown {
		if f.Type != 0 {
			dst = appendField(dst, f.Type, f.Value)
		}
	}
	return end(append(dst, 0), at)
}

func appendField(dst []byte, typ byte, value string) []byte {
	return appendString(append(dst, typ), value)
}
