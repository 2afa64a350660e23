package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/wire"
)

// prepares is what a client sends that prepares a statement and asks what it is.
func prepares(name, sql string) []byte {
	return wire.AppendSync(wire.AppendDescribe(wire.AppendParse(nil, name, sql), wire.ObjectStatement, name))
}

func executes(name string, format int16) []byte {
	msgs := wire.AppendBind(nil, "", name, nil, nil, []int16{format})
	return wire.AppendSync(wire.AppendExecute(msgs, "", 0))
}

func (i *instance) answeredPrepares() (n uint64) {
	for _, c := range i.server.Stats().Shards {
		n += c.Prepares.Load()
	}
	return n
}

// What has been prepared before is prepared again without a server connection: here there is only one, and somebody has it.
func TestAKnownStatementIsPreparedWithoutAServer(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Replica, cfg.PoolSize, cfg.PoolWait = nil, 1, 200*time.Millisecond })
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE r(a int PRIMARY KEY, b text); INSERT INTO r VALUES (1, 'one'); CREATE SCHEMA other; CREATE TABLE other.r(c date)"); err != nil {
		t.Fatal(err)
	}
	covered(t, c, in, db)
	first, second := in.connect(t, c, db, "").PgConn(), in.connect(t, c, db, "").PgConn()
	texts := []string{"SELECT a, b FROM r WHERE a = $1", "UPDATE r SET b = $2 WHERE a = $1", "INSERT INTO r VALUES ($1, $2) RETURNING b", "SELECT * FROM r"}
	want := map[string]string{}
	for i, sql := range texts {
		want[sql] = rawly(t, first, prepares(fmt.Sprint("s", i), sql))
	}
	hold := in.connect(t, c, db, "").PgConn()
	exec := func(conn *pgconn.PgConn, sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	exec(hold, "BEGIN; LOCK TABLE other.r IN ACCESS SHARE MODE")
	before := in.answeredPrepares()
	for i, sql := range texts {
		for _, name := range []string{"", fmt.Sprint("mine", i)} {
			if got := rawly(t, second, prepares(name, sql)); got != want[sql] {
				t.Errorf("%s as %q:\n%s\nfirst it was\n%s", sql, name, got, want[sql])
			}
		}
	}
	if n := in.answeredPrepares() - before; n != uint64(2*len(texts)) {
		t.Errorf("%d units were answered from memory", n)
	}
	// What isn't known needs the connection; so does what is known under other settings.
	if got := rawly(t, second, prepares("unknown", "SELECT 4711")); !strings.Contains(got, "53300") {
		t.Errorf("a new statement:\n%s", got)
	}
	exec(hold, "COMMIT")
	exec(second, "SET search_path = other")
	exec(hold, "BEGIN; LOCK TABLE other.r IN ACCESS SHARE MODE")
	if got := rawly(t, second, prepares("elsewhere", texts[3])); !strings.Contains(got, "53300") {
		t.Errorf("under another search_path:\n%s", got)
	}
	exec(hold, "COMMIT")
	if got := rawly(t, second, prepares("elsewhere", texts[3])); got == want[texts[3]] || !strings.Contains(got, `c\x00`) {
		t.Errorf("under another search_path:\n%s", got)
	}
	exec(second, "RESET search_path")
	// It is there when it is needed.
	if got := rawly(t, second, executes("mine3", 0)); !strings.Contains(got, "one") {
		t.Errorf("executed:\n%s", got)
	}
	// In a transaction that has failed, Postgres refuses.
	rawly(t, second, wire.AppendQuery(nil, "BEGIN"))
	rawly(t, second, wire.AppendQuery(nil, "SELECT 1/0"))
	if got := rawly(t, second, prepares("late", texts[0])); !strings.Contains(got, "25P02") {
		t.Errorf("in a failed transaction:\n%s", got)
	}
	exec(second, "ROLLBACK")
}

// A statement that means something else after DDL is not what its client was told: it fails as on Postgres, on whatever server connection, also where it
// was prepared from memory, and in and out of transactions; prepared anew it is what it is now.
func TestHazard07APromiseIsKeptOrBroken(t *testing.T) {
	for _, source := range []string{"primary", "cache and replicas"} {
		t.Run(source, func(t *testing.T) { keepsPromises(t, source == "primary") })
	}
}

