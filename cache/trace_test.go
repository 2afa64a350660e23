package cache

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"
)

// trace is a sequence of reads: keys of Zipf's law, and now and then a scan between them, which reads each row of a table once.
type trace struct {
	keys  int  // that are popular, more or less
	reads int  // of them
	every int  // so many of these, comes a scan; 0: there are none
	scan  int  // of so many
	apart bool // the scan is of another table; else of the same one, from where the last one ended
}

// play has a cache read the trace, and gives the share of hits among those reads that belong to no scan, once it is warm.
func (tr trace) play(read func(key uint64) (hit bool)) float64 {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := newZipf(tr.keys, 0.99)
	// Which keys are popular has nothing to do with their order.
	names := rng.Perm(tr.keys)
	hits, counted, next := 0, 0, uint64(0)
	for i := range tr.reads {
		hit := read(uint64(names[zipf.draw(rng)]))
		if i >= tr.reads/4 {
			counted++
			if hit {
				hits++
			}
		}
		if tr.every > 0 && i%tr.every == tr.every-1 {
			for range tr.scan {
				if tr.apart {
					read(1<<40 + next)
				} else {
					read(next % uint64(tr.keys))
				}
				next++
			}
		}
	}
	return float64(hits) / float64(counted)
}

// zipf draws ranks by Zipf's law with any exponent; math/rand has it only for those above 1.
type zipf []float64 // share of the ranks up to each

func newZipf(n int, exponent float64) zipf {
	z, sum := make(zipf, n), 0.0
	for i := range z {
		sum += math.Pow(float64(i+1), -exponent)
		z[i] = sum
	}
	return z
}

func (z zipf) draw(rng *rand.Rand) int {
	return min(sort.SearchFloat64s(z, rng.Float64()*z[len(z)-1]), len(z)-1)
}

// answer is an entry of n bytes of rows, and so one that depends on nothing.
func answer(key uint64, n int) *Entry {
	e := new(Entry)
	e.SetBytes(binary.BigEndian.AppendUint64(nil, key), nil, make([]byte, n), nil)
	return e
}

// overL1 is a read through a cache of so many answers of 100 bytes.
func overL1(entries, parts int) func(uint64) bool {
	c := steady(int64(entries)*answer(0, 100).size(), parts)
	var key [8]byte
	return func(k uint64) bool {
		binary.BigEndian.PutUint64(key[:], k)
		if c.Get(key[:]) != nil {
			return true
		}
		c.Put(answer(k, 100))
		return false
	}
}

// overLRU is the same through what goes by last use alone.
func overLRU(entries int) func(uint64) bool {
	c, err := lru.New[uint64, bool](entries)
	if err != nil {
		panic(err)
	}
	return func(k uint64) bool {
		_, hit := c.Get(k)
		if !hit {
			c.Add(k, true)
		}
		return hit
	}
}

// over2Q is the same through golang-lru's, which counts entries.
func over2Q(entries int) func(uint64) bool {
	c, err := lru.New2Q[uint64, bool](entries)
	if err != nil {
		panic(err)
	}
	return func(k uint64) bool {
		_, hit := c.Get(k)
		if !hit {
			c.Add(k, true)
		}
		return hit
	}
}

var traces = []struct {
	name string
	trace
	better float64 // than LRU by this, at least, in parts of LRU's ratio; negative: not worse by more than this
}{
	{"no scans", trace{}, -0.01},
	{"scans of another table", trace{every: 4, scan: 4, apart: true}, 0.1},
	{"scans of the same table", trace{every: 4, scan: 4}, 0.1},
	{"a scan all the time", trace{every: 1, scan: 1, apart: true}, 0.1},
}

// of is the trace with so many keys, from which all else follows; a scan reads as much as the cache could hold, or more.
func (tr trace) of(keys int) trace {
	tr.keys, tr.reads = keys, 4*keys
	if tr.every > 1 {
		tr.every, tr.scan = keys/tr.every, keys/tr.scan
	}
	return tr
}

func TestScansDoNotEmptyTheCache(t *testing.T) {
	for _, tr := range traces {
		t.Run(tr.name, func(t *testing.T) {
			const keys, entries = 8000, 400
			ours, theirs := tr.of(keys).play(overL1(entries, 4)), tr.of(keys).play(overLRU(entries))
			t.Logf("hit ratio %.1f %%; LRU's: %.1f %%", 100*ours, 100*theirs)
			if ours < theirs*(1+tr.better) {
				t.Errorf("that is not %+.0f %% of LRU's", 100*tr.better)
			}
		})
	}
}

// BenchmarkTraces has the hit ratios of several sizes, beside LRU's and 2Q's.
func BenchmarkTraces(b *testing.B) {
	const keys = 100_000
	for _, entries := range []int{keys / 100, keys / 20, keys / 5} {
		for _, of := range traces {
			b.Run(fmt.Sprintf("%d of %d/%s", entries, keys, of.name), func(b *testing.B) {
				tr := of.of(keys)
				for b.Loop() {
					b.ReportMetric(100*tr.play(overL1(entries, 4)), "%hits")
				}
				b.ReportMetric(100*tr.play(overLRU(entries)), "%LRU")
				b.ReportMetric(100*tr.play(over2Q(entries)), "%2Q")
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*tr.reads), "ns/read")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
