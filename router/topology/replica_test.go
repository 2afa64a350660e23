package topology

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

// inUse waits until all these replicas are admitted.
func inUse(t *testing.T, topo *Topology, replicas ...*cluster.Node) {
	t.Helper()
	for _, r := range replicas {
		until(t, "in use: "+r.Name(), 10*time.Second, func() bool {
			n := at(t, topo, r)
			return n.serves(consistency.Now()) && reader().Admits(&n.Source, within(topo.RefNow(consistency.Now()), time.Second))
		})
	}
}

func TestReplicaThatIsKilledIsLeftOutAndComesBack(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	gone, other := c.Replicas()[0], c.Replicas()[1]
	topo, log := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...)})
	inUse(t, topo, gone, other)
	n := at(t, topo, gone)
	epoch := n.Epoch()

	must(t, gone.Kill())
	d := until(t, "noticed", 2*time.Second, func() bool { return !n.Up() })
	t.Logf("noticed after %v", d)
	for range 100 {
		if p := topo.picks(time.Second); p != at(t, topo, other) {
			t.Fatalf("picked %v", p)
		}
	}
	if s := state(t, topo, gone); s.Up || s.Reason == "" || s.Error == "" {
		t.Errorf("%+v", s)
	}
	write(t, c.Primary(), 1)
	must(t, gone.Start(t.Context()))
	inUse(t, topo, gone)
	if n.Epoch() == epoch {
		t.Error("another run of the server, and what was known of the first is still believed")
	}
	floor, err := topo.Ask(t.Context())
	must(t, err)
	until(t, "caught up", 5*time.Second, func() bool { return n.Position() >= floor })
	if !log.has("level=WARN", "node is down", gone.Addr()) || !log.has("level=INFO", "node is up", gone.Addr()) {
		t.Error("not logged")
	}
	if strings.Contains(log.String(), c.Password()) {
		t.Error("the log holds the password")
	}
}

func TestReplicaThatDoesNotReplayGetsStale(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	r := c.Replicas()[0]
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(r)})
	inUse(t, topo, r)
	n := at(t, topo, r)

	must(t, r.PauseReplay(t.Context()))
	// As long as nothing is written it has everything.
	now := consistency.Now()
	until(t, "AsOf gone on", time.Second, func() bool { return n.AsOf() > now })
	write(t, c.Primary(), 1)
	written := consistency.Now()
	floor, err := topo.Ask(t.Context())
	must(t, err)
	time.Sleep(200 * time.Millisecond) // so that it could have gone on, were it wrong
	if asOf := n.AsOf(); asOf > written {
		t.Errorf("AsOf is %v after a write that it lacks", time.Duration(asOf-written))
	}
	if n.Position() >= floor {
		t.Error("position reached in a pause")
	}
	if topo.picks(100*time.Millisecond) != nil {
		t.Error("picked though it is too stale")
	}
	if topo.picks(time.Hour) != n {
		t.Error("not picked by someone who doesn't mind")
	}
	s := reader()
	s.Saw(floor)
	if picked(topo, s, within(topo.RefNow(consistency.Now()), time.Hour), nil) != nil {
		t.Error("picked below the floor")
	}
	if s := state(t, topo, r); s.Lag < 100*time.Millisecond || s.LagBytes <= 0 {
		t.Errorf("lag %v, %d bytes", s.Lag, s.LagBytes)
	}

	must(t, r.ResumeReplay(t.Context()))
	topo.Hurry()
	d := until(t, "caught up", 5*time.Second, func() bool {
		return picked(topo, s, within(topo.RefNow(consistency.Now()), 100*time.Millisecond), nil) == n
	})
	t.Logf("picked again %v after it was resumed", d)
}

func TestMaxLagTakesAReplicaOutWhateverTheReaderAllows(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	r := c.Replicas()[0]
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(r), MaxLag: 300 * time.Millisecond})
	inUse(t, topo, r)
	must(t, r.PauseReplay(t.Context()))
	write(t, c.Primary(), 1)
	until(t, "taken out", 2*time.Second, func() bool { return topo.picks(time.Hour) == nil })
	if s := state(t, topo, r); !strings.Contains(s.Reason, "lags by") {
		t.Errorf("reason %q", s.Reason)
	}
	must(t, r.ResumeReplay(t.Context()))
	until(t, "back", 2*time.Second, func() bool { return topo.picks(time.Hour) != nil })
}

