package consistency

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// world is a naive primary with a replica, a feed and a cache: it knows when each transaction is written to the WAL, when
// it becomes visible, when the replica replays it and when the feed applies it; and it knows of each cached answer what
// it really contains.
type world struct {
	table    *Table
	nextXID  uint64
	end      LSN
	running  []uint64       // transactions without a commit record
	hidden   []*transaction // committed in the WAL, not visible yet
	ended    uint64         // the highest xid that has ended visibly (Postgres' latestCompletedXid)
	wal      []*transaction
	replayed LSN
	fed      int // how much of the WAL the feed has applied or will never see
	serving  bool
	fills    []fill
	entries  []entry

	judged, refused, stored int
}

type transaction struct {
	xid       uint64
	end       LSN
	relations []uint32
	visible   bool
}

// fill is a query under way: its probe, and what its answer contains.
type fill struct {
	probe    Probe
	content  map[*transaction]bool
	relation uint32
}

type entry struct {
	seq     Seq
	content map[*transaction]bool
	cells   []*Cell
	on      uint32
}

const relations = 3

func newWorld(ring int, xid uint64) *world {
	return &world{table: NewTable(ring), nextXID: xid, ended: xid - 1, end: 100, replayed: 100}
}

func (w *world) snapshot() Snapshot {
	s := Snapshot{Xmax: w.ended + 1}
	for _, xid := range w.running {
		if xid < s.Xmax {
			s.Xip = append(s.Xip, xid)
		}
	}
	for _, tx := range w.hidden {
		if tx.xid < s.Xmax {
			s.Xip = append(s.Xip, tx.xid)
		}
	}
	slices.Sort(s.Xip)
	s.Xmin = s.Xmax
	if len(s.Xip) > 0 {
		s.Xmin = s.Xip[0]
	}
	return s
}

func (w *world) begin() {
	w.running = append(w.running, w.nextXID)
	w.nextXID++
}

func (w *world) take(i int) uint64 {
	xid := w.running[i]
	w.running = slices.Delete(w.running, i, i+1)
	return xid
}

func (w *world) commit(i int, rels []uint32, length LSN) {
	w.end += length
	tx := &transaction{xid: w.take(i), end: w.end, relations: rels}
	w.wal = append(w.wal, tx)
	w.hidden = append(w.hidden, tx)
}

func (w *world) abort(i int) { w.ended = max(w.ended, w.take(i)) }

func (w *world) show(i int) {
	tx := w.hidden[i]
	w.hidden = slices.Delete(w.hidden, i, i+1)
	tx.visible = true
	w.ended = max(w.ended, tx.xid)
}

// apply has the feed apply the next commit.
func (w *world) apply() {
	tx := w.wal[w.fed]
	w.fed++
	w.table.Apply(Commit{XID: uint32(tx.xid), End: tx.end, Relations: tx.relations})
}

// connect has the feed begin after what is in the WAL now.
func (w *world) connect() {
	w.table.Start(Start{From: w.end, NextXID: w.nextXID})
	w.fed = len(w.wal)
	w.table.SetServing(true)
	w.serving = true
}

func (w *world) beginFill(onReplica bool, relation uint32) {
	f := fill{probe: w.table.Begin(), relation: relation, content: map[*transaction]bool{}}
	f.probe.OnReplica = onReplica
	if onReplica {
		f.probe.Replayed = w.replayed
	} else {
		f.probe.Snapshot = w.snapshot()
	}
	w.fills = append(w.fills, f)
}

// query is the moment of the fill's own snapshot, at or after its probe's.
func (w *world) query(f *fill) {
	for _, tx := range w.wal {
		if f.probe.OnReplica && tx.end <= w.replayed || !f.probe.OnReplica && tx.visible {
			f.content[tx] = true
		}
	}
}

func (w *world) endFill(t *rapid.T, i int) {
	f := w.fills[i]
	w.fills = slices.Delete(w.fills, i, i+1)
	w.judged++
	seq, err := w.table.Contains(f.probe)
	if err != nil {
		w.refused++
		return
	}
	w.stored++
	if seq > w.table.Applied() {
		t.Fatalf("contains %d of %d", seq, w.table.Applied())
	}
	w.entries = append(w.entries, entry{seq, f.content, []*Cell{w.table.Global(), &w.table.Relation(f.relation).Cell}, f.relation})
}

// check is the promise: an answer that is served contains every commit up to the cache's position that touches it.
func (w *world) check(t *rapid.T) {
	if !w.table.Serving() {
		return
	}
	for _, e := range w.entries {
		if slices.ContainsFunc(e.cells, func(c *Cell) bool { return c.Seq() > e.seq }) {
			continue
		}
		for _, tx := range w.wal {
			if tx.end <= w.table.Position() && slices.Contains(tx.relations, e.on) && !e.content[tx] {
				t.Fatalf("an entry of seq %d on relation %d is served at %d (%s), and lacks the commit of %d at %s",
					e.seq, e.on, w.table.Applied(), w.table.Position(), tx.xid, tx.end)
			}
		}
	}
}

