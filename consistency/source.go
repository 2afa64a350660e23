package consistency

import (
	"sync"
	"sync/atomic"
)

// Source is a place that can answer a read, seen from the gate: how far it is known to be. It is embedded by a replica
// (topology.Node) and by the cache (Table). The zero value knows nothing and is admitted for nothing.
//
// All methods are safe for concurrent use; Position and AsOf are lock-free.
type Source struct {
	position atomic.Uint64 // LSN; lower bound on what an answer from here contains
	asOf     atomic.Int64  // unix nanos
	epoch    atomic.Uint64
	next     atomic.Uint64 // LSN of the first pending sample; 0: none

	mu struct {
		sync.Mutex
		pending []sample // ascending in both fields
	}
}

// sample is an answer of the primary that the source has not reached yet.
type sample struct {
	at      int64
	primary LSN
}

// Position is the WAL location that an answer from this source is known to contain.
func (s *Source) Position() LSN { return LSN(s.position.Load()) }

// AsOf is the latest instant (unix nanoseconds, by Now) of which it is known that the source contains every commit that
// was acknowledged before it. 0: nothing is known.
func (s *Source) AsOf() int64 { return s.asOf.Load() }

// Epoch changes with every Reset.
func (s *Source) Epoch() uint64 { return s.epoch.Load() }

// Advance says that the source has reached lsn. Positions never go back but by Reset.
func (s *Source) Advance(lsn LSN) {}

// AdvanceIn is Advance for news that was under way for a while: dropped when the source was reset since epoch was read.
func (s *Source) AdvanceIn(epoch uint64, lsn LSN) {}

// Observe says that a question sent to the primary at the instant at (unix nanoseconds, by Now, taken before it was sent)
// was answered with this position. When the source reaches that, its AsOf is at or later.
func (s *Source) Observe(at int64, primary LSN) {}

// ObserveIn is Observe, dropped when the source was reset since epoch was read.
func (s *Source) ObserveIn(epoch uint64, at int64, primary LSN) {}

// Reset forgets everything: position 0, AsOf 0. For a failover, a restart, a connection to another server.
func (s *Source) Reset() {}