// HAZARDS 19: one that hangs is noticed within a bound and delays nobody.
func TestNodeThatHangsIsNoticedAndDelaysNobody(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	hung, other := c.Replicas()[0], c.Replicas()[1]
	topo, _ := run(t, Config{
		Primary: url(c.Primary()), Replicas: urls(hung, other),
		DownAfter: 300 * time.Millisecond, ConnectTimeout: 500 * time.Millisecond,
	})
	inUse(t, topo, hung, other)
	must(t, hung.Freeze())
	frozen := time.Now()
	// The others' answers are never older than usual, while and after it is found out.
	worst := time.Duration(0)
	var down time.Duration
	for time.Since(frozen) < 1500*time.Millisecond {
		now := consistency.Now()
		for _, n := range []*Node{at(t, topo, other), at(t, topo, c.Primary())} {
			worst = max(worst, time.Duration(now-n.last.Load()))
		}
		if down == 0 && !at(t, topo, hung).Up() {
			down = time.Since(frozen)
		}
		if down != 0 && topo.picks(time.Second) != at(t, topo, other) {
			t.Fatal("the one that hangs was picked, or nobody")
		}
		time.Sleep(time.Millisecond)
	}
	t.Logf("noticed after %v; the others were silent for %v at most", down, worst)
	if down == 0 || down > 450*time.Millisecond {
		t.Errorf("noticed after %v", down)
	}
	if worst > 250*time.Millisecond { // 50 is usual; the machine is shared
		t.Errorf("the others were silent for %v", worst)
	}
	must(t, hung.Thaw())
	inUse(t, topo, hung)
}

// What Failed is for: the data path knows before the monitor does.
func TestFailedHasTheNodeLookedAtAtOnce(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	r := c.Replicas()[0]
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(r), Interval: 10 * time.Second, DownAfter: 30 * time.Second})
	until(t, "known", 5*time.Second, func() bool { return topo.Primary() != nil })
	n, p := at(t, topo, r), at(t, topo, c.Primary())
	// With ten seconds between questions, only looking gets anywhere.
	until(t, "followed", 5*time.Second, func() bool { p.look(); n.look(); return topo.picks(time.Minute) != nil })

	heard := n.last.Load()
	n.Failed(errors.New("connection reset"))
	until(t, "asked", time.Second, func() bool { return n.last.Load() > heard })
	until(t, "picked again", time.Second, func() bool { return topo.picks(time.Minute) == n })
	must(t, r.Kill())
	n.Failed(errors.New("connection reset"))
	if topo.picks(time.Minute) != nil {
		t.Error("picked before it has answered")
	}
	d := until(t, "down", time.Second, func() bool { return !n.Up() })
	t.Logf("down after %v", d)
}

// A connection that fails again and again although the node answers opens the
// breaker; a pool that breaks as a whole counts once.
func TestBreakerOpensWhenConnectionsKeepFailing(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...)})
	inUse(t, topo, c.Replicas()...)
	n := at(t, topo, c.Replicas()[0])
	answered := func() bool { return n.doubt.Load() == n.cleared.Load() }
	fail := func() {
		for range 20 {
			n.Failed(errors.New("reset"))
		}
		until(t, "answered", time.Second, answered)
	}
	fail()
	fail()
	if state(t, topo, c.Replicas()[0]).BreakerOpen || topo.picks(time.Second) == nil {
		t.Fatal("open after two failures")
	}
	fail()
	if s := state(t, topo, c.Replicas()[0]); !s.BreakerOpen || !strings.Contains(s.Reason, "reset") || !s.Up {
		t.Fatalf("%+v", s)
	}
	if topo.picks(time.Second) != nil {
		t.Fatal("picked with the breaker open")
	}
	until(t, "tried again", time.Second, func() bool { return topo.picks(time.Second) != nil })
	fail()
	n.Worked()
	if topo.picks(time.Second) == nil {
		t.Fatal("open though a connection was made")
	}
}

