package feed

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// eventObjects are there before each of the statements of the tests.
const eventObjects = `
	CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (id int PRIMARY KEY);
	CREATE SCHEMA s; CREATE TYPE mood AS ENUM ('x'); CREATE DOMAIN d AS int; CREATE SEQUENCE q; CREATE VIEW v AS SELECT 1 AS one;
	CREATE MATERIALIZED VIEW m AS SELECT id FROM a; CREATE UNIQUE INDEX ON m (id);
	CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE FUNCTION t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 (id int);
	DROP ROLE IF EXISTS event_role; CREATE ROLE event_role`

func (f *fixture) dropEventRole() {
	f.stop()
	f.exec("DROP OWNED BY event_role; DROP ROLE event_role")
}

func TestDDLStampsTheCatalogCellAtItsCommit(t *testing.T) {
	f := newFixture(t, eventObjects)
	defer f.dropEventRole()
	for _, ddl := range []string{
		"CREATE TABLE c (id serial PRIMARY KEY)", "ALTER TABLE a ADD w int", "ALTER TABLE a ALTER v TYPE bigint", "ALTER TABLE a RENAME v TO u", "ALTER TABLE a RENAME TO aa",
		"ALTER TABLE aa SET SCHEMA s", "ALTER TABLE s.aa SET SCHEMA public; ALTER TABLE aa RENAME TO a", "CREATE TABLE c2 AS SELECT 1 AS id", "SELECT 2 AS id INTO c3", "DROP TABLE c",
		"CREATE OR REPLACE VIEW v AS SELECT 2 AS one", "DROP VIEW v", "CREATE MATERIALIZED VIEW m2 AS SELECT 1 AS id",
		"CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'", "ALTER FUNCTION f() IMMUTABLE", "DROP FUNCTION f()",
		"ALTER TYPE mood ADD VALUE 'y'", "ALTER TYPE mood RENAME VALUE 'x' TO 'z'", "ALTER DOMAIN d ADD CHECK (VALUE > 0)", "CREATE CAST (mood AS int) WITH INOUT",
		"GRANT SELECT ON a TO event_role", "REVOKE SELECT ON a FROM event_role", "GRANT SELECT (id) ON b TO event_role", "GRANT USAGE ON SCHEMA s TO event_role", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO event_role",
		"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO event_role", "DROP OWNED BY event_role", "ALTER TABLE a OWNER TO event_role", "ALTER TABLE a OWNER TO postgres",
		"ALTER TABLE a ENABLE ROW LEVEL SECURITY", "CREATE POLICY pol ON a USING (true)", "ALTER POLICY pol ON a USING (false)", "DROP POLICY pol ON a",
		"ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)", "ALTER TABLE p DETACH PARTITION p1", "CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2)", "CREATE TABLE kid () INHERITS (b)", "ALTER TABLE kid NO INHERIT b",
		"CREATE TRIGGER tr AFTER INSERT ON b EXECUTE FUNCTION t()", "ALTER TABLE b DISABLE TRIGGER tr", "DROP TRIGGER tr ON b", "CREATE RULE r AS ON INSERT TO b DO ALSO SELECT 1", "DROP RULE r ON b",
		"CREATE EXTENSION citext", "ALTER EXTENSION citext SET SCHEMA s", "DROP EXTENSION citext", "CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq)", "CREATE AGGREGATE agg(int) (sfunc = int4pl, stype = int)",
		"CREATE COLLATION co FROM \"C\"", "CREATE TEXT SEARCH CONFIGURATION tc (copy = english)", "ALTER TEXT SEARCH CONFIGURATION tc DROP MAPPING FOR url", "DROP SCHEMA s CASCADE", "CREATE INDEX ON a (id)",
		"CREATE SCHEMA s2 CREATE TABLE x (id int)", "DO 'BEGIN CREATE TABLE in_do (); END'", "BEGIN; SAVEPOINT s; CREATE TABLE gone (); ROLLBACK TO s; CREATE TABLE kept (); COMMIT",
		"SET session_replication_role = replica; CREATE TABLE in_replica (); RESET session_replication_role",
	} {
		f.applied()
		before := f.table.Applied()
		f.exec(ddl)
		f.applied()
		if f.table.Global().Seq() <= before {
			t.Errorf("the catalog cell isn't stamped: %s", ddl)
		}
	}
}

