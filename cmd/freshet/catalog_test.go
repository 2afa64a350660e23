package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy"
)

// said is everything that the server says to a query.
func said(conn *pgx.Conn, sql string) string {
	var b strings.Builder
	results, err := conn.PgConn().Exec(context.Background(), sql).ReadAll()
	for _, r := range results {
		for _, f := range r.FieldDescriptions {
			fmt.Fprintf(&b, "%s %d, ", f.Name, f.DataTypeOID)
		}
		for _, row := range r.Rows {
			fmt.Fprintf(&b, "%q", row)
		}
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return "error " + pg.Code
	} else if err != nil {
		return err.Error()
	}
	return b.String()
}

// connectAs connects a role, to Freshet or to a server.
func connectAs(t testing.TB, addr, user, password, database string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), "postgres://"+user+":"+password+"@"+addr+"/"+database+"?sslmode=disable&default_query_exec_mode=simple_protocol")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// catalogDatabase is a database that app reads through Freshet.
type catalogDatabase struct {
	c                      *cluster.Cluster
	in                     *instance
	name                   string
	super, direct, through *pgx.Conn
}

func newCatalogDatabase(t *testing.T, sql string, change ...func(*ServeConfig)) *catalogDatabase {
	t.Helper()
	d := &catalogDatabase{c: shared.Get(t)}
	d.name = d.c.NewDatabase(t)
	var err error
	if d.super, err = d.c.Primary().Connect(context.Background(), d.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.super.Close(context.Background()) })
	d.exec(t, sql+"; GRANT SELECT ON ALL TABLES IN SCHEMA public TO app")
	d.in = startTestServer(t, d.c, func(cfg *ServeConfig) {
		for _, f := range change {
			f(cfg)
		}
	})
	covered(t, d.c, d.in, d.name)
	d.direct = connectAs(t, d.c.Primary().Addr(), cluster.App, d.c.AppPassword(), d.name)
	d.through = connectAs(t, d.in.Addrs()[0], cluster.App, d.c.AppPassword(), d.name)
	return d
}

