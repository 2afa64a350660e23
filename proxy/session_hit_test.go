package proxy

import (
	"bytes"
	"slices"
	"testing"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/wire"
)

// hitting is a session that has the answer to what it is asked next in its cache.
func hitting(t testing.TB, request []byte) *simulation {
	m := newSimulation(t)
	m.s.reported = []wire.ParamStatus{{Name: isolationSetting, Value: "read committed"}}
	m.s.deriveTx()
	table := m.s.db.Table
	table.Start(consistency.Start{From: 100, NextXID: 1, Timeline: 1})
	table.SetServing(true)
	table.Observe(m.now, 100)
	m.ask(request, 1)
	m.deliver(len(request))
	m.settle() // planned, and asked of the server
	if len(m.s.unit.key) == 0 {
		t.Fatalf("it isn't looked for in the cache: %s", m.s.last.reasonText())
	}
	e := &cache.Entry{Key: bytes.Clone(m.s.unit.key), Deps: []*consistency.Cell{table.Global()}, Seq: table.Applied(), Epoch: table.Epoch()}
	e.RowDesc = wire.AppendTextRowDescription(nil, "a")
	e.Rows = wire.AppendTextRow(nil, "tag 1")
	e.Complete = wire.AppendCommandComplete(nil, "SELECT 1")
	m.s.shared.L1.Put(e)
	table.Observe(m.now, 100)
	m.s.cons = m.s.shared.NewConsistency() // which has seen nothing
	if m.s.unit.simple {
		m.s.db.Plans.Put(m.s.planKey(m.s.unit.fp, nil), m.s.unit.plan)
	}
	m.s.ClientData(request)
	if m.s.last.source != sourceL1 {
		t.Fatalf("it comes from %s: %s", m.s.last.sourceText(), m.s.last.reasonText())
	}
	m.out = nil
	return m
}

var hits = map[string][]byte{
	"simple": wire.AppendQuery(nil, "SELECT 1"),
	"extended": wire.AppendSync(wire.AppendExecute(wire.AppendDescribe(wire.AppendBind(wire.AppendParse(nil, "", "SELECT 1"),
		"", "", nil, nil, nil), wire.ObjectPortal, ""), "", 0)),
}

// TestHitAllocatesNothing: an answer from the cache takes no memory, its being counted included.
func TestHitAllocatesNothing(t *testing.T) {
	for name, request := range hits {
		t.Run(name, func(t *testing.T) {
			m := hitting(t, request)
			calls := m.s.unit.tallies[0].calls
			m.out = make([]byte, 0, 1<<20)
			if n := testing.AllocsPerRun(100, func() {
				m.out = m.out[:0]
				m.s.ClientData(request)
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
			if tally := m.s.unit.tallies[0]; tally.calls-calls != 101 || tally.l1 != 102 || tally.bytes == 0 {
				t.Errorf("counted: %+v", tally.stats())
			}
		})
	}
}

// TestTalliesForgetWhoIsNotUsed: whoever is asked for again and again stays, however many others come; the table never holds more than it may,
// and never finds another's.
func TestTalliesForgetWhoIsNotUsed(t *testing.T) {
	db, other := &Database{Name: "d"}, &Database{Name: "o"}
	set := newTallies(100)
	add := func(i uint64, db *Database) *tally {
		e := &tally{db: db, calls: i}
		e.fp.Hi, e.fp.Lo = i, i*i // some share a slot
		set.add(e)
		return e
	}
	fixed := []*tally{add(1, db), add(1, other), add(2, db)}
	for i := uint64(3); i < 10_000; i++ {
		added := add(i, db)
		if got := set.find(added.fp, db); got != added {
			t.Fatalf("%d isn't found: %v", i, got)
		}
		added.used = false // nobody has asked for it again but this test
		for _, e := range fixed {
			if set.find(e.fp, e.db) != e {
				t.Fatalf("after %d others, one that is used is forgotten", i)
			}
		}
		filled := 0
		for at, e := range set.index {
			if e == nil {
				continue
			}
			filled++
			for j := set.slot(e.fp); j != at; j = (j + 1) % len(set.index) {
				if set.index[j] == nil {
					t.Fatalf("after %d, there is a gap before %d", i, e.calls)
				}
			}
		}
		if want := min(int(i)+1, 100); filled != want || len(set.list) != want {
			t.Fatalf("%d in the index, %d in the list; want %d", filled, len(set.list), want)
		}
		if i%1000 == 0 && slices.Index(set.list, added) < 0 {
			t.Fatal("not in the list")
		}
	}
	if set.dropped != 10_000+1-1-100 {
		t.Errorf("%d dropped", set.dropped)
	}
}

func BenchmarkHit(b *testing.B) {
	for name, request := range hits {
		b.Run(name, func(b *testing.B) {
			m := hitting(b, request)
			b.ReportAllocs()
			for b.Loop() {
				m.out = m.out[:0]
				m.s.ClientData(request)
			}
		})
	}
}
