package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency/feed"
)

type demoCommand struct {
	Replicas  int           `default:"2" env:"-" placeholder:"N" help:"Streaming replicas. Default: ${default}."`
	For       time.Duration `env:"-" placeholder:"TIME" help:"How long to stay up once all is ready. Default: until Ctrl-C."`
	Dir       string        `env:"-" placeholder:"DIR" help:"Folder for the servers' data; empty, or to be made. Default: one in memory, or else in /tmp."`
	Clients   int           `default:"8" env:"-" placeholder:"N" help:"Clients of the comparison. Default: ${default}."`
	Scale     int           `default:"10" env:"-" hidden:"" help:"pgbench's scale."`
	BenchTime time.Duration `default:"5s" env:"-" hidden:"" help:"How long each run of the comparison takes."`

	Flags  serveFlags `embed:""`
	Config string     `placeholder:"FILE" help:"As in serve."`
}

// Run starts everything, compares, stays up, and removes everything.
func (c *demoCommand) Run(env *environment) (err error) {
	cfg, err := c.config()
	if err != nil {
		return usageError{err}
	}
	pgbench, err := findPgbench()
	if err != nil {
		return err
	}
	if c.Flags.Primary != "" || len(c.Flags.Replica) > 0 {
		_, _ = fmt.Fprintln(env.stdout, "(--primary and --replica aren't used: the demo starts servers of its own. To put Freshet before yours: freshet serve)")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends us at once, wherever we are; the cluster's watchdog removes what is left.
	defer context.AfterFunc(ctx, stop)()
	d := &demo{command: c, cfg: cfg, out: env.stdout, errs: env.stderr, pgbench: pgbench}
	err = d.run(ctx)
	if d.ready && ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = nil // Ctrl-C is how it ends
	}
	stop()
	if cleanup := d.cleanUp(); cleanup != nil {
		return errors.Join(err, cleanup)
	}
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted; what the demo had started is gone")
	}
	return err
}

// config is the proxy's configuration as far as it is known before there are
// servers.
func (c *demoCommand) config() (ServeConfig, error) {
	cfg := c.Flags.config()
	v := validation{}
	if c.Replicas < 0 || c.Replicas > 16 {
		v.add("--replicas: %d is out of range: from 0 to 16", c.Replicas)
	}
	v.atLeast("clients", c.Clients, 1)
	v.atLeast("scale", c.Scale, 1)
	v.notNegative("for", c.For)
	if c.BenchTime < time.Second {
		v.add("--bench-time: %v is too little: at least 1s", c.BenchTime)
	}
	// What the environment or a file says about the user's own servers (not used, see Run) is replaced when there are some.
	cfg.Primary, cfg.Replica = "postgres://postgres@127.0.0.1/app", nil
	// What runs is told by the demo itself; only what goes wrong is worth a line of the log.
	if cfg.LogLevel == "info" {
		cfg.LogLevel = "warn"
	}
	return cfg, errors.Join(errors.Join(v.wrong...), cfg.Validate())
}

// demo is a demo under way.
type demo struct {
	command   *demoCommand
	cfg       ServeConfig
	out, errs io.Writer
	pgbench   string

	cluster *cluster.Cluster
	server  *instance
	ready   bool
}

func (d *demo) say(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format+"\n", args...) }

func (d *demo) run(ctx context.Context) (err error) {
	plural := "s"
	if d.command.Replicas == 1 {
		plural = ""
	}
	d.say("Starting Postgres (a primary, %d streaming replica%s) and Redis …", d.command.Replicas, plural)
	d.cluster, err = cluster.Start(ctx, cluster.Options{Dir: d.command.Dir, Replicas: d.command.Replicas, Redis: true})
	if err != nil {
		return interrupted(ctx, err)
	}
	d.say("  Postgres %d in %s", d.cluster.Version(), d.cluster.Dir())
	for _, n := range d.cluster.Nodes() {
		d.say("  %-9s %s", n.Name(), n.Addr())
	}
	d.say("  %-9s %s", "redis", d.cluster.Redis().Addr())

	d.say("Filling pgbench's tables (scale %d) …", d.command.Scale)
	if err := d.fill(ctx); err != nil {
		return interrupted(ctx, err)
	}
	d.say("Setting up what Freshet needs in the database (freshet setup) …")
	options := feed.Options{Publication: d.cfg.Publication}
	if err := setUp(ctx, d.cluster.Primary().URL(cluster.App), options, false, io.Discard); err != nil {
		return interrupted(ctx, err)
	}
	if err := d.cluster.WaitCaughtUp(ctx); err != nil {
		return interrupted(ctx, err)
	}
	if err := d.serve(ctx); err != nil {
		return interrupted(ctx, err)
	}
	if err := d.compare(ctx); err != nil {
		return interrupted(ctx, err)
	}
	return d.stay(ctx)
}

