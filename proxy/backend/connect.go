package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// ConnectConfig says where to log in, as whom, and with which settings.
type ConnectConfig struct {
	Target   Target
	Database string
	// Identity logs in. One of which nothing is known (auth.Trusted) gets the service URL's password if it is the service
	// user; other servers' doors it finds open or not.
	Identity auth.Identity
	// Params are startup parameters, in this order. "user", "database", "replication" and protocol options in it are
	// ignored.
	Params []wire.Param
	// Timeout bounds the whole login, besides the context; 0: none.
	Timeout time.Duration
}

// Login is a connection that is logged in and waits for its first query.
type Login struct {
	// Conn belongs to the caller. It has no deadline.
	Conn net.Conn
	// Params are the server's ParameterStatus in their order, the last value of each.
	Params []wire.ParamStatus
	// PID and Secret are for SendCancel. Secret is empty for a server that gave none.
	PID    uint32
	Secret []byte
	// Leftover was sent by the server after its ReadyForQuery: messages that have to be read before what Conn brings.
	// Mostly empty.
	Leftover []byte
	// TxStatus is always wire.TxIdle.
	TxStatus byte
	// Protocol is the version that the server speaks.
	Protocol uint32
}

const (
	// maxStartupMessage bounds the messages of a server before it is ready.
	maxStartupMessage = 64 << 10
	// maxStartupMessages bounds their number. A real server sends about twenty.
	maxStartupMessages = 1000
)

// Connect logs in to a server. It blocks until the server is ready, an error, the timeout, or the end of ctx, and then
// has left nothing open. When the server refuses, errors.As finds its *wire.Error, word for word.
func Connect(ctx context.Context, cfg ConnectConfig) (*Login, error) {
	if cfg.Target.IsZero() {
		return nil, errors.New("log in: no server is given")
	}
	if cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, cfg.Timeout)
		defer cancel()
	}
	if id := cfg.Identity; id.Trusted() && id.User() == cfg.Target.User() {
		cfg.Identity = cfg.Target.Service()
	}
	var errs []error
	for _, way := range cfg.Target.sealed.tls {
		if way.is == modeNone {
			break
		}
		login, err := connectOne(ctx, cfg, way)
		if err == nil {
			return login, nil
		}
		errs = append(errs, err)
		if !otherWayMayHelp(err) || ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("log in to %s as %q: %w", cfg.Target.Addr(), cfg.Identity.User(), errors.Join(errs...))
}

// otherWayMayHelp reports whether, under sslmode prefer or allow, the same login may succeed with TLS instead of without,
// or the other way round: when pg_hba.conf refuses this way (28000), or TLS itself failed.
func otherWayMayHelp(err error) bool {
	var refused *wire.Error
	if errors.As(err, &refused) {
		return refused.Code == "28000"
	}
	var handshake *tlsError
	return errors.As(err, &handshake)
}

func connectOne(ctx context.Context, cfg ConnectConfig, way tlsMode) (_ *Login, err error) {
	conn, err := dial(ctx, cfg.Target)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
			if ctx.Err() != nil {
				err = fmt.Errorf("%w (%v)", context.Cause(ctx), err)
			}
		}
	}()
	release := watch(ctx, conn)
	secure, err := secureConn(ctx, conn, way, cfg.Target.sealed.tls)
	if err == nil {
		var login *Login
		if login, err = logIn(secure, cfg); err == nil {
			if err = release(); err == nil {
				return login, nil
			}
		}
	}
	release()
	return nil, err
}

func dial(ctx context.Context, t Target) (net.Conn, error) {
	network, addr := t.network()
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// watch makes the end of ctx the end of what is read from and written to conn. release ends that and removes the
// deadline, or returns an error if the end was there before.
func watch(ctx context.Context, conn net.Conn) (release func() error) {
	// No deadline is set beforehand: it could pass a moment before ctx ends, and look like a failure of the network.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return func() error {
		if !stop() {
			return context.Cause(ctx)
		}
		return conn.SetDeadline(time.Time{})
	}
}

