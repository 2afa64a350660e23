package router_test

import (
	"context"
	"strings"
	"testing"

	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

func noCatalog() *router.Planner {
	return router.NewPlanner(func() *catalog.Snapshot { return nil })
}

func TestTransactionControl(t *testing.T) {
	for _, c := range []struct {
		sql  string
		kind router.Kind
		name string
		opts router.Transaction
	}{
		{"BEGIN", router.KindBegin, "", router.Transaction{}},
		{"START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", router.KindBegin, "",
			router.Transaction{Isolation: router.IsolationSerializable, Access: router.AccessReadOnly, Deferrable: true, Start: true}},
		{"BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE NOT DEFERRABLE", router.KindBegin, "",
			router.Transaction{Isolation: router.IsolationRepeatableRead, Access: router.AccessReadWrite, NotDeferrable: true}},
		{"BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED", router.KindBegin, "", router.Transaction{Isolation: router.IsolationReadCommitted}},
		{"COMMIT", router.KindCommit, "", router.Transaction{}},
		{"END AND CHAIN", router.KindCommit, "", router.Transaction{Chain: true}},
		{"ROLLBACK AND NO CHAIN", router.KindRollback, "", router.Transaction{}},
		{"ABORT WORK AND CHAIN", router.KindRollback, "", router.Transaction{Chain: true}},
		{"SAVEPOINT a", router.KindSavepoint, "a", router.Transaction{}},
		{"RELEASE a", router.KindRelease, "a", router.Transaction{}},
		{"ROLLBACK TO SAVEPOINT \"A b\"", router.KindRollbackTo, "A b", router.Transaction{}},
		{"PREPARE TRANSACTION 'g'", router.KindPrepareTransaction, "g", router.Transaction{}},
		{"COMMIT PREPARED 'g'", router.KindCommitPrepared, "g", router.Transaction{}},
		{"ROLLBACK PREPARED 'g'", router.KindRollbackPrepared, "g", router.Transaction{}},
	} {
		p := noCatalog().Plan(c.sql, router.Context{})
		if p.Kind != c.kind || p.Name != c.name || p.Transaction != c.opts || p.Binds != "" {
			t.Errorf("%s: %+v", c.sql, p)
		}
		if prepared := strings.Contains(c.sql, "PREPARE"); p.Writes != prepared {
			t.Errorf("%s: Writes is %v", c.sql, p.Writes)
		}
	}
}

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		sql  string
		kind router.Kind
		want router.Setting
	}{
		{"SET work_mem = 100", router.KindSet, router.Setting{Name: "work_mem", SQL: "SET work_mem = 100", Value: "100", HasValue: true}},
		{"set SESSION Work_Mem TO '1MB' ; ", router.KindSet, router.Setting{Name: "work_mem", SQL: "set SESSION Work_Mem TO '1MB'", Value: "1MB", HasValue: true}},
		{"/* a */ SET LOCAL x.y = -1.5 -- b", router.KindSet, router.Setting{Name: "x.y", SQL: "SET LOCAL x.y = -1.5", IsLocal: true, Value: "-1.5", HasValue: true}},
		{"SET freshet.route = 'primary'", router.KindSet, router.Setting{Name: "freshet.route", SQL: "SET freshet.route = 'primary'", Value: "primary", HasValue: true}},
		{"SET enable_sort TO off", router.KindSet, router.Setting{Name: "enable_sort", SQL: "SET enable_sort TO off", Value: "off", HasValue: true}},
		{"SET search_path = a, \"B\", 'c d', \"$user\"", router.KindSet, router.Setting{Name: "search_path", SQL: "SET search_path = a, \"B\", 'c d', \"$user\"", Value: `a, "B", "c d", "$user"`, HasValue: true}},
		{"SET search_path = ''", router.KindSet, router.Setting{Name: "search_path", SQL: "SET search_path = ''", Value: `""`, HasValue: true}},
		{"SET datestyle = ISO, DMY", router.KindSet, router.Setting{Name: "datestyle", SQL: "SET datestyle = ISO, DMY", Value: "iso, dmy", HasValue: true}},
		{"SET TIME ZONE 'UTC'", router.KindSet, router.Setting{Name: "timezone", SQL: "SET TIME ZONE 'UTC'", Value: "UTC", HasValue: true}},
		{"SET TIME ZONE -7", router.KindSet, router.Setting{Name: "timezone", SQL: "SET TIME ZONE -7", Value: "-7", HasValue: true}},
		{"SET TIME ZONE LOCAL", router.KindSet, router.Setting{Name: "timezone", SQL: "SET TIME ZONE LOCAL", Default: true}},
		{"SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", router.KindSet, router.Setting{Name: "timezone", SQL: "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE"}},
		{"SET NAMES 'latin1'", router.KindSet, router.Setting{Name: "client_encoding", SQL: "SET NAMES 'latin1'", Value: "latin1", HasValue: true}},
		{"SET SCHEMA 'a'", router.KindSet, router.Setting{Name: "search_path", SQL: "SET SCHEMA 'a'", Value: "a", HasValue: true}},
		{"SET XML OPTION DOCUMENT", router.KindSet, router.Setting{Name: "xmloption", SQL: "SET XML OPTION DOCUMENT", Value: "DOCUMENT", HasValue: true}},
		{"SET ROLE NONE", router.KindSet, router.Setting{Name: "role", SQL: "SET ROLE NONE", Value: "none", HasValue: true}},
		{"SET work_mem TO DEFAULT", router.KindSet, router.Setting{Name: "work_mem", SQL: "SET work_mem TO DEFAULT", Default: true}},
		{"RESET work_mem", router.KindReset, router.Setting{Name: "work_mem", SQL: "RESET work_mem", Default: true}},
		{"RESET ALL", router.KindReset, router.Setting{SQL: "RESET ALL", All: true}},
		{"RESET TIME ZONE", router.KindReset, router.Setting{Name: "timezone", SQL: "RESET TIME ZONE", Default: true}},
		{"SET TRANSACTION READ ONLY", router.KindSet, router.Setting{Name: "transaction_mode", SQL: "SET TRANSACTION READ ONLY", IsLocal: true}},
		{"SET transaction_read_only = on", router.KindSet, router.Setting{Name: "transaction_read_only", SQL: "SET transaction_read_only = on", IsLocal: true, Value: "on", HasValue: true}},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", router.KindSet, router.Setting{Name: "default_transaction_mode", SQL: "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"}},
	} {
		p := noCatalog().Plan(c.sql, router.Context{})
		if p.Kind != c.kind || p.Set == nil || *p.Set != c.want || p.Writes || p.Cacheable {
			t.Errorf("%s:\n got %+v\nwant %+v", c.sql, p.Set, c.want)
		}
	}
}