// keepsPromises: the primary, if it alone answers, knows of the change at once. Replicas and the cache may still answer as before it, which keeps the promise.
func keepsPromises(t *testing.T, primary bool) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		if cfg.PoolSize = 4; primary {
			cfg.Replica, cfg.Cache = nil, "off"
		}
	})
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE r(a int PRIMARY KEY); INSERT INTO r VALUES (1); CREATE TABLE s(a int)"); err != nil {
		t.Fatal(err)
	}
	if !primary {
		covered(t, c, in, db)
	}
	other := in.connect(t, c, db, "").PgConn()
	exec := func(conn *pgconn.PgConn, sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	reads, writes := "SELECT * FROM r", "INSERT INTO s SELECT 1 RETURNING (SELECT r FROM r), *"
	for round := range 4 {
		conns := make([]*pgconn.PgConn, 4)
		for i := range conns {
			conns[i] = in.connect(t, c, db, "").PgConn()
			for name, sql := range map[string]string{"reads": reads, "writes": writes} {
				if got := rawly(t, conns[i], prepares(name, sql)); strings.Contains(got, "E ") {
					t.Fatalf("round %d: %s", round, got)
				}
			}
		}
		exec(conns[0], "BEGIN")
		exec(conns[0], "INSERT INTO s VALUES (2)")
		exec(conns[1], "BEGIN") // held back
		ddl := fmt.Sprintf("ALTER TABLE r ADD COLUMN b%d int; ALTER TABLE s ADD COLUMN b%d int", round, round)
		if round%2 == 0 {
			exec(conns[0], "COMMIT")
			exec(conns[0], "BEGIN")
			exec(other, ddl)
		} else {
			exec(conns[0], "COMMIT")
			exec(conns[0], "BEGIN")
			if err := c.Primary().ExecIn(ctx, db, ddl); err != nil {
				t.Fatal(err)
			}
		}
		broken := func(got string) bool {
			return strings.Contains(got, "0A000 cached plan must not change result type") && !strings.Contains(got, "D ")
		}
		asBefore := func(got string, name string) bool {
			return !primary && name == "reads" && strings.Contains(got, fmt.Sprintf("D \"\\x00\\x%02x", round+1))
		}
		for i, conn := range conns {
			name := "reads"
			if i >= 2 {
				name = "writes"
			}
			got := rawly(t, conn, executes(name, 0))
			if !broken(got) && !asBefore(got, name) {
				t.Errorf("round %d, connection %d: %s", round, i, got)
			}
			if broken(got) && i < 2 != strings.HasSuffix(got, "Z E\n") {
				t.Errorf("round %d, connection %d: the transaction's status in %s", round, i, got)
			}
			if i < 2 {
				exec(conn, "ROLLBACK")
			}
			if got := rawly(t, conn, executes(name, 0)); !broken(got) && !asBefore(got, name) {
				t.Errorf("round %d, connection %d, again: %s", round, i, got)
			}
			eventually(t, "prepared anew it works", func() bool {
				rawly(t, conn, wire.AppendSync(wire.AppendClose(nil, 'S', name)))
				sql := reads
				if name == "writes" {
					sql = writes
				}
				described := rawly(t, conn, prepares(name, sql))
				return strings.Contains(described, fmt.Sprintf("b%d", round)) && strings.Contains(rawly(t, conn, executes(name, 0)), "D ")
			})
		}
	}
	direct, err := c.Primary().Connect(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(ctx)
	if n := one(t, direct, "SELECT count(*)::text FROM s WHERE a = 1"); n != "8" {
		t.Errorf("%s rows were written; statements that failed have written, or others haven't", n)
	}
}

// A session that is bound keeps using what it has prepared before, also after the catalog has changed.
func TestABoundSessionGoesOnWithItsStatements(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Replica = nil })
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE r(a int PRIMARY KEY); INSERT INTO r VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	conn := in.connect(t, c, db, "").PgConn()
	if got := rawly(t, conn, prepares("s", "SELECT * FROM r")); !strings.Contains(got, "T ") {
		t.Fatal(got)
	}
	for i, sql := range []string{"CREATE TEMP TABLE tt(a int)", "CREATE TABLE another(a int)", "CREATE TABLE more(a int)"} {
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the catalog has been read again", func() bool {
			d := in.databases.Get(db)
			snap := d.Catalog()
			return snap != nil && d.CatalogCheckedAt() > time.Now().Add(-time.Second).UnixNano() && (i == 0 || snap.FindRelation([]string{"public"}, []string{"another", "more"}[i-1]) != nil)
		})
		for range 2 {
			if got := rawly(t, conn, executes("s", 0)); !strings.Contains(got, "D ") {
				t.Errorf("after %s: %s", sql, got)
			}
		}
	}
}

// pgbench prepares its statements in a way that blocks all clients of a thread, also those whose transactions hold server connections. With
// more clients than server connections it finishes all the same, without an error.
func TestPgbenchPreparedRunsOverASmallPool(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	pgbench, err := c.Program("pgbench")
	if err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, pgbench, args...).CombinedOutput()
		if err != nil {
			t.Errorf("pgbench %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run(t, "-i", "-q", c.Primary().URL(cluster.App))
	failed := regexp.MustCompile(`number of failed transactions: ([0-9]+) `)
	for _, p := range []struct{ pool, clients, threads int }{{2, 8, 1}, {3, 16, 1}, {3, 16, 2}} {
		t.Run(fmt.Sprintf("%d clients on %d", p.clients, p.pool), func(t *testing.T) {
			in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolSize, cfg.PoolWait = p.pool, 20*time.Second })
			covered(t, c, in, cluster.App)
			url := "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/" + cluster.App + "?sslmode=disable"
			out := run(t, "-n", "-M", "prepared", "-c", fmt.Sprint(p.clients), "-j", fmt.Sprint(p.threads), "-t", "20", url)
			if m := failed.FindStringSubmatch(out); m == nil || m[1] != "0" {
				t.Error(out)
			}
			if want := fmt.Sprintf("number of transactions actually processed: %d/%d", 20*p.clients, 20*p.clients); !strings.Contains(out, want) {
				t.Errorf("not %s:\n%s", want, out)
			}
		})
	}
}
