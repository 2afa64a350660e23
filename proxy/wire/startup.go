package wire

// Versions of the protocol.
const (
	Protocol30 uint32 = 3 << 16
	Protocol32 uint32 = 3<<16 | 2
	// ProtocolLatest is the newest that is spoken here.
	ProtocolLatest = Protocol32
)

// What a startup packet holds instead of a version when it isn't a StartupMessage.
const (
	CodeCancelRequest uint32 = 1234<<16 | 5678
	CodeSSLRequest    uint32 = 1234<<16 | 5679
	CodeGSSENCRequest uint32 = 1234<<16 | 5680
)

// MaxStartup is the greatest length of a startup packet without its length field: Postgres' MAX_STARTUP_PACKET_LENGTH.
const MaxStartup = 10000

// Errors of startup packets, in Postgres' words.
var (
	ErrStartupLength     = Fatal("08P01", "invalid length of startup packet")
	ErrStartupIncomplete = Fatal("08P01", "incomplete startup packet")
	ErrStartupTerminator = Fatal("08P01", "invalid startup packet layout: expected terminator as last byte")
	ErrCancelLength      = Fatal("08P01", "invalid length of query cancel packet")
	ErrCancelKeyLength   = Fatal("08P01", "invalid length of query cancel key")
)

// Startup is a startup packet, of any kind.
type Startup struct {
	// Code is the protocol version of a StartupMessage, or CodeCancelRequest, CodeSSLRequest, CodeGSSENCRequest.
	Code uint32
	// PID and Secret are a CancelRequest's.
	PID    uint32
	Secret []byte

	params []byte // of a StartupMessage, without the last NUL
}

// DecodeStartup reads a startup packet without its length field. Versions are not judged, except that only version 3
// is known to have parameters. A packet of any other code is not looked into.
func DecodeStartup(packet []byte) (Startup, error) {
	if len(packet) < 4 || len(packet) > MaxStartup {
		return Startup{}, ErrStartupLength
	}
	c := cursor{b: packet}
	s := Startup{Code: c.uint32()}
	switch {
	case s.Code == CodeCancelRequest:
		if len(packet) < 8 {
			return Startup{}, ErrCancelLength
		}
		s.PID = c.uint32()
		s.Secret = c.b
		if len(s.Secret) == 0 || len(s.Secret) > MaxCancelKey {
			return Startup{}, ErrCancelKeyLength
		}
	case s.Code>>16 == 3:
		// Postgres reads names until an empty one, which has to be the last byte.
		for {
			name := c.string()
			if c.err != nil {
				return Startup{}, ErrStartupTerminator
			}
			if len(name) == 0 {
				break
			}
			c.string()
			if c.err != nil {
				return Startup{}, ErrStartupTerminator
			}
		}
		if len(c.b) != 0 {
			return Startup{}, ErrStartupTerminator
		}
		s.params = packet[4 : len(packet)-1]
	}
	return s, nil
}

// Params returns a StartupMessage's parameters in their order, as copies.
func (s Startup) Params() []Param {
	var params []Param
	c := cursor{b: s.params}
	for len(c.b) > 0 && c.err == nil {
		name, value := c.string(), c.string()
		if c.err == nil {
			params = append(params, Param{string(name), string(value)})
		}
	}
	return params
}
