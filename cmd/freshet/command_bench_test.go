package main

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/check"
	"github.com/freshet/freshet/bench/cluster"
)

// TestConsistency: a program that tries to catch Freshet lying doesn't, while servers lag, stall, are cut off and killed. `freshet bench
// consistency` runs it for longer.
func TestConsistency(t *testing.T) {
	report := checks(t, "session", 2, 10*time.Second, check.FaultNames())
	// It proves nothing about sources that didn't answer.
	for _, source := range []string{"l1", "replica", "primary"} {
		if !cluster.RunsAgain() && report.Sources[source] == 0 {
			t.Errorf("nothing was answered by %s", source)
		}
	}
	if report.Writes < 20 {
		t.Error("too little was written")
	}
}

// Sessions of all levels beside each other.
func TestConsistencyMixed(t *testing.T) { checks(t, "mixed", 1, 5*time.Second, quickFaults()) }

// Each read sees what was acknowledged to anybody before.
func TestConsistencyStrong(t *testing.T) { checks(t, "strong", 2, 5*time.Second, quickFaults()) }

// quickFaults are those that are over in a moment.
func quickFaults() []string {
	return slices.DeleteFunc(check.FaultNames(), func(name string) bool { return name == "failover" || name == "freshet" || name == "primary" })
}

// checks runs the checker, and wants no violation.
func checks(t *testing.T, level string, replicas int, length time.Duration, faults []string) *check.Report {
	t.Helper()
	if cluster.RunsAgain() {
		length = 5 * time.Second
	}
	report, err := check.Run(context.Background(), check.Config{
		Freshet: os.Args[0], Variables: []string{asFreshet + "=1"}, Replicas: replicas, Clients: 16, Past: 2, Level: level,
		For: length, Seed: uint64(time.Now().UnixNano()), Faults: faults, Bound: time.Second, Most: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	report.Print(&out)
	t.Log(out.String())
	if len(report.Violations) > 0 {
		t.Error(report.Violations[0])
	}
	if report.Reads == 0 {
		t.Error("nothing was judged")
	}
	return report
}

func TestBenchCommandLine(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--for 0s", "--for or --ops"},
		{"--level nonsense", "none of eventual"},
		{"--faults lag,nonsense", `"nonsense" is none of lag`},
		{"--clients 0", "--clients"},
		{"--writers -1", "--writers"},
		{"--replicas 17", "--replicas"},
		{"--max-staleness 1ms", "--max-staleness"},
		{"--violations 0", "--violations"},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(append([]string{"bench", "consistency"}, strings.Fields(c.args)...), &stdout, &stderr); status != exitUsage || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: %d %s", c.args, status, &stderr)
		}
	}
}
