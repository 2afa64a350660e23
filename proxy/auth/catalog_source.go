package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"golang.org/x/sync/singleflight"
)

// CatalogConfig says where verifiers are read.
type CatalogConfig struct {
	// Nodes are service connections, the primary's first, in the order in which they are tried: a replica's verifiers are
	// as good as its replay is, and better than no login when there is no primary. The configs are not modified. Each
	// needs a role that may read pg_authid, or call freshet.freshet_auth, which `freshet setup` makes.
	Nodes func() []*pgx.ConnConfig
	// Timeout bounds the connecting and asking of one node; default 5 s.
	Timeout time.Duration
	// Logger is told about nodes that can't be asked; default slog.Default().
	Logger *slog.Logger
}

// catalogConns is how many look-ups run at once, and how many connections are kept. Look-ups take a fraction of a
// millisecond; two are enough for thousands of logins a second, and one slow look-up doesn't stop the others.
const catalogConns = 2

// CatalogSource reads verifiers from the catalog of the primary, or else of a replica.
//
// It keeps none of them. A password that was changed, a VALID UNTIL that passed or a login that was taken away counts for
// the next client, and not some time later; and a proof can't be checked a second time against a newer verifier, as the
// client made it for the salt that it was shown. What keeps a thousand clients who come at once from being a thousand
// queries is that clients of one role share a look-up, but only one that had not been sent yet when they came: whoever
// arrives later waits for the next one. So it is never older than its client.
type CatalogSource struct {
	cfg     CatalogConfig
	flights singleflight.Group
	conns   chan *catalogConn // those that nobody uses; taking one is the right to ask

	life   context.Context // ends with Close
	cancel context.CancelFunc
	once   sync.Once
}

// catalogConn is a kept service connection, or room for one.
type catalogConn struct {
	conn   *pgx.Conn
	node   string // to which
	reader string // the query that works there
}

// NewCatalogSource returns a source that connects when it is first asked. It has to be closed.
func NewCatalogSource(cfg CatalogConfig) *CatalogSource {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	// The look-ups are shared, so no client's context may end them; Close does.
	life, cancel := context.WithCancel(context.Background())
	s := &CatalogSource{cfg: cfg, conns: make(chan *catalogConn, catalogConns), life: life, cancel: cancel}
	for range catalogConns {
		s.conns <- &catalogConn{}
	}
	return s
}

// Close ends look-ups, waits until none uses a connection, and closes the connections. It may be called again.
func (s *CatalogSource) Close() {
	s.once.Do(func() {
		s.cancel()
		for range catalogConns { // and never gives one back: look-ups that still wait end with ErrClosed
			c := <-s.conns
			c.drop()
		}
	})
}

// ErrClosed: the source was closed.
var ErrClosed = errors.New("verifier source is closed")

// Verifier implements Source.
func (s *CatalogSource) Verifier(ctx context.Context, role string) (Role, error) {
	ch := s.flights.DoChan(role, func() (any, error) { return s.lookup(role) })
	select {
	case r := <-ch:
		role, _ := r.Val.(Role)
		return role, r.Err
	case <-ctx.Done():
		return Role{}, context.Cause(ctx)
	}
}

func (s *CatalogSource) lookup(role string) (Role, error) {
	select {
	case c := <-s.conns:
		defer func() { s.conns <- c }()
		// Who comes from here on may know of a change that this look-up doesn't see.
		s.flights.Forget(role)
		return s.ask(c, role)
	case <-s.life.Done():
		return Role{}, ErrClosed
	}
}

// ask goes through the nodes until one answers.
func (s *CatalogSource) ask(c *catalogConn, role string) (Role, error) {
	if strings.IndexByte(role, 0) >= 0 || !utf8.ValidString(role) {
		return Role{}, nil // can't be sent as text, and a role made under UTF-8 can't be named like that
	}
	var errs []error
	for _, node := range s.cfg.Nodes() {
		if s.life.Err() != nil {
			return Role{}, ErrClosed
		}
		r, err := s.askNode(c, node, role)
		if err == nil {
			return r, nil
		}
		c.drop()
		s.cfg.Logger.Warn("password verifiers can't be read", "node", address(node), "err", err)
		errs = append(errs, fmt.Errorf("%s: %w", address(node), err))
	}
	if errs == nil {
		return Role{}, errors.New("no node is known to read password verifiers from")
	}
	return Role{}, fmt.Errorf("read password verifiers: %w", errors.Join(errs...))
}

