package proxy

import (
	"bytes"
	"hash/maphash"
	"strings"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// localError is an error of a statement of ours in an extended unit: what follows up to Sync is skipped.
func (s *Session) localError(err *wire.Error) {
	s.toClient(err.AppendTo(nil))
	if s.unit.own {
		s.unit.failed = true
		s.failTx()
		for e := s.head(); e != nil && !e.sync; e = s.head() {
			s.pop()
		}
		return
	}
	// The server doesn't know that something has failed, and would go on: a mixed unit like this is ended here.
	s.serverBroken("an error among mixed statements")
}

// serverError takes an ErrorResponse.
func (s *Session) serverError(e *expect, msg []byte) {
	u := &s.unit
	body := wire.Body(msg)
	code := wire.ErrorField(body, 'C')
	if e.kind == exParse && (e.prepared == 0 || e.st != nil && e.st.name == "") {
		s.conn.Unnamed = 0 // a Parse drops it even if it fails
	}
	s.local.Counters.Errors.Add(1)
	if e.checks {
		s.stillBound = true
		return
	}
	if u.expired && string(code) == "57014" {
		msg = s.timeoutError().AppendTo(nil)
		body = wire.Body(msg)
		code = wire.ErrorField(body, 'C')
	}
	if e.settles {
		s.settleRefused(msg)
		return
	}
	if e.needs {
		s.needFailed(msg)
		return
	}
	if e.made && u.simple {
		s.skipToSync()
		return
	}
	if e.verifies && s.phase == phaseSettling {
		s.verifyFailed(e, msg)
		return
	}
	if e.after {
		s.afterFailed()
		return
	}
	if e.begins && !s.mayRetry(code) {
		s.beginFailed(msg)
		return
	}
	if e.poison {
		s.skipToSync()
		return
	}
	if e.swallow && e.st == nil && !e.begins && !e.own && e.kind != exQuery {
		s.probeFailed(msg)
		return
	}
	if s.onReplica && isFatal(body) && !s.mayRetry(code) {
		return // ServerClosed follows, and replicaLost says what comes of it
	}
	if s.mayRetry(code) {
		s.dropFill() // a flight goes on
		u.retrying = true
		u.avoid = s.node
		return
	}
	s.noFillFor(code)
	u.failed = true
	if e.kind == exBind && string(code) == "0A000" && e.step >= 0 && e.step < len(u.steps) && u.steps[e.step].st != nil {
		// "cached plan must not change result type": clients prepare anew after it, and must not get the same again.
		s.shared.Statements.retire(u.steps[e.step].st)
	}
	u.fatal = isFatal(body)
	if e.kind == exParse && e.registers && e.st.name == "" {
		s.unnamed = nil // a Parse drops it even if it fails
	}
	if s.node != nil && string(code) == "25006" {
		s.shared.Nodes.Hurry()
	}
	if e.replace != nil {
		s.toClient(e.replace.AppendTo(nil))
	} else {
		s.toClient(s.asClientKnows(e, s.whyMissing(msg)))
	}
	s.copyEnded()
	if e.kind != exQuery {
		u.skipping = true
		s.skipToSync()
	}
}

// probeFailed goes on with the client's query, which won't be stored. Where the probe had no Sync of its own the server skips the
// query, too, so it is sent again, unless what hit the probe was the client's own request to cancel.
func (s *Session) probeFailed(msg []byte) {
	u := &s.unit
	s.noFill()
	s.conn.Prepared.Remove(probeIDs)
	s.conn.Prepared.Remove(probeIDs + 1)
	if u.probeApart {
		s.skipToSync()
		return
	}
	switch {
	case u.simple && u.sight.asks:
		s.skipToSync() // as the server does
	case u.simple:
		s.conn.Write(wire.AppendSync(nil)) // which the server waits for now
	}
	if s.cancelled {
		u.failed = true
		s.toClient(msg)
		for e := s.head(); e != nil && e.kind != exSync && e.kind != exQuery; e = s.head() {
			s.pop()
		}
		return
	}
	u.alone = false
	u.retrying = true
}

// asClientKnows gives an error of the server, or a notice, the names and positions by which the client knows things.
func (s *Session) asClientKnows(ex *expect, msg []byte) []byte {
	if r := s.unit.rewriting; r != nil && ex.kind == exQuery {
		if e, err := wire.DecodeError(wire.Body(msg)); err == nil {
			e = r.asOriginal(e)
			if msg[0] == wire.MsgNoticeResponse {
				return wire.AppendNoticeResponse(nil, e)
			}
			msg = e.AppendTo(nil)
		}
	}
	if msg[0] == wire.MsgNoticeResponse {
		return msg
	}
	return s.withClientNames(ex, msg)
}

// withClientNames gives prepared statements in an error the names by which the client knows them.
func (s *Session) withClientNames(ex *expect, msg []byte) []byte {
	if !bytes.Contains(msg, []byte(`"`+statementPrefix)) {
		return msg
	}
	e, err := wire.DecodeError(wire.Body(msg))
	if err != nil {
		return msg
	}
	rename := func(server, client string) {
		e.Message = strings.ReplaceAll(e.Message, `"`+server+`"`, `"`+client+`"`)
	}
	// Several of the client's names may be one statement; a Bind says which it meant.
	if ex.kind == exBind {
		for name, st := range s.named {
			if maphash.String(nameSeed, name) == ex.nameHash {
				rename(st.name, name)
				if _, after, ok := strings.Cut(e.Message, `"`+statementPrefix); ok && st.ownName() {
					// Since the Bind was sent SQL has referred to it, so that it has got its own name.
					number, _, _ := strings.Cut(after, `"`)
					rename(statementPrefix+number, name)
				}
			}
		}
	}
	for name, st := range s.named {
		rename(st.name, name)
	}
	for i := range s.overlay {
		if st := s.overlay[i].st; st != nil {
			rename(st.name, s.overlay[i].name)
		}
	}
	return e.AppendTo(nil)
}

var nameSeed = maphash.MakeSeed()

// hashOfName stands for a name where the message that it is in won't be kept.
func hashOfName(name []byte) uint64 { return maphash.Bytes(nameSeed, name) }

// skipToSync drops what the server won't answer after an error: everything up to the next Sync.
func (s *Session) skipToSync() {
	for e := s.head(); e != nil && e.kind != exSync; e = s.head() {
		s.pop()
	}
}

// mayRetry says whether an error is the server's rather than the statement's, and the client has seen nothing yet.
func (s *Session) mayRetry(code []byte) bool {
	u := &s.unit
	if !u.read || u.sent || u.attempts-u.stale >= maxAttempts || s.cancelled || s.phase == phaseOrphan {
		return false
	}
	if isDown(string(code)) {
		return !s.conn.Kept()
	}
	switch string(code) {
	case "40001", "25006", "40P01", "55P03": // on a replica: a conflict with recovery, a write after all
		return s.node.Role() == topology.Replica
	case "0A000": // "cached plan must not change result type": prepared before a change that this client knows of
		s.conn.Generation = staleGeneration
		return u.attempts == 1 && !u.simple
	}
	return false
}

// isDown says whether an error says that the server is shutting down, has crashed, or is starting.
func isDown(code string) bool { return code == "57P01" || code == "57P02" || code == "57P03" }

// finish ends the unit: the server connection goes back, stays, or is closed if there is any doubt about it.
func (s *Session) finish(leftover bool) {
	u := &s.unit
	c := s.conn
	tx := s.serverTx
	if u.vacates {
		s.occupy(!u.failed)
	}
	if s.phase == phaseOrphan {
		s.drop()
		if leftover || tx != wire.TxIdle || s.bound != "" {
			c.Discard() // which rolls back at once
		} else {
			c.Release()
		}
		s.end()
		return
	}
	if s.cancelling > 0 && s.inBody == 0 && !leftover && (c.Kept() || tx != wire.TxIdle && !u.leaves || s.bound != "") {
		s.phase = phaseCancelling // finish is called again by CancelOver
		return
	}
	if u.retrying {
		u.retrying = false
		s.drop()
		if leftover || tx != wire.TxIdle {
			c.Discard()
		} else {
			c.Release()
		}
		s.again()
		s.pump()
		return
	}
	if tx == wire.TxIdle {
		s.ddlOver()
	}
	switch {
	case tx != wire.TxIdle && !u.leaves || s.bound != "":
		if s.inBody > 0 {
			s.serverBroken("the end of a COPY before its data was over")
			return
		}
		if !leftover && s.checkBound() {
			return
		}
	default:
		s.drop()
		doubtful := u.unsettled || u.doubtful
		if doubtful && c.Kept() {
			c.Spoil() // it stays the client's
			doubtful = false
		}
		if leftover || s.inBody > 0 || tx != wire.TxIdle || doubtful {
			s.inBodyDropped = s.inBody > 0
			c.Discard()
		} else {
			c.Release()
		}
	}
	s.idle()
	s.pump()
}

// idle makes room for the next unit.
func (s *Session) idle() {
	s.phase = phaseIdle
	if s.unit.flush && s.unit.failed {
		s.phase = phaseSkipping
	}
}

// again runs the unit once more, elsewhere.
func (s *Session) again() {
	u := &s.unit
	u.failed, u.sent, u.verified = false, false, false
	u.broken = nil
	u.needed, u.lacking, u.undo = 0, nil, false
	if u.began {
		u.began, s.held.on = false, true
	}
	if u.expired {
		s.endWrite()
		s.fail(s.timeoutError())
		return
	}
	s.local.Counters.Retries.Add(1)
	s.phase = phaseIdle
	s.run()
}

// lastSync says whether the ReadyForQuery that has come is the last that is due.
func (s *Session) lastSync() bool {
	for i := s.qHead; i < len(s.q); i++ {
		if k := s.q[i].kind; (k == exSync || k == exQuery && !s.q[i].quiet) && !s.q[i].swallow {
			return i == s.qHead || s.noSyncBefore(i)
		}
	}
	return true
}

func (s *Session) noSyncBefore(i int) bool {
	for j := s.qHead; j < i; j++ {
		if k := s.q[j].kind; k == exSync || k == exQuery {
			return false
		}
	}
	return true
}

// popThrough drops expectations up to and including the next Sync.
func (s *Session) popThrough() {
	for e := s.head(); e != nil; e = s.head() {
		kind := e.kind
		s.pop()
		if kind == exSync || kind == exQuery {
			return
		}
	}
}

// serverGoesAway takes an error that answers nothing: the server is about to close the connection.
func (s *Session) serverGoesAway(msg []byte) {
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	if s.onReplica {
		s.replicaLost()
		return
	}
	s.env.ToClient(msg)
	s.serverLostFor(nil)
}

// isFatal says whether an ErrorResponse announces the end of the connection.
func isFatal(body []byte) bool {
	v := wire.ErrorField(body, 'V')
	return string(v) == "FATAL" || string(v) == "PANIC"
}

// replicaLost fails the READ ONLY transaction that was on a replica which is gone. Nothing can have been written, and nothing else of the
// session was there, so that the client may go on: with the transaction once more, elsewhere.
func (s *Session) replicaLost() {
	err := wire.Errorf("40001", "the replica %s, on which the READ ONLY transaction was, is gone", s.nodeAddr()).
		WithHint("Run the transaction again.")
	s.discard()
	s.held.on = true
	s.tx = wire.TxFailed
	if s.phase == phaseIdle || s.phase == phaseSkipping {
		s.lost = err // nothing was asked that it could be the answer to
		return
	}
	s.fail(err)
	s.pump()
}

// serverBroken ends the session after the server has said something that can't be: nothing on the
// connection can be trusted any more.
func (s *Session) serverBroken(what string) {
	err := wire.Fatal("08P01", "protocol violation of %s: %s", s.nodeAddr(), what)
	s.discard()
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	s.serverLostFor(err)
}

// discard closes the server connection, if there is one: there is doubt about it.
func (s *Session) discard() {
	c := s.conn
	s.drop()
	if c != nil {
		c.Discard()
	}
}

func (s *Session) nodeAddr() string {
	if s.node != nil {
		return s.node.Addr()
	}
	return "the server"
}

// ServerClosed says that the server connection is gone.
func (s *Session) ServerClosed(err error) {
	if s.conn == nil {
		return
	}
	node := s.node
	u := &s.unit
	s.dropFill()
	if s.conn.Reused() && u.stale < maxStale {
		u.stale++ // it may have been dead for long; only another can tell
	}
	kept := s.conn.Kept()
	again := u.attempts-u.stale < maxAttempts && !s.cancelled && !kept
	settling := s.phase == phaseSettling && u.attempts > 0 // else the connection had the session's transaction, or what it is bound for
	retry := u.retrying && !kept || u.read && !u.sent && s.phase == phaseRunning && again || settling && again
	whole := s.body == 0 || !s.passing
	if !retry {
		s.loseFlight()
	}
	if s.onReplica && !retry && whole && s.phase != phaseOrphan {
		if err != nil {
			node.Failed(err)
		}
		s.replicaLost()
		return
	}
	s.drop()
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	if err != nil {
		node.Failed(err)
	}
	if retry {
		u.retrying = false
		u.avoid = node
		s.again()
		s.pump()
		return
	}
	if u.read && whole && s.phase == phaseRunning && !s.cancelled && s.staleIfError() {
		s.pump()
		return
	}
	if u.fatal {
		s.serverLostFor(nil) // the server has said why
		return
	}
	if u.read && whole && s.phase == phaseRunning && !s.cancelled && !kept {
		// Nothing of the session was on that connection.
		s.fail(wire.Errorf("40001", "the connection to %s was lost while the answer was coming", node.Addr()).WithHint("Run the query again."))
		s.pump()
		return
	}
	if !whole {
		s.serverLostFor(nil) // an error would be taken for a part of a row
		return
	}
	e := wire.Fatal("08006", "the connection to %s was lost", node.Addr())
	if u.writes && s.phase != phaseIdle {
		e = e.WithDetail("Whether the statement in hand was carried out isn't known.")
	}
	s.serverLostFor(e)
}

// serverLostFor ends the session as Postgres would end it: what was in hand, and what a transaction had done, is gone, and the client
// has to know.
func (s *Session) serverLostFor(err *wire.Error) {
	if err != nil {
		s.env.ToClient(err.AppendTo(nil))
	}
	s.ClientClosed(nil)
	s.env.CloseClient()
}

// HomeLost says that the client's own server connection is gone while nothing was asked of it; msg is what the server has said, if anything.
func (s *Session) HomeLost(msg []byte) {
	switch {
	case s.phase == phaseEnded:
		return
	case s.phase == phaseOrphan:
		s.end()
		return
	case s.body > 0 && s.passing: // a message would be taken for a part of a row
	case msg == nil:
		s.env.ToClient(wire.Fatal("08006", "the client's server connection was lost").AppendTo(nil))
	default:
		s.env.ToClient(msg)
	}
	s.serverLostFor(nil)
}

// ClientClosed says that the client is gone: nothing is sent to it any more.
func (s *Session) ClientClosed(error) {
	if s.phase == phaseEnded || s.phase == phaseOrphan {
		return
	}
	was := s.phase
	s.in = nil
	s.endFlight()
	for _, st := range s.named {
		s.shared.Statements.release(st)
	}
	s.named = nil
	if was == phaseAcquiring {
		s.env.Leave(s)
	}
	if s.conn != nil && s.head() != nil && s.inVain() {
		s.conn.Cancel(func() {})
	}
	if s.conn != nil && was == phaseRunning && s.bound == "" && s.inBody == 0 {
		// What was asked, and has been sent to its end, is done to its end, as Postgres does when a client vanishes.
		s.phase = phaseOrphan
		if s.serverPaused {
			s.serverPaused = false
			s.conn.ResumeRead()
		}
		return
	}
	s.end()
}

// inVain says whether what the server does for a client that is gone comes to nothing anyway: a read, or a statement in a
// transaction that nobody will commit any more. Its locks shouldn't outlive the client.
func (s *Session) inVain() bool {
	u := &s.unit
	if u.read {
		return true
	}
	if s.tx == wire.TxIdle || len(u.effects) == 0 {
		return false
	}
	for _, e := range u.effects {
		switch e.plan.Kind {
		case router.KindCommit, router.KindPrepareTransaction, router.KindMulti, router.KindInvalid:
			return false
		}
	}
	return true
}

// end lets go of everything.
func (s *Session) end() {
	s.giveBack()
	s.occupy(false)
	s.endWrite()
	s.endOverlay()
	s.discard()
	s.phase = phaseEnded
	if s.ownKey != "" {
		s.shared.Registry.Release(s.registryKey(s.ownKey), s.env.Now())
		s.ownKey = ""
	}
	s.env.Ended(s)
}

// drop forgets the server connection without deciding its fate.
func (s *Session) drop() {
	if s.node != nil {
		s.node.End()
	}
	if s.conn != nil && s.serverPaused {
		s.serverPaused = false
		s.conn.ResumeRead()
	}
	if s.sender != nil {
		s.sender.End(s.pid, s.env.Now())
		s.sender = nil
	}
	s.conn, s.node = nil, nil
	s.serverTx, s.onReplica, s.poisoned = wire.TxIdle, false, false
	s.q, s.qHead = s.q[:0], 0
	s.part, s.body = nil, 0
	s.stashed = false
}
