package proxy

import (
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router/topology"
)

// ServerData brings bytes of the server connection.
func (s *Session) ServerData(p []byte) {
	if s.ownKey != "" {
		s.seen() // another connection of the session may be asked next, by who has read what comes now
	}
	for len(p) > 0 && s.conn != nil && !s.settleFailed {
		switch {
		case s.body > 0: // the rest of a large message
			n := min(len(p), s.body)
			s.pass(p[:n])
			s.body -= n
			p = p[n:]
			continue
		case len(s.part) > 0:
			n := s.takePart(p)
			p = p[n:]
			continue
		}
		typ, n, err := wire.Frame(p)
		switch {
		case err != nil:
			s.serverBroken("a message of invalid length")
			return
		case n == 0:
			s.part = append(s.part[:0], p...)
			p = nil
		case n <= len(p):
			if typ == wire.MsgDataRow {
				n = dataRows(p, n)
			}
			s.serverMessage(typ, p[:n])
			p = p[n:]
		case typ == wire.MsgDataRow || typ == wire.MsgCopyData:
			// Not held, however large it is.
			s.passing = s.passes()
			if typ == wire.MsgDataRow {
				s.passKind = passRows
			} else {
				s.passKind = passOther
			}
			s.body = n
		default:
			s.part = append(s.part[:0], p...)
			p = nil
		}
		if s.unitOver {
			break
		}
	}
	if s.settleFailed {
		s.settleOver()
		return
	}
	if s.unitOver {
		s.unitOver = false
		s.resume = false
		s.finish(len(p) > 0)
	}
	if s.phase == phaseOrphan && s.unit.copyIn {
		s.end() // nobody will send the data
		return
	}
	if s.resume {
		s.resume = false
		s.pump()
	}
	s.holdBackServer()
	s.watch()
}

// dataRows extends a range that begins with one whole DataRow of n bytes over those that follow it.
func dataRows(p []byte, n int) int {
	for len(p)-n >= wire.HeaderLen && p[n] == wire.MsgDataRow {
		_, m, err := wire.Frame(p[n:])
		if err != nil || m > len(p)-n {
			break
		}
		n += m
	}
	return n
}

// takePart completes the message whose beginning is in s.part, and returns how many bytes that took.
func (s *Session) takePart(p []byte) int {
	took := 0
	if have := len(s.part); have < wire.HeaderLen {
		took = min(wire.HeaderLen-have, len(p))
		s.part = append(s.part, p[:took]...)
		if len(s.part) < wire.HeaderLen {
			return took
		}
	}
	typ, n, err := wire.Frame(s.part)
	if err != nil {
		s.serverBroken("a message of invalid length")
		return len(p)
	}
	if (typ == wire.MsgDataRow || typ == wire.MsgCopyData) && n-len(s.part) > len(p)-took {
		s.passing = s.passes()
		s.passKind = passOther
		if typ == wire.MsgDataRow {
			s.passKind = passRows
		}
		head := s.part
		s.part = nil
		s.pass(head)
		s.body = n - len(head)
		return took
	}
	m := min(n-len(s.part), len(p)-took)
	s.part = append(s.part, p[took:took+m]...)
	took += m
	if len(s.part) == n {
		msg := s.part
		s.part = nil
		s.serverMessage(typ, msg)
		if s.part == nil && cap(msg) <= 4<<10 {
			s.part = msg[:0]
		}
	}
	return took
}

type passKind uint8

const (
	passOther passKind = iota
	passRows
)

// passes says whether the client gets the reply that comes next.
func (s *Session) passes() bool {
	e := s.head()
	return e != nil && !e.swallow && !s.unit.retrying
}

// pass hands on a piece of a message that is too large to be held.
func (s *Session) pass(p []byte) {
	if !s.passing {
		return
	}
	s.toClient(p)
	if s.passKind == passRows {
		s.capture(p)
	}
}

