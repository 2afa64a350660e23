package proxy

import (
	"strings"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// isLocal says whether Freshet itself answers a statement: SET, RESET and SHOW of its own settings, and
// DEALLOCATE, since the clients' prepared statements are kept here.
func (s *Session) isLocal(p *router.Plan) bool {
	switch p.Kind {
	case router.KindDeallocate:
		if p.Name == "" {
			return s.bound == "" // else there may be some on the server connection that aren't known
		}
		_, here := s.namedHere(s.conn, p.Name)
		return s.named[p.Name] != nil && (!here || s.bound == "")
	case router.KindSet, router.KindReset:
		return p.Set != nil && isFreshet(p.Set.Name)
	case router.KindShow:
		return isFreshet(p.Show)
	}
	return false
}

// simpleLocal answers a Query if it is one of ours. In a failed transaction Postgres shall say so.
func (s *Session) simpleLocal(p *router.Plan) bool {
	if s.txLocal(p) {
		s.env.ToClient(s.answerTx(s.local.scratch[:0], p))
		s.count(sourceFreshet, s.env.Turn())
		s.ready()
		return true
	}
	if s.tx == wire.TxFailed {
		return false
	}
	if !s.isLocal(p) {
		return false
	}
	out, err := s.answerLocal(s.local.scratch[:0], p, true)
	if err != nil {
		s.fail(err)
		return true
	}
	s.env.ToClient(out)
	s.count(sourceFreshet, s.env.Turn())
	s.ready()
	return true
}

// answerLocal executes one of our own statements and appends the replies up to CommandComplete.
func (s *Session) answerLocal(out []byte, p *router.Plan, describe bool) ([]byte, *wire.Error) {
	if p.Kind == router.KindShow {
		value, ok := s.showLocal(p.Show)
		if !ok {
			return out, unknownSetting(p.Show)
		}
		if describe {
			out = wire.AppendRowDescription(out, showColumn(p.Show))
		}
		out = wire.AppendDataRow(out, []byte(value))
		return wire.AppendCommandComplete(out, "SHOW"), nil
	}
	if p.Kind == router.KindDeallocate {
		if p.Name == "" {
			s.forgetStatements()
			return wire.AppendCommandComplete(out, "DEALLOCATE ALL"), nil
		}
		s.closeStatement(p.Name)
		return wire.AppendCommandComplete(out, "DEALLOCATE"), nil
	}
	tag := "SET"
	if p.Kind == router.KindReset {
		tag = "RESET"
	}
	if err := s.checkLocal(p); err != nil {
		return out, err
	}
	s.localSetting(p.Set)
	return wire.AppendCommandComplete(out, tag), nil
}

// localPortal notes whether a portal of one of our own statements has been executed, and returns whether it had been before.
func (s *Session) localPortal(name []byte, done bool) (before bool) {
	for i := range s.portals {
		if p := &s.portals[i]; p.name == string(name) {
			before, p.done = p.done, done
		}
	}
	return before
}

// nameAwaited says whether the client will have a statement of this name when the replies that are due have come.
func (s *Session) nameAwaited(name string) bool {
	there := s.named[name] != nil
	for i := s.qHead; i < len(s.q); i++ {
		switch e := &s.q[i]; {
		case e.registers && e.name == name:
			there = true
		case e.closes && e.name == name, e.execute != nil && e.execute.Kind == router.KindDeallocate && (e.execute.Name == "" || e.execute.Name == name):
			there = false
		}
	}
	return there
}

// checkLocal says why one of our own statements can't be executed.
func (s *Session) checkLocal(p *router.Plan) *wire.Error {
	var err error
	switch p.Kind {
	case router.KindShow:
		if _, ok := s.showLocal(p.Show); !ok {
			return unknownSetting(p.Show)
		}
	case router.KindSet:
		if !p.Set.Default {
			_, err = s.opts.with(p.Set.Name, p.Set.Value)
		} else {
			_, err = s.opts.reset(p.Set.Name, s.defaults)
		}
	case router.KindReset:
		_, err = s.opts.reset(p.Set.Name, s.defaults)
	}
	if err != nil {
		return err.(*wire.Error)
	}
	return nil
}

func unknownSetting(name string) *wire.Error {
	return wire.Errorf("42704", "unrecognized configuration parameter %q", name).
		WithHint("Freshet shows freshet.source, freshet.reason, freshet.position, freshet.floor, %s.", strings.Join(optionNames, ", "))
}

func showColumn(name string) wire.Column {
	return wire.Column{Name: name, TypeOID: wire.OIDText, TypeSize: -1, TypeModifier: -1}
}

func (s *Session) showLocal(name string) (string, bool) {
	switch name {
	case "freshet.source":
		return s.last.sourceText(), true
	case "freshet.reason":
		return s.last.reasonText(), true
	case "freshet.position":
		return s.last.position.String(), true
	case "freshet.floor":
		s.cons.Settle(s.shared.Nodes.PrimarySource())
		return s.cons.Floor().String(), true
	case "freshet.max_staleness":
		return formatTime(min(s.opts.maxStaleness, s.shared.MaxStaleness)), true
	}
	return s.opts.show(name)
}

func (s *Session) forgetStatements() {
	for _, st := range s.named {
		s.shared.Statements.release(st)
	}
	clear(s.named)
}

// applyKey makes the session_key in force the one that floors and pins go by.
func (s *Session) applyKey() {
	key := s.opts.sessionKey
	if key == s.ownKey {
		return
	}
	old, oldKey := s.cons, s.ownKey
	if key == "" {
		s.cons = s.shared.NewConsistency()
	} else {
		s.cons = s.shared.Registry.Get(s.registryKey(key))
	}
	s.ownKey = key
	// What this connection has written and seen stays visible to it under its new name.
	s.cons.Inherit(old)
	if old.Pinned(s.env.Now()) {
		s.cons.WriteBegan()
		s.env.AskPosition(s.cons, s.cons.WriteEnded(s.env.Now()))
	}
	if oldKey != "" {
		s.shared.Registry.Release(s.registryKey(oldKey), s.env.Now())
	}
}

// registryKey keeps the keys of different databases and roles apart: a name is no secret.
func (s *Session) registryKey(key string) string {
	return s.db.Name + "\x00" + s.user + "\x00" + key
}

// hintNotice warns about a hint comment that isn't understood; the statement runs all the same.
func (s *Session) hintNotice(text []byte) {
	problem := router.HintProblem(text)
	if problem == "" {
		return
	}
	s.env.ToClient(wire.AppendNoticeResponse(nil, (&wire.Error{
		Severity: "WARNING", Code: "01000", Message: "hint comment: " + problem,
		Hint: "Freshet knows route=auto|primary|replica, cache=on|off, consistency=eventual|session|strong, max_staleness and cache_ttl.",
	})))
}

func isOn(v string) bool {
	switch strings.ToLower(strings.Trim(v, " '\"")) {
	case "on", "true", "yes", "1", "t", "y":
		return true
	}
	return false
}

// localUnit answers an extended unit that needs no server at all.
func (s *Session) localUnit() {
	s.unit.own = true
	s.queueSteps(nil)
	s.flushLocals()
	switch {
	case !s.unit.flush:
		s.phase = phaseIdle
	case s.unit.failed:
		s.phase = phaseSkipping
	default:
		s.answered()
	}
}
