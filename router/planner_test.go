package router_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

var pg = cluster.Shared{}

func TestMain(m *testing.M) { goleak.VerifyTestMain(pg.Main(m)) }

// schema is what the planner's tests plan against.
const schema = `
CREATE ROLE alice; CREATE ROLE bob;
CREATE EXTENSION citext; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION pg_trgm; CREATE EXTENSION dblink;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN code AS text;
CREATE TYPE pair AS (a int, b date);
CREATE TABLE accounts (id int PRIMARY KEY, name text, email citext, balance numeric, active bool, created timestamptz,
	born date, tags text[], doc jsonb, state mood, kind code, at timestamp, big bigint);
CREATE TABLE orders (id bigserial PRIMARY KEY, account int REFERENCES accounts ON DELETE CASCADE, total numeric, placed timestamptz DEFAULT now());
CREATE TABLE clocks (id int PRIMARY KEY, t timetz);
CREATE TABLE regs (id int PRIMARY KEY, c regclass);
CREATE TABLE secrets (id int PRIMARY KEY, owner text); ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secrets USING (owner = current_user);
CREATE TABLE teams (id int PRIMARY KEY, who name);
CREATE TABLE guarded (id int PRIMARY KEY, team int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (team IN (SELECT id FROM teams WHERE who = current_user));
CREATE TABLE coded (code code, n positive, PRIMARY KEY (code, n));
CREATE UNLOGGED TABLE scratch (id int);
CREATE TABLE measures (id int, day date) PARTITION BY RANGE (day);
CREATE TABLE measures_1 PARTITION OF measures FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE measures_2 PARTITION OF measures FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY LIST (id);
CREATE TABLE measures_2a PARTITION OF measures_2 FOR VALUES IN (1);
CREATE TABLE base (id int); CREATE TABLE derived (extra int) INHERITS (base);
CREATE TABLE half (id int); CREATE UNLOGGED TABLE half_unlogged () INHERITS (half);
CREATE VIEW v_accounts AS SELECT id, name, balance FROM accounts WHERE active;
CREATE VIEW v_nested AS SELECT a.id, sum(o.total) AS total FROM v_accounts a JOIN orders o ON o.account = a.id GROUP BY a.id;
CREATE VIEW v_clock AS SELECT id FROM accounts WHERE created > now();
CREATE VIEW v_today AS SELECT 'today'::text::date AS d, id FROM accounts;
CREATE VIEW v_invoker WITH (security_invoker) AS SELECT id FROM accounts;
CREATE VIEW v_measures AS SELECT * FROM measures;
CREATE MATERIALIZED VIEW mv AS SELECT id FROM accounts;
CREATE SEQUENCE seq;
CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION looks() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM accounts); END';
CREATE FUNCTION looks_scratch() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM scratch); END';
CREATE FUNCTION cycle(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT NULL';
CREATE VIEW v_cycle AS SELECT id, cycle(id) AS before FROM accounts;
CREATE OR REPLACE FUNCTION cycle(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT max(before) FROM public.v_cycle WHERE id = $1 - 1';
CREATE FUNCTION touches() RETURNS void LANGUAGE sql AS 'UPDATE accounts SET active = true';
CREATE FUNCTION sneaky() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN PERFORM touches(); RETURN 1; END';
CREATE FUNCTION sets() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET work_mem = 1000; END';
CREATE FUNCTION sets_local() RETURNS void LANGUAGE plpgsql AS $$BEGIN SET LOCAL work_mem = 1000; PERFORM set_config('a.b', 'c', true); END$$;
CREATE FUNCTION configures() RETURNS text LANGUAGE sql STABLE AS $$SELECT set_config('app.user', 'x', false)$$;
CREATE FUNCTION temps() RETURNS void LANGUAGE plpgsql AS 'BEGIN CREATE TEMP TABLE x (a int); END';
CREATE FUNCTION calls_temps() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM temps(); END';
CREATE FUNCTION dynamic(text) RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE $1; END';
CREATE FUNCTION atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT setseed(0.5); SELECT 1::bigint; END;
CREATE FUNCTION spin() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION spun() RETURNS int LANGUAGE sql STABLE AS 'SELECT spin()';
CREATE OR REPLACE FUNCTION spin() RETURNS int LANGUAGE sql STABLE AS 'SELECT spun()';
CREATE FUNCTION fullname(accounts) RETURNS text LANGUAGE sql AS 'SELECT $1.name';
CREATE PROCEDURE proc() LANGUAGE plpgsql AS 'BEGIN UPDATE accounts SET active = true; END';
CREATE PROCEDURE proc_temp() LANGUAGE plpgsql AS 'BEGIN CREATE TEMPORARY TABLE y (); END';
CREATE AGGREGATE mysum(int) (sfunc = int4pl, stype = int);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM set_config('app.last', 'x', false); RETURN NEW; END$$;
CREATE TABLE audited (id int); CREATE TRIGGER audit AFTER INSERT ON audited FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int, parent int REFERENCES parents ON DELETE CASCADE);
CREATE TRIGGER audit AFTER DELETE ON children FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TABLE ruled (id int); CREATE RULE r AS ON UPDATE TO ruled DO ALSO INSERT INTO audited VALUES (1);
CREATE FUNCTION inserts_audited() RETURNS void LANGUAGE sql AS 'INSERT INTO audited VALUES (1)';
CREATE FUNCTION narrow(int, int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
CREATE FUNCTION narrow(bigint, numeric) RETURNS int LANGUAGE sql AS 'UPDATE accounts SET active = true; SELECT 2';
CREATE SCHEMA app; CREATE TABLE app.things (id int PRIMARY KEY, at timestamptz);
CREATE TABLE app.accounts (id int PRIMARY KEY);
CREATE FUNCTION app.weird_eq(int, text) RETURNS bool LANGUAGE sql VOLATILE AS 'SELECT $1::text = $2 AND random() > 0';
CREATE OPERATOR app.= (leftarg = int, rightarg = text, function = app.weird_eq);
CREATE FUNCTION app.lower(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.lower($1) || random()';
`

