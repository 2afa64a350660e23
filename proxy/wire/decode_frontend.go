package wire

// Parse is a Parse message.
type Parse struct {
	Name       []byte
	Query      []byte
	ParamTypes OIDs
}

// DecodeParse reads the body of a Parse.
func DecodeParse(body []byte) (Parse, error) {
	c := cursor{b: body}
	p := Parse{Name: c.string(), Query: c.string()}
	p.ParamTypes = OIDs(c.take(4 * int(c.uint16())))
	if err := c.end(); err != nil {
		return Parse{}, err
	}
	return p, nil
}

// Bind is a Bind message.
type Bind struct {
	Portal        []byte
	Statement     []byte
	ParamFormats  Formats
	Params        Values
	ResultFormats Formats

	rest []byte // all after the names
}

// Rest is everything after the two names: formats and parameters, as they stand in the message.
func (b Bind) Rest() []byte { return b.rest }

// DecodeBind reads the body of a Bind. Its cost grows with the number of parameters, not with their size.
func DecodeBind(body []byte) (Bind, error) {
	c := cursor{b: body}
	b := Bind{Portal: c.string(), Statement: c.string()}
	b.rest = c.b
	b.ParamFormats = c.formats()
	b.Params = c.values()
	b.ResultFormats = c.formats()
	if err := c.end(); err != nil {
		return Bind{}, err
	}
	return b, nil
}

// DecodeBindNames reads the two names that a Bind begins with, of which prefix may hold only the first bytes. n is how
// many bytes they take, NULs included; 0: prefix is too short.
func DecodeBindNames(prefix []byte) (portal, statement []byte, n int) {
	c := cursor{b: prefix}
	portal, statement = c.string(), c.string()
	if c.err != nil {
		return nil, nil, 0
	}
	return portal, statement, len(prefix) - len(c.b)
}

// Named is a Describe or a Close: ObjectStatement or ObjectPortal, and its name.
type Named struct {
	Object byte
	Name   []byte
}

// DecodeDescribe reads the body of a Describe.
func DecodeDescribe(body []byte) (Named, error) { return decodeNamed(body, MsgDescribe) }

// DecodeClose reads the body of a Close.
func DecodeClose(body []byte) (Named, error) { return decodeNamed(body, MsgClose) }

func decodeNamed(body []byte, typ byte) (Named, error) {
	c := cursor{b: body}
	n := Named{Object: c.byte(), Name: c.string()}
	if err := c.end(); err != nil {
		return Named{}, err
	}
	if n.Object != ObjectStatement && n.Object != ObjectPortal {
		if typ == MsgClose {
			return Named{}, Errorf("08P01", "invalid CLOSE message subtype %d", n.Object)
		}
		return Named{}, Errorf("08P01", "invalid DESCRIBE message subtype %d", n.Object)
	}
	return n, nil
}

// Execute is an Execute message. MaxRows 0 is no limit; Postgres takes numbers from 2³¹ on for no limit too.
type Execute struct {
	Portal  []byte
	MaxRows uint32
}

// DecodeExecute reads the body of an Execute.
func DecodeExecute(body []byte) (Execute, error) {
	c := cursor{b: body}
	e := Execute{Portal: c.string(), MaxRows: c.uint32()}
	if err := c.end(); err != nil {
		return Execute{}, err
	}
	return e, nil
}

// DecodeQuery reads the body of a Query: the text without its NUL.
func DecodeQuery(body []byte) ([]byte, error) { return decodeString(body) }

// DecodeCopyFail reads the body of a CopyFail: the client's reason.
func DecodeCopyFail(body []byte) ([]byte, error) { return decodeString(body) }

// DecodePassword reads the body of a PasswordMessage.
func DecodePassword(body []byte) ([]byte, error) { return decodeString(body) }

func decodeString(body []byte) ([]byte, error) {
	c := cursor{b: body}
	s := c.string()
	if err := c.end(); err != nil {
		return nil, err
	}
	return s, nil
}

// DecodeEmpty checks the body of a message that has none: Sync, Flush, Terminate, CopyDone.
func DecodeEmpty(body []byte) error {
	if len(body) > 0 {
		return ErrMessageFormat
	}
	return nil
}

// SASLInitialResponse is a SASLInitialResponse message. A nil Response is "none".
type SASLInitialResponse struct {
	Mechanism []byte
	Response  []byte
}

// DecodeSASLInitialResponse reads the body of a SASLInitialResponse.
func DecodeSASLInitialResponse(body []byte) (SASLInitialResponse, error) {
	c := cursor{b: body}
	r := SASLInitialResponse{Mechanism: c.string(), Response: c.value()}
	if err := c.end(); err != nil {
		return SASLInitialResponse{}, err
	}
	return r, nil
}

// FunctionCall is a FunctionCall message.
type FunctionCall struct {
	Function     uint32
	ArgFormats   Formats
	Args         Values
	ResultFormat int16
}

// DecodeFunctionCall reads the body of a FunctionCall.
func DecodeFunctionCall(body []byte) (FunctionCall, error) {
	c := cursor{b: body}
	f := FunctionCall{Function: c.uint32(), ArgFormats: c.formats(), Args: c.values()}
	f.ResultFormat = int16(c.uint16())
	if err := c.end(); err != nil {
		return FunctionCall{}, err
	}
	return f, nil
}
