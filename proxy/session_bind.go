package proxy

import (
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// bind ties the session to one primary connection: from here on nothing about its server-side state is
// assumed. The first reason stays.
func (s *Session) bind(why string) {
	s.boundLasting = s.boundLasting || why != boundByDDL
	s.spoilHome()
	s.bindTo(why)
}

// bindBy does so for what a statement leaves behind.
func (s *Session) bindBy(p *router.Plan) {
	if p.Binds == router.CatalogUnknown {
		s.bindUntilCatalog()
		return
	}
	s.boundLasting = s.boundLasting || p.Lasting
	s.spoilHome()
	s.bindTo(p.Binds)
}

// spoilHome notes that DISCARD ALL, by which a client's own server connection is made fit for others, may not undo everything.
func (s *Session) spoilHome() {
	if s.home != nil && s.boundLasting {
		s.home.Spoil()
	}
}

func (s *Session) bindTo(why string) {
	if s.bound == "" || s.bound == boundByDDL && why != boundByDDL {
		s.bound = why
		s.local.Counters.Bound.Add(1)
	}
}

// unbind lets the session go again.
func (s *Session) unbind() { s.bound, s.boundLasting, s.checkDue, s.watched = "", false, false, false }

// boundSQL gives a row if anything is left on the server connection of what a session can be bound for, as far as a server can be
// asked about it: something in the session's temporary schema, a channel it listens to, an advisory lock (outside of a transaction: a
// session's), a cursor WITH HOLD, a prepared statement that isn't one of ours. 2615 is pg_namespace.
const boundSQL = `SELECT WHERE EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615::pg_catalog.oid
	AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
OR EXISTS (SELECT FROM pg_catalog.pg_listening_channels())
OR EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())
OR EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)
OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE pg_catalog.left(name, 8) OPERATOR(pg_catalog.<>) 'freshet_'`

// noteFrees looks whether what the session is bound for may be gone after the unit.
func (s *Session) noteFrees() {
	if s.bound == "" || s.bound == boundByDDL || s.boundLasting {
		return
	}
	for _, e := range s.unit.effects {
		s.checkDue = s.checkDue || e.plan.Frees
	}
}

// checkBound asks the server whether the session is still bound to it, when there is reason to think that it isn't. False: nothing
// is to be asked.
func (s *Session) checkBound() bool {
	if !s.checkDue || s.bound == "" || s.bound == boundByDDL || s.boundLasting || s.serverTx != wire.TxIdle || s.tx != wire.TxIdle {
		return false
	}
	s.checkDue, s.stillBound = false, false
	s.phase = phaseChecking
	s.conn.Unnamed = 0
	s.expect(expect{kind: exQuery, swallow: true, checks: true})
	s.conn.Write(wire.AppendQuery(s.local.out[:0], boundSQL+s.exceptNamed(s.conn)))
	return true
}

// boundChecked follows the server's answer.
func (s *Session) boundChecked() {
	s.phase = phaseIdle
	if !s.stillBound {
		s.unbind()
		if s.ddl.since != 0 {
			s.bound = boundByDDL
		}
		if s.bound == "" || s.ddlOver() {
			c := s.conn
			s.drop()
			c.Release()
		}
	}
	s.resume = true
}
