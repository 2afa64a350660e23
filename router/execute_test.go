package router_test

import (
	"fmt"
	"testing"

	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// prepared are statements of a session, by name, as their PREPARE has them.
var prepared = map[string]string{
	"look":    "PREPARE look AS SELECT name FROM accounts WHERE id = 1",
	"find":    "PREPARE find(int) AS SELECT name FROM accounts WHERE id = $1",
	"guess":   "PREPARE guess AS SELECT name FROM accounts WHERE id = $1",
	"coded":   "PREPARE coded(code) AS SELECT $1",
	"put":     "PREPARE put AS INSERT INTO orders (account) VALUES ($1) RETURNING id",
	"plain":   "PREPARE plain(int) AS UPDATE accounts SET active = true WHERE id = $1",
	"touch":   "PREPARE touch AS SELECT touches()",
	"lock":    "PREPARE lock AS SELECT pg_advisory_lock(1)",
	"free":    "PREPARE free AS SELECT pg_advisory_unlock_all()",
	"temps":   "PREPARE temps AS SELECT temps()",
	"dyn":     "PREPARE dyn(text) AS SELECT dynamic($1)",
	"set":     "PREPARE set AS SELECT set_config('app.user', 'x', false)",
	"setany":  "PREPARE setany(text) AS SELECT set_config('app.user', $1, false)",
	"shared":  "PREPARE shared AS SELECT id FROM accounts FOR UPDATE",
	"curr":    "PREPARE curr AS SELECT currval('seq')",
	"roles":   "PREPARE roles AS SELECT rolname FROM pg_roles",
	"names":   "PREPARE names AS SELECT name FROM pg_prepared_statements",
	"random":  "PREPARE random AS SELECT random()",
	"audited": "PREPARE audited(int) AS INSERT INTO audited VALUES ($1)",
}

// resolved are statements that execute, with what is known once it is known what they execute.
var resolved = []struct{ sql, want string }{
	// A read stays one, but isn't cacheable.
	{"EXECUTE look", "read, replica: EXECUTE of a prepared statement; in READ ONLY"},
	{"EXECUTE find(1)", "read, replica: EXECUTE of a prepared statement; in READ ONLY"},
	{"EXECUTE find(-1)", "read, replica: EXECUTE of a prepared statement; in READ ONLY"},
	{"EXECUTE random", "read, primary: function random() is volatile"},
	{"EXECUTE roles", "read, replica: EXECUTE of a prepared statement; catalogs; in READ ONLY"},
	{"EXECUTE names", "read, primary: pg_prepared_statements is a system catalog; shows what is prepared"},
	{"EXECUTE nothing", "execute, write: EXECUTE"},
	{"EXECUTE \"LOOK\"", "execute, write: EXECUTE"},
	// What it does counts, wherever it stands.
	{"EXECUTE put(1)", "write, write: Insert; leaves a sequence's state; in READ ONLY"},
	{"EXECUTE plain(1)", "write, write: Update; leaves a sequence's state; in READ ONLY"},
	{"EXECUTE touch", "write, write: function public.touches() is user-defined and volatile: Update in it isn't a SELECT; leaves a sequence's state"},
	{"EXECUTE shared", "write, write: a locking clause (FOR UPDATE, FOR SHARE …) locks rows"},
	{"EXECUTE lock", "read, primary: function pg_advisory_lock() takes a lock | binds: advisory lock; frees"},
	{"EXECUTE free", "read, primary: function pg_advisory_unlock_all() releases a lock; frees"},
	{"EXECUTE temps", "write, write: function public.temps() is user-defined and volatile: Create in it isn't a SELECT | binds: temporary table in function public.temps(); frees"},
	{"EXECUTE dyn('x')", "write, write: function public.dynamic() is user-defined and volatile: it runs SQL that it puts together itself | binds: dynamic SQL in function public.dynamic(); for long; frees"},
	{"EXECUTE curr", "read, primary: function currval() depends on the session's sequences; reads a sequence's state"},
	{"EXECUTE audited(1)", "write, write: Insert | binds: set_config(); for long; frees; in READ ONLY"},
	// Settings that it makes aren't tracked.
	{"EXECUTE set", "read, primary: function set_config() changes the session's state | binds: set_config(); for long; frees"},
	{"EXECUTE setany('x')", "read, primary: function set_config() changes the session's state | binds: set_config(); for long; frees"},
	// Arguments are computed, and go through casts that are looked up where they are executed.
	{"EXECUTE find((SELECT 1))", "read, replica: EXECUTE of a prepared statement; in READ ONLY"},
	{"EXECUTE guess(touches())", "write, write: the casts of EXECUTE's arguments; leaves a sequence's state"},
	{"EXECUTE find(nextval('seq'))", "write, write: function nextval() is volatile; leaves a sequence's state"},
	{"EXECUTE find(pg_advisory_lock(1)::text::int)", "read, primary: function pg_advisory_lock() takes a lock | binds: advisory lock"},
	{"EXECUTE guess(1)", "read, replica: EXECUTE of a prepared statement; in READ ONLY"},
	{"EXECUTE guess(1 + 1)", "write, write: the casts of EXECUTE's arguments"},
	{"EXECUTE guess('1'::int)", "write, write: the casts of EXECUTE's arguments"},
	{"EXECUTE find('1'::int)", "read, replica: EXECUTE of a prepared statement; in READ ONLY"},
	{"EXECUTE coded('a')", "read, replica: EXECUTE of a prepared statement; in READ ONLY"},
	// In other statements.
	{"EXPLAIN EXECUTE look", "read, primary: EXPLAIN"},
	{"EXPLAIN EXECUTE lock", "read, primary: EXPLAIN | binds: advisory lock; frees"},
	{"EXPLAIN ANALYZE EXECUTE plain(1)", "utility, write: EXPLAIN ANALYZE; frees; leaves a sequence's state"},
	{"CREATE TABLE made AS EXECUTE look", "utility, write: CreateTableAs; frees; DDL"},
	{"CREATE TEMP TABLE made AS EXECUTE look", "utility, write: CreateTableAs | binds: temporary table; frees; DDL"},
	{"CREATE TABLE made AS EXECUTE temps", "utility, write: CreateTableAs | binds: temporary table in function public.temps(); frees; DDL"},
	// In strings, what stands before counts.
	{"EXECUTE look; EXECUTE find(2)", "multi, replica: more than one statement in a text; in READ ONLY"},
	{"SELECT 1; EXECUTE plain(1)", "multi, write: Update; leaves a sequence's state; in READ ONLY"},
	{"SELECT 1; EXECUTE lock", "multi, primary: function pg_advisory_lock() takes a lock | binds: advisory lock; frees"},
	{"PREPARE new AS SELECT 1; EXECUTE new", "multi, primary: PREPARE; in READ ONLY"},
	{"PREPARE new AS SELECT pg_advisory_lock(1); EXECUTE new", "multi, primary: PREPARE | binds: advisory lock; frees"},
	{"PREPARE look AS SELECT pg_advisory_lock(1); EXECUTE look", "multi, primary: PREPARE; in READ ONLY"}, // fails at the first
	{"DEALLOCATE look; PREPARE look AS SELECT touches(); EXECUTE look", "multi, write: function public.touches() is user-defined and volatile: Update in it isn't a SELECT; frees; leaves a sequence's state"},
	{"DEALLOCATE look; EXECUTE look", "multi, write: EXECUTE; frees"},
	{"DEALLOCATE ALL; EXECUTE look", "multi, write: EXECUTE; frees"},
	{"DEALLOCATE ALL; PREPARE look AS SELECT 1; EXECUTE look", "multi, primary: DEALLOCATE; frees; in READ ONLY"},
	{"EXECUTE look; DEALLOCATE look", "multi, primary: DEALLOCATE; frees; in READ ONLY"},
	// Nothing to find out.
	{"PREPARE look AS SELECT 1", "prepare, primary: PREPARE; in READ ONLY"},
	{"SELECT 1", "read, cacheable; in READ ONLY"},
}

// TestPlanOfWhatIsExecuted: what EXECUTE does is what the statement does that it executes, and its arguments. As long as that isn't known it may do anything.
func TestPlanOfWhatIsExecuted(t *testing.T) {
	planner, s := testPlanner(t)
	ctx := router.Context{Role: "postgres", SearchPath: publicPath}
	known := map[string]*router.Plan{}
	for name, sql := range prepared {
		p := planner.Plan(sql, ctx)
		if p.Kind != router.KindPrepare || p.Name != name || p.Prepared == nil {
			t.Fatalf("%s: %+v", sql, p)
		}
		known[name] = p.Prepared
	}
	lookup := func(name string) *router.Plan { return known[name] }
	for _, c := range resolved {
		p := planner.Plan(c.sql, ctx)
		before := describe(s, p)
		if p.Executes() && !p.Writes && !p.OnPrimary {
			t.Errorf("%s: not known what it executes, and yet %s", c.sql, before)
		}
		if got := describeExecuted(s, p.Resolve(lookup)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
		}
		if got := describe(s, p); got != before {
			t.Errorf("%s: the plan itself has changed: %s", c.sql, got)
		}
	}
}

// describeExecuted is describe, with what else matters about an EXECUTE.
func describeExecuted(s *catalog.Snapshot, p *router.Plan) string {
	out := describe(s, p)
	for _, flag := range []struct {
		on   bool
		says string
	}{
		{p.Lasting, "for long"}, {p.Frees, "frees"}, {p.ReadsSequenceState, "reads a sequence's state"}, {p.LeavesSequenceState, "leaves a sequence's state"},
		{p.ReadsCatalogs, "catalogs"}, {p.ShowsPrepared, "shows what is prepared"}, {p.ReplicaToo, "in READ ONLY"}, {len(p.Assigns) > 0, "sets"}, {p.DDL, "DDL"},
	} {
		if flag.on {
			out += "; " + flag.says
		}
	}
	return fmt.Sprintf("%v, %s", p.Kind, out)
}
