package consistency

import (
	"slices"

	"github.com/freshet/freshet/consistency/rule"
)

// The writer's side of the table, for the one feed that keeps it.

// Commit is a transaction as the feed delivers it, at its commit.
type Commit struct {
	XID       uint32   // of the top-level transaction, as it is in the stream
	End       LSN      // end of the commit record
	Relations []uint32 // what it changed, TRUNCATE included; only read during Apply
	Catalog   bool     // it changed what every entry depends on

	// Told are, for each of Relations, the column sets for which Stamps tells the rows that it changed there; it may be shorter.
	// Every other column set of the relation is stamped whole: among them those that were made while the changes came by.
	Told   [][]*RowCells
	Stamps []Stamp
}

// Stamp says which rows a commit has changed, to one column set.
type Stamp struct {
	Set   *RowCells
	Whole bool     // any: it isn't known which, or they are too many to list
	Cells []uint32 // by RowCells.Index
}

// Apply gives the commit the next number, stamps the cells, and then moves the position to its end. Commits come in the order
// of the WAL.
func (t *Table) Apply(c Commit) Seq {
	t.mu.Lock()
	seq := t.mu.ring.push(t.completeLocked(c.XID), c.End)
	for i, oid := range c.Relations {
		r := t.relationLocked(oid)
		r.seq.Store(uint64(seq))
		var told []*RowCells
		if i < len(c.Told) {
			told = c.Told[i]
		}
		for _, s := range r.Sets() {
			if !slices.Contains(told, s) {
				s.whole.seq.Store(uint64(seq))
			}
		}
	}
	for _, s := range c.Stamps {
		if s.Set.retired {
			continue // stale for ever, and so it shall stay
		}
		if s.Whole {
			s.Set.whole.seq.Store(uint64(seq))
		}
		for _, i := range s.Cells {
			s.Set.cells[i].seq.Store(uint64(seq))
		}
	}
	if c.Catalog {
		t.past.Store(nil)
		t.mu.ring.fence()
		t.catalog.Store(uint64(seq))
		t.global.seq.Store(uint64(seq))
	}
	t.applied.Store(uint64(seq))
	t.mu.Unlock()
	t.Advance(c.End)
	return seq
}

// completeLocked finds the 64-bit xid: the one nearest to the newest that is known. Xids that are in use at the same time
// are always within 2³¹ of each other; ObserveSnapshot keeps newestXID near when the commits that come by are few.
func (t *Table) completeLocked(xid uint32) uint64 {
	newest := t.mu.newestXID
	full := newest + uint64(int64(int32(xid-uint32(newest))))
	t.mu.newestXID = max(newest, full)
	return full
}

// KeepAlive says that everything up to lsn has been applied, though there was nothing to apply.
func (t *Table) KeepAlive(lsn LSN) { t.Advance(lsn) }

// Gap says that commits may be missing from now on: the primary is another one, or the feed has to begin anew. Everything
// filled up to now is stale, nothing is covered, nothing served, and fills under way will be refused. May be called from
// anywhere; what the feed still applies afterwards doesn't matter, until it calls Start.
func (t *Table) Gap() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gapLocked()
}

func (t *Table) gapLocked() {
	seq := t.mu.ring.last + 1
	if t.served.Swap(false) {
		t.past.Store(&Past{Epoch: t.Epoch(), Global: t.global.Seq(), AsOf: t.AsOf()})
	}
	if rule.CaughtUp {
		t.serving.Store(false)
		for _, r := range t.mu.relations {
			r.covered.Store(false)
		}
		t.catalog.Store(uint64(seq))
		t.global.seq.Store(uint64(seq))
	}
	t.mu.ring.begin(seq, never, never) // refuses everything
	t.applied.Store(uint64(seq))
	t.timeline.Store(0)
	t.Reset() // the epoch last: see Begin
}

// Start is where a feed takes up a stream of commits.
type Start struct {
	From     LSN    // commits that end up to here will not come
	NextXID  uint64 // those commits, and whatever else is not in the stream, have lower xids
	Timeline uint32
}

// Start is a Gap that ends, for the feed; for everybody else SetServing ends it. Fills that might lack a commit which will
// not come are refused: on a replica if it had not replayed From, on the primary until all xids below NextXID have ended.
// (The snapshot's xmax wouldn't do for NextXID: a commit whose record is in the WAL before From, and which waits for a
// synchronous standby, can have an xid above it.)
func (t *Table) Start(s Start) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gapLocked()
	t.mu.ring.begin(t.mu.ring.last, s.NextXID, s.From)
	t.mu.newestXID = s.NextXID
	t.timeline.Store(s.Timeline)
	t.Advance(s.From)
}

// SetServing opens the table for hits and fills when the feed has caught up, or closes it.
func (t *Table) SetServing(on bool) {
	if on {
		t.served.Store(true)
	}
	t.serving.Store(on)
}

// ObserveSnapshot takes a snapshot (pg_current_snapshot()) of the primary that the feed follows. Without one now and then,
// what was applied long ago isn't known to be visible when a long transaction holds back xmin.
func (t *Table) ObserveSnapshot(s Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.newestXID = max(t.mu.newestXID, s.Xmax)
	t.seenLocked(s, Seq(t.visible.Load()))
}

// Cover says that the feed sees every change of these relations that is committed after lsn, and that those before it are
// visible to every new snapshot of the primary.
func (t *Table) Cover(lsn LSN, oids ...uint32) { t.coverage(true, lsn, oids) }

// Uncover says that changes of these relations may go unseen from now on.
func (t *Table) Uncover(oids ...uint32) { t.coverage(false, 0, oids) }

func (t *Table) coverage(covered bool, lsn LSN, oids []uint32) {
	if len(oids) == 0 {
		return
	}
	t.stamp(lsn, func(seq Seq) {
		for _, oid := range oids {
			r := t.relationLocked(oid)
			r.stamp(seq)
			r.covered.Store(covered)
		}
	})
}
