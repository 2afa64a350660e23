package proxy

import (
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// ghost is the unnamed portal of a read that was answered outside of its transaction. A client that refers to it later, which is
// allowed as long as the transaction lasts, finds it on the server that has the transaction by then.
type ghost struct {
	st   *statement // nil: there is none
	bind []byte     // the Bind message
	next *statement // what st will be once the unit in hand has succeeded
	now  *statement // st, while the messages that are being queued don't replace it
}

// answerTxSteps answers the statements of transaction control at the front of an extended unit, as far as they need
// no server, and takes them out of the unit. It returns whether that was all. (A JDBC driver sends BEGIN and the first query as one
// unit.)
func (s *Session) answerTxSteps(msgs []byte) bool {
	u := &s.unit
	n := 0
	for {
		k := s.txItem(msgs, u.steps[n:])
		if k == 0 {
			break
		}
		for i := range u.steps[n : n+k] {
			st := &u.steps[n+i]
			if st.typ == wire.MsgExecute && st.plan.Kind == router.KindBegin && s.partReads {
				if err := s.beginTooLate(st.plan.Transaction); err != nil {
					s.fail(err)
					return true
				}
			}
			s.answerTxStep(st)
		}
		if n += k; n == len(u.steps) {
			break
		}
	}
	if n == 0 {
		return false
	}
	rest := copy(u.steps, u.steps[n:])
	u.steps = u.steps[:rest]
	if rest > 0 && u.steps[0].typ == wire.MsgSync {
		s.ready()
		return true
	}
	if rest > 0 && u.steps[0].typ == wire.MsgFlush && u.flush {
		s.answered()
		return true
	}
	s.open = true
	return false
}

// beginTooLate is Postgres' error of a BEGIN that asks for what the transaction can't be any more: an earlier part of the unit, up to a Flush, has
// read something, and the unit is one transaction from its beginning on.
func (s *Session) beginTooLate(t router.Transaction) *wire.Error {
	switch {
	case t.Isolation != router.IsolationUnset && t.Isolation != s.txDefaults.isolation:
		return wire.Errorf("25001", "SET TRANSACTION ISOLATION LEVEL must be called before any query")
	case t.Access == router.AccessReadWrite && s.txDefaults.readOnly:
		return wire.Errorf("25001", "transaction read-write mode must be set before any query")
	case t.Deferrable || t.NotDeferrable:
		return wire.Errorf("25001", "SET TRANSACTION [NOT] DEFERRABLE must be called before any query")
	}
	return nil
}

// txItem says how many of the steps are the next thing that answerTxSteps can answer; 0: there is none.
func (s *Session) txItem(msgs []byte, steps []step) int {
	if len(steps) == 0 {
		return 0
	}
	n := 0
	first := steps[0]
	if first.st == nil || first.plan == nil || !isTxControl(first.plan) {
		return 0
	}
	local := s.txLocal(first.plan)
	if first.typ == wire.MsgParse {
		if first.again {
			return 0
		}
		if n++; s.onlyPrepares(steps) {
			return len(steps) - 1
		}
	}
	if !local {
		return 0
	}
	if n < len(steps) && steps[n].typ == wire.MsgDescribe && steps[n].object == wire.ObjectStatement && steps[n].st == first.st {
		n++
	}
	if n == len(steps) || steps[n].typ != wire.MsgBind || steps[n].st != first.st {
		return 0
	}
	b, err := wire.DecodeBind(wire.Body(msgs[steps[n].off:steps[n].end]))
	if err != nil || b.Params.Len() > 0 || len(b.Portal) > 0 {
		return 0
	}
	n++
	if n < len(steps) && steps[n].typ == wire.MsgDescribe && steps[n].object == wire.ObjectPortal && steps[n].st == first.st {
		n++
	}
	if n == len(steps) || steps[n].typ != wire.MsgExecute || steps[n].st != first.st {
		return 0
	}
	return n + 1
}

// onlyPrepares says whether steps do nothing but to prepare and describe statements of transaction control.
func (s *Session) onlyPrepares(steps []step) bool {
	if s.tx == wire.TxFailed || s.bound != "" {
		return false
	}
	for _, st := range steps[:len(steps)-1] {
		switch {
		case st.st == nil || st.plan == nil || !isTxControl(st.plan) || st.again:
			return false
		case st.typ == wire.MsgParse, st.typ == wire.MsgDescribe && st.object == wire.ObjectStatement:
		default:
			return false
		}
	}
	last := steps[len(steps)-1]
	return last.typ == wire.MsgSync || last.typ == wire.MsgFlush && s.unit.flush
}

func isTxControl(p *router.Plan) bool {
	switch p.Kind {
	case router.KindBegin, router.KindCommit, router.KindRollback:
		return true
	}
	return p.Kind == router.KindSet && p.Set.Name == "transaction_mode"
}

func (s *Session) answerTxStep(st *step) {
	switch st.typ {
	case wire.MsgParse:
		s.env.ToClient(parseComplete)
		s.registerStatement(st.st, s.overlayName(st.st))
	case wire.MsgDescribe:
		out := s.local.scratch[:0]
		if st.object == wire.ObjectStatement {
			out = wire.AppendParameterDescription(out)
		}
		s.env.ToClient(wire.AppendNoData(out))
	case wire.MsgBind:
		s.env.ToClient(bindComplete)
	case wire.MsgExecute:
		s.env.ToClient(s.answerTx(s.local.scratch[:0], st.plan))
		s.held.portal = st.plan.Kind == router.KindBegin
		s.countStep(st.st, st.plan)
	}
}

// unitLeaves says whether the extended unit in hand may be answered outside of the transaction that is held back; or, where it
// ends with a Flush, as if that were a Sync. Each Bind has to be followed by an Execute to the end, so that no portal is left
// that could go on.
func (s *Session) unitLeaves(msgs []byte) bool {
	u := &s.unit
	s.ghost.next = s.ghost.st
	var open *statement // of the unnamed portal, until it has been executed
	prepares := true
	for i := range u.steps {
		st := &u.steps[i]
		if st.missing || st.again {
			return false
		}
		msg := wire.Body(msgs[st.off:st.end])
		switch st.typ {
		case wire.MsgBind:
			b, err := wire.DecodeBind(msg)
			if err != nil || len(b.Portal) != 0 || open != nil || !s.mayLeave(st.plan, st.st.scan.ClockWord) || hasClockWord(b) {
				return false
			}
			open, prepares = st.st, false
			s.ghost.bind = append(s.ghost.bind[:0], msgs[st.off:st.end]...)
			s.ghost.next = st.st
		case wire.MsgDescribe:
			if st.object == wire.ObjectPortal && (open == nil || st.st != open) {
				return false
			}
		case wire.MsgExecute:
			e, err := wire.DecodeExecute(msg)
			if err != nil || len(e.Portal) != 0 || st.limited || open == nil {
				return false
			}
			open = nil
		case wire.MsgClose:
			c, err := wire.DecodeClose(msg)
			if err != nil || st.object == wire.ObjectPortal && (len(c.Name) != 0 || open != nil) {
				return false
			}
			if st.object == wire.ObjectPortal {
				s.ghost.next = nil
			}
		}
	}
	if open != nil {
		return false
	}
	if prepares {
		return s.preparesLeave()
	}
	return true
}

// preparesLeave says whether a unit that only prepares and describes may do so outside of the transaction that is held back. Where it is
// for a statement that will need the transaction, it may as well begin now.
func (s *Session) preparesLeave() bool {
	if !s.held.on {
		return true
	}
	for i := range s.unit.steps {
		if st := &s.unit.steps[i]; st.plan != nil && !s.mayLeave(st.plan, st.st.scan.ClockWord) {
			return false
		}
	}
	return true
}

// noteLeft follows a unit that was answered outside of the transaction that is held back.
func (s *Session) noteLeft() {
	if !s.unit.leaves {
		return
	}
	reads := s.unit.takesSnapshot()
	s.held.reads = s.held.reads || s.held.on && reads
	s.partReads = s.partReads || s.unit.flush && reads
	if !s.unit.simple {
		s.ghost.st = s.ghost.next
	}
}

// takesSnapshot says whether Postgres takes a snapshot for the unit. To prepare what controls transactions, to say what is prepared, or to close something,
// needs none.
func (u *unit) takesSnapshot() bool {
	if u.simple {
		return true
	}
	for i := range u.steps {
		st := &u.steps[i]
		if p := st.plan; p != nil && (p.Kind == router.KindRead || p.Kind == router.KindWrite) && !st.describesStatement() {
			return true
		}
	}
	return false
}

// describesStatement says whether the message asks what is prepared.
func (st *step) describesStatement() bool {
	return st.typ == wire.MsgDescribe && st.object == wire.ObjectStatement
}

// raise makes the ghost a portal of the server, if the message is about the unnamed portal and there is none.
func (s *Session) raise(c *backend.Conn, msg, out []byte) []byte {
	g := s.ghost.now
	if g == nil || c == nil {
		return out
	}
	if msg[0] == wire.MsgExecute {
		if e, err := wire.DecodeExecute(wire.Body(msg)); err != nil || len(e.Portal) != 0 {
			return out
		}
	} else if d, err := wire.DecodeDescribe(wire.Body(msg)); err != nil || len(d.Name) != 0 {
		return out
	}
	s.ghost.now, s.ghost.st = nil, nil
	b, err := wire.DecodeBind(wire.Body(s.ghost.bind))
	if err != nil {
		return out
	}
	out = s.ensurePrepared(c, g, out)
	out, _ = wire.AppendBindAs(out, b, nil, []byte(g.name))
	out = wire.AppendExecute(out, "", 0)
	s.expect(expect{kind: exBind, swallow: true, st: g})
	s.expect(expect{kind: exExecute, swallow: true, st: g})
	return out
}
