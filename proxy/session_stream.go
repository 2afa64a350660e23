package proxy

import (
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// streamNext takes the next message of an extended unit that is passed on as it comes, because the client
// has asked for replies before its Sync (Flush) or because the unit is too large to be held.
func (s *Session) streamNext(p []byte) int {
	if len(p) == 0 || s.conn == nil || s.conn.Buffered() > serverHighWater || s.cancelling > 0 && !s.unit.skipping {
		return 0
	}
	if isLarge(p, wire.MsgBind, maxHeld) {
		return s.largeBind(p)
	}
	typ, n := s.frame(p)
	if n == 0 {
		return 0
	}
	u := &s.unit
	msg := p[:n]
	switch typ {
	case wire.MsgTerminate:
		s.ClientClosed(nil)
		s.env.CloseClient()
		return 0
	case wire.MsgQuery, wire.MsgFunctionCall:
		if u.skipping {
			return n
		}
		if u.executes == 0 {
			s.endPart()
			return 0
		}
		if typ == wire.MsgQuery { // as Postgres does
			s.overlay = append(s.overlay, named{})
			s.portals = s.portals[:0]
		}
		s.bind("a Query inside of a pipeline")
		s.streamWrites()
		s.expect(expect{kind: exQuery, dropsUnnamed: typ == wire.MsgQuery})
		s.conn.Write(msg)
		return n
	case wire.MsgCopyData, wire.MsgCopyDone, wire.MsgCopyFail:
		if !u.skipping && s.head() != nil {
			return s.awaitCopy()
		}
		return n // of a COPY that is over
	}
	if u.skipping && typ != wire.MsgSync {
		return n
	}
	st, err := s.readStep(msg, 0)
	if err != nil {
		s.fatal(wire.Fatal("08P01", "invalid message format"))
		return 0
	}
	if st.st != nil {
		st.plan = s.plan(st.st)
	}
	missing := st.st
	if st.st != nil && st.plan != nil {
		missing = s.resolveStreamed(&st)
	}
	if missing != nil {
		u.buf = append(u.buf[:0], msg...)
		u.steps = append(u.steps[:0], st)
		s.askPlan(missing)
		return n
	}
	s.streamStep(msg, &st)
	return n
}

// endPart ends the stream before a message that is a unit of its own: with a Sync of ours, which does nothing, since nothing has been executed.
func (s *Session) endPart() {
	u := &s.unit
	s.conn.Write(wire.AppendSync(nil))
	s.expect(expect{kind: exSync})
	u.hasSync, u.flush = true, true
	s.phase = phaseRunning
}

// awaitCopy holds the client's copy data back that has come before the word that the server takes it: clients may send it right behind the
// statement. Whether there will be such a word is known when what is due has come.
func (s *Session) awaitCopy() int {
	u := &s.unit
	if !u.copyAwaited {
		u.copyAwaited = true
		if s.head().kind != exQuery {
			s.conn.Write(wire.AppendFlush(nil)) // else it could stay in the server's buffer until Sync
		}
	}
	return 0
}

// copyAnswered goes on after awaitCopy when nothing is due any more, and no COPY has begun.
func (s *Session) copyAnswered() {
	if s.unit.copyAwaited && (s.head() == nil || s.unit.skipping || s.phase != phaseStreaming) {
		s.unit.copyAwaited = false
		s.resume = true
	}
}

// streamPlanned goes on with the message whose plan was missing.
func (s *Session) streamPlanned(st *statement, plan *router.Plan) {
	if s.conn == nil {
		return
	}
	if s.plan(st) == nil {
		// The catalog has changed meanwhile; what was planned is good enough to know whether the session has to be bound.
		st.remember(s.ctxID, s.ctxGen, plan)
	}
	if len(s.unit.steps) == 0 {
		return // for a Bind that is still on its way
	}
	if s.unit.skipping {
		return
	}
	step := s.unit.steps[0]
	if step.plan == nil {
		step.plan = step.st.executes(plan)
	}
	if missing := s.resolveStreamed(&step); missing != nil {
		s.unit.steps[0] = step
		s.askPlan(missing)
		return
	}
	s.streamStep(s.unit.buf, &step)
}

// streamWrites is called before something that counts as a write is passed on.
func (s *Session) streamWrites() {
	u := &s.unit
	u.writes = true
	s.ownSequences(s.conn)
	s.noteSender()
	if !s.wrote && !s.onReplica {
		s.wrote = true
		s.cons.WriteBegan()
	}
}

func (s *Session) streamStep(msg []byte, st *step) {
	u := &s.unit
	if st.typ == wire.MsgExecute {
		u.executes++
		if st.plan == nil || st.plan.Writes {
			s.streamWrites()
		}
	}
	if plan := st.plan; st.typ == wire.MsgExecute && plan != nil {
		if plan.Binds != "" {
			s.bindBy(plan)
		}
		s.bindForPrepare(plan, st.st != nil && st.st.scan.ClockWord)
		u.effects = append(u.effects, effect{plan})
		s.tallyStep(st.st, plan)
		s.noteSequences()
		if s.seqUser {
			s.bind("currval() or lastval() is in use")
		}
	}
	s.local.out = s.showInline(st, s.needInline(s.local.out[:0]))
	s.queueStep(s.conn, st, msg)
	s.conn.Write(s.local.out)
	if st.typ == wire.MsgSync {
		u.hasSync = true
		s.phase = phaseRunning
	}
	s.flushLocals()
}

// copyBegins follows CopyInResponse: from here on the client's copy data is passed on.
func (s *Session) copyBegins(e *expect) {
	u := &s.unit
	u.copyIn, u.copyOver = true, false
	if e.kind == exExecute {
		// A server that copies in ignores the Sync that came with the Execute, and everything else there was after it.
		s.q = s.q[:s.qHead+1]
		u.hasSync = false
	}
	if s.phase == phaseOrphan {
		return // finish can't come: see ServerData
	}
	s.phase = phaseCopyIn
	s.resume = true
}

// copyEnded follows CommandComplete or an error.
func (s *Session) copyEnded() {
	u := &s.unit
	if !u.copyIn {
		return
	}
	u.copyIn = false
	if s.phase != phaseCopyIn {
		return
	}
	switch {
	case u.simple, u.hasSync:
		s.phase = phaseRunning
	default:
		u.streaming = true
		s.phase = phaseStreaming
	}
	s.resume = true
}

// copyNext passes on the client's copy data, in pieces if need be.
func (s *Session) copyNext(p []byte) int {
	if len(p) < wire.HeaderLen || s.conn == nil || s.conn.Buffered() > serverHighWater {
		return 0
	}
	u := &s.unit
	if p[0] == wire.MsgCopyData {
		_, n, err := wire.Frame(p)
		if err != nil {
			s.fatal(wire.Fatal("08P01", "invalid message length"))
			return 0
		}
		m := min(n, len(p))
		s.conn.Write(p[:m])
		s.inBody = n - m
		return m
	}
	typ, n := s.frame(p)
	if n == 0 {
		return 0
	}
	switch typ {
	case wire.MsgCopyDone, wire.MsgCopyFail:
		s.conn.Write(p[:n])
		u.copyOver = true
		if u.simple {
			s.phase = phaseRunning
		}
	case wire.MsgFlush:
		s.conn.Write(p[:n])
	case wire.MsgSync:
		s.conn.Write(p[:n])
		if u.copyOver && !u.simple {
			s.expect(expect{kind: exSync})
			u.hasSync = true
			s.phase = phaseRunning
		}
	case wire.MsgTerminate:
		s.ClientClosed(nil)
		s.env.CloseClient()
		return 0
	default:
		s.fatal(wire.Fatal("08P01", "unexpected message type 0x%02X during COPY from stdin", typ))
		return 0
	}
	return n
}

// copyRest passes on the rest of a copy data message of which the server has got the beginning.
func (s *Session) copyRest(p []byte) int {
	n := min(len(p), s.inBody)
	if !s.unit.begun && !s.inBodyDropped {
		if s.phase != phaseIdle {
			return 0 // a Query whose beginning waits for a server
		}
		s.inBodyDropped = true // it has failed without one
	}
	if s.conn != nil && !s.inBodyDropped {
		if s.conn.Buffered() > serverHighWater {
			return 0
		}
		s.conn.Write(p[:n])
	}
	s.inBody -= n
	if s.inBody == 0 {
		s.inBodyDropped = false
	}
	return n
}
