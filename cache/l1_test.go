package cache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/consistency"
)

// entryOf is an entry of n bytes of answer that depends on nothing.
func entryOf(key string, n int, seq consistency.Seq) *Entry {
	e := &Entry{Seq: seq, Epoch: 1}
	e.SetBytes([]byte(key), nil, bytes.Repeat([]byte{'D'}, n), nil)
	return e
}

// steady is a cache that puts the same keys into the same places in every run.
func steady(bytes int64, parts int) *L1 {
	c := NewL1(bytes, parts)
	c.hash = func(key []byte) uint64 {
		f := fnv.New64a()
		f.Write(key)
		h := f.Sum64()
		h = (h ^ h>>33) * 0xff51afd7ed558ccd
		h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
		return h ^ h>>33
	}
	return c
}

func TestL1GivesWhatWasPut(t *testing.T) {
	c := NewL1(1<<20, 4)
	if c.Get([]byte("a")) != nil {
		t.Fatal("an empty cache has something")
	}
	e := &Entry{Seq: 7}
	e.SetBytes([]byte("a"), []byte("T…"), []byte("D…D…"), []byte("C…"))
	if !c.Put(e) {
		t.Fatal("refused")
	}
	got := c.Get([]byte("a"))
	if got != e || string(got.RowDesc) != "T…" || string(got.Rows) != "D…D…" || string(got.Complete) != "C…" {
		t.Fatalf("got %+v", got)
	}
	if c.Get([]byte("b")) != nil || c.Get(nil) != nil {
		t.Fatal("another key has it too")
	}
	s := c.Stats()
	if s.Entries != 1 || c.Len() != 1 || s.Hits != 1 || s.Misses != 3 || s.Puts != 1 || s.Bytes != e.size() {
		t.Fatalf("stats %+v", s)
	}
}

// The slab's views must not let an append to one write into the next.
func TestEntryViewsDoNotOverlap(t *testing.T) {
	e := new(Entry)
	e.SetBytes([]byte("key"), []byte("T"), []byte("D"), []byte("C"))
	_ = append(e.Key, 'x')
	_ = append(e.RowDesc, 'x')
	_ = append(e.Rows, 'x')
	if string(e.RowDesc)+string(e.Rows)+string(e.Complete) != "TDC" {
		t.Fatalf("%s%s%s", e.RowDesc, e.Rows, e.Complete)
	}
}

// HAZARDS 8, DESIGN 3: never a bare 64-bit hash.
func TestCollisionOfHashesNeverServesAnotherKey(t *testing.T) {
	for _, parts := range []int{1, 8} {
		c := NewL1(1<<20, parts)
		c.hash = func([]byte) uint64 { return 0xdeadbeef } // all keys collide
		a, b := entryOf("a", 10, 1), entryOf("b", 10, 1)
		c.Put(a)
		if c.Get([]byte("b")) != nil {
			t.Fatal("b got the answer of a")
		}
		if c.Remove([]byte("b")) {
			t.Fatal("removing b removed a")
		}
		c.Put(b)
		if got := c.Get([]byte("b")); got != b {
			t.Fatal("the later one isn't there")
		}
		if c.Get([]byte("a")) != nil {
			t.Fatal("a got the answer of b")
		}
		if c.Len() != 1 || c.Bytes() != b.size() {
			t.Fatalf("%d entries, %d bytes", c.Len(), c.Bytes())
		}
	}
}

func TestL1KeepsItsBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := NewL1(64<<10, rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "parts"))
		model := map[string]*Entry{}
		for i := range rapid.IntRange(1, 200).Draw(t, "n") {
			key := fmt.Sprint(rapid.IntRange(0, 40).Draw(t, "key"))
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				c.Remove([]byte(key))
				delete(model, key)
			case 1:
				if rapid.IntRange(0, 5).Draw(t, "purge") == 0 {
					c.Purge()
					clear(model)
				}
			default:
				e := entryOf(key, rapid.IntRange(0, 20<<10).Draw(t, "size"), consistency.Seq(i))
				if ok := c.Put(e); ok != (e.size() <= c.MaxEntry()) {
					t.Fatalf("put of %d bytes with room for %d: %v", e.size(), c.MaxEntry(), ok)
				} else if ok {
					model[key] = e
				}
			}
			if c.Bytes() > c.Budget() {
				t.Fatalf("%d bytes, budget %d", c.Bytes(), c.Budget())
			}
			var sum int64
			n := 0
			for k, e := range model {
				switch c.Get([]byte(k)) {
				case e:
					sum += e.size()
					n++
				case nil: // evicted
				default:
					t.Fatalf("key %s has an entry that was replaced", k)
				}
			}
			if sum != c.Bytes() || n != c.Len() {
				t.Fatalf("%d entries of %d bytes, counted %d of %d", n, sum, c.Len(), c.Bytes())
			}
		}
	})
}