func (d *catalogDatabase) exec(t testing.TB, sql string) {
	t.Helper()
	if _, err := d.super.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// seen waits until the feed and the replicas have seen all that is committed.
func (d *catalogDatabase) seen(t testing.TB) {
	t.Helper()
	lsn, err := consistency.ParseLSN(one(t, d.super, "SELECT ("+consistency.PositionSQL+")::text"))
	if err != nil {
		t.Fatal(err)
	}
	d.exec(t, consistency.FlushSQL)
	table := d.in.databases.Get(d.name).Table
	eventually(t, "the feed has seen it", func() bool { return table.Position() >= lsn })
	if err := d.c.WaitCaughtUp(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// cached reads until the answer comes from the cache.
func (d *catalogDatabase) cached(t testing.TB, sql string) (answer string) {
	t.Helper()
	eventually(t, "cached: "+sql, func() bool {
		answer = said(d.through, sql)
		return source(t, d.through) == "l1"
	})
	return answer
}

// TestHazard09CatalogChangesReachTheCacheAtTheirCommit: once the feed has passed the change, not one old answer is given. What
// fires no event trigger is found out by looking.
func TestHazard09CatalogChangesReachTheCacheAtTheirCommit(t *testing.T) {
	d := newCatalogDatabase(t, "DROP ROLE IF EXISTS h9_team, h9_team2, h9_owner; CREATE ROLE h9_team; CREATE ROLE h9_team2; CREATE ROLE h9_owner; GRANT h9_team, h9_team2, h9_owner TO app")
	defer d.exec(t, "DROP OWNED BY h9_team, h9_team2, h9_owner; DROP ROLE h9_team, h9_team2, h9_owner")
	rows := "; INSERT INTO %[1]s SELECT i, 'v' || i FROM generate_series(1, 3) i; GRANT SELECT ON %[1]s TO app"
	table := func(name string) string {
		return fmt.Sprintf("CREATE TABLE %s (id int PRIMARY KEY, v text)"+rows, name)
	}
	cases := []struct {
		name, before, query, change string
		byLooking                   bool
	}{
		{"TRUNCATE", table("t1"), "SELECT * FROM t1 ORDER BY id", "TRUNCATE t1", false},
		{"DROP and CREATE again", table("t2"), "SELECT * FROM t2 ORDER BY id", "BEGIN; DROP TABLE t2; CREATE TABLE t2 (id int PRIMARY KEY, v text); INSERT INTO t2 VALUES (9, 'new'); GRANT SELECT ON t2 TO app; COMMIT", false},
		{"DROP", table("t3"), "SELECT * FROM t3 ORDER BY id", "DROP TABLE t3", false},
		{"ALTER COLUMN TYPE", table("t4"), "SELECT * FROM t4 ORDER BY id", "ALTER TABLE t4 ALTER id TYPE bigint USING id * 10", false},
		{"ADD COLUMN", table("t5"), "SELECT * FROM t5 ORDER BY id", "ALTER TABLE t5 ADD w int DEFAULT 7", false},
		{"DROP COLUMN", table("t6"), "SELECT * FROM t6 ORDER BY id", "ALTER TABLE t6 DROP v", false},
		{"RENAME COLUMN", table("t7"), "SELECT * FROM t7 ORDER BY id", "ALTER TABLE t7 RENAME v TO w", false},
		{"swap by RENAME", table("t8") + ";" + table("t8b") + "; UPDATE t8b SET v = 'b'", "SELECT * FROM t8 ORDER BY id", "BEGIN; ALTER TABLE t8 RENAME TO t8c; ALTER TABLE t8b RENAME TO t8; COMMIT", false},
		{"rename a value of an enum", "CREATE TYPE e9 AS ENUM ('a', 'b'); CREATE TABLE t9 (id int PRIMARY KEY, e e9); INSERT INTO t9 VALUES (1, 'a'); GRANT SELECT ON t9 TO app", "SELECT e FROM t9", "ALTER TYPE e9 RENAME VALUE 'a' TO 'z'", false},
		{"ALTER TYPE of a composite", "CREATE TYPE c10 AS (a int); CREATE TABLE t10 (id int PRIMARY KEY, c c10); INSERT INTO t10 VALUES (1, ROW(1)); GRANT SELECT ON t10 TO app", "SELECT (c).* FROM t10", "ALTER TYPE c10 ADD ATTRIBUTE b int", false},
		{"CREATE OR REPLACE FUNCTION", table("t11") + "; CREATE FUNCTION f11(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'", "SELECT f11(id) FROM t11 ORDER BY 1", "CREATE OR REPLACE FUNCTION f11(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 2'", false},
		{"a function that a function calls", table("t12") + "; CREATE FUNCTION g12() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION f12() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN g12(); END'", "SELECT f12() FROM t12", "CREATE OR REPLACE FUNCTION g12() RETURNS int LANGUAGE sql AS 'SELECT max(id) FROM t12'", false},
		{"an overload that fits better", table("t13") + "; CREATE FUNCTION f13(numeric) RETURNS text LANGUAGE sql AS $$SELECT 'numeric'$$", "SELECT f13(id) FROM t13", "CREATE FUNCTION f13(int) RETURNS text LANGUAGE sql AS $$SELECT 'int'$$", false},
		{"CREATE OR REPLACE VIEW", table("t14") + "; CREATE VIEW v14 AS SELECT id, v FROM t14; GRANT SELECT ON v14 TO app", "SELECT * FROM v14 ORDER BY id", "CREATE OR REPLACE VIEW v14 AS SELECT id, upper(v) AS v FROM t14 WHERE id > 1", false},
		{"REFRESH MATERIALIZED VIEW", table("t15") + "; CREATE MATERIALIZED VIEW m15 AS SELECT count(*) FROM t15; GRANT SELECT ON m15 TO app", "SELECT * FROM m15", "INSERT INTO t15 VALUES (4, 'x'); REFRESH MATERIALIZED VIEW m15", false},
		{"ALTER POLICY", table("t16") + "; ALTER TABLE t16 ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t16 USING (id > 1)", "SELECT * FROM t16 ORDER BY id", "ALTER POLICY p ON t16 USING (id > 2)", false},
		{"ENABLE ROW LEVEL SECURITY", table("t17"), "SELECT * FROM t17 ORDER BY id", "ALTER TABLE t17 ENABLE ROW LEVEL SECURITY", false},
		{"REVOKE", table("t18"), "SELECT * FROM t18 ORDER BY id", "REVOKE SELECT ON t18 FROM app", false},
		{"REVOKE on a schema", "CREATE SCHEMA s19; GRANT USAGE ON SCHEMA s19 TO app;" + table("s19.t19"), "SELECT * FROM s19.t19 ORDER BY id", "REVOKE USAGE ON SCHEMA s19 FROM app", false},
		{"REVOKE EXECUTE", table("t20") + "; CREATE FUNCTION f20() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT f20() FROM t20", "REVOKE EXECUTE ON FUNCTION f20() FROM PUBLIC", false},
		{"ATTACH PARTITION", "CREATE TABLE p21 (id int, v text) PARTITION BY LIST (id); CREATE TABLE p21a PARTITION OF p21 FOR VALUES IN (1, 2, 3); ALTER TABLE p21a ADD PRIMARY KEY (id); CREATE TABLE p21b (id int PRIMARY KEY, v text); INSERT INTO p21b VALUES (4, 'b'); INSERT INTO p21 VALUES (1, 'a'); GRANT SELECT ON p21 TO app", "SELECT * FROM p21 ORDER BY id", "ALTER TABLE p21 ATTACH PARTITION p21b FOR VALUES IN (4)", false},
		{"DETACH PARTITION", "CREATE TABLE p22 (id int PRIMARY KEY, v text) PARTITION BY LIST (id); CREATE TABLE p22a PARTITION OF p22 FOR VALUES IN (1); INSERT INTO p22 VALUES (1, 'a'); GRANT SELECT ON p22 TO app", "SELECT * FROM p22", "ALTER TABLE p22 DETACH PARTITION p22a", false},
		{"an inheriting table", table("t23"), "SELECT * FROM t23 ORDER BY id", "CREATE TABLE t23kid (PRIMARY KEY (id)) INHERITS (t23); INSERT INTO t23kid VALUES (8, 'kid')", false},
		{"a table earlier in the search_path", table("public.t24"), "SELECT * FROM t24 ORDER BY id", "CREATE SCHEMA app AUTHORIZATION app; CREATE TABLE app.t24 (id int PRIMARY KEY); GRANT SELECT ON app.t24 TO app", false},
		{"a function earlier in the search_path", table("public.t25") + "; CREATE FUNCTION f25() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT f25() FROM t25", "CREATE FUNCTION app.f25() RETURNS int LANGUAGE sql AS 'SELECT 2'", false},
		{"an operator", table("t26") + "; CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)", "SELECT id FROM t26 WHERE id === 3", "DROP OPERATOR === (int, int); CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4lt)", false},
		{"ALTER DOMAIN", "CREATE DOMAIN d27 AS int;" + table("t27"), "SELECT id::d27 FROM t27 ORDER BY 1", "ALTER DOMAIN d27 ADD CHECK (VALUE < 3)", false},
		{"ALTER EXTENSION", "CREATE EXTENSION unaccent;" + table("t28"), "SELECT unaccent(v) FROM t28 ORDER BY id", "DROP EXTENSION unaccent", false},
		{"a change of the owner", table("t29") + "; ALTER TABLE t29 ENABLE ROW LEVEL SECURITY", "SELECT * FROM t29 ORDER BY id", "ALTER TABLE t29 OWNER TO h9_owner", false},
		{"DROP OWNED", "CREATE TABLE t30 (id int PRIMARY KEY); GRANT SELECT ON t30 TO h9_team", "SELECT * FROM t30", "DROP OWNED BY h9_team", false},
		{"REVOKE of a membership", "CREATE TABLE t31 (id int PRIMARY KEY); GRANT SELECT ON t31 TO h9_team2", "SELECT * FROM t31", "REVOKE h9_team2 FROM app", true},
		{"REASSIGN OWNED", table("t32") + "; ALTER TABLE t32 OWNER TO h9_owner; ALTER TABLE t32 ENABLE ROW LEVEL SECURITY", "SELECT * FROM t32 ORDER BY id", "REASSIGN OWNED BY h9_owner TO postgres", true},
		{"ALTER ROLE BYPASSRLS", table("t33") + "; ALTER TABLE t33 ENABLE ROW LEVEL SECURITY", "SELECT * FROM t33 ORDER BY id", "ALTER ROLE app BYPASSRLS", true},
		{"ALTER ROLE NOBYPASSRLS", table("t34") + "; ALTER TABLE t34 ENABLE ROW LEVEL SECURITY", "SELECT * FROM t34 ORDER BY id", "ALTER ROLE app NOBYPASSRLS", true},
	}
	for _, h := range cases {
		d.exec(t, h.before)
	}
	d.seen(t)
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			old := d.cached(t, h.query)
			began := time.Now()
			d.exec(t, h.change)
			d.seen(t)
			want := said(d.direct, h.query)
			if want == old {
				t.Fatalf("nothing has changed: %s", want)
			}
			got := said(d.through, h.query)
			if h.byLooking {
				eventually(t, "the change is found out", func() bool { got = said(d.through, h.query); return got == want })
				t.Logf("after %v", time.Since(began).Round(time.Millisecond))
			}
			if got != want {
				t.Errorf("%s (%s)\n got %s\nwant %s", h.query, source(t, d.through), got, want)
			}
			if !strings.HasPrefix(want, "error") {
				if again := d.cached(t, h.query); again != want {
					t.Errorf("cached then: %s", again)
				}
			}
		})
	}
}

