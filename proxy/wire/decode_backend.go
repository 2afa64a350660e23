package wire

// Authentication is an Authentication message.
type Authentication struct {
	Kind uint32
	// Data is AuthMD5Password's salt, AuthSASLContinue's and AuthSASLFinal's data.
	Data []byte
}

// DecodeAuthentication reads the body of an Authentication message.
func DecodeAuthentication(body []byte) (Authentication, error) {
	c := cursor{b: body}
	a := Authentication{Kind: c.uint32()}
	a.Data = c.b
	if c.err != nil {
		return Authentication{}, c.err
	}
	switch a.Kind {
	case AuthOk, AuthCleartextPassword:
		if len(a.Data) != 0 {
			return Authentication{}, ErrMessageFormat
		}
	case AuthMD5Password:
		if len(a.Data) != 4 {
			return Authentication{}, ErrMessageFormat
		}
	}
	return a, nil
}

// Mechanisms is the list that AuthSASL offers.
func (a Authentication) Mechanisms() (Strings, error) {
	c := cursor{b: a.Data}
	var s Strings
	for {
		v := c.string()
		if c.err != nil {
			return Strings{}, c.err
		}
		if len(v) == 0 {
			break
		}
		s.n++
	}
	s.raw = a.Data[:len(a.Data)-len(c.b)]
	return s, c.end()
}

// DecodeParameterStatus reads the body of a ParameterStatus.
func DecodeParameterStatus(body []byte) (name, value []byte, err error) {
	c := cursor{b: body}
	name, value = c.string(), c.string()
	if err := c.end(); err != nil {
		return nil, nil, err
	}
	return name, value, nil
}

// MaxCancelKey is the greatest length of the secret in BackendKeyData and CancelRequest.
const MaxCancelKey = 256

// DecodeBackendKeyData reads the body of a BackendKeyData. The secret has 4 bytes in protocol 3.0, and up to
// MaxCancelKey in 3.2.
func DecodeBackendKeyData(body []byte) (pid uint32, secret []byte, err error) {
	c := cursor{b: body}
	pid = c.uint32()
	secret = c.b
	if c.err != nil {
		return 0, nil, c.err
	}
	if len(secret) < 4 {
		return 0, nil, ErrShortMessage
	}
	if len(secret) > MaxCancelKey {
		return 0, nil, ErrMessageFormat
	}
	return pid, secret, nil
}

// DecodeReadyForQuery reads the body of a ReadyForQuery: TxIdle, TxActive or TxFailed.
func DecodeReadyForQuery(body []byte) (status byte, err error) {
	c := cursor{b: body}
	status = c.byte()
	if err := c.end(); err != nil {
		return 0, err
	}
	switch status {
	case TxIdle, TxActive, TxFailed:
		return status, nil
	}
	return 0, ErrMessageFormat
}

// DecodeCommandComplete reads the body of a CommandComplete: the tag, as "SELECT 1".
func DecodeCommandComplete(body []byte) ([]byte, error) { return decodeString(body) }

// DecodeParameterDescription reads the body of a ParameterDescription.
func DecodeParameterDescription(body []byte) (OIDs, error) {
	c := cursor{b: body}
	o := OIDs(c.take(4 * int(c.uint16())))
	if err := c.end(); err != nil {
		return nil, err
	}
	return o, nil
}

// FieldView is a column in a RowDescription.
type FieldView struct {
	Name         []byte
	TableOID     uint32
	TableColumn  int16
	TypeOID      uint32
	TypeSize     int16
	TypeModifier int32
	Format       int16
}

// RowDescription is a RowDescription message: already checked, and read by calling Next on a copy.
type RowDescription struct {
	n   int
	raw []byte
}

// DecodeRowDescription reads the body of a RowDescription.
func DecodeRowDescription(body []byte) (RowDescription, error) {
	c := cursor{b: body}
	n := int(c.uint16())
	raw := c.b
	for i := 0; i < n && c.err == nil; i++ {
		c.field()
	}
	if err := c.end(); err != nil {
		return RowDescription{}, err
	}
	return RowDescription{n: n, raw: raw}, nil
}

// Len is the number of columns that are left.
func (r RowDescription) Len() int { return r.n }

// Next returns the next column, and false after the last.
func (r *RowDescription) Next() (FieldView, bool) {
	if r.n <= 0 {
		return FieldView{}, false
	}
	c := cursor{b: r.raw}
	f := c.field()
	r.n--
	r.raw = c.b
	return f, true
}

func (c *cursor) field() FieldView {
	return FieldView{
		Name:         c.string(),
		TableOID:     c.uint32(),
		TableColumn:  int16(c.uint16()),
		TypeOID:      c.uint32(),
		TypeSize:     int16(c.uint16()),
		TypeModifier: int32(c.uint32()),
		Format:       int16(c.uint16()),
	}
}

// DecodeDataRow reads the body of a DataRow.
func DecodeDataRow(body []byte) (Values, error) {
	c := cursor{b: body}
	v := c.values()
	if err := c.end(); err != nil {
		return Values{}, err
	}
	return v, nil
}

// CopyResponse is a CopyInResponse, CopyOutResponse or CopyBothResponse.
type CopyResponse struct {
	Format  byte // 0 text, 1 binary
	Columns Formats
}

// DecodeCopyResponse reads the body of a CopyInResponse, CopyOutResponse or CopyBothResponse.
func DecodeCopyResponse(body []byte) (CopyResponse, error) {
	c := cursor{b: body}
	r := CopyResponse{Format: c.byte(), Columns: c.formats()}
	if err := c.end(); err != nil {
		return CopyResponse{}, err
	}
	return r, nil
}

// Notification is a NotificationResponse.
type Notification struct {
	PID     uint32
	Channel []byte
	Payload []byte
}

// DecodeNotification reads the body of a NotificationResponse.
func DecodeNotification(body []byte) (Notification, error) {
	c := cursor{b: body}
	n := Notification{PID: c.uint32(), Channel: c.string(), Payload: c.string()}
	if err := c.end(); err != nil {
		return Notification{}, err
	}
	return n, nil
}

// DecodeNegotiateProtocolVersion reads the body of a NegotiateProtocolVersion: the version that the server will speak,
// and the names of the protocol options that it doesn't know.
func DecodeNegotiateProtocolVersion(body []byte) (protocol uint32, unknown Strings, err error) {
	c := cursor{b: body}
	protocol = c.uint32()
	n := c.uint32()
	raw := c.b
	if int64(n) > int64(len(raw)) { // each takes a byte at least
		c.fail(ErrShortMessage)
	}
	for i := uint32(0); i < n && c.err == nil; i++ {
		c.string()
	}
	if err := c.end(); err != nil {
		return 0, Strings{}, err
	}
	return protocol, Strings{n: int(n), raw: raw}, nil
}
