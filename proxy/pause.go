package proxy

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// PAUSE and RESUME. While a database is paused, what would need a server connection waits, in the order in which it came; neither
// --pool-wait nor --query-timeout counts for it. Transactions that have a server connection go on, and what the cache can answer is answered.
// Connections are closed as they are given back.

// pause is what a Database needs for that. Safe for concurrent use.
type pause struct {
	on atomic.Bool
	mu struct {
		sync.Mutex
		waiting []*parked
	}
}

type parked struct{ fn func() }

// Paused says whether statements have to wait that need a server.
func (d *Database) Paused() bool { return d.pause.on.Load() }

// AwaitResume has fn called, once, when the database isn't paused any more, unless it is cancelled before.
func (d *Database) AwaitResume(fn func()) (cancel func()) {
	p, w := &d.pause, &parked{fn}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on.Load() {
		go fn()
		return func() {}
	}
	p.mu.waiting = append(p.mu.waiting, w)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.mu.waiting = slices.DeleteFunc(p.mu.waiting, func(o *parked) bool { return o == w })
	}
}

// Resume undoes Pause. False: it wasn't paused.
func (d *Database) Resume() bool {
	p := &d.pause
	p.mu.Lock()
	was := p.on.Swap(false)
	waiting := p.mu.waiting
	p.mu.waiting = nil
	p.mu.Unlock()
	for _, w := range waiting {
		w.fn()
	}
	return was
}

// Pause pauses databases, and returns when none of their server connections is left. If ctx ends before, those are resumed that weren't
// paused before.
func (s *Server) Pause(ctx context.Context, list []*Database) error {
	var mine []*Database
	for _, d := range list {
		d.pause.mu.Lock()
		if !d.pause.on.Swap(true) {
			mine = append(mine, d)
		}
		d.pause.mu.Unlock()
	}
	tick := time.NewTicker(nodeRetry)
	defer tick.Stop()
	for {
		left := 0
		s.mu.Lock()
		for k, p := range s.mu.pools {
			if slices.ContainsFunc(list, func(d *Database) bool { return d.Name == k.database }) {
				p.TurnAway()
				left += p.Stats().Total
			}
		}
		s.mu.Unlock()
		if left == 0 {
			return nil
		}
		s.Sweep()
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, d := range mine {
				d.Resume()
			}
			return ctx.Err()
		}
	}
}

// park makes the unit wait until its database isn't paused any more. False: it isn't. (With --pool-mode session a client has its connection.)
func (s *Session) park() bool {
	if !s.db.Paused() || s.home != nil {
		return false
	}
	s.phase = phasePaused
	s.env.AwaitResume(s, s.unit.number)
	return true
}

// Resumed follows AwaitResume.
func (s *Session) Resumed(number uint64) {
	if s.phase != phasePaused || number != s.unit.number {
		return
	}
	s.env.StopAwaiting(s)
	s.phase = phaseIdle
	s.limitAnew = true // its time counts from here on
	if len(s.unit.key) == 0 || !s.tryCache(s.unit.buf) {
		s.run()
	}
	s.pump()
}