// TestNothingIsCachedByAnOldCatalog keeps Freshet from reading the catalog, though the feed has said that it has changed. Statements are
// planned by the old one then: of a view, they know the tables that it was made of before.
func TestNothingIsCachedByAnOldCatalog(t *testing.T) {
	d := newCatalogDatabase(t, "CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 0); CREATE TABLE b (id int PRIMARY KEY, v int); INSERT INTO b VALUES (1, 0); CREATE VIEW v AS SELECT v FROM a")
	d.cached(t, "SELECT v FROM v")
	locker, err := d.c.Primary().Connect(context.Background(), d.name)
	if err != nil {
		t.Fatal(err)
	}
	defer locker.Close(context.Background())
	do(t, locker, "BEGIN")
	do(t, locker, "LOCK TABLE pg_policy IN ACCESS EXCLUSIVE MODE") // which every look at the catalog reads
	d.exec(t, "CREATE OR REPLACE VIEW v AS SELECT v FROM b")
	d.seen(t)
	for i := range 20 {
		d.exec(t, fmt.Sprintf("UPDATE b SET v = %d", i))
		d.seen(t)
		for range 3 {
			if got := one(t, d.through, "SELECT v FROM v"); got != fmt.Sprint(i) {
				t.Fatalf("%s (%s) after %d", got, source(t, d.through), i)
			}
		}
		if s := source(t, d.through); s == "l1" {
			t.Fatal("cached")
		}
	}
	do(t, locker, "ROLLBACK")
	d.cached(t, "SELECT v FROM v")
	d.exec(t, "UPDATE b SET v = 100")
	d.seen(t)
	if got := one(t, d.through, "SELECT v FROM v"); got != "100" {
		t.Error(got)
	}
}

