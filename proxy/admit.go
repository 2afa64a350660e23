package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// AuthType says how clients prove who they are: the values of --auth-type.
type AuthType string

// Ways of authentication.
const (
	AuthSCRAM AuthType = "scram-sha-256"
	AuthCert  AuthType = "cert"  // by a TLS certificate with the user's name
	AuthTrust AuthType = "trust" // they don't
)

// AdmitConfig is what an Admitter works with.
type AdmitConfig struct {
	AuthType AuthType // default AuthSCRAM
	// Verifiers is asked for each client. AuthTrust and AuthCert need none; with one, they let in whom it knows.
	Verifiers auth.Source
	// TLS is what clients are offered, as it is when they come; nil: nothing.
	TLS *auth.TLS
	// Nodes returns the servers: the primary first, then replicas, in the order in which they are to be tried. It is called
	// for each client that needs a welcome, from several goroutines.
	Nodes func() []backend.Target
	// Console is the name of a database that isn't a server's: its clients are authenticated, and get no welcome.
	Console string
	// Timeout bounds everything that Admit does for a client; default 15 s.
	Timeout time.Duration
	// ConnectTimeout bounds the login at one node that a welcome takes; default 5 s.
	ConnectTimeout time.Duration
	// WelcomeFor is how long a welcome is given to others with the same database, user and parameters; default 1 s. It
	// bounds the logins for welcomes to one per second and kind of client, and how late a changed ALTER ROLE … SET shows.
	// Negative: not at all.
	WelcomeFor time.Duration
	Logger     *slog.Logger // default slog.Default()
}

// maxWelcomes bounds the number of welcomes that are kept.
const maxWelcomes = 1000

// Admitter does what happens before a client's first query: startup packets, authentication, and the welcome, for which
// it logs in to a server as the client would. So it is Postgres that judges whether the database exists, the user may
// connect and each setting is right, and what the client is told is what Postgres says.
//
// It is safe for concurrent use. It has to be closed.
type Admitter struct {
	cfg      AdmitConfig
	mock     *auth.Mock
	welcomes *welcomes
	server   atomic.Pointer[Server] // whose clients these are; nil: nobody's, as in tests
	close    sync.Once
}

// NewAdmitter returns an Admitter. It connects to nothing yet.
func NewAdmitter(cfg AdmitConfig) *Admitter {
	if cfg.AuthType == "" {
		cfg.AuthType = AuthSCRAM
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.ConnectTimeout <= 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	if cfg.WelcomeFor == 0 {
		cfg.WelcomeFor = time.Second
	}
	if cfg.TLS == nil {
		cfg.TLS = new(auth.TLS)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Admitter{cfg: cfg, mock: auth.NewMock(), welcomes: newWelcomes(cfg)}
}

// Close ends logins that are under way for welcomes, and waits for them. Clients that wait for one get an error. It may
// be called again.
func (a *Admitter) Close() { a.close.Do(a.welcomes.close) }

// Admitted is a client that was let in, or a request to cancel.
type Admitted struct {
	// Conn belongs to the caller, without a deadline.
	Conn net.Conn
	// Leftover is what the client sent after its handshake, to be read before what Conn brings.
	Leftover []byte
	// User and Database are names as Postgres would take them (cut to 63 bytes, and the database named after the user if
	// the client gave none).
	User     string
	Database string
	// Identity logs in to servers as User.
	Identity auth.Identity
	// Params are the settings of the startup packet: first those of "options", then the others, in the order in which
	// Postgres sets them; of two with the same name the last counts. Names are in lower case.
	Params []wire.Param
	// TLS says how the connection is encrypted, as SHOW CLIENTS tells it; empty: it isn't.
	TLS string
	// Protocol is the version that is spoken from here on.
	Protocol uint32
	// Welcome is the ParameterStatus list of a server after login with the client's parameters; nil for the console. The
	// caller sends it, then BackendKeyData and ReadyForQuery. AuthenticationOk has been sent.
	Welcome []wire.ParamStatus
	// Unreported are settings that the server was asked for on that occasion, since it doesn't report them. They aren't for the client.
	Unreported []wire.ParamStatus
	// seated: the client has a seat of the server's, and has to leave it.
	seated bool
	// Cancel is a request to cancel. Then only it and Conn are set, and the caller closes Conn, once the request has been
	// dealt with, without having written anything.
	Cancel *CancelRequest
}

// CancelRequest names a session by what BackendKeyData told its client. Compare Secret in constant time.
type CancelRequest struct {
	PID    uint32
	Secret []byte
}

// Refusal says why a client was not admitted.
type Refusal struct {
	User, Database string // as far as they were known
	// Told is what the client was told; nil: nothing.
	Told *wire.Error
	// Err is the reason, for the log. It holds no secret, but it may hold what the client must not learn.
	Err error
}

// Error is the reason.
func (r *Refusal) Error() string {
	if r.User == "" {
		return fmt.Sprintf("client not admitted: %v", r.Err)
	}
	return fmt.Sprintf("client not admitted: user %q, database %q: %v", r.User, r.Database, r.Err)
}

// Unwrap returns the reason.
func (r *Refusal) Unwrap() error { return r.Err }

// Why a client was told nothing.
var (
	// ErrClientGone: it went away by itself, as psql does when it wants to ask for the password. Not worth a line in the log;
	// neither is wire.ErrNoStartup.
	ErrClientGone = errors.New("client closed the connection during its login")
	// ErrDirectTLS: it began with a TLS handshake where there is no TLS.
	ErrDirectTLS = errors.New("client began with TLS directly (sslnegotiation=direct), which there isn't here")
	// ErrNoALPN: it began with a TLS handshake, and didn't say that it speaks Postgres' protocol.
	ErrNoALPN = errors.New("client began with TLS directly, without ALPN protocol \"postgresql\"")

	errAdmitTimeout = errors.New("login took too long")
)

// lingerFor is how long a refused client is given to read why.
const lingerFor = 250 * time.Millisecond

// handshake is a client on its way in.
type handshake struct {
	conn net.Conn // client <-> proxy; once there is TLS, through it
	r    *wire.Reader
	req  startupRequest

	local  bool                 // over a Unix socket
	tls    *auth.TLSState       // what there is for this client
	secure *tls.ConnectionState // what there came to be; nil: no encryption
	seated bool                 // has taken a seat
	clock  *time.Timer          // of AdmitConfig.Timeout
	// begun: a startup message was understood, so that errors can be put in words.
	begun bool
}

// Admit lets a client in, or refuses it. It blocks, at most for AdmitConfig.Timeout (and while the database is paused) or until ctx ends, and
// owns conn meanwhile. When it returns an error, always a *Refusal, the client has been told and conn is closed.
func (a *Admitter) Admit(ctx context.Context, conn net.Conn) (*Admitted, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clock := time.AfterFunc(a.cfg.Timeout, func() { cancel(errAdmitTimeout) })
	defer clock.Stop()
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(expired)
		conn.SetDeadline(time.Unix(1, 0))
	})

	h := &handshake{conn: conn, r: wire.NewReader(conn), tls: a.cfg.TLS.Load(), clock: clock}
	_, h.local = conn.(*net.UnixConn)
	admitted, err := a.admit(ctx, h)
	if !stop() {
		<-expired // or it would cut short what follows
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	if err == nil {
		if err = conn.SetDeadline(time.Time{}); err == nil {
			return admitted, nil
		}
	}
	if h.seated {
		a.server.Load().leaveSeat()
	}
	refusal := &Refusal{User: h.req.user, Database: h.req.database, Err: err}
	if ctx.Err() != nil {
		refusal.Err = context.Cause(ctx)
	}
	refusal.Told = a.words(h, refusal.Err)
	dismiss(h.conn, refusal.Told, errors.As(refusal.Err, new(*tlsError)))
	return nil, refusal
}

// words is what a client is told about an error; nil: nothing.
func (a *Admitter) words(h *handshake, err error) *wire.Error {
	var e *wire.Error
	switch {
	case errors.As(err, &e):
		if e.Severity != "FATAL" && e.Severity != "PANIC" {
			e = e.WithSeverity("FATAL")
		}
		return e
	case !h.begun:
		return nil
	case errors.Is(err, errAdmitTimeout):
		return wire.Fatal("57014", "canceling authentication due to timeout")
	case errors.Is(err, context.Canceled), errors.Is(err, errWelcomesClosed), errors.Is(err, auth.ErrClosed):
		return wire.Fatal("57P03", "the proxy is shutting down")
	case errors.Is(err, ErrClientGone), isNetError(err):
		return nil
	}
	return wire.Fatal("XX000", "the proxy can't log you in").WithHint("Freshet's log says why.")
}

func isNetError(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.ErrClosedPipe)
}

