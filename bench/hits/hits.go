// Package hits measures how much of what is read comes from the cache while the same rows are being written: reads and writes by
// key, with the popularity of keys by Zipf's law, as in YCSB's workload B (Cooper et al.: "Benchmarking Cloud Serving Systems
// with YCSB"). It does so twice: with cells for rows, and with cells for tables only.
//
// The rule it upholds: what is counted comes from Freshet's own metrics over exactly the time that was measured, and an answer or a
// write that fails fails the run.
package hits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/rig"
)

const database = "postgres" // that of the service URL

// Config says what to measure.
type Config struct {
	Freshet  string        // the program
	Rows     int           // of the table
	Clients  int           // each waits for one answer before it asks again
	Writes   float64       // share of writes
	Own      bool          // the sessions that write are those that read; else others
	Zipf     float64       // exponent: how unequal the keys are; 0: they aren't
	For      time.Duration // how long each of the two is measured
	Replicas int
	RowsOnly bool   // only with cells for rows
	Level    string // --consistency
	L1       string // --l1-size
	Out      io.Writer
}

// Result is one of the two.
type Result struct {
	Reads, Writes int64
	Hits          float64 // reads answered from the cache
	Shared        float64 // reads answered by another one's query
	Waits, Vain   float64 // waits of reads for the cache or a replica to catch up, and those of them that were in vain
	Took          time.Duration
	Misses        map[string]float64 // by reason
}

// Ratio is the share of reads that were answered from the cache.
func (r Result) Ratio() float64 { return r.Hits / float64(max(1, r.Reads)) }

// Run measures both, and prints.
func Run(ctx context.Context, cfg Config) (rows, tables Result, err error) {
	by := "other sessions"
	if cfg.Own {
		by = "the same sessions"
	}
	fmt.Fprintf(cfg.Out, "%d rows, %.0f %% writes by %s, zipf %.2f, %d clients at level %s, %d replicas, %v each\n",
		cfg.Rows, 100*cfg.Writes, by, cfg.Zipf, cfg.Clients, cfg.Level, cfg.Replicas, cfg.For)
	// What is started dies with the thread that has started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, half := range []struct {
		name  string
		flags []string
		into  *Result
	}{{"cells for rows", nil, &rows}, {"cells for tables", []string{"--row-cells=0"}, &tables}} {
		if cfg.RowsOnly && half.flags != nil {
			break
		}
		if *half.into, err = measure(ctx, cfg, half.flags); err != nil {
			return rows, tables, err
		}
		r := *half.into
		fmt.Fprintf(cfg.Out, "%-16s hit ratio %5.1f %%; %.0f reads/s, %.0f writes/s; misses:%s\n", half.name, 100*r.Ratio(),
			float64(r.Reads)/r.Took.Seconds(), float64(r.Writes)/r.Took.Seconds(), reasons(r))
	}
	return rows, tables, nil
}

func reasons(r Result) string {
	var list []string
	for name, n := range r.Misses {
		if n > 0 {
			list = append(list, fmt.Sprintf(" %s %.1f %%", name, 100*n/float64(max(1, r.Reads))))
		}
	}
	sort.Strings(list)
	share := func(n float64) float64 { return 100 * n / float64(max(1, r.Reads)) }
	return strings.Join(append(list, fmt.Sprintf(" (of these shared %.1f %%); waits %.1f %%, of these in vain %.1f %%", share(r.Shared), share(r.Waits), share(r.Vain))), ",")
}

