package consistency

import (
	"errors"
	"sync"
	"testing"
)

// feeding is a table whose feed has caught up: commits up to 1000 and xids below 100 are not in its stream.
func feeding(t *testing.T, ring int) *Table {
	t.Helper()
	table := NewTable(ring)
	table.Start(Start{From: 1000, NextXID: 100, Timeline: 1})
	table.SetServing(true)
	return table
}

func onPrimary(table *Table, snapshot string) Probe {
	p := table.Begin()
	if err := p.Read("p" + snapshot); err != nil {
		panic(err)
	}
	return p
}

func onReplica(table *Table, replayed LSN) Probe {
	p := table.Begin()
	p.OnReplica, p.Replayed = true, replayed
	return p
}

func contains(t *testing.T, table *Table, p Probe, want Seq) {
	t.Helper()
	if got, err := table.Contains(p); err != nil || got != want {
		t.Errorf("contains up to %d (%v), want %d", got, err, want)
	}
}

func refused(t *testing.T, table *Table, p Probe, want error) {
	t.Helper()
	if got, err := table.Contains(p); !errors.Is(err, want) {
		t.Errorf("judged to contain up to %d (%v), want %v", got, err, want)
	}
}

func TestApplyStampsItsRelationsAndNoOthers(t *testing.T) {
	table := feeding(t, 16)
	a, b := table.Relation(1), table.Relation(2)
	first := table.Apply(Commit{XID: 100, End: 1010, Relations: []uint32{1, 3}})
	if a.Seq() != first || b.Seq() != 0 || table.Global().Seq() >= first {
		t.Errorf("cells %d %d, global %d", a.Seq(), b.Seq(), table.Global().Seq())
	}
	if table.Applied() != first || table.Position() != 1010 {
		t.Errorf("applied %d at %s", table.Applied(), table.Position())
	}
	if table.Relation(3).Seq() != first {
		t.Error("a cell that is asked for after the commit doesn't know of it")
	}
	if table.Relation(1) != a {
		t.Error("the cell of a relation changes")
	}
	second := table.Apply(Commit{XID: 101, End: 1020, Catalog: true})
	if table.Global().Seq() != second || a.Seq() != first {
		t.Errorf("a commit that changed the catalog: global %d", table.Global().Seq())
	}
	table.KeepAlive(1030)
	if table.Position() != 1030 || table.Applied() != second {
		t.Error("a keepalive moves the position and nothing else")
	}
}

func TestContainsOnPrimaryIsAPrefixBySnapshot(t *testing.T) {
	table := feeding(t, 16)
	s1 := table.Apply(Commit{XID: 103, End: 1010})
	s2 := table.Apply(Commit{XID: 101, End: 1020}) // commits in another order than xids
	s3 := table.Apply(Commit{XID: 104, End: 1030})
	contains(t, table, onPrimary(table, "105:105:"), s3)
	for _, c := range []struct {
		why, snapshot string
		want          Seq
	}{
		{"104 is not contained: it is at xmax", "104:104:", s2},
		{"104 is in progress", "104:106:104,105", s2},
		{"101 is not visible yet, though 104, which came later, is", "101:105:101", s1},
		{"103 is not visible yet", "103:105:103", s1 - 1},
		{"none", "100:100:", s1 - 1},
		{"others are in progress", "100:105:100,102", s3},
	} {
		table := feeding(t, 16)
		table.Apply(Commit{XID: 103, End: 1010})
		table.Apply(Commit{XID: 101, End: 1020})
		table.Apply(Commit{XID: 104, End: 1030})
		t.Run(c.why, func(t *testing.T) { contains(t, table, onPrimary(table, c.snapshot), c.want) })
	}
}

