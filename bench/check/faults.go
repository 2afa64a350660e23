package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// breaker breaks something for a while, and mends it whatever becomes of ctx.
type breaker struct {
	name  string
	help  string
	nodes bool // it stops servers, or what they do: one at a time
	do    func(*run, context.Context, *rand.Rand) error
}

var breakers = []breaker{
	{"lag", "a replica stops to replay", true, (*run).lag},
	{"lag-all", "all replicas stop to replay", true, (*run).lagAll},
	{"freeze", "a replica is silent", true, (*run).freeze},
	{"stall", "commits wait for a synchronous standby that is silent", true, (*run).stall},
	{"crash", "a replica is killed and started again", true, (*run).crash},
	{"primary", "the primary is restarted", true, (*run).restartPrimary},
	{"failover", "the primary is killed, a replica promoted", true, (*run).failover},
	{"freshet", "Freshet is killed and started again", true, (*run).restartFreshet},
	{"feed", "the connection of the WAL feed is cut", false, (*run).cutFeed},
	{"backends", "server connections of clients are cut", false, (*run).cutBackends},
	{"long", "a transaction runs for long", false, (*run).long},
	{"ddl", "tables are altered, made and dropped", false, (*run).ddl},
}

// FaultNames are the names that Config.Faults may hold, with what each is.
func FaultNames() []string {
	var list []string
	for _, b := range breakers {
		list = append(list, b.name)
	}
	return list
}

// runFaults breaks things until ctx ends: servers one at a time, and the rest beside them.
func (r *run) runFaults(ctx context.Context) {
	var both sync.WaitGroup
	for _, nodes := range []bool{true, false} {
		var list []breaker
		for _, b := range breakers {
			if b.nodes == nodes && slices.Contains(r.cfg.Faults, b.name) {
				list = append(list, b)
			}
		}
		if len(list) == 0 {
			continue
		}
		both.Go(func() {
			rng := rand.New(rand.NewPCG(r.cfg.Seed, uint64(1<<41+len(list))))
			for ctx.Err() == nil {
				// Quiet in between, in which what is cached can be read.
				sleep(ctx, time.Duration(100+rng.IntN(900))*time.Millisecond)
				if ctx.Err() != nil {
					return
				}
				b := list[rng.IntN(len(list))]
				i := r.breaks(b.name)
				err := b.do(r, ctx, rng)
				r.mended(i)
				if err != nil {
					r.failed(fmt.Errorf("breaking things (%s): %w", b.name, err))
					return
				}
			}
		})
	}
	both.Wait()
}

func (r *run) breaks(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.broken = append(r.mu.broken, fault{name: name, began: r.now()})
	return len(r.mu.broken) - 1
}

func (r *run) mended(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.broken[i].ended = r.now()
}

// upTo sleeps some time, mostly little.
func upTo(ctx context.Context, rng *rand.Rand, most time.Duration) {
	f := rng.Float64()
	sleep(ctx, time.Duration(f*f*float64(most)))
}

// mending is for what has to be done whatever ctx says. On a machine with little to spare, a failover with two copies of the new primary takes a
// minute and more.
func mending() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Minute)
}

func (r *run) replica(rng *rand.Rand) *cluster.Node {
	list := r.lab.replicas()
	if len(list) == 0 {
		return nil
	}
	return list[rng.IntN(len(list))]
}

func (r *run) lag(ctx context.Context, rng *rand.Rand) error {
	n := r.replica(rng)
	if n == nil {
		return nil
	}
	mend, cancel := mending()
	defer cancel()
	if err := pauseReplay(mend, n); err != nil {
		return err
	}
	upTo(ctx, rng, 2*r.cfg.Bound)
	return resumeReplay(mend, n)
}

func (r *run) lagAll(ctx context.Context, rng *rand.Rand) error {
	mend, cancel := mending()
	defer cancel()
	for _, n := range r.lab.replicas() {
		if err := pauseReplay(mend, n); err != nil {
			return err
		}
	}
	upTo(ctx, rng, 2*r.cfg.Bound)
	for _, n := range r.lab.replicas() {
		if err := resumeReplay(mend, n); err != nil {
			return err
		}
		upTo(ctx, rng, r.cfg.Bound/4)
	}
	return nil
}

