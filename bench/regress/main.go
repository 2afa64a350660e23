// Command regress runs PostgreSQL's own test suites twice, against Postgres itself and through Freshet, and
// shows each test in which they differ. It is `make regress`.
//
// The rule it upholds: both sides are treated alike (the same server version and configuration, the same prepared
// database, the same schedule, in one run), and every difference is shown, in the tests' verdicts and in their output. Nothing
// is excused here; what remains is explained in docs/COMPATIBILITY.md, by name, or the exit status is 1.
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
	suites   []string
	tests    []string // empty: the whole schedule
	sides    []string
	freshet  string
	flags    []string // of freshet serve
	replicas int
	setup    bool // freshet setup in the tests' database
	timeout  time.Duration
	results  string
	page     string
	verbose  bool
}

const (
	direct  = "direct"
	through = "freshet"
)

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("regress", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, "usage: regress [flags] [test …]\nWithout tests: the suites' full parallel schedules.\n")
		f.PrintDefaults()
	}
	suites := f.String("suites", "regress,isolation", "which: regress, isolation")
	sides := f.String("sides", direct+","+through, "which; a comparison needs both")
	flags := f.String("flags", "", "more flags of freshet serve, with spaces between them")
	f.StringVar(&o.freshet, "freshet", "bin/freshet", "Freshet")
	f.IntVar(&o.replicas, "replicas", 2, "streaming replicas, on both sides")
	f.BoolVar(&o.setup, "setup", true, "run `freshet setup` in the tests' database, on both sides, so that Freshet's cache is at work")
	f.DurationVar(&o.timeout, "timeout", 20*time.Minute, "for one suite on one side")
	f.StringVar(&o.results, "results", "bin/regress-results", "folder for what the tests have printed")
	f.StringVar(&o.page, "page", "", "page whose table is replaced, and that explains differences")
	f.BoolVar(&o.verbose, "v", false, "show what pg_regress prints")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.tests, o.suites, o.sides, o.flags = f.Args(), strings.Split(*suites, ","), strings.Split(*sides, ","), strings.Fields(*flags)
	for _, s := range o.suites {
		if _, ok := theSuites[s]; !ok {
			return o, fmt.Errorf("--suites: there is no %q; there are regress and isolation", s)
		}
	}
	for _, s := range o.sides {
		if s != direct && s != through {
			return o, fmt.Errorf("--sides: there is no %q; there are %s and %s", s, direct, through)
		}
	}
	if len(o.tests) > 0 && len(o.suites) > 1 {
		o.suites = o.suites[:1]
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
		fmt.Fprintln(os.Stderr, "regress:", err)
		os.Exit(2)
	}
	unexplained, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "regress:", err)
		os.Exit(2)
	}
	if unexplained > 0 {
		os.Exit(1)
	}
}

// run runs what is wanted, prints it, and returns the number of differences that the page doesn't explain.
func run(ctx context.Context, o options, stdout io.Writer) (unexplained int, err error) {
	say := func(format string, args ...any) { fmt.Fprintf(stdout, "regress: "+format+"\n", args...) }
	var all []comparison
	for _, name := range o.suites {
		c := comparison{suite: name, sides: map[string]*outcome{}}
		for _, side := range o.sides {
			out, err := runSide(ctx, o, name, side, say)
			if err != nil {
				return 0, err
			}
			c.sides[side] = out
			say("%s, %s: %s", name, side, out.summary())
		}
		all = append(all, c)
	}
	if !slices.Contains(o.sides, direct) || !slices.Contains(o.sides, through) {
		return 0, nil
	}
	return report(all, o, stdout)
}
