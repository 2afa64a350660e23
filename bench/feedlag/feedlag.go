// Package feedlag measures how long after its acknowledgement a commit has its effect on what the cache answers, while others write
// past Freshet as fast as it is told.
//
// It looks from outside: a row that is in the cache is written directly on the primary, and then read through Freshet, at the level
// eventual, again and again until the answer is the new one. So what is measured includes the query by which that is fetched,
// and is never less than the feed's lag. What isn't answered by the cache before isn't counted.
//
// Afterwards the same is measured without Freshet, for a client that does nothing but receive the stream (bare.go): less than that is
// possible for nobody who follows the WAL by logical decoding, on this machine under this load.
package feedlag

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/rig"
)

const database = "postgres" // that of the service URL

// Config says what to measure.
type Config struct {
	Freshet string        // the program
	Rate    int           // transactions a second that are written past it; 0: as many as go
	Clients int           // by so many
	Flushed bool          // they wait until their commits are flushed (synchronous_commit); the measured ones always do
	For     time.Duration // how long is measured
	Out     io.Writer
}

// Result is what was measured.
type Result struct {
	Lags    Lags
	Bare    Lags    // of the bare receiver
	Rate    float64 // transactions a second that were written, as pgbench counts them
	Written int64
	Applied float64       // commits that the feed has applied meanwhile
	CPU     time.Duration // of Freshet, for each of them, with that for reading what is measured
}

// Lags are what was measured, one by one, ascending.
type Lags []time.Duration

// Quantile is the lag that this share of them doesn't exceed.
func (l Lags) Quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[min(int(q*float64(len(l))), len(l)-1)]
}

