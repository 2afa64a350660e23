package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// findPgbench looks for pgbench beside the server, and then in PATH.
func findPgbench() (string, error) {
	if bin, _, err := cluster.FindPostgres(""); err != nil {
		return "", err
	} else if path := filepath.Join(bin, "pgbench"); isProgram(path) {
		return path, nil
	}
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	return "", errors.New("pgbench isn't on this machine: run `make deps`, or install the packages postgresql and postgresql-contrib")
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// measured is what pgbench says about a run.
type measured struct {
	tps     float64
	latency float64 // milliseconds, the average
}

// workload is something to compare by.
type workload struct {
	title  string
	script string // pgbench's; empty: its own read-only test
}

// workloads are two extremes: rows that hardly ever come again within a run,
// so that what is compared is the way to the replicas; and an answer that costs
// the database much, and is asked for again and again.
var workloads = []workload{
	{"One account by its key, any of %d (pgbench -S):", ""},
	{"What a branch's 100000 accounts add up to, any of %d branches:", `\set bid random(1, :scale)
SELECT sum(abalance) FROM pgbench_accounts WHERE bid = :bid;
`},
}

// compare runs workloads directly on the primary and through Freshet, and
// prints what comes out.
func (d *demo) compare(ctx context.Context) error {
	n, seconds := d.command.Clients, int(math.Ceil(d.command.BenchTime.Seconds()))
	d.say("Comparing with pgbench: prepared statements, %d clients, %d s each; all of it shares %d cores …", n, seconds, runtime.NumCPU())
	counts := []int{100000 * d.command.Scale, d.command.Scale}
	for i, load := range workloads {
		args := []string{
			"-n", "-M", "prepared", "-c", strconv.Itoa(n), "-T", strconv.Itoa(seconds),
			"-j", strconv.Itoa(min(n, max(1, runtime.NumCPU()/2))),
		}
		if load.script == "" {
			args = append(args, "-S")
		} else {
			args = append(args, "-f", "-", "-D", "scale="+strconv.Itoa(d.command.Scale))
		}
		d.say("")
		d.say(load.title, counts[i])
		direct, err := d.measure(ctx, d.cluster.Primary().Addr(), load.script, args)
		if err != nil {
			return fmt.Errorf("directly on the primary: %w", err)
		}
		d.say("  directly on the primary %9.0f queries/s %10.3f ms", direct.tps, direct.latency)
		before := d.sources()
		through, err := d.measure(ctx, d.clientAddress(), load.script, args)
		if err != nil {
			return fmt.Errorf("through Freshet: %w", err)
		}
		d.say("  through Freshet         %9.0f queries/s %10.3f ms   × %.2f", through.tps, through.latency, through.tps/direct.tps)
		if shares := sharesOf(before, d.sources()); shares != "" {
			d.say("    answered by: %s", shares)
		}
	}
	return nil
}

func (d *demo) measure(ctx context.Context, addr, script string, args []string) (measured, error) {
	out, err := d.runPgbench(ctx, addr, script, args...)
	if err != nil {
		return measured{}, err
	}
	return parsePgbench(out)
}

// sources are the queries that Freshet has answered, by source.
func (d *demo) sources() map[string]uint64 { return d.server.Snapshot().Queries }

// sharesOf says which part of the queries between two pictures was answered
// from where.
func sharesOf(before, after map[string]uint64) string {
	type share struct {
		source string
		n      uint64
	}
	var list []share
	var total uint64
	for source, n := range after {
		if n -= before[source]; n > 0 {
			list = append(list, share{source, n})
			total += n
		}
	}
	slices.SortFunc(list, func(a, b share) int {
		if a.n != b.n && a.n > b.n {
			return -1
		} else if a.n != b.n {
			return 1
		}
		return strings.Compare(a.source, b.source)
	})
	names := map[string]string{"l1": "cache", "flight": "another session's query", "replica": "replicas", "primary": "primary"}
	var words []string
	for _, s := range list {
		name := s.source
		if known := names[name]; known != "" {
			name = known
		}
		if percent := fmt.Sprintf("%.1f", 100*float64(s.n)/float64(total)); percent != "0.0" {
			words = append(words, name+" "+percent+" %")
		}
	}
	return strings.Join(words, ", ")
}

// runPgbench runs pgbench as the application's user and returns what it
// printed; script is its standard input. The password goes by the environment,
// since everybody can see the arguments.
func (d *demo) runPgbench(ctx context.Context, addr, script string, args ...string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, d.pgbench, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "PG") }),
		"PGHOST="+host, "PGPORT="+port, "PGUSER="+cluster.App, "PGDATABASE="+cluster.App,
		"PGPASSWORD="+d.cluster.AppPassword(), "PGSSLMODE=disable", "LC_ALL=C")
	cmd.WaitDelay = time.Second
	cmd.Stdin = strings.NewReader(script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("pgbench: %w: %s", err, lastLines(stderr.String(), 3))
	}
	return stdout.String(), nil
}

// lastLines is the end of a text, on one line.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

var (
	tpsLine     = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
	latencyLine = regexp.MustCompile(`(?m)^latency average = ([0-9.]+) ms`)
)

// parsePgbench reads pgbench's summary.
func parsePgbench(out string) (measured, error) {
	tps, latency := tpsLine.FindStringSubmatch(out), latencyLine.FindStringSubmatch(out)
	if tps == nil || latency == nil {
		return measured{}, fmt.Errorf("pgbench didn't say how fast it was: %s", lastLines(out, 3))
	}
	var m measured
	var err1, err2 error
	m.tps, err1 = strconv.ParseFloat(tps[1], 64)
	m.latency, err2 = strconv.ParseFloat(latency[1], 64)
	return m, errors.Join(err1, err2)
}
