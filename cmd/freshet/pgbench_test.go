package main

import (
	"context"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// pgbench's own workloads, in every protocol mode, with more clients than cores, while the cache is on: no error, and
// afterwards the books balance.
func TestPgbenchRunsWithoutErrorsAndTheBooksBalance(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	pgbench, err := c.Program("pgbench")
	if err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	url := "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/" + cluster.App + "?sslmode=disable"
	run := func(args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, pgbench, append(args, url)...).CombinedOutput()
		if err != nil {
			t.Fatalf("pgbench %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("-i", "-s", "2", "-q")
	covered(t, c, in, cluster.App)
	failed := regexp.MustCompile(`number of failed transactions: ([0-9]+) `)
	for _, script := range []string{"-S", "-N", "-b tpcb-like"} {
		for _, mode := range []string{"simple", "extended", "prepared"} {
			args := []string{"-n", "-c", "16", "-j", "2", "-T", "2", "-M", mode}
			if script == "-b tpcb-like" {
				args = append(args, "-b", "tpcb-like")
			} else {
				args = append(args, script)
			}
			out := run(args...)
			if m := failed.FindStringSubmatch(out); m == nil || m[1] != "0" {
				t.Errorf("%s %s:\n%s", script, mode, out)
			}
		}
	}
	ctx := context.Background()
	// Through the cache, too: what it says has to balance as well.
	conn := in.connect(t, c, cluster.App, "")
	const sums = `SELECT (SELECT sum(bbalance) FROM pgbench_branches) || ' ' || (SELECT sum(tbalance) FROM pgbench_tellers)
		|| ' ' || (SELECT sum(abalance) FROM pgbench_accounts) || ' ' || (SELECT sum(delta) FROM pgbench_history)`
	// -N updates accounts and history only, so it is left out of the balance by comparing what both have in common.
	const balanced = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers)"
	direct, err := c.Primary().Value(ctx, balanced)
	if err != nil {
		t.Fatal(err)
	}
	if direct != "t" {
		t.Errorf("the books don't balance")
	}
	eventually(t, "Freshet agrees", func() bool { return one(t, conn, balanced) == "true" })
	want, err := c.Primary().Value(ctx, sums)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Freshet's sums are the primary's", func() bool { return one(t, conn, sums) == want })
}
