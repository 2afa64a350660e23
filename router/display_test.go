package router

import (
	"strings"
	"testing"
)

func TestDisplayShowsNoLiterals(t *testing.T) {
	for text, want := range map[string]string{
		"select  *\nfrom t where a = 'secret'":                            "select * from t where a = ?",
		"SELECT -12, 1.5e3, X'ff', $$secret$$, $x$secret$x$, N'secret'":   "SELECT -?, ?, ?, ?, ?, ?",
		"SELECT E'se''c\\'ret', U&'secret', 'a'\n'secret', $1::int4":      "SELECT ?, ?, ?, $1::int4",
		"SELECT /* secret */ 1 -- secret":                                 "SELECT ?",
		"SELECT /* freshet: cache=off */ 1":                               "SELECT /* freshet: cache=off */ ?",
		"SELECT /* freshet: secret */ 1":                                  "SELECT  ?",
		`SELECT "Col" FROM "T"; SELECT 2;`:                                `SELECT "Col" FROM "T"; SELECT ?;`,
		"CREATE ROLE r PASSWORD 'secret'":                                 "CREATE ROLE r PASSWORD ?",
		"SET a.b = secret; SET a.b TO secret; SELECT 1":                   "SET a.b = ?; SET a.b TO ?; SELECT ?",
		"ALTER ROLE r SET a.b = secret":                                   "ALTER ROLE r SET a.b = ?",
		"UPDATE t SET a = b WHERE c = 'secret'":                           "UPDATE t SET a = b WHERE c = ?",
		"SELECT 'secret":                                                  "SELECT …",
		"SELECT 1\x00secret":                                              "SELECT ?…",
		"SELECT * FROM t WHERE current_setting('secret') = '1'":           "SELECT * FROM t WHERE current_setting(?) = ?",
		"DO $$ BEGIN PERFORM 'secret'; END $$":                            "DO ?",
		"PREPARE TRANSACTION 'secret'":                                    "PREPARE TRANSACTION ?",
		"SELECT a FROM t" + strings.Repeat(", x", 100) + "":               "SELECT a FROM t" + strings.Repeat(", x", 83) + ", …",
		"SELECT \xff, 'secret\xff'":                                       "SELECT \uFFFD, ?",
		"SELECT set_config('a.b', 'secret', false), 'x' ~ 'secret', a@>b": "SELECT set_config(?, ?, false), ? ~ ?, a@>b",
	} {
		got := Display([]byte(text), 265)
		if got != want {
			t.Errorf("%q:\n got %q\nwant %q", text, got, want)
		}
		if strings.Contains(got, "secret") {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
}

// FuzzDisplay: two texts that differ in a literal only are shown alike.
func FuzzDisplay(f *testing.F) {
	f.Add("SELECT ", " FROM t", "abc", "x")
	f.Add("SET a = ", "", "abc", "x")
	f.Fuzz(func(t *testing.T, before, after, one, other string) {
		literal := func(s string) string {
			return "'" + strings.NewReplacer("'", "''", "\\", "", "\x00", "").Replace(s) + "'"
		}
		a, b := []byte(before+" "+literal(one)+" "+after), []byte(before+" "+literal(other)+" "+after)
		l := NewLexer()
		fpA, scanA := l.Scan(a)
		fpB, scanB := l.Scan(b)
		if scanA.Exact || scanB.Exact || fpA != fpB {
			return // it stands in a comment, another string, …
		}
		if x, y := Display(a, 1<<20), Display(b, 1<<20); x != y {
			t.Errorf("%q and %q are shown as %q and %q", a, b, x, y)
		}
	})
}