func TestContainsOnReplicaIsAPrefixByReplay(t *testing.T) {
	table := feeding(t, 16)
	s1 := table.Apply(Commit{XID: 103, End: 1010})
	s2 := table.Apply(Commit{XID: 101, End: 1020})
	contains(t, table, onReplica(table, 1000), s1-1)
	contains(t, table, onReplica(table, 1009), s1-1)
	contains(t, table, onReplica(table, 1010), s1)
	contains(t, table, onReplica(table, 1019), s1)
	contains(t, table, onReplica(table, 1020), s2)
	contains(t, table, onReplica(table, 5000), s2)
	refused(t, table, onReplica(table, 999), ErrTooOld)
	refused(t, table, onReplica(table, 0), ErrTooOld)
}

// What committed before the feed began isn't in its stream: a fill must not be stored if it might lack such a commit.
func TestContainsAtTheStartOfTheFeed(t *testing.T) {
	table := feeding(t, 16) // xids below 100 may have gone by
	refused(t, table, onPrimary(table, "99:99:"), ErrTooOld)
	// 99's commit record is in the WAL before the feed's start, and it waits for a synchronous standby.
	refused(t, table, onPrimary(table, "99:100:99"), ErrTooOld)
	refused(t, table, onPrimary(table, "99:103:99,101"), ErrTooOld)
	s := table.Apply(Commit{XID: 101, End: 1010})
	refused(t, table, onPrimary(table, "99:103:99"), ErrTooOld)
	contains(t, table, onPrimary(table, "101:103:101"), s-1)
	// From when one snapshot has seen them all they count no more, and the ring tells about the others.
	contains(t, table, onPrimary(table, "102:103:102"), s)
}

// The feed takes over a permanent slot's stream from far back.
func TestContainsRefusesReplicasBeforeTheStart(t *testing.T) {
	table := feeding(t, 16)
	table.Apply(Commit{XID: 100, End: 1010})
	refused(t, table, onReplica(table, 999), ErrTooOld)
}

func TestContainsRefusesWhatTheRingNoLongerReaches(t *testing.T) {
	table := feeding(t, 4)
	old := onPrimary(table, "100:100:")
	var seqs []Seq
	for i := range 6 {
		seqs = append(seqs, table.Apply(Commit{XID: 100 + uint32(i), End: 1010 + LSN(i)*10}))
	}
	// Forgotten: 100 and 101, which end at 1010 and 1020.
	refused(t, table, old, ErrTooOld)
	refused(t, table, onPrimary(table, "100:106:100"), ErrTooOld)
	refused(t, table, onPrimary(table, "101:106:101"), ErrTooOld)
	contains(t, table, onPrimary(table, "102:106:102"), seqs[1])
	refused(t, table, onReplica(table, 1019), ErrTooOld)
	contains(t, table, onReplica(table, 1020), seqs[1])
	contains(t, table, onReplica(table, 1030), seqs[2])
}

// A transaction that lasts holds back xmin. Fills must go on after the ring has turned over many times.
func TestContainsGoesOnDuringALongTransaction(t *testing.T) {
	table := feeding(t, 4)
	var last Seq
	for i := range 40 {
		xid := uint32(101 + i)
		last = table.Apply(Commit{XID: xid, End: 1010 + LSN(i)})
		s := Snapshot{Xmin: 100, Xmax: uint64(xid) + 1, Xip: []uint64{100}}
		if i%2 == 0 {
			table.ObserveSnapshot(s)
		}
		p := table.Begin()
		p.Snapshot = s
		contains(t, table, p, last)
	}
	// But what was begun before it was known that the forgotten ones are visible can't be judged …
	stale := table.Begin()
	stale.Visible = last - 10
	stale.Snapshot = Snapshot{Xmin: 100, Xmax: 200, Xip: []uint64{100}}
	refused(t, table, stale, ErrTooOld)
	// … and one that waits for a synchronous standby isn't overlooked because later ones are visible.
	waiting := table.Apply(Commit{XID: 141, End: 2000})
	table.Apply(Commit{XID: 142, End: 2010})
	table.ObserveSnapshot(Snapshot{Xmin: 100, Xmax: 143, Xip: []uint64{100, 141}})
	p := table.Begin()
	p.Snapshot = Snapshot{Xmin: 100, Xmax: 143, Xip: []uint64{100, 141}}
	contains(t, table, p, waiting-1)
	for i := range 4 {
		table.Apply(Commit{XID: 143 + uint32(i), End: 2020 + LSN(i)})
	}
	p.Snapshot = Snapshot{Xmin: 100, Xmax: 147, Xip: []uint64{100, 141}}
	refused(t, table, p, ErrTooOld)
}

