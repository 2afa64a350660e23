package shard

import (
	"sync"
	"sync/atomic"
)

// letter is a function to run, or word that a goroutine-driven connection has news.
type letter struct {
	fn func()
	g  *driver
}

// mailbox brings functions from other goroutines to the loop, in order. The loop is woken only when it sleeps: while it
// is busy a letter costs its sender a lock and an append, no system call.
type mailbox struct {
	waiting atomic.Bool // there are letters; so that a turn without any takes no lock
	closed  atomic.Bool // nothing but news of connections is accepted; set under the lock

	mu struct {
		sync.Mutex
		letters  []letter
		sleeping bool // the loop waits, or is about to, and must be woken
		gone     bool // nothing at all is accepted: there is no loop any more
	}

	back []letter // the loop's own: the slice that isn't being filled
}

// send queues a letter. False: the loop is closed. News of connections is accepted until the very end.
func (m *mailbox) send(l *Loop, v letter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.gone || m.closed.Load() && v.g == nil {
		return false
	}
	m.mu.letters = append(m.mu.letters, v)
	m.waiting.Store(true)
	m.wakeLocked(l)
	return true
}

// wakeLocked wakes the loop if it sleeps. This is done under the lock because, after it, the descriptor may be closed
// and its number belong to somebody else.
func (m *mailbox) wakeLocked(l *Loop) {
	if !m.mu.sleeping {
		return
	}
	m.mu.sleeping = false
	if l.ep != nil {
		l.ep.wake()
		return
	}
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// sleep says that the loop is about to wait. False: there is mail, don't.
func (m *mailbox) sleep() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mu.letters) > 0 || m.closed.Load() {
		return false
	}
	m.mu.sleeping = true
	return true
}

func (m *mailbox) awake() {
	m.mu.Lock()
	m.mu.sleeping = false
	m.mu.Unlock()
}

// deliver runs what has come, up to now: a function that posts itself again runs in the next turn.
func (m *mailbox) deliver(l *Loop) {
	if !m.waiting.Load() {
		return
	}
	m.mu.Lock()
	batch := m.mu.letters
	m.mu.letters = m.back[:0]
	m.waiting.Store(false)
	m.mu.Unlock()
	m.back = nil // in case a letter ends the goroutine
	for i := range batch {
		v := batch[i]
		batch[i] = letter{}
		if v.g != nil {
			v.g.news(l)
			continue
		}
		l.count.posts++
		l.call("Post", v.fn)
	}
	if cap(batch) > 1<<14 {
		batch = nil // a flood has passed; don't keep its size
	}
	m.back = batch[:0]
}

// close refuses letters from now on and wakes the loop, so that it sees that.
func (m *mailbox) close(l *Loop) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed.Store(true)
	m.wakeLocked(l)
}

// unplug closes what wakes the loop.
func (m *mailbox) unplug(l *Loop) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.sleeping, m.mu.gone = false, true
	if l.ep != nil {
		l.ep.close()
	}
}
