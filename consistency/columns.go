package consistency

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// Column is one of the columns by which a statement picks rows, with how its values are told apart.
type Column struct {
	Name string
	Kind ValueKind
}

// ColumnSet describes a way to pick rows of a relation: those where these columns have certain values. The members are the
// relations in whose names changes come: the relation itself, its partitions, its inheritance children; columns of one name
// are one column in all of them. It is immutable, and safe for concurrent use.
type ColumnSet struct {
	root    uint32
	members []uint32
	columns []Column
	rows    int64
	key     string // of root and columns: two sets with one key share their cells
}

// NewColumnSet describes a column set of the relation root. The order of the columns is that of the values in a RowHash; one order
// for each set of columns, or else they don't share cells. rows is about how many rows there are, as far as is known (else
// negative). The slices are the set's from here on.
func NewColumnSet(root uint32, members []uint32, columns []Column, rows int64) *ColumnSet {
	key := binary.BigEndian.AppendUint32(nil, root)
	for _, c := range columns {
		key = append(key, byte(c.Kind))
		key = binary.BigEndian.AppendUint32(key, uint32(len(c.Name)))
		key = append(key, c.Name...)
	}
	return &ColumnSet{root, members, columns, rows, string(key)}
}

// Columns are the set's columns, in the order of their values in a RowHash. They belong to the set.
func (s *ColumnSet) Columns() []Column { return s.columns }

// Members are the relations in whose names changes come. They belong to the set.
func (s *ColumnSet) Members() []uint32 { return s.members }

// Dependency is what an answer depends on: all rows of some relations, or those of the Set's members that have certain values.
type Dependency struct {
	Relations []uint32   // in whose names changes come
	Set       *ColumnSet // nil: all rows
	Rows      []RowHash  // of the values
}

// RowCells are the cells of a column set: a fixed array, of which the values choose one. The array doesn't grow with the
// number of values that have been seen, nothing in it has to be evicted, and two rows that share a cell are only made stale
// too often. One more cell, whole, stands for changes of which the rows aren't known.
type RowCells struct {
	whole   Cell
	cells   []Cell
	columns []Column
	root    uint32
	used    atomic.Int64 // when a fill last asked for them, by Now

	members []uint32 // guarded by Table.mu
	retired bool     // likewise
}

// Columns are the columns whose values choose the cell. They belong to the RowCells.
func (r *RowCells) Columns() []Column { return r.columns }

// Len is the number of cells.
func (r *RowCells) Len() int { return len(r.cells) }

// Whole is the cell of changes of which the rows aren't known.
func (r *RowCells) Whole() *Cell { return &r.whole }

// Index says which cell the rows with these values have.
func (r *RowCells) Index(h RowHash) uint32 { return uint32(uint64(h) & uint64(len(r.cells)-1)) }

// Cell is the cell of the rows with these values.
func (r *RowCells) Cell(h RowHash) *Cell { return &r.cells[r.Index(h)] }

// Bounds of what the column sets of one table take. Beyond them an answer depends on whole relations.
const (
	maxColumnSets  = 16       // of one relation: each change of it is looked at by all of them
	rowCellsBudget = 64 << 20 // bytes, of all together
	minRowCells    = 1 << 12
	maxRowCells    = 1 << 18
	anyRowCells    = 1 << 16                 // when it isn't known how many rows there are
	rowCellsIdle   = 10 * int64(time.Minute) // after which a column set makes room for another
)

// LimitRowCells bounds the memory of the cells of all column sets; 0: there are none, and every answer depends on whole relations. Without
// it the bound is 64 MiB. To be called before the table is used.
func (t *Table) LimitRowCells(bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.maxRowCells = int(bytes / cellSize)
}

// rowCellsFor is how many cells suit so many rows: some more than there are rows, up to a limit.
func rowCellsFor(rows int64) int {
	if rows < 0 {
		return anyRowCells
	}
	n := min(max(4*min(rows, maxRowCells), minRowCells), maxRowCells)
	return 1 << bits.Len64(uint64(n-1))
}

// Cells appends to dst the cells that an answer with this dependency depends on, besides Global. To be called before the fill's
// probe is begun: the cells of a column set that is new here begin as if everything applied so far had changed it, and count
// from there.
func (t *Table) Cells(dst []*Cell, d Dependency) []*Cell {
	if d.Set != nil {
		if r := t.rowCells(d.Set); r != nil {
			dst = append(dst, &r.whole)
			for _, h := range d.Rows {
				dst = append(dst, r.Cell(h))
			}
			return dst
		}
	}
	for _, oid := range d.Relations {
		dst = append(dst, &t.Relation(oid).Cell)
	}
	return dst
}

