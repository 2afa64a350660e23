package cache

import (
	"hash/maphash"
	"sync"

	"github.com/freshet/freshet/consistency"
)

// Flights makes identical misses share one query: the first to miss leads,
// who comes while it is under way follows. A follower is never given the
// leader's answer. It is woken, and looks in the cache again, by the same
// rule as always and with its own floor: what is right for the leader's
// session needn't be for the follower's. But where the answer has become stale
// while it was on its way, it is still right for who had asked before that
// (Covers): without this, each write to a table that many wait for would send
// all of them to the servers at once.
//
// A flight that has been invalidated since its query was begun isn't joined any
// more: who comes then leads another one.
//
// Who calls are event loops, which may not block. So Join answers at once, on
// the spot, whether the caller leads, and a follower is told later through a
// function. golang.org/x/sync/singleflight can't be used for this: its Do
// blocks, its DoChan starts a goroutine for each call and runs the function
// itself (where here the query is sent by whoever leads, as bytes on a
// socket), and neither lets a follower walk away or learn that the leader
// has vanished.
//
// Flights has no goroutine. Safe for concurrent use.
type Flights struct {
	seed  maphash.Seed
	parts [flightParts]flightPart
}

const flightParts = 64

type flightPart struct {
	mu struct {
		sync.Mutex
		groups map[string]*group
	}
	_ [48]byte // a cache line each
}

// group is what the leader and the followers of one key share. Guarded by the
// lock of its part.
type group struct {
	part      *flightPart
	key       string
	outcome   Outcome
	followers *Flight // ring's head; nil: nobody follows
	count     int
	deps      []*consistency.Cell // what the answer depends on; nil: not begun
	began     consistency.Seq     // what had been applied when it was begun
}

// stale says whether a commit that the answer may lack has touched what it
// depends on.
func (g *group) stale() bool {
	for _, c := range g.deps {
		if c.Seq() > g.began {
			return true
		}
	}
	return false
}

// Flight is one participant's place in a flight, the leader's or a
// follower's. Its methods are safe for concurrent use.
type Flight struct {
	g          *group
	wake       func() // nil: the leader
	prev, next *Flight
	seated     bool            // a follower that is still in the ring
	joined     consistency.Seq // what had been applied by then
	applied    consistency.Seq // the same, without what came last and doesn't touch the answer
}

// Outcome says how a flight has ended, and so what its followers do next.
type Outcome uint8

const (
	// Airborne: not ended.
	Airborne Outcome = iota
	// Landed: the answer has been stored. Look in the cache.
	Landed
	// Unstorable: the answer can't be stored (too big, an error, born stale).
	// Go on alone, without joining again: queueing up behind one leader after
	// the other would make a convoy out of a crowd.
	Unstorable
	// Lost: the leader has vanished before its answer was complete, or it can't
	// be stored for a reason that needn't be there the next time. Look, and join
	// again: one of the followers leads then, so that a slow query that many
	// wait for isn't sent by them all at once (HAZARDS 18).
	Lost
)

// String is the outcome's name.
func (o Outcome) String() string {
	switch o {
	case Airborne:
		return "airborne"
	case Landed:
		return "landed"
	case Unstorable:
		return "unstorable"
	case Lost:
		return "lost"
	}
	return "invalid"
}

// NewFlights makes an empty set of flights.
func NewFlights() *Flights {
	f := &Flights{seed: maphash.MakeSeed()}
	for i := range f.parts {
		f.parts[i].mu.groups = make(map[string]*group)
	}
	return f
}

// Join enters the flight of the key (which is copied), or opens one. It never
// blocks. applied is what the table had applied by now.
//
// leading: the caller sends the query, and ends the flight exactly by one of
// Done, Abandon, Lose and Leave. Otherwise it follows: wake will be called
// exactly once when the flight ends, unless Leave comes first. wake runs on
// whatever goroutine ends the flight, with no lock held; it must not block (it
// posts to the follower's loop), and may call Flights. It may run before Join
// has returned.
func (fs *Flights) Join(key []byte, applied consistency.Seq, wake func()) (f *Flight, leading bool) {
	p := &fs.parts[maphash.Bytes(fs.seed, key)%flightParts]
	p.mu.Lock()
	defer p.mu.Unlock()
	if g, ok := p.mu.groups[string(key)]; ok && !g.stale() {
		joined := applied
		if g.deps != nil {
			// Nothing of what came after it was begun touches the answer.
			applied = min(applied, g.began)
		}
		f := &Flight{g: g, wake: wake, seated: true, joined: joined, applied: applied}
		g.push(f)
		return f, false
	}
	g := &group{part: p, key: string(key)}
	p.mu.groups[g.key] = g
	return &Flight{g: g}, true
}

