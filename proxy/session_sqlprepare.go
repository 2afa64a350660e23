package proxy

import (
	"bytes"
	"slices"
	"strings"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// PREPARE, EXECUTE and DEALLOCATE. In Postgres what they name and what Parse names is the same. So it is here: both are in Session.named. What PREPARE
// has made is made again, by the same text and name, on the server connection where it is referred to next (session_needs.go), and so is, by its own name, a
// statement of the protocol that SQL refers to. What another session's names mean is taken away before a statement comes that could see them.
//
// What EXECUTE does is known from the plan of what it executes: it goes where that may go, and binds the session if that does.

// ownName says whether the statement has the name on servers by which its session knows it.
func (st *statement) ownName() bool {
	return st.name != "" && (st.sql || !strings.HasPrefix(st.name, statementPrefix))
}

// unknownPlan is that of a PREPARE about which nothing is known any more.
var unknownPlan = &router.Plan{Kind: router.KindInvalid, Writes: true, OnPrimary: true, Reason: "EXECUTE", Binds: "EXECUTE of something that isn't understood", Lasting: true}

// executes turns the plan of the statement's text into that of what is executed: PREPARE runs nothing, but what it has made does.
func (st *statement) executes(p *router.Plan) *router.Plan {
	switch {
	case p == nil || !st.sql:
		return p
	case p.Kind != router.KindPrepare:
		return unknownPlan
	}
	return p.Prepared
}

// resolve finds out what the statements do that a Query executes. nil: a plan has been asked for.
func (s *Session) resolve(p *router.Plan) *router.Plan {
	if s.tx == wire.TxFailed || !p.Executes() {
		return p
	}
	var missing *statement
	resolved := p.Resolve(func(name string) *router.Plan {
		st := s.named[name]
		if st == nil {
			return nil
		}
		inner := s.plan(st)
		if inner == nil && missing == nil {
			missing = st
		}
		return inner
	})
	if missing != nil {
		s.askPlan(missing)
		return nil
	}
	return resolved
}

// newPrepared is what a PREPARE makes. text is its own.
func (s *Session) newPrepared(p *router.Plan, text string) *statement {
	st := &statement{id: s.shared.Statements.serial(), name: p.Name, text: text, oids: []byte{0, 0}, sql: true, scope: s.scope(), settings: s.set}
	st.fingerprint, st.scan = s.local.Lexer.Scan([]byte(text))
	st.binds = text == "" || untracked(p, st.scan.ClockWord)
	return st
}

// untracked says whether what a PREPARE makes can't be made again as it is: 'now' in it is the time of the PREPARE; and names
// like Freshet's own may be taken on another server connection.
func untracked(p *router.Plan, clockWord bool) bool {
	return p.Kind == router.KindPrepare && (clockWord || strings.HasPrefix(p.Name, "freshet_"))
}

// preparedBySQL follows a PREPARE.
func (s *Session) preparedBySQL(st *statement) {
	s.registerStatement(st, st.name)
	s.conn.Prepared.Add(st.id, st.name)
	s.nameHere(st)
}

// preparedText is the text of the PREPARE that has just succeeded; "" if it isn't kept.
func (s *Session) preparedText(e *expect, p *router.Plan) string {
	switch buf := s.unit.buf; {
	case e.kind != exQuery:
		return e.st.text
	case len(buf) <= wire.HeaderLen:
		return ""
	case e.plan == p:
		return string(queryText(buf))
	default:
		all := queryText(buf)
		if p.Start >= p.End || p.End > len(all) {
			return ""
		}
		// Where an error is, is counted from the beginning of the Query.
		return strings.Repeat(" ", len([]rune(string(all[:p.Start])))) + string(all[p.Start:p.End])
	}
}

// bindForPrepared binds the session for what isn't tracked of its prepared statements.
func (s *Session) bindForPrepared() {
	u := &s.unit
	if s.tx == wire.TxFailed {
		return
	}
	for _, e := range u.effects {
		p := e.plan
		if p.Executes() && s.bound != "" && s.bound != boundByDDL {
			s.bind("EXECUTE of a statement that isn't known") // something that can't be seen may have prepared it
		}
		if p.ShowsPrepared && s.counts() && s.hasSQL() {
			s.watched = true
			s.bindTo(boundByCounting)
		}
		if p.Kind == router.KindMulti {
			for _, part := range p.Parts {
				s.bindForPrepare(part, u.scan.ClockWord)
			}
			continue
		}
		s.bindForPrepare(p, u.scan.ClockWord)
	}
	for i := range u.steps {
		if st := &u.steps[i]; st.typ == wire.MsgExecute && st.plan != nil && st.st != nil {
			s.bindForPrepare(st.plan, st.st.scan.ClockWord)
		}
	}
}

// boundByCounting: who looks at how often a statement was planned wants it counted in one place.
const boundByCounting = "SQL PREPARE, and pg_prepared_statements was asked for generic_plans or custom_plans"

// counts says whether the unit asks how often statements were planned.
func (s *Session) counts() bool {
	u := &s.unit
	const column = "_plans"
	if u.simple {
		return len(u.buf) > wire.HeaderLen && bytes.Contains(queryText(u.buf), []byte(column))
	}
	return slices.ContainsFunc(u.steps, func(st step) bool { return st.st != nil && strings.Contains(st.st.text, column) })
}

func (s *Session) bindForPrepare(p *router.Plan, clockWord bool) {
	if untracked(p, clockWord) {
		s.bindTo("SQL PREPARE")
	}
}

// hasSQL says whether the session has made statements by PREPARE.
func (s *Session) hasSQL() bool {
	for _, st := range s.named {
		if st.sql {
			return true
		}
	}
	return false
}

// keptByName says whether a statement must stay, since nobody could make it again.
func (s *Session) keptByName(id uint64) bool {
	for _, st := range s.named {
		if st.id == id {
			return st.binds
		}
	}
	return false
}

// giveName has a statement of the protocol get the name on servers by which the session knows it, since SQL refers to it.
func (s *Session) giveName(name string, st *statement) *statement {
	own := &statement{id: s.shared.Statements.serial(), name: name, text: st.text, oids: st.oids, params: st.params, scope: st.scope, edition: "own",
		fixed: st.fixed, fingerprint: st.fingerprint, scan: st.scan, settings: s.set}
	own.confirmed.Store(st.confirmed.Load())
	own.promise.Store(st.promise.Load())
	return own
}

// nameHere notes that the server connection has the statement by its own name.
func (s *Session) nameHere(st *statement) {
	if s.conn.Named == nil {
		s.conn.Named = make(map[string]uint64)
	}
	if old, ok := s.conn.Named[st.name]; ok && old != st.id {
		s.conn.Prepared.Remove(old)
	}
	s.conn.Named[st.name] = st.id
}

// namedHere says whether the session's statement of that name is on the server connection by that name.
func (s *Session) namedHere(c *backend.Conn, name string) (id uint64, here bool) {
	if c == nil {
		return 0, false
	}
	id, here = c.Named[name]
	st := s.named[name]
	return id, here && st != nil && st.id == id && c.Prepared.Has(id)
}

// madeInUnit says whether a PREPARE that is still on its way will have made the name when the server gets to the messages that are queued next.
func (s *Session) madeInUnit(name string) (id uint64, ok bool) {
	for i := len(s.q) - 1; i >= s.qHead; i-- {
		switch e := &s.q[i]; {
		case e.makes != nil && e.makes.name == name:
			return e.makes.id, true
		case e.kind == exClose && e.closes && e.name == name:
			return 0, false
		case e.kind == exExecute && e.plan != nil && (e.plan.Unbinds || e.plan.Kind == router.KindDeallocate && (e.plan.Name == "" || e.plan.Name == name)):
			return 0, false
		}
	}
	return 0, false
}

// deallocated follows DEALLOCATE, or a Close that the server has done.
func (s *Session) deallocated(name string) {
	s.closeStatement(name)
	if id, ok := s.conn.Named[name]; ok {
		s.conn.Prepared.Remove(id)
		delete(s.conn.Named, name)
	}
}

// deallocateHere has the server forget what DEALLOCATE, which Freshet answers, takes away: what follows in the unit mustn't find it.
func (s *Session) deallocateHere(c *backend.Conn, p *router.Plan, out []byte) []byte {
	if c == nil {
		return out
	}
	for name, id := range c.Named {
		if _, mine := s.namedHere(c, name); mine && (p.Name == "" || p.Name == name) {
			out = wire.AppendClose(out, wire.ObjectStatement, name)
			s.expect(expect{kind: exClose, swallow: true, evicts: id})
		}
	}
	return out
}

// looksAtNames says whether the unit may see by which names statements are prepared on its server connection.
func (s *Session) looksAtNames() bool {
	u := &s.unit
	if len(u.needs) > 0 || u.streaming || s.bound != "" || len(u.effects) == 0 {
		return true
	}
	for _, e := range u.effects {
		p := e.plan
		if p.Mentions != nil || p.ShowsPrepared || p.Binds != "" {
			return true
		}
		switch p.Kind {
		case router.KindRead, router.KindWrite, router.KindBegin, router.KindCommit, router.KindRollback, router.KindSet, router.KindReset, router.KindShow:
		default:
			return true
		}
	}
	for i := range u.steps {
		st := &u.steps[i]
		if st.st != nil && st.st.ownName() || st.plan != nil && st.plan.Mentions != nil {
			return true
		}
	}
	return false
}

// dropOthers closes what has a name of its own on the server connection, and isn't what this session means by it.
func (s *Session) dropOthers(out []byte) []byte {
	c := s.conn
	for name, id := range c.Named {
		if _, mine := s.namedHere(c, name); mine && s.unit.lacks(name) == nil || s.unit.holds(id) {
			continue
		}
		if !c.Prepared.Has(id) {
			delete(c.Named, name)
			continue
		}
		out = wire.AppendClose(out, wire.ObjectStatement, name)
		s.expect(expect{kind: exClose, swallow: true, evicts: id})
	}
	return out
}

// deallocateShared returns SQL that takes away everything that is prepared on the server connection but what the session has by names of its own.
func (s *Session) deallocateShared(c *backend.Conn) (sql string) {
	kept := map[string]uint64{}
	for name := range c.Named {
		if id, mine := s.namedHere(c, name); mine {
			kept[name] = id
		}
	}
	if len(kept) == 0 {
		sql = "DEALLOCATE ALL;"
	} else {
		for _, name := range c.Prepared.Names() {
			if _, ok := kept[name]; !ok {
				sql += "DEALLOCATE " + quoteIdentifier(name) + ";"
			}
		}
	}
	c.Prepared.Clear()
	clear(c.Named)
	for name, id := range kept {
		c.Prepared.Add(id, name)
		c.Named[name] = id
	}
	c.Unnamed = 0
	return sql
}

// exceptNamed completes boundSQL: what is tracked doesn't bind.
func (s *Session) exceptNamed(c *backend.Conn) string {
	var b strings.Builder
	for name := range c.Named {
		if st := s.named[name]; st == nil || st.binds || st.sql && s.watched {
			continue
		}
		b.WriteString(" AND name OPERATOR(pg_catalog.<>) " + quoteLiteral(name))
	}
	return b.String() + ")"
}

// makes are the names of the statements that the Query's PREPAREs have made when all of it has succeeded.
func (u *unit) makes() (names []string) {
	p := u.plan
	switch {
	case p == nil:
	case p.Kind == router.KindPrepare:
		names = []string{p.Name}
	case p.Kind == router.KindMulti:
		for _, part := range p.Parts {
			switch {
			case part.Kind == router.KindCopy:
				return nil // the server wouldn't take it for a message of its own
			case part.Kind == router.KindPrepare:
				names = append(names, part.Name)
			case part.Kind == router.KindDeallocate && part.Name != "":
				names = slices.DeleteFunc(names, func(name string) bool { return name == part.Name })
			case part.Kind == router.KindDeallocate, part.Unbinds:
				names = nil
			}
		}
	}
	return names
}

// describeMade asks what PREPARE has made: it has to be the same wherever it is made again.
func (s *Session) describeMade(out []byte, name string, st *statement) []byte {
	if s.tx == wire.TxFailed {
		return out
	}
	s.expect(expect{kind: exDescribeStatement, swallow: true, made: true, st: st, name: name})
	return wire.AppendDescribe(out, wire.ObjectStatement, name)
}
