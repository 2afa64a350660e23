package proxy

import (
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// currval() and lastval() speak of the nextval() calls of their session, which Postgres remembers on the server connection. A
// session here owns that state on at most one connection: the one where it last changed a sequence. Statements that touch sequences get
// that connection while it is idle. Where it isn't, what was known is lost, and currval() says so ("not yet defined in this session"): it never
// speaks of another session's value, nor of an older one.
//
// Most applications ask within the transaction that called nextval(), and notice nothing. Once one has asked later (its user's habit, from
// then on), sessions of that user keep their connection from nextval() on.

// noteSequences looks at what the unit does with sequences.
func (s *Session) noteSequences() {
	mine := s.tx != wire.TxIdle && s.conn != nil && s.ownsSequences(s.conn)
	for _, e := range s.unit.effects {
		switch {
		case e.plan.LeavesSequenceState:
			mine = true
			if s.seqHabit.Load() {
				s.seqUser = true
			}
		case e.plan.ReadsSequenceState && !mine:
			s.seqUser = true
			s.seqHabit.Store(true)
		}
	}
}

// readsSequences says whether the unit asks for sequence state that something before it has left.
func (s *Session) readsSequences() bool {
	for _, e := range s.unit.effects {
		if e.plan.LeavesSequenceState {
			return false
		}
		if e.plan.ReadsSequenceState {
			return true
		}
	}
	return false
}

// leavesSequences says whether the unit may change sequence state.
func (s *Session) leavesSequences() bool {
	u := &s.unit
	if s.bound == boundByDDL && u.writes {
		return true // its tables may be too new for the plan
	}
	for _, e := range u.effects {
		p := e.plan
		if p.LeavesSequenceState || p.Writes && p.Kind != router.KindWrite && p.Kind != router.KindRead {
			return true
		}
	}
	return len(u.effects) == 0 && u.writes // a function call message, a stream
}

func (s *Session) ownsSequences(c *backend.Conn) bool {
	return c.SequenceOwner == any(s) && c.SequenceVersion == s.seqVersion
}

// ownSequences makes c the connection with the session's sequence state, and no other.
func (s *Session) ownSequences(c *backend.Conn) {
	if !s.ownsSequences(c) {
		s.seqVersion++
		c.SequenceOwner, c.SequenceVersion = s, s.seqVersion
	}
}

// wantsOwned says whether the unit should run where the session's sequence state is.
func (s *Session) wantsOwned() bool {
	return s.seqVersion > 0 && (s.unit.writes || s.readsSequences())
}
