package proxy

import (
	"bytes"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// step is one message of an extended unit.
type step struct {
	typ      byte
	object   byte // Describe, Close: statement or portal
	off, end int  // in the unit's bytes
	st       *statement
	missing  bool         // names a statement that doesn't exist
	again    bool         // Parse: the name is taken
	plan     *router.Plan // of st
	limited  bool         // Execute with a row limit
	name     string       // Close: of the statement
	makes    *statement   // Execute: what PREPARE will have made
}

// extendedUnit takes the messages up to Sync, if they are all there.
func (s *Session) extendedUnit(p []byte) int {
	off, complete, flush, stream := 0, false, false, false
	for !complete && !flush && !stream && off < len(p) {
		typ, n := s.frame(p[off:])
		if s.phase == phaseEnded {
			return 0
		}
		if n == 0 {
			stream = isLarge(p[off:], wire.MsgBind, maxHeld)
			break
		}
		switch typ {
		case wire.MsgTerminate:
			// Postgres would roll back what wasn't committed by a Sync; not doing it is the same.
			s.ClientClosed(nil)
			s.env.CloseClient()
			return 0
		case wire.MsgQuery, wire.MsgFunctionCall, wire.MsgCopyData, wire.MsgCopyDone, wire.MsgCopyFail:
			stream = true
			continue // streamNext takes it
		}
		off += n
		complete = typ == wire.MsgSync
		flush = typ == wire.MsgFlush
	}
	if off > maxHeld || flush && s.conn != nil {
		stream = !complete // else it is whole anyway
	}
	if !complete && !flush && !stream {
		s.checkWaiting(p[:off])
		return 0
	}
	s.begin()
	s.unit.hasSync = complete
	s.unit.streaming = stream
	s.unit.flush = flush && !stream
	s.portalsBefore = append(s.portalsBefore[:0], s.portals...)
	if !s.readSteps(p[:off]) {
		return 0
	}
	s.extendedPlan(p[:off], nil, nil)
	return off
}

// checkWaiting ends the session if messages that wait for their Sync are malformed: Postgres wouldn't wait either.
func (s *Session) checkWaiting(p []byte) {
	for len(p) > 0 {
		typ, n, _ := wire.Frame(p)
		body := wire.Body(p[:n])
		var err error
		switch typ {
		case wire.MsgParse:
			_, err = wire.DecodeParse(body)
		case wire.MsgBind:
			_, err = wire.DecodeBind(body)
		case wire.MsgDescribe:
			_, err = wire.DecodeDescribe(body)
		case wire.MsgExecute:
			_, err = wire.DecodeExecute(body)
		case wire.MsgClose:
			_, err = wire.DecodeClose(body)
		}
		if err != nil {
			s.fatal(wire.Fatal("08P01", "invalid message format"))
			return
		}
		p = p[n:]
	}
}

// readSteps reads the messages of the unit. False: they are malformed, and the session has ended.
func (s *Session) readSteps(p []byte) bool {
	for off := 0; off < len(p); {
		_, n, _ := wire.Frame(p[off:])
		st, err := s.readStep(p[off:off+n], off)
		if err != nil {
			s.fatal(wire.Fatal("08P01", "invalid message format"))
			return false
		}
		s.unit.steps = append(s.unit.steps, st)
		off += n
	}
	return true
}

func (s *Session) readStep(msg []byte, off int) (step, error) {
	st := step{typ: msg[0], off: off, end: off + len(msg)}
	body := wire.Body(msg)
	switch st.typ {
	case wire.MsgParse:
		m, err := wire.DecodeParse(body)
		if err != nil {
			return st, err
		}
		oids := body[len(m.Name)+len(m.Query)+2:]
		if len(m.Name) == 0 {
			if u := s.unnamed; u != nil && !u.fixed && u.text == string(m.Query) && bytes.Equal(u.oids, oids) {
				st.st = u
			} else {
				st.st = newStatement(s.shared.Statements.serial(), "", m.Query, oids, s.local.Lexer)
				s.promiseUnnamed(st.st)
			}
		} else {
			st.again = s.lookup(m.Name) != nil
			st.st = s.shared.Statements.intern(m.Query, oids, s.scope(), s.edition(), s.local.Lexer)
		}
		s.overlay = append(s.overlay, named{name: string(m.Name), st: st.st})
	case wire.MsgBind:
		m, err := wire.DecodeBind(body)
		if err != nil {
			return st, err
		}
		st.st = s.lookup(m.Statement)
		st.missing = st.st == nil
		s.setPortal(m.Portal, st.st)
	case wire.MsgDescribe:
		m, err := wire.DecodeDescribe(body)
		if err != nil {
			return st, err
		}
		st.object = m.Object
		if m.Object == wire.ObjectStatement {
			st.st = s.lookup(m.Name)
			st.missing = st.st == nil
		} else {
			st.st = s.portal(m.Name)
		}
	case wire.MsgExecute:
		m, err := wire.DecodeExecute(body)
		if err != nil {
			return st, err
		}
		st.st = s.portal(m.Portal)
		st.limited = m.MaxRows != 0
		if st.st != nil {
			s.forgets(s.plan(st.st))
		}
	case wire.MsgClose:
		m, err := wire.DecodeClose(body)
		if err != nil {
			return st, err
		}
		st.object = m.Object
		if m.Object == wire.ObjectStatement {
			st.name = string(m.Name)
			s.overlay = append(s.overlay, named{name: st.name})
		}
	case wire.MsgSync, wire.MsgFlush:
	}
	return st, nil
}

// named is what a client's statement name will mean once the messages before it have been executed.
type named struct {
	name string
	st   *statement
	all  bool // none means anything any more
}

// forgets notes what names won't mean any more once a statement has been executed: the messages behind it in its unit are for when it has succeeded.
func (s *Session) forgets(p *router.Plan) {
	switch {
	case p == nil:
	case p.Unbinds, p.Kind == router.KindDeallocate && p.Name == "":
		s.overlay = append(s.overlay, named{all: true})
	case p.Kind == router.KindDeallocate:
		s.overlay = append(s.overlay, named{name: p.Name})
	}
}

// readAgain reads the unit's messages once more if, by the plans that are known now, a statement in it makes others unknown.
func (s *Session) readAgain(msgs []byte) bool {
	u := &s.unit
	if u.readAgain {
		return false
	}
	for i := range u.steps {
		p := u.steps[i].plan
		if p == nil || u.steps[i].typ != wire.MsgExecute || !p.Unbinds && p.Kind != router.KindDeallocate {
			continue
		}
		u.readAgain = true
		s.endOverlay()
		s.portals = append(s.portals[:0], s.portalsBefore...)
		u.steps = u.steps[:0]
		return s.readSteps(msgs)
	}
	return false
}

// lookup finds what a client calls name, the messages of this unit included.
func (s *Session) lookup(name []byte) *statement {
	for i := len(s.overlay) - 1; i >= 0; i-- {
		if s.overlay[i].all && len(name) > 0 {
			return nil
		}
		if s.overlay[i].name == string(name) && !s.overlay[i].all {
			return s.overlay[i].st
		}
	}
	return s.lookupBefore(name)
}

// lookupBefore finds what a client called name before the unit in hand.
func (s *Session) lookupBefore(name []byte) *statement {
	if len(name) == 0 {
		return s.unnamed
	}
	st := s.named[string(name)]
	if st != nil && !st.ownName() && !st.fixed && st.scope != s.scope() && !(s.conn != nil && s.conn.Prepared.Has(st.id)) { // else the server knows better than we what has become of it
		// Prepared under other settings. Where it is to be prepared again it is under those in force, and is another statement.
		again := s.shared.Statements.intern([]byte(st.text), st.oids, s.scope(), s.editionLike(st), s.local.Lexer)
		again.promise.CompareAndSwap(nil, st.promise.Load())
		s.registerStatement(again, string(name))
		s.shared.Statements.release(again)
		return again
	}
	return st
}

// scope is what makes two statements of the same text and types different ones: in another database, of another user, or under other
// settings a text can mean something else.
func (s *Session) scope() string {
	if s.scopeOf != s.set || s.scopeText == "" {
		settings := ""
		if s.set != nil {
			settings = s.set.scope
		}
		s.scopeOf = s.set
		s.scopeText = s.db.Name + "\x00" + s.user + "\x00" + settings
	}
	return s.scopeText
}

func (s *Session) setPortal(name []byte, st *statement) {
	for i := range s.portals {
		if s.portals[i].name == string(name) {
			s.portals[i].st = st
			return
		}
	}
	s.portals = append(s.portals, portal{name: string(name), st: st})
}

func (s *Session) portal(name []byte) *statement {
	for i := range s.portals {
		if s.portals[i].name == string(name) {
			return s.portals[i].st
		}
	}
	return nil
}

// plan returns the plan of a statement, nil if it has to be made.
func (s *Session) plan(st *statement) *router.Plan {
	if s.opaque || (st.scan.NonASCII && s.opaqueText) {
		return opaquePlan
	}
	s.refreshContext()
	if p := st.plan.Load(); p != nil && p.context == s.ctxID && p.generation == s.ctxGen {
		return st.executes(p.plan)
	}
	plan := s.db.Plans.Get(s.planKey(st.fingerprint, st.params))
	if plan != nil {
		st.remember(s.ctxID, s.ctxGen, plan)
	}
	return st.executes(plan)
}

func (s *Session) askPlan(st *statement) {
	ctx := s.ctx
	ctx.ParamTypes = st.params
	s.phase = phasePlanning
	s.env.Plan(s, PlanRequest{Text: st.text, Key: s.planKey(st.fingerprint, st.params), Context: ctx, Number: s.unit.number, statement: st})
}

// extendedPlan works out the plan of the whole unit from those of its statements; as soon as one is missing it
// is asked for, and the work begins again when it is there. known is a plan that has just been made.
func (s *Session) extendedPlan(msgs []byte, knownFor *statement, known *router.Plan) {
	u := &s.unit
	for i := range u.steps {
		st := u.steps[i].st
		if st == nil {
			continue
		}
		switch {
		case st == knownFor:
			u.steps[i].plan = st.executes(known)
		case u.steps[i].plan == nil:
			u.steps[i].plan = s.plan(st)
		}
		if u.steps[i].plan == nil {
			s.hold(msgs)
			s.askPlan(st)
			return
		}
	}
	if s.readAgain(msgs) {
		s.extendedPlan(msgs, knownFor, known)
		return
	}
	if !s.resolveSteps(msgs) {
		return
	}
	if s.conn == nil && s.answerTxSteps(msgs) {
		return
	}
	u.writes, u.primary, u.binds, u.effects, u.tallies = false, false, "", u.effects[:0], u.tallies[:0]
	u.executes, u.unknown = 0, false
	local, clock := true, false
	var single *router.Plan
	for i := range u.steps {
		st := u.steps[i].st
		if st == nil {
			switch u.steps[i].typ {
			case wire.MsgExecute: // of a portal we know nothing about
				u.executes++
				u.unknown = true
				local = false
				u.writes, u.primary = true, true
			case wire.MsgBind, wire.MsgDescribe:
				local = false
			case wire.MsgClose:
				if u.steps[i].object == wire.ObjectPortal && s.conn != nil {
					local = false
				}
			}
			continue
		}
		plan := u.steps[i].plan
		if plan.Kind != router.KindRead || plan.OnPrimary {
			u.primary = true
		}
		if !s.isLocal(plan) || s.tx == wire.TxFailed || u.steps[i].again { // a name that is taken is for the server to refuse
			local = false
		}
		if u.steps[i].typ == wire.MsgExecute {
			u.executes++
			single = plan
			u.writes = u.writes || plan.Writes
			if u.binds == "" {
				u.binds = plan.Binds
			}
			u.effects = append(u.effects, effect{plan})
			s.tallyStep(st, plan)
			u.hint = plan.Hint
			clock = st.scan.ClockWord
		}
	}
	u.plan = single
	if u.executes != 1 {
		u.plan = nil
	}
	if s.held.on || u.flush {
		u.leaves = s.unitLeaves(msgs)
		if u.flush && !u.leaves && !local {
			u.flush, u.streaming = false, true
		}
	}
	if u.streaming {
		u.primary = true
		s.definedSoFar()
		s.hold(msgs)
		s.run()
		return
	}
	if local {
		s.hold(msgs)
		s.localUnit()
		return
	}
	if s.answerPrepares(false) {
		return
	}
	if u.plan != nil {
		if b, st, ok := s.single(msgs); ok && s.mayCache(u.plan, clock || u.plan.Cacheable && hasClockWord(b)) {
			s.hashKey([]byte(st.text), st.oids, b.Rest(), s.promised(st))
			if s.tryCache(msgs) {
				return
			}
		}
	}
	s.hold(msgs)
	s.run()
}

// single recognises the one shape of an extended unit that may be answered from the cache: a Bind and an
// Execute without a row limit, perhaps with the Parse before it, the Describe in between, and the Close of the portal after it.
func (s *Session) single(msgs []byte) (wire.Bind, *statement, bool) {
	var b wire.Bind
	steps := s.unit.steps
	if len(steps) > 0 && steps[0].typ == wire.MsgParse {
		if steps[0].again {
			return b, nil, false
		}
		steps = steps[1:]
	}
	if len(steps) < 3 || steps[0].typ != wire.MsgBind || steps[0].st == nil {
		return b, nil, false
	}
	bind := steps[0]
	if s.unit.steps[0].typ == wire.MsgParse && s.unit.steps[0].st != bind.st {
		return b, nil, false
	}
	b, err := wire.DecodeBind(wire.Body(msgs[bind.off:bind.end]))
	if err != nil || len(b.Portal) != 0 {
		return b, nil, false
	}
	steps = steps[1:]
	if steps[0].typ == wire.MsgDescribe {
		if steps[0].object != wire.ObjectPortal || steps[0].st != bind.st {
			return b, nil, false
		}
		steps = steps[1:]
	}
	if len(steps) < 2 || steps[0].typ != wire.MsgExecute || steps[0].limited || steps[0].st != bind.st {
		return b, nil, false
	}
	steps = steps[1:]
	if steps[0].typ == wire.MsgClose && steps[0].object == wire.ObjectPortal && len(steps) > 1 {
		if c, err := wire.DecodeClose(wire.Body(msgs[steps[0].off:steps[0].end])); err != nil || len(c.Name) != 0 {
			return b, nil, false
		}
		steps = steps[1:]
	}
	return b, bind.st, len(steps) == 1 && (steps[0].typ == wire.MsgSync || steps[0].typ == wire.MsgFlush)
}

// hasClockWord says whether a parameter may read the clock when it is taken as a date or time.
func hasClockWord(b wire.Bind) bool {
	for v, ok := b.Params.Next(); ok; v, ok = b.Params.Next() {
		if router.ClockWord(v) {
			return true
		}
	}
	return false
}
