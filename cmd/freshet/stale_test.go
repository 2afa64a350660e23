package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

// TestAllServersDown: reads are answered from the cache as it was, for those who may see it; everything else gets an error that says
// why; and when the servers are back nothing stale is left.
func TestAllServersDown(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k (a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 10), (2, 20), (3, 30); CREATE TABLE keyless (v int)"); err != nil {
		t.Fatal(err)
	}
	const wait = 3 * time.Second
	start := func(bound time.Duration) *instance {
		in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolWait, cfg.StaleIfError = wait, bound })
		covered(t, c, in, cluster.App)
		return in
	}
	in, brief, never := start(time.Hour), start(time.Nanosecond), start(0)
	const one1, one2 = "SELECT v FROM k WHERE a = 1", "SELECT v FROM k WHERE a = 2"
	reader, simple := in.connect(t, c, cluster.App, ""), in.connect(t, c, cluster.App, "&default_query_exec_mode=simple_protocol")
	eventual := in.connect(t, c, cluster.App, "&options=-c%20freshet.consistency%3Deventual")
	strong := in.connect(t, c, cluster.App, "&options=-c%20freshet.consistency%3Dstrong")
	timed := in.connect(t, c, cluster.App, "&options=-c%20freshet.cache_ttl%3D1h")
	writer := in.connect(t, c, cluster.App, "")
	tooOld, without := brief.connect(t, c, cluster.App, ""), never.connect(t, c, cluster.App, "")
	for _, conn := range []*pgx.Conn{reader, simple, eventual, strong, writer, tooOld, without} {
		cachedBy(t, conn, one1)
		cachedBy(t, conn, one2)
		one(t, conn, "SELECT v FROM k WHERE a = $1", 3) // planned, and later asked with another value
	}
	cachedBy(t, timed, "SELECT count(*) FROM keyless")
	// The last thing that all know is that the first row has changed.
	tables := map[*consistency.Table]consistency.Seq{}
	for _, i := range []*instance{in, brief, never} {
		table := i.databases.Get(cluster.App).Table
		tables[table] = table.Applied()
	}
	do(t, writer, "UPDATE k SET v = 11 WHERE a = 1")
	for table, before := range tables {
		eventually(t, "the feed has applied the write", func() bool { return table.Applied() > before })
	}

	for _, n := range c.Nodes() {
		if err := n.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	stale := func(conn *pgx.Conn, sql, want string) {
		t.Helper()
		var got string
		// Until the loss has been noticed, the cache answers as ever, if it can.
		eventually(t, "a stale answer to "+sql, func() bool {
			got = one(t, conn, sql)
			return source(t, conn) == "l1 stale"
		})
		if why := reason(t, conn); got != want || why != "cached, stale, since no server can answer (--stale-if-error)" {
			t.Errorf("%s: %s, not %s; %s", sql, got, want, why)
		}
	}
	for range 3 {
		stale(reader, one1, "10") // as it was; it hasn't written
		stale(simple, one1, "10")
		stale(eventual, one1, "10")
		// Of the second row it is known for a moment yet that nothing has changed.
		for _, conn := range []*pgx.Conn{reader, simple} {
			if got, from := one(t, conn, one2), source(t, conn); got != "20" || !strings.HasPrefix(from, "l1") {
				t.Errorf("what hasn't changed: %s from %s", got, from)
			}
		}
		// What is cached for a time isn't stale before it is over.
		if got, from := one(t, timed, "SELECT count(*) FROM keyless"), source(t, timed); got != "0" || !strings.HasPrefix(from, "l1") {
			t.Errorf("cached for a time: %s from %s", got, from)
		}
	}
	// refused asks until the error says that there is no server; each takes --pool-wait.
	refused := func(who string, conn *pgx.Conn, sql string, args ...any) {
		var pg *pgconn.PgError
		for deadline := time.Now().Add(30 * time.Second); ; {
			_, err := conn.Exec(ctx, sql, args...)
			if errors.As(err, &pg) && (pg.Code == "57P03" || pg.Code == "08006") {
				break
			}
			if conn.IsClosed() || time.Now().After(deadline) {
				t.Errorf("%s: %v (closed: %v)", who, err, conn.IsClosed())
				return
			}
		}
		if pg.Hint == "" && pg.Code == "57P03" || conn.IsClosed() {
			t.Errorf("%s: %v (closed: %v)", who, pg, conn.IsClosed())
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { refused("one that has written since", writer, one1) })
	wg.Go(func() { refused("strong", strong, one1) })
	wg.Go(func() { refused("never", without, one1) })
	wg.Go(func() { refused("too old", tooOld, one1) })
	wg.Go(func() { refused("not in the cache", reader, "SELECT v FROM k WHERE a = $1", 4) })
	wg.Go(func() { refused("a write", eventual, "UPDATE k SET v = 12 WHERE a = 1") })
	wg.Go(func() { refused("a transaction", simple, "BEGIN; SELECT v FROM k WHERE a = 1; COMMIT") })
	wg.Wait()
	stale(simple, one1, "10") // and it goes on
	if n := in.Snapshot().Stale["error"]; n < 10 {
		t.Errorf("%d stale answers counted", n)
	}

	for _, n := range c.Nodes() {
		if err := n.Start(ctx); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "writes work again", func() bool {
		_, err := simple.Exec(ctx, "UPDATE k SET v = 13 WHERE a = 1")
		return err == nil
	})
	read := func(conn *pgx.Conn) (got int) { // 0: the servers aren't quite there yet
		conn.QueryRow(ctx, one1).Scan(&got)
		return got
	}
	eventually(t, "its own write", func() bool {
		got := read(simple)
		if got != 0 && got != 13 {
			t.Errorf("after its own write: %d from %s", got, source(t, simple))
		}
		return got != 0
	})
	eventually(t, "and the cache", func() bool { return read(reader) == 13 && source(t, reader) == "l1" })
}

// TestStaleWhileRevalidate: a session of the level eventual needn't wait for an answer that has gone stale to be fetched anew, however
// long that takes; it is fetched once.
func TestStaleWhileRevalidate(t *testing.T) {
	d := newCatalogDatabase(t, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0); CREATE TABLE keyless (v int)",
		func(cfg *ServeConfig) { cfg.StaleWhileRevalidate = time.Hour })
	eventual := d.in.connect(t, d.c, d.name, "&options=-c%20freshet.consistency%3Deventual&default_query_exec_mode=exec")
	other := d.in.connect(t, d.c, d.name, "&options=-c%20freshet.consistency%3Deventual&default_query_exec_mode=simple_protocol")
	prepared := d.in.connect(t, d.c, d.name, "&options=-c%20freshet.consistency%3Deventual&default_query_exec_mode=cache_statement")
	described := d.in.connect(t, d.c, d.name, "&options=-c%20freshet.consistency%3Deventual&default_query_exec_mode=describe_exec")
	session := d.in.connect(t, d.c, d.name, "&default_query_exec_mode=exec")
	lock := func(t testing.TB) {
		d.exec(t, "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
		// A commit after it takes it to the replicas.
		if err := d.c.Primary().ExecIn(context.Background(), d.name, "INSERT INTO keyless VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		if err := d.c.WaitCaughtUp(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []struct {
		name, sql string
		conn      *pgx.Conn
		args      []any
	}{
		{"extended", "SELECT v FROM t WHERE id = $1", eventual, []any{1}},
		{"simple", "SELECT v FROM t WHERE id = 1", other, nil},
		{"prepared", "SELECT v FROM t WHERE id = $1 AND v < 100", prepared, []any{1}}, // again and again executed by its name
		{"described", "SELECT v FROM t WHERE id = $1 AND v < 200", described, []any{1}},
		{"hint", "/* freshet: consistency=eventual */ SELECT v FROM t", session, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			d.exec(t, "UPDATE t SET v = 1")
			d.seen(t)
			eventually(t, "cached", func() bool { return one(t, r.conn, r.sql, r.args...) == "1" && source(t, r.conn) == "l1" })
			d.exec(t, "UPDATE t SET v = 2")
			d.seen(t)
			lock(t)
			for range 20 {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second) // waits for the lock if it asks a server
				var got int
				if err := r.conn.QueryRow(ctx, r.sql, r.args...).Scan(&got); err != nil || got != 1 {
					t.Errorf("got %d, %v from %s", got, err, source(t, r.conn))
				}
				cancel()
				if from, why := source(t, r.conn), reason(t, r.conn); from != "l1 stale" || why != "cached, stale, while it is fetched anew (--stale-while-revalidate)" {
					t.Errorf("from %s, %s", from, why)
				}
				if t.Failed() {
					break
				}
			}
			d.exec(t, "COMMIT")
			// The one that was under way brings the new answer, without anybody having to ask for it.
			eventually(t, "the new answer", func() bool { return one(t, r.conn, r.sql, r.args...) == "2" && source(t, r.conn) == "l1" })
		})
	}
	st := d.in.Snapshot()
	if st.Stale["revalidate"] < 100 {
		t.Errorf("%d stale answers counted", st.Stale["revalidate"])
	}
	// Who isn't eventual waits.
	d.exec(t, "UPDATE t SET v = 3")
	d.seen(t)
	if got := one(t, session, "SELECT v FROM t WHERE id = 1"); got != "3" {
		t.Errorf("a session of the level session got %s from %s", got, source(t, session))
	}
	eventually(t, "no refill is left", func() bool { return d.in.server.Refilling() == 0 })
}
