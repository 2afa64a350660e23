// Command compare measures Freshet against what it stands between and what it competes with: Postgres itself, PgBouncer, and
// bench/floor, which is what a proxy without logic would cost. It is `make bench`.
//
// Everything is driven from outside: a cluster of its own (bench/cluster), pgbench as the client, the proxies as processes. It isn't
// for finding out why something is slow (that is what Go's benchmarks and profiles are for), nor for comparing machines.
//
// The rule it upholds: only figures of one run are compared with each other, taken in turn, so that whatever else the machine was
// doing is shared by all; and a run in which a transaction failed, or a sum is wrong, has no figures at all.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	rounds     int
	time       time.Duration // of one run of pgbench in a round
	writeTime  time.Duration // of one run of the checks with writes
	clients    int
	threads    int
	scale      int
	keys       int // accounts that the reads of cached answers choose from, in units of 100,000
	contenders []string
	freshet    string // programs
	floor      string
	pgbouncer  string
	out        string // folder of results; empty: none
	page       string // page that holds the Markdown; empty: none
	verbose    bool
	command    string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	o := options{command: strings.Join(append([]string{"bin/compare"}, args...), " ")}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.rounds, "rounds", 3, "rounds; in each, every contender has its turn")
	f.DurationVar(&o.time, "time", 5*time.Second, "how long a turn lasts")
	f.DurationVar(&o.writeTime, "write-time", 2*time.Second, "how long each check with writes lasts; 0: none")
	f.IntVar(&o.clients, "clients", 16, "pgbench's clients")
	f.IntVar(&o.threads, "threads", 2, "pgbench's threads")
	f.IntVar(&o.scale, "scale", 10, "pgbench's scale: 100,000 accounts each")
	f.IntVar(&o.keys, "keys", 1, "scale of the part that is read when answers are to be in the cache")
	only := f.String("contenders", strings.Join(contenderKeys, ","), "who takes part")
	f.StringVar(&o.freshet, "freshet", "bin/freshet", "Freshet")
	f.StringVar(&o.floor, "floor", "bin/floor", "bench/floor, built")
	f.StringVar(&o.pgbouncer, "pgbouncer", "", "PgBouncer; default: where it is usually installed")
	f.StringVar(&o.out, "out", "docs/bench", "folder for the results; empty: only print")
	f.StringVar(&o.page, "page", "docs/BENCHMARKS.md", "page whose measured part is replaced; empty: none")
	f.BoolVar(&o.verbose, "v", false, "say more about what is being done")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.contenders = strings.Split(*only, ",")
	for _, c := range o.contenders {
		if !slices.Contains(contenderKeys, c) {
			return o, fmt.Errorf("--contenders: there is no %q; there are %s", c, strings.Join(contenderKeys, ", "))
		}
	}
	for name, n := range map[string]int{"rounds": o.rounds, "clients": o.clients, "threads": o.threads, "scale": o.scale, "keys": o.keys} {
		if n < 1 {
			return o, fmt.Errorf("--%s %d: at least 1 is needed", name, n)
		}
	}
	if o.keys > o.scale {
		return o, fmt.Errorf("--keys %d: more than --scale %d", o.keys, o.scale)
	}
	// pgbench's -T takes whole seconds.
	for name, d := range map[string]time.Duration{"time": o.time, "write-time": o.writeTime} {
		if d != d.Truncate(time.Second) || d < 0 {
			return o, fmt.Errorf("--%s %v: whole seconds are needed", name, d)
		}
	}
	if o.time == 0 {
		return o, errors.New("--time 0s: at least 1s is needed")
	}
	return o, nil
}

func main() {
	// What we start is to end when we do, which Linux ties to the thread that started it.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseOptions(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// run measures, prints, and writes the results.
func run(ctx context.Context, o options, stdout io.Writer) error {
	if o.page != "" {
		// Before minutes are spent.
		if _, err := replaceMeasured(o.page, ""); err != nil {
			return err
		}
	}
	r, err := measure(ctx, o, stdout)
	if err != nil {
		return err
	}
	fmt.Fprint(stdout, "\n", r.text())
	if o.out == "" {
		return nil
	}
	return r.write(o.out, o.page)
}

// measure starts everything, measures, and stops everything.
func measure(ctx context.Context, o options, stdout io.Writer) (r *Result, err error) {
	l, err := openLab(ctx, o, stdout)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w%s", err, l.logs())
		}
		err = errors.Join(err, l.close())
	}()
	return l.run(ctx)
}
