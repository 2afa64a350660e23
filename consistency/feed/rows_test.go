package feed

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/consistency"
)

// The builders follow the protocol manual, as those in decode_test.go do.

func relationMessage(oid uint32, identity byte, columns ...column) []byte {
	m := append(binary.BigEndian.AppendUint32([]byte{'R'}, oid), "public\x00t\x00"...)
	m = binary.BigEndian.AppendUint16(append(m, identity), uint16(len(columns)))
	for _, c := range columns {
		flags := byte(0)
		if c.key {
			flags = 1
		}
		m = append(append(append(m, flags), c.name...), 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff)
	}
	return m
}

// Values in tuples, besides their texts.
const (
	null      = "\x00null"
	unchanged = "\x00unchanged"
)

func appendTuple(m []byte, part byte, values ...string) []byte {
	m = binary.BigEndian.AppendUint16(append(m, part), uint16(len(values)))
	for _, v := range values {
		switch v {
		case null:
			m = append(m, 'n')
		case unchanged:
			m = append(m, 'u')
		default:
			m = append(binary.BigEndian.AppendUint32(append(m, 't'), uint32(len(v))), v...)
		}
	}
	return m
}

func rowMessage(kind byte, oid uint32, parts ...[]byte) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, oid)
	for _, p := range parts {
		m = append(m, p...)
	}
	return m
}

func part(how byte, values ...string) []byte { return appendTuple(nil, how, values...) }

// rowFixture is a decoder with its table.
type rowFixture struct {
	testing.TB
	table *consistency.Table
	d     decoder
	xid   uint32
	end   consistency.LSN
}

func newRowFixture(t testing.TB) *rowFixture {
	table := consistency.NewTable(64)
	table.Start(consistency.Start{From: 1000, NextXID: 100, Timeline: 1})
	return &rowFixture{TB: t, table: table, d: newDecoder(table), xid: 100, end: 1000}
}

func (f *rowFixture) feed(messages ...[]byte) {
	f.Helper()
	if c := decode(f, &f.d, messages...); c != nil {
		f.Fatal("a commit comes early")
	}
}

// transaction applies one with these changes.
func (f *rowFixture) transaction(messages ...[]byte) {
	f.Helper()
	f.begin()
	f.feed(messages...)
	f.commit()
}

func (f *rowFixture) begin() {
	f.Helper()
	f.xid++
	f.feed(begin(f.xid))
}

func (f *rowFixture) commit() *consistency.Commit {
	f.Helper()
	f.end += 10
	c := decode(f, &f.d, commit(f.end))
	f.table.Apply(*c)
	return c
}

const rowsOID = 7

func ints(names ...string) *consistency.ColumnSet { return set(consistency.KindInt, names...) }

func set(kind consistency.ValueKind, names ...string) *consistency.ColumnSet {
	var columns []consistency.Column
	for _, n := range names {
		columns = append(columns, consistency.Column{Name: n, Kind: kind})
	}
	return consistency.NewColumnSet(rowsOID, []uint32{rowsOID}, columns, 1000)
}

// answer is one that is cached: of the rows where the set's columns have these values.
type answer struct {
	name  string
	cells []*consistency.Cell
	seq   consistency.Seq
}

func (f *rowFixture) answer(s *consistency.ColumnSet, values ...string) *answer {
	f.Helper()
	var h consistency.RowHash
	for i, c := range s.Columns() {
		var ok bool
		if h, ok = h.Text(c.Kind, []byte(values[i])); !ok {
			f.Fatalf("%q isn't a value", values[i])
		}
	}
	d := consistency.Dependency{Relations: s.Members(), Set: s, Rows: []consistency.RowHash{h}}
	return &answer{strings.Join(values, ","), f.table.Cells(nil, d), f.table.Applied()}
}

func (a *answer) fresh() bool {
	return !slices.ContainsFunc(a.cells, func(c *consistency.Cell) bool { return c.Seq() > a.seq })
}

// expect says which of the answers are stale, and makes all of them fresh again.
func (f *rowFixture) expect(what string, answers []*answer, stale ...string) {
	f.Helper()
	var got []string
	for _, a := range answers {
		if !a.fresh() {
			got = append(got, a.name)
		}
		a.seq = f.table.Applied()
	}
	slices.Sort(got)
	if !slices.Equal(got, stale) {
		f.Errorf("%s: stale are %v, not %v", what, got, stale)
	}
}

