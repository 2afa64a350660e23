package catalog_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/router/catalog"
)

var pg = cluster.Shared{}

func TestMain(m *testing.M) { goleak.VerifyTestMain(pg.Main(m)) }

// connect opens a connection that is closed with the test.
func connect(t testing.TB, database string) *pgx.Conn {
	t.Helper()
	conn, err := pg.Get(t).Primary().Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func load(t testing.TB, conn *pgx.Conn) *catalog.Snapshot {
	t.Helper()
	s, err := catalog.Load(context.Background(), conn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLoad(t *testing.T) {
	db := pg.Get(t).NewDatabase(t)
	conn := connect(t, db)
	exec(t, conn, `
		CREATE SCHEMA app; CREATE EXTENSION citext;
		CREATE DOMAIN app.positive AS int CHECK (VALUE > 0);
		CREATE TYPE app.pair AS (a int, b text);
		CREATE TYPE app.mood AS ENUM ('sad');
		CREATE TYPE app.span AS RANGE (subtype = float8);
		CREATE FUNCTION app.f(a int, b text DEFAULT 'x', VARIADIC c int[] DEFAULT '{}', OUT d int, OUT e text) LANGUAGE sql STABLE AS 'SELECT 1, ''a''';
		CREATE FUNCTION app.g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
		CREATE FUNCTION app.h() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 42; END;
		CREATE AGGREGATE app.mysum(int) (sfunc = int4pl, stype = int);
		CREATE TABLE app.parent (id serial PRIMARY KEY, gone int, name text DEFAULT upper('x')) PARTITION BY LIST (id);
		ALTER TABLE app.parent DROP COLUMN gone;
		CREATE UNLOGGED TABLE app.child PARTITION OF app.parent FOR VALUES IN (1);
		ALTER TABLE app.parent ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.parent USING (name = current_user);
		CREATE TRIGGER g BEFORE INSERT ON app.parent FOR EACH ROW EXECUTE FUNCTION app.g();
		CREATE TABLE app.other (id int, parent int REFERENCES app.parent ON DELETE CASCADE); ALTER TABLE app.other REPLICA IDENTITY FULL;
		CREATE RULE r AS ON DELETE TO app.other DO ALSO NOTIFY x;
		CREATE VIEW app.v WITH (security_barrier) AS SELECT id FROM app.parent;
		CREATE TEMP TABLE hidden (id int);`)
	s := load(t, conn)
	r := func(name string) *catalog.Relation {
		rel := s.RelationByName("app", name)
		if rel == nil {
			t.Fatalf("there is no app.%s", name)
		}
		return rel
	}
	parent, child, other, v := r("parent"), r("child"), r("other"), r("v")
	check := func(what string, ok bool) {
		t.Helper()
		if !ok {
			t.Error(what)
		}
	}
	check("parent", parent.Kind == catalog.KindPartitionedTable && parent.RowSecurity && parent.HasPrimaryKey && parent.ReplicaIdentity == 'd' && !parent.System())
	check("columns", slices.Equal(parent.Columns, []catalog.Column{{Name: "id", Type: 23}, {Name: "name", Type: 25}}))
	check("defaults", len(parent.Defaults) == 2 && strings.Contains(strings.Join(parent.Defaults, " "), "nextval"))
	check("policies", len(parent.Policies) == 1 && strings.Contains(parent.Policies[0].Using, "CURRENT_USER"))
	check("triggers", len(parent.Triggers) == 1 && s.Function(parent.Triggers[0]).Name == "g")
	check("partitions", slices.Equal(parent.Children, []uint32{child.OID}) && slices.Equal(s.Descendants(parent.OID), []uint32{child.OID}))
	check("cascades", slices.Contains(parent.Cascades, other.OID))
	check("child", child.Persistence == catalog.Unlogged && child.IsPartition)
	check("rules", other.ReplicaIdentity == 'f' && len(other.Rules) == 1 && strings.Contains(other.Rules[0], "NOTIFY"))
	check("view", v.Kind == catalog.KindView && strings.Contains(v.Definition, "app.parent"))
	barrier, ok := v.Option("security_barrier")
	check("options", ok && barrier == "true")
	check("temporary tables are left out", len(s.RelationsNamed("hidden")) == 0)
	check("system catalogs", s.RelationByName("pg_catalog", "pg_class").System())

	f := s.FunctionsNamed("f")[0]
	check("function", f.Schema == "app" && f.Volatility == catalog.Stable && f.Language == "sql" && f.Defaults == 2 && f.Variadic == 23 &&
		slices.Equal(f.Args, []uint32{23, 25, 1007}) && slices.Equal(f.Columns, []catalog.Column{{Name: "d", Type: 23}, {Name: "e", Type: 25}}))
	check("arity", !f.Accepts(0) && f.Accepts(1) && f.Accepts(2) && f.Accepts(7) && f.Arg(6, 7) == 23 && f.Arg(1, 7) == 25)
	check("body", strings.Contains(s.FunctionsNamed("h")[0].Source, "42") && strings.Contains(s.FunctionsNamed("g")[0].Source, "RETURN NEW"))
	check("aggregate", s.FunctionsNamed("mysum")[0].Kind == catalog.KindAggregate && len(s.FunctionsNamed("mysum")[0].Parts) == 1)
	check("extension", s.FunctionsNamed("citext_eq")[0].Extension == "citext" && s.FunctionsNamed("citext_eq")[0].Library != "" && f.Extension == "")
	domain, pair := s.TypeByName("app", "positive"), s.TypeByName("app", "pair")
	check("domain", domain.Kind == catalog.TypeDomain && domain.Base == 23 && len(domain.Checks) == 1)
	check("composite", pair.Kind == catalog.TypeComposite && len(s.Relation(pair.Relation).Columns) == 2)
	check("array", s.Type(pair.Array).Elem == pair.OID)
	check("enum", s.TypeByName("app", "mood").Kind == catalog.TypeEnum)
	check("range", s.TypeByName("app", "span").Subtype == 701)
	check("cast", s.Cast(23, 20).Context == 'i' && s.Cast(23, 2950) == nil)
	check("operators", len(s.OperatorsNamed("=")) > 50)
	check("database", s.Database == db && s.Encoding == "UTF8" && s.ServerVersion >= 140000 && s.Generation > 0)
	check("generations", load(t, conn).Generation > s.Generation)
}

func TestAnyRoleCanLoad(t *testing.T) {
	c := pg.Get(t)
	admin := connect(t, "postgres")
	exec(t, admin, "CREATE ROLE nobody LOGIN PASSWORD 'x'")
	db := c.NewDatabase(t)
	conn, err := pgx.Connect(context.Background(), c.Primary().UserURL("nobody", "x", db))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	super := connect(t, db)
	exec(t, super, "CREATE TABLE t (a int); CREATE VIEW v AS SELECT * FROM t; REVOKE ALL ON SCHEMA public FROM public")
	s := load(t, conn)
	if r := s.RelationByName("public", "v"); r == nil || !strings.Contains(r.Definition, "t") {
		t.Errorf("%+v", r)
	}
	if s.Digest != load(t, super).Digest {
		t.Error("two roles see two digests")
	}
}

func TestSearchPathIsThatOfTheServer(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	exec(t, conn, `
		CREATE ROLE sp_team; CREATE ROLE sp_ann LOGIN PASSWORD 'x' IN ROLE sp_team; CREATE ROLE sp_ben LOGIN PASSWORD 'x' NOINHERIT IN ROLE sp_team;
		CREATE ROLE sp_cat LOGIN PASSWORD 'x' IN ROLE pg_read_all_data; CREATE ROLE sp_dan LOGIN PASSWORD 'x' SUPERUSER; CREATE ROLE sp_eve LOGIN PASSWORD 'x';
		ALTER DATABASE `+db+` OWNER TO sp_eve;
		CREATE SCHEMA sp_ann AUTHORIZATION sp_ann; CREATE SCHEMA shared; GRANT USAGE ON SCHEMA shared TO sp_team;
		CREATE SCHEMA closed; CREATE SCHEMA "Odd one"; GRANT USAGE ON SCHEMA "Odd one" TO PUBLIC;
		CREATE SCHEMA mine AUTHORIZATION sp_ben; REVOKE USAGE ON SCHEMA mine FROM sp_ben;
		CREATE SCHEMA owners AUTHORIZATION pg_database_owner;
		ALTER ROLE sp_ben SET search_path = shared, public;
		ALTER ROLE sp_cat IN DATABASE `+db+` SET search_path = closed;
		ALTER ROLE sp_cat SET search_path = public;`)
	s := load(t, conn)
	settings := []string{`"$user", public`, `shared, closed, public`, `"Odd one", PUBLIC, nowhere`, `public, pg_catalog, shared`, ``, `public,public, "$user"`, `mine, owners, public`, `pg_temp, public`}
	for _, role := range []string{"sp_ann", "sp_ben", "sp_cat", "sp_dan", "sp_eve"} {
		session, err := pgx.Connect(context.Background(), c.Primary().UserURL(role, "x", db))
		if err != nil {
			t.Fatal(err)
		}
		check := func(setting string, set bool) {
			t.Helper()
			var want []string
			if err := session.QueryRow(context.Background(), `SELECT current_schemas(true)::text[]`).Scan(&want); err != nil {
				t.Fatal(err)
			}
			want = slices.DeleteFunc(want, func(name string) bool { return strings.HasPrefix(name, "pg_temp") })
			if got := s.EffectiveSearchPath(role, role, setting, set); !slices.Equal(got, want) {
				t.Errorf("%s, %q (%v): %v, for Postgres %v", role, setting, set, got, want)
			}
		}
		check("", false)
		for _, setting := range settings {
			exec(t, session, "SELECT set_config('search_path', '"+setting+"', false)")
			check(setting, true)
		}
		_ = session.Close(context.Background())
	}
	exec(t, conn, "SET ROLE sp_ann")
	var want []string
	if err := conn.QueryRow(context.Background(), `SELECT current_schemas(true)::text[]`).Scan(&want); err != nil {
		t.Fatal(err)
	}
	if got := s.EffectiveSearchPath("postgres", "sp_ann", "", false); !slices.Equal(got, want) {
		t.Errorf("after SET ROLE: %v, for Postgres %v", got, want)
	}
}

func TestSplitIdentifiers(t *testing.T) {
	for list, want := range map[string][]string{
		"": nil, " ": nil, "a": {"a"}, "A , \"B\"": {"a", "B"}, `"a""b", c`: {`a"b`, "c"}, "a b": {"bad"}, "a,": {"bad"}, ",a": {"bad"}, `"a`: {"bad"},
		strings.Repeat("x", 70): {strings.Repeat("x", 63)}, strings.Repeat("x", 62) + "ää": {strings.Repeat("x", 62)},
	} {
		got, ok := catalog.SplitIdentifiers(list)
		if !ok {
			got = []string{"bad"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}

func TestAServerPathHiddenByARoleSettingIsNotGuessed(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	if got := load(t, conn).EffectiveSearchPath("postgres", "postgres", "", false); !slices.Equal(got, []string{"pg_catalog", "public"}) {
		t.Errorf("%v", got)
	}
	exec(t, conn, "CREATE ROLE hidden_path LOGIN PASSWORD 'x'; ALTER ROLE hidden_path SET search_path = elsewhere; CREATE ROLE plain_path")
	session, err := pgx.Connect(context.Background(), c.Primary().UserURL("hidden_path", "x", db))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(context.Background())
	s := load(t, session)
	if got := s.EffectiveSearchPath("plain_path", "plain_path", "", false); !slices.Equal(got, []string{"pg_catalog"}) {
		t.Errorf("%v", got)
	}
	if got := s.EffectiveSearchPath("plain_path", "plain_path", "public", true); !slices.Equal(got, []string{"pg_catalog", "public"}) {
		t.Errorf("%v", got)
	}
}

func TestDefaultSettingsHaveTheServersPrecedence(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	exec(t, conn, `CREATE ROLE ds_a; CREATE ROLE ds_b; CREATE ROLE ds_c;
		ALTER DATABASE `+db+` SET freshet.route = 'db'; ALTER ROLE ds_a SET freshet.route = 'a'; ALTER ROLE ds_b SET freshet.route = 'b';
		ALTER ROLE ds_b IN DATABASE `+db+` SET freshet.route = 'b in db'; ALTER ROLE ALL SET freshet.cache = 'off'`)
	t.Cleanup(func() { exec(t, connect(t, "postgres"), "ALTER ROLE ALL RESET freshet.cache") })
	s := load(t, conn)
	for role, want := range map[string]string{"ds_a": "a", "ds_b": "b in db", "ds_c": "db", "nobody here": "db"} {
		if got, _ := s.DefaultSetting(role, "Freshet.Route"); got != want {
			t.Errorf("%s: %q, want %q", role, got, want)
		}
	}
	if got, ok := s.DefaultSetting("ds_c", "freshet.cache"); got != "off" || !ok {
		t.Errorf("%q %v", got, ok)
	}
	if _, ok := s.DefaultSetting("ds_c", "work_mem"); ok {
		t.Error("a setting out of nowhere")
	}
}

func BenchmarkLoad(b *testing.B) {
	conn := connect(b, "postgres")
	for b.Loop() {
		load(b, conn)
	}
}

func BenchmarkDigest(b *testing.B) {
	conn := connect(b, "postgres")
	version := load(b, conn).ServerVersion
	for b.Loop() {
		if _, _, err := catalog.Digest(context.Background(), conn, version); err != nil {
			b.Fatal(err)
		}
	}
}
