package consistency

import "time"

// Registry holds the sessions that connections share by naming the same session_key. Safe for concurrent use.
type Registry struct{}

// NewRegistry makes an empty registry; its sessions have this window and release.
func NewRegistry(window time.Duration, release Release) *Registry { return &Registry{} }

// Get gives the session of this key; every Get needs a Release.
func (r *Registry) Get(key string) *Session { return nil }

// Release gives back what Get gave. The session outlives its last connection by the window.
func (r *Registry) Release(key string, now int64) {}

// Len is the number of sessions held.
func (r *Registry) Len() int { return 0 }

// LowerFloors does Session.LowerFloor on all of them.
func (r *Registry) LowerFloors(lsn LSN) {}
