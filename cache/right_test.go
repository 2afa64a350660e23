package cache

import (
	"testing"

	"github.com/freshet/freshet/consistency"
)

// TestRightAsOf: how old an answer can be is known while it is fresh, after it went stale, and after the feed was lost; and an answer that
// may be forbidden by now isn't given at all.
func TestRightAsOf(t *testing.T) {
	fed := newFed(t)
	c := NewL1(1<<20, 1)
	fills := NewFills(c, 1<<16)
	known := func(at int64) { fed.table.Observe(at, fed.lsn) } // the table has everything that was acknowledged before at
	store := func(forATime bool, asOf int64) *Entry {
		t.Helper()
		f := new(Fill)
		begin := f.Begin
		if forATime {
			begin = f.BeginForATime
		}
		if err := begin(fills, fed.table, []byte("key"), on(1)); err != nil {
			t.Fatal(err)
		}
		f.answer(t)
		p := onPrimary(f.Probe(), fed.xid)
		p.AsOf = asOf
		if err := f.Store(p, 1<<40); err != nil {
			t.Fatal(err)
		}
		return c.Get([]byte("key"))
	}
	is := func(what string, e *Entry, want int64) {
		t.Helper()
		if got := e.RightAsOf(fed.table); got != want {
			t.Errorf("%s: right as of %d, want %d", what, got, want)
		}
	}
	const ms = 1_000_000
	known(900 * ms)
	e := store(false, 1000*ms)
	is("as it was filled", e, 1000*ms)
	fed.commit(2)
	known(2000 * ms)
	is("fresh", e, 2000*ms)
	e.Right(2000 * ms)
	e.Right(2010 * ms) // too soon to be noted
	fed.commit(1)
	known(3000 * ms)
	is("stale: it was found fresh once", e, 2000*ms)

	e = store(false, 3500*ms)
	timed := store(true, 3600*ms)
	known(4000 * ms)
	is("for a time: it isn't known to be fresh", timed, 3600*ms)
	fed.table.Gap()
	is("the feed is lost: it was fresh then", e, 4000*ms)
	is("and for a time", timed, 3600*ms)
	fed.table.Gap() // as it tries to come back
	is("and again", e, 4000*ms)
	fed.table.Start(consistency.Start{From: fed.lsn, NextXID: uint64(fed.xid), Timeline: 1})
	is("the feed is coming back", e, 4000*ms)
	fed.table.CatalogChanged(fed.lsn)
	is("the catalog has changed meanwhile", e, 0)

	fed.connect()
	e = store(false, 5000*ms)
	known(6000 * ms)
	fed.table.Apply(consistency.Commit{XID: fed.xid, End: fed.lsn + 0x10, Catalog: true})
	fed.lsn += 0x10
	fed.xid++
	is("the catalog has changed", e, 0)
	fed.table.Gap()
	is("and then the feed was lost", e, 0)

	fed.connect()
	old := store(false, 7000*ms)
	fed.table.Gap()
	fed.connect()
	fed.table.Gap()
	is("from before two gaps", old, 0)
}

// TestAFillForATimeGoesByWhatIsWatched: it needs neither coverage nor a feed, and what is known to have changed makes it stale.
func TestAFillForATimeGoesByWhatIsWatched(t *testing.T) {
	fed := newFed(t)
	c := NewL1(1<<20, 1)
	fills := NewFills(c, 1<<16)
	store := func() *Entry {
		t.Helper()
		f := new(Fill)
		if err := f.BeginForATime(fills, fed.table, []byte("key"), on(1, 100)); err != nil {
			t.Fatal(err)
		}
		f.answer(t)
		if err := f.Store(onPrimary(f.Probe(), fed.xid), 1<<40); err != nil {
			t.Fatal(err)
		}
		e := c.Get([]byte("key"))
		if !e.ForATime || !e.Fresh() {
			t.Fatalf("for a time %v, fresh %v", e.ForATime, e.Fresh())
		}
		return e
	}
	e := store()
	fed.commit(2)
	if !e.Fresh() {
		t.Error("another relation's commit made it stale")
	}
	fed.commit(1)
	if e.Fresh() {
		t.Error("a commit that touches a covered relation of it left it fresh")
	}
	e = store()
	fed.table.FlushAll()
	if e.Fresh() {
		t.Error("FLUSH left it fresh")
	}
	e = store()
	fed.table.Gap()
	if e.Fresh() {
		t.Error("a gap left it fresh, though it depends on what is watched")
	}
	e = store() // without a feed
	fed.table.CatalogChanged(0)
	if e.Fresh() {
		t.Error("a change of the catalog, found by looking, left it fresh")
	}
	f := new(Fill)
	if err := f.BeginForATime(fills, fed.table, []byte("key"), on(1)); err != nil {
		t.Fatal(err)
	}
	f.answer(t)
	p := onPrimary(f.Probe(), fed.xid)
	fed.connect()
	if err := f.Store(p, 1<<40); err == nil {
		t.Error("begun before the feed came back, and stored as if it had been watched")
	}
}
