package catalog_test

import (
	"context"
	"strings"
	"testing"

	"github.com/freshet/freshet/router/catalog"
)

// changes are statements after each of which a plan, a permission or an answer's bytes can be others.
var changes = []string{
	"CREATE TABLE t (id int PRIMARY KEY, name varchar(10))",
	"ALTER TABLE t ALTER name TYPE varchar(20)",
	"ALTER TABLE t RENAME name TO title",
	"ALTER TABLE t ADD extra int",
	"ALTER TABLE t DROP extra",
	"ALTER TABLE t ALTER title SET DEFAULT 'x'",
	"ALTER TABLE t RENAME TO t2",
	"ALTER TABLE t2 SET SCHEMA other",
	"ALTER TABLE other.t2 SET UNLOGGED",
	"ALTER TABLE other.t2 SET LOGGED",
	"ALTER TABLE other.t2 ENABLE ROW LEVEL SECURITY",
	"ALTER TABLE other.t2 FORCE ROW LEVEL SECURITY",
	"CREATE POLICY p ON other.t2 USING (true)",
	"ALTER POLICY p ON other.t2 USING (false)",
	"DROP POLICY p ON other.t2",
	"GRANT SELECT ON other.t2 TO dg_ann",
	"GRANT UPDATE (title) ON other.t2 TO dg_ann",
	"REVOKE ALL ON other.t2 FROM dg_ann",
	"ALTER TABLE other.t2 OWNER TO dg_ann",
	"ALTER TABLE other.t2 DROP CONSTRAINT t_pkey",
	"ALTER TABLE other.t2 REPLICA IDENTITY FULL",
	"CREATE RULE r AS ON DELETE TO other.t2 DO INSTEAD NOTHING",
	"CREATE VIEW v AS SELECT id FROM other.t2",
	"CREATE OR REPLACE VIEW v AS SELECT id + 1 AS id FROM other.t2",
	"ALTER VIEW v SET (security_barrier)",
	"CREATE TABLE c () INHERITS (other.t2)",
	"ALTER TABLE c NO INHERIT other.t2",
	"CREATE TABLE p (id int) PARTITION BY LIST (id)",
	"CREATE TABLE p1 (id int)",
	"ALTER TABLE p ATTACH PARTITION p1 FOR VALUES IN (1)",
	"ALTER TABLE p DETACH PARTITION p1",
	"CREATE FUNCTION f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'",
	"CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql STABLE AS 'SELECT 2'",
	"ALTER FUNCTION f() VOLATILE",
	"ALTER FUNCTION f() SET search_path = other",
	"REVOKE EXECUTE ON FUNCTION f() FROM PUBLIC",
	"REVOKE EXECUTE ON FUNCTION pg_catalog.lower(text) FROM PUBLIC",
	"GRANT EXECUTE ON FUNCTION pg_catalog.lower(text) TO PUBLIC",
	"CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
	"CREATE TRIGGER g BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION g()",
	"ALTER TABLE c DISABLE TRIGGER g",
	"CREATE FUNCTION h() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
	"CREATE EVENT TRIGGER h ON ddl_command_end EXECUTE FUNCTION h()",
	"ALTER EVENT TRIGGER h DISABLE",
	"CREATE AGGREGATE a(int) (sfunc = int4pl, stype = int)",
	"CREATE FUNCTION eq(int, text) RETURNS bool LANGUAGE sql AS 'SELECT true'",
	"CREATE OPERATOR = (leftarg = int, rightarg = text, function = eq)",
	"DROP OPERATOR = (int, text)",
	"CREATE TYPE mood AS ENUM ('sad')",
	"ALTER TYPE mood ADD VALUE 'happy'",
	"ALTER TYPE mood RENAME VALUE 'sad' TO 'glum'",
	"CREATE DOMAIN d AS int",
	"ALTER DOMAIN d ADD CONSTRAINT k CHECK (VALUE > 0)",
	"CREATE CAST (mood AS int) WITH FUNCTION moods(mood)",
	"CREATE COLLATION k (provider = icu, locale = 'und', deterministic = false)",
	"CREATE TEXT SEARCH CONFIGURATION cfg (COPY = simple)",
	"ALTER TEXT SEARCH CONFIGURATION cfg DROP MAPPING FOR word",
	"CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple)",
	"ALTER TEXT SEARCH DICTIONARY dict (Accept = false)",
	"CREATE EXTENSION citext",
	"ALTER EXTENSION citext ADD FUNCTION f()",
	"ALTER EXTENSION citext DROP FUNCTION f()",
	"CREATE SCHEMA third",
	"GRANT USAGE ON SCHEMA third TO dg_ann",
	"DROP SCHEMA third",
	"GRANT dg_team TO dg_ann",
	"REVOKE dg_team FROM dg_ann",
	"ALTER ROLE dg_ann SUPERUSER",
	"ALTER ROLE dg_ann BYPASSRLS",
	"ALTER ROLE dg_ann NOINHERIT",
	"ALTER ROLE dg_ann RENAME TO dg_anna",
	"ALTER ROLE dg_anna SET work_mem = '1MB'",
	"ALTER ROLE dg_anna SET work_mem = '2MB'",
	"ALTER ROLE dg_anna RESET ALL",
	"ALTER DATABASE %db SET work_mem = '3MB'",
	"ALTER DATABASE %db OWNER TO dg_team",
	"DROP VIEW v; DROP TABLE other.t2 CASCADE",
}

