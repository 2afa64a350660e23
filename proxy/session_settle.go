package proxy

import (
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// settle brings the server connection to the session's state and sends the unit, both in one write.
//
// What the unit does must not be done under other settings than the session's, so it depends on their success: they are
// made in a transaction block, BEGIN; …; COMMIT. If one of them can't be made the server is left in a block that has failed,
// in which it refuses everything but the statements that end one. A unit with such a statement, and one that
// hasn't come in full, waits for the server's word.
func (s *Session) settle() {
	c := s.conn
	sql := s.settleSQL()
	if sql == "" {
		s.send()
		return
	}
	c.Unnamed = 0 // a Query drops the unnamed statement
	s.expect(expect{kind: exQuery, swallow: true, settles: true})
	if s.serverTx != wire.TxIdle {
		s.phase = phaseSettling
		c.Write(wire.AppendQuery(s.local.out[:0], sql))
		return
	}
	s.local.out = wire.AppendQuery(s.local.out[:0], "BEGIN;"+sql+"COMMIT")
	c.Write(s.local.out)
	if s.endsNoBlock() {
		s.send()
		return
	}
	s.phase = phaseSettling
}

// settleSQL is what brings the server connection to the session's state; "" if nothing has to be done.
func (s *Session) settleSQL() string {
	c := s.conn
	var sql string
	if s.bound == "" { // else there may be SQL-level ones
		if !c.Prepared.Empty() && c.Generation != s.ctxGen {
			// What was prepared before a change of the catalog may not be what this client would get now.
			sql = s.deallocateShared(c)
		}
		c.Generation = s.ctxGen
	}
	if s.showsPrepared() {
		sql += s.deallocateShared(c)
	}
	for c.Prepared.Clients() > s.shared.MaxPrepared { // a unit has needed more
		id, name, _ := c.Prepared.Oldest(func(uint64) bool { return false })
		sql += "DEALLOCATE " + quoteIdentifier(name) + ";"
		c.Prepared.Remove(id)
	}
	if s.readsSequences() && !s.ownsSequences(c) {
		// Another session's nextval() must not show in this one's currval().
		sql += "DISCARD SEQUENCES;"
		s.ownSequences(c)
	}
	want := s.set
	if s.unit.unsettled {
		want = nil
	}
	sql += transition(c, want)
	noteSettings(c, want)
	return sql
}

// staleGeneration is that of a connection whose prepared statements are out of date.
const staleGeneration = ^uint64(0)

// endsNoBlock says whether nothing in the unit is executed in a transaction block that has failed.
func (s *Session) endsNoBlock() bool {
	u := &s.unit
	if u.simple {
		return refusedInFailed(u.plan)
	}
	if !u.hasSync && !u.flush {
		return false
	}
	for i := range u.steps {
		st := &u.steps[i]
		if st.typ == wire.MsgExecute && st.plan == nil || st.plan != nil && !refusedInFailed(st.plan) {
			return false
		}
	}
	return true
}

// refusedInFailed says whether Postgres refuses all of a text in a transaction block that has failed (postgres.c,
// IsTransactionExitStmt).
func refusedInFailed(p *router.Plan) bool {
	if p == nil {
		return false
	}
	switch p.Kind {
	case router.KindCommit, router.KindRollback, router.KindRollbackTo, router.KindPrepareTransaction, router.KindInvalid:
		return false
	case router.KindMulti:
		for _, part := range p.Parts {
			if !refusedInFailed(part) {
				return false
			}
		}
	}
	return true
}

// settleRefused notes that the session's settings couldn't be made, so that nothing of the unit is done.
func (s *Session) settleRefused(msg []byte) {
	s.settleFailed = true
	if pg, err := wire.DecodeError(wire.Body(msg)); err == nil {
		s.settleError = pg
	}
}

// settleOver goes on after that, without the connection.
func (s *Session) settleOver() {
	u := &s.unit
	err := s.settleError
	s.settleFailed, s.settleError = false, nil
	tx, kept := s.serverTx, s.conn != nil && s.conn.Kept()
	s.discard()
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	s.noFill()
	u.filling, u.retrying = false, false
	if err == nil {
		err = wire.Errorf("XX000", "the session's settings couldn't be made on the server connection")
	}
	switch {
	case tx != wire.TxIdle || kept:
		s.serverLostFor(err.WithSeverity("FATAL"))
		return
	case err.Code == "57014" && !s.cancelled && u.attempts < maxAttempts:
		s.again() // another session's statement_timeout was still in force
		s.pump()
		return
	case s.tx == wire.TxIdle && u.changesSettings() && !u.unsettled:
		u.unsettled = true
		s.again()
		s.pump()
		return
	}
	s.endWrite()
	s.fail(err.WithSeverity("ERROR").WithHint("A setting of this session, made earlier, can't be made any more. RESET it."))
	s.pump()
}

// changesSettings says whether the unit is a single SET, RESET or DISCARD ALL: a way out for a session with a setting that can't
// be made any more, such as a role that was dropped.
func (u *unit) changesSettings() bool {
	p := u.plan
	return p != nil && (p.Kind == router.KindSet || p.Kind == router.KindReset || p.Unbinds)
}