func TestWhatChangesNothingStampsNoCatalogCell(t *testing.T) {
	f := newFixture(t, eventObjects)
	defer f.dropEventRole()
	for _, sql := range []string{
		"CREATE TEMP TABLE x (id serial PRIMARY KEY, v int DEFAULT 1 CHECK (v > 0), w text)", "CREATE INDEX ON x (v)", "ALTER TABLE x ADD y int DEFAULT 5", "CREATE TEMP TABLE x2 AS SELECT * FROM x",
		"CREATE TEMP VIEW xv AS SELECT * FROM x", "CREATE TEMP SEQUENCE xs", "CREATE TYPE pg_temp.xm AS ENUM ('a')", "CREATE FUNCTION pg_temp.xf() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"SELECT 1 AS id INTO TEMP x3", "ALTER TABLE x DROP y CASCADE", "TRUNCATE x", "DROP TABLE x CASCADE", "DROP TABLE x2, x3", "BEGIN; CREATE TEMP TABLE x4 (id serial) ON COMMIT DROP; COMMIT", "DISCARD TEMP",
		"CREATE TABLE IF NOT EXISTS a (id int)", "DROP TABLE IF EXISTS nosuch", "COMMENT ON TABLE a IS 'x'", "BEGIN; CREATE TABLE never (); ROLLBACK", "TRUNCATE a", "VACUUM FULL b", "ANALYZE", "INSERT INTO a VALUES (1, 1)",
		"CREATE PUBLICATION other FOR TABLE a", "ALTER PUBLICATION other ADD TABLE b", "ALTER PUBLICATION other DROP TABLE a", "DROP PUBLICATION other", "CREATE STATISTICS st ON id, v FROM a", "DROP STATISTICS st",
	} {
		f.applied()
		before := f.table.Global().Seq()
		f.exec(sql)
		f.applied()
		if f.table.Global().Seq() != before {
			t.Errorf("the catalog cell is stamped: %s", sql)
		}
	}
}

func TestRefreshStampsItsView(t *testing.T) {
	f := newFixture(t, eventObjects)
	defer f.dropEventRole()
	if !f.cell("m").Covered() {
		t.Fatal("the materialized view isn't covered")
	}
	f.stamps("REFRESH MATERIALIZED VIEW m", []string{"m"}, []string{"a", "b"})
	f.stamps("REFRESH MATERIALIZED VIEW CONCURRENTLY m", []string{"m"}, []string{"a", "b"})
	f.stamps("BEGIN; INSERT INTO a VALUES (7, 7); REFRESH MATERIALIZED VIEW m; COMMIT", []string{"m", "a"}, []string{"b"})
	f.stamps("BEGIN; REFRESH MATERIALIZED VIEW m; ROLLBACK", nil, []string{"m"})
	f.stamps("SET session_replication_role = replica; REFRESH MATERIALIZED VIEW m; RESET session_replication_role", []string{"m"}, nil)
	f.exec("ALTER EVENT TRIGGER freshet_ddl_command_end DISABLE")
	f.until("it isn't covered without the trigger", func() bool { return !f.cell("m").Covered() })
	f.exec("ALTER EVENT TRIGGER freshet_ddl_command_end ENABLE ALWAYS")
	f.until("it is covered again", func() bool { return f.cell("m").Covered() })
}

// Nobody's DDL fails because of the event triggers.
func TestABrokenEventTriggerIsAWarning(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	for _, e := range eventTriggers {
		f.exec(fmt.Sprintf(eventFunctionHead, e.function, quoteLiteral(strings.ReplaceAll(e.bodyFor("freshet"), "pg_logical_emit_message", "nosuch"))))
	}
	var notices []string
	cfg := f.conn.Config().Copy()
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
	conn, err := pgconn.ConnectConfig(f.Context(), &cfg.Config)
	f.must(err)
	defer closeConn(conn)
	_, err = conn.Exec(f.Context(), "CREATE TABLE c (id int); DROP TABLE c; CREATE MATERIALIZED VIEW mv AS SELECT 1; REFRESH MATERIALIZED VIEW mv").ReadAll()
	f.must(err)
	if len(notices) != 4 || !strings.Contains(notices[0], "Freshet was not told of this CREATE TABLE") {
		t.Errorf("%q", notices)
	}
	if first, second := len(f.setup().Statements), len(f.setup().Statements); first == 0 || second != 0 {
		t.Errorf("setup mends it with %d statements, and then with %d", first, second)
	}
}

