package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

// servers are a primary and a replica for all tests; those that break servers start their own.
var servers = cluster.Shared{Options: cluster.Options{Replicas: 1, Cache: true}}

func TestMain(m *testing.M) { goleak.VerifyTestMain(servers.Main(m)) }

// within bounds whatever a test waits for; it is reached only when something is wrong.
const within = 90 * time.Second

// pollEvery is how often it looks.
var pollEvery = time.Millisecond

// fixture is a database, set up, with a feed that covers it.
type fixture struct {
	testing.TB
	c     *cluster.Cluster
	db    string
	conn  *pgx.Conn // of the superuser, to the primary
	table *consistency.Table
	feed  *Feed
	stop  func()
}

// newDatabase makes a database with these objects and has freshet set it up; the feed is yet to be started.
func newDatabase(t testing.TB, c *cluster.Cluster, sql string) *fixture {
	t.Helper()
	f := &fixture{TB: t, c: c, db: c.NewDatabase(t), stop: func() {}}
	f.conn = f.connect(c.Primary())
	f.exec(sql)
	f.setup()
	return f
}

// newFixture is newDatabase with a feed that has caught up and covers all that is published.
func newFixture(t testing.TB, sql string) *fixture {
	t.Helper()
	f := newDatabase(t, servers.Get(t), sql)
	f.start(Config{})
	f.covers()
	return f
}

func (f *fixture) connect(n *cluster.Node) *pgx.Conn {
	f.Helper()
	conn, err := n.Connect(f.Context(), f.db)
	f.must(err)
	f.Cleanup(func() { closeConn(conn) })
	return conn
}

// setup does what freshet setup does.
func (f *fixture) setup() Report {
	f.Helper()
	r, err := Plan(f.Context(), f.conn, Options{})
	f.must(err)
	f.must(Apply(f.Context(), f.conn, r))
	return r
}

// start runs a feed with a table of its own. What isn't configured is as quick as a test wants it.
func (f *fixture) start(cfg Config) {
	f.Helper()
	f.make(cfg)
	f.run()
}

// make makes a feed that is yet to run.
func (f *fixture) make(cfg Config) {
	f.Helper()
	if cfg.PrimaryURL == nil {
		cfg.PrimaryURL = func() (string, error) { return f.c.Primary().URL(f.db), nil }
	}
	if cfg.PollInterval == 0 {
		cfg.PollInterval = 50 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(f.Output(), nil))
	}
	f.table = consistency.NewTable(1 << 12)
	f.feed = New(cfg, f.table)
}

func (f *fixture) run() {
	f.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := f.feed.Run(ctx); !errors.Is(err, context.Canceled) {
			f.Errorf("Run: %v", err)
		}
	}()
	f.stop = func() { cancel(); <-ended }
	f.Cleanup(func() { f.stop() })
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) exec(sql string) {
	f.Helper()
	f.execOn(f.conn, sql)
}

func (f *fixture) execOn(conn *pgx.Conn, sql string) {
	f.Helper()
	_, err := conn.PgConn().Exec(f.Context(), sql).ReadAll()
	f.must(err)
}

func (f *fixture) value(sql string) string {
	f.Helper()
	return f.valueOn(f.conn, sql)
}

func (f *fixture) valueOn(conn *pgx.Conn, sql string) string {
	f.Helper()
	var v *string
	f.must(conn.QueryRow(f.Context(), "SELECT ("+sql+")::text").Scan(&v))
	if v == nil {
		return ""
	}
	return *v
}

// until polls, since what it waits for is on its way from a server.
func (f *fixture) until(what string, is func() bool) {
	f.Helper()
	for deadline := time.Now().Add(within); !is(); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			f.Fatalf("waited %v: %s; status %+v", within, what, f.feed.Status())
		}
	}
}

// covers waits until the feed has caught up and covers all that is published.
func (f *fixture) covers() {
	f.Helper()
	f.until("serving and covered", func() bool {
		s := f.feed.Status()
		return s.Serving && s.State == Streaming && s.Covered == s.Published && s.Published > 0
	})
}

// applied waits until the feed has passed all that is committed now. (It has the position flushed, as topology does.)
func (f *fixture) applied() {
	f.Helper()
	lsn, err := consistency.ParseLSN(f.value(consistency.PositionSQL))
	f.must(err)
	f.exec(consistency.FlushSQL)
	f.until("position "+lsn.String(), func() bool { return f.table.Position() >= lsn })
}

func (f *fixture) oid(table string) uint32 {
	f.Helper()
	var oid uint32
	f.must(f.conn.QueryRow(f.Context(), "SELECT $1::text::regclass::oid", table).Scan(&oid))
	return oid
}

func (f *fixture) cell(table string) *consistency.Relation { return f.table.Relation(f.oid(table)) }

// stamps runs a change, and checks which of the tables it stamps.
func (f *fixture) stamps(sql string, stamped, untouched []string) {
	f.Helper()
	before := map[string]consistency.Seq{}
	f.applied()
	for _, t := range append(append([]string{}, stamped...), untouched...) {
		before[t] = f.cell(t).Seq()
	}
	global, applied := f.table.Global().Seq(), f.table.Applied()
	f.exec(sql)
	f.applied()
	for _, t := range stamped {
		if s := f.cell(t).Seq(); s <= before[t] || s <= applied {
			f.Errorf("%s: %s is not stamped", sql, t)
		}
	}
	for _, t := range untouched {
		if f.cell(t).Seq() != before[t] {
			f.Errorf("%s: %s is stamped", sql, t)
		}
	}
	if f.table.Global().Seq() != global {
		f.Errorf("%s: the catalog cell is stamped", sql)
	}
}

// probe begins a fill on a connection: what comes after it on the connection sees at least as much.
func (f *fixture) probe(conn *pgx.Conn) consistency.Probe {
	f.Helper()
	p := f.table.Begin()
	f.must(p.Read(f.valueOn(conn, consistency.ProbeSQL)))
	return p
}

// fresh says whether an answer that was probed so would be served now, if it depended on this table alone.
func (f *fixture) fresh(p consistency.Probe, table string) bool {
	f.Helper()
	seq, err := f.table.Contains(p)
	if err != nil {
		f.Fatalf("can't be judged: %v", err)
	}
	return f.cell(table).Seq() <= seq && f.table.Global().Seq() <= seq
}

// tables makes tables of this shape.
func tables(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "CREATE TABLE %s (id int PRIMARY KEY, v int); INSERT INTO %[1]s VALUES (1, 0), (2, 0);", n)
	}
	return b.String()
}

// countingLog counts lines.
type countingLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *countingLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *countingLog) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}