func TestRowsAreStampedByTheirOldAndNewValues(t *testing.T) {
	f := newRowFixture(t)
	key := []column{{"id", true}, {"v", false}}
	all := []column{{"id", true}, {"v", true}}
	byID, byV, byBoth := ints("id"), ints("v"), ints("id", "v")
	answers := []*answer{f.answer(byID, "1"), f.answer(byID, "2"), f.answer(byID, "3"), f.answer(byV, "10"), f.answer(byV, "20"),
		f.answer(byBoth, "1", "10"), f.answer(byBoth, "2", "10")}
	var every []string
	for _, a := range answers {
		every = append(every, a.name)
	}
	slices.Sort(every)
	notByID := []string{"1,10", "10", "2,10", "20"} // of what isn't known to be in another row: all
	with := func(list []string, more ...string) []string {
		list = append(slices.Clone(list), more...)
		slices.Sort(list)
		return list
	}
	for _, c := range []struct {
		what     string
		identity byte
		columns  []column
		message  []byte
		stale    []string
	}{
		{"INSERT", 'd', key, rowMessage('I', rowsOID, part('N', "1", "10")), []string{"1", "1,10", "10"}},
		{"INSERT of NULL", 'd', key, rowMessage('I', rowsOID, part('N', "1", null)), []string{"1"}},
		{"UPDATE", 'd', key, rowMessage('U', rowsOID, part('N', "1", "10")), with(notByID, "1")},
		{"UPDATE of the key", 'd', key, rowMessage('U', rowsOID, part('K', "1", null), part('N', "2", "10")), with(notByID, "1", "2")},
		{"DELETE", 'd', key, rowMessage('D', rowsOID, part('K', "2", null)), with(notByID, "2")},
		{"FULL: INSERT", 'f', all, rowMessage('I', rowsOID, part('N', "1", "10")), []string{"1", "1,10", "10"}},
		{"FULL: UPDATE", 'f', all, rowMessage('U', rowsOID, part('O', "1", "10"), part('N', "1", "20")), []string{"1", "1,10", "10", "20"}},
		{"FULL: UPDATE from NULL", 'f', all, rowMessage('U', rowsOID, part('O', "1", null), part('N', "1", "20")), []string{"1", "20"}},
		{"FULL: UPDATE of the key", 'f', all, rowMessage('U', rowsOID, part('O', "1", "10"), part('N', "3", "30")), []string{"1", "1,10", "10", "3"}},
		{"FULL: DELETE", 'f', all, rowMessage('D', rowsOID, part('O', "2", "20")), []string{"2", "20"}},
		{"FULL, without the old tuple", 'f', all, rowMessage('U', rowsOID, part('N', "1", "10")), every},
		{"NOTHING: UPDATE", 'n', []column{{"id", false}, {"v", false}}, rowMessage('U', rowsOID, part('N', "1", "10")), every},
		{"a column isn't in the stream", 'd', key[:1], rowMessage('I', rowsOID, part('N', "1")), with(notByID, "1")},
		{"more values than columns", 'd', key, rowMessage('I', rowsOID, part('N', "1", "10", "5")), every},
		{"fewer", 'd', key, rowMessage('D', rowsOID, part('K', "1")), every},
		{"a value that isn't one", 'd', key, rowMessage('I', rowsOID, part('N', "1", "ten")), with(notByID, "1")},
		{"TOAST: the key's value is in the old tuple", 'd', key, rowMessage('U', rowsOID, part('K', "1", null), part('N', unchanged, "10")), with(notByID, "1")},
		{"TOAST: it isn't", 'd', key, rowMessage('U', rowsOID, part('N', unchanged, "10")), every},
		{"FULL, TOAST", 'f', all, rowMessage('U', rowsOID, part('O', "2", "20"), part('N', "2", unchanged)), []string{"2", "20"}},
		{"FULL, TOAST that is nowhere", 'f', all, rowMessage('U', rowsOID, part('O', "2", unchanged), part('N', "2", unchanged)), with(notByID, "2")},
		{"TRUNCATE", 'd', key, truncate(rowsOID), every},
		{"REFRESH", 'd', key, append(append([]byte{'M'}, make([]byte, 9)...), "freshet.relation\x00\x00\x00\x00\x017"...), every},
	} {
		// Twice, as the first may count for having been described anew.
		f.transaction(relationMessage(rowsOID, c.identity, c.columns...), rowMessage('I', rowsOID, part('N', slices.Repeat([]string{"99"}, len(c.columns))...)))
		for _, a := range answers {
			a.seq = f.table.Applied()
		}
		f.transaction(c.message)
		f.expect(c.what, answers, c.stale...)
	}
}

