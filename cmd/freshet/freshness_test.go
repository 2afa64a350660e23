package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency/feed"
)

// covered makes tables covered by the feed as `freshet setup` does, and waits until the running Freshet knows.
func covered(t testing.TB, c *cluster.Cluster, in *instance, database string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := c.Primary().Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	report, err := feed.Plan(ctx, conn, feed.Options{Publication: "freshet"})
	if err != nil {
		t.Fatal(err)
	}
	if err := feed.Apply(ctx, conn, report); err != nil {
		t.Fatal(err)
	}
	var published int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_publication_tables WHERE pubname = 'freshet'").Scan(&published); err != nil {
		t.Fatal(err)
	}
	in.databases.Get(database)
	eventually(t, "the feed covers the tables", func() bool {
		for _, d := range in.databases.Status() {
			if d.Name == database {
				return d.Feed.Serving && d.Feed.Covered >= published && d.Catalog
			}
		}
		return false
	})
}

// eventually waits for something that happens beside the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // polls what has no event to wait for
	}
}

func one(t testing.TB, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var v any
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint(v)
}

func do(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func source(t testing.TB, conn *pgx.Conn) string { return one(t, conn, "SHOW freshet.source") }

// cachedBy reads until an answer comes from the cache.
func cachedBy(t testing.TB, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var v string
	eventually(t, "a cached answer to "+sql, func() bool {
		v = one(t, conn, sql, args...)
		return source(t, conn) == "l1"
	})
	return v
}

// simpleProtocol makes pgx send Query messages.
const simpleProtocol = "&default_query_exec_mode=simple_protocol"

func TestAWritePastFreshetIsSeenByCachedReads(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k SELECT i, 0 FROM generate_series(1, 100) i"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	covered(t, c, in, db)
	for _, mode := range []string{"", simpleProtocol} {
		conn := in.connect(t, c, db, mode)
		direct, err := c.Primary().Connect(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		defer direct.Close(ctx)
		const q = "SELECT v::text FROM k WHERE a = 7"
		var worst time.Duration
		for range 200 {
			cachedBy(t, conn, q)
			var want string
			if err := direct.QueryRow(ctx, "UPDATE k SET v = v + 1 WHERE a = 7 RETURNING v::text").Scan(&want); err != nil {
				t.Fatal(err)
			}
			acknowledged := time.Now()
			for one(t, conn, q) != want {
				if time.Since(acknowledged) > 2*time.Second {
					t.Fatalf("the write of %s isn't seen after %v", want, time.Since(acknowledged))
				}
			}
			worst = max(worst, time.Since(acknowledged))
		}
		t.Logf("%q: seen after %v at the latest", mode, worst)
	}
}

func TestCachedAnswersFollowEveryKindOfChange(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	exec := func(sql string) {
		t.Helper()
		if err := c.Primary().ExecIn(ctx, db, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE p(a int PRIMARY KEY); CREATE TABLE f(a int PRIMARY KEY REFERENCES p ON DELETE CASCADE, v text);
		CREATE TABLE log(id int PRIMARY KEY, n int); INSERT INTO log VALUES (1, 0);
		CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE log SET n = n + 1 WHERE id = 1; RETURN NULL; END';
		CREATE TRIGGER b AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION bump();
		CREATE VIEW w AS SELECT count(*) AS n FROM f;
		INSERT INTO p SELECT i FROM generate_series(1, 10) i; INSERT INTO f SELECT i, 'x' FROM generate_series(1, 10) i`)
	in := startTestServer(t, c, nil)
	covered(t, c, in, db)
	conn := in.connect(t, c, db, "")
	for _, step := range []struct{ name, change, read, want string }{
		{"insert", "INSERT INTO p VALUES (11)", "SELECT count(*)::text FROM p", "11"},
		{"trigger", "INSERT INTO p VALUES (12)", "SELECT n::text FROM log WHERE id = 1", "12"},
		{"cascade", "DELETE FROM p WHERE a = 1", "SELECT count(*)::text FROM f", "9"},
		{"a view's table", "DELETE FROM f WHERE a = 2", "SELECT n::text FROM w", "8"},
		{"two-phase commit", "BEGIN; DELETE FROM f WHERE a = 3; COMMIT", "SELECT count(*)::text FROM f", "7"},
		{"truncate", "TRUNCATE f", "SELECT count(*)::text FROM f", "0"},
		{"truncate cascades", "INSERT INTO f VALUES (5, 'y')", "SELECT count(*)::text FROM f", "1"},
		{"truncate cascade", "TRUNCATE p CASCADE", "SELECT count(*)::text FROM f", "0"},
		{"replaced view", "CREATE OR REPLACE VIEW w AS SELECT count(*) + 1000 AS n FROM p", "SELECT n::text FROM w", "1000"},
		{"renamed column", "ALTER TABLE log RENAME n TO m; ALTER TABLE log ADD n int DEFAULT 77", "SELECT n::text FROM log WHERE id = 1", "77"},
		{"a table earlier in the search_path", "CREATE SCHEMA postgres; CREATE TABLE postgres.log(id int, n int); INSERT INTO postgres.log VALUES (1, 5)", "SELECT n::text FROM log WHERE id = 1", "5"},
	} {
		before := cachedBy(t, conn, step.read)
		if before == step.want {
			t.Fatalf("%s: changes nothing", step.name)
		}
		exec(step.change)
		deadline := time.Now().Add(2 * time.Second)
		for {
			got := one(t, conn, step.read)
			if got == step.want {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: %s still gives %s from %s, want %s", step.name, step.read, got, source(t, conn), step.want)
				break
			}
		}
	}
}

// HAZARD 14: through every way of writing, the next read sees the write, although both replicas lag and the cache is on.
func TestASessionReadsItsOwnWritesWhileReplicasLag(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k SELECT i, 0 FROM generate_series(1, 10) i"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	covered(t, c, in, cluster.App)
	for _, r := range c.Replicas() {
		if err := r.PauseReplay(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"", simpleProtocol, "&freshet.session_key=someone"} {
		key := strings.Contains(mode, "session_key")
		params := mode
		if key {
			params = ""
		}
		writer := in.connect(t, c, cluster.App, params)
		reader := writer
		if key {
			reader = in.connect(t, c, cluster.App, params)
			do(t, writer, "SET freshet.session_key = 'someone'")
			do(t, reader, "SET freshet.session_key = 'someone'")
		}
		sources := map[string]int{}
		for i := 1; i <= 1000; i++ {
			do(t, writer, "UPDATE k SET v = $1 WHERE a = 1", i)
			if got := one(t, reader, "SELECT v FROM k WHERE a = 1"); got != fmt.Sprint(i) {
				t.Fatalf("%q: wrote %d, read %s from %s: %s", mode, i, got, source(t, reader), one(t, reader, "SHOW freshet.reason"))
			}
			if i%50 == 0 {
				sources[source(t, reader)]++
			}
		}
		t.Logf("%q: sources %v", mode, sources)
	}
}

func TestReplicasAnswerOnlyWithinTheStalenessBound(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.MaxStaleness = time.Second; cfg.Cache = "off" })
	conn := in.connect(t, c, cluster.App, "")
	eventually(t, "a replica answers", func() bool {
		one(t, conn, "SELECT v FROM k WHERE a = 1")
		return strings.HasPrefix(source(t, conn), "replica ")
	})
	for _, r := range c.Replicas() {
		if err := r.PauseReplay(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i <= 60; i++ {
		if err := c.Primary().Exec(ctx, "UPDATE k SET v = v + 1"); err != nil {
			t.Fatal(err)
		}
		written := time.Now()
		// Whoever reads a second after a write sees it, wherever the answer comes from.
		time.Sleep(time.Until(written.Add(1020 * time.Millisecond))) // the promise is about time
		if got := one(t, conn, "SELECT v FROM k WHERE a = 1"); got != fmt.Sprint(i) {
			t.Fatalf("read %s from %s a second after %d was written", got, source(t, conn), i)
		}
		if i == 3 {
			break
		}
	}
	if got := source(t, conn); !strings.HasPrefix(got, "primary ") {
		t.Errorf("replicas that replay nothing are still asked: %s", got)
	}
}

// HAZARD 8 and 29: whatever can change a byte of the answer is in the key.
func TestCachedAnswersAreNotShared(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.CreateUser(ctx, "other_"+db, "secret"); err != nil {
		t.Fatal(err)
	}
	if err := c.Primary().ExecIn(ctx, db, `CREATE SCHEMA s1; CREATE SCHEMA s2; CREATE TABLE s1.t(a int PRIMARY KEY, ts timestamptz, f float8);
		CREATE TABLE s2.t(a int PRIMARY KEY, ts timestamptz, f float8);
		INSERT INTO s1.t VALUES (1, '2020-01-01 00:00Z', 0.1); INSERT INTO s2.t VALUES (1, '2021-01-01 00:00Z', 0.2);
		GRANT USAGE ON SCHEMA s1 TO PUBLIC; GRANT SELECT ON s1.t TO PUBLIC`); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	covered(t, c, in, db)
	ask := func(conn *pgx.Conn, args ...any) string {
		t.Helper()
		rows, err := conn.Query(ctx, "SELECT a, ts, f FROM t WHERE a = 1", args...)
		if err != nil {
			return err.Error()
		}
		defer rows.Close()
		var out string
		for rows.Next() {
			out += fmt.Sprintf("%q", rows.RawValues())
		}
		if rows.Err() != nil {
			return rows.Err().Error()
		}
		return out
	}
	type variant struct {
		name string
		conn *pgx.Conn
		args []any
	}
	text := pgx.QueryExecModeSimpleProtocol
	binary := pgx.QueryExecModeCacheStatement
	base := in.connect(t, c, db, "&search_path=s1")
	tokyo := in.connect(t, c, db, "&search_path=s1&timezone=Asia/Tokyo")
	german := in.connect(t, c, db, "&search_path=s1")
	do(t, german, "SET DateStyle = 'German'")
	digits := in.connect(t, c, db, "&search_path=s1&extra_float_digits=0")
	second := in.connect(t, c, db, "&search_path=s2")
	role, err := pgx.Connect(ctx, "postgres://other_"+db+":secret@"+in.Addrs()[0]+"/"+db+"?sslmode=disable&search_path=s1")
	if err != nil {
		t.Fatal(err)
	}
	defer role.Close(ctx)
	variants := []variant{
		{"text", base, []any{text}}, {"binary", base, []any{binary}}, {"TimeZone", tokyo, []any{text}}, {"DateStyle", german, []any{text}},
		{"extra_float_digits", digits, []any{text}}, {"search_path", second, []any{text}},
	}
	direct := map[string]string{}
	for _, v := range variants {
		// Uncached, by a hint that makes it another statement.
		do(t, v.conn, "SET freshet.cache = off")
		direct[v.name] = ask(v.conn, v.args...)
		do(t, v.conn, "SET freshet.cache = on")
	}
	if direct["text"] == direct["TimeZone"] || direct["text"] == direct["search_path"] || direct["text"] == direct["binary"] || direct["text"] == direct["DateStyle"] {
		t.Fatalf("the variants don't differ: %v", direct)
	}
	hits := 0
	for range 50 {
		for _, v := range variants {
			if got := ask(v.conn, v.args...); got != direct[v.name] {
				t.Fatalf("%s: %s, want %s, from %s", v.name, got, direct[v.name], source(t, v.conn))
			}
			if source(t, v.conn) == "l1" {
				hits++
			}
		}
	}
	if hits < len(variants)*20 {
		t.Errorf("only %d hits: the test proves nothing", hits)
	}
	before := ask(role, text)
	if before != direct["text"] {
		t.Errorf("another role: %s", before)
	}
	if err := c.Primary().ExecIn(ctx, db, "REVOKE SELECT ON s1.t FROM PUBLIC"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked right is gone", func() bool { return strings.Contains(ask(role, text), "permission denied") })
	eventually(t, "the one who may read is answered from the cache", func() bool {
		if got := ask(base, text); got != direct["text"] {
			t.Fatalf("after REVOKE from others: %s", got)
		}
		return source(t, base) == "l1"
	})
	if got := ask(role, text); !strings.Contains(got, "permission denied") {
		t.Errorf("the one who mayn't is given the other's answer: %s", got)
	}
}