var planned struct {
	sync.Once
	snapshot *catalog.Snapshot
	err      error
}

// testSnapshot is the catalog of the test schema.
func testSnapshot(t testing.TB) *catalog.Snapshot {
	c := pg.Get(t)
	planned.Do(func() {
		ctx := context.Background()
		if planned.err = c.Primary().Exec(ctx, "CREATE DATABASE planner"); planned.err != nil {
			return
		}
		if planned.err = c.Primary().ExecIn(ctx, "planner", schema); planned.err != nil {
			return
		}
		conn, err := c.Primary().Connect(ctx, "planner")
		if err != nil {
			planned.err = err
			return
		}
		defer conn.Close(ctx)
		planned.snapshot, planned.err = catalog.Load(ctx, conn)
	})
	if planned.err != nil {
		t.Fatal(planned.err)
	}
	return planned.snapshot
}

func testPlanner(t testing.TB) (*router.Planner, *catalog.Snapshot) {
	s := testSnapshot(t)
	return router.NewPlanner(func() *catalog.Snapshot { return s }), s
}

var publicPath = []string{"pg_catalog", "public"}

// describe says in one line what matters about a plan.
func describe(s *catalog.Snapshot, p *router.Plan) string {
	var b strings.Builder
	switch {
	case p.Cacheable:
		b.WriteString("cacheable")
		for _, oid := range p.Relations {
			b.WriteString(" " + s.Relation(oid).Name)
		}
	case p.Writes:
		b.WriteString("write: " + p.WriteReason)
	case p.OnPrimary:
		b.WriteString("primary: " + p.PrimaryReason)
	default:
		b.WriteString("replica: " + p.Reason)
	}
	if p.Binds != "" {
		b.WriteString(" | binds: " + p.Binds)
	}
	return b.String()
}

func TestPlanOfQueries(t *testing.T) {
	planner, s := testPlanner(t)
	for _, c := range queries {
		p := planner.Plan(c.sql, router.Context{Role: "postgres", SearchPath: publicPath})
		if got := describe(s, p); !matches(got, c.want) {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
		if p.Cacheable && (p.Writes || p.OnPrimary || p.Binds != "" || p.Kind != router.KindRead || p.Reason != "") {
			t.Errorf("%s: cacheable in spite of %+v", c.sql, p)
		}
		if !p.Cacheable && p.Reason == "" {
			t.Errorf("%s: not cacheable without a reason", c.sql)
		}
	}
}

// matches compares; a … at the end of want stands for anything.
func matches(got, want string) bool {
	if head, ok := strings.CutSuffix(want, "…"); ok {
		return strings.HasPrefix(got, head)
	}
	return got == want
}

func Example() {
	planner := router.NewPlanner(func() *catalog.Snapshot { return nil })
	p := planner.Plan("BEGIN READ ONLY", router.Context{})
	fmt.Println(p.Kind == router.KindBegin, p.Transaction.Access == router.AccessReadOnly)
	// Output: true true
}