// dismiss says the last words and closes. A socket that is closed while it holds unread bytes is reset, and the words
// are lost with it; so what the client still sends is read, for a moment. alerted: TLS has spoken already.
func dismiss(conn net.Conn, told *wire.Error, alerted bool) {
	defer conn.Close()
	if told == nil && !alerted {
		return
	}
	conn.SetDeadline(time.Now().Add(lingerFor))
	if told != nil {
		if _, err := conn.Write(wire.AppendErrorResponse(nil, told)); err != nil {
			return
		}
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(conn, 64<<10))
	}
}

func (a *Admitter) admit(ctx context.Context, h *handshake) (*Admitted, error) {
	cancel, err := h.startup(ctx)
	if err != nil {
		return nil, err
	}
	if cancel != nil {
		return &Admitted{Conn: h.conn, Cancel: cancel}, nil
	}
	if err := h.checkTLS(); err != nil {
		return nil, err
	}
	console := h.req.database == a.cfg.Console && a.cfg.Console != ""
	if s := a.server.Load(); s != nil && !console { // who wants to see why it is full isn't kept out by that
		if err := s.takeSeat(); err != nil {
			return nil, err
		}
		h.seated = true
	}
	id, err := a.authenticate(ctx, h)
	if err != nil {
		return nil, err
	}
	admitted := &Admitted{
		Conn:     h.conn,
		User:     h.req.user,
		Database: h.req.database,
		Identity: id,
		Protocol: h.req.protocol,
	}
	if h.secure != nil {
		admitted.TLS = tls.VersionName(h.secure.Version) + "/" + tls.CipherSuiteName(h.secure.CipherSuite)
	}
	if !console {
		if err := a.awaitResume(ctx, h); err != nil {
			return nil, err
		}
		if admitted.Welcome, err = a.welcome(ctx, id, &h.req); err == nil {
			admitted.Welcome, admitted.Unreported = splitWelcome(admitted.Welcome)
		} else {
			return nil, err
		}
	}
	// Now that Postgres has accepted the parameters, what can't be read here is what we don't support.
	if admitted.Params, err = h.req.settings(); err != nil {
		return nil, err
	}
	admitted.seated = h.seated
	admitted.Leftover = append([]byte(nil), h.r.Leftover()...)
	return admitted, nil
}
