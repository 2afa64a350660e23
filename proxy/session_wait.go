package proxy

import (
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
)

// Waiting for a source to catch up. A strong read needs one that has got where the primary was when it arrived; a read of the
// level session, one that has what the session has seen. Both are mostly there within a millisecond. Who has waited in
// vain goes to the primary.

// How long a read waits. Sessions for which it doesn't pay are kept from waiting again and again: of the time that they have
// waited for nothing, they first let restLeast times as much pass, and each time that it happens again twice as much, up to restMost; each
// wait that was worth it halves that. (It mustn't be much at once: on a busy machine it happens now and then that the feed
// isn't run for some milliseconds, and a session that doesn't wait falls behind itself: each answer that it gets from a server is
// newer than what the feed has applied.)
const (
	catchUpStrong  = 20 * time.Millisecond
	catchUpSession = 3 * time.Millisecond
	restLeast      = 2
	restMost       = 20
)

// askPosition makes a strong unit wait for the primary's position, if it hasn't been asked for. False: it has, or needn't.
func (s *Session) askPosition() bool {
	u := &s.unit
	if u.asked || s.level() != consistency.Strong {
		return false
	}
	u.asked = true
	u.arrived = s.env.Now()
	s.phase = phaseAsking
	s.env.AskNow(s, u.number)
	return true
}

// Positioned follows AskNow. With an error the unit knows no position, and goes to the primary.
func (s *Session) Positioned(number uint64, lsn consistency.LSN, err error) {
	if s.phase != phaseAsking || number != s.unit.number {
		return
	}
	if err == nil {
		s.unit.floor = lsn
	}
	s.goOn()
}

// awaitTable makes the unit wait until the cache has caught up, if that may help. False: go on without.
func (s *Session) awaitTable(v consistency.Verdict) bool {
	t := s.db.Table
	target, ok := s.mayCatchUp(v)
	if !ok || late(&t.Source, s.env.Now()) {
		return false
	}
	s.catchUp()
	s.env.AwaitSource(s, &t.Source, target, s.unit.number)
	return true
}

// awaitReached makes the unit wait until the feed has applied all that an entry contains, if that may help. False: go on without it.
func (s *Session) awaitReached(e *cache.Entry) bool {
	u := &s.unit
	t := s.db.Table
	now := s.env.Now()
	if u.waitsOver || now < s.restUntil || late(&t.Source, now) {
		return false
	}
	u.waitBy = orBy(u.waitBy, now, catchUpSession)
	s.catchUp()
	s.env.AwaitSource(s, &t.Source, e.Until, u.number)
	return true
}

// awaitReplica makes the unit wait until a replica has caught up, if that may help. False: go on to the primary.
func (s *Session) awaitReplica(v consistency.Verdict) bool {
	target, ok := s.mayCatchUp(v)
	if !ok || !s.env.AwaitReplica(s, target, s.unit.number) {
		return false
	}
	s.catchUp()
	return true
}

// awaitSettled makes the unit wait until it is known what the session has seen, if that may help. False: go on without.
func (s *Session) awaitSettled(v consistency.Verdict) bool {
	u := &s.unit
	if v != consistency.Unsettled || u.settled {
		return false
	}
	s.settleSoon() // without a wait
	now := s.env.Now()
	if u.waitsOver || now < s.restUntil {
		return false
	}
	u.settled = true
	src, at := s.cons.Sighting()
	if src == nil || !s.env.AwaitUntil(s, src, at, true, u.number) {
		return false
	}
	u.waitBy = orBy(u.waitBy, now, catchUpSession)
	s.catchUp()
	return true
}

// awaitLearned makes the unit wait until it is known where the session's last write ended, if that may help. False: go on without.
func (s *Session) awaitLearned(v consistency.Verdict) bool {
	u := &s.unit
	if v != consistency.Pinned || u.learned || s.level() != consistency.SessionLevel {
		return false
	}
	now := s.env.Now()
	at, ok := s.cons.Learning()
	if !ok || u.waitsOver || now < s.restUntil {
		return false
	}
	u.learned = true
	if !s.env.AwaitUntil(s, s.shared.Nodes.PrimarySource(), at, false, u.number) { // (it was asked when the write ended)
		return false
	}
	u.waitBy = orBy(u.waitBy, now, catchUpSession)
	s.catchUp()
	return true
}

// mayCatchUp says whether to wait for a source that was refused with this verdict, and for which position.
func (s *Session) mayCatchUp(v consistency.Verdict) (target consistency.LSN, ok bool) {
	u := &s.unit
	now := s.env.Now()
	switch {
	case u.waitsOver:
		return 0, false
	case v == consistency.BehindPrimary && u.floor != 0:
		target = u.floor
		u.waitBy = orBy(u.waitBy, now, catchUpStrong)
	case v == consistency.BehindFloor && s.level() == consistency.SessionLevel && now >= s.restUntil:
		target = s.cons.Floor()
		u.waitBy = orBy(u.waitBy, now, catchUpSession)
	default:
		return 0, false
	}
	return target, true
}

func orBy(by, now int64, d time.Duration) int64 {
	if by == 0 {
		by = now + int64(d)
	}
	return by
}

// catchUp begins the wait. Either CaughtUp or, when it has taken too long, Woken follows.
func (s *Session) catchUp() {
	u := &s.unit
	s.phase = phaseCatchingUp
	s.local.Counters.CatchUps.Add(1)
	s.env.WakeIn(s, max(time.Duration(u.waitBy-s.env.Now()), 0), u.number)
}

// CaughtUp says that a source has got where it was awaited.
func (s *Session) CaughtUp(number uint64) {
	if s.phase == phaseCatchingUp && number == s.unit.number {
		if !s.unit.waitsOver {
			s.restFor /= 2
		}
		s.goOn()
	}
}

// waitedInVain ends the unit's waits.
func (s *Session) waitedInVain(now int64) {
	u := &s.unit
	u.waitsOver = true
	s.local.Counters.CatchUpsVain.Add(1)
	if s.level() != consistency.Strong {
		s.restFor = min(max(2*s.restFor, restLeast*int64(catchUpSession)), restMost*int64(catchUpSession))
		s.restUntil = now + s.restFor
	}
}

// goOn decides again about a unit that has waited.
func (s *Session) goOn() {
	s.env.StopAwaiting(s)
	s.phase = phaseIdle
	if len(s.unit.key) == 0 || !s.tryCache(s.unit.buf) {
		s.run()
	}
	s.pump()
}

// late says whether a source is so far behind that it isn't worth waiting for.
func late(src *consistency.Source, now int64) bool {
	at, _, behind := src.Behind()
	return behind && now-at > int64(4*catchUpStrong)
}