// TestNewDefaultsOfARoleHoldForPooledConnectionsToo: server connections from before begin with other settings, which neither show in
// answers nor in what these are taken to depend on.
func TestNewDefaultsOfARoleHoldForPooledConnectionsToo(t *testing.T) {
	d := newCatalogDatabase(t, `CREATE SCHEMA s1; CREATE SCHEMA s2; CREATE TABLE s1.t (id int PRIMARY KEY, v int); CREATE TABLE s2.t (id int PRIMARY KEY, v int);
		INSERT INTO s1.t VALUES (1, 1); INSERT INTO s2.t VALUES (1, 2); GRANT USAGE ON SCHEMA s1, s2 TO app; GRANT SELECT ON s1.t, s2.t TO app`,
		func(cfg *ServeConfig) { cfg.RYWWindow = time.Second })
	defaults := func(schema, tenant string) {
		t.Helper()
		d.exec(t, fmt.Sprintf("ALTER ROLE app IN DATABASE %s SET search_path = %s; ALTER ROLE app IN DATABASE %[1]s SET app.tenant = '%[3]s'", d.name, schema, tenant))
	}
	const query = "SELECT v, current_setting('app.tenant', true) FROM t"
	defaults("s1", "one")
	renew := func() {
		t.Helper()
		d.direct = connectAs(t, d.c.Primary().Addr(), cluster.App, d.c.AppPassword(), d.name)
		d.through = connectAs(t, d.in.Addrs()[0], cluster.App, d.c.AppPassword(), d.name)
	}
	renew()
	eventually(t, "the first defaults", func() bool { renew(); return said(d.through, query) == said(d.direct, query) })
	d.cached(t, query)
	defaults("s2", "two")
	renew()
	want := said(d.direct, query)
	eventually(t, "the new defaults", func() bool { return said(d.through, query) == want })
	eventually(t, "the new defaults on all connections", func() bool {
		return !slices.ContainsFunc(d.in.databases.Status(), func(s proxy.DatabaseStatus) bool { return s.Name == d.name && s.Settling })
	})
	for i := range 8 {
		d.exec(t, fmt.Sprintf("UPDATE s2.t SET v = %d", 10+i))
		d.seen(t)
		for range 3 {
			if got, want := said(d.through, query), said(d.direct, query); got != want {
				t.Fatalf("%s (%s), direct %s", got, source(t, d.through), want)
			}
		}
	}
	d.cached(t, query)
}
