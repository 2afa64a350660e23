package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/singleflight"
)

// CatalogConfig says where verifiers are read.
type CatalogConfig struct {
	// Nodes are service connections, the primary's first, in the order in which they are tried: a replica's verifiers are
	// as good as its replay is, and better than no login when there is no primary. The configs are not modified. Each
	// needs a role that may read pg_authid, or call freshet.freshet_auth, which `freshet setup` makes.
	Nodes func() []*pgconn.Config
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
	warned atomic.Int64 // unix nanos of the last warning
}

// catalogConn is a kept service connection, or room for one.
type catalogConn struct {
	conn   *pgconn.PgConn
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
			s.warn(errs)
			return r, nil
		}
		c.drop()
		errs = append(errs, fmt.Errorf("%s: %w", address(node), err))
	}
	if errs == nil {
		return Role{}, errors.New("no node is known to read password verifiers from")
	}
	return Role{}, fmt.Errorf("read password verifiers: %w", errors.Join(errs...))
}

// warnEvery keeps a node that is down from filling the log.
const warnEvery = 10 * time.Second

// warn tells of nodes that couldn't be asked, when another could.
func (s *CatalogSource) warn(errs []error) {
	if len(errs) == 0 {
		return
	}
	now, last := time.Now().UnixNano(), s.warned.Load()
	if now-last >= int64(warnEvery) && s.warned.CompareAndSwap(last, now) {
		s.cfg.Logger.Warn("password verifiers are read from another node", "err", errors.Join(errs...))
	}
}

func (s *CatalogSource) askNode(c *catalogConn, node *pgconn.Config, role string) (Role, error) {
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
// look-up is no shorter. Whether a password has expired is judged by the server's clock, in the words of Postgres' own
// get_role_password.
const (
	readRole = `SELECT a.rolpassword, a.rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.clock_timestamp(), a.rolcanlogin,` +
		` pg_catalog.current_setting('scram_iterations', true) FROM (VALUES (1)) AS one LEFT JOIN `
	readCatalog    = readRole + `pg_catalog.pg_authid AS a ON a.rolname OPERATOR(pg_catalog.=) $1::pg_catalog.name`
	readFunction   = readRole + `freshet.freshet_auth($1::pg_catalog.name) AS a ON true`
	mayReadCatalog = `SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')`
)

func (c *catalogConn) connect(ctx context.Context, node *pgconn.Config) error {
	conn, err := pgconn.ConnectConfig(ctx, node)
	if err != nil {
		return err
	}
	c.conn, c.node, c.reader = conn, address(node), readFunction
	row, err := c.row(ctx, mayReadCatalog)
	if err != nil {
		return err
	}
	if len(row) == 1 && string(row[0]) == "t" {
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

// row runs a query whose answer is one row, in text.
func (c *catalogConn) row(ctx context.Context, sql string, args ...[]byte) ([][]byte, error) {
	r := c.conn.ExecParams(ctx, sql, args, nil, nil, nil).Read()
	if r.Err != nil {
		return nil, r.Err
	}
	if len(r.Rows) != 1 {
		return nil, fmt.Errorf("%d rows where there should be one", len(r.Rows))
	}
	return r.Rows[0], nil
}

func (c *catalogConn) query(ctx context.Context, name string) (Role, error) {
	row, err := c.row(ctx, c.reader, []byte(name))
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
	if len(row) != 4 {
		return Role{}, fmt.Errorf("%d columns where there should be 4", len(row))
	}
	password, expired, canLogin, iterations := row[0], row[1], row[2], row[3]
	var role Role
	if iterations != nil { // from 16 on
		role.Iterations, _ = strconv.Atoi(string(iterations))
	}
	if canLogin == nil {
		return role, nil
	}
	role.Exists, role.CanLogin = true, string(canLogin) == "t"
	role.Verifier, role.Unusable = ParseVerifier(string(password))
	if string(expired) == "t" {
		role.Verifier, role.Unusable = Verifier{}, ErrExpired
	}
	return role, nil
}

// address names a node in messages.
func address(node *pgconn.Config) string {
	return fmt.Sprintf("%s:%d", node.Host, node.Port)
}