// TestHazard24EventTriggersLookUpNothing: whoever runs DDL can't have the triggers' functions call theirs.
func TestHazard24EventTriggersLookUpNothing(t *testing.T) {
	f := newDatabase(t, servers.Get(t), `CREATE SCHEMA evil;
		CREATE FUNCTION evil.bad(text, text) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called''; END';
		CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.bad); CREATE OPERATOR evil.<> (leftarg = text, rightarg = text, function = evil.bad);
		CREATE OPERATOR evil.~ (leftarg = text, rightarg = text, function = evil.bad); CREATE OPERATOR evil.!~ (leftarg = text, rightarg = text, function = evil.bad);
		CREATE FUNCTION evil.pg_logical_emit_message(bool, text, text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''called''; END';
		CREATE TABLE a (id int PRIMARY KEY)`)
	f.start(Config{})
	f.covers()
	var notices []string
	cfg := f.conn.Config().Copy()
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notices = append(notices, n.Message) }
	conn, err := pgconn.ConnectConfig(f.Context(), &cfg.Config)
	f.must(err)
	defer closeConn(conn)
	f.applied()
	before := f.table.Applied()
	_, err = conn.Exec(f.Context(), `CREATE TEMP TABLE pg_event_trigger_ddl_commands (); SET search_path = evil, pg_temp, pg_catalog; CREATE TABLE evil.c (id pg_catalog.int4)`).ReadAll()
	f.must(err)
	f.applied()
	if len(notices) > 0 || f.table.Global().Seq() <= before {
		t.Errorf("%q, stamped %v", notices, f.table.Global().Seq() > before)
	}
}

// DDL that takes a table's replica identity away takes it out of the publication, in the same transaction: else the next UPDATE would be refused.
func TestHazard13DDLThatTakesTheIdentityAwayUnpublishes(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a", "b"))
	f.exec("CREATE TABLE keyed(id int CONSTRAINT keyed_key PRIMARY KEY, v int)")
	f.exec("CREATE TABLE indexed(id int NOT NULL, v int)")
	f.exec("CREATE UNIQUE INDEX indexed_id ON indexed(id)")
	f.exec("ALTER TABLE indexed REPLICA IDENTITY USING INDEX indexed_id")
	f.exec("CREATE TABLE parts(id int CONSTRAINT parts_key PRIMARY KEY, v int) PARTITION BY RANGE (id)")
	f.exec("CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (100)")
	f.exec("CREATE DOMAIN number AS int")
	f.exec("CREATE TABLE typed(id number PRIMARY KEY, v int)")
	f.setup()
	for _, change := range []string{
		"ALTER TABLE keyed DROP CONSTRAINT keyed_key; UPDATE keyed SET v = 2; DELETE FROM keyed",
		"DROP INDEX indexed_id; UPDATE indexed SET v = 2",
		"ALTER TABLE parts DROP CONSTRAINT parts_key; UPDATE parts SET v = 2",
		"DROP DOMAIN number CASCADE; UPDATE typed SET v = 2",
		"ALTER TABLE a REPLICA IDENTITY NOTHING; UPDATE a SET id = id",
	} {
		f.exec(change) // as one transaction
	}
	f.exec("UPDATE b SET id = id")
}

// A table of the publication can be made unlogged, as any other; it comes back by itself when it is logged again.
func TestATableOfThePublicationCanBeMadeUnlogged(t *testing.T) {
	f := newDatabase(t, servers.Get(t), `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE SCHEMA s; CREATE TABLE s."Odd one" (id int PRIMARY KEY)`)
	f.start(Config{Maintain: true})
	f.covers()
	const listed = "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_publication_tables"
	f.exec("BEGIN; ALTER TABLE A SET\nUNLOGGED")
	if got := f.value(listed); got != "Odd one b" {
		t.Errorf("published: %q", got)
	}
	f.exec(`ALTER TABLE s."Odd one" SET unlogged; COMMIT`)
	f.until("they aren't covered", func() bool { return !f.cell("a").Covered() && !f.cell(`s."Odd one"`).Covered() })
	if !f.cell("b").Covered() {
		t.Error("the other table isn't covered any more")
	}
	f.exec("ALTER TABLE a SET LOGGED")
	f.until("it is covered again", func() bool { return f.cell("a").Covered() })
	// One that stays what it is isn't lost for long, nor if the statement fails.
	f.exec("ALTER TABLE b ADD unlogged int")
	f.until("it is published again", func() bool { return f.value(listed) == "a b" })
	f.exec("ALTER TABLE b RENAME id TO unlogged_id")
	if _, err := f.conn.Exec(f.Context(), "ALTER TABLE b ADD unlogged int"); err == nil {
		t.Error("the column was there")
	}
	if got := f.value(listed); got != "a b" {
		t.Errorf("published: %q", got)
	}
	if f.value("SELECT current_setting('server_version_num')::int >= 180000") == "true" {
		f.exec("CREATE TABLE v (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) VIRTUAL)")
		f.until("it is published", func() bool { return f.value(listed) == "a b v" })
		f.exec("ALTER TABLE v ALTER twice SET EXPRESSION AS (id + id)")
		f.until("it is published again", func() bool { return f.value(listed) == "a b v" })
	}
}