func TestARelationThatIsDescribedOtherwiseIsStampedWhole(t *testing.T) {
	f := newRowFixture(t)
	before, after := relationMessage(rowsOID, 'd', column{"id", true}, column{"v", false}), relationMessage(rowsOID, 'd', column{"v", true}, column{"id", false})
	answers := []*answer{f.answer(ints("id"), "1"), f.answer(ints("id"), "2")}
	insert := rowMessage('I', rowsOID, part('N', "2", "9"))
	f.transaction(before, insert)
	f.expect("the first description", answers, "2")
	f.transaction(before, insert)
	f.expect("the same one again, as after ANALYZE", answers, "2")
	f.transaction(after, insert)
	f.expect("another one", answers, "1", "2")
	f.transaction(rowMessage('I', rowsOID, part('N', "9", "1")))
	f.expect("after that", answers, "1")
	f.transaction(insert, before, insert)
	f.expect("another one in mid-transaction", answers, "1", "2")
	f.feed(after)
	f.transaction(insert)
	f.expect("one between transactions", answers, "1", "2")
}

// A column set that a plan begins to depend on while a transaction is on its way isn't in what that tells.
func TestAColumnSetThatIsMadeWhileATransactionIsDecoded(t *testing.T) {
	f := newRowFixture(t)
	described := relationMessage(rowsOID, 'd', column{"id", true}, column{"v", false})
	f.transaction(described, rowMessage('I', rowsOID, part('N', "5", "5")))
	first := f.answer(ints("id"), "1")
	f.begin()
	f.feed(rowMessage('I', rowsOID, part('N', "2", "20")))
	late := f.answer(ints("v"), "20")
	if !late.fresh() {
		t.Fatal("it begins stale")
	}
	f.feed(rowMessage('I', rowsOID, part('N', "3", "30")))
	f.commit()
	if late.fresh() {
		t.Error("a change that was decoded before the column set was there left it fresh")
	}
	if !first.fresh() {
		t.Error("a change of another row made it stale")
	}
	late.seq = f.table.Applied()
	f.transaction(rowMessage('I', rowsOID, part('N', "4", "40")))
	if !late.fresh() {
		t.Error("the transaction after that doesn't tell its rows")
	}
}

func TestLargeTransactionsAreBounded(t *testing.T) {
	f := newRowFixture(t)
	rows := func(n int64) *consistency.ColumnSet {
		return consistency.NewColumnSet(rowsOID, []uint32{rowsOID}, []consistency.Column{{Name: "id", Kind: consistency.KindInt}}, n)
	}
	few, other := f.answer(rows(1_000_000), "-1"), f.answer(ints("v"), "7")
	described := relationMessage(rowsOID, 'd', column{"id", true}, column{"v", false})
	// The same rows again and again are few.
	f.begin()
	f.feed(described)
	for i := range 500_000 {
		f.feed(rowMessage('I', rowsOID, part('N', strconv.Itoa(i%1000), strconv.Itoa(100+i%3))))
	}
	f.commit()
	if !few.fresh() || !other.fresh() {
		t.Error("a thousand rows, changed many times each, are taken for many")
	}
	f.begin()
	for i := range 500_000 {
		f.feed(rowMessage('I', rowsOID, part('N', strconv.Itoa(i), "100")))
		if f.d.stamps > maxStamps+2 {
			t.Fatalf("%d stamps", f.d.stamps)
		}
	}
	f.commit()
	if few.fresh() {
		t.Error("as many rows are stamped one by one")
	}
	if !other.fresh() {
		t.Error("what isn't many is stamped whole, too")
	}
	f.begin()
	if n := cap(f.d.commit.Stamps); n != 0 {
		t.Errorf("the memory of %d stamps is kept", n)
	}
}

