package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/freshet/freshet/bench/rig"
)

func TestParsePgBouncerVersion(t *testing.T) {
	for out, prepares := range map[string]bool{
		"PgBouncer 1.18.0\nlibevent 2.1.12-stable\n": false,
		"PgBouncer 1.20.1\n":                         false,
		"PgBouncer 1.21.0\n":                         true,
		"PgBouncer 2.0\n":                            true,
	} {
		v, err := parsePgBouncerVersion(out)
		if err != nil || preparesInTransactions(v) != prepares {
			t.Errorf("%q: %v, %v", out, v, err)
		}
	}
	if _, err := parsePgBouncerVersion("pgbouncer: not found"); err == nil {
		t.Error("a version came from nowhere")
	}
}

func TestCounters(t *testing.T) {
	const page = `# TYPE go_memstats_mallocs_total counter
go_memstats_mallocs_total 1.5e+06
# TYPE freshet_queries_total counter
freshet_queries_total{source="l1"} 75
freshet_queries_total{source="primary"} 20
freshet_queries_total{source="replica"} 5
`
	read := func(page string) (counters, error) {
		all, err := rig.ReadMetrics(strings.NewReader(page))
		if err != nil {
			return counters{}, err
		}
		return countersOf(all)
	}
	k, err := read(page)
	if err != nil {
		t.Fatal(err)
	}
	if share, ok := k.cacheShare(); k.mallocs != 1.5e6 || k.total() != 100 || !ok || share != 0.75 {
		t.Errorf("got %+v", k)
	}
	later := counters{mallocs: 1.6e6, queries: map[string]float64{"l1": 175, "primary": 20, "replica": 5, "flight": 1}}
	if d := later.since(k); d.mallocs != 1e5 || d.total() != 101 || d.queries["flight"] != 1 {
		t.Errorf("the difference is %+v", d)
	}
	if _, ok := k.since(k).cacheShare(); ok {
		t.Error("of no queries some are from the cache")
	}
	for _, line := range []string{"go_memstats_mallocs_total 1.5e+06", "freshet_queries_total"} {
		if _, err := read(strings.ReplaceAll(page, line, strings.Replace(line, "_total", "_gone", 1))); err == nil {
			t.Errorf("nobody misses %s", line)
		}
	}
}

func TestBalancesCheck(t *testing.T) {
	good := balances{accounts: 30, branches: 10, tellers: 10, deltas: 30, rows: 7}
	if err := good.check(7, 10); err != nil {
		t.Error(err)
	}
	for name, b := range map[string]balances{
		"a transaction lost":       {accounts: 30, branches: 10, tellers: 10, deltas: 30, rows: 6},
		"a transaction done twice": {accounts: 30, branches: 10, tellers: 10, deltas: 30, rows: 8},
		"an account's update lost": {accounts: 29, branches: 10, tellers: 10, deltas: 30, rows: 7},
		"a branch's update lost":   {accounts: 30, branches: 9, tellers: 10, deltas: 30, rows: 7},
		"a teller's update lost":   {accounts: 30, branches: 10, tellers: 9, deltas: 30, rows: 7},
	} {
		if b.check(7, 10) == nil {
			t.Errorf("%s: nobody notices", name)
		}
	}
}

func TestReplaceMeasured(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	write := func(s string) {
		if err := os.WriteFile(page, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prose\n\n" + measuredBegin + "\n\nold\n\n" + measuredEnd + "\nmore prose\n")
	got, err := replaceMeasured(page, "new\n")
	if want := "prose\n\n" + measuredBegin + "\n\nnew\n\n" + measuredEnd + "\nmore prose\n"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	write("prose")
	if _, err := replaceMeasured(page, "new"); err == nil {
		t.Error("a page without a place for it was taken")
	}
}

// The page that is in the repository can be written.
func TestPageHasAPlace(t *testing.T) {
	if _, err := replaceMeasured("../../docs/BENCHMARKS.md", ""); err != nil {
		t.Error(err)
	}
}

func TestTable(t *testing.T) {
	got := table{{"who", " tps"}, {"naïve", "1,000"}, {"x", "9"}}.String()
	want := "| who   |   tps |\n| ----- | ----: |\n| naïve | 1,000 |\n| x     |     9 |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -123: "-123", -1234: "-1,234"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q, not %q", n, got, want)
		}
	}
}

func TestParseOptions(t *testing.T) {
	for _, args := range []string{"--time 1500ms", "--time 0s", "--rounds 0", "--contenders direct,nobody", "--keys 11", "more"} {
		if _, err := parseOptions(strings.Fields(args), t.Output()); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
	o, err := parseOptions(strings.Fields("--rounds 1 --contenders direct,floor"), t.Output())
	if err != nil || len(o.contenders) != 2 || o.command != "bin/compare --rounds 1 --contenders direct,floor" {
		t.Errorf("%+v, %v", o, err)
	}
}
