package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy"
	"github.com/freshet/freshet/proxy/wire"
)

// queryLimit is short: what is under it in these tests would otherwise not end. Everything else is asked before it is in force, or
// after it is gone.
const queryLimit = 300 * time.Millisecond

// limitCase is a client with a query that takes too long.
type limitCase struct {
	name   string
	before []string // Query messages
	send   []byte
	readys int    // ReadyForQuery that come of it
	want   string // of the replies
	after  string // a Query message afterwards, and …
	then   string // … of its replies
}

// A query that takes too long is cancelled, wherever it is, and the session goes on (HAZARDS 3: one ReadyForQuery for each Sync).
func TestHazard03AQueryThatTakesTooLongIsCancelledAndTheSessionGoesOn(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	execute := func(sql string) []byte {
		return wire.AppendExecute(wire.AppendBind(wire.AppendParse(nil, "", sql), "", "", nil, nil, nil), "", 0)
	}
	copied := append(wire.AppendCopyData(nil, []byte("1001\t1\n")), wire.AppendCopyDone(nil)...)
	const cancelled = "E ERROR 57014 canceling statement due to --query-timeout (300ms)"
	cases := []limitCase{
		{"a Query", nil, wire.AppendQuery(nil, "SELECT pg_sleep(600)"), 1, "Z I", "SELECT 'on'", "on"},
		{"an Execute", nil, wire.AppendSync(execute("SELECT pg_sleep(600)")), 1, "Z I", "SELECT 'on'", "on"},
		{"with Flush", nil, append(wire.AppendFlush(execute("SELECT pg_sleep(600)")), wire.AppendSync(nil)...), 1, "Z I", "SELECT 'on'", "on"},
		{"in a transaction", []string{"BEGIN", "INSERT INTO unlogged VALUES (1)"}, wire.AppendQuery(nil, "SELECT pg_sleep(600)"), 1, "Z E", "ROLLBACK", "Z I"},
		{"the first of a transaction", []string{"BEGIN"}, wire.AppendQuery(nil, "SELECT pg_sleep(600)"), 1, "Z E", "SELECT 1", "25P02"},
		{"several in a pipeline", nil, wire.AppendQuery(wire.AppendSync(execute("SELECT pg_sleep(600)")), "SELECT 'next'"), 2, "next", "SELECT 'on'", "on"},
		{"a lock that somebody has", nil, wire.AppendQuery(nil, "SELECT v AS blocked FROM k WHERE a = 1"), 1, "Z I", "SELECT 'on'", "on"},
		{"the same, so that they share a flight", nil, wire.AppendQuery(nil, "SELECT v AS blocked FROM k WHERE a = 1"), 1, "Z I", "SELECT 'on'", "on"},
		{"COPY of a client that sends nothing", nil, wire.AppendQuery(nil, "COPY unlogged FROM STDIN"), 1, "Z I", "SELECT 'on'", "on"},
		{"the same by Execute", nil, wire.AppendSync(execute("COPY unlogged FROM STDIN")), 1, "Z I", "SELECT 'on'", "on"},
	}
	conns := make([]*wireConn, len(cases))
	for i, tc := range cases {
		conns[i] = dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
		defer conns[i].conn.Close()
		for _, sql := range tc.before {
			conns[i].send(t, wire.AppendQuery(nil, sql))
		}
		conns[i].replies(t, len(tc.before))
	}
	lock := connectTo(t, c.Primary().URL(db))
	do(t, lock, "BEGIN; LOCK TABLE k IN ACCESS EXCLUSIVE MODE")
	for _, r := range c.Replicas() {
		eventually(t, "the lock is there, too", func() bool {
			n, err := r.Value(context.Background(), "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = '"+db+"' AND mode = 'AccessExclusiveLock'")
			return err == nil && n != "0"
		})
	}
	in.server.SetLimits(proxy.Limits{Query: queryLimit})
	for i, tc := range cases {
		conns[i].send(t, tc.send)
	}
	for i, tc := range cases {
		got := ""
		if strings.Contains(tc.name, "by Execute") {
			// The Sync behind it was ignored by the server, which was copying. Clients send another after the error.
			got = conns[i].until(t, wire.MsgErrorResponse)
			conns[i].send(t, wire.AppendSync(nil))
		}
		if got += conns[i].replies(t, tc.readys); !strings.Contains(got, cancelled) || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %s", tc.name, got)
		}
	}
	in.server.SetLimits(proxy.Limits{})
	do(t, lock, "ROLLBACK")
	for i, tc := range cases {
		conns[i].send(t, copied) // what comes after all is dropped
		conns[i].send(t, wire.AppendQuery(nil, tc.after))
		if got := conns[i].replies(t, 1); !strings.Contains(got, tc.then) {
			t.Errorf("%s: afterwards: %s", tc.name, got)
		}
	}
	if got := one(t, lock, "SELECT count(*) FROM unlogged"); got != "0" {
		t.Errorf("%s rows of a transaction and a COPY that were cancelled", got)
	}
}

