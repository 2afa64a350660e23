package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/consistency"
)

// msg frames a message.
func msg(typ byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{typ}, uint32(len(body)+4))
	return append(b, body...)
}

var (
	rowDesc  = msg('T', "columns")
	row      = msg('D', "values")
	complete = msg('C', "SELECT 2\x00")
)

// answer captures a whole answer of two rows.
func (f *Fill) answer(t *testing.T) {
	t.Helper()
	if !f.AddRowDesc(rowDesc) || !f.AddRows(row) || !f.AddRows(row) || !f.AddComplete(complete) {
		t.Fatal("abandoned")
	}
}

// on is the dependency on all rows of some relations.
func on(oids ...uint32) []consistency.Dependency {
	return []consistency.Dependency{{Relations: oids}}
}

func begin(t *testing.T, fills *Fills, table *consistency.Table, oids ...uint32) *Fill {
	t.Helper()
	f := new(Fill)
	if err := f.Begin(fills, table, []byte("key"), on(oids...)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFillStoresTheBytesThatWereSent(t *testing.T) {
	fed := newFed(t)
	seq := fed.commit(1)
	c := NewL1(1<<20, 1)
	fills := NewFills(c, 1<<16)
	f := begin(t, fills, fed.table, 1, 2)
	f.answer(t)
	if err := f.Store(onReplica(f.Probe(), fed.lsn), 1<<40); err != nil {
		t.Fatal(err)
	}
	e := c.Get([]byte("key"))
	if e == nil || e.Until != 1<<40 || !bytes.Equal(e.RowDesc, rowDesc) || !bytes.Equal(e.Rows, append(bytes.Clone(row), row...)) || !bytes.Equal(e.Complete, complete) {
		t.Fatalf("%+v", e)
	}
	if e.Seq != seq || len(e.Deps) != 3 || !e.Fresh() || e.Epoch != fed.table.Epoch() || e.Position != fed.lsn || e.FilledAt == 0 {
		t.Fatalf("%+v", e)
	}
	if f.Active() || f.buf != nil {
		t.Fatal("the fill holds on to something")
	}
	fed.commit(3)
	if !e.Fresh() {
		t.Fatal("another relation's commit made it stale")
	}
	fed.commit(2)
	if e.Fresh() {
		t.Fatal("a commit left it fresh")
	}
}

func TestFillOnThePrimaryKnowsAPosition(t *testing.T) {
	fed := newFed(t)
	fed.commit(1)
	c := NewL1(1<<20, 1)
	f := begin(t, NewFills(c, 1<<16), fed.table, 1)
	before := fed.lsn
	fed.commit(1) // applied before the snapshot is taken, and in it
	f.answer(t)
	if err := f.Store(onPrimary(f.Probe(), fed.xid), 1<<40); err != nil {
		t.Fatal(err)
	}
	e := c.Get([]byte("key"))
	if !e.Fresh() || e.Position != before {
		t.Fatalf("fresh %v, position %v, want %v", e.Fresh(), e.Position, before)
	}
}

// No position is claimed that the answer may not contain.
func TestFillWithoutACommitThatWasAppliedClaimsNoPosition(t *testing.T) {
	fed := newFed(t)
	fed.commit(2) // in the feed, but not visible yet to others
	c := NewL1(1<<20, 1)
	f := begin(t, NewFills(c, 1<<16), fed.table, 1)
	f.answer(t)
	if err := f.Store(onPrimary(f.Probe(), fed.xid, uint64(fed.xid-1)), 1<<40); err != nil {
		t.Fatal(err)
	}
	if e := c.Get([]byte("key")); e.Position != 0 || !e.Fresh() {
		t.Fatalf("position %v, fresh %v", e.Position, e.Fresh())
	}
}

// HAZARDS 9: a fill that races with a write.
func TestFillThatRacesWithACommitIsBornStale(t *testing.T) {
	for _, test := range []struct {
		name  string
		probe func(fed *fed, p consistency.Probe) consistency.Probe
		when  string // of the commit: before the probe's answer, or after
	}{
		{"replica that lags", func(f *fed, p consistency.Probe) consistency.Probe { return onReplica(p, f.lsn-1) }, "before"},
		{"replica, commit after", func(f *fed, p consistency.Probe) consistency.Probe { return onReplica(p, f.lsn) }, "after"},
		{"primary, in progress", func(f *fed, p consistency.Probe) consistency.Probe {
			return onPrimary(p, f.xid, uint64(f.xid-1))
		}, "before"},
		{"primary, commit after", func(f *fed, p consistency.Probe) consistency.Probe { return onPrimary(p, f.xid) }, "after"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fed := newFed(t)
			fed.commit(1)
			c := NewL1(1<<20, 1)
			f := begin(t, NewFills(c, 1<<16), fed.table, 1)
			if test.when == "before" {
				fed.commit(1)
			}
			p := test.probe(fed, f.Probe())
			f.answer(t)
			if test.when == "after" {
				fed.commit(1)
			}
			if err := f.Store(p, 1<<40); err != nil {
				t.Fatal(err)
			}
			e := c.Get([]byte("key"))
			if e == nil {
				t.Fatal("not stored")
			}
			if e.Fresh() {
				t.Fatal("fresh without the commit")
			}
			// The next one, without a race, takes its place.
			if err := f.Begin(NewFills(c, 1<<16), fed.table, []byte("key"), on(1)); err != nil {
				t.Fatal(err)
			}
			f.answer(t)
			if err := f.Store(onReplica(f.Probe(), fed.lsn), 1<<40); err != nil {
				t.Fatal(err)
			}
			if !c.Get([]byte("key")).Fresh() {
				t.Fatal("the refill is stale")
			}
		})
	}
}

// HAZARDS 9: a view reads relation 1, and after a change, relation 2. The primary shows the change, but not yet what was written to relation 2
// before it, which a replica has shown. A plan from before the change takes relation 1 for what the answer depends on.
func TestAnswerOfAnOldPlanCountsForNothingBeforeItsChangeIsKnown(t *testing.T) {
	fed := newFed(t)
	fed.commit(1)
	c := NewL1(1<<20, 1)
	f := begin(t, NewFills(c, 1<<16), fed.table, 1)
	hidden := uint64(fed.xid)
	floor := fed.lsn + 0x100 // of a session that a replica has shown that commit
	changed := floor + 0x100
	p := onPrimary(f.Probe(), fed.xid+2, hidden)
	f.answer(t)
	if err := f.Store(p, changed); err != nil {
		t.Fatal(err)
	}
	e := c.Get([]byte("key"))
	if !e.Reached(fed.table) || fed.table.Position() >= floor {
		t.Fatal("an answer that contains all that has been applied doesn't count, or the gate is open")
	}
	fed.commit(2)
	if fed.lsn != floor || fed.table.Position() < floor || !e.Fresh() {
		t.Fatal("it isn't as it was to be")
	}
	if e.Reached(fed.table) {
		t.Fatal("served without a commit that the session has seen")
	}
	fed.catalog()
	if fed.lsn != changed || !e.Reached(fed.table) || e.Fresh() {
		t.Fatalf("reached %v, fresh %v", e.Reached(fed.table), e.Fresh())
	}
}

// Whatever the order in which commits are applied, become visible, are
// replayed and are read: a fresh entry contains every commit that touched its
// relation and that the feed has applied.
func TestFreshEntryContainsWhatWasApplied(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fed := newFed(t)
		c := NewL1(1<<20, 1)
		fills := NewFills(c, 1<<16)
		var f Fill
		type commit struct {
			xid  uint32
			lsn  consistency.LSN
			seq  consistency.Seq
			oids []uint32
		}
		var applied []commit
		visible := map[uint32]bool{} // xids whose commit a new snapshot of the primary sees
		var p consistency.Probe
		probed := false
		contains := map[consistency.Seq]bool{} // what the answer under way contains
		stored := map[consistency.Seq]bool{}   // what the entry does
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 4).Draw(rt, "op") {
			case 0: // a commit is applied; the primary may show it later
				oid := uint32(rapid.IntRange(1, 2).Draw(rt, "oid"))
				x := fed.xid
				seq := fed.commit(oid)
				applied = append(applied, commit{x, fed.lsn, seq, []uint32{oid}})
				visible[x] = rapid.Bool().Draw(rt, "visible")
			case 1: // one that was late becomes visible
				for _, a := range applied {
					if !visible[a.xid] {
						visible[a.xid] = true
						break
					}
				}
			case 2:
				if err := f.Begin(fills, fed.table, []byte("key"), on(1)); err != nil {
					rt.Fatal(err)
				}
				probed = false
			case 3: // the server takes probe and snapshot
				if !f.Active() || probed {
					continue
				}
				probed = true
				clear(contains)
				if rapid.Bool().Draw(rt, "replica") {
					replayed := fed.lsn
					if n := len(applied); n > 0 {
						replayed = applied[rapid.IntRange(0, n-1).Draw(rt, "replayed")].lsn
					}
					p = onReplica(f.Probe(), replayed)
					for _, a := range applied {
						contains[a.seq] = a.lsn <= replayed
					}
				} else {
					var running []uint64
					for _, a := range applied {
						if !visible[a.xid] {
							running = append(running, uint64(a.xid))
						}
						contains[a.seq] = visible[a.xid]
					}
					p = onPrimary(f.Probe(), fed.xid, running...)
				}
			case 4:
				if !f.Active() || !probed {
					continue
				}
				f.AddRows(row)
				f.AddComplete(complete)
				if f.Store(p, 1<<40) == nil {
					clear(stored)
					for s, ok := range contains {
						stored[s] = ok
					}
				}
			}
			e := c.Get([]byte("key"))
			if e == nil || !e.Fresh() {
				continue
			}
			for _, a := range applied {
				if a.oids[0] == 1 && !stored[a.seq] {
					rt.Fatalf("fresh (seq %d) without commit %d", e.Seq, a.seq)
				}
			}
		}
	})
}

