package proxy

import (
	"slices"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// What an extended unit's messages refer to is looked up as they are read, when it isn't known yet which of its statements are
// PREPARE, EXECUTE or DEALLOCATE. Once that is known, they are gone through once more, in their order.

// names are what a client's statement names mean at some point of an extended unit.
type names struct {
	s    *Session
	defs []named // of the unit so far
	none bool    // all that there was before it is gone
}

// find also says whether what it finds was there before the unit.
func (n *names) find(name string) (st *statement, before bool) {
	for i := len(n.defs) - 1; i >= 0; i-- {
		if n.defs[i].name == name {
			return n.defs[i].st, false
		}
	}
	if n.none && name != "" {
		return nil, false
	}
	return n.s.lookupBefore([]byte(name)), true
}

func (n *names) define(name string, st *statement) {
	n.defs = append(n.defs, named{name: name, st: st})
}

func (n *names) forgetAll() {
	unnamed, _ := n.find("")
	n.defs, n.none = append(n.defs[:0], named{name: "", st: unnamed}), true
}

// mentions says whether a statement with this plan makes, uses or takes away prepared statements by SQL.
func mentions(p *router.Plan) bool {
	return p != nil && (p.Mentions != nil || p.Unbinds || p.Kind == router.KindDeallocate)
}

// resolveSteps goes through the unit once the plans of its statements are known. False: one more plan has been asked for.
func (s *Session) resolveSteps(msgs []byte) bool {
	u := &s.unit
	concerned, shows := false, false
	for i := range u.steps {
		concerned = concerned || mentions(u.steps[i].plan)
		if p := u.steps[i].plan; p != nil && p.ShowsPrepared && u.steps[i].typ == wire.MsgExecute {
			s.needMentioned(p)
			shows = true
		}
	}
	if !concerned && !shows || s.opaque || s.tx == wire.TxFailed {
		return true
	}
	n := &names{s: s}
	portals := map[string]*statement{}
	for i := range u.steps {
		step := &u.steps[i]
		s.renameStep(step, msgs, n, portals)
		if step.st == nil {
			continue
		}
		if st := step.st; (step.typ == wire.MsgBind || step.typ == wire.MsgDescribe && step.object == wire.ObjectStatement) && st.ownName() && s.named[st.name] == st {
			s.need(st.name, st, false) // before something in the unit is in its way
		}
		if step.plan == nil {
			if step.plan = s.plan(step.st); step.plan == nil {
				s.hold(msgs)
				s.askPlan(step.st)
				return false
			}
		}
		if name := s.overlayName(step.st); shows && step.typ == wire.MsgParse && name != "" && !step.again && !step.st.ownName() {
			s.giveNameInUnit(i, name, step.st, msgs, n)
		}
		if missing := s.resolveStep(i, msgs, n); missing != nil {
			s.hold(msgs)
			s.askPlan(missing)
			return false
		}
		if step.typ == wire.MsgExecute {
			s.defineByStep(step, n)
		}
	}
	return true
}

// renameStep looks up once more what a message refers to.
func (s *Session) renameStep(step *step, msgs []byte, n *names, portals map[string]*statement) {
	body := wire.Body(msgs[step.off:step.end])
	refer := func(st *statement) {
		if step.st != st {
			step.st, step.plan = st, nil
		}
	}
	switch step.typ {
	case wire.MsgParse:
		m, _ := wire.DecodeParse(body)
		if name := string(m.Name); name != "" {
			st, _ := n.find(name)
			step.again = st != nil
		}
		if step.plan != nil && step.plan.Executes() && !step.st.fixed {
			s.fix(step, string(m.Name))
		}
		if !step.again {
			n.define(string(m.Name), step.st)
		}
	case wire.MsgBind:
		m, _ := wire.DecodeBind(body)
		st, _ := n.find(string(m.Statement))
		refer(st)
		step.missing = st == nil
		portals[string(m.Portal)] = st
		s.setPortal(m.Portal, st)
	case wire.MsgDescribe:
		m, _ := wire.DecodeDescribe(body)
		if step.object == wire.ObjectStatement {
			st, _ := n.find(string(m.Name))
			refer(st)
			step.missing = st == nil
		} else if st, ok := portals[string(m.Name)]; ok {
			refer(st)
		}
	case wire.MsgExecute:
		m, _ := wire.DecodeExecute(body)
		if st, ok := portals[string(m.Portal)]; ok {
			refer(st)
		}
	case wire.MsgClose:
		if step.object == wire.ObjectStatement {
			n.define(step.name, nil)
		}
	}
}

// fix gives an EXECUTE that is prepared by the protocol a statement that isn't shared: what Postgres says that it is depends on what its
// session had prepared at the time, and stays.
func (s *Session) fix(step *step, name string) {
	old := step.st
	if old.name == "" {
		old.fixed = true
		return
	}
	st := s.shared.Statements.private(old, s.local.Lexer)
	st.fixed = true
	step.st = st
	for i := range s.overlay {
		if s.overlay[i].name == name && s.overlay[i].st == old {
			s.overlay[i].st = st
			s.shared.Statements.release(old)
			return
		}
	}
}

// resolveStep finds out what an EXECUTE does. missing: the plan of what it executes isn't known.
func (s *Session) resolveStep(i int, msgs []byte, n *names) (missing *statement) {
	step := &s.unit.steps[i]
	p := step.plan
	if p.Mentions == nil {
		return nil
	}
	m := p.Mentions[0]
	st, before := n.find(m.Name)
	switch {
	case st == nil:
	case p.Executes():
		inner := s.plan(st)
		if inner == nil {
			return st
		}
		step.plan = p.Resolve(func(string) *router.Plan { return inner })
		if before {
			s.need(m.Name, st, false)
		} else if !st.ownName() {
			s.giveNameInUnit(i, m.Name, st, msgs, n)
		}
	case step.typ != wire.MsgExecute:
	case m.As == router.KindPrepare && before:
		s.need(m.Name, st, true)
	case !before && !st.ownName():
		s.giveNameInUnit(i, m.Name, st, msgs, n)
	case m.As == router.KindDeallocate && before && !s.isLocal(p):
		s.need(m.Name, st, true)
	}
	return nil
}

// giveNameInUnit is giveName for what has been prepared earlier in the unit in hand.
func (s *Session) giveNameInUnit(before int, name string, st *statement, msgs []byte, n *names) {
	own := s.giveName(name, st)
	for i := range s.unit.steps[:before+1] {
		step := &s.unit.steps[i]
		if step.st != st {
			continue
		}
		body := wire.Body(msgs[step.off:step.end])
		var called []byte
		switch step.typ {
		case wire.MsgParse:
			m, _ := wire.DecodeParse(body)
			called = m.Name
		case wire.MsgBind:
			m, _ := wire.DecodeBind(body)
			called = m.Statement
		case wire.MsgDescribe:
			if step.object == wire.ObjectStatement {
				m, _ := wire.DecodeDescribe(body)
				called = m.Name
			}
		}
		if string(called) == name {
			step.st = own
		}
	}
	n.define(name, own)
}

// defineByStep notes what an Execute makes of names.
func (s *Session) defineByStep(step *step, n *names) {
	switch p := step.plan; {
	case p.Kind == router.KindPrepare:
		if st, _ := n.find(p.Name); st != nil {
			return // fails
		}
		if step.makes == nil {
			step.makes = s.newPrepared(p, step.st.text)
		}
		n.define(p.Name, step.makes)
	case p.Kind == router.KindDeallocate && p.Name != "":
		n.define(p.Name, nil)
	case p.Kind == router.KindDeallocate, p.Unbinds:
		n.forgetAll()
	}
}

// definedSoFar notes what the unit's PREPAREs make, for the messages that will be passed on behind them as they come.
func (s *Session) definedSoFar() {
	for i := range s.unit.steps {
		made := s.unit.steps[i].makes
		if made == nil {
			continue
		}
		taken := slices.ContainsFunc(s.unit.steps[i+1:], func(later step) bool {
			return later.typ == wire.MsgClose && later.object == wire.ObjectStatement && later.name == made.name || // or anew
				later.typ == wire.MsgExecute && later.plan != nil && later.plan.Kind == router.KindDeallocate && (later.plan.Name == "" || later.plan.Name == made.name) ||
				later.typ == wire.MsgExecute && later.plan != nil && later.plan.Unbinds
		})
		if !taken {
			s.overlay = append(s.overlay, named{name: made.name, st: made})
		}
	}
}

// resolveStreamed does for a message that is passed on as it comes what resolveSteps does for a unit. missing: a plan isn't known.
func (s *Session) resolveStreamed(step *step) (missing *statement) {
	p := step.plan
	if p != nil && p.ShowsPrepared && step.typ == wire.MsgParse {
		s.shownStreamed(step)
	}
	if e := len(s.overlay) - 1; step.typ == wire.MsgParse && e >= 0 && mentions(p) {
		// What it refers to is what there is before it.
		own := s.overlay[e]
		if p.Executes() && own.st == step.st && !step.st.fixed {
			s.fix(step, own.name)
			own = s.overlay[e]
		}
		s.overlay = s.overlay[:e]
		defer func() {
			if !step.again {
				s.overlay = append(s.overlay, own)
			} else {
				s.shared.Statements.release(own.st)
			}
		}()
	}
	if !mentions(p) || s.opaque || s.tx == wire.TxFailed {
		return nil
	}
	if p.Executes() {
		name := p.Mentions[0].Name
		if st := s.lookup([]byte(name)); st != nil {
			inner := s.plan(st)
			if inner == nil {
				return st
			}
			step.plan = p.Resolve(func(string) *router.Plan { return inner })
			if st = s.need(name, st, false); s.lookup([]byte(name)) != st {
				s.overlay = append(s.overlay, named{name: name, st: st})
			}
		}
		return nil
	}
	if step.typ != wire.MsgExecute {
		return nil
	}
	switch {
	case p.Kind == router.KindPrepare:
		if st := s.lookup([]byte(p.Name)); st != nil {
			s.need(p.Name, st, true)
		} else {
			step.makes = s.newPrepared(p, step.st.text)
			s.overlay = append(s.overlay, named{name: p.Name, st: step.makes})
		}
	case p.Kind == router.KindDeallocate && p.Name != "":
		s.overlay = append(s.overlay, named{name: p.Name, st: nil})
	}
	return nil
}

// shownStreamed gives a statement that is about to show all that are prepared, itself among them, the name that is to be seen.
func (s *Session) shownStreamed(step *step) {
	e := len(s.overlay) - 1
	if e < 0 || s.overlay[e].name == "" || s.overlay[e].st != step.st || step.again || step.st.ownName() {
		return
	}
	step.st = s.giveName(s.overlay[e].name, step.st)
	s.shared.Statements.release(s.overlay[e].st)
	s.overlay[e].st = step.st
}
