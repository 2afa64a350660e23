package consistency

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/consistency/rule"
)

// Release says what ends a read-your-writes pin.
type Release uint8

// The two rules for the end of a pin.
const (
	CaughtUp Release = iota // as soon as a source has provably reached the write
	Window                  // the whole window; after it, sources that have provably reached the write
)

// Verdict is the gate's answer about one source.
type Verdict uint8

// The verdicts. All but Admitted send the read elsewhere.
const (
	Admitted      Verdict = iota
	Writing               // a write of the session is under way
	Pinned                // a write's position is not known yet, or the window is not over
	BehindFloor           // the source has not reached the session's floor
	Unsettled             // it isn't known whether the source contains what the session has seen
	BehindPrimary         // Strong: the source has not reached where the primary was, or that isn't known
	TooStale              // the source is behind the staleness bound
	NothingKnown          // nothing is known about the source since it was reset

	Verdicts // so many there are
)

// String is the verdict in a word, for metrics.
func (v Verdict) String() string {
	switch v {
	case Admitted:
		return "admitted"
	case Writing:
		return "writing"
	case Pinned:
		return "pinned"
	case BehindFloor:
		return "floor"
	case Unsettled:
		return "unsettled"
	case BehindPrimary:
		return "strong"
	case TooStale:
		return "stale"
	case NothingKnown:
		return "unknown"
	}
	return "invalid"
}

// Session is the floor and the pin of one session: of a connection, or of all connections that name the same session_key.
//
// A write passes through three states: under way (WriteBegan), ended (WriteEnded: acknowledged to us, position unknown),
// learned (Learned: the floor has been raised to its position). Methods are safe for concurrent use, without a lock;
// what reads ask (Admits, Judge, Floor, Pinned) allocates nothing.
//
// What it has been shown is in its floor, or among its sightings (sighting.go), which have a lock of their own.
type Session struct {
	window  int64
	release Release

	// Written in the order in which a write passes them, and read by Judge in the opposite one, so that no reader finds
	// a write in none of the states.
	writing atomic.Int64  // writes under way
	lastEnd atomic.Int64  // when the latest of the ended writes ended
	ended   atomic.Uint64 // tickets given out
	floor   atomic.Uint64 // LSN
	learned atomic.Uint64 // the latest ticket whose position is in the floor; those before it are, too

	retired atomic.Int64 // release Window: the lastEnd whose window was seen to be over

	seen  sightings
	shown atomic.Int64 // see ShownByReplica
}

// NewSession makes a session that has not written and seen nothing. window is the read-your-writes window.
func NewSession(window time.Duration, release Release) *Session {
	return &Session{window: int64(window), release: release}
}

// WriteBegan is called before the first byte of a write goes to the primary. From here on, reads go to the primary only,
// until WriteEnded has been called as many times as WriteBegan.
func (s *Session) WriteBegan() {
	if rule.ReadYourWrites {
		s.writing.Add(1)
	}
}

// WriteEnded is called when the answer to the write is here and has not been forwarded to the client, or when its connection
// is lost and its outcome unknown. now must have been read (from Now) after the answer arrived: a value that is older than
// the acknowledgement would let a source that lacks the write pass for one that has it. The ticket is for Learned.
func (s *Session) WriteEnded(now int64) (ticket uint64) {
	if !rule.ReadYourWrites {
		return 0
	}
	raise(&s.lastEnd, now)
	ticket = s.ended.Add(1)
	s.writing.Add(-1)
	return ticket
}

// Learned takes the position clock's answer to a question that began after WriteEnded gave the ticket. The writes before
// that one ended earlier, so the answer holds for them, too; the pin ends unless another write has ended since.
func (s *Session) Learned(ticket uint64, lsn LSN) {
	if !rule.ReadYourWrites {
		return
	}
	s.Saw(lsn)
	raise(&s.learned, ticket)
}

// Saw raises the floor to what the session has been shown, so that it never goes back in time.
func (s *Session) Saw(lsn LSN) { raise(&s.floor, uint64(lsn)) }

// Floor is the position that a source must have reached to answer this session's reads, as far as it is known yet.
func (s *Session) Floor() LSN { return LSN(s.floor.Load()) }

// LowerFloor brings a floor beyond lsn back to it: for a failover that lost commits, with the position at which the new
// timeline began.
func (s *Session) LowerFloor(lsn LSN) {
	s.forget(lsn)
	for {
		old := s.floor.Load()
		if old <= uint64(lsn) || s.floor.CompareAndSwap(old, uint64(lsn)) {
			return
		}
	}
}

