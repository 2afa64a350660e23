package topology

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

func TestPromotedReplicaBecomesThePrimary(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	old, next, other := c.Primary(), c.Replicas()[0], c.Replicas()[1]
	var table consistency.Source // stands for a feed's
	var calls atomic.Int64
	var topo *Topology
	topo, log := run(t, Config{
		Primary: url(old), Replicas: urls(next, other),
		OnPrimaryChange: func(n *Node) {
			calls.Add(1)
			// No sample of this primary has reached anybody.
			table.Reset()
			table.Advance(1 << 62)
			for _, r := range n.t.Nodes() {
				if r.AsOf() != 0 || r.Position() != 0 {
					t.Errorf("%s knows something already", r.Addr())
				}
			}
			if n.t.Primary() != nil {
				t.Error("somebody could be sent to the new primary already")
			}
			n.t.State()
			n.t.RefNow(consistency.Now())
			if table.AsOf() != 0 {
				t.Error("a sample came before")
			}
		},
	})
	topo.AddSource(&table)
	write(t, old, 1)
	inUse(t, topo, next, other)
	until(t, "the extra source observed", time.Second, func() bool { return table.AsOf() != 0 })
	before, err := topo.Ask(t.Context())
	must(t, err)

	must(t, old.Kill())
	killed := time.Now()
	must(t, next.Promote(t.Context()))
	promoted := time.Now()
	until(t, "the new primary", 5*time.Second, func() bool { return topo.Primary() == at(t, topo, next) })
	t.Logf("new primary known %v after the kill, %v after the promotion", time.Since(killed), time.Since(promoted))
	if calls.Load() != 2 || topo.Term() != 2 || topo.Timeline() != 2 {
		t.Errorf("%d calls, term %d, timeline %d", calls.Load(), topo.Term(), topo.Timeline())
	}
	write(t, next, 2)
	after, err := topo.Ask(t.Context())
	must(t, err)
	if after <= before {
		t.Errorf("position %v, before %v", after, before)
	}
	// The other one still follows the one that is gone.
	never(t, "a replica of the old timeline was used", 200*time.Millisecond, func() bool { return topo.picks(time.Hour) != nil })
	if s := state(t, topo, other); s.Follows || !strings.Contains(s.Reason, "on timeline 1, the primary is on 2") {
		t.Errorf("%+v", s)
	}
	must(t, other.Follow(t.Context(), next))
	inUse(t, topo, other)
	until(t, "caught up", 5*time.Second, func() bool { return at(t, topo, other).Position() >= after })
	must(t, old.Rejoin(t.Context(), next))
	inUse(t, topo, old)
	if !log.has("level=WARN", "primary has changed", next.Addr(), "timeline=2") {
		t.Error("not logged")
	}
}

// HAZARDS 20: the old primary comes back and thinks that nothing has happened.
func TestOldPrimaryThatComesBackIsFenced(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	old, next := c.Primary(), c.Replicas()[0]
	topo, log := run(t, Config{Primary: url(old), Replicas: urls(next)})
	inUse(t, topo, next)
	before, err := topo.Ask(t.Context())
	must(t, err)
	must(t, next.Promote(t.Context())) // with the old one alive
	until(t, "the new primary", 5*time.Second, func() bool { return topo.Primary() == at(t, topo, next) })
	write(t, next, 1)
	if after, err := topo.Ask(t.Context()); err != nil || after <= before {
		t.Errorf("the old primary was asked for its position: %v, before %v (%v)", after, before, err)
	}
	until(t, "the old one fenced", 5*time.Second, func() bool { return state(t, topo, old).Fenced })
	if s := state(t, topo, old); s.Up || s.Primary || !strings.Contains(s.Reason, "fenced") {
		t.Errorf("%+v", s)
	}
	if !log.has("level=ERROR", "second node says that it is the primary", old.Addr()) {
		t.Error("no alarm")
	}
	if n := strings.Count(log.String(), "second node"); n != 1 {
		t.Errorf("%d alarms", n)
	}
	// The new one goes, and what is left is the old one: writes wait rather
	// than go to a timeline that has been left.
	must(t, next.Kill())
	until(t, "gone", 2*time.Second, func() bool { return !at(t, topo, next).Up() })
	never(t, "the old primary was taken again", 300*time.Millisecond, func() bool { return topo.Primary() != nil })
	if _, err := topo.Ask(t.Context()); !errors.Is(err, ErrNoPrimary) {
		t.Error(err)
	}
	must(t, next.Start(t.Context()))
	until(t, "the new primary again", 5*time.Second, func() bool { return topo.Primary() == at(t, topo, next) })
	if topo.Term() != 2 {
		t.Errorf("term %d", topo.Term())
	}
	must(t, old.Rejoin(t.Context(), next))
	inUse(t, topo, old)
	if state(t, topo, old).Fenced {
		t.Error("a replica is fenced")
	}
}