// noise are statements that change nothing for us.
var noise = []string{
	"INSERT INTO quiet SELECT generate_series(1, 1000)", "UPDATE quiet SET id = id + 10000", "ANALYZE quiet", "VACUUM quiet", "VACUUM FREEZE quiet", "VACUUM FULL quiet", "TRUNCATE quiet",
	"REINDEX TABLE quiet", "CLUSTER quiet USING quiet_pkey", "REFRESH MATERIALIZED VIEW quiet_mv", "VACUUM pg_catalog.pg_class", "VACUUM FREEZE pg_catalog.pg_proc", "ANALYZE",
	"CREATE TEMP TABLE x (id int PRIMARY KEY, name text DEFAULT 'y', t timestamp)", "CREATE TEMP VIEW y AS SELECT * FROM x", "ALTER TABLE x ADD z int", "CREATE TEMP TABLE x2 () INHERITS (x)",
	"CREATE TYPE pg_temp.m AS ENUM ('a')", "DROP TABLE x CASCADE", "SELECT nextval('quiet_seq')", "COMMENT ON TABLE quiet IS 'quiet'", "CHECKPOINT",
}

func TestDigestSeesEveryChange(t *testing.T) {
	db := pg.Get(t).NewDatabase(t)
	conn := connect(t, db)
	exec(t, conn, "CREATE ROLE dg_ann; CREATE ROLE dg_team; CREATE SCHEMA other")
	exec(t, conn, "CREATE TYPE pre AS ENUM ('x')")
	version := load(t, conn).ServerVersion
	digest := func() string {
		d, _, err := catalog.Digest(context.Background(), conn, version)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := digest()
	for _, change := range changes {
		if strings.Contains(change, "moods(") {
			exec(t, conn, "CREATE FUNCTION moods(mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'")
			before = digest()
		}
		exec(t, conn, strings.ReplaceAll(change, "%db", db))
		after := digest()
		if before == after {
			t.Errorf("unseen: %s", change)
		} else if parts := catalog.Changed(before, after); len(parts) == 0 {
			t.Errorf("%s: changed nothing by name", change)
		}
		before = after
	}
}

func TestDigestSeesTheConfiguration(t *testing.T) {
	conn := connect(t, pg.Get(t).NewDatabase(t))
	before := load(t, conn)
	exec(t, conn, "SELECT pg_sleep(0.01), pg_reload_conf()")
	// The signal reaches this connection's backend in its own time.
	for range 1000 {
		if load(t, conn).Digest != before.Digest {
			return
		}
	}
	t.Error("unseen: pg_reload_conf()")
}

func TestDigestIgnoresWhatChangesNothing(t *testing.T) {
	conn := connect(t, pg.Get(t).NewDatabase(t))
	exec(t, conn, "CREATE TABLE quiet (id int PRIMARY KEY); CREATE MATERIALIZED VIEW quiet_mv AS SELECT * FROM quiet; CREATE SEQUENCE quiet_seq")
	version := load(t, conn).ServerVersion
	before, _, err := catalog.Digest(context.Background(), conn, version)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range noise {
		exec(t, conn, sql)
		after, _, err := catalog.Digest(context.Background(), conn, version)
		if err != nil {
			t.Fatal(err)
		}
		if before != after {
			t.Errorf("%s changes %v", sql, catalog.Changed(before, after))
		}
		before = after
	}
}