func (s *CatalogSource) askNode(c *catalogConn, node *pgx.ConnConfig, role string) (Role, error) {
	ctx, cancel := context.WithTimeout(s.life, s.cfg.Timeout)
	defer cancel()
	if c.conn != nil && c.node == address(node) && !c.conn.IsClosed() {
		r, err := c.query(ctx, role)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		// The kept connection may have died in the meantime, or its privileges changed: begin anew.
	}
	c.drop()
	if err := c.connect(ctx, node); err != nil {
		return Role{}, err
	}
	return c.query(ctx, role)
}

// Each name is qualified by its schema, operators too: the connection's search_path is that of the service role, which
// its owner may have set to anything. The outer join makes one row also for a role that doesn't exist, so that its
// look-up is no shorter.
const (
	readCatalog = `SELECT a.rolpassword, a.rolvaliduntil, a.rolcanlogin, pg_catalog.clock_timestamp(),` +
		` pg_catalog.current_setting('scram_iterations', true) FROM (VALUES (1)) AS one` +
		` LEFT JOIN pg_catalog.pg_authid AS a ON a.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name`
	readFunction = `SELECT a.rolpassword, a.rolvaliduntil, a.rolcanlogin, pg_catalog.clock_timestamp(),` +
		` pg_catalog.current_setting('scram_iterations', true) FROM (VALUES (1)) AS one` +
		` LEFT JOIN freshet.freshet_auth($1::pg_catalog.name) AS a ON true`
	mayReadCatalog = `SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')`
)

func (c *catalogConn) connect(ctx context.Context, node *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, node.Copy())
	if err != nil {
		return err
	}
	c.conn, c.node, c.reader = conn, address(node), readFunction
	var may bool
	if err := conn.QueryRow(ctx, mayReadCatalog, pgx.QueryExecModeExec).Scan(&may); err != nil {
		return err
	}
	if may {
		c.reader = readCatalog
	}
	return nil
}

func (c *catalogConn) drop() {
	if c.conn == nil {
		return
	}
	// A deadline of its own: this also runs when the look-up's has passed, and must not wait for a server that is gone.
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	c.conn.Close(ctx)
	c.conn = nil
}

func (c *catalogConn) query(ctx context.Context, name string) (Role, error) {
	var password, iterations *string
	var validUntil pgtype.Timestamptz
	var canLogin *bool
	var now time.Time
	err := c.conn.QueryRow(ctx, c.reader, pgx.QueryExecModeExec, name).
		Scan(&password, &validUntil, &canLogin, &now, &iterations)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "22021", "22P05": // a name that the database's encoding can't express is nobody's
			return Role{}, nil
		case "42883", "3F000", "42501":
			return Role{}, fmt.Errorf("%w; run `freshet setup`, or let the service user read pg_authid", err)
		}
	}
	if err != nil {
		return Role{}, err
	}
	var role Role
	if iterations != nil { // from 16 on
		role.Iterations, _ = strconv.Atoi(*iterations)
	}
	if canLogin == nil {
		return role, nil
	}
	role.Exists, role.CanLogin = true, *canLogin
	var stored string
	if password != nil {
		stored = *password
	}
	role.Verifier, role.Unusable = ParseVerifier(stored)
	if role.Unusable == nil && validUntil.Valid && expired(validUntil, now) {
		role.Verifier, role.Unusable = Verifier{}, ErrExpired
	}
	return role, nil
}

// expired is Postgres' test of VALID UNTIL (get_role_password), by the server's clock.
func expired(validUntil pgtype.Timestamptz, now time.Time) bool {
	switch validUntil.InfinityModifier {
	case pgtype.Infinity:
		return false
	case pgtype.NegativeInfinity:
		return true
	}
	return validUntil.Time.Before(now)
}

// address names a node in messages.
func address(node *pgx.ConnConfig) string {
	return fmt.Sprintf("%s:%d", node.Host, node.Port)
}