func TestOtherKinds(t *testing.T) {
	planner, _ := testPlanner(t)
	for sql, kind := range map[string]router.Kind{
		"SELECT 1": router.KindRead, "VALUES (1)": router.KindRead, "EXPLAIN SELECT 1": router.KindRead,
		"INSERT INTO accounts VALUES (1)": router.KindWrite, "SELECT nextval('seq')": router.KindWrite,
		"SELECT 1 FOR UPDATE": router.KindWrite, "EXPLAIN ANALYZE DELETE FROM accounts": router.KindWrite,
		"CREATE TABLE x ()": router.KindUtility, "CALL proc()": router.KindUtility, "COPY accounts TO STDOUT": router.KindCopy,
		"DECLARE c CURSOR FOR SELECT 1": router.KindCursor, "FETCH c": router.KindCursor, "MOVE c": router.KindCursor, "CLOSE ALL": router.KindCursor,
		"SELECT 1; SELECT 2": router.KindMulti, "": router.KindEmpty, ";": router.KindEmpty, "SELEC": router.KindInvalid,
		"PREPARE a AS SELECT 1": router.KindPrepare, "EXECUTE a": router.KindExecute, "DEALLOCATE a": router.KindDeallocate,
		"SHOW work_mem": router.KindShow, "DISCARD PLANS": router.KindDiscard,
	} {
		if p := planner.Plan(sql, router.Context{SearchPath: publicPath}); p.Kind != kind {
			t.Errorf("%q: kind %d, want %d", sql, p.Kind, kind)
		}
	}
}

func TestKindsHaveNames(t *testing.T) {
	if router.KindInvalid.String() != "invalid" || router.KindDeallocate.String() != "deallocate" || (router.KindDeallocate+1).String() != "unknown" {
		t.Error("the names are out of step with the kinds")
	}
}

