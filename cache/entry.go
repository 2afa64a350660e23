package cache

import (
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/consistency/rule"
)

// Entry is one cached answer: the bytes as they will be sent, and what is
// needed to tell whether they are still right. It is immutable once it has
// been handed to Put (but for what Right notes): anybody may read it, nobody may write it, and what it
// points to lives as long as somebody holds it, also after its eviction.
type Entry struct {
	// Key is the whole key (KeyBuilder.Bytes, copied).
	Key []byte
	// RowDesc is the framed RowDescription; empty where the answer had none
	// (the client didn't ask for it).
	RowDesc []byte
	// Rows holds the framed DataRow messages, one after the other.
	Rows []byte
	// Complete is the framed CommandComplete.
	Complete []byte
	// Seq is how far into the feed the answer reaches: it contains every
	// applied commit up to and including this one.
	Seq consistency.Seq
	// Deps are the cells of everything the answer depends on, the global
	// cell first.
	Deps []*consistency.Cell
	// Whole says which of the first 64 Deps stand for all rows of a relation, or for changes of which the rows aren't known: bit i for
	// Deps[i].
	Whole uint64
	// Shown is when the answer was stored, if a replica gave it; 0: it is the primary's.
	Shown int64
	// Epoch is the table's epoch in which Seq was worked out.
	Epoch uint64
	// Position is a WAL position that the answer is known to contain.
	Position consistency.LSN
	// Until is a WAL position beyond which the answer contains nothing: whoever has seen it mustn't be shown less than
	// that.
	Until consistency.LSN
	// FilledAt is when the answer was stored, in Unix nanoseconds.
	FilledAt int64
	// AsOf is an instant (by consistency.Now): the answer contains every commit that was acknowledged before it. 0: none is known.
	AsOf int64
	// ForATime: it was stored because somebody asked for it, though not all that it depends on is watched (freshet.cache_ttl). Only
	// they may be given it.
	ForATime bool

	right atomic.Int64 // a later instant of which the same is known, since it was found fresh then

	bytes int64 // what key and answer take in memory; set by SetBytes
}

// Fresh says whether no commit that came after the answer touched what the
// answer depends on. It is the last third of the rule for a hit; the gate and
// Reached have to be asked before. It takes no lock and allocates nothing.
func (e *Entry) Fresh() bool {
	for _, c := range e.Deps {
		if rule.Cells && c.Seq() > e.Seq {
			return false
		}
	}
	return true
}

// Reached says whether Fresh can be relied on: the feed has applied all that
// the answer contains, so that a change of the catalog among it has stamped the
// global cell; or the answer contains all that has been applied, whatever it
// depends on. Until then the answer may come from a server on which the plan's
// names had other meanings already, so that Deps are not what it depends on. To
// be asked after the gate and before Fresh, since a commit is numbered, and has
// stamped its cells, when the position moves. It takes no lock.
func (e *Entry) Reached(t *consistency.Table) bool {
	return e.Seq >= t.Applied() || t.Position() >= e.Until
}

// Staleness is why an entry isn't fresh.
type Staleness uint8

// Kinds of staleness, the more general first.
const (
	NotStale     Staleness = iota
	StaleCatalog           // something has changed that concerns all entries: the catalog, a gap in the feed, FLUSH CACHE
	StaleTable             // a table was written, and the entry depends on all of it, or which rows were written isn't known
	StaleRows              // rows were written that the entry depends on
)

// Why says why the entry isn't fresh, for people: it may have changed since Fresh was asked.
func (e *Entry) Why() Staleness {
	why := NotStale
	for i, c := range e.Deps {
		switch {
		case c.Seq() <= e.Seq:
		case i == 0:
			return StaleCatalog
		case i >= 64 || e.Whole&(1<<i) != 0:
			return StaleTable
		default:
			why = StaleRows
		}
	}
	return why
}

// newer says whether an entry is to be kept rather than replaced by another one of the same key.
func (e *Entry) newer(o *Entry) bool {
	if e.ForATime {
		return e.AsOf > o.AsOf && e.Fresh()
	}
	return e.Epoch == o.Epoch && e.Seq > o.Seq && e.Fresh()
}

