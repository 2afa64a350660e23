package consistency

import (
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/freshet/freshet/consistency/rule"
)

// Seq is the number of a commit in the order in which the feed applied it. It goes on counting across gaps. 0: none.
type Seq uint64

// Why a fill can't be judged, and so must not be stored.
var (
	ErrNotServing = errors.New("the WAL feed has not caught up")
	ErrGap        = errors.New("the WAL feed was interrupted since the fill began")
	ErrTimeline   = errors.New("the fill comes from another timeline than the WAL feed")
	ErrTooOld     = errors.New("the fill is older than the commits that are remembered")
)

// Cell holds the Seq of the last commit that touched something. An entry is fresh while every cell that it depends on is
// at most the entry's own Seq.
type Cell struct{ seq atomic.Uint64 }

const cellSize = int64(unsafe.Sizeof(Cell{}))

// Seq is the number of the last commit that touched it. Lock-free.
func (c *Cell) Seq() Seq { return Seq(c.seq.Load()) }

// Relation is what a Table holds of one relation. Its Cell is that of any change.
type Relation struct {
	Cell
	covered atomic.Bool
	sets    atomic.Pointer[[]*RowCells] // copied on write, under Table.mu
}

// Covered says whether the feed covers the relation. Lock-free. To be asked when an answer is about to be stored; a hit need
// not ask, since all cells of the relation are stamped when coverage begins and when it ends.
func (r *Relation) Covered() bool { return r.covered.Load() }

// Sets are the column sets of which a change of the relation has to stamp cells. Lock-free; the slice doesn't change.
func (r *Relation) Sets() []*RowCells {
	if s := r.sets.Load(); s != nil {
		return *s
	}
	return nil
}

// stamp stamps all that stands for rows of the relation.
func (r *Relation) stamp(seq Seq) {
	r.seq.Store(uint64(seq))
	for _, s := range r.Sets() {
		s.whole.seq.Store(uint64(seq))
	}
}

// Table is the version table of one database, with its ring of recent commits. As a Source, its position is the end of
// the last commit that the feed has applied.
//
// One feed writes it (see apply.go); everything else may be called from anywhere. Serving, Applied and the methods of Cell
// and Source are lock-free. A hit is served when, in this order, the gate admits the table, it is Serving, and the cells
// are fresh: a commit stamps its cells before it moves the position.
type Table struct {
	Source
	global   Cell
	serving  atomic.Bool
	applied  atomic.Uint64 // Seq
	visible  atomic.Uint64 // Seq: every commit up to it is visible to any snapshot that the primary takes from now on
	timeline atomic.Uint32
	catalog  atomic.Uint64 // Seq of the last commit that changed the catalog, or gap
	looked   atomic.Uint64 // Seq: the last look at the catalog contains every commit up to it
	served   atomic.Bool   // it has been serving since the last gap
	past     atomic.Pointer[Past]

	mu struct {
		sync.RWMutex
		ring      ring
		newestXID uint64 // about the newest of the cluster: what the feed's 32-bit xids are completed from
		relations map[uint32]*Relation
		sets      map[string]*RowCells // by ColumnSet.key

		rowCells, maxRowCells int // of all sets
		refusedSets           uint64
	}
}

// NewTable makes a table that remembers so many commits. It serves nothing until a feed has caught up.
func NewTable(commits int) *Table {
	t := &Table{}
	t.mu.ring = newRing(commits)
	t.mu.relations = make(map[uint32]*Relation)
	t.mu.sets = make(map[string]*RowCells)
	t.mu.maxRowCells = rowCellsBudget / int(cellSize)
	t.Gap()
	return t
}

// Relation is what there is of a relation, made on first demand and the same until the process ends. Entries keep its cell, so
// that a hit need not look it up.
func (t *Table) Relation(oid uint32) *Relation {
	t.mu.RLock()
	r := t.mu.relations[oid]
	t.mu.RUnlock()
	if r == nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		r = t.relationLocked(oid)
	}
	return r
}

// relationLocked also serves Apply, which makes the cells of whatever was changed: a cell that is made later, for a plan,
// would not know of it.
func (t *Table) relationLocked(oid uint32) *Relation {
	r := t.mu.relations[oid]
	if r == nil {
		r = &Relation{}
		t.mu.relations[oid] = r
	}
	return r
}

// Global is the cell that every entry depends on: catalog changes, gaps and failovers stamp it.
func (t *Table) Global() *Cell { return &t.global }

// Covered says whether the feed covers this relation from its present position on.
func (t *Table) Covered(oid uint32) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := t.mu.relations[oid]
	return r != nil && r.Covered()
}

// Serving says whether the feed has caught up since it last connected. While it has not, no fill is stored and no hit
// served. Lock-free.
func (t *Table) Serving() bool { return t.serving.Load() }

// Applied is the number of the last commit that the feed has applied. Lock-free.
func (t *Table) Applied() Seq { return Seq(t.applied.Load()) }

// Timeline is the one that the feed reads, 0 before it has connected. Lock-free.
func (t *Table) Timeline() uint32 { return t.timeline.Load() }