// Pseudo-commits have no xid: whether a fill contains them is a matter of when it was begun, and on a replica also of whether
// that had replayed what they stand for.
func TestContainsPseudoCommitsByWhenTheFillBegan(t *testing.T) {
	for _, c := range []struct {
		name  string
		stamp func(*Table) (Seq, *Cell)
		at    LSN
	}{
		{"catalog", func(t *Table) (Seq, *Cell) { return t.CatalogChanged(1050), t.Global() }, 1050},
		{"cover", func(t *Table) (Seq, *Cell) { t.Cover(1050, 7, 8); return t.Applied(), &t.Relation(8).Cell }, 1050},
		{"uncover", func(t *Table) (Seq, *Cell) { t.Uncover(7, 8); return t.Applied(), &t.Relation(8).Cell }, 1000},
		{"flush", func(t *Table) (Seq, *Cell) { return t.Flush(7), &t.Relation(7).Cell }, 1000},
		{"flush all", func(t *Table) (Seq, *Cell) { return t.FlushAll(), t.Global() }, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := feeding(t, 4)
			before, replicaBefore := onPrimary(table, "100:100:"), onReplica(table, 5000)
			seq, cell := c.stamp(table)
			if cell.Seq() != seq {
				t.Errorf("cell %d, stamped %d", cell.Seq(), seq)
			}
			contains(t, table, before, seq-1)
			contains(t, table, replicaBefore, seq-1)
			contains(t, table, onPrimary(table, "100:100:"), seq)
			contains(t, table, onReplica(table, c.at), seq)
			if c.at > 1000 {
				contains(t, table, onReplica(table, c.at-1), seq-1)
			}
			// A commit whose end is below the position that the pseudo-commit stands for: still a prefix.
			next := table.Apply(Commit{XID: 100, End: 1010})
			if c.at > 1010 {
				contains(t, table, onReplica(table, 1020), seq-1)
			}
			contains(t, table, onReplica(table, 1050), next)
			contains(t, table, onPrimary(table, "101:101:"), next)
			for i := range 4 {
				table.Apply(Commit{XID: 101 + uint32(i), End: 1060 + LSN(i)})
			}
			refused(t, table, before, ErrTooOld)
			replicaBefore.Replayed = 5000
			refused(t, table, replicaBefore, ErrTooOld)
		})
	}
}

func TestGapMakesEverythingOlderStaleAndRefusesFillsUnderWay(t *testing.T) {
	table := feeding(t, 16)
	table.Cover(1000, 7)
	s := table.Apply(Commit{XID: 100, End: 1010, Relations: []uint32{7}})
	under, replica := onPrimary(table, "101:101:"), onReplica(table, 1010)
	epoch := table.Epoch()
	table.Gap()
	if table.Serving() || table.Covered(7) || table.Epoch() == epoch || table.Position() != 0 || table.AsOf() != 0 || table.Timeline() != 0 {
		t.Error("the gap leaves something standing")
	}
	if table.Global().Seq() <= s || table.Applied() != table.Global().Seq() {
		t.Error("entries of before the gap are fresh")
	}
	during, replicaDuring := onPrimary(table, "101:101:"), onReplica(table, 1015)
	refused(t, table, during, ErrNotServing)
	// What a feed still delivers that doesn't know yet.
	table.Apply(Commit{XID: 101, End: 9000, Relations: []uint32{7}})
	table.ObserveSnapshot(Snapshot{Xmin: 500, Xmax: 500})
	table.Start(Start{From: 1020, NextXID: 110, Timeline: 2})
	refused(t, table, onReplica(table, 1020), ErrNotServing)
	table.SetServing(true)
	for _, p := range []Probe{under, replica, during, replicaDuring} {
		refused(t, table, p, ErrGap)
	}
	refused(t, table, onReplica(table, 1019), ErrTooOld)
	refused(t, table, onPrimary(table, "109:110:109"), ErrTooOld)
	contains(t, table, onReplica(table, 1020), table.Applied())
	contains(t, table, onPrimary(table, "110:110:"), table.Applied())
	if table.Position() != 1020 || table.Timeline() != 2 {
		t.Errorf("at %s of timeline %d", table.Position(), table.Timeline())
	}
	if table.Covered(7) {
		t.Error("coverage outlives the gap")
	}
}

