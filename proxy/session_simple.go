package proxy

import (
	"github.com/freshet/freshet/router"
)

// PlanRequest asks for a plan that isn't in the plan cache.
type PlanRequest struct {
	Text      string
	Key       router.Key // the plan goes into the plan cache under this key, if its generation still holds
	Context   router.Context
	Number    uint64 // comes back with the answer
	statement *statement
	Executes  bool // of Judge: what the PREPARE in Text has made is executed
}

// opaquePlan is for sessions whose texts Freshet can't read with certainty.
var opaquePlan = &router.Plan{Kind: router.KindInvalid, Writes: true, OnPrimary: true, Reason: "the session's settings change how texts are read"}

// simple takes a Query message.
func (s *Session) simple(msg []byte) {
	text := queryText(msg)
	fp, scan := s.local.Lexer.Scan(text)
	if scan.NonASCII && s.opaqueText {
		s.bind("client_encoding isn't UTF8")
	}
	s.unit.fp = fp
	if s.opaque {
		s.simplePlanned(msg, scan, opaquePlan)
		return
	}
	key := s.planKey(fp, nil)
	if plan := s.db.Plans.Get(key); plan != nil {
		s.simplePlanned(msg, scan, plan)
		return
	}
	s.hold(msg)
	s.unit.scan = scan
	s.phase = phasePlanning
	s.env.Plan(s, PlanRequest{Text: string(text), Key: key, Context: s.ctx, Number: s.unit.number})
}

// queryText is the text of a Query message, without its terminator.
func queryText(msg []byte) []byte { return msg[5 : len(msg)-1] }

// planKey is the key of a plan under the session's present context.
func (s *Session) planKey(fp router.Fingerprint, params []uint32) router.Key {
	s.refreshContext()
	id := s.ctxID
	if len(params) > 0 {
		c := s.ctx
		c.ParamTypes = params
		id = c.ID()
	}
	return router.Key{Statement: fp, Context: id, Generation: s.ctxGen}
}

// refreshContext works out the context again after the catalog or the search path has changed.
func (s *Session) refreshContext() {
	snap := s.db.Catalog()
	var gen uint64
	if snap != nil {
		gen = snap.Generation
	}
	if s.ctxOK && gen == s.ctxGen {
		return
	}
	if gen != s.ctxGen {
		s.db.generationSince(gen, s.env.Now())
	}
	s.ctxOK, s.ctxGen = true, gen
	s.ctx = router.Context{Role: s.role()}
	if snap != nil {
		path, set := s.set.value("search_path")
		s.ctx.SearchPath = snap.EffectiveSearchPath(s.user, s.ctx.Role, path, set)
	}
	s.ctxID = s.ctx.ID()
}

// Planned brings the plan that was asked for.
func (s *Session) Planned(req PlanRequest, plan *router.Plan) {
	if s.phase != phasePlanning || req.Number != s.unit.number {
		return
	}
	if st := req.statement; st != nil {
		st.remember(s.ctxID, s.ctxGen, plan)
	}
	switch {
	case s.unit.simple && req.statement != nil: // that the Query executes
		s.simplePlanned(s.unit.buf, s.unit.scan, s.unit.plan)
	case s.unit.simple:
		s.simplePlanned(s.unit.buf, s.unit.scan, plan)
	case s.unit.streaming && s.unit.begun:
		s.phase = phaseStreaming
		s.streamPlanned(req.statement, plan)
	default:
		s.extendedPlan(s.unit.buf, req.statement, plan)
	}
	s.pump()
}

// simplePlanned goes on with a Query whose plan is known.
func (s *Session) simplePlanned(msg []byte, scan router.Scan, plan *router.Plan) {
	u := &s.unit
	u.plan, u.scan = plan, scan
	if plan.Kind != router.KindEmpty {
		s.tallyText(u.fp, queryText(msg), plan, scan)
	}
	if plan.Executes() {
		s.hold(msg)
		if plan = s.resolve(plan); plan == nil {
			return
		}
		u.plan = plan
	}
	if s.simpleLocal(plan) {
		return
	}
	s.needMentioned(plan)
	if plan.Hint.Bad {
		s.hintNotice(queryText(msg))
	}
	u.writes = plan.Writes
	u.primary = !plan.Reads()
	u.binds = plan.Binds
	u.effects = append(u.effects, effect{plan})
	u.hint = plan.Hint
	u.leaves = s.held.on && s.mayLeave(plan, scan.ClockWord)
	if s.mayCache(plan, scan.ClockWord) {
		s.hashKey(queryText(msg), noParams[:2], noParams[:], nil)
		if s.tryCache(msg) {
			return
		}
	}
	u.rewriting = s.rewriteSimple(queryText(msg), plan)
	s.hold(msg)
	s.run()
}

// noParams is what follows the names in a Bind without parameters, all results as text: no parameter
// formats, no parameters, no result formats.
var noParams = [6]byte{}
