package proxy

import (
	"strings"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// A server that prepares a statement once more for a session may find fault with it before it gets to what Postgres would have found first, which
// prepared it only once. What is wrong with a Bind or Describe by that first preparation is therefore said here. In a transaction that has
// failed a server prepares nothing at all but what ends it.

// refusedBind is what Postgres says to a Bind of a statement that it has prepared before and this server hasn't; nil: that is for the server to say.
func (s *Session) refusedBind(c *backend.Conn, b wire.Bind, st *step) *wire.Error {
	if st.missing || s.hasPrepared(c, st.st) {
		return nil
	}
	if n, ok := s.parameterCount(st.st, st.plan); ok {
		if err := bindMismatch(b, n); err != nil {
			return err
		}
	}
	if s.stillFailed() && !preparedInFailed(st.plan) {
		return errAborted
	}
	return nil
}

// givesNoRows says whether a statement is of a kind that gives no rows, and that has no parameters but those that its Parse has declared.
func givesNoRows(st *statement, p *router.Plan) bool {
	if p == nil {
		return false
	}
	switch p.Kind {
	case router.KindSet, router.KindReset, router.KindEmpty, router.KindSavepoint, router.KindRelease, router.KindDiscard, router.KindDeallocate, router.KindPrepare, router.KindCopy,
		router.KindCommitPrepared, router.KindRollbackPrepared:
		return true
	case router.KindUtility: // CALL may give some
		n, ok := router.CountParams(st.text)
		return ok && n == 0 && !strings.HasPrefix(strings.ToUpper(strings.TrimSpace(st.text)), "CALL") && !strings.Contains(st.text, "--") && !strings.Contains(st.text, "/*")
	}
	return isTxControl(p)
}

// portalTaken says whether the unit has made a portal of this name before the step in hand.
func (s *Session) portalTaken(name []byte) bool {
	u := &s.unit
	taken := false
	if len(name) == 0 || u.streaming {
		return false
	}
	for i := range u.steps[:min(s.stepNow, len(u.steps))] {
		body := wire.Body(u.buf[u.steps[i].off:u.steps[i].end])
		switch st := &u.steps[i]; {
		case st.typ == wire.MsgBind:
			if b, err := wire.DecodeBind(body); err == nil && string(b.Portal) == string(name) {
				taken = true
			}
		case st.typ == wire.MsgClose && st.object == wire.ObjectPortal:
			if m, err := wire.DecodeClose(body); err == nil && string(m.Name) == string(name) {
				taken = false
			}
		}
	}
	return taken
}

// bindMismatch is Postgres' error (exec_bind_message) of a Bind that doesn't suit a statement with n parameters.
func bindMismatch(b wire.Bind, n int) *wire.Error {
	if formats := b.ParamFormats.Len(); formats > 1 && formats != b.Params.Len() {
		return wire.Errorf("08P01", "bind message has %d parameter formats but %d parameters", formats, b.Params.Len())
	}
	if n != b.Params.Len() {
		return wire.Errorf("08P01", "bind message supplies %d parameters, but prepared statement %q requires %d", b.Params.Len(), string(b.Statement), n)
	}
	return nil
}

// refusedDescribe does so for the Describe of a statement; told is what is known to be the answer.
func (s *Session) refusedDescribe(c *backend.Conn, st *step) (told []byte, err *wire.Error) {
	if st.missing || s.parsed(st.st) || s.hasPrepared(c, st.st) || s.unit.isBroken(st.st) {
		return nil, nil
	}
	d := st.st.promise.Load()
	switch {
	case d != nil && !d.hasRows(): // Postgres doesn't look whether the statement still holds
		return append(append([]byte(nil), d.params...), d.row...), nil
	case !s.stillFailed() || preparedInFailed(st.plan):
		return nil, nil
	case d != nil:
		return nil, errAborted
	case len(st.st.params) == 0 && givesNoRows(st.st, st.plan):
		return wire.AppendNoData(wire.AppendParameterDescription(nil)), nil
	}
	return nil, errAborted
}

// describeAgain tells the client the parameters of a statement that is to be prepared again before it can be described: in Postgres they are told
// before it is looked whether the statement still holds.
func (s *Session) describeAgain(c *backend.Conn, st *step) bool {
	d := st.st.promise.Load()
	if c == nil || d == nil || s.parsed(st.st) || s.hasPrepared(c, st.st) && !s.unit.isBroken(st.st) {
		return false
	}
	s.expect(expect{kind: exLocal, local: d.params})
	return true
}

// isBroken says whether the client's statement isn't what it was told to be.
func (u *unit) isBroken(st *statement) bool { return u.broken != nil && u.broken == st }

var errAborted = wire.Errorf("25P02", "current transaction is aborted, commands ignored until end of transaction block")

// stillFailed says whether the transaction has failed, and will still be there when the server gets to the step in hand.
func (s *Session) stillFailed() bool {
	u := &s.unit
	if s.tx != wire.TxFailed {
		return false
	}
	if u.streaming {
		for _, e := range u.effects {
			if preparedInFailed(e.plan) {
				return false
			}
		}
		return true
	}
	for i := range u.steps[:min(s.stepNow, len(u.steps))] {
		if st := &u.steps[i]; st.typ == wire.MsgExecute && preparedInFailed(st.plan) {
			return false
		}
	}
	return true
}

// parameterCount is how many parameters a statement has, where that is known.
func (s *Session) parameterCount(st *statement, plan *router.Plan) (int, bool) {
	if d := st.promise.Load(); d != nil {
		return d.oids().Len(), true
	}
	if plan == nil {
		return 0, false
	}
	switch plan.Kind {
	case router.KindRead, router.KindWrite, router.KindCursor, router.KindUtility:
		n, ok := router.CountParams(st.text)
		return max(n, len(st.params)), ok
	case router.KindInvalid:
		return 0, false
	}
	return len(st.params), true // Postgres doesn't look for more in other statements
}

// preparedInFailed says whether Postgres prepares a statement also in a transaction that has failed; or may, for all that is known of it.
func preparedInFailed(p *router.Plan) bool {
	return p == nil || p.Kind != router.KindEmpty && !refusedInFailed(p)
}