func TestFillThatCannotBeJudgedIsNotStored(t *testing.T) {
	whole := func(t *testing.T, f *Fill) { f.answer(t) }
	for _, test := range []struct {
		name string
		do   func(t *testing.T, fed *fed, f *Fill) consistency.Probe
		want error
	}{
		{"gap while under way", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			p := onReplica(f.Probe(), fed.lsn)
			fed.table.Gap()
			fed.connect()
			whole(t, f)
			return p
		}, consistency.ErrGap},
		{"gap, and the caller took a new probe for the old one", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			fed.table.Gap()
			fed.connect()
			whole(t, f)
			return onReplica(fed.table.Begin(), fed.lsn)
		}, consistency.ErrGap},
		{"not caught up any more", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			whole(t, f)
			fed.table.SetServing(false)
			return onReplica(f.Probe(), fed.lsn)
		}, consistency.ErrNotServing},
		{"no longer covered", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			whole(t, f)
			fed.table.Uncover(2)
			return onReplica(f.Probe(), fed.lsn)
		}, ErrUncovered},
		{"probe older than what is remembered", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			p := onReplica(f.Probe(), fed.lsn)
			for range 200 {
				fed.commit(5)
			}
			whole(t, f)
			return p
		}, consistency.ErrTooOld},
		{"another timeline", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			whole(t, f)
			p := onReplica(f.Probe(), fed.lsn)
			p.Timeline = 2
			return p
		}, consistency.ErrTimeline},
		{"no CommandComplete", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			f.AddRows(row)
			return onReplica(f.Probe(), fed.lsn)
		}, ErrIncomplete},
		{"half a CommandComplete", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			f.AddRows(row)
			f.AddComplete(complete[:7])
			return onReplica(f.Probe(), fed.lsn)
		}, ErrIncomplete},
		{"half a row", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			f.AddRows(row)
			f.AddRows(row[:7])
			f.AddComplete(complete)
			return onReplica(f.Probe(), fed.lsn)
		}, ErrIncomplete},
		{"an error among the rows", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			f.AddRows(row)
			f.AddRows(msg('E', "SERROR"))
			f.AddComplete(complete)
			return onReplica(f.Probe(), fed.lsn)
		}, ErrIncomplete},
		{"two answers", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			f.AddComplete(complete)
			f.AddComplete(complete)
			return onReplica(f.Probe(), fed.lsn)
		}, ErrIncomplete},
		{"a length that lies", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			f.AddRows([]byte{'D', 0xff, 0xff, 0xff, 0xff, 0})
			f.AddRows([]byte{'D', 0, 0, 0, 0})
			f.AddComplete(complete)
			return onReplica(f.Probe(), fed.lsn)
		}, ErrIncomplete},
		{"out of order", func(t *testing.T, fed *fed, f *Fill) consistency.Probe {
			f.AddComplete(complete)
			if f.AddRows(row) {
				t.Error("a row after the end was taken")
			}
			return onReplica(f.Probe(), fed.lsn)
		}, ErrIncomplete},
	} {
		t.Run(test.name, func(t *testing.T) {
			fed := newFed(t)
			c := NewL1(1<<20, 1)
			f := begin(t, NewFills(c, 1<<16), fed.table, 1, 2)
			p := test.do(t, fed, f)
			if err := f.Store(p, 1<<40); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if c.Len() != 0 || f.buf != nil || f.Active() {
				t.Errorf("%d entries; fill %+v", c.Len(), f)
			}
			if err := f.Store(p, 1<<40); !errors.Is(err, ErrIncomplete) {
				t.Errorf("a second time: %v", err)
			}
		})
	}
}

