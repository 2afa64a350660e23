package cache

import (
	"bytes"
	"encoding/binary"
	"fmt"
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

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	size := entryOf("k0", 1000, 1).size()
	c := NewL1(10*size, 1)
	for i := range 10 {
		c.Put(entryOf(fmt.Sprint("k", i), 1000, 1))
	}
	c.Get([]byte("k0"))
	c.Put(entryOf("ka", 1000, 1))
	if c.Get([]byte("k0")) == nil || c.Get([]byte("k1")) != nil {
		t.Fatal("the one that was used went before the one that wasn't")
	}
	if c.Evictions() != 1 {
		t.Fatalf("%d evictions", c.Evictions())
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
	c := NewL1(0, 0)
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
	c := NewL1(256<<20, 0)
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