// until reads until a message of that type has come, and returns errors in the form of replies.
func (c *wireConn) until(t testing.TB, typ byte) string {
	t.Helper()
	var out strings.Builder
	for {
		msg := c.next(t, &out)
		if msg == nil {
			return out.String() + "closed"
		}
		if msg[0] == wire.MsgErrorResponse {
			e, _ := wire.DecodeError(wire.Body(msg))
			fmt.Fprintf(&out, "E %s %s %s\n", e.Severity, e.Code, e.Message)
		}
		if msg[0] == typ {
			return out.String()
		}
	}
}

// While a query waits for a server connection, its time counts, too.
func TestQueryTimeoutCountsTheWaitForAServerConnection(t *testing.T) {
	_, in, db := txDatabase(t, func(cfg *ServeConfig) {
		cfg.PoolSize, cfg.PoolWait = 1, time.Minute
	})
	c := shared.Get(t)
	holder, waiter := in.connect(t, c, db, simpleProtocol), in.connect(t, c, db, simpleProtocol)
	do(t, holder, "BEGIN")
	do(t, holder, "UPDATE k SET v = v WHERE a = 1")
	in.server.SetLimits(proxy.Limits{Query: queryLimit})
	err := try(waiter, "UPDATE k SET v = -1 WHERE a = 1")
	if code(err) != "57014" || !strings.Contains(err.Error(), "--query-timeout") {
		t.Errorf("waiting for a connection: %v", err)
	}
	in.server.SetLimits(proxy.Limits{})
	do(t, holder, "COMMIT")
	if got := one(t, waiter, "SELECT v FROM k WHERE a = 1"); got != "1" {
		t.Errorf("it was done all the same: %s", got)
	}
}

// lateCancels is a way to a server on which requests to cancel wait until they are let go.
type lateCancels struct {
	addr string
	came chan struct{} // closed when one has come
	let  chan struct{} // close it to let it go
}

func newLateCancels(t *testing.T, to string) *lateCancels {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &lateCancels{addr: l.Addr().String(), came: make(chan struct{}), let: make(chan struct{})}
	var wg sync.WaitGroup
	var once sync.Once
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				first := make([]byte, 4096)
				n, err := conn.Read(first)
				if err != nil {
					return
				}
				if n >= 8 && binary.BigEndian.Uint32(first[4:]) == wire.CodeCancelRequest {
					once.Do(func() { close(d.came) })
					<-d.let
				}
				server, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				server.Write(first[:n])
				go func() {
					io.Copy(server, conn)
					server.Close()
				}()
				io.Copy(conn, server)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return d
}

// HAZARDS 4: a request to cancel that comes too late hits neither what the session asks next on the same server connection, in its transaction, nor
// whoever has the connection next.
func TestHazard04ALateTimeoutHitsNothingElse(t *testing.T) {
	c := shared.Get(t)
	for _, kind := range []string{"in a transaction", "outside", "a stream"} {
		t.Run(kind, func(t *testing.T) {
			way := newLateCancels(t, c.Primary().Addr())
			in := startTestServer(t, c, func(cfg *ServeConfig) {
				cfg.Primary = strings.Replace(cfg.Primary, c.Primary().Addr(), way.addr, 1)
				cfg.Replica = nil
				cfg.PoolSize = 1
				cfg.ConnectTimeout = time.Minute // also how long the server may take to react
			})
			db := c.NewDatabase(t)
			lock := connectTo(t, c.Primary().URL(db))
			do(t, lock, "SELECT pg_advisory_lock(4711)")
			conn := dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
			defer conn.conn.Close()
			if kind == "in a transaction" {
				conn.send(t, wire.AppendQuery(nil, "BEGIN"))
				conn.send(t, wire.AppendQuery(nil, "SELECT txid_current()"))
				conn.replies(t, 2)
			}
			in.server.SetLimits(proxy.Limits{Query: queryLimit})
			execute := func(sql string) []byte {
				return wire.AppendFlush(wire.AppendExecute(wire.AppendBind(wire.AppendParse(nil, "", sql), "", "", nil, nil, nil), "", 0))
			}
			const wait, next = "SELECT 'got it' FROM pg_advisory_xact_lock(4711)", "SELECT 'done' FROM pg_sleep(0.5)"
			first, second, want := wire.AppendQuery(nil, wait), wire.AppendQuery(nil, next), 2
			if kind == "a stream" {
				first, second, want = execute(wait), wire.AppendSync(execute(next)), 1
			}
			conn.send(t, first)
			<-way.came
			in.server.SetLimits(proxy.Limits{})
			do(t, lock, "SELECT pg_advisory_unlock(4711)")
			conn.send(t, second)
			time.Sleep(100 * time.Millisecond) // time for the second to be sent, if it were sent too early
			close(way.let)
			if got := conn.replies(t, want); !strings.Contains(got, "got it") || !strings.Contains(got, "done") {
				t.Error(got)
			}
		})
	}
}