// Right notes that the answer was found fresh after the table had been asked for asOf (Source.AsOf). It is for RightAsOf, and
// written now and then only: an entry that is in demand is read by all shards.
func (e *Entry) Right(asOf int64) {
	if asOf-e.right.Load() > int64(rightEvery) {
		e.right.Store(asOf)
	}
}

// rightEvery is by how much RightAsOf may be earlier than was known.
const rightEvery = 50 * time.Millisecond

// RightAsOf gives the latest instant of which it is known that the answer contains every commit that touches it and was
// acknowledged before. It is for answers that are stale, or of which that can't be told now: the difference to now bounds
// their staleness. 0: it must not be given to anybody, since something has changed that concerns all answers, as it does when
// privileges change, or that can't be excluded.
func (e *Entry) RightAsOf(t *consistency.Table) int64 {
	if len(e.Deps) == 0 {
		return 0
	}
	own := max(e.AsOf, e.right.Load())
	// In this order: what was applied by asOf has stamped its cells before.
	epoch, asOf, global := t.Epoch(), t.AsOf(), e.Deps[0].Seq()
	if e.Epoch != epoch {
		p := t.Past()
		if p.Epoch != e.Epoch {
			return 0
		}
		asOf, global = p.AsOf, p.Global
	}
	if global > e.Seq {
		return 0
	}
	if e.ForATime {
		return own
	}
	for _, c := range e.Deps[1:] {
		if c.Seq() > e.Seq {
			return own
		}
	}
	return max(own, asOf)
}

// Len is the number of bytes of the answer as it will be sent, without key
// and bookkeeping.
func (e *Entry) Len() int { return len(e.RowDesc) + len(e.Rows) + len(e.Complete) }

// SetBytes copies key and answer into one piece of memory and makes Key,
// RowDesc, Rows and Complete views of it. One slab an entry is one object for
// the collector, and one rounding up to a size class instead of four.
func (e *Entry) SetBytes(key, rowDesc, rows, complete []byte) {
	n := len(key) + len(rowDesc) + len(rows) + len(complete)
	// Grow gives all of the size class that the allocator takes anyway, so
	// that cap is what the slab truly costs.
	slab := slices.Grow([]byte(nil), n)
	slab = append(slab, key...)
	slab = append(slab, rowDesc...)
	slab = append(slab, rows...)
	slab = append(slab, complete...)
	a := len(key)
	b := a + len(rowDesc)
	c := b + len(rows)
	e.Key, e.RowDesc, e.Rows, e.Complete = slab[:a:a], slab[a:b:b], slab[b:c:c], slab[c:n:n]
	e.bytes = int64(cap(slab))
}

// What an entry costs besides its bytes. TestCountedIsUsed holds the sum
// against the growth of the heap.
const (
	entrySize = int64(unsafe.Sizeof(Entry{}))
	nodeSize  = int64(unsafe.Sizeof(node{}))
	// A slot of the map from hash to node, with its control byte, in a
	// table that has just doubled and so is half of 7/8 full: 17 / (7/16).
	mapSlot = 40
)

// size is what the entry costs in memory, in bytes, everything counted.
func (e *Entry) size() int64 {
	n := roundUp(entrySize) + roundUp(nodeSize) + mapSlot + departedSize
	n += roundUp(int64(cap(e.Deps)) * int64(unsafe.Sizeof((*consistency.Cell)(nil))))
	if e.bytes > 0 {
		return n + e.bytes
	}
	// Put together by hand: each slice is an allocation of its own.
	for _, b := range [...][]byte{e.Key, e.RowDesc, e.Rows, e.Complete} {
		n += roundUp(int64(cap(b)))
	}
	return n
}

// roundUp gives what the allocator takes for n bytes, at most: its size
// classes lie at most an eighth apart, and at least 16 bytes for what isn't
// tiny.
func roundUp(n int64) int64 {
	if n <= 256 {
		return (n + 15) &^ 15
	}
	return n + n/8
}
