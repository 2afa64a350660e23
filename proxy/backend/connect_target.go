package backend

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// Target is a server: where it is, how the way there is encrypted, and the service login. It is made from a service URL
// (ParseTarget, NewTarget), is immutable, and prints as its address. The zero Target is no server.
type Target struct {
	// Two pointers, because fmt follows one when it prints somebody's unexported field, and there are secrets behind.
	sealed *sealedTarget
}

type sealedTarget struct{ *target }

type target struct {
	cfg  *pgconn.Config // never modified
	tls  [2]tlsMode     // the ways to talk to it, in the order in which they are tried
	auth authRule
}

// tlsMode is one way to talk to a server.
type tlsMode struct {
	is     mode
	config *tls.Config
}

type mode uint8

const (
	modeNone   mode = iota // no further way
	modePlain              // in clear
	modeTLS                // TLS after SSLRequest
	modeDirect             // TLS from the first byte (sslnegotiation=direct)
)

// ParseTarget reads a service URL or connection string as libpq does, environment, password file and service file
// included. Its errors don't quote it.
func ParseTarget(url string) (Target, error) {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		// pgconn's error holds the string with its password blacked out "on a best-effort basis": not enough.
		if inner := errors.Unwrap(err); inner != nil {
			return Target{}, fmt.Errorf("service URL: %w", inner)
		}
		return Target{}, errors.New("service URL can't be read")
	}
	return NewTarget(cfg)
}

// NewTarget makes a target of what pgconn.ParseConfig returned. Settings in it (application_name, options and the like)
// are the service login's alone: they don't reach the connections that Connect makes for others.
func NewTarget(cfg *pgconn.Config) (Target, error) {
	t := &target{cfg: cfg.Copy()}
	if len(cfg.Fallbacks) > 1 {
		return Target{}, fmt.Errorf("service URL names several servers (%s and others): give one URL for each", cfg.Host)
	}
	ways := []*tls.Config{cfg.TLSConfig}
	for _, f := range cfg.Fallbacks {
		if f.Host != cfg.Host || f.Port != cfg.Port {
			return Target{}, fmt.Errorf("service URL names several servers (%s and %s): give one URL for each", cfg.Host, f.Host)
		}
		ways = append(ways, f.TLSConfig)
	}
	for i, c := range ways {
		switch {
		case c == nil:
			t.tls[i] = tlsMode{is: modePlain}
		case cfg.SSLNegotiation == "direct":
			t.tls[i] = tlsMode{modeDirect, c}
		default:
			t.tls[i] = tlsMode{modeTLS, c}
		}
	}
	if cfg.SSLCertMode == "require" {
		return Target{}, errors.New("service URL: sslcertmode=require isn't supported")
	}
	var err error
	if t.auth, err = newAuthRule(cfg.RequireAuth, cfg.ChannelBinding); err != nil {
		return Target{}, fmt.Errorf("service URL: %w", err)
	}
	return Target{&sealedTarget{t}}, nil
}

// IsZero reports whether t is no server.
func (t Target) IsZero() bool { return t.sealed == nil }

// Addr is "host:port", or the path of a Unix socket.
func (t Target) Addr() string {
	if t.sealed == nil {
		return ""
	}
	_, addr := t.network()
	return addr
}

// String is the address.
func (t Target) String() string { return t.Addr() }

// GoString hides what String hides from %#v.
func (t Target) GoString() string { return fmt.Sprintf("backend.Target(%q)", t.Addr()) }

// User is the service user.
func (t Target) User() string { return t.sealed.cfg.User }

// Database is the service URL's database.
func (t Target) Database() string {
	if t.sealed.cfg.Database == "" {
		return t.sealed.cfg.User
	}
	return t.sealed.cfg.Database
}

// Service is the identity of the service user.
func (t Target) Service() auth.Identity {
	if t.sealed.cfg.Password == "" {
		return auth.Trusted(t.sealed.cfg.User)
	}
	return auth.WithPassword(t.sealed.cfg.User, t.sealed.cfg.Password)
}

// Config is a copy of what pgx needs for the service login. It holds the password.
func (t Target) Config() *pgconn.Config { return t.sealed.cfg.Copy() }

func (t Target) network() (network, addr string) {
	if strings.HasPrefix(t.sealed.cfg.Host, "/") || strings.HasPrefix(t.sealed.cfg.Host, "@") {
		return "unix", t.sealed.cfg.Host + "/.s.PGSQL." + strconv.Itoa(int(t.sealed.cfg.Port))
	}
	return "tcp", net.JoinHostPort(t.sealed.cfg.Host, strconv.Itoa(int(t.sealed.cfg.Port)))
}

// protocol is the version to ask for.
func (t Target) protocol() uint32 {
	switch t.sealed.cfg.MaxProtocolVersion {
	case "", "3.0":
		return wire.Protocol30
	}
	return wire.ProtocolLatest
}

// authRule says which ways of authentication the service URL allows (require_auth, channel_binding).
type authRule struct {
	only    map[string]bool // nil: all, except
	except  map[string]bool
	binding string // disable, prefer, require
}

func newAuthRule(requireAuth, binding string) (authRule, error) {
	r := authRule{binding: binding}
	for _, m := range strings.Split(requireAuth, ",") {
		m = strings.TrimSpace(m)
		name, not := strings.CutPrefix(m, "!")
		switch {
		case m == "":
		case not && r.only == nil:
			if r.except == nil {
				r.except = map[string]bool{}
			}
			r.except[name] = true
		case !not && r.except == nil:
			if r.only == nil {
				r.only = map[string]bool{}
			}
			r.only[name] = true
		default:
			return authRule{}, errors.New("require_auth mixes methods with and without '!'")
		}
	}
	return r, nil
}

// check returns an error if the server isn't to be answered by this method, in require_auth's names.
func (r authRule) check(method string) error {
	if r.only != nil && !r.only[method] || r.except[method] {
		return fmt.Errorf("the server asks for authentication by %q, which require_auth in the service URL doesn't allow", method)
	}
	return nil
}