func TestFillIsNotBegunWhereNothingCanBeStored(t *testing.T) {
	fed := newFed(t)
	fills := NewFills(NewL1(1<<20, 1), 100)
	var f Fill
	if err := f.Begin(fills, fed.table, []byte("key"), on(1, 77)); !errors.Is(err, ErrUncovered) {
		t.Error(err)
	}
	if err := f.Begin(fills, fed.table, make([]byte, 101), nil); !errors.Is(err, ErrTooBig) {
		t.Error(err)
	}
	fed.table.SetServing(false)
	if err := f.Begin(fills, fed.table, []byte("key"), on(1)); !errors.Is(err, consistency.ErrNotServing) {
		t.Error(err)
	}
	if f.Active() || f.AddRows(row) {
		t.Error("it captures")
	}
	f.Abandon()
}

// HAZARDS 21: a huge answer held in memory.
func TestFillBeyondTheLimitLetsGoAtOnce(t *testing.T) {
	fed := newFed(t)
	c := NewL1(64<<20, 1)
	f := begin(t, NewFills(c, 8<<20), fed.table, 1)
	piece := bytes.Repeat(msg('D', strings.Repeat("x", 1000)), 64)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sent := 0
	for f.AddRows(piece) {
		sent += len(piece)
	}
	if sent > 8<<20 || sent < 8<<20-len(piece)-3 {
		t.Errorf("gave up after %d bytes", sent)
	}
	if f.Active() || f.buf != nil {
		t.Error("it holds memory")
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d bytes more on the heap", grown)
	}
	if f.AddComplete(complete) {
		t.Error("it goes on")
	}
	if err := f.Store(onReplica(f.Probe(), fed.lsn), 1<<40); !errors.Is(err, ErrIncomplete) {
		t.Error(err)
	}
	runtime.KeepAlive(f)
}