func TestWhatIsUsedAgainStays(t *testing.T) {
	size := entryOf("k00", 1000, 1).size()
	c := steady(20*size, 1)
	put := func(key string) { c.Put(entryOf(key, 1000, 1)) }
	for i := range 20 {
		put(fmt.Sprintf("k%02d", i))
	}
	for i := range 10 {
		c.Get(fmt.Appendf(nil, "k%02d", i))
	}
	for i := range 1000 {
		put(fmt.Sprint("scan ", i))
	}
	for i := range 10 {
		if c.Get(fmt.Appendf(nil, "k%02d", i)) == nil {
			t.Errorf("k%02d, which was used again, went before what wasn't", i)
		}
	}
	if got := c.Stats().Evicted; got != [evictions]uint64{EvictedUnused: 1000} || c.Evictions() != 1000 {
		t.Errorf("evicted: %v", got)
	}
	// Who comes back is known, for a while.
	put("scan 980")
	for i := range 100 {
		put(fmt.Sprint("another scan ", i))
	}
	if c.Get([]byte("scan 980")) == nil {
		t.Error("what came back, soon after it had left, went like what nobody knew")
	}
	// And what was used much goes when it isn't used any more.
	for range 4 {
		for i := range 30 {
			key := fmt.Sprint("new ", i)
			if c.Get([]byte(key)) == nil {
				put(key)
			}
		}
	}
	if left := c.Stats().Evicted[EvictedUsed]; left == 0 {
		t.Error("the main queue never changes")
	}
}

// A stale answer is of no use while a server answers, so it goes however much it was asked for; but its place waits for its refill.
func TestStaleGoesFirstAndItsRefillHasAPlace(t *testing.T) {
	table := newFed(t)
	cell, other := table.cell(1), table.cell(2)
	entry := func(key string, cell *consistency.Cell) *Entry {
		e := entryOf(key, 1000, table.table.Applied())
		e.Deps = []*consistency.Cell{cell}
		return e
	}
	c := steady(20*entry("k00", cell).size(), 1)
	for i := range 20 {
		cells := [...]*consistency.Cell{cell, other}
		c.Put(entry(fmt.Sprintf("k%02d", i), cells[i%2]))
	}
	use := func() {
		for range maxUses {
			for i := range 20 {
				c.Get(fmt.Appendf(nil, "k%02d", i))
			}
		}
	}
	use()
	c.Put(entry("one more", other)) // for which the others move on into the main queue
	use()
	table.commit(1)
	for i := range 10 {
		key := fmt.Sprint("new ", i)
		c.Put(entry(key, other))
		c.Get([]byte(key))
		use()
	}
	// What is left of the stale ones, and of the fresh ones.
	var left [2]int
	for i := range 20 {
		if c.Get(fmt.Appendf(nil, "k%02d", i)) != nil {
			left[i%2]++
		}
	}
	if left[0] > 3 || left[1] < 9 {
		t.Errorf("%d stale ones are left, and %d fresh ones", left[0], left[1])
	}
	if got := c.Stats().Evicted[EvictedStale]; got == 0 || got > uint64(10-left[0]) {
		t.Errorf("%d evicted as stale, %d are gone", got, 10-left[0])
	}
	for i := 2; i < 20; i += 2 { // (k00 had gone before it was stale)
		key := fmt.Sprintf("k%02d", i)
		if c.Get([]byte(key)) != nil {
			continue
		}
		c.Put(entry(key, cell))
		for i := range 50 {
			c.Put(entry(fmt.Sprint("a scan ", i), other))
		}
		if c.Get([]byte(key)) == nil {
			t.Error("the refill of ", key, " had to begin at the entrance")
		}
		return
	}
	t.Error("nothing to refill")
}

