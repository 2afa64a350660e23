package proxy

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/freshet/freshet/proxy/wire"
)

// startupRequest is what a client asks for in its StartupMessage.
type startupRequest struct {
	user     string
	database string
	options  string       // command-line switches
	params   []wire.Param // the other settings, in order and as they came
	protocol uint32       // the version that will be spoken
	unknown  []string     // protocol options (_pq_.…), of which none is known
}

// raw is what a server has to be given so that it does what the client asks for.
func (q *startupRequest) raw() []wire.Param {
	if q.options == "" {
		return q.params
	}
	return append([]wire.Param{{Name: "options", Value: q.options}}, q.params...)
}

// maxName is the length that Postgres cuts names of users and databases to (NAMEDATALEN - 1). It cuts bytes there, also
// in the middle of a character.
const maxName = 63

// startup reads startup packets until one says what the client wants, as ProcessStartupPacket does in Postgres. It
// returns a request to cancel, or nil when h.req has been filled in.
func (h *handshake) startup(ctx context.Context) (*CancelRequest, error) {
	var sslDone, gssDone bool
	for {
		packet, err := h.r.Startup()
		if errors.Is(err, wire.ErrStartupLength) && isTLS(h.r.Leftover()) && h.secure == nil {
			if sslDone || gssDone { // Postgres looks for it only at the very beginning
				return nil, ErrDirectTLS
			}
			if err := h.directTLS(ctx); err != nil {
				return nil, err
			}
			sslDone, gssDone = true, true
			continue
		}
		if err != nil {
			return nil, h.gone(err)
		}
		s, err := wire.DecodeStartup(packet)
		if err != nil {
			return nil, err
		}
		switch {
		case s.Code == wire.CodeCancelRequest:
			return &CancelRequest{PID: s.PID, Secret: append([]byte(nil), s.Secret...)}, nil
		case s.Code == wire.CodeSSLRequest && !sslDone:
			sslDone = true
			if err := h.requestTLS(ctx); err != nil {
				return nil, err
			}
			gssDone = gssDone || h.secure != nil // one encryption is enough
		case s.Code == wire.CodeGSSENCRequest && !gssDone:
			gssDone = true
			if err := h.decline("GSSAPI encryption"); err != nil {
				return nil, err
			}
		default:
			h.begun = true
			return nil, h.request(s)
		}
	}
}

// decline refuses an encryption.
func (h *handshake) decline(what string) error {
	if _, err := h.conn.Write([]byte{'N'}); err != nil {
		return err
	}
	return h.nothingEarly(what)
}

// nothingEarly returns an error if the client has sent more than its request for encryption. That was sent before the
// client knew the answer. Nobody who speaks the protocol does so; it may have been put there by somebody in between, in
// the hope that it would be taken for something that came through the encryption (CVE-2021-3935, CVE-2021-23214).
// Postgres refuses it too.
func (h *handshake) nothingEarly(what string) error {
	if len(h.r.Leftover()) > 0 {
		return wire.Fatal("08P01", "received unencrypted data after %s request", what).
			WithDetail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.")
	}
	return nil
}

// request reads a StartupMessage into h.req, and tells the client if it gets less than it asked for.
func (h *handshake) request(s wire.Startup) error {
	if s.Code>>16 != 3 {
		return wire.Fatal("0A000", "unsupported frontend protocol %d.%d: server supports 3.0 to 3.%d",
			s.Code>>16, s.Code&0xffff, wire.ProtocolLatest&0xffff)
	}
	q := &h.req
	q.protocol = min(s.Code, wire.ProtocolLatest)
	replication := ""
	for _, p := range s.Params() {
		switch {
		case p.Name == "user":
			q.user = p.Value
		case p.Name == "database":
			q.database = p.Value
		case p.Name == "options":
			q.options = p.Value
		case p.Name == "replication":
			replication = p.Value
		case strings.HasPrefix(p.Name, "_pq_."):
			q.unknown = append(q.unknown, p.Name)
		default:
			q.params = append(q.params, p)
		}
	}
	if q.user == "" {
		return wire.Fatal("28000", "no PostgreSQL user name specified in startup packet")
	}
	if q.database == "" {
		q.database = q.user
	}
	q.user, q.database = cutName(q.user), cutName(q.database)
	if err := checkReplication(replication); err != nil {
		return err
	}
	if q.protocol != s.Code || q.unknown != nil {
		_, err := h.conn.Write(wire.AppendNegotiateProtocolVersion(nil, q.protocol, q.unknown...))
		return err
	}
	return nil
}

func cutName(name string) string {
	if len(name) > maxName {
		return name[:maxName]
	}
	return name
}

// checkReplication refuses a walsender's connection: what it says can't be shared, routed or repeated.
func checkReplication(value string) error {
	switch strings.ToLower(value) {
	case "", "false", "fals", "fal", "fa", "f", "no", "n", "off", "of", "0": // parse_bool takes unique prefixes
		return nil
	case "database", "true", "tru", "tr", "t", "yes", "ye", "y", "on", "1":
	default:
		return wire.Fatal("22023", "invalid value for parameter \"%s\": \"%s\"", "replication", value).
			WithHint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")
	}
	return wire.Fatal("0A000", "replication connections are not supported").
		WithHint("Connect to the Postgres server itself for replication.")
}

// gone makes the client's leaving one error, however it is noticed.
func (h *handshake) gone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) {
		return ErrClientGone
	}
	return err
}
