package proxy

import (
	"errors"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/consistency/rule"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// awaitVisible makes the unit, which is to go to the primary, wait until the primary shows what the session has been shown by
// replicas (topology.ConfirmVisible says how that can differ). False: it does, as far as the session's level asks for it.
func (s *Session) awaitVisible() bool {
	u := &s.unit
	nodes := s.shared.Nodes
	since := s.cons.ShownByReplica()
	switch s.level() {
	case consistency.Eventual:
		return false
	case consistency.Strong:
		if u.arrived == 0 {
			u.arrived = s.env.Now()
			nodes.DoubtReplicas() // another Freshet may have read from them
		}
		since = max(since, u.arrived)
	}
	if !rule.Visible || nodes.VisibleAsOf() >= since || u.endsTransaction() || !u.shows() {
		return false
	}
	if u.showBy == 0 {
		u.showBy = s.env.Now() + int64(s.shared.PoolWait)
	}
	s.local.Counters.Confirms.Add(1)
	s.phase = phaseConfirming
	s.env.ConfirmVisible(s, u.number)
	return true
}

// endsTransaction says whether the unit only ends (a part of) a transaction, and so shows nothing.
func (u *unit) endsTransaction() bool {
	if u.plan == nil {
		return false
	}
	switch u.plan.Kind {
	case router.KindCommit, router.KindRollback, router.KindRollbackTo, router.KindSavepoint, router.KindRelease:
		return true
	}
	return false
}

// Confirmed follows ConfirmVisible.
func (s *Session) Confirmed(number uint64, err error) {
	u := &s.unit
	if s.phase != phaseConfirming || number != u.number {
		return
	}
	s.phase = phaseIdle
	switch {
	case err == nil:
		s.run()
	case s.env.Now() < u.showBy:
		s.phase = phaseAwaiting
		s.env.WakeIn(s, nodeRetry, u.number)
		return
	default:
		e := wire.Errorf("40001", "what this session has seen on a replica is not visible on the primary yet")
		if errors.Is(err, topology.ErrHidden) {
			e = e.WithDetail("A transaction has been written to the WAL and replayed, but waits for a synchronous standby.")
		} else {
			e = e.WithDetail("%s", err)
		}
		e = e.WithHint("Try again; or give up on never going back in time with SET freshet.consistency = eventual.")
		if s.conn != nil && s.tx != wire.TxIdle {
			// The server wouldn't know that its transaction has failed.
			s.fatal(e.WithSeverity("FATAL"))
			return
		}
		s.fail(e)
	}
	s.pump()
}
