package cache

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"sync"
	"sync/atomic"
)

// L1 is the cache in memory. What is asked for again and again stays when the
// budget is spent (queue.go says how that is told). It is made of many small
// parts with a lock each, so that the shards of the proxy seldom meet. Safe
// for concurrent use.
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
		nodes          map[uint64]*node // by hash
		entrance, main queue
		departed       departed
	}
	budget, entrance int64 // bytes: of all, and of them for the entrance
	// Written under the lock, read without it.
	used, count                atomic.Int64
	hits, misses               atomic.Uint64
	puts, refused, replacement atomic.Uint64
	evictions                  [evictions]atomic.Uint64
	_                          [24]byte
}

// Eviction is why an entry has left for want of room.
type Eviction uint8

// The reasons.
const (
	// EvictedUnused: nobody had asked for it again while it was in the entrance.
	EvictedUnused Eviction = iota
	// EvictedUsed: from the main queue, where others had been used more.
	EvictedUsed
	// EvictedStale: its turn had come, from either queue, and it was stale.
	EvictedStale

	evictions
)

// String is the reason's name.
func (e Eviction) String() string {
	switch e {
	case EvictedUnused:
		return "unused"
	case EvictedUsed:
		return "used"
	case EvictedStale:
		return "stale"
	}
	return "invalid"
}

// Stats is what an L1 has done since it was made, and what it holds now.
type Stats struct {
	Bytes   int64 // in use, everything counted
	Budget  int64
	Entries int64
	// Hits and Misses count Gets that found the key, or didn't. A found entry
	// that turned out stale is a hit here; the caller counts those.
	Hits, Misses uint64
	Puts         uint64            // stored, replacements among them
	Replaced     uint64            // a Put that took the place of an entry with the same key or hash
	Evicted      [evictions]uint64 // left for want of room, by Eviction
	Refused      uint64            // too big, or older than what is there
}

// PartsFor is into how many parts a cache of so many bytes is best divided,
// when an entry may have up to maxEntry bytes: enough to make meetings rare,
// and not so many that such an entry would be most of what one holds.
func PartsFor(bytes, maxEntry int64) int {
	return int(min(256, max(1, bytes>>20), max(1, bytes/(8*max(1, maxEntry)))))
}

// NewL1 makes a cache of at most `bytes` bytes in about `parts` parts (see
// PartsFor; a power of two is chosen). Each part has an equal share of the
// budget, and an entry can't be bigger than that; MaxEntry says how big that
// is.
func NewL1(bytes int64, parts int) *L1 {
	bytes, parts = max(bytes, 0), max(parts, 1)
	n := 1 << (bits.Len(uint(parts)) - 1)
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
		p.entrance = p.budget / 10
		p.mu.nodes = make(map[uint64]*node)
	}
	return c
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
	var e *Entry
	p.mu.Lock()
	n := p.mu.nodes[h]
	if n != nil {
		if n.uses < maxUses {
			n.uses++
		}
		e = n.entry
	}
	p.mu.Unlock()
	if e == nil || !bytes.Equal(e.Key, key) {
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
	h := c.hash(e.Key)
	p := c.part(h)
	if e.size() > p.budget {
		p.refused.Add(1)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.mu.nodes[h]
	switch {
	case n == nil:
		n = &node{entry: e, hash: h, main: p.mu.departed.take(h)}
		p.mu.nodes[h] = n
		p.queue(n).push(n)
	case bytes.Equal(n.entry.Key, e.Key) && n.entry.newer(e):
		p.refused.Add(1)
		return false
	default:
		// A refill keeps its place, and what is known of its use.
		p.queue(n).bytes += e.size() - n.entry.size()
		n.entry = e
		p.replacement.Add(1)
	}
	p.makeRoom(n)
	p.puts.Add(1)
	p.publish()
	return true
}

// queue is that in which the node is.
func (p *part) queue(n *node) *queue {
	if n.main {
		return &p.mu.main
	}
	return &p.mu.entrance
}

// makeRoom evicts until the rest fits. keep stays: it fits by itself.
func (p *part) makeRoom(keep *node) {
	for rounds := 0; p.mu.entrance.bytes+p.mu.main.bytes > p.budget; {
		n := p.turn(keep)
		fresh := n.entry.Fresh()
		switch {
		case n == keep:
			p.queue(n).remove(n)
			p.queue(n).push(n)
		case n.uses > 0 && fresh && !n.main:
			p.queue(n).remove(n)
			n.main, n.uses = true, 0
			p.queue(n).push(n)
		case n.uses > 0 && fresh && rounds < sweep:
			p.queue(n).remove(n)
			n.uses--
			p.queue(n).push(n)
			rounds++
		default:
			why := EvictedUnused
			switch {
			case !fresh:
				why = EvictedStale
			case n.main:
				why = EvictedUsed
			}
			p.drop(n)
			if !n.main || n.uses > 0 {
				p.mu.departed.fit(len(p.mu.nodes))
				p.mu.departed.add(n.hash)
			}
			p.evictions[why].Add(1)
		}
	}
}

// turn is whose turn it is to be evicted or to go on: the end of the entrance, if that has more than its share, else that of the main
// queue; but never keep while there is another one.
func (p *part) turn(keep *node) *node {
	first, second := p.mu.main.end, p.mu.entrance.end
	if p.mu.entrance.bytes > p.entrance {
		first, second = second, first
	}
	if first == nil || first == keep && first.prev == nil {
		return second
	}
	return first
}

// drop takes the node out.
func (p *part) drop(n *node) {
	p.queue(n).remove(n)
	delete(p.mu.nodes, n.hash)
}

// Remove takes the key's entry out and says whether there was one.
func (c *L1) Remove(key []byte) bool {
	h := c.hash(key)
	p := c.part(h)
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.mu.nodes[h]
	if n == nil || !bytes.Equal(n.entry.Key, key) {
		return false
	}
	p.drop(n)
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
		dropped += len(p.mu.nodes)
		p.mu.nodes = make(map[uint64]*node)
		p.mu.entrance, p.mu.main, p.mu.departed = queue{}, queue{}, departed{}
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
		for _, n := range p.mu.nodes {
			if drop(n.entry) {
				p.drop(n)
				dropped++
			}
		}
		p.publish()
		p.mu.Unlock()
	}
	return dropped
}

// publish makes the part's size readable without its lock.
func (p *part) publish() {
	p.used.Store(p.mu.entrance.bytes + p.mu.main.bytes)
	p.count.Store(int64(len(p.mu.nodes)))
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
		for why := range c.parts[i].evictions {
			n += c.parts[i].evictions[why].Load()
		}
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
		for why := range p.evictions {
			s.Evicted[why] += p.evictions[why].Load()
		}
		s.Refused += p.refused.Load()
	}
	return s
}