func TestOlderFillArrivingLateIsRefused(t *testing.T) {
	fed := newFed(t)
	c := NewL1(1<<20, 1)
	fills := NewFills(c, 1<<16)
	fed.commit(1)
	slow := begin(t, fills, fed.table, 1)
	p := onReplica(slow.Probe(), fed.lsn)
	slow.answer(t)
	fed.commit(2) // so that the quick one has seen more
	quick := begin(t, fills, fed.table, 1)
	quick.answer(t)
	if err := quick.Store(onReplica(quick.Probe(), fed.lsn), 1<<40); err != nil {
		t.Fatal(err)
	}
	if err := slow.Store(p, 1<<40); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
}

func TestFillAllocatesLittle(t *testing.T) {
	fed := newFed(t)
	c := NewL1(1<<20, 1)
	fills := NewFills(c, 1<<16)
	var f Fill
	deps := on(1, 2)
	key := []byte("key")
	fill := func() {
		if f.Begin(fills, fed.table, key, deps) != nil || !f.AddRows(row) || !f.AddComplete(complete) {
			t.Fatal("abandoned")
		}
		if err := f.Store(onReplica(f.Probe(), fed.lsn), 1<<40); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	if raceEnabled {
		t.Skip("the race detector has pools lose things on purpose")
	}
	// The entry, its slab, its dependencies. (A pool may lose a buffer.)
	if n := testing.AllocsPerRun(1000, fill); n > 3.5 {
		t.Errorf("%v allocations", n)
	}
	// What isn't stored costs nothing.
	if n := testing.AllocsPerRun(1000, func() {
		_ = f.Begin(fills, fed.table, key, deps)
		f.AddRows(row)
		f.Abandon()
	}); n > 0.5 {
		t.Errorf("%v allocations for one that is abandoned", n)
	}
}