func (l Lags) String() string {
	in := func(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
	return fmt.Sprintf("median %s, p90 %s, p99 %s, most %s (of %d)", in(l.Quantile(0.5)), in(l.Quantile(0.9)), in(l.Quantile(0.99)), in(l.Quantile(1)), len(l))
}

// Run measures, and prints.
func Run(ctx context.Context, cfg Config) (r Result, err error) {
	// What is started dies with the thread that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	port, err := cluster.FreePort(ctx)
	if err != nil {
		return r, err
	}
	web := "127.0.0.1:" + strconv.Itoa(port)
	g, err := rig.Start(ctx, rig.Options{
		Cluster: cluster.Options{Cache: true},
		Freshet: cfg.Freshet,
		Flags:   []string{"--http", web, "--consistency", "eventual"},
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	for _, sql := range []string{
		`CREATE TABLE sample (id int PRIMARY KEY, v bigint NOT NULL); INSERT INTO sample VALUES (1, 0);
		CREATE TABLE crowd (id int PRIMARY KEY, v bigint NOT NULL) WITH (fillfactor = 50); INSERT INTO crowd SELECT i, 0 FROM generate_series(1, 10000) i`,
		"VACUUM ANALYZE crowd", "CREATE PUBLICATION freshet FOR TABLE sample, crowd",
	} {
		if err := g.Cluster.Primary().ExecIn(ctx, database, sql); err != nil {
			return r, err
		}
	}
	p := &probe{}
	defer p.close(context.WithoutCancel(ctx))
	if err := p.connect(ctx, g); err != nil {
		return r, err
	}
	if err := p.cached(ctx, time.Now().Add(time.Minute)); err != nil {
		return r, err
	}

	crowd, err := startCrowd(ctx, g, cfg)
	if err != nil {
		return r, err
	}
	defer crowd.stop()
	before, err := rig.Scrape(ctx, web)
	if err != nil {
		return r, err
	}
	if r.Lags, err = sample(ctx, cfg.For, p.measure); err != nil {
		return r, err
	}
	if r.Written, r.Rate, err = crowd.wait(); err != nil {
		return r, err
	}
	// Everything that was written is told of: nothing got lost in the hurry.
	for deadline := time.Now().Add(time.Minute); ; {
		after, err := rig.Scrape(ctx, web)
		if err != nil {
			return r, err
		}
		grown := func(name string, labels ...string) float64 {
			return after.Sum(name, labels...) - before.Sum(name, labels...)
		}
		r.Applied = grown("freshet_feed_commits_total", "database", database)
		r.CPU = time.Duration(grown("process_cpu_seconds_total") / max(1, r.Applied) * float64(time.Second))
		if r.Applied >= float64(r.Written) {
			break
		}
		if time.Now().After(deadline) {
			return r, fmt.Errorf("%d transactions were written, and the feed has applied %.0f", r.Written, r.Applied)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil { // polling
			return r, err
		}
	}
	fmt.Fprintf(cfg.Out, "%.0f transactions/s written by %d clients past Freshet; its CPU time for each: %v\n", r.Rate, cfg.Clients, r.CPU.Round(100*time.Nanosecond))
	fmt.Fprintf(cfg.Out, "commit acknowledged → seen through the cache: %v\n", r.Lags)
	g.StopFreshet()
	rate, err := r.measureBare(ctx, g, cfg)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(cfg.Out, "without Freshet, %.0f transactions/s; commit acknowledged → received by a client that only receives the stream: %v\n", rate, r.Bare)
	return r, nil
}

// sample measures again and again for so long.
func sample(ctx context.Context, long time.Duration, measure func(context.Context) (time.Duration, error)) (l Lags, err error) {
	for end := time.Now().Add(long); time.Now().Before(end); {
		lag, err := measure(ctx)
		if err != nil {
			return nil, err
		}
		l = append(l, lag)
		// Not in step with anything that happens regularly.
		if err := sleep(ctx, rand.N(4*time.Millisecond)); err != nil {
			return nil, err
		}
	}
	slices.Sort(l)
	return l, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// probe writes a row and reads it.
type probe struct {
	direct, through *pgconn.PgConn
	value           int64
}

// connectDirect is enough to write.
func (p *probe) connectDirect(ctx context.Context, g *rig.Rig) (err error) {
	if p.direct, err = pgconn.Connect(ctx, g.Cluster.Primary().URL(database)); err != nil {
		return err
	}
	_, err = p.direct.Prepare(ctx, "write", "UPDATE sample SET v = $1 WHERE id = 1", nil)
	return err
}

func (p *probe) connect(ctx context.Context, g *rig.Rig) (err error) {
	if err := p.connectDirect(ctx, g); err != nil {
		return err
	}
	if p.through, err = pgconn.Connect(ctx, g.URL(database)); err != nil {
		return err
	}
	_, err = p.through.Prepare(ctx, "read", "SELECT v FROM sample WHERE id = 1", nil)
	return err
}

func (p *probe) close(ctx context.Context) {
	for _, conn := range []*pgconn.PgConn{p.direct, p.through} {
		if conn != nil {
			_ = conn.Close(ctx)
		}
	}
}

func (p *probe) read(ctx context.Context) (int64, error) {
	r := p.through.ExecPrepared(ctx, "read", nil, nil, nil).Read()
	if r.Err != nil {
		return 0, r.Err
	}
	if len(r.Rows) != 1 {
		return 0, fmt.Errorf("%d rows", len(r.Rows))
	}
	return strconv.ParseInt(string(r.Rows[0][0]), 10, 64)
}

// cached reads until the answer comes from the cache.
func (p *probe) cached(ctx context.Context, deadline time.Time) error {
	for {
		v, err := p.read(ctx)
		if err != nil {
			return err
		}
		results, err := p.through.Exec(ctx, "SHOW freshet.source").ReadAll()
		if err != nil {
			return err
		}
		if v == p.value && len(results) == 1 && len(results[0].Rows) == 1 && string(results[0].Rows[0][0]) == "l1" {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the row that is measured doesn't get into the cache")
		}
		if err := sleep(ctx, time.Millisecond); err != nil { // polling
			return err
		}
	}
}

// write writes the next value, past Freshet, and says when that was acknowledged.
func (p *probe) write(ctx context.Context) (acknowledged time.Time, err error) {
	p.value++
	r := p.direct.ExecPrepared(ctx, "write", [][]byte{strconv.AppendInt(nil, p.value, 10)}, nil, nil).Read()
	return time.Now(), r.Err
}

// lookGap is between two looks at what the cache answers: more of them would take from all the others what there is of processors.
const lookGap = 200 * time.Microsecond

func (p *probe) measure(ctx context.Context) (time.Duration, error) {
	deadline := time.Now().Add(time.Minute)
	if err := p.cached(ctx, deadline); err != nil {
		return 0, err
	}
	acknowledged, err := p.write(ctx)
	if err != nil {
		return 0, err
	}
	for {
		v, err := p.read(ctx)
		if err != nil {
			return 0, err
		}
		if v == p.value {
			return time.Since(acknowledged), nil
		}
		if time.Now().After(deadline) {
			return 0, errors.New("the cache still gives what was there a minute ago")
		}
		if err := sleep(ctx, lookGap); err != nil { // polling
			return 0, err
		}
	}
}

// crowd is pgbench, which writes past Freshet.
type crowd struct {
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan error
	dir  string
}

func startCrowd(ctx context.Context, g *rig.Rig, cfg Config) (*crowd, error) {
	pgbench, err := g.Cluster.Program("pgbench")
	if err != nil {
		return nil, err
	}
	c := &crowd{done: make(chan error, 1)}
	if c.dir, err = os.MkdirTemp("", "freshet-feedlag"); err != nil {
		return nil, err
	}
	script := filepath.Join(c.dir, "script")
	if err := os.WriteFile(script, []byte("\\set id random(1, 10000)\nUPDATE crowd SET v = v + 1 WHERE id = :id;\n"), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	args := []string{"-n", "-M", "prepared", "-T", strconv.Itoa(int(cfg.For.Seconds() + 0.999)), "-c", strconv.Itoa(cfg.Clients), "-f", script}
	if cfg.Rate > 0 {
		args = append(args, "-R", strconv.Itoa(cfg.Rate))
	}
	c.cmd = exec.CommandContext(ctx, pgbench, append(args, g.Cluster.Primary().URL(database))...)
	c.cmd.Env = append(os.Environ(), "LC_ALL=C")
	if !cfg.Flushed {
		c.cmd.Env = append(c.cmd.Env, "PGOPTIONS=-c synchronous_commit=off")
	}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(c.dir))
	}
	go func() { c.done <- c.cmd.Wait() }()
	return c, nil
}

var (
	processedLine = regexp.MustCompile(`transactions actually processed: (\d+)`)
	tpsLine       = regexp.MustCompile(`(?m)^tps = ([\d.]+)`)
)

// wait waits for its end, and gives what it has written.
func (c *crowd) wait() (n int64, rate float64, err error) {
	if err := <-c.done; err != nil {
		c.done <- err
		return 0, 0, fmt.Errorf("pgbench: %w\n%s", err, c.out.String())
	}
	c.done <- nil
	processed, tps := processedLine.FindSubmatch(c.out.Bytes()), tpsLine.FindSubmatch(c.out.Bytes())
	if processed == nil || tps == nil {
		return 0, 0, fmt.Errorf("pgbench's report isn't understood:\n%s", c.out.String())
	}
	if n, err = strconv.ParseInt(string(processed[1]), 10, 64); err == nil {
		rate, err = strconv.ParseFloat(string(tps[1]), 64)
	}
	return n, rate, err
}

func (c *crowd) stop() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.done
	_ = os.RemoveAll(c.dir)
}
