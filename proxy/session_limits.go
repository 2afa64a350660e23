package proxy

import (
	"time"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// Limits are times after which something of a session is ended; 0: never.
type Limits struct {
	// Query bounds a query, from when its bytes have come to the end of its answer: waiting for a plan, another's identical query or a server
	// included. SQLSTATE 57014, and the session goes on.
	Query time.Duration
	// IdleTransaction bounds how long a client may do nothing in a transaction. SQLSTATE 25P03, and the transaction is rolled back.
	IdleTransaction time.Duration
	// ClientIdle bounds how long a client may do nothing outside of one. SQLSTATE 57P05.
	ClientIdle time.Duration
}

// SetLimits changes the limits. Those of sessions that exist count anew when LimitsChanged is called. Safe for concurrent use.
func (sh *Shared) SetLimits(l Limits) {
	if l == (Limits{}) {
		sh.limits.Store(nil)
		return
	}
	sh.limits.Store(&l)
}

// limit is what a session's time is counted for.
type limit uint8

const (
	limitNone limit = iota
	limitQuery
	limitIdleTransaction
	limitClientIdle
)

// limited says what the session's time counts for at this moment.
func (s *Session) limited() limit {
	switch s.phase {
	case phaseEnded:
		return limitNone
	case phaseIdle, phaseSkipping, phaseChecking, phaseCancelling: // the client has its answer
		if s.tx != wire.TxIdle || s.open {
			return limitIdleTransaction
		}
		return limitClientIdle
	case phaseStreaming:
		if s.head() == nil && s.inBody == 0 {
			return limitIdleTransaction // it has got all that it has asked for, and holds a server connection until its Sync
		}
	}
	if s.unit.commits() {
		return limitNone
	}
	return limitQuery
}

// commits says whether the unit does nothing but to commit. That isn't bounded, as it isn't by Postgres' statement_timeout: what came of it
// couldn't be told.
func (u *unit) commits() bool {
	if !u.begun || u.plan == nil {
		return false
	}
	switch u.plan.Kind {
	case router.KindCommit, router.KindPrepareTransaction, router.KindCommitPrepared:
		return true
	}
	return false
}

// watch sees to it that Expired comes when what the session does takes too long. It is called at the end of whatever may have changed
// what that is, and costs next to nothing when it hasn't.
func (s *Session) watch() {
	l := s.shared.limits.Load()
	if l == nil && s.limit == limitNone {
		return
	}
	now := s.limited()
	if now == s.limit && !s.limitAnew {
		return
	}
	if now == limitQuery && s.limit != limitQuery {
		s.unit.expired = false // it was another statement of a stream
	}
	s.limit, s.limitAnew = now, false
	var d time.Duration
	if l != nil {
		switch now {
		case limitQuery:
			d = l.Query
		case limitIdleTransaction:
			d = l.IdleTransaction
		case limitClientIdle:
			d = l.ClientIdle
		}
	}
	s.env.ExpireIn(s, d)
}

// LimitsChanged begins to count anew, by the limits as they are now.
func (s *Session) LimitsChanged() {
	s.limitAnew = true
	s.watch()
}

// Expired follows ExpireIn.
func (s *Session) Expired() {
	l := s.shared.limits.Load()
	if l == nil {
		return
	}
	s.limitAnew = true
	switch s.limit {
	case limitQuery:
		s.queryExpired()
		return
	case limitIdleTransaction:
		if s.env.ClientBuffered() == 0 { // else it is still taking its answer
			s.fatal(wire.Fatal("25P03", "terminating connection due to --idle-transaction-timeout (%s)", l.IdleTransaction))
			return
		}
	case limitClientIdle:
		if s.env.ClientBuffered() == 0 {
			s.fatal(wire.Fatal("57P05", "terminating connection due to --client-idle-timeout (%s)", l.ClientIdle))
			return
		}
	}
	s.watch()
}

// plansInStream says whether a message in the middle of a stream waits for its plan. What came before it may still be answered.
func (s *Session) plansInStream() bool {
	return s.phase == phasePlanning && s.unit.streaming && s.unit.begun
}

// queryExpired cancels the unit in hand.
func (s *Session) queryExpired() {
	u := &s.unit
	if s.plansInStream() {
		s.limitAnew = false
		s.env.ExpireIn(s, nodeRetry) // until it can be cancelled on the server
		return
	}
	if s.conn == nil && s.home == nil && s.db.Paused() {
		s.limitAnew = false
		s.env.ExpireIn(s, nodeRetry) // whoever has it paused knows that it takes time
		return
	}
	if u.expired {
		s.expiredInVain()
		return
	}
	u.expired = true
	if s.conn == nil || !s.onServer() {
		s.giveUpWaiting(s.timeoutError())
		return
	}
	s.cancelled = true
	if s.phase == phaseCopyIn && u.begun && s.inBody == 0 && !u.copyOver {
		// A server that waits for copy data doesn't look whether it is to cancel. What the client still sends is dropped, by us or by the server.
		s.conn.Write(wire.AppendCopyFail(nil, "--query-timeout"))
		u.copyOver = true
		if u.simple {
			s.phase = phaseRunning
		}
	}
	s.cancelling++
	s.conn.Cancel(s.env.CancelWaker(s))
	s.limitAnew = false
	s.env.ExpireIn(s, s.shared.CancelWait)
}

// CancelOver says that a request to cancel of ours has arrived, or can't be delivered. Until then nothing is sent to the server that it could hit in place
// of what it was meant for (HAZARDS 4).
func (s *Session) CancelOver() {
	s.cancelling--
	if s.cancelling > 0 {
		return
	}
	if s.phase == phaseCancelling {
		s.finish(false)
		return
	}
	s.pump()
}

// onServer says whether a server is at work on the unit in hand.
func (s *Session) onServer() bool {
	switch s.phase {
	case phaseRunning, phaseStreaming, phaseCopyIn, phaseSettling, phaseOrphan:
		return true
	}
	return false
}

// expiredInVain follows when the server hasn't reacted to the request to cancel, or the client doesn't take the answer's rest.
func (s *Session) expiredInVain() {
	u := &s.unit
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	err := s.timeoutError()
	detail := "The server didn't react to the request to cancel within " + s.shared.CancelWait.String() + "; the connection to it was closed."
	if u.writes {
		detail += " Whether the statement was carried out isn't known."
	}
	err = err.WithDetail("%s", detail)
	inAnswer := s.body > 0 && s.passing || s.inBody > 0 || u.copyIn
	if inAnswer || s.tx != wire.TxIdle || s.open || s.bound != "" || u.streaming {
		s.fatal(err.WithSeverity("FATAL"))
		return
	}
	s.noFillFor([]byte(err.Code))
	s.endWrite()
	s.discard()
	s.fail(err)
	s.pump()
}

// timeoutError is what the client is told about a query that took too long.
func (s *Session) timeoutError() *wire.Error {
	var d time.Duration
	if l := s.shared.limits.Load(); l != nil {
		d = l.Query
	}
	return wire.Errorf("57014", "canceling statement due to --query-timeout (%s)", d)
}

// giveUpWaiting ends a unit that no server has got yet.
func (s *Session) giveUpWaiting(err *wire.Error) {
	s.env.StopAwaiting(s)
	if s.phase == phaseAcquiring {
		s.env.Leave(s)
		s.drop()
	}
	if s.phase == phaseVacating && s.serverTx == wire.TxIdle && s.bound == "" {
		c := s.conn
		s.drop()
		c.Release()
	}
	s.unit.number++
	s.fail(err)
	s.pump()
}

// A server whose commit waits for a synchronous standby and is cancelled doesn't take it back: it warns, and goes on as if all were well. The client is
// told by an error, since it didn't ask for that.

// warned looks at a warning for that, and for what it says of settings.
func (s *Session) warned(msg []byte) {
	s.removed(wire.Body(msg))
	u := &s.unit
	if !u.expired || !u.writes {
		return
	}
	body := wire.Body(msg)
	u.unsure = u.unsure || string(wire.ErrorField(body, 'V')) == "WARNING" && string(wire.ErrorField(body, 'C')) == "01000"
}

func (s *Session) unsureError() *wire.Error {
	return wire.Errorf("40003", "--query-timeout has ended the wait for synchronous standbys").
		WithDetail("The transaction was committed on the primary. Whether a standby has it isn't known.")
}