// A server that doesn't react to the request to cancel is left to itself.
func TestAServerThatDoesntReactToATimeoutIsGivenUp(t *testing.T) {
	const wait = 2 * time.Second
	c, in, db := txDatabase(t, func(cfg *ServeConfig) { cfg.ConnectTimeout = wait })
	direct := connectTo(t, c.Primary().URL(db))
	cases := []struct{ begin, want, status string }{
		{"SELECT 1", "E ERROR 57014", "Z I"},
		{"BEGIN", "E FATAL 57014", "closed"},
	}
	conns := make([]*wireConn, len(cases))
	for i, tc := range cases {
		conns[i] = dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
		defer conns[i].conn.Close()
		conns[i].send(t, wire.AppendQuery(nil, tc.begin))
		conns[i].replies(t, 1)
		conns[i].send(t, wire.AppendQuery(nil, fmt.Sprintf("UPDATE k SET v = v FROM pg_sleep(600) WHERE a = %d", i+1)))
	}
	eventually(t, "they run", func() bool { return activity(t, c, db, "active") == len(cases) })
	rows, err := direct.Query(context.Background(), "SELECT pid FROM pg_stat_activity WHERE datname = $1 AND state = 'active' AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()", db)
	if err != nil {
		t.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGCONT)
	}
	in.server.SetLimits(proxy.Limits{Query: queryLimit})
	for i, tc := range cases {
		got := conns[i].replies(t, 1)
		if !strings.Contains(got, tc.want) || !strings.Contains(got, tc.status) || !strings.Contains(got, "isn't known") {
			t.Errorf("after %s: %s", tc.begin, got)
		}
	}
	in.server.SetLimits(proxy.Limits{})
	conns[0].send(t, wire.AppendQuery(nil, "SELECT 'on'"))
	if got := conns[0].replies(t, 1); !strings.Contains(got, "on") {
		t.Error(got)
	}
}

// HAZARDS 15: a commit isn't acknowledged before its time because of the limit: a COMMIT isn't bounded, and where a statement's own commit is, the client
// is told that standbys may not have it.
func TestHazard15ATimeoutAcknowledgesNoCommitEarly(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0), (2, 0), (3, 0)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	conns := make([]*wireConn, 3)
	for i := range conns {
		conns[i] = dialWire(t, ctx, in.Addrs()[0], cluster.App, c.Password())
		defer conns[i].conn.Close()
		conns[i].send(t, wire.AppendQuery(nil, "SHOW work_mem"))
		conns[i].replies(t, 1)
	}
	if err := c.SetSynchronous(ctx, "replica1"); err != nil {
		t.Fatal(err)
	}
	conns[0].send(t, wire.AppendQuery(nil, "BEGIN"))
	conns[0].send(t, wire.AppendQuery(nil, "UPDATE k SET v = 1 WHERE a = 1"))
	conns[0].replies(t, 2)
	if err := c.Replicas()[0].Freeze(); err != nil {
		t.Fatal(err)
	}
	in.server.SetLimits(proxy.Limits{Query: queryLimit})
	conns[0].send(t, wire.AppendQuery(nil, "COMMIT"))
	conns[1].send(t, wire.AppendQuery(nil, "UPDATE k SET v = 1 WHERE a = 2"))
	conns[2].send(t, wire.AppendSync(wire.AppendExecute(wire.AppendBind(wire.AppendParse(nil, "", "UPDATE k SET v = 1 WHERE a = 3"), "", "", nil, nil, nil), "", 0)))
	for _, conn := range conns[1:] {
		got := conn.replies(t, 1)
		if !strings.Contains(got, "E ERROR 40003 --query-timeout") || !strings.Contains(got, "Z I") {
			t.Error(got)
		}
		if conn == conns[1] && strings.Contains(got, "UPDATE 1") {
			t.Errorf("acknowledged: %s", got)
		}
	}
	in.server.SetLimits(proxy.Limits{})
	if err := c.Replicas()[0].Thaw(); err != nil {
		t.Fatal(err)
	}
	if got := conns[0].replies(t, 1); strings.Contains(got, "WARNING") || !strings.Contains(got, "COMMIT") {
		t.Errorf("the COMMIT: %s", got)
	}
	for i, conn := range conns {
		conn.send(t, wire.AppendQuery(nil, "SELECT sum(v) FROM k"))
		if got := conn.replies(t, 1); !strings.Contains(got, "3") {
			t.Errorf("%d: %s", i, got)
		}
	}
}

