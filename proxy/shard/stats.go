package shard

import "sync/atomic"

// Stats are a loop's counters since its start; Conns is how many connections it has now.
type Stats struct {
	Conns    int64
	BytesIn  uint64 // bytes delivered to handlers
	BytesOut uint64 // bytes taken by the kernel (or by the writing goroutine's connection)
	Turns    uint64 // turns of the loop
	Wakes    uint64 // times the loop slept and was woken, by whatever
	Posts    uint64 // functions run for Post
	Panics   uint64 // callbacks that panicked
}

// Stats returns the counters as they were when the loop last slept, or at most 64 turns ago. Safe from any goroutine.
func (l *Loop) Stats() Stats {
	s := &l.shared
	return Stats{
		Conns:    s.conns.Load(),
		BytesIn:  s.in.Load(),
		BytesOut: s.out.Load(),
		Turns:    s.turns.Load(),
		Wakes:    s.wakes.Load(),
		Posts:    s.posts.Load(),
		Panics:   s.panics.Load(),
	}
}

// counters are the loop's own, counted without atomics.
type counters struct {
	in, out, turns, wakes, posts, panics uint64
}

// published is what others may read. It has a cache line of its own before and after, so that reading it doesn't slow the loop down.
type published struct {
	_                                    [64]byte
	conns                                atomic.Int64
	in, out, turns, wakes, posts, panics atomic.Uint64
	_                                    [64]byte
}

func (p *published) publish(c *counters) {
	p.in.Store(c.in)
	p.out.Store(c.out)
	p.turns.Store(c.turns)
	p.wakes.Store(c.wakes)
	p.posts.Store(c.posts)
	p.panics.Store(c.panics)
}
