package consistency

import (
	"math"
	"strconv"
	"testing"
)

func intSet(root uint32, names ...string) *ColumnSet {
	var columns []Column
	for _, n := range names {
		columns = append(columns, Column{n, KindInt})
	}
	return NewColumnSet(root, []uint32{root}, columns, 100)
}

func intRow(values ...int64) RowHash {
	var h RowHash
	for _, v := range values {
		h = h.int(v)
	}
	return h
}

// rowDeps is what an answer depends on besides Global.
func rowDeps(t *Table, s *ColumnSet, rows ...RowHash) []*Cell {
	return t.Cells(nil, Dependency{Relations: s.members, Set: s, Rows: rows})
}

// made finds the cells of a column set that was asked for.
func made(t *testing.T, table *Table, s *ColumnSet) *RowCells {
	t.Helper()
	r := table.rowCells(s)
	if r == nil {
		t.Fatal("no room")
	}
	return r
}

func fresh(cells []*Cell, seq Seq) bool {
	for _, c := range cells {
		if c.Seq() > seq {
			return false
		}
	}
	return true
}

func TestACommitMakesStaleOnlyTheRowsThatItTells(t *testing.T) {
	table := feeding(t, 16)
	set := intSet(1, "id")
	one, two := rowDeps(table, set, intRow(1)), rowDeps(table, set, intRow(2))
	other, all := rowDeps(table, intSet(1, "x"), intRow(1)), table.Cells(nil, Dependency{Relations: []uint32{1}})
	r := made(t, table, set)
	before := table.Applied()
	table.Apply(Commit{XID: 100, End: 1010, Relations: []uint32{1}, Told: [][]*RowCells{{r}},
		Stamps: []Stamp{{Set: r, Cells: []uint32{r.Index(intRow(1))}}}})
	if fresh(one, before) || !fresh(two, before) {
		t.Errorf("row 1 is fresh: %v, row 2: %v", fresh(one, before), fresh(two, before))
	}
	if fresh(other, before) || fresh(all, before) {
		t.Error("what depends on a column set that the commit doesn't tell of, or on all rows, is fresh")
	}
	now := table.Applied()
	table.Apply(Commit{XID: 101, End: 1020, Relations: []uint32{1}, Told: [][]*RowCells{{r}}, Stamps: []Stamp{{Set: r, Whole: true}}})
	if fresh(two, now) {
		t.Error("a commit of rows that aren't known left a row fresh")
	}
}

func TestWhatStampsARelationStampsAllItsRows(t *testing.T) {
	set := intSet(7, "id")
	for name, stamp := range map[string]func(*Table){
		"a commit that tells nothing":     func(t *Table) { t.Apply(Commit{XID: 100, End: 1010, Relations: []uint32{3, 7}}) },
		"one that tells of others":        func(t *Table) { t.Apply(Commit{XID: 100, End: 1010, Relations: []uint32{7}, Told: [][]*RowCells{{}}}) },
		"FLUSH CACHE":                     func(t *Table) { t.Flush(7) },
		"the beginning of its coverage":   func(t *Table) { t.Cover(1000, 7) },
		"the end of its coverage":         func(t *Table) { t.Uncover(7) },
		"a partition that comes to a set": func(t *Table) { t.Cells(nil, Dependency{Set: NewColumnSet(7, []uint32{7, 8}, set.columns, 100)}) },
	} {
		table := feeding(t, 16)
		deps := rowDeps(table, set, intRow(1))
		before := table.Applied() - 1
		if name != "a partition that comes to a set" {
			before = table.Applied()
		}
		stamp(table)
		if fresh(deps, before) {
			t.Errorf("%s leaves a row fresh", name)
		}
	}
}

// The changes of a transaction are decoded as they come; a column set that is made in between isn't in what they tell.
func TestAColumnSetThatIsMadeWhileCommitsComeMissesNoneOfThem(t *testing.T) {
	table := feeding(t, 16)
	first := made(t, table, intSet(1, "id"))
	told := table.Relation(1).Sets()
	// Now a change of row 5 has been decoded; and then:
	table.Apply(Commit{XID: 100, End: 1010, Relations: []uint32{1}})
	began := table.Applied()
	late := rowDeps(table, intSet(1, "x"), intRow(5))
	if !fresh(late, began) || fresh(late, began-1) {
		t.Error("it begins otherwise than as of what is applied")
	}
	table.Apply(Commit{XID: 101, End: 1020, Relations: []uint32{1}, Told: [][]*RowCells{told},
		Stamps: []Stamp{{Set: first, Cells: []uint32{first.Index(intRow(5))}}}})
	if fresh(late, began) {
		t.Error("a commit that was decoded before it was made, and applied after, left it fresh")
	}
}

