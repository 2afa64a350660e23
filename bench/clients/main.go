// Command clients runs a real program with each of the widely used Postgres clients, direct and through Freshet, and compares
// what they print. It is `make clients`.
//
// The programs are in a folder each, in their own language, and take where to connect from libpq's variables (PGHOST, …). `install` there, if
// there is one, gets what `run` needs with the client's ordinary package manager, into the folder $CLIENT_CACHE. What `run` prints must be the same at
// each run on a new database (see newDatabase); how long something took, process numbers and the like aren't printed.
//
// The rule it upholds: a client that can't be installed, a program that fails, and a line that differs are failures, never skipped.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/rig"
)

var all = []string{
	"psql", "pgbench", "pgx", "lib-pq", "psycopg2", "psycopg3", "asyncpg", "pgjdbc", "node-postgres", "postgres-js", "tokio-postgres",
}

type options struct {
	freshet string
	flags   []string
	folder  string
	cache   string
	timeout time.Duration
	clients []string
	verbose bool
}

func main() {
	// What we start is to end when we do, which Linux ties to the thread that started it.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	flag.StringVar(&o.freshet, "freshet", "bin/freshet", "Freshet")
	flag.StringVar(&o.folder, "folder", "bench/clients", "folder of the programs")
	flag.StringVar(&o.cache, "cache", "", "where clients are installed; default: in the user's cache folder")
	flag.DurationVar(&o.timeout, "timeout", 3*time.Minute, "for one run of a program")
	flag.BoolVar(&o.verbose, "v", false, "show what the programs print")
	// Fewer server connections than the programs have at work at a time.
	flags := flag.String("flags", "--pool-size 6", "more flags of freshet serve, with spaces between them")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: clients [flags] [client …]\nThe clients are: %s\n", strings.Join(all, " "))
		flag.PrintDefaults()
	}
	flag.Parse()
	o.flags, o.clients = strings.Fields(*flags), flag.Args()
	if len(o.clients) == 0 {
		o.clients = all
	}
	failed, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(2)
	}
	fmt.Printf("%d passed, %d failed\n", len(o.clients)-failed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (failed int, err error) {
	for _, c := range o.clients {
		if !slices.Contains(all, c) {
			return 0, fmt.Errorf("there is no client %q; there are %s", c, strings.Join(all, ", "))
		}
	}
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return 0, err
		}
		o.cache = filepath.Join(dir, "freshet", "clients")
	}
	r, err := rig.Start(ctx, rig.Options{Cluster: cluster.Options{Replicas: 2}, Freshet: o.freshet, Flags: o.flags})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	for i, name := range o.clients {
		began := time.Now()
		problem := o.compare(ctx, r, name, i)
		if err := errors.Join(ctx.Err(), r.Alive()); err != nil {
			return 0, err
		}
		if problem != nil {
			failed++
			fmt.Printf("FAIL  %-15s %v\n", name, problem)
			continue
		}
		fmt.Printf("ok    %-15s %.1f s\n", name, time.Since(began).Seconds())
	}
	return failed, nil
}

// compare runs a client's program on both sides, each with a database of its own.
func (o options) compare(ctx context.Context, r *rig.Rig, name string, i int) error {
	p := program{dir: filepath.Join(o.folder, name), cache: filepath.Join(o.cache, name), timeout: o.timeout}
	if err := os.MkdirAll(p.cache, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(p.dir, "install")); err == nil {
		if out, err := p.start(ctx, "install", nil); err != nil {
			return fmt.Errorf("install: %w\n%s", err, out)
		}
	}
	primary := r.Cluster.Primary()
	printed := map[string]string{}
	for side, at := range map[string]struct {
		host string
		port int
	}{"direct": {primary.Host(), primary.Port()}, "through Freshet": {r.Host(), r.Port()}} {
		database := fmt.Sprintf("clients_%d_%d", i, len(side))
		if err := o.newDatabase(ctx, r, database); err != nil {
			return err
		}
		out, err := p.start(ctx, "run", []string{
			"PGHOST=" + at.host, "PGPORT=" + strconv.Itoa(at.port), "PGUSER=" + cluster.App, "PGPASSWORD=" + r.Cluster.AppPassword(),
			"PGDATABASE=" + database, "PGSSLMODE=disable",
		})
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", side, err, out)
		}
		if len(out) == 0 {
			return fmt.Errorf("%s: it has printed nothing", side)
		}
		printed[side] = out
	}
	if o.verbose {
		fmt.Print(printed["through Freshet"])
	}
	return difference(printed["direct"], printed["through Freshet"])
}

// newDatabase makes a database with a table that Freshet caches from the beginning: accounts, 100 rows.
func (o options) newDatabase(ctx context.Context, r *rig.Rig, name string) error {
	primary := r.Cluster.Primary()
	if err := primary.ExecIn(ctx, "postgres", "CREATE DATABASE "+name+" OWNER "+cluster.App); err != nil {
		return err
	}
	if err := primary.ExecIn(ctx, name, "CREATE TABLE accounts(id int PRIMARY KEY, owner text NOT NULL, balance bigint NOT NULL);"+
		"ALTER TABLE accounts OWNER TO "+cluster.App+"; INSERT INTO accounts SELECT i, 'owner ' || i, 1000 FROM generate_series(1, 100) i"); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, o.freshet, "setup", "--primary", primary.URL(name)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("freshet setup: %w\n%s", err, out)
	}
	return nil
}

// program is a client's folder.
type program struct {
	dir, cache string
	timeout    time.Duration
}

// start runs `install` or `run` to its end, and returns what it has printed: all of it if it failed.
func (p program) start(ctx context.Context, script string, env []string) (string, error) {
	timeout := p.timeout
	if script == "install" {
		timeout = 10 * time.Minute // a client may have to be compiled
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "./"+script)
	cmd.Dir = p.dir
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(append(cmd.Env, "CLIENT_CACHE="+p.cache), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// What it has started goes with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("it hangs: not done after %v", timeout)
		}
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

// difference is an error that shows the first lines that differ.
func difference(direct, through string) error {
	if direct == through {
		return nil
	}
	a, b := strings.Split(direct, "\n"), strings.Split(through, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y || i >= len(a) || i >= len(b) {
			return fmt.Errorf("line %d\n  direct:          %s\n  through Freshet: %s", i+1, x, y)
		}
	}
	return errors.New("the outputs differ")
}