// Probe is what a fill saw. Begin notes the table's side of it; the rest is asked for on the same connection and in the same
// network write as the query, just before it (ReplicaProbeSQL, PrimaryProbeSQL), so that the query's own snapshot can
// only be newer.
type Probe struct {
	OnReplica bool
	Replayed  LSN      // on a replica: pg_last_wal_replay_lsn()
	Snapshot  Snapshot // on the primary: pg_current_snapshot()
	Timeline  uint32   // of the node that answered; 0: not known, and not compared
	AsOf      int64    // an instant (by Now): the answer contains every commit that was acknowledged before it; 0: not known

	Epoch   uint64 // of the table when the fill was begun
	Began   Seq    // what it had applied then
	Visible Seq    // up to which, of that, everything was known to be visible to new snapshots of the primary
}

// Begin starts a probe. To be called before its question is sent. Lock-free.
func (t *Table) Begin() Probe {
	// The epoch first: what is read after it is at least as new, and a gap in between makes Contains refuse.
	epoch := t.Epoch()
	return Probe{Epoch: epoch, Began: t.Applied(), Visible: Seq(t.visible.Load())}
}

// Contains is the fence's arithmetic: the longest prefix of the applied commits that the answer contains entirely, that is,
// (the first applied commit that it does not contain) − 1, or the last one applied. Errors are ErrNotServing, ErrGap,
// ErrTimeline, ErrTooOld.
//
// On a replica, a commit is contained if it ends at or before what was replayed: replay order is WAL order. On the
// primary, if the snapshot sees its xid: WAL positions say nothing there, since a commit's record is in the WAL, and can
// be applied by the feed, before the commit becomes visible (for long, when it waits for a synchronous standby). A
// pseudo-commit is contained in what was begun after it, on a replica that had also replayed the position it stands for.
func (t *Table) Contains(p Probe) (Seq, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch timeline := t.Timeline(); {
	case p.Epoch != t.Epoch():
		return 0, ErrGap
	case !t.Serving():
		return 0, ErrNotServing
	case p.Timeline != 0 && p.Timeline != timeline:
		return 0, ErrTimeline
	}
	if !rule.Fence {
		return t.Applied(), nil
	}
	r := &t.mu.ring
	begun, ok := r.pseudosUntil(p.Began)
	if !ok {
		return 0, ErrTooOld
	}
	var prefix Seq
	if p.OnReplica {
		prefix, ok = r.replayedAt(p.Replayed)
	} else {
		prefix, ok = t.seenLocked(p.Snapshot, p.Visible)
		if !rule.FencePrimary {
			prefix, ok = p.Began, true // where the primary is when it is asked, is beyond all that had been applied before
		}
	}
	if !ok {
		return 0, ErrTooOld
	}
	return min(prefix, begun), nil
}

// seenLocked is ring.seenBy, and remembers for later fills what this snapshot has shown to be visible. (Without that, one
// long transaction, which holds xmin back, would have every fill on the primary refused once the ring has turned over.)
func (t *Table) seenLocked(s Snapshot, visible Seq) (Seq, bool) {
	prefix, ok := t.mu.ring.seenBy(s, visible)
	if ok {
		raise(&t.visible, uint64(prefix)) // Gap, which takes it back, can't be at work: it locks
	}
	return prefix, ok
}

// CatalogChanged stamps Global: a look at the primary's catalog, over when the primary's position was lsn, has found a
// change. It must be called after what was planned by the old catalog has been dropped. With lsn 0, what was filled from a
// replica afterwards counts as new however far that has replayed.
func (t *Table) CatalogChanged(lsn LSN) Seq {
	return t.stamp(lsn, func(seq Seq) {
		t.global.seq.Store(uint64(seq))
		t.past.Store(nil)
	})
}

// CatalogLooked says that the catalog by which statements are planned now was read with this snapshot of the primary, in a
// look that began with the probe.
func (t *Table) CatalogLooked(p Probe) {
	if seq, err := t.Contains(p); err == nil {
		raise(&t.looked, uint64(seq))
	}
}

// CatalogHolds says whether statements are planned by a catalog that contains every change of it that the feed has applied. To
// be asked after Begin, when an answer is about to be stored, and after the plan's catalog was found to be the present
// one: a change that is applied later is not contained in what has begun. Lock-free.
func (t *Table) CatalogHolds() bool { return t.looked.Load() >= t.catalog.Load() }

// Flush makes everything stale that depends on a relation: for the console's FLUSH CACHE.
func (t *Table) Flush(oid uint32) Seq {
	return t.stamp(0, func(seq Seq) { t.relationLocked(oid).stamp(seq) })
}

// FlushAll makes every entry stale.
func (t *Table) FlushAll() Seq { return t.CatalogChanged(0) }

// Past is what is known of the last epoch that has served, now that a gap has ended it.
type Past struct {
	Epoch  uint64
	Global Seq   // of the global cell, until then
	AsOf   int64 // as of this instant, the cells held for everything that had been acknowledged
}

// Past gives that; the zero Past when there is none, or something has changed since that concerns all entries. Lock-free.
func (t *Table) Past() Past {
	if p := t.past.Load(); p != nil {
		return *p
	}
	return Past{}
}

// stamp applies a pseudo-commit.
func (t *Table) stamp(lsn LSN, cells func(Seq)) Seq {
	t.mu.Lock()
	defer t.mu.Unlock()
	seq := t.mu.ring.push(0, lsn)
	cells(seq)
	t.applied.Store(uint64(seq))
	return seq
}

// never is beyond every position and every xid.
const never = math.MaxUint64