// capture adds rows to the fill.
func (s *Session) capture(p []byte) {
	if s.unit.filling && !s.fill.AddRows(p) {
		s.unit.filling = false
		s.unit.reason, s.unit.detail = reasonUncovered, "the answer is larger than --cache-max-entry"
		s.unit.miss = missTooBig
		s.abandonFlight()
	}
}

// toClient sends bytes of the unit's answer to the client, if there still is one.
func (s *Session) toClient(p []byte) {
	s.unit.sent = true
	s.unit.bytes += len(p)
	if s.phase != phaseOrphan {
		s.env.ToClient(p)
	}
}

// holdBackServer stops reading the server while the client doesn't keep up.
func (s *Session) holdBackServer() {
	if s.conn == nil || s.phase == phaseOrphan {
		return
	}
	limit := clientHighWater
	if s.clientPaused {
		// The client is being held back because the server doesn't read: if we didn't read the server either, nothing would ever
		// move again (HAZARD 16).
		limit = s.mayBuffer()
	}
	pause := s.env.ClientBuffered() > limit
	switch {
	case pause && !s.serverPaused:
		s.serverPaused = true
		s.conn.PauseRead()
	case !pause && s.serverPaused && s.clientPaused:
		s.serverPaused = false
		s.conn.ResumeRead()
	}
}

func (s *Session) head() *expect {
	if s.qHead < len(s.q) {
		return &s.q[s.qHead]
	}
	return nil
}

func (s *Session) pop() {
	s.q[s.qHead] = expect{}
	s.qHead++
	if s.qHead == len(s.q) {
		s.q, s.qHead = s.q[:0], 0
		if cap(s.q) > 256 {
			s.q = nil
		}
	}
}

