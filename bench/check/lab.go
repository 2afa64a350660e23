package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/rig"
)

// lab is what is checked: servers, and a Freshet before them.
type lab struct {
	cfg     Config
	cluster *cluster.Cluster
	standby *cluster.Node // one that Freshet isn't told about
	port    string
	http    string
	cmd     *exec.Cmd
	log     output
	ended   chan struct{}
}

func startLab(ctx context.Context, cfg Config) (_ *lab, err error) {
	l := &lab{cfg: cfg}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.stop())
		}
	}()
	l.cluster, err = cluster.Start(ctx, cluster.Options{Replicas: cfg.Replicas + 1, Cache: true, Settings: map[string]string{
		"deadlock_timeout": "100ms", "max_standby_streaming_delay": "1s",
	}})
	if err != nil {
		return l, err
	}
	l.standby = l.cluster.Replicas()[cfg.Replicas]
	conn, err := pgx.Connect(ctx, l.cluster.Primary().AppURL())
	if err != nil {
		return l, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, schemaSQL()); err != nil {
		return l, fmt.Errorf("making the tables: %w", err)
	}
	setup := exec.CommandContext(ctx, cfg.Freshet, "setup", "--primary", l.cluster.Primary().URL(cluster.App))
	setup.Env = append(os.Environ(), cfg.Variables...)
	if out, err := setup.CombinedOutput(); err != nil {
		return l, fmt.Errorf("freshet setup: %w\n%s", err, out)
	}
	if err := l.cluster.WaitCaughtUp(ctx); err != nil {
		return l, err
	}
	if l.port, err = freePort(ctx); err != nil {
		return l, err
	}
	if l.http, err = freePort(ctx); err != nil {
		return l, err
	}
	if err := l.serve(); err != nil {
		return l, err
	}
	return l, l.ready(ctx)
}

// serve starts Freshet.
func (l *lab) serve() error {
	args := []string{"serve", "--listen", "127.0.0.1:" + l.port, "--http", "127.0.0.1:" + l.http, "--log-level", "warn",
		"--max-staleness", l.cfg.Bound.String(), "--drain-timeout", "1s",
		"--stale-if-error", "0", // what it gives when all servers are down isn't what the levels promise
		"--primary", l.cluster.Primary().URL(cluster.App)}
	for _, n := range l.cluster.Nodes() {
		if n != l.cluster.Primary() && n != l.standby {
			args = append(args, "--replica", n.URL(cluster.App))
		}
	}
	l.cmd = exec.Command(l.cfg.Freshet, append(args, l.cfg.Serve...)...)
	l.cmd.Env = append(os.Environ(), l.cfg.Variables...)
	l.cmd.Stdout, l.cmd.Stderr = &l.log, &l.log
	l.cmd.SysProcAttr = dieWithUs()
	started := make(chan error)
	cmd, ended := l.cmd, make(chan struct{})
	l.ended = ended
	go func() {
		// It dies with the thread that has started it; so that one lives as long as it does.
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its end is seen by those who use it
		}
	}()
	return <-started
}

// readyWithin is generous: its feed may be cut again and again meanwhile, on a machine with little to spare.
const readyWithin = 2 * time.Minute

// ready waits until Freshet answers, and answers from the cache if it is to have one.
func (l *lab) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		source, why := l.probe(ctx)
		if why == nil && (source == "l1" || slices.Contains(l.cfg.Serve, "--cache=off")) {
			return nil
		} else if why == nil {
			why = fmt.Errorf("it answers from %s, not from its cache", source)
		}
		select {
		case <-l.ended:
			return fmt.Errorf("freshet has ended:\n%s", l.log.tail())
		case <-ctx.Done():
			return fmt.Errorf("freshet isn't ready after %v: %w\n%s", readyWithin, why, l.log.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (l *lab) probe(ctx context.Context) (source string, err error) {
	conn, err := pgx.Connect(ctx, l.url())
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	for range 2 {
		if _, err := conn.PgConn().Exec(ctx, "SELECT n FROM r0 WHERE id = 0").ReadAll(); err != nil {
			return "", err
		}
	}
	err = conn.QueryRow(ctx, "SHOW freshet.source", pgx.QueryExecModeSimpleProtocol).Scan(&source)
	return source, err
}

// url is how clients connect.
func (l *lab) url() string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%s/%s?sslmode=disable", cluster.App, l.cluster.AppPassword(), l.port, cluster.App)
}

// sources are the numbers of answers by source so far, as Freshet counts them.
func (l *lab) sources(ctx context.Context) (map[string]float64, error) {
	all, err := rig.Scrape(ctx, "127.0.0.1:"+l.http)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, l.log.tail())
	}
	return all.By("freshet_queries_total", "source"), nil
}

// endServe ends Freshet: with SIGTERM, which lets it drain, or with SIGKILL.
func (l *lab) endServe(sig syscall.Signal) error {
	_ = l.cmd.Process.Signal(sig)
	select {
	case <-l.ended:
		return nil
	case <-time.After(20 * time.Second):
	}
	_ = l.cmd.Process.Kill()
	<-l.ended
	return fmt.Errorf("freshet didn't end within 20 seconds of %v:\n%s", sig, l.log.tail())
}

func (l *lab) stop() (err error) {
	if l.cmd != nil && l.cmd.Process != nil {
		err = l.endServe(syscall.SIGTERM)
	}
	if l.cluster != nil {
		err = errors.Join(err, l.cluster.Stop())
	}
	return err
}

// replicas are those that Freshet knows.
func (l *lab) replicas() []*cluster.Node {
	return slices.DeleteFunc(l.cluster.Replicas(), func(n *cluster.Node) bool { return n == l.standby })
}

// freePort is cluster.FreePort, as text.
func freePort(ctx context.Context) (string, error) {
	port, err := cluster.FreePort(ctx)
	return strconv.Itoa(port), err
}

// output keeps the end of what a program prints.
type output struct {
	mu struct {
		sync.Mutex
		b []byte
	}
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.b = append(o.mu.b, p...)
	if n := len(o.mu.b); n > 64<<10 {
		o.mu.b = append(o.mu.b[:0], o.mu.b[n-(32<<10):]...)
	}
	return len(p), nil
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.mu.b[max(0, len(o.mu.b)-8<<10):]
	if _, rest, ok := bytes.Cut(b, []byte("\n")); ok && len(b) == 8<<10 {
		b = rest
	}
	return strings.TrimSpace(string(b))
}