// A row that is written all the time is refilled all the time: that doesn't move it back to the entrance.
func TestRefillKeepsItsPlace(t *testing.T) {
	c := steady(20*entryOf("k", 1000, 1).size(), 1)
	c.Put(entryOf("k", 1000, 1))
	c.Get([]byte("k"))
	scans := 0
	scan := func() {
		for range 30 {
			c.Put(entryOf(fmt.Sprint(scans), 1000, 1))
			scans++
		}
	}
	scan()
	for seq := range consistency.Seq(10) {
		if !c.Put(entryOf("k", 900+10*int(seq), seq+1)) {
			t.Fatal("refused")
		}
		scan()
		if c.Get([]byte("k")) == nil {
			t.Fatal("gone")
		}
		if c.Bytes() > c.Budget() {
			t.Fatalf("%d bytes, budget %d", c.Bytes(), c.Budget())
		}
	}
}

func TestAnEntryOfTheLargestSizeLeavesRoomForOthers(t *testing.T) {
	for _, tt := range []struct{ size, largest int64 }{{256 << 20, 1 << 20}, {8 << 20, 1 << 20}, {1 << 20, 1 << 20}, {1 << 20, 1 << 10}, {1 << 30, 1 << 30}, {10 << 30, 1 << 20}} {
		c := NewL1(tt.size, PartsFor(tt.size, tt.largest))
		if room := c.MaxEntry(); room < min(tt.size, 8*tt.largest) {
			t.Errorf("%d bytes for entries up to %d: a part has %d", tt.size, tt.largest, room)
		}
		if n := len(c.parts); n > 256 || n&(n-1) != 0 {
			t.Errorf("%d parts", n)
		}
	}
	if n := len(NewL1(256<<20, PartsFor(256<<20, 1<<20)).parts); n != 32 {
		t.Errorf("by default there are %d parts", n)
	}
}

func TestOlderFillDoesNotReplaceNewerFreshOne(t *testing.T) {
	table := newFed(t)
	cell := table.cell(1)
	put := func(c *L1, seq consistency.Seq, epoch uint64) bool {
		e := &Entry{Seq: seq, Epoch: epoch, Deps: []*consistency.Cell{cell}}
		e.SetBytes([]byte("k"), nil, fmt.Append(nil, seq), nil)
		return c.Put(e)
	}
	table.commit() // 1 or so: not this relation's
	c := NewL1(1<<20, 1)
	now := table.table.Applied()
	if !put(c, now+5, 1) || put(c, now+4, 1) {
		t.Fatal("an older answer took the place of a newer fresh one")
	}
	if c.Get([]byte("k")).Seq != now+5 || c.Stats().Refused != 1 {
		t.Fatal("the newer one isn't there")
	}
	if !put(c, now+5, 1) || !put(c, now+6, 1) {
		t.Fatal("an answer as new was refused")
	}
	if !put(c, now, 2) {
		t.Fatal("numbers of different epochs were compared")
	}
	// One that is stale gives way to anything.
	if !put(c, now+1, 2) {
		t.Fatal("refused")
	}
	for cell.Seq() <= now+1 {
		table.commit(1)
	}
	if !put(c, now, 2) {
		t.Fatal("a stale answer kept its place")
	}
}

func TestPurgeDropsEverything(t *testing.T) {
	c := NewL1(1<<20, 4)
	for i := range 100 {
		c.Put(entryOf(fmt.Sprint(i), 10, 1))
	}
	if n := c.PurgeFunc(func(e *Entry) bool { return e.Key[0] == '1' }); n != 11 || c.Len() != 89 {
		t.Fatalf("dropped %d, %d left", n, c.Len())
	}
	if c.Get([]byte("1")) != nil || c.Get([]byte("2")) == nil {
		t.Fatal("the wrong ones")
	}
	if n := c.Purge(); n != 89 || c.Len() != 0 || c.Bytes() != 0 || c.Get([]byte("2")) != nil {
		t.Fatalf("dropped %d; %d entries, %d bytes left", n, c.Len(), c.Bytes())
	}
}

