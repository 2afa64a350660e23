package router_test

import (
	"context"
	"testing"

	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// TestHazard09CalledFunctionsGoByTheSessionsSearchPath: in a view, a policy or a CHECK every name is qualified; but a function that is called
// there looks up names with the search path that holds while the statement runs.
func TestHazard09CalledFunctionsGoByTheSessionsSearchPath(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	conn, err := c.Primary().Connect(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `
		CREATE SCHEMA one; CREATE SCHEMA two; SET search_path = one; GRANT USAGE ON SCHEMA one, two TO app;
		CREATE TABLE one.names (id int PRIMARY KEY, name text); CREATE TABLE two.names (id int PRIMARY KEY, name text); CREATE TABLE one.t (id int PRIMARY KEY, owner text);
		CREATE FUNCTION one.name_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM names WHERE id = $1';
		CREATE FUNCTION one.pl(int) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT name FROM names WHERE id = $1); END';
		CREATE FUNCTION one.body(i int) RETURNS text LANGUAGE sql STABLE RETURN one.name_of(i);
		CREATE FUNCTION one.fixed(int) RETURNS text LANGUAGE sql STABLE SET search_path = two AS 'SELECT one.name_of($1)';
		CREATE FUNCTION one.definer(i int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER RETURN one.name_of(i);
		CREATE VIEW one.v AS SELECT id, one.name_of(id) FROM one.t; CREATE VIEW one.outer_v AS SELECT * FROM one.v; CREATE VIEW one.v_pl AS SELECT id, one.pl(id) FROM one.t;
		CREATE TABLE one.p (id int PRIMARY KEY, owner text); ALTER TABLE one.p ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON one.p USING (owner = one.name_of(id));
		CREATE DOMAIN one.d AS int CHECK (one.name_of(VALUE) IS NULL);
		GRANT SELECT ON ALL TABLES IN SCHEMA one TO app; GRANT SELECT ON ALL TABLES IN SCHEMA two TO app`); err != nil {
		t.Fatal(err)
	}
	s, err := catalog.Load(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	planner := router.NewPlanner(func() *catalog.Snapshot { return s })
	oid := func(schema string) uint32 { return s.RelationByName(schema, "names").OID }
	for _, q := range []struct {
		sql string
		in  string // the schema of names; of one and two, what the path says
	}{
		{"SELECT * FROM one.v", ""},
		{"SELECT * FROM one.outer_v", ""},
		{"SELECT * FROM one.v_pl", ""},
		{"SELECT * FROM one.p", ""},
		{"SELECT 1::one.d", ""},
		{"SELECT one.body(1)", ""},
		{"SELECT one.fixed(1)", "two"},
	} {
		for _, schema := range []string{"one", "two"} { // in this order, and what was found for the first mustn't be taken for the second
			want := q.in
			if want == "" {
				want = schema
			}
			p := planner.Plan(q.sql, router.Context{Role: "app", SearchPath: []string{"pg_catalog", schema}})
			found := ""
			for _, r := range p.Relations {
				switch r {
				case oid("one"):
					found += "one"
				case oid("two"):
					found += "two"
				}
			}
			if !p.Cacheable || found != want {
				t.Errorf("%s with search_path %s: cacheable %v (%s), names of %q, not %q", q.sql, schema, p.Cacheable, p.Reason, found, want)
			}
		}
	}
	if p := planner.Plan("SELECT one.definer(1)", router.Context{Role: "app", SearchPath: []string{"pg_catalog", "one"}}); p.Cacheable {
		t.Error("it isn't known which schemas of the session's search path the owner may use")
	}
}