func TestTuplesThatAreNoneAreRefused(t *testing.T) {
	for name, m := range map[string][]byte{
		"no tuple":            rowMessage('I', rowsOID),
		"an old one only":     rowMessage('U', rowsOID, part('K', "1", null)),
		"no old one":          rowMessage('D', rowsOID),
		"a new one only":      rowMessage('D', rowsOID, part('N', "1", "2")),
		"bytes behind":        append(rowMessage('I', rowsOID, part('N', "1", "2")), 0),
		"a third":             rowMessage('U', rowsOID, part('O', "1", "2"), part('N', "1", "2"), part('N', "1", "2")),
		"cut in the number":   rowMessage('I', rowsOID, []byte{'N', 0}),
		"cut in a length":     rowMessage('I', rowsOID, []byte{'N', 0, 1, 't', 0, 0}),
		"cut in a value":      rowMessage('I', rowsOID, []byte{'N', 0, 1, 't', 0, 0, 0, 2, '1'}),
		"cut before a value":  rowMessage('I', rowsOID, []byte{'N', 0, 2, 'n'}),
		"a value of 4 GB":     rowMessage('I', rowsOID, []byte{'N', 0, 1, 't', 0xff, 0xff, 0xff, 0xff, '1'}),
		"a value of no kind":  rowMessage('I', rowsOID, []byte{'N', 0, 1, 'x'}),
		"a short description": relationMessage(rowsOID, 'd', column{"id", true})[:14],
		"a shorter one":       {'R', 0, 0, 0},
	} {
		f := newRowFixture(t)
		f.answer(ints("id"), "1")
		f.begin()
		f.feed(relationMessage(rowsOID, 'd', column{"id", true}, column{"v", true}))
		if _, err := f.d.message(m); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestDecodingRowsAllocatesNothing(t *testing.T) {
	f := newRowFixture(t)
	f.answer(ints("id"), "1")
	messages := [][]byte{begin(7), rowMessage('I', rowsOID, part('N', "1", "10")), rowMessage('U', rowsOID, part('K', "1", null), part('N', "2", "10")), commit(99)}
	f.transaction(relationMessage(rowsOID, 'd', column{"id", true}, column{"v", false}))
	decode(t, &f.d, messages...)
	if n := testing.AllocsPerRun(100, func() { decode(t, &f.d, messages...) }); n != 0 {
		t.Errorf("%v allocations for a transaction", n)
	}
}

func BenchmarkDecodeRows(b *testing.B) {
	f := newRowFixture(b)
	f.answer(ints("id"), "1")
	f.transaction(relationMessage(rowsOID, 'd', column{"id", true}, column{"v", false}))
	messages := [][]byte{begin(7), rowMessage('U', rowsOID, part('N', "1234567", "10")), commit(99)}
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range messages {
			if _, err := f.d.message(m); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// modelRow is a row of the model's table: key, then text, number, flag.
type modelRow [4]string

var modelColumns = [4]struct {
	name string
	kind consistency.ValueKind
}{{"id", consistency.KindInt}, {"t", consistency.KindText}, {"n", consistency.KindInt}, {"b", consistency.KindBool}}

// stored apart, as large values are: the stream leaves them out where they are as they were.
func apart(v string) bool { return strings.HasPrefix(v, "long") }

// model is a table as Postgres has it and tells of it, and answers that were cached at some time.
type model struct {
	*rapid.T
	f        *rowFixture
	identity byte
	key      [4]bool
	rows     map[int]modelRow // as committed and applied, by an identity of theirs that isn't in the table
	next     map[int]modelRow // as of the open transaction
	made     int
	sets     []*consistency.ColumnSet
	cached   []modelAnswer
}

type modelAnswer struct {
	*answer
	set    *consistency.ColumnSet
	values []string
	rows   string
}

// query is what a statement answers that picks rows by the columns of a set.
func (m *model) query(s *consistency.ColumnSet, values []string) string {
	var found []string
	for _, r := range m.rows {
		match := true
		for i, c := range s.Columns() {
			match = match && r[modelColumn(c.Name)] == values[i]
		}
		if match {
			found = append(found, strings.Join(r[:], "|"))
		}
	}
	slices.Sort(found)
	return strings.Join(found, "\n")
}

func modelColumn(name string) int {
	for i, c := range modelColumns {
		if c.name == name {
			return i
		}
	}
	panic(name)
}

func (m *model) value(column int, nullable bool) string {
	var of []string
	switch modelColumns[column].kind {
	case consistency.KindText:
		of = []string{"", "a", "é", "long1", "long2"}
	case consistency.KindBool:
		of = []string{"t", "f"}
	default:
		of = []string{"1", "2", "3", "-4"}
	}
	if nullable {
		of = append(of, null)
	}
	return rapid.SampledFrom(of).Draw(m.T, modelColumns[column].name)
}

func (m *model) row() (r modelRow) {
	for i := range r {
		r[i] = m.value(i, !m.key[i])
	}
	return r
}

// message is what Postgres sends of a change (logicalrep_write_update and its like; ExtractReplicaIdentity).
func (m *model) message(old, new *modelRow) []byte {
	var parts [][]byte
	if old != nil {
		send := new == nil || m.identity == 'f'
		out := *old
		for i := range out {
			if m.identity == 'f' {
				continue
			}
			if !m.key[i] {
				out[i] = null
			} else if new != nil && (old[i] != new[i] || apart(old[i])) {
				send = true
			}
		}
		how := byte('K')
		if m.identity == 'f' {
			how = 'O'
		}
		if send {
			parts = append(parts, part(how, out[:]...))
		}
	}
	kind := byte('D')
	if new != nil {
		kind = 'I'
		out := *new
		if old != nil {
			kind = 'U'
			for i := range out {
				if apart(out[i]) && out[i] == old[i] {
					out[i] = unchanged
				}
			}
		}
		parts = append(parts, part('N', out[:]...))
	}
	return rowMessage(kind, rowsOID, parts...)
}

func (m *model) any() int {
	ids := make([]int, 0, len(m.next))
	for id := range m.next {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return rapid.SampledFrom(ids).Draw(m.T, "row")
}

func (m *model) describe() {
	var columns []column
	for i, c := range modelColumns {
		columns = append(columns, column{c.name, m.key[i] || m.identity == 'f'})
	}
	m.f.feed(relationMessage(rowsOID, m.identity, columns...))
}

// check compares what is cached and counts as fresh with what is true now.
func (m *model) check() {
	kept := m.cached[:0]
	for _, a := range m.cached {
		if !a.fresh() {
			continue
		}
		if now := m.query(a.set, a.values); now != a.rows {
			m.Fatalf("the answer for %v = %q is served, which is\n%s\nand should be\n%s", names(a.set), a.values, a.rows, now)
		}
		kept = append(kept, a)
	}
	m.cached = kept
}

func names(s *consistency.ColumnSet) (list []string) {
	for _, c := range s.Columns() {
		list = append(list, c.Name)
	}
	return list
}

func TestWhatIsServedIsWhatTheRowsSay(t *testing.T) {
	served := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{T: rt, f: newRowFixture(t), rows: map[int]modelRow{}, identity: rapid.SampledFrom([]byte("dfn")).Draw(rt, "identity")}
		switch m.identity {
		case 'd':
			m.key = rapid.SampledFrom([][4]bool{{true}, {false, true}, {true, true}, {true, false, true}}).Draw(rt, "key")
		}
		for _, pick := range [][]int{{0}, {1}, {2}, {3}, {0, 1}, {1, 2}, {0, 2, 3}} {
			var columns []consistency.Column
			for _, i := range pick {
				columns = append(columns, consistency.Column{Name: modelColumns[i].name, Kind: modelColumns[i].kind})
			}
			m.sets = append(m.sets, consistency.NewColumnSet(rowsOID, []uint32{rowsOID}, columns, 10))
		}
		fill := func(rt *rapid.T) {
			m.T = rt
			s := rapid.SampledFrom(m.sets).Draw(rt, "set")
			var values []string
			for _, c := range s.Columns() {
				values = append(values, m.value(modelColumn(c.Name), false))
			}
			m.cached = append(m.cached, modelAnswer{m.f.answer(s, values...), s, values, m.query(s, values)})
		}
		m.next = map[int]modelRow{}
		m.f.begin()
		m.describe()
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) { m.T = rt; m.check() },
			"insert": func(rt *rapid.T) {
				m.T = rt
				r := m.row()
				m.made++
				m.next[m.made] = r
				m.f.feed(m.message(nil, &r))
			},
			"update": func(rt *rapid.T) {
				if m.T = rt; len(m.next) == 0 {
					rt.Skip()
				}
				id := m.any()
				old := m.next[id]
				new := old
				for i := range new {
					if rapid.Bool().Draw(rt, "change") {
						new[i] = m.value(i, !m.key[i])
					}
				}
				m.next[id] = new
				m.f.feed(m.message(&old, &new))
			},
			"delete": func(rt *rapid.T) {
				if m.T = rt; len(m.next) == 0 || m.identity == 'n' { // Postgres refuses that
					rt.Skip()
				}
				id := m.any()
				old := m.next[id]
				delete(m.next, id)
				m.f.feed(m.message(&old, nil))
			},
			"truncate": func(rt *rapid.T) {
				if rapid.IntRange(0, 9).Draw(rt, "rarely") > 0 {
					rt.Skip()
				}
				clear(m.next)
				m.f.feed(truncate(rowsOID))
			},
			"describe again": func(*rapid.T) { m.describe() },
			"fill":           fill,
			"fill another":   fill,
			"commit": func(rt *rapid.T) {
				m.T = rt
				m.f.commit()
				m.rows = map[int]modelRow{}
				for id, r := range m.next {
					m.rows[id] = r
				}
				m.check()
				served += len(m.cached)
				m.f.begin()
			},
		})
	})
	// Rather more often than not what isn't touched stays; a test in which all is always stale would test nothing.
	if served == 0 {
		t.Error("nothing was ever served")
	}
	t.Log(fmt.Sprint(served, " answers outlived a commit"))
}