func TestNamesInPlans(t *testing.T) {
	planner, _ := testPlanner(t)
	plan := func(sql string) *router.Plan { return planner.Plan(sql, router.Context{SearchPath: publicPath}) }
	for sql, name := range map[string]string{
		"PREPARE a AS SELECT 1": "a", "EXECUTE \"B\"": "B", "DEALLOCATE PREPARE c": "c", "DEALLOCATE ALL": "",
		"DISCARD ALL": "all", "DISCARD TEMPORARY": "temp", "DISCARD SEQUENCES": "sequences", "DISCARD PLANS": "plans",
		"DECLARE c CURSOR FOR SELECT 1": "c", "FETCH ALL FROM d": "d", "CLOSE e": "e",
	} {
		if got := plan(sql).Name; got != name {
			t.Errorf("%s: name %q, want %q", sql, got, name)
		}
	}
	for sql, name := range map[string]string{
		"SHOW work_mem": "work_mem", "SHOW ALL": "all", "SHOW TIME ZONE": "timezone", "SHOW Freshet.Source": "freshet.source",
		"SHOW TRANSACTION ISOLATION LEVEL": "transaction_isolation", "SHOW SESSION AUTHORIZATION": "session_authorization",
	} {
		if got := plan(sql).Show; got != name {
			t.Errorf("%s: shows %q, want %q", sql, got, name)
		}
	}
	if !plan("DISCARD ALL").Unbinds || plan("DISCARD TEMP").Unbinds {
		t.Error("DISCARD ALL, and only that, unbinds")
	}
	if p := plan("SELECT currval('seq')"); !p.ReadsSequenceState || p.LeavesSequenceState {
		t.Errorf("currval: %+v", p)
	}
	for _, sql := range []string{"SELECT nextval('seq')", "INSERT INTO orders (account) VALUES (1)", "INSERT INTO accounts SELECT nextval('seq')"} {
		if p := plan(sql); !p.LeavesSequenceState {
			t.Errorf("%s: %+v", sql, p)
		}
	}
}

func TestWhatMayNotifyIsInThePlan(t *testing.T) {
	planner, _ := testPlanner(t)
	for sql, notifies := range map[string]bool{
		"SELECT 1": false, "SELECT name FROM accounts WHERE id = 1": false, "INSERT INTO accounts (id) VALUES (1)": false, "UPDATE accounts SET name = 'a'": false,
		"COPY accounts FROM STDIN": false, "BEGIN": false, "SET work_mem = 1": false, "COMMIT": false,
		"NOTIFY a": true, "SELECT pg_notify('a', 'b')": true, "INSERT INTO accounts SELECT 1 FROM pg_notify('a', 'b')": true,
		"WITH x AS (INSERT INTO accounts SELECT 1 FROM pg_notify('a', 'b')) SELECT 1": true,
		"SELECT 1; NOTIFY a": true, "DO $$ BEGIN NOTIFY a; END $$": true, "CREATE TABLE n (i int)": true, "VACUUM": true, "LISTEN a": true,
		"EXECUTE p": true, "FETCH c": true, "SELEC": true,
	} {
		if p := planner.Plan(sql, router.Context{SearchPath: publicPath}); p.Notifies != notifies {
			t.Errorf("%s: %v; want %v", sql, p.Notifies, notifies)
		}
	}
}

func TestHintIsInThePlan(t *testing.T) {
	p := noCatalog().Plan("SELECT 1 /* freshet: route=replica cache=off */; SELECT 2", router.Context{})
	want := router.Hint{Route: router.RouteReplica, Cache: router.CacheOff}
	if p.Hint != want || p.Parts[1].Hint != want {
		t.Errorf("%+v", p)
	}
}

func TestWithoutACatalogNothingIsAssumed(t *testing.T) {
	for _, sql := range []string{"SELECT 1", "SELECT f()", "INSERT INTO t VALUES (1)", "UPDATE t SET a = f()", "CALL f()", "DO $$ x $$", "COPY t FROM STDIN", "COPY t TO STDOUT", "EXPLAIN ANALYZE SELECT f()"} {
		if p := noCatalog().Plan(sql, router.Context{}); !p.Writes || p.Binds == "" || p.Cacheable {
			t.Errorf("%s: %+v", sql, p)
		}
	}
}

