package consistency

import (
	"sync"
	"time"
)

// Registry holds the sessions that connections share by naming the same session_key. Safe for concurrent use.
type Registry struct {
	window  time.Duration
	release Release

	mu struct {
		sync.Mutex
		sessions map[string]*shared
		idle     []idleSession // without connections, in the order in which they may be forgotten
	}
}

type shared struct {
	session     *Session
	connections int
	idleSince   int64
}

type idleSession struct {
	key   string
	since int64
}

// NewRegistry makes an empty registry. Its sessions have this window and this release.
func NewRegistry(window time.Duration, release Release) *Registry {
	r := &Registry{window: window, release: release}
	r.mu.sessions = make(map[string]*shared)
	return r
}

// Get gives the session of this key. Every Get needs a Release. The key is the caller's to make unambiguous: users who
// must not share a floor need different keys.
func (r *Registry) Get(key string) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.mu.sessions[key]
	if e == nil {
		e = &shared{session: NewSession(r.window, r.release)}
		r.mu.sessions[key] = e
	}
	e.connections++
	return e.session
}

// Release gives back what Get gave. The session outlives its last connection by the window, after which no source that is
// in rotation can lack what it wrote. refNow is the instant that staleness is measured against (Judge's, not the present):
// while there is no primary, a replica may be in rotation that stopped before the session's last write.
func (r *Registry) Release(key string, refNow int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.mu.sessions[key]; e != nil {
		e.connections--
		if e.connections == 0 {
			e.idleSince = refNow
			r.mu.idle = append(r.mu.idle, idleSession{key, refNow})
		}
	}
	r.forgetLocked(refNow)
}

// forgetLocked drops sessions that have been idle for the window.
func (r *Registry) forgetLocked(refNow int64) {
	n := 0
	for n < len(r.mu.idle) && refNow-r.mu.idle[n].since >= int64(r.window) {
		i := r.mu.idle[n]
		if e := r.mu.sessions[i.key]; e != nil && e.connections == 0 && e.idleSince == i.since {
			delete(r.mu.sessions, i.key)
		}
		n++
	}
	if n > 0 {
		r.mu.idle = append(r.mu.idle[:0], r.mu.idle[n:]...)
	}
}

// Len is the number of sessions held, those that wait to be forgotten included.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.sessions)
}

// LowerFloors does Session.LowerFloor on all of them.
func (r *Registry) LowerFloors(lsn LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.mu.sessions {
		e.session.LowerFloor(lsn)
	}
}