func TestHurryBeginsAtOnce(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...), Interval: 10 * time.Second, DownAfter: time.Minute})
	n := at(t, topo, c.Replicas()[0])
	until(t, "up", 5*time.Second, func() bool { return n.Up() && topo.Primary() != nil })
	heard := n.last.Load()
	topo.Hurry()
	d := until(t, "asked", time.Second, func() bool { return n.last.Load() > heard })
	t.Logf("asked after %v", d)
}

func TestHurryAsksMoreOftenAndEnds(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	const interval = 500 * time.Millisecond
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...), Interval: interval, DownAfter: time.Minute})
	inUse(t, topo, c.Replicas()...)
	n := at(t, topo, c.Replicas()[0])
	// As many answers as would take 15 seconds without.
	last := n.last.Load()
	count := 0
	d := until(t, "asked more often", 24*interval, func() bool {
		topo.Hurry()
		if l := n.last.Load(); l != last {
			last = l
			count++
		}
		return count == 30
	})
	t.Logf("30 answers in %v of hurry", d)
	until(t, "over", 30*time.Second, func() bool { return !topo.hurrying() })
	// One may be on its way, and one be late; from then on they come as often as before.
	last, count = n.last.Load(), 0
	d = until(t, "asked as before", 30*time.Second, func() bool {
		if l := n.last.Load(); l != last {
			last = l
			count++
		}
		return count == 4
	})
	if d < interval {
		t.Errorf("4 answers within %v, though nobody hurries", d)
	}
}

// The records of an open transaction aren't flushed, so no replica gets them;
// that must not make the replicas seem stale.
func TestOpenTransactionOnAQuietServerKeepsReplicasFresh(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...)})
	write(t, c.Primary(), 1)
	inUse(t, topo, c.Replicas()...)
	conn, err := c.Primary().Connect(t.Context(), cluster.App)
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), "BEGIN; INSERT INTO seen VALUES (2)")
	must(t, err)
	floor, err := topo.Ask(t.Context())
	must(t, err)
	n := at(t, topo, c.Replicas()[0])
	s := reader()
	s.Saw(floor)
	d := until(t, "reached in a hurry", time.Second, func() bool { topo.Hurry(); return n.Position() >= floor })
	t.Logf("position reached after %v", d)
	_, err = conn.Exec(t.Context(), "INSERT INTO seen VALUES (3)")
	must(t, err)
	worst := time.Duration(0)
	for begun := time.Now(); time.Since(begun) < 2*time.Second; time.Sleep(5 * time.Millisecond) {
		worst = max(worst, time.Duration(topo.RefNow(consistency.Now())-n.AsOf()))
	}
	t.Logf("seemed stale by %v at most", worst)
	if worst > time.Second {
		t.Error("the replica seems stale because of a transaction that is open")
	}
}

// A connection that leads to another run of the server, or to another server,
// than the one whose position is known.
func TestVouchTellsAnotherServerFromTheOneThatIsWatched(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	r, other := c.Replicas()[0], c.Replicas()[1]
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(r)})
	inUse(t, topo, r)
	n, p := at(t, topo, r), at(t, topo, c.Primary())
	ask := func(s *cluster.Node) string {
		v, err := s.Value(t.Context(), VouchSQL)
		must(t, err)
		return v
	}
	for i, test := range []struct {
		node *Node
		from *cluster.Node
		want error
	}{{n, r, nil}, {p, c.Primary(), nil}, {n, other, ErrElsewhere}, {n, c.Primary(), ErrElsewhere}, {p, r, ErrElsewhere}} {
		v := test.node.BeginVouch()
		if err := v.Check(ask(test.from)); !errors.Is(err, test.want) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if err := n.BeginVouch().Check("nonsense"); err == nil || errors.Is(err, ErrElsewhere) {
		t.Error(err)
	}
	// Crashed and back under the same postmaster, with less replayed.
	v := n.BeginVouch()
	v.reached += 1 << 30
	if err := v.Check(ask(r)); !errors.Is(err, ErrElsewhere) {
		t.Error(err)
	}
	v = n.BeginVouch()
	must(t, r.Restart(t.Context(), cluster.Immediate))
	if err := v.Check(ask(r)); !errors.Is(err, ErrElsewhere) {
		t.Error(err)
	}
	inUse(t, topo, r)
	if v.Epoch == n.Epoch() {
		t.Error("the epoch is that of the run before")
	}
}