func TestNamesAreLookedUpInTheSearchPath(t *testing.T) {
	planner, s := testPlanner(t)
	for _, c := range []struct {
		path string
		sql  string
		want string
	}{
		{"pg_catalog public", "SELECT id FROM accounts", "cacheable accounts"},
		{"pg_catalog", "SELECT id FROM accounts", "write: relation accounts isn't known"},
		{"pg_catalog app public", "SELECT name FROM accounts", "cacheable accounts"},
		{"pg_catalog public app", "SELECT lower(name) FROM accounts", "cacheable accounts"},
		{"app pg_catalog public", "SELECT lower(name) FROM public.accounts", "primary: function app.lower(): function random() is volatile"},
		{"pg_catalog app public", "SELECT app.lower(name) FROM public.accounts", "primary: function app.lower(): function random() is volatile"},
		// A volatile operator of the same name doesn't matter where it can't be meant, and does where it can.
		{"pg_catalog public app", "SELECT id = 1, name = 'x', id = big FROM public.accounts", "cacheable accounts"},
		{"pg_catalog public app", "SELECT id = name FROM public.accounts", "primary: function app.weird_eq(): function random() is volatile"},
		{"pg_catalog public", "SELECT id = name FROM public.accounts", "cacheable accounts"},
		{"pg_catalog public app", "SELECT id OPERATOR(app.=) 'x' FROM public.accounts", "primary: function app.weird_eq(): function random() is volatile"},
		{"pg_catalog public app", "SELECT id OPERATOR(pg_catalog.=) name FROM public.accounts", "cacheable accounts"},
		{"public pg_catalog", "SELECT pure(1)", "cacheable"},
		{"pg_catalog", "SELECT public.pure(1)", "cacheable"},
		{"pg_catalog", "SELECT pure(1)", "write: function pure() with 1 arguments isn't known"},
	} {
		got := describe(s, planner.Plan(c.sql, router.Context{SearchPath: strings.Fields(c.path)}))
		if got != c.want {
			t.Errorf("%s: %s\n got %s\nwant %s", c.path, c.sql, got, c.want)
		}
	}
	a := planner.Plan("SELECT * FROM accounts", router.Context{SearchPath: []string{"pg_catalog", "app"}})
	b := planner.Plan("SELECT * FROM accounts", router.Context{SearchPath: []string{"pg_catalog", "public"}})
	if a.Relations[0] == b.Relations[0] {
		t.Error("two tables of one name are one dependency")
	}
}

func TestDeclaredParameterTypesCount(t *testing.T) {
	planner, s := testPlanner(t)
	const int4, text, timetz, timestamptz = 23, 25, 1266, 1184
	for _, c := range []struct {
		params []uint32
		sql    string
		want   string
	}{
		{nil, "SELECT id FROM public.accounts WHERE id = $1", "cacheable accounts"},
		{[]uint32{int4}, "SELECT id FROM public.accounts WHERE id = $1", "cacheable accounts"},
		{[]uint32{text}, "SELECT id FROM public.accounts WHERE id = $1", "primary: function app.weird_eq(): function random() is volatile"},
		{[]uint32{text}, "SELECT $1::date", "cacheable"}, // the value is asked about by ClockWord
		{[]uint32{text}, "SELECT ($1 || '')::date", "replica: cast to date…"},
		{[]uint32{timestamptz}, "SELECT $1::date", "cacheable"},
		{[]uint32{timetz}, "SELECT $1", "replica: type time with time zone reads the clock"},
	} {
		got := describe(s, planner.Plan(c.sql, router.Context{SearchPath: []string{"pg_catalog", "app"}, ParamTypes: c.params}))
		if !matches(got, c.want) {
			t.Errorf("%v: %s\n got %s\nwant %s", c.params, c.sql, got, c.want)
		}
	}
}

func TestTextsTooComplexToParseAreWrites(t *testing.T) {
	planner, _ := testPlanner(t)
	long := "INSERT INTO accounts (id) VALUES (1)" + strings.Repeat(", (1)", 200_000)
	for _, c := range []struct {
		sql   string
		binds bool
	}{
		{"SELECT 1" + strings.Repeat("+1", 1_000_000), false},
		{"SELECT 1" + strings.Repeat(" UNION SELECT 1", 100_000), false},
		{"SELECT " + strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000), false},
		{strings.Repeat("(", 1_000_000), true},
		{long, false},
		{strings.Replace(long, "accounts", "audited", 1), true},
		{strings.Replace(long, "(1),", "(set_config('a', 'b', false)),", 1), true},
		{long + "; SET x = 1", true},
		{long + ";", false},
	} {
		p := planner.Plan(c.sql, router.Context{SearchPath: publicPath})
		if !p.Writes || !p.OnPrimary || p.Cacheable || (p.Binds != "") != c.binds {
			t.Errorf("%.40s… (%d bytes): %+v", c.sql, len(c.sql), p)
		}
	}
}