// A question that was on its way to the old primary when the new one took
// over: its answer says nothing about what has been acknowledged since.
func TestAnswerOfAnOldPrimaryIsNotBelieved(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	old, next := c.Primary(), c.Replicas()[0]
	topo, _ := run(t, Config{Primary: url(old), Replicas: urls(next), DownAfter: 10 * time.Second})
	inUse(t, topo, next)
	_, err := topo.Ask(t.Context()) // connects
	must(t, err)
	must(t, old.Freeze())
	asked := make(chan error, 1)
	go func() { _, err := topo.Ask(t.Context()); asked <- err }()
	must(t, next.Promote(t.Context()))
	until(t, "the new primary", 5*time.Second, func() bool { return topo.Primary() == at(t, topo, next) })
	select {
	case err := <-asked:
		t.Fatalf("answered by a server that hangs: %v", err)
	default:
	}
	must(t, old.Thaw())
	if err := <-asked; !errors.Is(err, ErrNoPrimary) {
		t.Errorf("believed: %v", err)
	}
	if _, err := topo.Ask(t.Context()); err != nil {
		t.Error(err)
	}
}

// At the start the old primary may be the first to answer.
func TestStartWithTwoPrimariesTakesTheLaterTimeline(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	old, next := c.Primary(), c.Replicas()[0]
	must(t, next.Promote(t.Context()))
	var first atomic.Pointer[Node]
	topo, _ := run(t, Config{Primary: url(old), Replicas: urls(next), OnPrimaryChange: func(n *Node) { first.CompareAndSwap(nil, n) }})
	until(t, "a primary", 5*time.Second, func() bool { return topo.Primary() != nil })
	if first.Load() != at(t, topo, next) || topo.Term() != 1 {
		t.Errorf("first %v, term %d", first.Load().Addr(), topo.Term())
	}
}

func TestPrimaryGoneFreezesRefNow(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	r := c.Replicas()[0]
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(r)})
	inUse(t, topo, r)
	if now := consistency.Now(); topo.RefNow(now) != now {
		t.Error("RefNow isn't now")
	}
	must(t, c.Primary().Kill())
	killed := consistency.Now()
	until(t, "noticed", 2*time.Second, func() bool { return topo.Primary() == nil })
	ref := topo.RefNow(consistency.Now())
	if ref > killed || killed-ref > int64(500*time.Millisecond) {
		t.Errorf("frozen %v before the kill", time.Duration(killed-ref))
	}
	time.Sleep(400 * time.Millisecond) // longer than the bound below
	if again := topo.RefNow(consistency.Now()); again != ref {
		t.Errorf("it went on by %v", time.Duration(again-ref))
	}
	if topo.picks(300*time.Millisecond) == nil {
		t.Error("replicas aren't used while the primary is away")
	}
	must(t, c.Primary().Start(t.Context()))
	until(t, "back", 5*time.Second, func() bool { return topo.Primary() != nil })
	if now := consistency.Now(); topo.RefNow(now) != now {
		t.Error("RefNow isn't now")
	}
	inUse(t, topo, r)
	if topo.Term() != 1 {
		t.Errorf("a restart was taken for a change: term %d", topo.Term())
	}
}

