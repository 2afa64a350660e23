package router_test

import (
	"context"
	"testing"

	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// TestHazard29PoliciesAreLookedAtForWhoeverReads: which policies hold depends on the role, and on whose rights a relation is read with.
func TestHazard29PoliciesAreLookedAtForWhoeverReads(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, `
		DROP ROLE IF EXISTS p_owner, p_reader, p_member, p_bypass, p_group; CREATE ROLE p_owner; CREATE ROLE p_reader; CREATE ROLE p_member; CREATE ROLE p_bypass BYPASSRLS; CREATE ROLE p_group;
		GRANT p_group TO p_member; GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC;
		CREATE TABLE members (who name PRIMARY KEY, tenant int);
		CREATE TABLE byrole (id int PRIMARY KEY, owner name); ALTER TABLE byrole ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON byrole USING (owner = current_user);
		CREATE TABLE bysetting (id int PRIMARY KEY, tenant int); ALTER TABLE bysetting ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON bysetting USING (tenant = current_setting('app.tenant', true)::int);
		CREATE TABLE bytable (id int PRIMARY KEY, tenant int); ALTER TABLE bytable ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON bytable USING (tenant IN (SELECT tenant FROM members WHERE who = current_user));
		CREATE TABLE byclock (id int PRIMARY KEY, until timestamptz); ALTER TABLE byclock ENABLE ROW LEVEL SECURITY; CREATE POLICY late ON byclock USING (until > now()); ALTER TABLE byclock OWNER TO p_owner;
		CREATE TABLE forced (id int PRIMARY KEY); ALTER TABLE forced ENABLE ROW LEVEL SECURITY; ALTER TABLE forced FORCE ROW LEVEL SECURITY; CREATE POLICY late ON forced USING (now() > '2020-01-01'); ALTER TABLE forced OWNER TO p_owner;
		CREATE TABLE bygroup (id int PRIMARY KEY); ALTER TABLE bygroup ENABLE ROW LEVEL SECURITY; CREATE POLICY late ON bygroup TO p_group USING (now() > '2020-01-01');
		CREATE TABLE writes (id int PRIMARY KEY); ALTER TABLE writes ENABLE ROW LEVEL SECURITY; CREATE POLICY late ON writes FOR UPDATE USING (now() > '2020-01-01'); CREATE POLICY l2 ON writes FOR INSERT WITH CHECK (now() > '2020-01-01');
		CREATE TABLE byserver (id int PRIMARY KEY); ALTER TABLE byserver ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON byserver USING (current_setting('port') = '1');
		CREATE TABLE byfreshet (id int PRIMARY KEY); ALTER TABLE byfreshet ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON byfreshet USING (current_setting('freshet.session_key') = '1');
		CREATE FUNCTION mine(name) RETURNS bool LANGUAGE sql STABLE AS 'SELECT $1 = current_user'; CREATE TABLE byfunction (id int PRIMARY KEY, owner name); ALTER TABLE byfunction ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON byfunction USING (mine(owner));
		CREATE TABLE chain (id int PRIMARY KEY); ALTER TABLE chain ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON chain USING (EXISTS (SELECT FROM byclock));
		CREATE VIEW v_owner AS SELECT * FROM byclock; ALTER VIEW v_owner OWNER TO p_owner;
		CREATE VIEW v_other AS SELECT * FROM byclock; ALTER VIEW v_other OWNER TO p_reader;
		CREATE VIEW v_invoker WITH (security_invoker) AS SELECT * FROM byclock; ALTER VIEW v_invoker OWNER TO p_owner;
		CREATE VIEW v_outer AS SELECT * FROM v_invoker; ALTER VIEW v_outer OWNER TO p_owner;
		CREATE FUNCTION defined() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public AS 'SELECT count(*) FROM byclock'; ALTER FUNCTION defined() OWNER TO p_owner;
		CREATE FUNCTION pathless() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT count(*) FROM byclock'; ALTER FUNCTION pathless() OWNER TO p_owner;
		CREATE FUNCTION invoked() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM byclock';
		CREATE TABLE parent (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE leaf PARTITION OF parent FOR VALUES IN (1); ALTER TABLE leaf ENABLE ROW LEVEL SECURITY; CREATE POLICY late ON leaf USING (now() > '2020-01-01')`); err != nil {
		t.Fatal(err)
	}
	conn, err := c.Primary().Connect(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = conn.Exec(ctx, "DROP OWNED BY p_owner, p_reader, p_member, p_bypass, p_group; DROP ROLE p_owner, p_reader, p_member, p_bypass, p_group")
		conn.Close(ctx)
	}()
	s, err := catalog.Load(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	planner := router.NewPlanner(func() *catalog.Snapshot { return s })
	const clock = "function now() is stable and reads the clock"
	for _, p := range []struct{ role, sql, want string }{
		{"p_reader", "SELECT * FROM byrole", "cacheable byrole"},
		{"p_reader", "SELECT * FROM bysetting", "cacheable bysetting"},
		{"p_reader", "SELECT * FROM bytable", "cacheable members bytable"},
		{"p_reader", "SELECT * FROM byfunction", "cacheable byfunction"},
		{"p_reader", "SELECT * FROM byclock", "replica: policy late of table byclock: " + clock},
		{"p_owner", "SELECT * FROM byclock", "cacheable byclock"},
		{"p_bypass", "SELECT * FROM byclock", "cacheable byclock"},
		{"postgres", "SELECT * FROM byclock", "cacheable byclock"},
		{"p_owner", "SELECT * FROM forced", "replica: policy late of table forced: " + clock},
		{"p_bypass", "SELECT * FROM forced", "cacheable forced"},
		{"postgres", "SELECT * FROM forced", "cacheable forced"},
		{"p_reader", "SELECT * FROM bygroup", "cacheable bygroup"},
		{"p_member", "SELECT * FROM bygroup", "replica: policy late of table bygroup: " + clock},
		{"somebody new", "SELECT * FROM bygroup", "replica: policy late of table bygroup: " + clock},
		{"p_reader", "SELECT * FROM writes", "cacheable writes"},
		{"p_reader", "SELECT * FROM byserver", "primary: policy p of table byserver: current_setting('port') depends on the server"},
		{"p_reader", "SELECT * FROM byfreshet", "primary: policy p of table byfreshet: current_setting('freshet.session_key') is answered by Freshet itself, not by the server"},
		{"p_reader", "SELECT * FROM chain", "replica: policy p of table chain: policy late of table byclock: " + clock},
		{"p_reader", "SELECT * FROM v_owner", "cacheable byclock"},
		{"p_owner", "SELECT * FROM v_other", "replica: view v_other: policy late of table byclock: " + clock},
		{"p_reader", "SELECT * FROM v_invoker", "replica: view v_invoker: policy late of table byclock: " + clock},
		{"p_owner", "SELECT * FROM v_invoker", "cacheable byclock"},
		{"p_reader", "SELECT * FROM v_outer", "replica: view v_outer: view v_invoker: policy late of table byclock: " + clock},
		{"p_owner", "SELECT * FROM v_outer", "cacheable byclock"},
		{"p_reader", "SELECT defined()", "cacheable byclock"},
		{"p_reader", "SELECT pathless()", "replica: function public.pathless(): it is SECURITY DEFINER without a search_path of its own"},
		{"p_reader", "SELECT invoked()", "replica: function public.invoked(): policy late of table byclock: " + clock},
		{"p_owner", "SELECT invoked()", "cacheable byclock"},
		{"p_reader", "SELECT * FROM parent", "cacheable leaf"},
		{"p_reader", "SELECT * FROM leaf", "replica: policy late of table leaf: " + clock},
	} {
		if got := describe(s, planner.Plan(p.sql, router.Context{Role: p.role, SearchPath: publicPath})); got != p.want {
			t.Errorf("%s as %s\n got %s\nwant %s", p.sql, p.role, got, p.want)
		}
	}
}
