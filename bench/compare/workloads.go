package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// modes are pgbench's protocol modes: a Query; Parse, Bind, Execute; Bind, Execute.
var modes = []string{"simple", "extended", "prepared"}

// missesKey is the workload that reads more than the cache has.
const missesKey = "misses-extended"

// script is a workload before it is run.
type script struct {
	key, title, mode string
	scale            int  // accounts to choose from, in units of 100,000
	cached           bool // what is read is in the cache before the first round
	contenders       []string
}

func (l *lab) scripts() []script {
	var s []script
	for _, m := range modes {
		s = append(s, script{
			key: "select-" + m, title: fmt.Sprintf("pgbench -S -M %s on %s accounts", m, thousands(l.keys*100_000)),
			mode: m, scale: l.keys, cached: true, contenders: slices.DeleteFunc(slices.Clone(contenderKeys), func(key string) bool { return key == "freshet-misses" }),
		})
	}
	// The other side of a cache: most of what is asked for isn't in it, and each miss is also a fill.
	return append(s, script{
		key: missesKey, title: fmt.Sprintf("pgbench -S -M extended on all %s accounts, mostly misses", thousands(l.scale*100_000)),
		mode: "extended", scale: l.scale, contenders: []string{"direct", "pgbouncer", "freshet", "freshet-misses", "freshet-off"},
	})
}

// run does everything that is measured.
func (l *lab) run(ctx context.Context) (*Result, error) {
	r := &Result{
		Command: l.command, Started: time.Now().UTC().Truncate(time.Second), Versions: l.versions,
		Rounds: l.rounds, RunSeconds: int(l.time.Seconds()), Clients: l.clients, Threads: l.threads,
		Accounts: l.scale * 100_000, HotKeys: l.keys * 100_000,
		Host: Host{Cores: runtime.NumCPU(), Load: loadAverage(), Steal: -1},
	}
	r.Host.OS, r.Host.CPU = hostNames()
	for _, c := range l.contenders {
		r.Contenders = append(r.Contenders, Contender{Key: c.key, Label: c.label, Setup: c.setup})
	}
	all0, stolen0, _ := machineCPU()
	for _, s := range l.scripts() {
		w, err := l.measureScript(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.title, err)
		}
		r.Workloads = append(r.Workloads, *w)
		if fresh := l.contender("freshet"); fresh != nil && s.cached {
			a, err := l.measureAllocations(ctx, fresh, s)
			if err != nil {
				return nil, fmt.Errorf("%s: allocations: %w", s.title, err)
			}
			r.Allocations = append(r.Allocations, a)
		}
	}
	if all, stolen, ok := machineCPU(); ok && all > all0 {
		r.Host.Steal = (stolen - stolen0) / (all - all0)
	}
	if l.writeTime > 0 {
		if err := l.checkWrites(ctx, r); err != nil {
			return nil, err
		}
	}
	r.Seconds = time.Since(r.Started).Seconds()
	r.Goals = r.judge()
	return r, nil
}

// measureScript has all contenders take turns, round after round.
func (l *lab) measureScript(ctx context.Context, s script) (*Workload, error) {
	l.say("%s", s.title)
	w := &Workload{Key: s.key, Title: s.title, Mode: s.mode, Cached: s.cached}
	var turns []*contender
	for _, key := range s.contenders {
		if c := l.contender(key); c != nil {
			turns = append(turns, c)
			_, note := c.target(s.mode)
			w.Series = append(w.Series, Series{Contender: key, Note: note})
		}
	}
	for i, c := range turns {
		if err := l.warm(ctx, c, s); err != nil {
			return nil, fmt.Errorf("%s: warming up: %w", c.label, err)
		}
		login, err := l.measureLogin(ctx, c, s)
		if err != nil {
			return nil, fmt.Errorf("%s: logging in: %w", c.label, err)
		}
		w.Series[i].LoginMicros = login
	}
	for round := range l.rounds {
		for i, c := range turns {
			run, err := l.turn(ctx, c, s, w.Series[i].LoginMicros)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.label, err)
			}
			w.Series[i].Runs = append(w.Series[i].Runs, run)
			if l.verbose {
				l.say("  round %d, %s: %.0f tps", round+1, c.label, run.TPS)
			}
		}
	}
	for i := range w.Series {
		w.Series[i].Median = medianRun(w.Series[i].Runs)
	}
	return w, nil
}

// selectOnly is pgbench's built-in script for -S, to the letter. As a file, pgbench takes the scale as it is given, and doesn't first ask the
// database for it, which the floor can't answer.
const selectOnly = `\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
`

// fillOnce reads each account once, each client its part of them, with the same statement.
const fillOnce = `\set aid :client_id * :part + :i + 1
\set i :i + 1
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
`