func (r *run) freeze(ctx context.Context, rng *rand.Rand) error {
	n := r.replica(rng)
	if n == nil {
		return nil
	}
	if err := n.Freeze(); err != nil {
		return err
	}
	upTo(ctx, rng, 2*r.cfg.Bound)
	return n.Thaw()
}

// pauseReplay and resumeReplay try again when replay itself has the statement cancelled.
func pauseReplay(ctx context.Context, n *cluster.Node) error { return insist(ctx, n.PauseReplay) }

func resumeReplay(ctx context.Context, n *cluster.Node) error { return insist(ctx, n.ResumeReplay) }

func insist(ctx context.Context, do func(context.Context) error) (err error) {
	for range 10 {
		if err = do(ctx); err == nil {
			return nil
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return err
}

// stall has commits wait: they are in the WAL then, and on their way to the feed and the other replicas, before anybody
// can see them on the primary. Now and then the other replicas don't replay meanwhile, so that the primary is asked.
func (r *run) stall(ctx context.Context, rng *rand.Rand) error {
	n := r.lab.standby
	if rng.IntN(3) == 0 && r.replica(rng) != nil {
		n = r.replica(rng)
	}
	mend, cancel := mending()
	defer cancel()
	var paused []*cluster.Node
	if rng.IntN(2) == 0 {
		for _, other := range r.lab.replicas() {
			if other == n {
				continue
			}
			if err := pauseReplay(mend, other); err != nil {
				return err
			}
			paused = append(paused, other)
		}
		upTo(ctx, rng, r.cfg.Bound/4)
	}
	if err := r.lab.cluster.SetSynchronous(mend, n.Name()); err != nil {
		return err
	}
	r.stalled.Store(true)
	defer r.stalled.Store(false)
	for range 1 + rng.IntN(4) {
		if err := n.Freeze(); err != nil {
			return err
		}
		r.overtake(ctx, rng)
		if err := n.Thaw(); err != nil {
			return err
		}
		upTo(ctx, rng, r.cfg.Bound/4)
	}
	for _, other := range paused {
		if err := resumeReplay(mend, other); err != nil {
			return err
		}
	}
	return r.lab.cluster.SetSynchronous(mend)
}

// overtake has commits that don't wait overtake those that do, for a while.
func (r *run) overtake(ctx context.Context, rng *rand.Rand) {
	while, over := context.WithCancel(ctx)
	var hasty sync.WaitGroup
	hasty.Go(func() { r.hasty.run(while) })
	upTo(ctx, rng, r.cfg.Bound)
	over()
	hasty.Wait()
}

func (r *run) crash(ctx context.Context, rng *rand.Rand) error {
	n := r.replica(rng)
	if n == nil {
		return nil
	}
	mend, cancel := mending()
	defer cancel()
	if rng.IntN(2) == 0 {
		if err := n.Kill(); err != nil {
			return err
		}
	} else if err := n.Stop(cluster.Fast); err != nil {
		return err
	}
	upTo(ctx, rng, r.cfg.Bound)
	return n.Start(mend)
}

func (r *run) restartPrimary(_ context.Context, rng *rand.Rand) error {
	mend, cancel := mending()
	defer cancel()
	mode := cluster.Fast
	if rng.IntN(2) == 0 {
		mode = cluster.Immediate
	}
	return r.lab.cluster.Primary().Restart(mend, mode)
}

// failover promotes the replica that has received most, after every acknowledged commit has reached all of them: so that nothing
// that was acknowledged or seen is lost by Postgres itself.
func (r *run) failover(ctx context.Context, rng *rand.Rand) error {
	c := r.lab.cluster
	if len(r.lab.replicas()) == 0 {
		return nil
	}
	mend, cancel := mending()
	defer cancel()
	old := c.Primary()
	var names []string
	for _, n := range c.Replicas() {
		names = append(names, n.Name())
	}
	if err := c.SetSynchronous(mend, names...); err != nil {
		return err
	}
	if err := c.WaitCaughtUp(mend); err != nil {
		return err
	}
	upTo(ctx, rng, r.cfg.Bound/4)
	if err := old.Kill(); err != nil {
		return err
	}
	var next *cluster.Node
	most := ""
	for _, n := range r.lab.replicas() {
		got, err := n.Value(mend, "SELECT lpad(to_hex((pg_last_wal_receive_lsn() - '0/0')::bigint), 16, '0')")
		if err != nil {
			return err
		}
		if next == nil || got > most {
			next, most = n, got
		}
	}
	upTo(ctx, rng, r.cfg.Bound/4)
	if err := next.Promote(mend); err != nil {
		return err
	}
	for _, n := range r.lab.replicas() {
		if err := n.Follow(mend, next); err != nil {
			return err
		}
	}
	// This one may have received more.
	if err := r.lab.standby.Rejoin(mend, next); err != nil {
		return err
	}
	return old.Rejoin(mend, next)
}

// restartFreshet ends it one way or the other. What it knew of sessions by key it may forget.
func (r *run) restartFreshet(_ context.Context, rng *rand.Rand) error {
	sig := syscall.SIGTERM
	if rng.IntN(2) == 0 {
		sig = syscall.SIGKILL
	}
	mend, cancel := mending()
	defer cancel()
	sources, err := r.lab.sources(mend)
	if err != nil {
		return err
	}
	if err := r.lab.endServe(sig); err != nil {
		return err
	}
	r.counts.restarted(sources)
	for _, s := range r.keyed {
		s.forget()
	}
	if err := r.lab.serve(); err != nil {
		return err
	}
	return r.lab.ready(mend)
}

// onPrimary runs a statement there. That it can't be reached now is no failure.
func (r *run) onPrimary(sql string) error {
	mend, cancel := mending()
	defer cancel()
	err := r.lab.cluster.Primary().Exec(mend, sql)
	if err != nil && !errors.Is(mend.Err(), context.DeadlineExceeded) {
		r.counts.error(err)
		return nil
	}
	return err
}

func (r *run) cutFeed(_ context.Context, rng *rand.Rand) error {
	which := [...]string{"", " AND backend_type = 'walsender'", " AND backend_type <> 'walsender'"}[rng.IntN(3)]
	return r.onPrimary("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'freshet feed'" + which)
}

func (r *run) cutBackends(_ context.Context, rng *rand.Rand) error {
	sql := fmt.Sprintf("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s' AND random() < 0.5", cluster.App)
	if n := r.replica(rng); n != nil && rng.IntN(2) == 0 {
		mend, cancel := mending()
		defer cancel()
		if err := n.Exec(mend, sql); err != nil {
			r.counts.error(err) // it may be down
		}
		return nil
	}
	return r.onPrimary(sql)
}

// long holds back the primary's xmin, so that what is newer is looked up one by one.
func (r *run) long(ctx context.Context, rng *rand.Rand) error {
	mend, cancel := mending()
	defer cancel()
	conn, err := r.lab.cluster.Primary().Connect(mend, cluster.App)
	if err != nil {
		r.counts.error(err)
		return nil
	}
	defer conn.Close(mend)
	if _, err := conn.Exec(mend, "BEGIN; SELECT pg_current_xact_id(); UPDATE one SET a = a"); err != nil {
		r.counts.error(err)
		return nil
	}
	upTo(ctx, rng, 2*r.cfg.Bound)
	_, _ = conn.Exec(mend, "COMMIT") // the primary may be gone
	return nil
}

func (r *run) ddl(ctx context.Context, rng *rand.Rand) error {
	t := rng.IntN(tables)
	for _, sql := range [][]string{
		{fmt.Sprintf("ALTER TABLE r%d ADD COLUMN x int", t), fmt.Sprintf("ALTER TABLE r%d DROP COLUMN x", t)},
		{fmt.Sprintf("ALTER TABLE r%d ADD COLUMN x int DEFAULT 7", t), fmt.Sprintf("ALTER TABLE r%d DROP COLUMN x", t)},
		{"CREATE TABLE IF NOT EXISTS made (id bigint PRIMARY KEY)", "DROP TABLE made"},
		{fmt.Sprintf("CREATE INDEX x ON r%d (v)", t), "DROP INDEX x"},
		{"CREATE SCHEMA IF NOT EXISTS app", "DROP SCHEMA app"}, // the first in everybody's search_path
		{fmt.Sprintf("ALTER TABLE r%d RENAME TO away; ALTER TABLE away RENAME TO r%[1]d", t), "VACUUM one"},
	}[rng.IntN(6)] {
		if err := r.onPrimary("SET lock_timeout = '2s'; " + strings.TrimSpace(sql)); err != nil {
			return err
		}
		upTo(ctx, rng, r.cfg.Bound)
	}
	return nil
}
