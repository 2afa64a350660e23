package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// endpoint is where pgbench connects to.
type endpoint struct {
	host, port, user, password, database string
	// options are settings for the session, as in PGOPTIONS.
	options string
}

// environment is ours without what configures libpq, and with what this connection needs.
func (e endpoint) environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") {
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C",
		"PGHOST="+e.host, "PGPORT="+e.port, "PGUSER="+e.user, "PGPASSWORD="+e.password, "PGDATABASE="+e.database,
		"PGOPTIONS="+e.options, "PGSSLMODE=disable", "PGGSSENCMODE=disable", "PGCONNECT_TIMEOUT=10")
}

// pgbenchRun is what pgbench says about a run.
type pgbenchRun struct {
	transactions, failed int64
	latencyMS, tps       float64
}

// The lines of pgbench 14 and later. (Earlier ones printed two tps.) 14 has no failed transactions: what fails there ends the client.
var (
	transactionsLine = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)(?:/\d+)?$`)
	failedLine       = regexp.MustCompile(`(?m)^number of failed transactions: (\d+) `)
	latencyLine      = regexp.MustCompile(`(?m)^latency average = ([\d.]+) ms$`)
	tpsLine          = regexp.MustCompile(`(?m)^tps = ([\d.]+) \(without initial connection time\)$`)
)

// parsePgbench reads pgbench's report. A figure that isn't there is an error, as is a run in which a transaction has failed.
func parsePgbench(out string) (r pgbenchRun, err error) {
	find := func(what string, re *regexp.Regexp, parse func(string) error) {
		m := re.FindStringSubmatch(out)
		if err != nil {
			return
		}
		if m == nil {
			err = fmt.Errorf("pgbench's report has no %s", what)
		} else if perr := parse(m[1]); perr != nil {
			err = fmt.Errorf("pgbench's report: %s: %w", what, perr)
		}
	}
	integer := func(to *int64) func(string) error {
		return func(s string) (err error) { *to, err = strconv.ParseInt(s, 10, 64); return err }
	}
	number := func(to *float64) func(string) error {
		return func(s string) (err error) { *to, err = strconv.ParseFloat(s, 64); return err }
	}
	find("number of transactions", transactionsLine, integer(&r.transactions))
	if failedLine.MatchString(out) {
		find("failed transactions", failedLine, integer(&r.failed))
	}
	find("latency", latencyLine, number(&r.latencyMS))
	find("tps", tpsLine, number(&r.tps))
	switch {
	case err != nil:
		return r, err
	case strings.Contains(out, "Run was aborted"):
		return r, fmt.Errorf("pgbench has aborted the run")
	case r.failed > 0:
		return r, fmt.Errorf("%d transactions have failed", r.failed)
	case r.transactions == 0:
		return r, fmt.Errorf("not one transaction was processed")
	}
	return r, nil
}

// pgbench runs pgbench to its end.
func (l *lab) pgbench(ctx context.Context, e endpoint, args ...string) (pgbenchRun, error) {
	cmd := exec.CommandContext(ctx, l.pgbenchPath, args...)
	cmd.Env = e.environment()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = dieWithUs()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return pgbenchRun{}, ctx.Err()
		}
		return pgbenchRun{}, fmt.Errorf("pgbench %s: %w\n%s%s", strings.Join(args, " "), err, tail(stderr.Bytes(), 2000), tail(stdout.Bytes(), 1000))
	}
	r, err := parsePgbench(stdout.String())
	if err != nil {
		return r, fmt.Errorf("pgbench %s: %w\n%s%s", strings.Join(args, " "), err, tail(stderr.Bytes(), 2000), tail(stdout.Bytes(), 1000))
	}
	return r, nil
}

// tail is the end of a text, at most n bytes.
func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }
