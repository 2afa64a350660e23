package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/freshet/freshet/bench/cluster"
)

// runCommand runs a subcommand and wants this exit status.
func runCommand(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	withoutVariables(t)
	var out, errs bytes.Buffer
	if got := run(args, &out, &errs); got != status {
		t.Fatalf("%v: exit status %d, want %d\n%s%s", args, got, status, &out, &errs)
	}
	return out.String(), errs.String()
}

func TestExplain(t *testing.T) {
	c := shared.Get(t)
	name, conn := setupDatabase(t, c)
	if _, err := conn.Exec(context.Background(), `CREATE SCHEMA side; CREATE TABLE side.good (id int PRIMARY KEY, v text); CREATE VIEW v AS SELECT * FROM good;
		CREATE FUNCTION clocked() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'; GRANT USAGE ON SCHEMA side TO app; ALTER TABLE good ENABLE ROW LEVEL SECURITY;
		CREATE POLICY late ON good USING (now() > '2020-01-01'); CREATE MATERIALIZED VIEW mv AS SELECT 1 AS one`); err != nil {
		t.Fatal(err)
	}
	url := c.Primary().URL(name)
	out, _ := runCommand(t, exitOK, "explain", "--primary", url, "SELECT * FROM side.good WHERE id = 3")
	if !strings.Contains(out, "cacheable     it would be, but there is no publication freshet: freshet setup makes it") {
		t.Errorf("without a publication:\n%s", out)
	}
	runSetup(t, exitOK, "--primary", url)
	for _, e := range []struct {
		sql  string
		args []string
		want []string
	}{
		{"SELECT * FROM side.good WHERE id = 3", nil, []string{"kind          read\n", "goes to       the cache; what", "cacheable     yes\n", "depends on    side.good: ", "as            role postgres, search_path pg_catalog, public\n"}},
		{"SELECT v FROM good WHERE id = $1", []string{"--search-path", "side"}, []string{"depends on    good: ", "search_path pg_catalog, side\n"}},
		{"SELECT * FROM v, mv", nil, []string{"cacheable     yes\n", "depends on    good, mv: all rows\n"}},
		{"SELECT * FROM good", nil, []string{"cacheable     yes\n"}}, // of a superuser
		{"SELECT * FROM good", []string{"--user", cluster.App}, []string{"goes to       a replica that has caught up, else the primary\n", "cacheable     no: policy late of table good: function now() is stable and reads the clock\n", "as            role app,"}},
		{"SELECT * FROM keyless", nil, []string{"feed doesn't cover \"public\".\"keyless\": it has no replica identity"}},
		{"SELECT clocked()", nil, []string{"cacheable     no: function public.clocked(): function now() is stable and reads the clock\n"}},
		{"SELECT 'today'::date", nil, []string{"cacheable     no: a literal like 'now' or 'today'"}},
		{"UPDATE good SET id = 1", nil, []string{"kind          write\n", "goes to       the primary: Update\n", "cacheable     no: it isn't a SELECT\n"}},
		{"SELECT random()", nil, []string{"goes to       the primary: function random() is volatile\n"}},
		{"LISTEN x", nil, []string{"binds         LISTEN: the session keeps"}},
		{"SELECT 1; DELETE FROM good", nil, []string{"kind          multi\n", "part 1        read, ", "part 2        write, the primary: Delete\n"}},
		{"SELCT 1", nil, []string{"kind          invalid\n", "cacheable     no: the statement can't be parsed\n"}},
		{"BEGIN", nil, []string{"kind          begin\n", "goes to       Freshet, which"}},
	} {
		out, _ := runCommand(t, exitOK, append(append([]string{"explain", "--primary", url}, e.args...), e.sql)...)
		for _, want := range append(e.want, "fingerprint   ") {
			if !strings.Contains(out, want) {
				t.Errorf("%s %v: doesn't say %q:\n%s", e.sql, e.args, want, out)
			}
		}
	}
	_, stderr := runCommand(t, exitUsage, "explain", "SELECT 1")
	if !strings.Contains(stderr, "--primary is needed") {
		t.Error(stderr)
	}
	_, stderr = runCommand(t, exitUsage, "explain", "--primary", url, "--user", "nobody at all", "SELECT 1")
	if !strings.Contains(stderr, `there is no role "nobody at all"`) {
		t.Error(stderr)
	}
	_, stderr = runCommand(t, exitFailure, "explain", "--primary", c.Replicas()[0].URL("postgres"), "SELECT 1")
	if !strings.Contains(stderr, "leads to a replica") {
		t.Error(stderr)
	}
}