// Began says, before the leader's query is sent, what the answer will depend on
// and what the table had applied by then (Fill.Begun).
func (f *Flight) Began(deps []*consistency.Cell, applied consistency.Seq) {
	p := f.g.part
	p.mu.Lock()
	defer p.mu.Unlock()
	f.g.deps, f.g.began = deps, applied
}

// Covers says of an answer that is stored under the flight's key whether it
// contains everything that touches it and had been applied when this follower
// joined. So it is what the cache would have answered then, whatever has come
// since. What touches it is for its dependencies to say, and whether these are
// right, for the feed, once it has got so far (Entry.Reached).
func (f *Flight) Covers(e *Entry, t *consistency.Table) bool {
	if f.wake == nil || e.Seq < f.applied {
		return false
	}
	return e.Seq >= f.joined || t.Position() >= e.Until && e.Deps[0].Seq() <= e.Seq
}

// Done ends the flight: the answer is in the cache. All followers are woken,
// in the order in which they joined. Only the leader's first call of Done,
// Abandon, Lose or Leave counts; on a follower Done does nothing.
func (f *Flight) Done() { f.end(Landed) }

// Abandon ends the flight as Done does: the answer won't be in the cache. It
// can be called long before the answer is complete (as soon as it turns out
// too big), so that the followers don't wait for what won't help them.
func (f *Flight) Abandon() { f.end(Unstorable) }

// Lose ends the flight as Done does: this answer won't be in the cache, but the
// next one may.
func (f *Flight) Lose() { f.end(Lost) }

// Leave gives up the place. A leader that leaves ends the flight as Lost and
// wakes the followers. A follower that leaves isn't woken any more: true
// means that wake hasn't been called and won't be; false that it has been, or
// is just being called.
func (f *Flight) Leave() bool {
	if f.wake == nil {
		return f.end(Lost)
	}
	p := f.g.part
	p.mu.Lock()
	defer p.mu.Unlock()
	if !f.seated {
		return false
	}
	f.g.remove(f)
	return true
}

// Outcome is how the flight has ended, or Airborne.
func (f *Flight) Outcome() Outcome {
	p := f.g.part
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.g.outcome
}

// Followers is the number of those who wait at present.
func (f *Flight) Followers() int {
	p := f.g.part
	p.mu.Lock()
	defer p.mu.Unlock()
	return f.g.count
}

func (f *Flight) end(o Outcome) bool {
	if f.wake != nil {
		return false
	}
	g := f.g
	p := g.part
	p.mu.Lock()
	if g.outcome != Airborne {
		p.mu.Unlock()
		return false
	}
	g.outcome = o
	// From here on a newcomer opens a new flight: this one's answer may have
	// been asked for before what the newcomer has to see.
	if p.mu.groups[g.key] == g { // else one has been opened already
		delete(p.mu.groups, g.key)
	}
	// Taken off the ring under the lock: a Leave from here on comes too late.
	first, n := g.followers, g.count
	for w, i := first, 0; i < n; w, i = w.next, i+1 {
		w.seated = false
	}
	g.followers, g.count = nil, 0
	p.mu.Unlock()

	for w, i := first, 0; i < n; i++ {
		next := w.next
		w.prev, w.next = nil, nil
		w.wake()
		w = next
	}
	return true
}

// Len is the number of flights under way.
func (fs *Flights) Len() int {
	n := 0
	for i := range fs.parts {
		p := &fs.parts[i]
		p.mu.Lock()
		n += len(p.mu.groups)
		p.mu.Unlock()
	}
	return n
}

// Waiting is the number of followers of all flights.
func (fs *Flights) Waiting() int {
	n := 0
	for i := range fs.parts {
		p := &fs.parts[i]
		p.mu.Lock()
		for _, g := range p.mu.groups {
			n += g.count
		}
		p.mu.Unlock()
	}
	return n
}

// push seats f at the ring's end.
func (g *group) push(f *Flight) {
	if g.followers == nil {
		f.prev, f.next = f, f
		g.followers = f
	} else {
		first, last := g.followers, g.followers.prev
		f.prev, f.next = last, first
		last.next, first.prev = f, f
	}
	g.count++
}

// remove unseats f.
func (g *group) remove(f *Flight) {
	if f.next == f {
		g.followers = nil
	} else {
		f.prev.next, f.next.prev = f.next, f.prev
		if g.followers == f {
			g.followers = f.next
		}
	}
	f.prev, f.next, f.seated = nil, nil, false
	g.count--
}