func TestContainsRefusesAnotherTimeline(t *testing.T) {
	table := feeding(t, 16)
	p := onReplica(table, 5000)
	p.Timeline = 1
	contains(t, table, p, table.Applied())
	p.Timeline = 2
	refused(t, table, p, ErrTimeline)
}

// Nothing of a table that was never fed, and no probe that was never begun.
func TestContainsRefusesTheUnknown(t *testing.T) {
	table := NewTable(16)
	refused(t, table, table.Begin(), ErrNotServing)
	table = feeding(t, 16)
	refused(t, table, Probe{Snapshot: Snapshot{Xmin: 200, Xmax: 200}}, ErrGap)
}

// The stream has 32-bit xids, snapshots have 64.
func TestXidsWrapAround(t *testing.T) {
	const base = 5<<32 - 3
	table := NewTable(16)
	table.Start(Start{From: 1000, NextXID: base, Timeline: 1})
	table.SetServing(true)
	xid := func(i uint64) uint32 { return uint32((base + i) & 0xFFFFFFFF) }
	s0 := table.Apply(Commit{XID: xid(6), End: 1010}) // beyond the wrap
	s1 := table.Apply(Commit{XID: xid(1), End: 1020}) // before it
	probe := func(s Snapshot) Probe { p := table.Begin(); p.Snapshot = s; return p }
	contains(t, table, probe(Snapshot{Xmin: base, Xmax: base + 6, Xip: []uint64{base}}), s0-1)
	contains(t, table, probe(Snapshot{Xmin: base + 1, Xmax: base + 7, Xip: []uint64{base + 1}}), s0)
	contains(t, table, probe(Snapshot{Xmin: base + 7, Xmax: base + 7}), s1)

	// Billions of transactions go by in which the feed has no interest.
	for i := range uint64(5) {
		table.ObserveSnapshot(Snapshot{Xmin: base + 1<<30*i, Xmax: base + 1<<30*i})
	}
	const late = base + 1<<30*4 + 17
	s2 := table.Apply(Commit{XID: uint32(late & 0xFFFFFFFF), End: 1030})
	contains(t, table, probe(Snapshot{Xmin: late, Xmax: late + 1, Xip: []uint64{late}}), s1)
	contains(t, table, probe(Snapshot{Xmin: late + 1, Xmax: late + 1}), s2)
}

func TestCoverStampsAndUncoverStamps(t *testing.T) {
	table := feeding(t, 16)
	if table.Covered(7) || table.Relation(7).Covered() {
		t.Error("covered before anybody said so")
	}
	table.Cover(1010, 7)
	covered := table.Relation(7).Seq()
	if !table.Covered(7) || covered != table.Applied() || table.Covered(8) {
		t.Error("not covered")
	}
	table.Uncover(7)
	if table.Covered(7) || table.Relation(7).Seq() <= covered {
		t.Error("entries of before the end of coverage are fresh")
	}
	before := table.Applied()
	table.Cover(1010)
	if table.Applied() != before {
		t.Error("a number is used for nothing")
	}
}