func measure(ctx context.Context, cfg Config, flags []string) (_ Result, err error) {
	port, err := cluster.FreePort(ctx)
	if err != nil {
		return Result{}, err
	}
	web := "127.0.0.1:" + strconv.Itoa(port)
	// What has to be there before Freshet: the table and its publication, which Freshet would make only later.
	g, err := rig.Start(ctx, rig.Options{
		Cluster: cluster.Options{Replicas: cfg.Replicas, Cache: true},
		Freshet: cfg.Freshet,
		Flags:   append([]string{"--http", web, "--l1-size", cfg.L1, "--consistency", cfg.Level}, flags...),
	})
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	if err := g.Cluster.Primary().ExecIn(ctx, database, fmt.Sprintf(`CREATE TABLE usertable (id bigint PRIMARY KEY, field text NOT NULL);
		INSERT INTO usertable SELECT i, repeat(md5(i::text), 3) FROM generate_series(0, %d) i`, cfg.Rows-1)); err != nil {
		return Result{}, err
	}
	for _, sql := range []string{"VACUUM ANALYZE usertable", "CREATE PUBLICATION freshet FOR TABLE usertable"} {
		if err := g.Cluster.Primary().ExecIn(ctx, database, sql); err != nil {
			return Result{}, err
		}
	}
	if err := g.Cluster.WaitCaughtUp(ctx); err != nil {
		return Result{}, err
	}
	m := &meter{cfg: cfg, url: g.URL(database), web: web, popularity: newPopularity(cfg.Rows, cfg.Zipf)}
	if err := m.covered(ctx); err != nil {
		return Result{}, err
	}
	if err := m.warm(ctx); err != nil {
		return Result{}, err
	}
	return m.run(ctx)
}

type meter struct {
	cfg        Config
	url, web   string
	popularity *popularity
}

// read and write are prepared on each connection, by these names.
const (
	read  = "SELECT field FROM usertable WHERE id = $1"
	write = "UPDATE usertable SET field = md5(random()::text) || right(field, 64) WHERE id = $1"
)

func (m *meter) connect(ctx context.Context) (*pgconn.PgConn, error) {
	conn, err := pgconn.Connect(ctx, m.url)
	if err != nil {
		return nil, err
	}
	for name, sql := range map[string]string{"read": read, "write": write} {
		if _, err := conn.Prepare(ctx, name, sql, nil); err != nil {
			_ = conn.Close(ctx)
			return nil, err
		}
	}
	return conn, nil
}

func execute(ctx context.Context, conn *pgconn.PgConn, name string, id int) error {
	r := conn.ExecPrepared(ctx, name, [][]byte{strconv.AppendInt(nil, int64(id), 10)}, nil, nil).Read()
	if r.Err != nil {
		return r.Err
	}
	if r.CommandTag.RowsAffected() != 1 {
		return fmt.Errorf("%s %d: %s", name, id, r.CommandTag)
	}
	return nil
}

// covered waits until answers come from the cache.
func (m *meter) covered(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		before, err := m.metrics(ctx)
		if err != nil {
			return err
		}
		if err := execute(ctx, conn, "read", 0); err != nil {
			return err
		}
		after, err := m.metrics(ctx)
		if err != nil {
			return err
		}
		if after.hits > before.hits {
			return nil
		}
		time.Sleep(20 * time.Millisecond) // polling
	}
}