// serverMessage takes one whole message of the server (or several DataRows).
func (s *Session) serverMessage(typ byte, msg []byte) {
	u := &s.unit
	switch typ {
	case wire.MsgParameterStatus:
		s.parameterStatus(msg)
		return
	case wire.MsgNoticeResponse:
		s.warned(msg)
		if e := s.head(); e != nil && s.passes() {
			s.toClientQuietly(s.asClientKnows(e, msg))
		} else if s.head() == nil && s.phase != phaseOrphan {
			s.toClientQuietly(msg)
		}
		return
	case wire.MsgNotificationResponse:
		if s.bound != "" {
			s.notification(msg)
		}
		return
	}
	if typ == wire.MsgParameterDescription && u.read && !u.sent && !u.retrying {
		s.parameters, s.stashed = append(s.parameters[:0], msg...), true // until it's known that no error follows
		return
	}
	e := s.head()
	if e != nil && e.kind == exLocal && !u.retrying {
		s.releaseLocals(typ, msg)
		e = s.head()
	}
	if s.stashed {
		s.stashed = false
		if e != nil && !e.told && !u.retrying && (typ != wire.MsgErrorResponse || !s.mayRetry(wire.ErrorField(wire.Body(msg), 'C'))) {
			s.forward(e, s.parameters)
		}
	}
	if e == nil {
		if typ == wire.MsgErrorResponse {
			s.serverGoesAway(msg)
			return
		}
		s.serverBroken("a reply to nothing")
		return
	}
	if u.retrying {
		if typ == wire.MsgReadyForQuery && s.lastSync() {
			s.unitOver = true
		} else if typ == wire.MsgReadyForQuery {
			s.popThrough()
		}
		return
	}
	if u.rewriting.hidden(u.completed) && e.kind == exQuery && !e.swallow {
		switch typ {
		case wire.MsgCommandComplete:
			u.completed++
			return
		case wire.MsgRowDescription, wire.MsgDataRow:
			return
		}
	}
	switch typ {
	case wire.MsgDataRow:
		if e.checks {
			s.stillBound = true
		}
		if e.kind == exProbe {
			if e.after {
				s.takeAfter(msg)
			} else {
				s.takeProbe(msg)
			}
			return
		}
		if !e.swallow {
			s.toClient(msg)
			s.capture(msg)
		}
		return
	case wire.MsgRowDescription:
		if !e.swallow {
			s.toClient(msg)
			if u.filling {
				s.fill.AddRowDesc(msg)
			}
		}
		if s.described(e, msg); s.conn == nil {
			return
		}
		if e.kind == exDescribeStatement || e.kind == exDescribePortal {
			s.pop()
		}
	case wire.MsgCommandComplete:
		if !e.swallow {
			s.completed(e, msg)
			if !u.unsure || e.kind != exQuery {
				s.toClient(msg)
			}
			if u.filling && !s.fill.AddComplete(msg) {
				u.filling = false
				s.abandonFlight()
			}
		}
		if e.begins && e.kind == exExecute {
			s.held.on = false
		}
		if e.kind == exExecute && e.prepared != 0 {
			s.prepared(&expect{prepared: e.prepared, st: e.st})
		}
		if e.kind == exExecute || e.kind == exProbe {
			s.pop()
		}
		s.copyEnded()
	case wire.MsgEmptyQueryResponse, wire.MsgPortalSuspended:
		s.forward(e, msg)
		if e.kind == exExecute {
			s.noFill()
			s.pop()
		}
	case wire.MsgParseComplete:
		if e.kind != exParse {
			s.serverBroken("an unexpected ParseComplete")
			return
		}
		s.forward(e, msg)
		s.prepared(e)
		s.pop()
	case wire.MsgBindComplete, wire.MsgCloseComplete:
		if e.kind != exBind && e.kind != exClose {
			s.serverBroken("an unexpected completion")
			return
		}
		s.forward(e, msg)
		if e.evicts != 0 {
			s.conn.Prepared.Remove(e.evicts)
			if e.closes {
				s.deallocated(e.name)
			}
		}
		s.pop()
	case wire.MsgNoData:
		s.forward(e, msg)
		if s.described(e, msg); s.conn == nil {
			return
		}
		if e.kind == exDescribeStatement || e.kind == exDescribePortal {
			s.pop()
		}
	case wire.MsgParameterDescription:
		if !e.told {
			s.forward(e, msg)
		}
		s.parameters = append(s.parameters[:0], msg...)
	case wire.MsgErrorResponse:
		s.serverError(e, msg)
	case wire.MsgReadyForQuery:
		s.serverReady(e, msg)
	case wire.MsgCopyInResponse:
		s.forward(e, msg)
		s.copyBegins(e)
	case wire.MsgCopyOutResponse, wire.MsgCopyData, wire.MsgCopyDone, wire.MsgFunctionCallResponse, wire.MsgCopyBothResponse:
		s.noFill()
		s.forward(e, msg)
	default:
		s.serverBroken("a message of unknown type")
		return
	}
	s.flushLocals()
	s.copyAnswered()
}

func (s *Session) forward(e *expect, msg []byte) {
	if !e.swallow {
		s.toClient(msg)
	}
}

// toClientQuietly sends what isn't part of an answer: it doesn't keep a read from being repeated.
func (s *Session) toClientQuietly(msg []byte) {
	if s.phase != phaseOrphan {
		s.env.ToClient(msg)
	}
}

// flushLocals sends our own replies whose turn has come. Those at the beginning of a read's answer wait for the server to say something:
// until then the read can be repeated elsewhere.
func (s *Session) flushLocals() {
	if u := &s.unit; u.read && !u.sent && s.replyDue() {
		return
	}
	s.sendLocals()
}

// replyDue says whether the server owes a reply that the client will get.
func (s *Session) replyDue() bool {
	for i := s.qHead; i < len(s.q); i++ {
		if e := &s.q[i]; e.kind != exLocal && !e.swallow {
			return true
		}
	}
	return false
}