func TestProbeReadsTheServersAnswer(t *testing.T) {
	var p Probe
	if err := p.Read("p10:20:14"); err != nil || p.OnReplica || p.Snapshot.Xmin != 10 || len(p.Snapshot.Xip) != 1 {
		t.Errorf("%v %v", p, err)
	}
	if err := p.Read("r16/B374D848"); err != nil || !p.OnReplica || p.Replayed != 0x16B374D848 {
		t.Errorf("%v %v", p, err)
	}
	for _, bad := range []string{"", "p", "r", "x1/2", "p1/2", "r10:20:"} {
		if err := p.Read(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, p)
		}
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	table := feeding(t, 16)
	deps := []*Cell{table.Global(), &table.Relation(1).Cell, &table.Relation(2).Cell}
	if n := testing.AllocsPerRun(100, func() {
		seq := table.Begin().Began
		for _, c := range deps {
			if c.Seq() > seq {
				t.Error("stale")
			}
		}
		if !table.Serving() || table.Covered(1) {
			t.Error("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	commit := Commit{XID: 100, End: 1001, Relations: []uint32{1, 2}}
	if n := testing.AllocsPerRun(100, func() { commit.XID++; commit.End++; table.Apply(commit) }); n != 0 {
		t.Errorf("%v allocations to apply a commit", n)
	}
}

func BenchmarkCells(b *testing.B) {
	table := NewTable(16)
	deps := []*Cell{table.Global(), &table.Relation(1).Cell, &table.Relation(2).Cell}
	seq := table.Applied()
	b.ReportAllocs()
	for b.Loop() {
		for _, c := range deps {
			if c.Seq() > seq {
				b.Fatal("stale")
			}
		}
	}
}

func BenchmarkApply(b *testing.B) {
	table := NewTable(1 << 16)
	table.Start(Start{From: 1, NextXID: 3})
	c := Commit{XID: 3, End: 2, Relations: []uint32{1, 2}}
	b.ReportAllocs()
	for b.Loop() {
		c.XID++
		c.End += 100
		table.Apply(c)
	}
}

// A fill on a busy primary: fifty commits since the last snapshot, a long transaction behind.
func BenchmarkContains(b *testing.B) {
	table := NewTable(1 << 16)
	table.Start(Start{From: 1, NextXID: 100})
	table.SetServing(true)
	for i := range 70_000 {
		table.Apply(Commit{XID: uint32(101 + i), End: LSN(2 + i)})
		if i == 69_950 {
			table.ObserveSnapshot(Snapshot{Xmin: 100, Xmax: uint64(101 + i), Xip: []uint64{100}})
		}
		if i < 60_000 {
			table.ObserveSnapshot(Snapshot{Xmin: 100, Xmax: uint64(102 + i), Xip: []uint64{100}})
		}
	}
	p := table.Begin()
	p.Snapshot = Snapshot{Xmin: 100, Xmax: 80_000, Xip: []uint64{100}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := table.Contains(p); err != nil {
			b.Fatal(err)
		}
	}
}

// A reader who finds the position (the gate) and then looks at the cells must find the stamps of every commit up to there.
func TestCommitStampsItsCellsBeforeItMovesThePosition(t *testing.T) {
	table := feeding(t, 16)
	cell, first := table.Relation(1), table.Applied()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			position := table.Position()
			if seq := cell.Seq(); position > 1000 && seq < first+Seq(position-1000) {
				t.Errorf("position %s, cell at %d", position, seq)
				return
			}
			applied := table.Applied()
			if seq := cell.Seq(); seq < applied && applied > first {
				t.Errorf("applied %d, cell at %d", applied, seq)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	commit := Commit{XID: 100, End: 1000, Relations: []uint32{1}}
	for range 200_000 {
		commit.XID++
		commit.End++
		table.Apply(commit)
	}
	close(stop)
	wg.Wait()
}
