package main

import (
	"strings"
	"testing"
)

const report15 = `pgbench (15.18 (Debian 15.18-0+deb12u1))
transaction type: /tmp/select-only.sql
scaling factor: 1
query mode: prepared
number of clients: 16
number of threads: 2
maximum number of tries: 1
duration: 5 s
number of transactions actually processed: 123456
number of failed transactions: 0 (0.000%)
latency average = 0.648 ms
initial connection time = 20.123 ms
tps = 24691.123456 (without initial connection time)
`

// Version 14 doesn't count failed transactions.
const report14 = `pgbench (14.9)
transaction type: <builtin: TPC-B (sort of)>
scaling factor: 10
query mode: simple
number of clients: 4
number of threads: 2
number of transactions per client: 25
number of transactions actually processed: 100/100
latency average = 12.5 ms
initial connection time = 9.001 ms
tps = 320.5 (without initial connection time)
`

func TestParsePgbench(t *testing.T) {
	for name, c := range map[string]struct {
		report string
		want   pgbenchRun
	}{
		"15, for a time":          {report15, pgbenchRun{transactions: 123456, latencyMS: 0.648, tps: 24691.123456}},
		"14, for so many":         {report14, pgbenchRun{transactions: 100, latencyMS: 12.5, tps: 320.5}},
		"with lines of progress":  {"progress: 1.0 s, 5.0 tps, lat 3 ms stddev 1\n" + report15, pgbenchRun{transactions: 123456, latencyMS: 0.648, tps: 24691.123456}},
		"with script's own lines": {report15 + "statement latencies in milliseconds:\n  0.5  SELECT 1;\n", pgbenchRun{transactions: 123456, latencyMS: 0.648, tps: 24691.123456}},
	} {
		got, err := parsePgbench(c.report)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

// A run that isn't whole, or in which something failed, is no run.
func TestParsePgbenchRefuses(t *testing.T) {
	for name, c := range map[string]struct{ report, want string }{
		"failed transactions": {strings.Replace(report15, "failed transactions: 0 (0.000%)", "failed transactions: 7 (0.006%)", 1), "7 transactions have failed"},
		"aborted":             {report15 + "pgbench: error: Run was aborted; the above results are incomplete.\n", "aborted"},
		"nothing done":        {strings.Replace(report15, "123456\n", "0\n", 1), "not one transaction"},
		"no transactions":     {strings.Replace(report15, "number of transactions actually", "number of things", 1), "number of transactions"},
		"no latency":          {strings.Replace(report15, "latency", "delay", 1), "latency"},
		"no tps":              {strings.Replace(report15, "tps", "speed", 1), "tps"},
		"an older pgbench": {strings.Replace(report15, "(without initial connection time)", "(including connections establishing)", 1),
			"tps"},
		"a tps that is no number": {strings.Replace(report15, "24691.123456", "24691.12.3", 1), "tps"},
		"nothing":                 {"", "number of transactions"},
	} {
		if _, err := parsePgbench(c.report); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, not about %q", name, err, c.want)
		}
	}
}

// Nothing that configures libpq reaches pgbench but what we give it.
func TestEnvironment(t *testing.T) {
	t.Setenv("PGSERVICE", "elsewhere")
	t.Setenv("PGOPTIONS", "-c work_mem=1GB")
	e := endpoint{host: "h", port: "1", user: "u", password: "p", database: "d"}
	options := 0
	for _, kv := range e.environment() {
		if strings.HasPrefix(kv, "PGSERVICE") {
			t.Errorf("pgbench would see %s", kv)
		}
		if strings.HasPrefix(kv, "PGOPTIONS=") {
			options++
		}
	}
	if options != 1 {
		t.Errorf("PGOPTIONS is there %d times", options)
	}
}