func TestContextIDsTellContextsApart(t *testing.T) {
	contexts := []router.Context{{}, {Role: "a", SearchPath: []string{"b", "c"}}, {Role: "ab", SearchPath: []string{"c"}}, {Role: "a", SearchPath: []string{"bc"}},
		{Role: "a", SearchPath: []string{"c", "b"}}, {Role: "a", SearchPath: []string{"b", "c"}, ParamTypes: []uint32{1}}, {Role: "a", SearchPath: []string{"b", "c"}, ParamTypes: []uint32{0, 1}},
		{ParamTypes: []uint32{1, 2}}}
	seen := map[router.Fingerprint]int{}
	for i, c := range contexts {
		if j, ok := seen[c.ID()]; ok {
			t.Errorf("%+v and %+v have one ID", contexts[j], c)
		}
		seen[c.ID()] = i
	}
	if (router.Context{ParamTypes: []uint32{0, 0}}).ID() != (router.Context{}).ID() {
		t.Error("parameters that aren't declared count")
	}
	c := contexts[5]
	if n := testing.AllocsPerRun(100, func() { c.ID() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestEventTriggersBind(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	conn, err := c.Primary().Connect(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, step := range []struct{ sql, binds string }{
		{"CREATE FUNCTION quiet() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_logical_emit_message(true, 'a', 'b'); END$$; CREATE EVENT TRIGGER quiet ON ddl_command_end EXECUTE FUNCTION quiet()", ""},
		{"CREATE FUNCTION loud() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN SET work_mem = 1000; END$$; CREATE EVENT TRIGGER loud ON ddl_command_end EXECUTE FUNCTION loud()", "SET in function public.loud()"},
	} {
		if _, err := conn.Exec(ctx, step.sql); err != nil {
			t.Fatal(err)
		}
		s, err := catalog.Load(ctx, conn)
		if err != nil {
			t.Fatal(err)
		}
		p := router.NewPlanner(func() *catalog.Snapshot { return s }).Plan("CREATE TABLE t ()", router.Context{SearchPath: publicPath})
		if p.Binds != step.binds {
			t.Errorf("binds %q, want %q", p.Binds, step.binds)
		}
	}
}

func TestSQLJSONIsReadByServersThatKnowIt(t *testing.T) {
	old := *testSnapshot(t)
	old.ServerVersion = 150000
	recent := old
	recent.ServerVersion, recent.Generation = 170000, old.Generation+1
	ctx := router.Context{SearchPath: publicPath}
	for sql, want := range map[string]string{
		"SELECT JSON_OBJECT('a': id, 'b': name RETURNING jsonb) FROM accounts":            "replica: SQL/JSON isn't analysed",
		"SELECT JSON_ARRAY(id, name) FROM accounts":                                       "replica: SQL/JSON isn't analysed",
		"SELECT JSON_ARRAY(SELECT id FROM orders)":                                        "replica: SQL/JSON isn't analysed",
		"SELECT JSON_OBJECTAGG(name: id) FILTER (WHERE id > 1) FROM accounts":             "replica: SQL/JSON isn't analysed",
		"SELECT JSON_ARRAYAGG(id ORDER BY name) OVER (PARTITION BY active) FROM accounts": "replica: SQL/JSON isn't analysed",
		"SELECT name IS JSON FROM accounts":                                               "replica: SQL/JSON isn't analysed",
		"SELECT JSON(name), JSON_SCALAR(id), JSON_SERIALIZE('{}') FROM accounts":          "replica: SQL/JSON isn't analysed",
		"SELECT JSON_VALUE(doc, '$.a' RETURNING int DEFAULT 1 ON EMPTY), JSON_QUERY(doc, '$' PASSING id AS x), JSON_EXISTS(doc, '$.a') FROM accounts": "replica: SQL/JSON isn't analysed",
		"SELECT JSON_OBJECT('a': touches())":                                        "write: function public.touches() is user-defined and volatile…",
		"SELECT JSON_VALUE(doc, '$' DEFAULT nextval('seq') ON EMPTY) FROM accounts": "write: function nextval() is volatile",
		"SELECT JSON_ARRAY(SELECT nextval('seq'))":                                  "write: function nextval() is volatile",
		"SELECT JSON_ARRAYAGG(id ORDER BY touches()) FROM accounts":                 "write: function public.touches() is user-defined and volatile…",
		"SELECT * FROM JSON_TABLE('{}', '$' COLUMNS (a int)) x":                     "write: JsonTable isn't understood",
	} {
		p := router.NewPlanner(func() *catalog.Snapshot { return &recent }).Plan(sql, ctx)
		if got := describe(&recent, p); !matches(got, want) {
			t.Errorf("%s\n got %s\nwant %s", sql, got, want)
		}
		if p := router.NewPlanner(func() *catalog.Snapshot { return &old }).Plan(sql, ctx); !p.Writes {
			t.Errorf("15: %s: %+v", sql, p)
		}
	}
}
