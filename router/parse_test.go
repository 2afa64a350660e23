package router

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// deepTexts nest in every way that the grammar has.
var deepTexts = map[string]func(n int) string{
	"operators":     around("SELECT 1", "+1", "", ""),
	"casts":         around("SELECT 1", "::int", "", ""),
	"postfix":       around("SELECT a", " IS NULL", "", ""),
	"time zones":    around("SELECT a", " AT TIME ZONE 'x'", "", ""),
	"subscripts":    around("SELECT a", "[1]", "", ""),
	"fields":        around("SELECT (a)", ".b", "", ""),
	"collations":    around("SELECT a", " COLLATE \"C\"", "", ""),
	"unions":        around("SELECT 1", " UNION SELECT 1", "", ""),
	"joins":         around("SELECT * FROM a", " JOIN b ON true", "", ""),
	"between":       around("SELECT a", " IS TRUE BETWEEN 1 AND 2", "", ""),
	"in":            around("SELECT a", " IN (1) IS TRUE", "", ""),
	"prefix":        around("SELECT ", "NOT ", "true", ""),
	"subqueries":    around("SELECT ", "(SELECT ", "1", ")"),
	"from":          around("SELECT * FROM ", "(SELECT * FROM ", "t", ") x"),
	"exists":        around("SELECT ", "EXISTS (SELECT WHERE ", "true", ")"),
	"in subqueries": around("SELECT ", "1 IN (SELECT ", "1", ")"),
	"labels":        around("SELECT ", "(SELECT 1 AS end, (SELECT ", "1", "))"),
	"with":          around("", "WITH x AS (", "SELECT 1", ") SELECT 1"),
	"functions":     around("SELECT ", "f(", "1", ")"),
	"windows":       around("SELECT ", "sum(1) OVER (PARTITION BY ", "1", ")"),
	"arrays":        around("SELECT ", "ARRAY[", "1", "]"),
	"rows":          around("SELECT ", "ROW(1,", "1", ")"),
	"case":          around("SELECT ", "CASE WHEN ", "true", " THEN 1 END"),
	"else":          around("SELECT ", "CASE WHEN true THEN 1 ELSE ", "1", " END"),
	"and or":        around("SELECT ", "(a AND (b OR ", "c", "))"),
	"joins nested":  around("SELECT * FROM ", "(", "a", " JOIN b ON true)"),
	"unions nested": around("", "(SELECT 1 UNION ", "SELECT 1", ")"),
	"values":        around("", "VALUES ((", "1", "))"),
	"json":          around("SELECT ", "JSON_OBJECT('a': ", "1", ")"),
	"defaults":      around("CREATE TABLE t (a int DEFAULT ", "(1+", "1", "))"),
}

func around(head, open, middle, end string) func(int) string {
	return func(n int) string { return head + strings.Repeat(open, n) + middle + strings.Repeat(end, n) }
}

// TestWhatIsGivenToTheParserFitsItsStack runs in a process with stacks of 512 KiB for threads, as on macOS, since an
// overflow ends the process.
func TestWhatIsGivenToTheParserFitsItsStack(t *testing.T) {
	if os.Getenv("FRESHET_TEST_STACK") != "" {
		for name, text := range deepTexts {
			deepest := 0
			for n := 10; n < 20_000; n += n / 5 {
				if s := text(n); !tooComplex([]byte(s)) {
					deepest = n
					_, _ = parse(s)
				}
			}
			if deepest < 30 || deepest > maxDepth {
				t.Errorf("%s: up to %d are parsed", name, deepest)
			}
		}
		return
	}
	cmd := exec.Command("sh", "-c", `ulimit -s 512 && exec "$0" -test.run '^TestWhatIsGivenToTheParserFitsItsStack$'`, os.Args[0])
	cmd.Env = append(os.Environ(), "FRESHET_TEST_STACK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%.2000s", err, out)
	}
}

func TestOrdinaryTextsAreNotTooComplex(t *testing.T) {
	for name, text := range map[string]string{
		"rows":      "INSERT INTO t VALUES (1, 'a')" + strings.Repeat(", (2, 'b')", 10_000),
		"in":        "SELECT * FROM t WHERE a IN (1" + strings.Repeat(", 2", 50_000) + ")",
		"or":        "SELECT * FROM t WHERE (a = 1 AND b = 2)" + strings.Repeat(" OR (a = 3 AND b = 4)", 10_000),
		"when":      "SELECT CASE a" + strings.Repeat(" WHEN 1 THEN 2", 10_000) + " END",
		"columns":   "SELECT a" + strings.Repeat(", t.b AS c", 2_000) + " FROM t",
		"joins":     "SELECT * FROM a" + strings.Repeat(" LEFT JOIN b ON b.id = a.id AND b.x = 1", 100),
		"unions":    "SELECT 1, 2 FROM t" + strings.Repeat(" UNION ALL SELECT 1, 2 FROM t WHERE a = 1", 200),
		"several":   strings.Repeat("UPDATE t SET a = 1, b = 2 WHERE c = 3;", 5_000),
		"function":  "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$" + strings.Repeat("SELECT (1); ", 10_000) + "$$",
		"unmatched": "SELECT 1)))) end end",
	} {
		if tooComplex([]byte(text)) {
			t.Errorf("%s: too complex", name)
		}
	}
}