func TestServedAnswersContainEveryAppliedCommitThatTouchesThem(t *testing.T) {
	var judged, refused int
	rapid.Check(t, func(t *rapid.T) {
		xid := rapid.SampledFrom([]uint64{3, 1<<32 - 5, 3<<32 - 1, 1<<31 - 2}).Draw(t, "first xid")
		w := newWorld(rapid.SampledFrom([]int{2, 5, 1000}).Draw(t, "ring"), xid)
		pick := func(t *rapid.T, n int) int { return rapid.IntRange(0, n-1).Draw(t, "which") }
		w.connect()
		t.Repeat(map[string]func(*rapid.T){
			"begin":  func(t *rapid.T) { w.begin() },
			"begin2": func(t *rapid.T) { w.begin() },
			"commit": func(t *rapid.T) {
				if len(w.running) > 0 {
					rels := rapid.SliceOfNDistinct(rapid.Uint32Range(0, relations-1), 1, 2, rapid.ID).Draw(t, "relations")
					w.commit(pick(t, len(w.running)), rels, LSN(rapid.IntRange(1, 3).Draw(t, "length")))
				}
			},
			"abort": func(t *rapid.T) {
				if len(w.running) > 0 {
					w.abort(pick(t, len(w.running)))
				}
			},
			"show": func(t *rapid.T) {
				if len(w.hidden) > 0 {
					w.show(pick(t, len(w.hidden)))
				}
			},
			"show all": func(t *rapid.T) {
				for len(w.hidden) > 0 {
					w.show(0)
				}
			},
			"feed": func(t *rapid.T) {
				for range rapid.IntRange(1, 3).Draw(t, "commits") {
					if w.serving && w.fed < len(w.wal) {
						w.apply()
					}
				}
			},
			"replay": func(t *rapid.T) {
				w.replayed = LSN(rapid.Uint64Range(uint64(w.replayed), uint64(w.end)).Draw(t, "to"))
			},
			"snapshot": func(t *rapid.T) { w.table.ObserveSnapshot(w.snapshot()) },
			"fill": func(t *rapid.T) {
				w.beginFill(rapid.Bool().Draw(t, "replica"), rapid.Uint32Range(0, relations-1).Draw(t, "relation"))
				if rapid.Bool().Draw(t, "at once") {
					w.query(&w.fills[len(w.fills)-1])
				}
			},
			"query": func(t *rapid.T) {
				if len(w.fills) > 0 {
					if f := &w.fills[pick(t, len(w.fills))]; len(f.content) == 0 {
						w.query(f)
					}
				}
			},
			"store": func(t *rapid.T) {
				if len(w.fills) > 0 {
					i := pick(t, len(w.fills))
					if len(w.fills[i].content) == 0 {
						w.query(&w.fills[i])
					}
					w.endFill(t, i)
				}
			},
			"gap": func(t *rapid.T) {
				if w.serving && rapid.IntRange(0, 5).Draw(t, "seldom") == 0 {
					w.table.Gap()
					w.serving = false
				}
			},
			"connect": func(t *rapid.T) {
				if !w.serving {
					w.connect()
				}
			},
			"catalog": func(t *rapid.T) { w.table.CatalogChanged(w.end) },
			"":        w.check,
		})
		judged += w.judged
		refused += w.refused
	})
	// A fence that refuses everything keeps the promise, too.
	if stored := judged - refused; stored*10 < judged {
		t.Errorf("only %d of %d fills could be judged", stored, judged)
	}
	t.Logf("%d fills, %d refused", judged, refused)
}

// Where nothing is forgotten the fence is exact: it names the first commit that is missing.
func TestContainsIsExactWithinTheRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(1000, rapid.SampledFrom([]uint64{3, 1<<32 - 5}).Draw(t, "first xid"))
		w.connect()
		first := w.table.Applied()
		var order []*transaction
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				w.begin()
			case 2:
				if len(w.running) > 0 {
					w.commit(rapid.IntRange(0, len(w.running)-1).Draw(t, "which"), []uint32{0}, 1)
				}
			case 3:
				if len(w.hidden) > 0 {
					w.show(rapid.IntRange(0, len(w.hidden)-1).Draw(t, "which"))
				}
			case 4:
				if w.fed < len(w.wal) {
					order = append(order, w.wal[w.fed])
					w.apply()
				}
			case 5:
				w.replayed = LSN(rapid.Uint64Range(uint64(w.replayed), uint64(w.end)).Draw(t, "to"))
			}
			for _, replica := range []bool{false, true} {
				w.beginFill(replica, 0)
				f := &w.fills[0]
				w.query(f)
				got, err := w.table.Contains(f.probe)
				want := first
				for _, tx := range order {
					if !f.content[tx] {
						break
					}
					want++
				}
				if err != nil || got != want {
					t.Fatalf("replica %v: contains up to %d (%v), in truth %d", replica, got, err, want)
				}
				w.fills = w.fills[:0]
			}
		}
	})
}