func TestColumnSetsAreBounded(t *testing.T) {
	table := feeding(t, 16)
	clock := Now()
	for i := range maxColumnSets {
		made(t, table, intSet(1, "c"+strconv.Itoa(i)))
	}
	if deps := rowDeps(table, intSet(1, "one more"), intRow(1)); len(deps) != 1 || deps[0] != &table.Relation(1).Cell {
		t.Error("a column set too many for one relation isn't a dependency on all of it")
	}
	if s := table.ColumnSetStats(); s.Sets != maxColumnSets || s.Most != maxColumnSets || s.Refused != 1 || s.Bytes != maxColumnSets*minRowCells*cellSize {
		t.Errorf("%+v", s)
	}
	for oid := uint32(2); table.rowCells(NewColumnSet(oid, []uint32{oid}, []Column{{"id", KindInt}}, math.MaxInt32)) != nil; oid++ {
	}
	if s := table.ColumnSetStats(); s.Bytes > s.Limit || s.Bytes < s.Limit*9/10 {
		t.Errorf("%+v", s)
	}
	// What nobody has used for long makes room.
	old := rowDeps(table, intSet(1, "c3"), intRow(1))
	r := made(t, table, intSet(1, "c3"))
	told := table.Relation(1).Sets()
	r.used.Store(clock - rowCellsIdle - 1)
	if deps := rowDeps(table, intSet(1, "one more"), intRow(1)); len(deps) != 2 {
		t.Error("no room, though one isn't used")
	}
	if fresh(old, table.Applied()) {
		t.Error("what depended on it is fresh")
	}
	// A commit that still tells of it doesn't bring it back.
	table.Apply(Commit{XID: 100, End: 1010, Relations: []uint32{1}, Told: [][]*RowCells{told}, Stamps: []Stamp{{Set: r, Whole: true}}})
	if fresh(old, table.Applied()) {
		t.Error("what depended on it is fresh again")
	}
	if len(table.Relation(1).Sets()) != maxColumnSets {
		t.Errorf("%d column sets", len(table.Relation(1).Sets()))
	}
}

func TestARelationThatHasGrownGetsMoreCells(t *testing.T) {
	table := feeding(t, 16)
	small := NewColumnSet(1, []uint32{1}, []Column{{"id", KindInt}}, 10)
	old := rowDeps(table, small, intRow(1))
	large := NewColumnSet(1, []uint32{1}, []Column{{"id", KindInt}}, 1_000_000)
	if r := made(t, table, large); r.Len() != maxRowCells || len(table.Relation(1).Sets()) != 1 {
		t.Errorf("%d cells, %d column sets", r.Len(), len(table.Relation(1).Sets()))
	}
	if fresh(old, table.Applied()) {
		t.Error("what depended on the old cells is fresh")
	}
	if a, b := made(t, table, large), made(t, table, small); a != b {
		t.Error("two plans fight for the cells")
	}
	for _, n := range []int64{-1, 0, 1, minRowCells/4 + 1, math.MaxInt64} {
		if c := rowCellsFor(n); c&(c-1) != 0 || c < minRowCells || c > maxRowCells || n > 0 && n < maxRowCells/4 && c < int(n) {
			t.Errorf("%d cells for %d rows", c, n)
		}
	}
}

func TestRowCellsCostNothingOnceTheyAreThere(t *testing.T) {
	table := feeding(t, 16)
	d := Dependency{Relations: []uint32{1}, Set: intSet(1, "id"), Rows: []RowHash{intRow(1)}}
	cells := table.Cells(nil, d)
	if n := testing.AllocsPerRun(100, func() { cells = table.Cells(cells[:0], d) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	r := made(t, table, d.Set)
	commit := Commit{XID: 100, End: 1010, Relations: []uint32{1}, Told: [][]*RowCells{{r}}, Stamps: []Stamp{{Set: r, Cells: []uint32{1, 2}}}}
	if n := testing.AllocsPerRun(100, func() { commit.XID++; commit.End++; table.Apply(commit) }); n != 0 {
		t.Errorf("%v allocations to apply a commit", n)
	}
}