func TestPrimaryThatHangsIsNoticed(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	topo, _ := run(t, Config{
		Primary: url(c.Primary()), Replicas: urls(c.Replicas()...),
		DownAfter: 300 * time.Millisecond, ConnectTimeout: 500 * time.Millisecond,
	})
	inUse(t, topo, c.Replicas()...)
	_, err := topo.Ask(t.Context())
	must(t, err)
	must(t, c.Primary().Freeze())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := topo.Ask(ctx); err == nil || time.Since(begun) > 200*time.Millisecond {
		t.Errorf("asked a server that hangs: %v after %v", err, time.Since(begun))
	}
	d := until(t, "noticed", 2*time.Second, func() bool { return topo.Primary() == nil })
	t.Logf("noticed %v after the first question", 100*time.Millisecond+d)
	if d > 400*time.Millisecond {
		t.Errorf("noticed after %v", d)
	}
	must(t, c.Primary().Thaw())
	until(t, "back", 5*time.Second, func() bool { _, err := topo.Ask(t.Context()); return err == nil })
}

// HAZARDS 20: start refused because a node is down.
func TestStartWithoutServers(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	r := c.Replicas()[0]
	must(t, c.Primary().Kill())
	must(t, r.Stop(cluster.Fast))
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(r)})
	until(t, "both tried", 2*time.Second, func() bool {
		return state(t, topo, r).Error != "" && state(t, topo, c.Primary()).Error != ""
	})
	must(t, r.Start(t.Context()))
	until(t, "the replica up", 5*time.Second, func() bool { return at(t, topo, r).Up() })
	// How far behind it is can't be told without ever having seen a primary.
	if topo.picks(time.Hour) != nil || topo.Primary() != nil {
		t.Error("used")
	}
	if s := state(t, topo, r); s.Reason != "no primary has been seen" {
		t.Errorf("reason %q", s.Reason)
	}
	must(t, c.Primary().Start(t.Context()))
	inUse(t, topo, r)
}

func TestNodeOfAnotherClusterIsRefused(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	// Clusters made by ForTest are copies of one; this one is of its own blood.
	foreign, err := cluster.Start(t.Context(), cluster.Options{Replicas: 1})
	must(t, err)
	t.Cleanup(func() { _ = foreign.Stop() })
	theirs := foreign.Replicas()[0]
	topo, log := run(t, Config{
		Primary:  url(c.Primary()),
		Replicas: urls(foreign.Primary(), theirs, c.Replicas()[0]),
	})
	inUse(t, topo, c.Replicas()...)
	for _, n := range []*cluster.Node{foreign.Primary(), theirs} {
		until(t, "refused", 5*time.Second, func() bool { return state(t, topo, n).Refused })
		if s := state(t, topo, n); s.Up || s.Follows || s.Primary || !strings.Contains(s.Reason, "another cluster") {
			t.Errorf("%+v", s)
		}
		if !log.has("level=ERROR", "another cluster", n.Addr()) {
			t.Error("not logged")
		}
	}
	if topo.Primary() != at(t, topo, c.Primary()) {
		t.Error("the wrong primary")
	}
	for range 100 {
		if n := topo.picks(time.Second); n != at(t, topo, c.Replicas()[0]) {
			t.Fatalf("picked %v", n)
		}
	}
	// Also when ours is away.
	must(t, c.Primary().Kill())
	until(t, "gone", 2*time.Second, func() bool { return topo.Primary() == nil })
	never(t, "a foreign primary was taken", 300*time.Millisecond, func() bool { return topo.Primary() != nil })
}

// Two clusters that are copies of one, down to the system identifier: what
// makes them different can't be seen, so that nothing is read from replicas.
func TestCopyOfTheClusterIsFencedWithItsReplicas(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	same := cluster.ForTest(t, cluster.Options{Replicas: 1})
	topo, log := run(t, Config{Primary: url(c.Primary()), Replicas: urls(same.Primary(), same.Replicas()[0], c.Replicas()[0])})
	until(t, "the alarm", 5*time.Second, func() bool { return log.has("level=ERROR", "two primaries are on the same timeline") })
	if topo.Primary() != at(t, topo, c.Primary()) || !state(t, topo, same.Primary()).Fenced {
		t.Error("the first in the configuration isn't the primary")
	}
	never(t, "a replica was used", 300*time.Millisecond, func() bool { return topo.picks(time.Hour) != nil })
	if s := state(t, topo, same.Replicas()[0]); !strings.Contains(s.Reason, "two primaries") {
		t.Errorf("reason %q", s.Reason)
	}
}

