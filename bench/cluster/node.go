package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Node is one Postgres server. Its methods are safe for concurrent use.
type Node struct {
	server
	data     string
	upstream atomic.Pointer[Node] // whom it follows; nil: nobody, it is a primary
}

// StopMode is how a node is shut down, as in pg_ctl.
type StopMode int

const (
	// Fast ends transactions and connections, writes a checkpoint and, on
	// a primary, waits until its replicas have received everything.
	Fast StopMode = iota
	// Immediate ends everything at once; the next start recovers from WAL.
	Immediate
)

// newNode adds a node to the cluster: the primary, then replica1, replica2, …
func (c *Cluster) newNode() *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := "primary"
	if i := len(c.mu.nodes); i > 0 {
		name = "replica" + strconv.Itoa(i)
	}
	n := &Node{data: filepath.Join(c.dir, name)}
	n.c, n.name, n.logPath = c, name, filepath.Join(c.dir, name+".log")
	c.mu.nodes = append(c.mu.nodes, n)
	return n
}

// Upstream is the node that this one, being a replica, follows; nil for a
// primary.
func (n *Node) Upstream() *Node { return n.upstream.Load() }

// Start starts the node, with the port and the role that it had, and returns
// when it takes connections. Nothing happens if it is up.
func (n *Node) Start(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	if n.Running() {
		return nil
	}
	n.c.logf("start %s", n.name)
	return n.start(ctx)
}

func (n *Node) start(ctx context.Context) error {
	if err := n.writeConfig(); err != nil {
		return err
	}
	return n.run(ctx, n.ready, "QUIT", filepath.Join(n.c.bin, "postgres"), "-D", n.data)
}

// startFirst is Start with a new port.
func (n *Node) startFirst(ctx context.Context) error {
	n.op.Lock()
	defer n.op.Unlock()
	return n.runFirst(ctx, func() error { return n.start(ctx) })
}

// ready reads what the postmaster says about itself in its pid file, as
// pg_ctl does: line 1 is its pid, line 8 its state.
func (n *Node) ready() (bool, error) {
	b, err := os.ReadFile(filepath.Join(n.data, "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	lines := strings.Split(string(b), "\n")
	return len(lines) >= 8 && lines[0] == strconv.Itoa(n.Pid()) && strings.TrimSpace(lines[7]) == "ready", nil
}

// Stop shuts the node down. Nothing happens if it is down. A node that takes
// longer than a minute is killed, which is an error. A frozen node is thawed.
func (n *Node) Stop(mode StopMode) error {
	sig := syscall.SIGINT
	if mode == Immediate {
		sig = syscall.SIGQUIT
	}
	return n.end(sig, time.Minute)
}

// Restart is Stop and Start.
func (n *Node) Restart(ctx context.Context, mode StopMode) error {
	return errors.Join(n.Stop(mode), n.Start(ctx))
}

// removeSharedMemory removes what a killed postmaster has left in the system:
// the small System V segment that keeps a second one off the data directory.
// The next start would remove it; this is for the end. (The rest of Postgres'
// shared memory goes with its processes, or is in the data directory, since
// dynamic_shared_memory_type is mmap.)
func (n *Node) removeSharedMemory() {
	b, err := os.ReadFile(filepath.Join(n.data, "postmaster.pid"))
	if err != nil {
		return // the usual case: it was shut down
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) < 7 {
		return
	}
	if f := strings.Fields(lines[6]); len(f) == 2 {
		if id, err := strconv.Atoi(f[1]); err == nil {
			removeSegment(id)
		}
	}
}

// URL is how the superuser connects to a database of this node.
func (n *Node) URL(database string) string {
	return n.UserURL(Superuser, n.c.password, database)
}

// AppURL is how the role App connects to its database.
func (n *Node) AppURL() string { return n.UserURL(App, n.c.appPass, App) }

// UserURL is how anybody connects to a database of this node. It asks for TLS
// if the cluster has it (sslmode=verify-full).
func (n *Node) UserURL(user, password, database string) string {
	q := url.Values{"sslmode": {"disable"}}
	if n.c.caFile != "" {
		q = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {n.c.caFile}}
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: n.Addr(), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// ReplicationURL is URL for a logical replication connection.
func (n *Node) ReplicationURL(database string) string {
	return n.URL(database) + "&replication=database"
}

// SocketDir is the folder of the node's Unix socket, to be used with Port.
// It is empty when the cluster's folder has too long a name to have one.
func (n *Node) SocketDir() string { return n.c.sockets }

// Connect connects the superuser to a database; the caller closes it.
func (n *Node) Connect(ctx context.Context, database string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, n.URL(database))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.name, err)
	}
	return conn, nil
}

// Exec runs statements, several with semicolons between them if there are no
// args, as the superuser in the database App, on a connection of its own.
func (n *Node) Exec(ctx context.Context, sql string, args ...any) error {
	return n.ExecIn(ctx, App, sql, args...)
}

// ExecIn is Exec in another database.
func (n *Node) ExecIn(ctx context.Context, database, sql string, args ...any) error {
	conn, err := n.Connect(ctx, database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if len(args) == 0 {
		_, err = conn.PgConn().Exec(ctx, sql).ReadAll()
	} else {
		_, err = conn.Exec(ctx, sql, args...)
	}
	if err != nil {
		return fmt.Errorf("%s: %q: %w", n.name, sql, err)
	}
	return nil
}

// Value runs a query that gives one row of one column, like Exec, and returns
// it as text; NULL as the empty string.
func (n *Node) Value(ctx context.Context, sql string, args ...any) (string, error) {
	conn, err := n.Connect(ctx, App)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return value(ctx, conn, sql, args...)
}

func value(ctx context.Context, conn *pgx.Conn, sql string, args ...any) (string, error) {
	rows, err := conn.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
	if err != nil {
		return "", fmt.Errorf("%q: %w", sql, err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (string, error) {
		raw := row.RawValues()
		if len(raw) != 1 {
			return "", fmt.Errorf("%d columns", len(raw))
		}
		return string(raw[0]), nil
	})
	if err != nil {
		return "", fmt.Errorf("%q: %w", sql, err)
	}
	return v, nil
}

// Set changes a setting in the node's configuration (ALTER SYSTEM), or takes
// it back to its default if the value is empty, and has it reloaded. Settings
// that need it take effect with the next Restart only. A list of identifiers
// (search_path) with more than one element is not possible this way.
func (n *Node) Set(ctx context.Context, name, val string) error {
	sql := "ALTER SYSTEM RESET " + name
	if val != "" {
		sql = "ALTER SYSTEM SET " + name + " = " + quoteLiteral(val)
	}
	// Not in one string, which would be a transaction.
	if err := n.Exec(ctx, sql); err != nil {
		return err
	}
	return n.Exec(ctx, "SELECT pg_reload_conf()")
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func quoteIdentifier(s string) string { return pgx.Identifier{s}.Sanitize() }
