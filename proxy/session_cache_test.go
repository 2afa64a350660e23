package proxy

import (
	"testing"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// What a probe says about a query after it in the same transaction holds under READ COMMITTED only: above that the query has
// the probe's snapshot, and the position that a replica told is one from after it.
func TestProbeOfASharedSnapshotCountsForNothing(t *testing.T) {
	for _, c := range []struct {
		isolation string
		apart     bool
		probed    bool
	}{
		{"read committed", false, true},
		{"repeatable read", false, false},
		{"serializable", false, false},
		{"repeatable read", true, true},
	} {
		s := &Session{conn: backend.NewConn(nil, nil)}
		s.unit.probeApart = c.apart
		s.takeProbe(wire.AppendDataRow(nil, []byte("759:761:759"), []byte(c.isolation)))
		if s.unit.probed != c.probed {
			t.Errorf("%s, apart %v: probed %v", c.isolation, c.apart, s.unit.probed)
		}
		if want := c.isolation != "read committed"; s.conn.ProbeApart != want {
			t.Errorf("%s: the next one apart: %v", c.isolation, s.conn.ProbeApart)
		}
	}
}

// HAZARDS 9: the answer of a plan from before a change of the catalog, fetched where the change was visible, isn't given before the feed has
// told of the change: it may lack what the session has seen (see the test of the same in cache). One that contains all that has been applied is.
func TestAnswerIsGivenOnceTheFeedHasReachedIt(t *testing.T) {
	m := newSimulation(t)
	s, table := m.s, m.s.db.Table
	table.Start(consistency.Start{From: 0x1000, NextXID: 10, Timeline: 1})
	table.Cover(0x1000, 1, 2)
	table.SetServing(true)
	at := consistency.LSN(0x1000)
	apply := func(c consistency.Commit) {
		at += 0x100
		c.End = at
		table.Apply(c)
	}
	apply(consistency.Commit{XID: 11, Relations: []uint32{1}})
	e := &cache.Entry{Seq: table.Applied(), Deps: []*consistency.Cell{table.Global(), &table.Relation(1).Cell}, Epoch: table.Epoch(), Until: at + 0x200}
	e.SetBytes([]byte("key"), wire.AppendRowDescription(nil), nil, wire.AppendCommandComplete(nil, "SELECT 0"))
	s.shared.L1.Put(e)
	try := func(want bool) {
		t.Helper()
		table.Observe(m.Now(), table.Position()) // so that the gate is open
		s.phase = phaseIdle
		s.unit = unit{number: s.unit.number + 1, simple: true, alone: true, key: []byte("key")}
		m.out, m.await = nil, nil
		if s.tryCache(nil); len(m.out) > 0 != want {
			t.Fatalf("answered %q, want an answer: %v", m.out, want)
		}
	}
	try(true) // contains all that has been applied
	apply(consistency.Commit{XID: 12, Relations: []uint32{2}})
	try(false) // perhaps it depends on relation 2
	if s.phase != phaseCatchingUp || len(m.await) != 1 {
		t.Errorf("phase %d: it doesn't wait for the feed", s.phase)
	}
	s.opts.consistency = consistency.Eventual
	try(true) // which promises no more than the bound
	s.opts.consistency = consistency.SessionLevel
	try(false)
	s.Woken(s.unit.number) // in vain
	try(false)
	if s.phase == phaseCatchingUp {
		t.Error("it waits again at once")
	}
	s.restUntil = 0
	apply(consistency.Commit{XID: 13}) // … but all that it contains is known now
	try(true)
	e.Until, s.restUntil = at+0x200, 0
	apply(consistency.Commit{XID: 14, Relations: []uint32{2}})
	try(false)
	apply(consistency.Commit{XID: 15, Catalog: true})
	try(false) // it is stale
}

// A fill asks its server what it contains only where that isn't known already; and what is taken for known, the fence judges as it would
// judge what the server had said.
func TestFillAsksOnlyWhatIsNotKnown(t *testing.T) {
	m := newSimulation(t)
	s, table := m.s, m.s.db.Table
	table.Start(consistency.Start{From: 0x1000, NextXID: 10, Timeline: 1})
	table.Cover(0x1000, 1)
	table.SetServing(true)
	s.node, s.conn, s.fill = m.node, backend.NewConn(nil, nil), new(cache.Fill)
	begin := func() bool {
		t.Helper()
		if err := s.fill.Begin(s.shared.Fills, table, []byte("key"), []consistency.Dependency{{Relations: []uint32{1}}}); err != nil {
			t.Fatal(err)
		}
		s.unit.probe = s.fill.Probe()
		return s.knownToContain(false)
	}
	contains := func(want consistency.Seq) {
		t.Helper()
		if got, err := table.Contains(s.unit.probe); err != nil || got != want {
			t.Errorf("contains up to %d: %v, want %d", got, err, want)
		}
	}
	if begin() {
		t.Error("nobody knows what was visible when the feed began")
	}
	table.ObserveSnapshot(consistency.Snapshot{Xmin: 20, Xmax: 20})
	if !begin() {
		t.Error("all was visible")
	}
	contains(table.Applied())
	before := table.Applied()
	table.Apply(consistency.Commit{XID: 20, End: 0x1100, Relations: []uint32{1}})
	contains(before) // what came since its begin isn't in it, as far as is known
	if begin() {
		t.Error("a commit that may not be visible yet")
	}
	table.ObserveSnapshot(consistency.Snapshot{Xmin: 20, Xmax: 22, Xip: []uint64{20}})
	if begin() {
		t.Error("a commit that isn't visible yet")
	}
	table.ObserveSnapshot(consistency.Snapshot{Xmin: 21, Xmax: 22})
	if !begin() {
		t.Error("it is visible now")
	}
	contains(table.Applied())
	table.CatalogChanged(0)
	contains(before + 1)
	s.fill.Abandon()
}

// HAZARDS 9: a fill from a lagging replica. Only one that had replayed, in the run of the server that the connection belongs to, up to where the feed
// was when the fill began needn't be asked; and then the fence goes by what it had replayed.
func TestHazard09FillFromAReplicaAsksUnlessItHadReplayedAll(t *testing.T) {
	m := newSimulation(t)
	s, table, node := m.s, m.s.db.Table, m.node
	s.node, s.conn, s.fill = node, backend.NewConn(nil, nil), new(cache.Fill)
	if node.Epoch() != s.conn.Epoch() {
		t.Fatal("the connection isn't of the server's present run")
	}
	known := func() bool {
		t.Helper()
		if err := s.fill.Begin(s.shared.Fills, table, []byte("key"), []consistency.Dependency{{Relations: []uint32{1}}}); err != nil {
			t.Fatal(err)
		}
		s.unit.probe = s.fill.Probe()
		return s.knownToContain(true)
	}
	contains := func(want consistency.Seq) {
		t.Helper()
		if got, err := table.Contains(s.unit.probe); err != nil || got != want || !s.unit.probe.OnReplica {
			t.Errorf("contains up to %d: %v (replica: %v), want %d", got, err, s.unit.probe.OnReplica, want)
		}
	}
	table.Start(consistency.Start{NextXID: 10, Timeline: 1})
	table.Cover(0x1000, 1)
	table.SetServing(true)
	node.Advance(0x1000)
	if known() {
		t.Error("nobody knows where the feed is")
	}
	table.Apply(consistency.Commit{XID: 10, End: 0x1100, Relations: []uint32{1}})
	before := table.Applied()
	if known() {
		t.Error("it lacks the commit")
	}
	node.Advance(0x10ff)
	if known() {
		t.Error("it lacks the end of the commit")
	}
	node.Advance(0x1100)
	if !known() {
		t.Error("it had replayed all that the feed has applied")
	}
	contains(before)
	node.Advance(0x1200) // it may be far beyond the feed
	table.Apply(consistency.Commit{XID: 11, End: 0x1180, Relations: []uint32{1}})
	if !known() {
		t.Error("it had replayed both")
	}
	contains(before + 1)
	// What is applied after the fill has begun counts by where the replica was: this commit it had, that one not.
	table.Apply(consistency.Commit{XID: 12, End: 0x1200, Relations: []uint32{1}})
	contains(before + 2)
	table.Apply(consistency.Commit{XID: 13, End: 0x1280, Relations: []uint32{1}})
	contains(before + 2)
	// Another run of the server answers, which is further: what the old connection shows isn't known.
	node.Reset()
	node.Advance(0x2000)
	if known() {
		t.Error("the connection is of another run of the server")
	}
	s.fill.Abandon()
}