// WrittenSince says whether the session has written something that needn't have been acknowledged before the instant at, so that
// what was right as of that instant may lack it.
func (s *Session) WrittenSince(at int64) bool {
	return s.writing.Load() != 0 || s.lastEnd.Load() >= at
}

// Learning says whether it is only that the position of the session's last write isn't known that keeps it pinned, and when that
// ended. Once Source.Until of the primary knows about that instant, the next Judge puts the position into the floor.
func (s *Session) Learning() (at int64, ok bool) {
	if s.writing.Load() != 0 || s.release == Window {
		return 0, false
	}
	learned := s.learned.Load()
	ok = learned < s.ended.Load()
	return s.lastEnd.Load(), ok
}

// learn is Learned by whatever question has been put to the primary since the writes up to this ticket ended, none of them later than
// at the instant end.
func (s *Session) learn(ticket uint64, end int64, primary *Source) bool {
	if primary == nil {
		return false
	}
	upper, ok := primary.Until(primary.Epoch(), end)
	if !ok || upper == 0 {
		return false
	}
	s.Learned(ticket, upper)
	return true
}

// Pinned says whether reads go to the primary however far the sources are: a write is under way, or its position is not
// known yet (a source whose AsOf is later than the write is admitted even so, see Judge), or, with release Window, the
// window is not over at the instant now. A window found to be over is retired, for Judge, whose refNow stands still
// while there is no primary.
func (s *Session) Pinned(now int64) bool {
	if s.writing.Load() != 0 {
		return true
	}
	learned := s.learned.Load()
	if learned < s.ended.Load() {
		return true
	}
	if s.release == Window {
		if end := s.lastEnd.Load(); s.inWindow(end, now) {
			return true
		} else if end != 0 {
			raise(&s.retired, end)
		}
	}
	return false
}

// Admits is the gate: may src answer this read of this session? The primary needs no gate: it is always current.
func (s *Session) Admits(src *Source, r Read) bool { return s.Judge(src, r) == Admitted }

// Judge is Admits with its reason.
func (s *Session) Judge(src *Source, r Read) Verdict {
	if !rule.Gate {
		return Admitted
	}
	if !rule.Staleness {
		r.Bound = math.MaxInt64
	}
	if r.Level == Eventual {
		return src.within(r)
	}
	if r.Level == Strong && rule.Strong {
		return s.judgeStrong(src, r)
	}
	// An unbalanced WriteEnded makes it negative. That must not make up for a write under way elsewhere, so it pins, too.
	if s.writing.Load() != 0 {
		return Writing
	}
	learned := s.learned.Load()
	ended := s.ended.Load()
	lastEnd := s.lastEnd.Load() // not before the end of any that has a ticket up to ended
	asOf := src.AsOf()
	switch {
	case asOf == 0:
		return NothingKnown
	case r.RefNow-asOf > int64(r.Bound):
		return TooStale
	case s.release == Window && s.inWindow(lastEnd, r.RefNow):
		return Pinned
	case learned < ended && asOf <= lastEnd && !s.learn(ended, lastEnd, r.Primary):
		// Time alone never releases a write whose position isn't known: only a source that contains every commit
		// acknowledged before an instant after it does.
		return Pinned
	}
	if s.Unsettled() && !s.settle(src, r.Primary) {
		return Unsettled
	}
	if src.Position() < s.Floor() {
		return BehindFloor
	}
	return Admitted
}

// judgeStrong is Judge for a strong read. Where the primary was, asked after the read arrived, is beyond everything that was
// acknowledged before, by this session or any other, and beyond everything that anybody had been shown: neither pins nor
// sightings add to it. (release Window is a promise of its own.)
func (s *Session) judgeStrong(src *Source, r Read) Verdict {
	if v := src.within(r); v != Admitted {
		return v
	}
	switch {
	case s.release == Window && s.inWindow(s.lastEnd.Load(), r.RefNow):
		return Pinned
	case r.Floor == 0 || src.Position() < r.Floor:
		return BehindPrimary
	}
	return Admitted
}

// within judges by staleness alone.
func (s *Source) within(r Read) Verdict {
	switch asOf := s.AsOf(); {
	case asOf == 0:
		return NothingKnown
	case r.RefNow-asOf > int64(r.Bound):
		return TooStale
	}
	return Admitted
}

func (s *Session) inWindow(end, now int64) bool {
	return end > s.retired.Load() && now-end < s.window
}

// raise sets a to v unless it is already as high.
func raise[T int64 | uint64, A interface {
	Load() T
	CompareAndSwap(old, new T) bool
}](a A, v T) {
	for {
		old := a.Load()
		if old >= v || a.CompareAndSwap(old, v) {
			return
		}
	}
}