// A client that does nothing in a transaction is disconnected, and the transaction is rolled back: whether a server knows of it, or not yet.
func TestIdleTransactionTimeout(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	parse := wire.AppendFlush(wire.AppendParse(nil, "", "SELECT 1"))
	for _, tc := range []struct {
		name string
		send []byte
		n    int // of ReadyForQuery
	}{
		{"a BEGIN that no server knows", wire.AppendQuery(nil, "BEGIN"), 1},
		{"with a read that left it", wire.AppendQuery(wire.AppendQuery(nil, "BEGIN"), "SELECT v FROM k WHERE a = 1"), 2},
		{"with a write", wire.AppendQuery(wire.AppendQuery(nil, "BEGIN"), "UPDATE k SET v = -1 WHERE a = 1"), 2},
		{"that has failed", wire.AppendQuery(wire.AppendQuery(nil, "BEGIN"), "UPDATE k SET v = 1/0 WHERE a = 2"), 2},
		{"on a replica", wire.AppendQuery(wire.AppendQuery(nil, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), "SELECT v FROM k WHERE a = 1"), 2},
		{"up to a Flush", parse, 0},
		{"streamed", wire.AppendFlush(wire.AppendExecute(wire.AppendBind(wire.AppendParse(nil, "", "INSERT INTO unlogged VALUES (1)"), "", "", nil, nil, nil), "", 0)), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn := dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
			defer conn.conn.Close()
			conn.send(t, tc.send)
			conn.replies(t, tc.n)
			// A limit that is set counts from then on.
			in.server.SetLimits(proxy.Limits{IdleTransaction: 100 * time.Millisecond, ClientIdle: time.Hour})
			got := conn.replies(t, 1)
			in.server.SetLimits(proxy.Limits{})
			if !strings.HasSuffix(got, "E FATAL 25P03 terminating connection due to --idle-transaction-timeout (100ms) detail=\"\" hint=\"\" position=\nclosed\n") {
				t.Error(got)
			}
			eventually(t, "it is rolled back", func() bool { return inTransaction(t, c, db) == 0 })
		})
	}
	other := in.connect(t, c, db, "")
	do(t, other, "UPDATE k SET v = v WHERE a = 1") // nobody holds the lock
	if got := one(t, other, "SELECT v FROM k WHERE a = 1"); got != "1" {
		t.Errorf("it isn't rolled back: %s", got)
	}
}

// A client that does nothing is disconnected, but not in a transaction, and not while it waits. The limit can be changed while
// sessions run.
func TestClientIdleTimeoutByReload(t *testing.T) {
	var cfg ServeConfig
	c, in, db := txDatabase(t, func(c *ServeConfig) {
		c.ClientIdleTimeout = time.Hour
		cfg = *c
	})
	dial := func(sql ...string) *wireConn {
		conn := dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
		for _, q := range sql {
			conn.send(t, wire.AppendQuery(nil, q))
		}
		return conn
	}
	idle, silent, inTx, waits := dial("SELECT 1"), dial(), dial("BEGIN"), dial("SELECT 'done' FROM pg_sleep(0.5)")
	idle.replies(t, 1)
	inTx.replies(t, 1)
	cfg.ClientIdleTimeout = 100 * time.Millisecond
	if err := in.reconfigure(cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	const want = "E FATAL 57P05 terminating connection due to --client-idle-timeout (100ms) detail=\"\" hint=\"\" position=\nclosed\n"
	for _, conn := range []*wireConn{idle, silent} {
		if got := conn.replies(t, 1); got != want {
			t.Error(got)
		}
	}
	if got := waits.replies(t, 2); !strings.Contains(got, "done") || !strings.HasSuffix(got, "Z I\n"+want) {
		t.Errorf("one that waited, and then did nothing: %s", got)
	}
	cfg.ClientIdleTimeout = 0
	if err := in.reconfigure(cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	inTx.send(t, wire.AppendQuery(nil, "COMMIT"))
	if got := inTx.replies(t, 1); !strings.Contains(got, "Z I") {
		t.Errorf("in a transaction: %s", got)
	}
	for _, conn := range []*wireConn{idle, silent, inTx, waits} {
		conn.conn.Close()
	}
}
