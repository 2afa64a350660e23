package proxy

import (
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// vacate makes the unit wait until Freshet has given up what it holds in a database that the unit needs for itself. The server connection for the
// unit is there: nobody gets one to that database meanwhile. False: it needs none.
func (s *Session) vacate() bool {
	u := &s.unit
	if u.vacates || s.tx == wire.TxFailed {
		return false
	}
	v := u.vacating()
	if v == nil {
		return false
	}
	u.vacates = true
	s.phase = phaseVacating
	s.env.Vacate(s, *v, u.number)
	return true
}

// vacating is what the unit needs; nil: nothing.
func (u *unit) vacating() *router.Vacating {
	for _, e := range u.effects {
		if e.plan.Vacates != nil {
			return e.plan.Vacates
		}
		for _, part := range e.plan.Parts {
			if part.Vacates != nil {
				return part.Vacates
			}
		}
	}
	return nil
}

// Vacated follows Vacate. An error is what Postgres would say.
func (s *Session) Vacated(number uint64, err *wire.Error) {
	if s.phase != phaseVacating || number != s.unit.number {
		return
	}
	switch {
	case err != nil:
		s.giveUpWaiting(err)
		return
	case s.serverTx == wire.TxIdle && s.bound == "":
		s.settle()
	default:
		s.send()
	}
	s.pump()
}

// occupy ends what vacate began.
func (s *Session) occupy(succeeded bool) {
	if s.unit.vacates {
		s.unit.vacates = false
		s.env.Occupy(s, succeeded)
	}
}
