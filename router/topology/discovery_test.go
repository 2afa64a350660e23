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

// The flags only say where to look.
func TestRolesAreDiscovered(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	r := c.Replicas()
	var changes []*Node
	topo, log := run(t, Config{
		Primary:         url(r[1]),
		Replicas:        urls(c.Primary(), r[0], r[0]),
		OnPrimaryChange: func(n *Node) { changes = append(changes, n) },
	})
	if len(topo.Nodes()) != 3 {
		t.Fatalf("%d nodes", len(topo.Nodes()))
	}
	d := until(t, "a primary known", 5*time.Second, func() bool { return topo.Primary() != nil })
	p := at(t, topo, c.Primary())
	if topo.Primary() != p || p.Role() != Primary || p.Timeline() != 1 || topo.Term() != 1 {
		t.Fatalf("primary %v: %+v", topo.Primary().Addr(), topo.State())
	}
	if len(changes) != 1 || changes[0] != p {
		t.Fatalf("told %d times", len(changes))
	}
	e := until(t, "a replica admitted", 5*time.Second, func() bool { return topo.picks(time.Second) != nil })
	t.Logf("primary known after %v, a replica in use %v later", d, e)
	for _, n := range r {
		until(t, "both replicas followed", 5*time.Second, func() bool { return state(t, topo, n).AsOf != 0 })
		s := state(t, topo, n)
		if s.Role != Replica || !s.Up || !s.Follows || s.Primary || s.Reason != "" || s.SystemID == 0 || s.Started.IsZero() {
			t.Errorf("%+v", s)
		}
	}
	if s := state(t, topo, c.Primary()); !s.Primary || !s.Up || s.Reason != "" || s.Position == 0 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	if !log.has("level=INFO", "msg=primary", c.Primary().Addr()) {
		t.Errorf("not logged:\n%s", log)
	}
	// The servers know who is asking.
	v, err := c.Primary().Value(t.Context(), `SELECT string_agg(DISTINCT current_setting, ' ') FROM
		(SELECT application_name AS current_setting FROM pg_stat_activity WHERE application_name LIKE 'freshet%') x`)
	if err != nil || v != "freshet" {
		t.Errorf("application_name %q (%v)", v, err)
	}
}

// A position that the primary has given is reached by the replicas, also when
// the server is otherwise quiet, and AsOf goes on with the time.
func TestReplicasArriveAtThePrimarysPosition(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	topo, _ := run(t, Config{Primary: url(c.Primary()), Replicas: urls(c.Replicas()...)})
	until(t, "a replica admitted", 5*time.Second, func() bool { return topo.picks(time.Second) != nil })
	r := at(t, topo, c.Replicas()[0])
	for i, sql := range []string{
		"SELECT 1", "CREATE TABLE x (n int)", "INSERT INTO x SELECT generate_series(1, 1000)",
		"SELECT pg_switch_wal()", "CHECKPOINT", "SET synchronous_commit = off; INSERT INTO x VALUES (1)",
	} {
		must(t, c.Primary().Exec(t.Context(), sql))
		now := consistency.Now()
		floor, err := topo.Ask(t.Context())
		must(t, err)
		topo.Hurry()
		d := until(t, "the position reached after "+sql, 5*time.Second, func() bool { return r.Position() >= floor })
		e := until(t, "AsOf gone by after "+sql, 5*time.Second, func() bool { return r.AsOf() >= now })
		t.Logf("%d: %s: position after %v, AsOf %v later", i, sql, d, e)
	}
}

// HAZARDS 20: DNS that moved. The name leads to another server by now, while
// the monitor's connection to the old one is still alive: new connections of
// the data path find out, and the monitor goes where they go.
func TestNameThatMovedIsFollowed(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	old, next := c.Primary(), c.Replicas()[0]
	var leads atomic.Pointer[cluster.Node]
	leads.Store(old)
	topo, err := New(Config{Primary: strings.Replace(url(old), old.Host(), "db.example", 1)})
	must(t, err)
	n := topo.Nodes()[0]
	n.config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{leads.Load().Addr()}, nil }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { topo.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	until(t, "a primary", 5*time.Second, func() bool { return topo.Primary() == n })
	before, err := topo.Ask(t.Context())
	must(t, err)

	must(t, next.Promote(t.Context())) // the old one lives on
	write(t, next, 1)
	leads.Store(next)
	epoch := n.Epoch()
	v := n.BeginVouch()
	answer, err := next.Value(t.Context(), VouchSQL)
	must(t, err)
	if err := v.Check(answer); !errors.Is(err, ErrElsewhere) {
		t.Fatal(err)
	}
	until(t, "followed", 5*time.Second, func() bool { return topo.Primary() == n && topo.Timeline() == 2 })
	if topo.Term() != 2 || n.Epoch() == epoch {
		t.Errorf("term %d", topo.Term())
	}
	if after, err := topo.Ask(t.Context()); err != nil || after <= before {
		t.Errorf("position %v, before %v (%v)", after, before, err)
	}
	v = n.BeginVouch()
	if err := v.Check(answer); err != nil {
		t.Error(err)
	}
}