// warm reads every row once, so that what is measured isn't how the cache fills.
func (m *meter) warm(ctx context.Context) error {
	return m.each(ctx, func(ctx context.Context, client int, conn *pgconn.PgConn) error {
		const window = 64
		for first := client * window; first < m.cfg.Rows; first += window * m.cfg.Clients {
			p := conn.StartPipeline(ctx)
			n := min(window, m.cfg.Rows-first)
			for id := first; id < first+n; id++ {
				p.SendQueryPrepared("read", [][]byte{strconv.AppendInt(nil, int64(id), 10)}, nil, nil)
				if err := p.Sync(); err != nil {
					return err
				}
			}
			for synced := 0; synced < n; {
				got, err := p.GetResults()
				if err != nil {
					return err
				}
				switch got := got.(type) {
				case *pgconn.PipelineSync:
					synced++
				case *pgconn.ResultReader:
					if r := got.Read(); r.Err != nil {
						return r.Err
					}
				}
			}
			if err := p.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}

// each has every client do something, and returns the first error.
func (m *meter) each(ctx context.Context, do func(ctx context.Context, client int, conn *pgconn.PgConn) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	for client := range m.cfg.Clients {
		all.Go(func() {
			conn, err := m.connect(ctx)
			if err == nil {
				err = do(ctx, client, conn)
				_ = conn.Close(context.WithoutCancel(ctx))
			}
			if err != nil {
				stop(err)
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

func (m *meter) run(ctx context.Context) (Result, error) {
	var counting, over atomic.Bool
	var reads, writes atomic.Int64
	r := Result{Misses: map[string]float64{}}
	var before, after metrics
	var measured error
	var clock sync.WaitGroup
	clock.Go(func() {
		defer over.Store(true)
		// A moment first, so that what has been read in order is in the order of its popularity.
		for _, at := range []struct {
			after time.Duration
			into  *metrics
		}{{m.cfg.For / 4, &before}, {m.cfg.For, &after}} {
			select {
			case <-ctx.Done():
				return
			case <-time.After(at.after):
			}
			if *at.into, measured = m.metrics(ctx); measured != nil {
				return
			}
			counting.Store(!counting.Load())
		}
	})
	err := m.each(ctx, func(ctx context.Context, client int, conn *pgconn.PgConn) error {
		rng := rand.New(rand.NewPCG(uint64(client), 1))
		writer := conn
		if !m.cfg.Own {
			var err error
			if writer, err = m.connect(ctx); err != nil {
				return err
			}
			defer writer.Close(context.WithoutCancel(ctx))
		}
		for !over.Load() {
			name, n, by := "read", &reads, conn
			if rng.Float64() < m.cfg.Writes {
				name, n, by = "write", &writes, writer
			}
			if err := execute(ctx, by, name, m.popularity.draw(rng)); err != nil {
				return err
			}
			if counting.Load() {
				n.Add(1)
			}
		}
		return nil
	})
	clock.Wait()
	if err = errors.Join(err, measured); err != nil {
		return r, err
	}
	r.Took = after.at.Sub(before.at)
	r.Reads, r.Writes = reads.Load(), writes.Load()
	r.Hits, r.Shared = after.hits-before.hits, after.shared-before.shared
	r.Waits, r.Vain = after.waits-before.waits, after.vain-before.vain
	for name, n := range after.misses {
		r.Misses[name] = n - before.misses[name]
	}
	return r, nil
}

// metrics is what is taken from Freshet's.
type metrics struct {
	at           time.Time
	hits, shared float64
	waits, vain  float64
	misses       map[string]float64
}

func (m *meter) metrics(ctx context.Context) (metrics, error) {
	all, err := rig.Scrape(ctx, m.web)
	if err != nil {
		return metrics{}, err
	}
	return metrics{
		at: time.Now(), misses: all.By("freshet_cache_misses_total", "reason"),
		hits: all.Sum("freshet_cache_hits_total", "tier", "l1"), shared: all.Sum("freshet_flight_shared_total"),
		waits: all.Sum("freshet_catch_up_waits_total"), vain: all.Sum("freshet_catch_up_waits_in_vain_total"),
	}, nil
}

// popularity draws keys by Zipf's law with any exponent (math/rand has it only for those above 1). Which keys are popular has nothing to do
// with their order, and is the same in every run.
type popularity struct {
	upTo []float64 // share of the keys up to this rank
	keys []int32   // by rank
}

func newPopularity(n int, exponent float64) *popularity {
	p := &popularity{upTo: make([]float64, n), keys: make([]int32, n)}
	sum := 0.0
	for i := range n {
		sum += math.Pow(float64(i+1), -exponent)
		p.upTo[i], p.keys[i] = sum, int32(i)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { p.keys[i], p.keys[j] = p.keys[j], p.keys[i] })
	return p
}

func (p *popularity) draw(rng *rand.Rand) int {
	rank := sort.SearchFloat64s(p.upTo, rng.Float64()*p.upTo[len(p.upTo)-1])
	return int(p.keys[min(rank, len(p.keys)-1)])
}
