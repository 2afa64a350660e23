package consistency

import (
	"sync"
	"sync/atomic"
)

// Source is a place that can answer a read, seen from the gate: how far it is known to be. It is embedded by a replica
// (topology.Node) and by the cache (Table). The zero value knows nothing, and the gate admits nothing to it.
//
// All methods are safe for concurrent use; Position, AsOf and Epoch are lock-free.
type Source struct {
	position atomic.Uint64 // LSN
	asOf     atomic.Int64  // unix nanos
	asked    atomic.Int64  // see Until
	epoch    atomic.Uint64

	mu struct { // taken by those who move the source or wait for it, never by those who read from it
		sync.Mutex
		pending []sample // not reached yet; ascending in both fields
		waits   []*Wait  // for positions that it has not reached
	}
}

// sample is a position of the primary that the source has not reached yet, and when it was asked for.
type sample struct {
	at      int64
	primary LSN
}

// maxPending bounds the samples of a source that lags. When there are more, every other one is forgotten, which is
// always safe: it only makes AsOf advance in larger steps.
const maxPending = 64

// Position is the WAL location up to which an answer from this source is known to contain every commit.
func (s *Source) Position() LSN { return LSN(s.position.Load()) }

// AsOf is the latest instant (unix nanoseconds, by Now) of which it is known that the source contains every commit that
// was acknowledged before it. 0: nothing is known.
func (s *Source) AsOf() int64 { return s.asOf.Load() }

// Epoch changes with every Reset. See AdvanceIn.
func (s *Source) Epoch() uint64 { return s.epoch.Load() }

// Until gives a position beyond which nothing was in the answers that the source had given by the instant at (by Now, read
// when they were here), in this epoch; ok is false as long as none is known. It is the other bound to Position: an answer
// contains everything up to where the source was known to be before it, and nothing beyond where it was found later.
// Lock-free.
func (s *Source) Until(epoch uint64, at int64) (upper LSN, ok bool) {
	if s.asked.Load() <= at { // at the same instant, it can't be told which came first
		return 0, false
	}
	upper = s.Position() // after asked, which follows it
	return upper, s.epoch.Load() == epoch
}

// Advance says that the source has reached lsn. Positions never go back, but by Reset.
func (s *Source) Advance(lsn LSN) {
	if lsn <= s.Position() {
		return
	}
	s.mu.Lock()
	s.advanceLocked(lsn)
	woken := s.wokenLocked()
	s.mu.Unlock()
	wake(woken)
}

// AdvanceIn is Advance for what the source itself said when it was asked, at or after the instant asked (by Now), for its
// position. It is dropped when the source has been reset since the epoch was read: a position of a timeline that was
// left must not move a source of the next one.
func (s *Source) AdvanceIn(epoch uint64, asked int64, lsn LSN) {
	if lsn == 0 {
		return
	}
	s.mu.Lock()
	var woken []*Wait
	if s.epoch.Load() == epoch {
		s.advanceLocked(lsn)
		raise(&s.asked, asked)
		woken = s.wokenLocked()
	}
	s.mu.Unlock()
	wake(woken)
}

func (s *Source) advanceLocked(lsn LSN) {
	if lsn <= s.Position() {
		return
	}
	s.position.Store(uint64(lsn))
	reached := 0
	for reached < len(s.mu.pending) && s.mu.pending[reached].primary <= lsn {
		reached++
	}
	if reached > 0 {
		s.knownLocked(s.mu.pending[reached-1].at)
		s.mu.pending = s.mu.pending[:copy(s.mu.pending, s.mu.pending[reached:])]
	}
}

// Observe says that a question for the primary's position (PositionSQL) was answered with this one. at is an instant (by
// Now) before the question was sent. From when the source has reached the position, its AsOf is at or later.
func (s *Source) Observe(at int64, primary LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observeLocked(at, primary)
}

// ObserveIn is Observe, dropped when the source has been reset since the epoch was read (before the question was sent).
func (s *Source) ObserveIn(epoch uint64, at int64, primary LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch.Load() == epoch {
		s.observeLocked(at, primary)
	}
}

func (s *Source) observeLocked(at int64, primary LSN) {
	if primary <= s.Position() {
		// A source at position 0 knows nothing, and an answer of 0 is none.
		if primary > 0 {
			s.knownLocked(at)
		}
		return
	}
	p := s.mu.pending
	// Of two questions that overlapped, the later can have been answered first, with the lower position: it says more.
	for len(p) > 0 && p[len(p)-1].primary >= primary && p[len(p)-1].at <= at {
		p = p[:len(p)-1]
	}
	if len(p) > 0 && (p[len(p)-1].at >= at || p[len(p)-1].primary > primary) {
		s.mu.pending = p
		return // says less than what is there, or would have to go between: not worth it
	}
	if len(p) >= maxPending {
		kept := p[:0]
		for i := 0; i < len(p); i += 2 {
			kept = append(kept, p[i])
		}
		p = kept
	}
	s.mu.pending = append(p, sample{at, primary})
}

func (s *Source) knownLocked(at int64) {
	if at > s.asOf.Load() {
		s.asOf.Store(at)
	}
}

// Behind says since when (an instant by Now, the at of an Observe) the source has not reached a position that the primary
// had, and which that is; ok is false when it has reached all of them.
func (s *Source) Behind() (at int64, primary LSN, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.pending) == 0 {
		return 0, 0, false
	}
	return s.mu.pending[0].at, s.mu.pending[0].primary, true
}

// Reset forgets everything: position 0, AsOf 0, a new epoch. For a failover, a restart, another server. Those who wait for it
// are woken: they have to look again.
func (s *Source) Reset() {
	s.mu.Lock()
	s.asked.Store(0) // before the epoch: Until reads them in the opposite order
	s.epoch.Add(1)
	s.asOf.Store(0)
	s.position.Store(0)
	s.mu.pending = s.mu.pending[:0]
	woken := s.takeLocked(func(*Wait) bool { return true })
	s.mu.Unlock()
	wake(woken)
}