func TestCacheOfNothingHoldsNothing(t *testing.T) {
	c := NewL1(0, 1)
	if c.Put(entryOf("a", 1, 1)) || c.Get([]byte("a")) != nil {
		t.Fatal("it took one")
	}
}

// Everything is counted: what Bytes says is at least what the heap grows by,
// and not far above it.
func TestCountedIsUsed(t *testing.T) {
	cells := make([]*consistency.Cell, 3)
	for i := range cells {
		cells[i] = new(consistency.Cell)
	}
	for _, answer := range []int{20, 300, 5000, 100_000} {
		t.Run(fmt.Sprint(answer), func(t *testing.T) {
			c := NewL1(1<<30, 16)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var key []byte
			rows := bytes.Repeat([]byte{'D'}, answer)
			for i := range 24 << 20 / (answer + 500) {
				key = binary.BigEndian.AppendUint64(key[:0], uint64(i))
				key = append(key, "app/reader/select * from t where id = $1"...)
				e := &Entry{Deps: append([]*consistency.Cell(nil), cells...)}
				e.SetBytes(key, rows[:33%answer], rows[:rand.IntN(answer)+1], rows[:13])
				if !c.Put(e) {
					t.Fatal("refused")
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			grown, counted := float64(after.HeapAlloc-before.HeapAlloc), float64(c.Bytes())
			t.Logf("%d entries: heap grew by %.0f, counted %.0f (%.3f)", c.Len(), grown, counted, counted/grown)
			if counted < grown*0.98 || counted > grown*1.2 {
				t.Errorf("heap grew by %.0f, counted %.0f", grown, counted)
			}
			runtime.KeepAlive(c)
		})
	}
}

func TestGetAndFreshAllocateNothing(t *testing.T) {
	c := NewL1(1<<20, 4)
	e := entryOf("key", 100, 5)
	e.Deps = []*consistency.Cell{new(consistency.Cell), new(consistency.Cell)}
	c.Put(e)
	key, other := []byte("key"), []byte("other")
	if n := testing.AllocsPerRun(100, func() {
		if e := c.Get(key); e == nil || !e.Fresh() {
			t.Fatal("gone")
		}
		if c.Get(other) != nil {
			t.Fatal("not gone")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestL1IsSafeForConcurrentUse(t *testing.T) {
	c := NewL1(256<<10, 4)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(g)))
			for i := range 3000 {
				key := fmt.Sprint(r.IntN(300))
				switch r.IntN(20) {
				case 0:
					c.Remove([]byte(key))
				case 1:
					c.Stats()
				case 2:
					if i%50 == 0 {
						c.Purge()
					}
				case 3, 4, 5:
					c.Put(entryOf(key, r.IntN(4000), consistency.Seq(i)))
				default:
					if e := c.Get([]byte(key)); e != nil && string(e.Key) != key {
						t.Errorf("asked for %s, got %s", key, e.Key)
					}
				}
			}
		})
	}
	wg.Wait()
	if c.Bytes() > c.Budget() {
		t.Fatalf("%d bytes, budget %d", c.Bytes(), c.Budget())
	}
}

func benchKeys(n int) [][]byte {
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "app/reader/UTC/ISO, MDY/select * from pgbench_accounts where aid = $1/%d", i)
	}
	return keys
}

func BenchmarkGet(b *testing.B) {
	c := NewL1(256<<20, PartsFor(256<<20, 1<<20))
	keys := benchKeys(100_000)
	for _, k := range keys {
		e := new(Entry)
		e.Deps = []*consistency.Cell{new(consistency.Cell), new(consistency.Cell)}
		e.SetBytes(k, nil, make([]byte, 100), nil)
		c.Put(e)
	}
	b.Run("spread", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if e := c.Get(keys[i*7919%len(keys)]); e == nil || !e.Fresh() {
				b.Fatal("gone")
			}
		}
	})
	b.Run("parallel-spread", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(len(keys)); pb.Next(); i++ {
				if e := c.Get(keys[i*7919%len(keys)]); e == nil || !e.Fresh() {
					b.Error("gone")
				}
			}
		})
	})
	b.Run("parallel-one-key", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if e := c.Get(keys[0]); e == nil || !e.Fresh() {
					b.Error("gone")
				}
			}
		})
	})
}