// startupParams are the parameters that are sent.
func startupParams(cfg ConnectConfig) []wire.Param {
	params := make([]wire.Param, 0, len(cfg.Params)+2)
	params = append(params, wire.Param{Name: "user", Value: cfg.Identity.User()})
	if cfg.Database != "" {
		params = append(params, wire.Param{Name: "database", Value: cfg.Database})
	}
	for _, p := range cfg.Params {
		switch {
		case p.Name == "user", p.Name == "database", p.Name == "replication":
		case len(p.Name) >= 5 && p.Name[:5] == "_pq_.":
		default:
			params = append(params, p)
		}
	}
	return params
}

// logIn runs the protocol from the startup message to the first ReadyForQuery.
func logIn(conn net.Conn, cfg ConnectConfig) (*Login, error) {
	protocol := cfg.Target.protocol()
	if _, err := conn.Write(wire.AppendStartup(nil, protocol, startupParams(cfg))); err != nil {
		return nil, err
	}
	r := wire.NewReader(conn)
	login := &Login{Conn: conn, Protocol: protocol}
	state := authState{id: cfg.Identity, rule: cfg.Target.sealed.auth, conn: conn}
	for range maxStartupMessages {
		typ, body, err := r.Message(maxStartupMessage)
		if err != nil {
			return nil, readError(err)
		}
		switch typ {
		case wire.MsgErrorResponse:
			e, err := wire.DecodeError(body)
			if err != nil {
				return nil, err
			}
			return nil, e
		case wire.MsgNoticeResponse:
		case wire.MsgNegotiateProtocolVersion:
			speaks, _, err := wire.DecodeNegotiateProtocolVersion(body)
			if err != nil {
				return nil, fmt.Errorf("NegotiateProtocolVersion: %w", err)
			}
			// Some servers (and PgBouncer) send the minor version alone, as the manual has it.
			if speaks < 1<<16 {
				speaks |= 3 << 16
			}
			if speaks > protocol || speaks < wire.Protocol30 || state.begun {
				return nil, errors.New("the server answers with a protocol version that wasn't asked for")
			}
			login.Protocol = speaks
		case wire.MsgAuthentication:
			a, err := wire.DecodeAuthentication(body)
			if err != nil {
				return nil, fmt.Errorf("authentication request: %w", err)
			}
			if err := state.answer(a); err != nil {
				return nil, err
			}
		case wire.MsgParameterStatus, wire.MsgBackendKeyData, wire.MsgReadyForQuery:
			if !state.ok {
				return nil, fmt.Errorf("the server sends %q before authentication is over", typ)
			}
			ready, err := login.take(typ, body)
			if err != nil {
				return nil, err
			}
			if ready {
				login.Leftover = append([]byte(nil), r.Leftover()...)
				return login, nil
			}
		default:
			return nil, fmt.Errorf("the server sends unexpected message %q during login", typ)
		}
	}
	return nil, errors.New("the server doesn't come to an end of its startup messages")
}

// take reads a message that comes after authentication; ready is true for the last.
func (l *Login) take(typ byte, body []byte) (ready bool, err error) {
	switch typ {
	case wire.MsgParameterStatus:
		name, value, err := wire.DecodeParameterStatus(body)
		if err != nil {
			return false, fmt.Errorf("ParameterStatus: %w", err)
		}
		for i := range l.Params {
			if l.Params[i].Name == string(name) {
				l.Params[i].Value = string(value)
				return false, nil
			}
		}
		l.Params = append(l.Params, wire.ParamStatus{Name: string(name), Value: string(value)})
	case wire.MsgBackendKeyData:
		pid, secret, err := wire.DecodeBackendKeyData(body)
		if err != nil {
			return false, fmt.Errorf("BackendKeyData: %w", err)
		}
		l.PID, l.Secret = pid, append([]byte(nil), secret...)
	case wire.MsgReadyForQuery:
		status, err := wire.DecodeReadyForQuery(body)
		if err != nil || status != wire.TxIdle {
			return false, errors.New("the server isn't idle after login")
		}
		l.TxStatus = status
		return true, nil
	}
	return false, nil
}

var errClosed = errors.New("the server closed the connection during login")

func readError(err error) error {
	if isEOF(err) {
		return fmt.Errorf("%w: %w", errClosed, err)
	}
	return err
}
