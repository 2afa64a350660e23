package cache

import (
	"bytes"
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// L1 is the cache in memory: least recently used goes first when the budget
// is spent. It is made of many small parts with a lock each, so that the
// shards of the proxy seldom meet. Safe for concurrent use.
//
// It serves whatever it holds under a key; whether that may be served
// (Entry.Fresh, the gate) is the caller's question, because a stale entry
// still has a use when the database is down.
type L1 struct {
	hash  func(key []byte) uint64 // replaced by the test of collisions
	parts []part
	shift uint // the hash's top bits choose the part
	max   int64
}

// part is one slice of the cache with a budget of its own. Padded to whole
// cache lines, so that two locks never share one.
type part struct {
	mu struct {
		sync.Mutex
		lru   *simplelru.LRU[uint64, *Entry]
		bytes int64
	}
	budget int64
	// Written under the lock, read without it.
	used, count                  atomic.Int64
	hits, misses                 atomic.Uint64
	puts, evictions, replacement atomic.Uint64
	refused                      atomic.Uint64
	_                            [40]byte
}

// Stats is what an L1 has done since it was made, and what it holds now.
type Stats struct {
	Bytes   int64 // in use, everything counted
	Budget  int64
	Entries int64
	// Hits and Misses count Gets that found the key, or didn't. A found entry
	// that turned out stale is a hit here; the caller counts those.
	Hits, Misses uint64
	Puts         uint64 // stored, replacements among them
	Replaced     uint64 // a Put that took the place of an entry with the same key or hash
	Evicted      uint64 // left for want of room
	Refused      uint64 // too big, or older than what is there
}

// NewL1 makes a cache of at most `bytes` bytes in about `parts` parts (a
// power of two is chosen; 0: as many as suit the size and the machine).
// Each part has an equal share of the budget, and an entry can't be bigger
// than that; MaxEntry says how big that is.
func NewL1(bytes int64, parts int) *L1 {
	if bytes < 0 {
		bytes = 0
	}
	if parts <= 0 {
		// Enough to make meetings rare, not so many that the share of one
		// becomes small against an entry of the default --cache-max-entry.
		parts = int(min(256, max(1, bytes>>22)))
	}
	n := 1
	for n < parts {
		n *= 2
	}
	if parts < n { // not more than asked for
		n /= 2
	}
	c := &L1{
		parts: make([]part, n),
		shift: uint(64 - bits.Len(uint(n-1))),
		max:   bytes,
	}
	seed := maphash.MakeSeed()
	c.hash = func(key []byte) uint64 { return maphash.Bytes(seed, key) }
	for i := range c.parts {
		p := &c.parts[i]
		p.budget = bytes / int64(n)
		p.mu.lru = newLRU()
	}
	return c
}

func newLRU() *simplelru.LRU[uint64, *Entry] {
	// The bound is the part's byte budget, not the library's count.
	lru, err := simplelru.NewLRU[uint64, *Entry](math.MaxInt, nil)
	if err != nil {
		panic(err) // only for a size ≤ 0
	}
	return lru
}

func (c *L1) part(h uint64) *part {
	return &c.parts[h>>c.shift] // a shift by 64 gives 0: the one part
}

// Get gives the entry stored under the key, or nil. It allocates nothing, and
// never gives the entry of another key: where two keys have the same hash,
// the one that was stored last is there and the other is a miss.
func (c *L1) Get(key []byte) *Entry {
	h := c.hash(key)
	p := c.part(h)
	p.mu.Lock()
	e, ok := p.mu.lru.Get(h)
	p.mu.Unlock()
	if !ok || !bytes.Equal(e.Key, key) {
		p.misses.Add(1)
		return nil
	}
	p.hits.Add(1)
	return e
}

// Put stores the entry under e.Key, in place of what was there, and says
// whether it did. It refuses an entry bigger than MaxEntry, and one that is
// older (by Seq, within the same epoch) than an entry of the same key that is
// still fresh: two fills of one key can arrive in either order, and the one
// that has seen more is the one to keep. The entry is the cache's from here
// on; nobody may change it.
func (c *L1) Put(e *Entry) bool {
	size := e.size()
	h := c.hash(e.Key)
	p := c.part(h)
	if size > p.budget {
		p.refused.Add(1)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.mu.lru.Peek(h); ok {
		if bytes.Equal(old.Key, e.Key) && old.newer(e) {
			p.refused.Add(1)
			return false
		}
		p.mu.bytes -= old.size()
		p.replacement.Add(1)
	}
	p.mu.lru.Add(h, e)
	p.mu.bytes += size
	for p.mu.bytes > p.budget {
		// The newest stays: it is at the front, and fits by itself.
		_, old, ok := p.mu.lru.RemoveOldest()
		if !ok {
			break
		}
		p.mu.bytes -= old.size()
		p.evictions.Add(1)
	}
	p.puts.Add(1)
	p.publish()
	return true
}

// Remove takes the key's entry out and says whether there was one.
func (c *L1) Remove(key []byte) bool {
	h := c.hash(key)
	p := c.part(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.mu.lru.Peek(h)
	if !ok || !bytes.Equal(e.Key, key) {
		return false
	}
	p.mu.lru.Remove(h)
	p.mu.bytes -= e.size()
	p.publish()
	return true
}

// Purge drops everything (FLUSH CACHE) and gives the number of entries
// dropped. The memory is let go of, the tables' too.
func (c *L1) Purge() int {
	dropped := 0
	for i := range c.parts {
		p := &c.parts[i]
		p.mu.Lock()
		dropped += p.mu.lru.Len()
		p.mu.lru = newLRU()
		p.mu.bytes = 0
		p.publish()
		p.mu.Unlock()
	}
	return dropped
}

// PurgeFunc drops the entries for which drop says so (FLUSH CACHE table), and
// gives their number. drop is called under a part's lock: it must be quick
// and must not call the cache.
func (c *L1) PurgeFunc(drop func(*Entry) bool) int {
	dropped := 0
	for i := range c.parts {
		p := &c.parts[i]
		p.mu.Lock()
		for _, h := range p.mu.lru.Keys() {
			e, ok := p.mu.lru.Peek(h)
			if !ok || !drop(e) {
				continue
			}
			p.mu.lru.Remove(h)
			p.mu.bytes -= e.size()
			dropped++
		}
		p.publish()
		p.mu.Unlock()
	}
	return dropped
}

// publish makes the part's size readable without its lock.
func (p *part) publish() {
	p.used.Store(p.mu.bytes)
	p.count.Store(int64(p.mu.lru.Len()))
}

// MaxEntry is the size of the biggest entry that can be stored, in bytes,
// with its bookkeeping.
func (c *L1) MaxEntry() int64 { return c.parts[0].budget }

// Budget is the bound the cache was made with, in bytes.
func (c *L1) Budget() int64 { return c.max }

// Bytes is the memory in use, everything counted. It takes no lock.
func (c *L1) Bytes() int64 {
	var n int64
	for i := range c.parts {
		n += c.parts[i].used.Load()
	}
	return n
}

// Len is the number of entries. It takes no lock.
func (c *L1) Len() int {
	var n int64
	for i := range c.parts {
		n += c.parts[i].count.Load()
	}
	return int(n)
}

// Evictions is the number of entries that have left for want of room.
func (c *L1) Evictions() uint64 {
	var n uint64
	for i := range c.parts {
		n += c.parts[i].evictions.Load()
	}
	return n
}

// Stats adds up the parts' counters. It takes no lock, so the numbers are of
// slightly different moments.
func (c *L1) Stats() Stats {
	s := Stats{Budget: c.max}
	for i := range c.parts {
		p := &c.parts[i]
		s.Bytes += p.used.Load()
		s.Entries += p.count.Load()
		s.Hits += p.hits.Load()
		s.Misses += p.misses.Load()
		s.Puts += p.puts.Load()
		s.Replaced += p.replacement.Load()
		s.Evicted += p.evictions.Load()
		s.Refused += p.refused.Load()
	}
	return s
}
