package topology

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

// shows marks a replica as one that has answered somebody.
func shows(n *Node) {
	n.Begin()
	n.End()
}

func confirm(topo *Topology, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_, err := topo.ConfirmVisible(ctx)
	return err
}

// A commit that waits for a synchronous standby is shown by the other replica, and not by the primary.
func TestConfirmVisibleWaitsForCommitsThatAReplicaHasShown(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := t.Context()
	standby, other := c.Replicas()[0], c.Replicas()[1]
	must(t, c.Primary().Exec(ctx, "CREATE TABLE k(v int); INSERT INTO k VALUES (0)"))
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...)})
	inUse(t, topo, standby, other)
	n := at(t, topo, other)

	// Transactions that are only open hide nothing, however long.
	long, err := c.Primary().Connect(ctx, cluster.App)
	must(t, err)
	defer long.Close(context.Background())
	_, err = long.Exec(ctx, "BEGIN; CREATE TABLE never(a int)")
	must(t, err)
	must(t, c.Primary().Exec(ctx, "UPDATE k SET v = 1"))
	must(t, c.WaitCaughtUp(ctx))
	for range 20 {
		shows(n)
		began := consistency.Now()
		must(t, confirm(topo, 5*time.Second))
		if topo.VisibleAsOf() < began {
			t.Fatal("confirmed, but not as of when it was asked for")
		}
	}

	must(t, c.SetSynchronous(ctx, standby.Name()))
	must(t, standby.Freeze())
	done := make(chan error, 1)
	go func() { done <- c.Primary().Exec(context.Background(), "UPDATE k SET v = 2") }()
	until(t, "shown by the other replica", 10*time.Second, func() bool {
		v, err := other.Value(ctx, "SELECT v FROM k")
		return err == nil && v == "2"
	})
	if v, err := c.Primary().Value(ctx, "SELECT v FROM k"); err != nil || v != "1" {
		t.Fatalf("the primary shows %s %v: there is nothing to test", v, err)
	}
	until(t, "what was shown before is confirmed", 10*time.Second, func() bool { return !n.dirty.Load() || confirm(topo, time.Second) == nil })
	shows(n)
	began := consistency.Now()
	if err := confirm(topo, 300*time.Millisecond); !errors.Is(err, ErrHidden) {
		t.Errorf("%v, though the primary doesn't show what the replica shows", err)
	}
	if topo.VisibleAsOf() >= began {
		t.Error("VisibleAsOf has moved all the same")
	}
	select {
	case err := <-done:
		t.Fatalf("the commit didn't wait: %v", err)
	default:
	}
	// Once more, for the failed one hasn't forgotten who was to be asked; and now it ends.
	confirmed := make(chan error, 1)
	go func() { confirmed <- confirm(topo, 20*time.Second) }()
	must(t, standby.Thaw())
	must(t, <-confirmed)
	must(t, <-done)
	if v, err := c.Primary().Value(ctx, "SELECT v FROM k"); err != nil || v != "2" {
		t.Fatalf("confirmed, and the primary shows %s %v", v, err)
	}
}

// A replica that is gone can't be asked: another one stands in for it, and when there is none, time and the primary's own
// word that nobody waits for a standby.
func TestConfirmVisibleWithoutTheReplicaThatHasShown(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := t.Context()
	first, second := c.Replicas()[0], c.Replicas()[1]
	must(t, c.Primary().Exec(ctx, "CREATE TABLE k(v int); INSERT INTO k VALUES (0)"))
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...)})
	inUse(t, topo, first, second)
	open := func() {
		t.Helper()
		long, err := c.Primary().Connect(ctx, cluster.App)
		must(t, err)
		t.Cleanup(func() { long.Close(context.Background()) })
		_, err = long.Exec(ctx, "BEGIN; CREATE TEMP TABLE never(a int)")
		must(t, err)
	}
	open()
	must(t, first.Kill())
	until(t, "noticed", 5*time.Second, func() bool { return !at(t, topo, first).Up() })
	shows(at(t, topo, first))
	must(t, confirm(topo, 10*time.Second))
	if at(t, topo, first).dirty.Load() {
		t.Error("it is to be asked again, though all it had shown is confirmed")
	}

	// The other one goes, too, and leaves a commit behind that waits for it.
	must(t, c.SetSynchronous(ctx, second.Name()))
	must(t, second.Kill())
	until(t, "noticed", 5*time.Second, func() bool { return !at(t, topo, second).Up() })
	done := make(chan error, 1)
	go func() { done <- c.Primary().Exec(context.Background(), "UPDATE k SET v = 1") }()
	until(t, "it waits", 10*time.Second, func() bool {
		v, err := c.Primary().Value(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		return err == nil && v == "1"
	})
	shows(at(t, topo, second))
	if err := confirm(topo, 2*lostAfter); !errors.Is(err, ErrHidden) {
		t.Errorf("%v, though what the replica may have shown isn't visible", err)
	}
	must(t, c.SetSynchronous(ctx))
	must(t, <-done)
	must(t, confirm(topo, 10*time.Second))
}
