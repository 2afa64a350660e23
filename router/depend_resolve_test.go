package router_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router"
)

func hashes(t *testing.T, kind consistency.ValueKind, values ...string) []consistency.RowHash {
	t.Helper()
	rows := []consistency.RowHash{}
	for _, v := range values {
		h, ok := consistency.RowHash(0).Text(kind, []byte(v))
		if !ok {
			t.Fatalf("%q", v)
		}
		rows = append(rows, h)
	}
	return rows
}

func param(v string) router.Param { return router.Param{Value: []byte(v)} }

func binaryParam(v ...byte) router.Param { return router.Param{Value: v, Binary: true} }

func arrayParam(elem byte, elements ...[]byte) router.Param {
	b := []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, elem, 0, 0, 0, byte(len(elements)), 0, 0, 0, 1}
	for _, e := range elements {
		b = append(append(b, 0, 0, 0, byte(len(e))), e...)
	}
	return router.Param{Value: b, Binary: true}
}

func TestResolverReadsValuesAsPostgresWould(t *testing.T) {
	planner, _ := testPlanner(t)
	lexer := router.NewLexer()
	ints := func(values ...string) []consistency.RowHash { return hashes(t, consistency.KindInt, values...) }
	texts := func(values ...string) []consistency.RowHash { return hashes(t, consistency.KindText, values...) }
	long := "0"
	for i := 1; i <= 64; i++ {
		long += "," + strconv.Itoa(i)
	}
	const byID, byName = "SELECT 1 FROM accounts WHERE id = ", "SELECT 1 FROM accounts WHERE name = "
	const anyID, anyName = "SELECT 1 FROM accounts WHERE id = ANY($1)", "SELECT 1 FROM accounts WHERE name = ANY($1)"
	with := func(p ...router.Param) []router.Param { return p }
	for _, c := range []struct {
		sql    string
		params []router.Param
		want   []consistency.RowHash // nil: all rows
	}{
		{byID + "42", nil, ints("42")},
		{byID + "-42", nil, ints("-42")},
		{byID + "- 42", nil, ints("-42")},
		{byID + "- ( - 42 )", nil, ints("42")},
		{byID + "-0", nil, ints("0")},
		{byID + "'42'", nil, ints("42")},
		{byID + "' 42 '", nil, nil},
		{byID + "'+42'", nil, nil},
		{byID + "E'42'", nil, ints("42")},
		{byID + `E'4\x32'`, nil, nil},
		{byID + "'4'\n'2'", nil, nil},
		{byID + "$$42$$", nil, ints("42")},
		{byID + "0x2a", nil, nil},
		{byID + "4_2", nil, nil},
		{byID + "'42'::int", nil, ints("42")},
		{"SELECT 'a', 1.5, 7 FROM accounts WHERE id = 42 LIMIT 3", nil, ints("42")},
		{"SELECT '{' /* 1 */ -- 2\n FROM accounts WHERE 42 = id", nil, ints("42")},
		{"SELECT 1 FROM accounts WHERE id IN (3, -4, '5')", nil, ints("3", "-4", "5")},
		{"SELECT 1 FROM accounts WHERE id IN (" + long + ")", nil, nil},
		{"SELECT 1 FROM accounts WHERE id = ANY('{1,-2}')", nil, ints("1", "-2")},
		{"SELECT 1 FROM accounts WHERE id = ANY('{1, 2}')", nil, nil},
		{"SELECT 1 FROM accounts WHERE id = ANY('{}')", nil, ints()},
		{byName + "'it''s'", nil, texts("it's")},
		{byName + "''", nil, texts("")},
		{byName + "''''", nil, texts("'")},
		{byName + `E'a\'b'`, nil, nil},
		{byName + "E'it''s'", nil, texts("it's")},
		{byName + "$a$it's$a$", nil, texts("it's")},
		{byName + "'é'", nil, texts("é")},
		{byID + "$1", with(param("42")), ints("42")},
		{byID + "$1", with(param(" 42")), nil},
		{byID + "$1", with(router.Param{}), nil},
		{byID + "$1", nil, nil},
		{byID + "$1", with(binaryParam(0, 0, 0, 42)), ints("42")},
		{byID + "$1", with(binaryParam(0xff, 0xff, 0xff, 0xff)), ints("-1")},
		{byID + "$1", with(binaryParam(0, 0, 42)), nil},
		{byName + "$1", with(param("it's")), texts("it's")},
		{byName + "$1", with(binaryParam('x')), texts("x")},
		{anyID, with(param("{1,2}")), ints("1", "2")},
		{anyID, with(param("{1,NULL}")), nil},
		{anyID, with(param("{{1},{2}}")), nil},
		{anyID, with(param("[2:2]={1}")), nil},
		{anyID, with(param("{" + long + "}")), nil},
		{anyID, with(arrayParam(23, []byte{0, 0, 0, 1}, []byte{0, 0, 0, 2})), ints("1", "2")},
		{anyID, with(arrayParam(20, []byte{0, 0, 0, 0, 0, 0, 0, 1})), ints("1")},
		{anyID, with(arrayParam(26, []byte{0, 0, 0, 1})), nil},
		{anyID, with(binaryParam(0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff)), nil},
		{anyID, with(binaryParam(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23)), ints()},
		{anyName, with(param(`{a,"b c","d\"\\",""}`)), texts("a", "b c", `d"\`, "")},
		{anyName, with(param(`{a b}`)), nil},
		{anyName, with(param(`{a\b}`)), nil},
		{anyName, with(param(`{"a}`)), nil},
		{anyName, with(param(`{"a\`)), nil},
		{anyName, with(param(`{a,}`)), nil},
		{anyName, with(param(`{"a"b}`)), nil},
		{anyName, with(param(`{nUll}`)), nil},
		{anyName, with(param(`{"null",NULLx}`)), texts("null", "NULLx")},
	} {
		plan := planner.Plan(c.sql, router.Context{Role: "postgres", SearchPath: publicPath})
		if !plan.Cacheable {
			if !strings.Contains(c.sql, "_") && !strings.Contains(c.sql, `\`) { // what 15 doesn't know, what Postgres may read otherwise
				t.Errorf("%s: %s", c.sql, plan.Reason)
			}
			continue
		}
		var r router.Resolver
		e := router.Execution{Text: []byte(c.sql), Params: c.params, UTF8: true}
		deps := r.Resolve(plan, e)
		switch {
		case len(deps) != 1 || len(deps[0].Relations) != 1:
			t.Errorf("%s: %+v", c.sql, deps)
		case c.want == nil && deps[0].Set != nil:
			t.Errorf("%s %v: depends on rows: %v", c.sql, c.params, deps[0].Rows)
		case c.want != nil && (deps[0].Set == nil || !slices.Equal(deps[0].Rows, c.want)):
			t.Errorf("%s %v: depends on %v, not %v", c.sql, c.params, deps[0].Rows, c.want)
		}
		// The same by the plan of another text with the same fingerprint.
		other := strings.NewReplacer("42", "0", "it''s", "", "'é'", "'y'", "-4", "-0").Replace(c.sql)
		fp, scan := lexer.Scan([]byte(c.sql))
		if again, _ := lexer.Scan([]byte(other)); again != fp || scan.Exact || other == c.sql {
			continue
		}
		of := planner.Plan(other, router.Context{Role: "postgres", SearchPath: publicPath})
		if got := r.Resolve(of, e); len(got) != 1 || c.want != nil && !slices.Equal(got[0].Rows, c.want) {
			t.Errorf("%s, planned as %s: depends on %v, not %v", c.sql, other, got, c.want)
		}
	}
}

// What isn't ASCII is compared with what the feed says only where all speak UTF8.
func TestTextsInOtherEncodingsAreNotCompared(t *testing.T) {
	planner, _ := testPlanner(t)
	plan := planner.Plan("SELECT 1 FROM accounts WHERE name = $1", router.Context{Role: "postgres", SearchPath: publicPath})
	var r router.Resolver
	for _, c := range []struct {
		value string
		utf8  bool
		rows  bool
	}{{"é", true, true}, {"é", false, false}, {"e", false, true}} {
		deps := r.Resolve(plan, router.Execution{Params: []router.Param{param(c.value)}, UTF8: c.utf8})
		if got := deps[0].Set != nil; got != c.rows {
			t.Errorf("%+v: depends on rows: %v", c, got)
		}
	}
}

func FuzzResolve(f *testing.F) {
	planner, _ := testPlanner(f)
	anyID := planner.Plan("SELECT 1 FROM accounts WHERE id = ANY($1)", router.Context{Role: "postgres", SearchPath: publicPath})
	anyName := planner.Plan("SELECT 1 FROM accounts WHERE name = ANY($1)", router.Context{Role: "postgres", SearchPath: publicPath})
	f.Add([]byte(`{1,"2",x\"}`), false)
	f.Add(arrayParam(23, []byte{0, 0, 0, 1}).Value, true)
	f.Fuzz(func(t *testing.T, value []byte, binary bool) {
		var r router.Resolver
		for _, plan := range []*router.Plan{anyID, anyName} {
			deps := r.Resolve(plan, router.Execution{Params: []router.Param{{Value: value, Binary: binary}}, UTF8: true})
			if len(deps) != 1 || len(deps[0].Rows) > 64 {
				t.Fatalf("%+v", deps)
			}
		}
	})
}

func BenchmarkResolve(b *testing.B) {
	planner, _ := testPlanner(b)
	var r router.Resolver
	for name, e := range map[string]router.Execution{
		"literal": {Text: []byte("SELECT name FROM accounts WHERE id = 42")},
		"param":   {Text: []byte("SELECT name FROM accounts WHERE id = $1"), Params: []router.Param{{Value: []byte("42")}}},
	} {
		plan := planner.Plan(string(e.Text), router.Context{Role: "postgres", SearchPath: publicPath})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := r.Resolve(plan, e); d[0].Set == nil {
					b.Fatal("all rows")
				}
			}
		})
	}
}
