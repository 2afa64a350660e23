package consistency

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/freshet/freshet/consistency/rule"
)

// How a session never goes back in time.
//
// What has been read must be in what is read next. An answer is known to contain everything up to a position (of its source,
// before it was asked), but it may contain more, and it is that more which must not be missing later. So each answer has
// a second bound, beyond which it contains nothing: where its source was found to be by a question that was sent after the
// answer had come. That bound goes into the floor.
//
// To ask that question after each read would double the work of a read. So an answer is first only noted: from which source,
// until when. As long as the session stays with that source nothing more has to be known, since a source doesn't go
// back by itself. Only when the session is to be answered by another one is the bound needed; by then it is mostly
// known, since the sources are asked for their positions all the time for other reasons (Source.Until). Where it isn't the
// verdict is Unsettled: the session stays where it is, or waits until somebody has asked.
//
// The primary's position bounds the answers of all sources, because nothing can be anywhere that isn't in its WAL.

// sightings are the answers that a session has been given and whose upper bounds aren't in its floor yet. At most one for each
// source: the latest.
type sightings struct {
	open atomic.Int32 // len(list), for those who needn't lock when it is 0
	mu   struct {
		sync.Mutex
		list []sighting
	}
}

type sighting struct {
	source *Source
	epoch  uint64
	at     int64 // the answer was here by then
}

// See notes that the session has been given an answer by the source, in this epoch of it, not later than now (by Now, read
// after the answer had come from the source, and before its client could act on it).
func (s *Session) See(source *Source, epoch uint64, now int64) {
	if !rule.Seen {
		return
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	for i := range s.seen.mu.list {
		if g := &s.seen.mu.list[i]; g.source == source && g.epoch == epoch {
			g.at = max(g.at, now)
			return
		}
	}
	s.seen.mu.list = append(s.seen.mu.list, sighting{source, epoch, now})
	s.seen.open.Store(int32(len(s.seen.mu.list)))
}

// SeenUntil says that what the session was given by the source up to the instant at had nothing in it beyond upper.
func (s *Session) SeenUntil(source *Source, epoch uint64, at int64, upper LSN) {
	if !rule.Seen {
		return
	}
	s.Saw(upper)
	if !s.Unsettled() {
		return
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.mu.list = slices.DeleteFunc(s.seen.mu.list, func(g sighting) bool {
		return g.source == source && g.epoch == epoch && g.at <= at
	})
	s.seen.open.Store(int32(len(s.seen.mu.list)))
}

// ReplicaShowed notes that the session has been given, not later than now, what a replica had said, by itself or through the
// cache.
func (s *Session) ReplicaShowed(now int64) { raise(&s.shown, now) }

// ShownByReplica is the instant until which the session has been shown what replicas said; 0: nothing. It may be answered by
// the primary once all that was shown until then is known to be visible there. For "the primary is always current" is true of
// its WAL, but not of what it shows: a commit becomes visible there after its record has been sent to the replicas.
func (s *Session) ShownByReplica() int64 { return s.shown.Load() }

// Inherit makes the session see what the other one has seen, and remember when it has written.
func (s *Session) Inherit(other *Session) {
	other.seen.mu.Lock()
	list := slices.Clone(other.seen.mu.list)
	other.seen.mu.Unlock()
	for _, g := range list {
		s.See(g.source, g.epoch, g.at)
	}
	s.ReplicaShowed(other.ShownByReplica())
	raise(&s.lastEnd, other.lastEnd.Load())
	s.Saw(other.Floor()) // after the list: what is settled meanwhile is in the floor by now
}

// forget puts everything into the floor that was seen of sources that have been reset since. Nothing of it that still exists
// is beyond upper.
func (s *Session) forget(upper LSN) {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.mu.list = slices.DeleteFunc(s.seen.mu.list, func(g sighting) bool {
		if g.source.Epoch() == g.epoch {
			return false
		}
		s.Saw(upper)
		return true
	})
	s.seen.open.Store(int32(len(s.seen.mu.list)))
}

// Unsettled says whether something that the session has seen isn't in its floor yet.
func (s *Session) Unsettled() bool { return s.seen.open.Load() != 0 }

// Sighting gives one of the sources whose answers aren't in the floor yet, and until when it has answered; nil: there is none.
// Once Source.Until knows about that instant, the next Judge puts it there.
func (s *Session) Sighting() (source *Source, at int64) {
	if !s.Unsettled() {
		return nil, 0
	}
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	if len(s.seen.mu.list) == 0 {
		return nil, 0
	}
	g := s.seen.mu.list[0]
	return g.source, g.at
}

// settle puts into the floor what can be put there, and says whether src contains all that the session has seen beyond its
// floor.
func (s *Session) settle(src, primary *Source) bool {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	contained := true
	s.seen.mu.list = slices.DeleteFunc(s.seen.mu.list, func(g sighting) bool {
		if upper, ok := g.source.Until(g.epoch, g.at); ok {
			s.Saw(upper)
			return true
		}
		lost := g.source.Epoch() != g.epoch // it can't be asked any more
		if !lost && g.source == src {
			return false
		}
		if primary != nil && (lost || g.source != primary) {
			if upper, ok := primary.Until(primary.Epoch(), g.at); ok {
				if lost {
					s.Saw(upper)
					return true
				}
				// True of src if it has come so far. Not for the floor: the source itself will name less.
				contained = contained && src.Position() >= upper
				return false
			}
		}
		contained = false
		return false
	})
	s.seen.open.Store(int32(len(s.seen.mu.list)))
	return contained
}

// Settle puts into the floor what is known about everything that the session has seen. primary is the source that knows
// where the primary is, or nil.
func (s *Session) Settle(primary *Source) {
	if s.Unsettled() {
		s.settle(nil, primary)
	}
}