// releaseLocals sends what flushLocals has held back, since the server's reply to what comes after it is there. If that is an error after
// which the read is repeated, so are they.
func (s *Session) releaseLocals(typ byte, msg []byte) {
	if typ != wire.MsgErrorResponse || !s.mayRetry(wire.ErrorField(wire.Body(msg), 'C')) {
		s.sendLocals()
		return
	}
	for e := s.head(); e != nil && e.kind == exLocal; e = s.head() {
		s.pop()
	}
}

func (s *Session) sendLocals() {
	for e := s.head(); e != nil && e.kind == exLocal; e = s.head() {
		switch {
		case e.sync:
			s.pop()
			s.ready()
			continue
		case e.replace != nil:
			s.localError(e.replace)
			continue
		case e.execute != nil:
			out, err := s.answerLocal(nil, e.execute, false)
			s.toClient(out)
			if err != nil {
				s.localError(err)
				continue
			}
		default:
			s.toClient(e.local)
			if e.registers {
				s.registerStatement(e.st, e.name)
			}
			if e.closes {
				s.closeStatement(e.name)
			}
		}
		s.pop()
	}
}

// serverReady takes a ReadyForQuery.
func (s *Session) serverReady(e *expect, msg []byte) {
	u := &s.unit
	if e.kind != exQuery && e.kind != exSync {
		s.serverBroken("an unexpected ReadyForQuery")
		return
	}
	swallow, checks, query := e.swallow || e.quiet, e.checks, e.kind == exQuery
	if e.dropsUnnamed {
		s.conn.Unnamed, s.unnamed = 0, nil
	}
	s.pop()
	if swallow {
		if checks {
			s.boundChecked()
			return
		}
		if s.phase == phaseSettling && s.head() == nil {
			if s.undoNeed() {
				return
			}
			if s.promiseError != nil {
				s.serverTx = msg[wire.HeaderLen]
				s.breakPromise()
				return
			}
			s.send()
			s.resume = true // a stream goes on with what the client has sent meanwhile
		}
		return
	}
	s.seenAll()
	if s.head() != nil || u.streaming && !u.hasSync && !(query && s.phase == phaseStreaming) {
		// A Query in the middle of a stream; more is to come.
		s.serverTx = msg[wire.HeaderLen]
		s.tx = s.serverTx
		s.toClient(msg)
		return
	}
	s.serverTx = msg[wire.HeaderLen]
	status := s.shownStatus(s.serverTx)
	s.unitSettled(status)
	s.ddlSettled(s.tx != wire.TxIdle && status == wire.TxIdle)
	if s.tx != wire.TxIdle && status == wire.TxIdle {
		s.txEnded()
	}
	if s.chained() && !u.failed && status != wire.TxIdle {
		s.txEnded()
		s.endWrite()
	}
	s.tx = status
	if s.serverTx == wire.TxIdle {
		s.endWrite()
		if !u.failed {
			s.noteLeft()
			s.store()
		}
	}
	s.noFill()
	s.noteAnswer()
	s.unitOver = true
	switch {
	case u.flush:
		s.open = true // the Sync was ours
		return
	case status != s.serverTx:
		msg = wire.AppendReadyForQuery(s.local.scratch[:0], status)
	}
	s.open, s.partReads = false, false
	if u.unsure && !u.failed {
		s.toClient(s.unsureError().AppendTo(nil))
	}
	s.toClient(msg)
}

// noteAnswer remembers where the answer came from.
func (s *Session) noteAnswer() {
	u := &s.unit
	src := sourcePrimary
	if s.node.Role() == topology.Replica {
		src = sourceReplica
	}
	s.last = lastAnswer{source: src, node: s.node, reason: u.reason, detail: u.detail, position: u.sight.least}
	if u.reason == reasonMissForATime {
		s.last.ttl = u.ttl
	}
	if u.probed && u.probe.OnReplica {
		s.last.position = u.probe.Replayed
	}
	if src == sourceReplica {
		s.local.Counters.Replica.Add(1)
	} else {
		s.local.Counters.Primary.Add(1)
	}
	now := s.env.Turn()
	s.count(src, now)
	s.countTx(now)
}