// rowCells are the cells of a column set, made on first demand; nil when there is no room for them.
func (t *Table) rowCells(s *ColumnSet) *RowCells {
	now := Now()
	t.mu.RLock()
	r := t.mu.sets[s.key]
	ok := r != nil && r.suits(s)
	t.mu.RUnlock()
	if !ok {
		t.mu.Lock()
		r = t.rowCellsLocked(s, now)
		t.mu.Unlock()
	}
	// Not at every fill: it is one cache line for all shards.
	if r != nil && now-r.used.Load() > int64(time.Second) {
		r.used.Store(now)
	}
	return r
}

// suits says whether these are the cells for a column set as it is described now.
func (r *RowCells) suits(s *ColumnSet) bool {
	for _, oid := range s.members {
		if !slices.Contains(r.members, oid) {
			return false
		}
	}
	return !r.outgrown(s)
}

// outgrown says whether the relation has grown so much that other cells would be worth it.
func (r *RowCells) outgrown(s *ColumnSet) bool {
	return s.rows >= 0 && rowCellsFor(s.rows) >= 8*len(r.cells)
}

func (t *Table) rowCellsLocked(s *ColumnSet, now int64) *RowCells {
	r := t.mu.sets[s.key]
	if r != nil && r.outgrown(s) {
		t.retireLocked(r)
		r = nil
	}
	if r == nil {
		if !t.roomLocked(s, now) {
			t.mu.refusedSets++
			return nil
		}
		r = &RowCells{cells: make([]Cell, rowCellsFor(s.rows)), columns: s.columns, root: s.root}
		r.used.Store(now)
		t.mu.sets[s.key] = r
		t.mu.rowCells += len(r.cells)
	}
	for _, oid := range s.members {
		if slices.Contains(r.members, oid) {
			continue
		}
		r.members = append(r.members, oid)
		rel := t.relationLocked(oid)
		sets := append(slices.Clip(rel.Sets()), r)
		rel.sets.Store(&sets)
		// What was applied before now may have touched any of the rows: until now, nobody has asked which. (Commits whose
		// changes have been decoded already, but not applied, stamp it whole: see Commit.Told.)
		r.whole.seq.Store(t.applied.Load())
	}
	return r
}

// roomLocked says whether there is room for a column set, after those that nobody uses have made some.
func (t *Table) roomLocked(s *ColumnSet, now int64) bool {
	for {
		full := t.mu.rowCells+rowCellsFor(s.rows) > t.mu.maxRowCells
		var crowded uint32
		for _, oid := range s.members {
			if r := t.mu.relations[oid]; r != nil && len(r.Sets()) >= maxColumnSets {
				full, crowded = true, oid
			}
		}
		if !full {
			return true
		}
		var oldest *RowCells
		for _, r := range t.mu.sets {
			if (crowded == 0 || slices.Contains(r.members, crowded)) && (oldest == nil || r.used.Load() < oldest.used.Load()) {
				oldest = r
			}
		}
		if oldest == nil || now-oldest.used.Load() < rowCellsIdle {
			return false
		}
		t.retireLocked(oldest)
	}
}

// retireLocked takes a column set out of the table. Answers that depend on it are stale for ever.
func (t *Table) retireLocked(r *RowCells) {
	r.retired = true
	r.whole.seq.Store(never)
	for _, oid := range r.members {
		rel := t.relationLocked(oid)
		sets := slices.DeleteFunc(slices.Clone(rel.Sets()), func(o *RowCells) bool { return o == r })
		rel.sets.Store(&sets)
	}
	for key, o := range t.mu.sets {
		if o == r {
			delete(t.mu.sets, key)
		}
	}
	t.mu.rowCells -= len(r.cells)
}

// ColumnSetStats is what the column sets of a table take.
type ColumnSetStats struct {
	Sets      int
	Most      int // of one relation
	MostLimit int
	Bytes     int64
	Limit     int64
	Refused   uint64 // times that an answer had to depend on whole relations, for want of room
}

// ColumnSetStats counts the column sets. Safe for concurrent use.
func (t *Table) ColumnSetStats() ColumnSetStats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	most := 0
	for _, r := range t.mu.sets {
		for _, oid := range r.members {
			most = max(most, len(t.mu.relations[oid].Sets()))
		}
	}
	return ColumnSetStats{Sets: len(t.mu.sets), Most: most, MostLimit: maxColumnSets, Bytes: int64(t.mu.rowCells) * cellSize,
		Limit: int64(t.mu.maxRowCells) * cellSize, Refused: t.mu.refusedSets}
}