// scriptFile writes a script where pgbench finds it.
func (l *lab) scriptFile(name, text string) (string, error) {
	path := filepath.Join(l.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// args are pgbench's for a read, without VACUUM before (-n), for a time.
func (l *lab) args(s script, d time.Duration) []string {
	return append(l.argsOnce(s), "-T", fmt.Sprint(int(d.Seconds())))
}

// argsOnce are args without a time.
func (l *lab) argsOnce(s script) []string {
	return []string{
		"-n", "-f", l.selectOnly, "-M", s.mode, "-c", fmt.Sprint(l.clients), "-j", fmt.Sprint(l.threads), "-D", fmt.Sprint("scale=", s.scale),
	}
}

// warm opens server connections and fills buffers, and, where answers are to be in the cache, puts them there.
func (l *lab) warm(ctx context.Context, c *contender, s script) error {
	e, _ := c.target(s.mode)
	if c.key == "freshet" && s.cached {
		return l.fillCache(ctx, e, s)
	}
	_, err := l.pgbench(ctx, e, l.args(s, time.Second)...)
	return err
}

// fillCache reads each account once.
func (l *lab) fillCache(ctx context.Context, e endpoint, s script) error {
	path, err := l.scriptFile("fill.sql", fillOnce)
	if err != nil {
		return err
	}
	part := (s.scale*100_000 + l.clients - 1) / l.clients
	_, err = l.pgbench(ctx, e, "-n", "-f", path, "-M", s.mode, "-c", fmt.Sprint(l.clients), "-j", fmt.Sprint(l.threads),
		"-t", fmt.Sprint(part), "-D", "i=0", "-D", fmt.Sprint("part=", part))
	return err
}

// measureLogin is the proxy's CPU time for a client that comes, asks once, and goes; nil: it has no process. It is taken off a turn's, which would
// otherwise depend on how long a turn is.
func (l *lab) measureLogin(ctx context.Context, c *contender, s script) (*float64, error) {
	before, ok := c.cpu()
	if !ok {
		return nil, nil
	}
	const times = 5 // for a clock that ticks a hundred times a second
	e, _ := c.target(s.mode)
	for range times {
		if _, err := l.pgbench(ctx, e, append(l.argsOnce(s), "-t", "1")...); err != nil {
			return nil, err
		}
	}
	after, _ := c.cpu()
	x := float64((after - before).Microseconds()) / float64(times*l.clients)
	return &x, nil
}

// cpu is what its process has used so far; false: it has none, or that isn't known.
func (c *contender) cpu() (time.Duration, bool) {
	if c.pid == 0 {
		return 0, false
	}
	return processCPU(c.pid)
}

// turn is one run of pgbench, with a look at the proxy's process before and after.
func (l *lab) turn(ctx context.Context, c *contender, s script, login *float64) (Run, error) {
	// The backends of the one before are still going away.
	time.Sleep(200 * time.Millisecond)
	var before counters
	var err error
	if c.http != "" {
		if before, err = c.counters(ctx); err != nil {
			return Run{}, err
		}
	}
	cpu0, measured := c.cpu()
	e, _ := c.target(s.mode)
	p, err := l.pgbench(ctx, e, l.args(s, l.time)...)
	if err != nil {
		return Run{}, err
	}
	run := Run{TPS: p.tps, LatencyMS: p.latencyMS, Transactions: float64(p.transactions)}
	if cpu, ok := c.cpu(); ok && measured && login != nil {
		x := (float64((cpu - cpu0).Microseconds()) - *login*float64(l.clients)) / run.Transactions
		run.CPUMicros = &x
	}
	if c.http != "" {
		after, err := c.counters(ctx)
		if err != nil {
			return Run{}, err
		}
		if share, ok := after.since(before).cacheShare(); ok {
			run.CacheShare = &share
		}
	}
	return run, nil
}

// measureAllocations counts what Freshet allocates while it answers from its cache, less what it allocates when idle. Both times it is
// looked at twice, two seconds apart, in the middle of things: logging in is in neither, and the cost of looking is in both.
func (l *lab) measureAllocations(ctx context.Context, c *contender, s script) (Allocation, error) {
	a := Allocation{Mode: s.mode}
	const watched = 2 * time.Second
	time.Sleep(time.Second) // what clients have left behind is put away
	idle, err := c.watch(ctx, watched)
	if err != nil {
		return a, err
	}
	a.Idle = idle.mallocs
	e, _ := c.target(s.mode)
	// pgbench is started here, on the main goroutine (dieWithUs); who looks is beside it.
	type look struct {
		counters
		err error
	}
	looked := make(chan look, 1)
	go func() {
		select {
		case <-time.After(1500 * time.Millisecond): // everybody is connected
		case <-ctx.Done():
		}
		k, err := c.watch(ctx, watched)
		looked <- look{k, err}
	}()
	_, err = l.pgbench(ctx, e, l.args(s, 5*time.Second)...)
	busy := <-looked
	if err == nil {
		err = busy.err
	}
	if err != nil {
		return a, err
	}
	a.Queries, a.Busy = busy.total(), busy.mallocs
	if a.Queries == 0 {
		return a, fmt.Errorf("no query was counted in %s", queriesMetric)
	}
	a.CacheShare, _ = busy.cacheShare()
	a.PerQuery = (busy.mallocs - idle.mallocs) / a.Queries
	return a, nil
}

// watch is what a contender counts in a time.
func (c *contender) watch(ctx context.Context, d time.Duration) (counters, error) {
	before, err := c.counters(ctx)
	if err != nil {
		return counters{}, err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return counters{}, ctx.Err()
	}
	after, err := c.counters(ctx)
	return after.since(before), err
}