// A replica of such a copy, without its primary in sight: it gives itself away
// as soon as it has more WAL.
func TestReplicaThatIsAheadOfThePrimaryIsNotUsed(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	same := cluster.ForTest(t, cluster.Options{Replicas: 1})
	must(t, same.Primary().Exec(t.Context(), "CREATE TABLE much AS SELECT generate_series(1, 10000)"))
	must(t, same.WaitCaughtUp(t.Context()))
	topo, log := run(t, Config{Primary: url(c.Primary()), Replicas: urls(same.Replicas()[0], c.Replicas()[0])})
	inUse(t, topo, c.Replicas()...)
	until(t, "found out", 5*time.Second, func() bool { return log.has("level=ERROR", "has WAL that the primary has not") })
	bad := at(t, topo, same.Replicas()[0])
	never(t, "it was used", 300*time.Millisecond, func() bool { return topo.picks(time.Hour) == bad || bad.AsOf() != 0 })
	if s := state(t, topo, same.Replicas()[0]); !strings.Contains(s.Reason, "another history") {
		t.Errorf("reason %q", s.Reason)
	}
}

// A service user without privileges is enough, but for this: what a replica
// streams isn't visible to it, so that after a failover replicas are used only
// from their next restart point on.
func TestServiceUserWithoutPrivileges(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	next, r := c.Replicas()[0], c.Replicas()[1]
	must(t, c.Primary().Exec(t.Context(), `CREATE ROLE plain LOGIN PASSWORD 'plain'`))
	must(t, c.WaitCaughtUp(t.Context()))
	as := func(n *cluster.Node) string { return n.UserURL("plain", "plain", cluster.App) }
	topo, _ := run(t, Config{Primary: as(c.Primary()), Replicas: []string{as(next), as(r)}})
	inUse(t, topo, r)
	write(t, c.Primary(), 1)
	floor, err := topo.Ask(t.Context())
	must(t, err)
	until(t, "caught up", 5*time.Second, func() bool { topo.Hurry(); return at(t, topo, r).Position() >= floor })

	must(t, c.Primary().Kill())
	must(t, next.Promote(t.Context()))
	until(t, "the new primary", 5*time.Second, func() bool { return topo.Primary() == at(t, topo, next) })
	must(t, r.Follow(t.Context(), next))
	must(t, next.Exec(t.Context(), "CHECKPOINT"))
	must(t, c.WaitCaughtUp(t.Context()))
	must(t, r.Exec(t.Context(), "CHECKPOINT"))
	inUse(t, topo, r)
}

func BenchmarkAsk(b *testing.B) {
	c := cluster.ForTest(b, cluster.Options{})
	topo, err := New(Config{Primary: url(c.Primary())})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { topo.Run(ctx); close(done) }()
	for topo.Primary() == nil {
		time.Sleep(time.Millisecond)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := topo.Ask(ctx); err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	<-done
}

func TestAsk(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	topo, err := New(Config{Primary: url(c.Primary())})
	must(t, err)
	if _, err := topo.Ask(ctx); !errors.Is(err, ErrNoPrimary) {
		t.Error(err)
	}
	done := make(chan struct{})
	go func() { topo.Run(ctx); close(done) }()
	until(t, "a primary", 5*time.Second, func() bool { return topo.Primary() != nil })
	write(t, c.Primary(), 0)
	for i := range 5 {
		write(t, c.Primary(), i)
		flushed := lsn(t, c.Primary(), "SELECT pg_current_wal_flush_lsn()")
		got, err := topo.Ask(ctx)
		must(t, err)
		if got < flushed {
			t.Errorf("position %v, flushed before %v", got, flushed)
		}
	}
	// The kept connection dies unnoticed.
	must(t, c.Primary().Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'freshet'"))
	// It may be noticed at any moment now, also by the look that says who is primary.
	until(t, "back", 20*time.Second, func() bool {
		_, err := topo.Ask(ctx)
		return err == nil
	})
	must(t, c.Primary().Restart(ctx, cluster.Immediate))
	// That it was away may be noticed only now.
	until(t, "back", 20*time.Second, func() bool {
		_, err := topo.Ask(ctx)
		return err == nil
	})
	// As the clock asks.
	clock := consistency.NewClock(topo.Ask, time.Second)
	answers := make(chan error, 1)
	clock.Next(func(_ consistency.LSN, err error) { answers <- err })
	if err := <-answers; err != nil {
		t.Error(err)
	}
	clock.Close()
	cancel()
	<-done
	if _, err := topo.Ask(context.Background()); !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}