// interrupted is the reason why something failed, if that was Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// fill makes pgbench's tables, as the application's user.
func (d *demo) fill(ctx context.Context) error {
	_, err := d.runPgbench(ctx, d.cluster.Primary().Addr(), "", "-i", "-q", "-s", fmt.Sprint(d.command.Scale))
	return err
}

// serve starts Freshet and waits until it answers and, with a cache, until
// that is in use.
func (d *demo) serve(ctx context.Context) error {
	d.cfg.Primary = d.cluster.Primary().URL(cluster.App)
	for _, n := range d.cluster.Replicas() {
		d.cfg.Replica = append(d.cfg.Replica, n.URL(cluster.App))
	}
	defaults := DefaultServeConfig()
	for i, addr := range d.cfg.Listen {
		if addr == defaults.Listen[0] {
			d.cfg.Listen[i] = d.freeAddress(addr, "clients")
		}
	}
	if d.cfg.HTTP == defaults.HTTP {
		d.cfg.HTTP = d.freeAddress(d.cfg.HTTP, "HTTP")
	}
	level := &slog.LevelVar{}
	level.Set(logLevel(d.cfg.LogLevel))
	var err error
	if d.server, err = startServer(ctx, d.cfg, newLogger(d.errs, d.cfg.LogFormat, level)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := d.waitReady(ctx); err != nil {
		return err
	}
	d.say("Freshet is ready on %s.", strings.Join(d.server.Addrs(), ", "))
	return nil
}

// freeAddress is addr, or another port if that one is taken.
func (d *demo) freeAddress(addr, what string) string {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		_ = ln.Close()
		return addr
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return addr // startServer says what is wrong
	}
	d.say("  (%s, the default address for %s, is taken: a free port instead)", addr, what)
	return "127.0.0.1:0"
}

// waitReady waits until a query is answered, and then until one is answered
// from the cache, if there is to be one. A cache that can't be used is said,
// and no failure: the proxy works without.
func (d *demo) waitReady(ctx context.Context) error {
	patience := time.Now().Add(10 * time.Second) // for the cache
	for {
		source, reason, err := d.ask(ctx)
		switch {
		case err == nil && (d.cfg.Cache == "off" || source == "l1" || source == "flight"):
			return nil
		case err == nil && time.Now().After(patience):
			d.say("  The cache isn't in use: %s.", reason)
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case err := <-d.server.Done():
			return err
		case <-ctx.Done():
			return fmt.Errorf("freshet isn't ready after 30 seconds: %w", cmp.Or(err, ctx.Err()))
		}
	}
}

// ask puts the same query twice, on a connection of its own, and says where the
// second answer came from and why.
func (d *demo) ask(ctx context.Context) (source, reason string, err error) {
	conn, err := pgx.Connect(ctx, d.url())
	if err != nil {
		return "", "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for range 2 {
		var n int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM pgbench_branches").Scan(&n); err != nil {
			return "", "", err
		}
	}
	// In the simple protocol: a statement that is prepared first would be what SHOW speaks of.
	if err := conn.QueryRow(ctx, "SHOW freshet.source", pgx.QueryExecModeSimpleProtocol).Scan(&source); err != nil {
		return "", "", err
	}
	err = conn.QueryRow(ctx, "SHOW freshet.reason", pgx.QueryExecModeSimpleProtocol).Scan(&reason)
	return source, reason, err
}

// clientAddress is where clients on this machine connect.
func (d *demo) clientAddress() string { return reachable(d.server.Addrs()[0]) }

// reachable is an address to connect to for one to listen on.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// url is how the application's user connects through Freshet.
func (d *demo) url() string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(cluster.App, d.cluster.AppPassword()), Host: d.clientAddress(), Path: "/" + cluster.App}
	return u.String()
}

// stay says how to connect and stays up for as long as was asked for.
func (d *demo) stay(ctx context.Context) error {
	d.say("")
	d.say("Connect:")
	d.say("  psql '%s'", d.url())
	d.say("  then, after a query: SHOW freshet.source; SHOW freshet.reason;")
	if addr := d.server.HTTPAddr(); addr != "" {
		d.say("Status:   http://%s/", reachable(addr))
		d.say("Metrics:  http://%s/metrics", reachable(addr))
	}
	var over <-chan time.Time
	if d.command.For > 0 {
		d.say("It stays up for %v; Ctrl-C ends it before.", d.command.For)
		over = time.After(d.command.For)
	} else {
		d.say("It stays up until Ctrl-C.")
	}
	d.ready = true
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-d.server.Stopped():
		return nil
	case err := <-d.server.Done():
		return err
	}
}

// cleanUp ends and removes everything.
func (d *demo) cleanUp() error {
	var errs []error
	if d.server != nil {
		d.say("Stopping …")
		ctx, cancel := context.WithTimeout(context.Background(), min(d.cfg.DrainTimeout, 3*time.Second))
		defer cancel()
		if err := d.server.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, err)
		}
	}
	if d.cluster != nil {
		errs = append(errs, d.cluster.Stop())
	}
	return errors.Join(errs...)
}
