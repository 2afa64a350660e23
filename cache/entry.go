package cache

import (
	"slices"
	"unsafe"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/consistency/rule"
)

// Entry is one cached answer: the bytes as they will be sent, and what is
// needed to tell whether they are still right. It is immutable once it has
// been handed to Put: anybody may read it, nobody may write it, and what it
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
	// cell among them.
	Deps []*consistency.Cell
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

	bytes int64 // what key and answer take in memory; set by SetBytes
}

// Fresh says whether no commit that came after the answer touched what the
// answer depends on. It is the second half of the rule for a hit; the first,
// the gate, has to be asked before. It takes no lock and allocates nothing.
func (e *Entry) Fresh() bool {
	for _, c := range e.Deps {
		if rule.Cells && c.Seq() > e.Seq {
			return false
		}
	}
	return true
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
	// simplelru's list element: two links, list, key, value, expiry time and
	// bucket: 72 bytes, in the class of 80.
	lruNode = 80
	// A slot of the map from hash to element, with its control byte, in a
	// table that has just doubled and so is half of 7/8 full: 17 / (7/16).
	mapSlot = 40
)

// size is what the entry costs in memory, in bytes, everything counted.
func (e *Entry) size() int64 {
	n := roundUp(entrySize) + lruNode + mapSlot
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
