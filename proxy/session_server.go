package proxy

import (
	"bytes"
	"strings"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// ServerData brings bytes of the server connection.
func (s *Session) ServerData(p []byte) {
	for len(p) > 0 && s.conn != nil {
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
		s.abandonFlight()
	}
}

// toClient sends bytes of the unit's answer to the client, if there still is one.
func (s *Session) toClient(p []byte) {
	s.unit.sent = true
	if s.phase != phaseOrphan {
		s.env.ToClient(p)
	}
}

// holdBackServer stops reading the server while the client doesn't keep up.
func (s *Session) holdBackServer() {
	if s.conn == nil || s.serverPaused || s.phase == phaseOrphan {
		return
	}
	limit := clientHighWater
	if s.clientPaused {
		// The client is being held back because the server doesn't read: if we didn't read the server either, nothing would ever
		// move again.
		limit = clientElastic
	}
	if s.env.ClientBuffered() > limit {
		s.serverPaused = true
		s.conn.PauseRead()
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
		if s.passes() || (s.head() == nil && s.phase != phaseOrphan) {
			s.toClientQuietly(msg)
		}
		return
	case wire.MsgNotificationResponse:
		if s.bound != "" {
			s.toClientQuietly(msg)
		}
		return
	}
	e := s.head()
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
	switch typ {
	case wire.MsgDataRow:
		if e.kind == exProbe {
			s.takeProbe(msg)
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
		if e.kind == exDescribeStatement || e.kind == exDescribePortal {
			s.pop()
		}
	case wire.MsgCommandComplete:
		if !e.swallow {
			s.toClient(msg)
			if u.filling && !s.fill.AddComplete(msg) {
				u.filling = false
				s.abandonFlight()
			}
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
		s.pop()
	case wire.MsgNoData:
		s.forward(e, msg)
		if e.kind == exDescribeStatement || e.kind == exDescribePortal {
			s.pop()
		}
	case wire.MsgParameterDescription:
		s.forward(e, msg)
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

// prepared notes that a Parse has succeeded, on the server connection and for the client.
func (s *Session) prepared(e *expect) {
	if e.prepared == 0 {
		s.conn.Unnamed = 0
	} else {
		if e.st != nil && e.st.name == "" {
			s.conn.Unnamed = e.st.id
		} else {
			if s.conn.Prepared == nil {
				s.conn.Prepared = make(map[uint64]struct{})
			}
			s.conn.Prepared[e.prepared] = struct{}{}
		}
	}
	if e.registers {
		s.registerStatement(e.st, e.name)
	}
}

// registerStatement makes name mean st for the client.
func (s *Session) registerStatement(st *statement, name string) {
	if st.name == "" {
		s.unnamed = st
		return
	}
	if s.named == nil {
		s.named = make(map[string]*statement)
	}
	if old := s.named[name]; old != nil {
		s.shared.Statements.release(old)
	}
	s.shared.Statements.retain(st)
	s.named[name] = st
}

// flushLocals sends our own replies whose turn has come.
func (s *Session) flushLocals() {
	for e := s.head(); e != nil && e.kind == exLocal; e = s.head() {
		switch {
		case e.sync:
			s.pop()
			s.ready()
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

func (s *Session) closeStatement(name string) {
	if name == "" {
		s.unnamed = nil
		return
	}
	if st := s.named[name]; st != nil {
		delete(s.named, name)
		s.shared.Statements.release(st)
	}
}

// localError is an error of a statement of ours in an extended unit: what follows up to Sync is skipped.
func (s *Session) localError(err *wire.Error) {
	s.toClient(err.AppendTo(nil))
	if s.conn == nil {
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
	s.conn.Unnamed = 0
	s.local.Counters.Errors.Add(1)
	if s.phase == phaseSettling {
		// Not the client's statement failed, but one of the settings that it needs.
		s.settleFailed = true
		if pg, err := wire.DecodeError(body); err == nil {
			s.settleError = pg
		}
		return
	}
	if e.swallow && e.st == nil && e.kind != exQuery {
		// The probe failed; the client's query goes on without being stored.
		s.noFill()
		s.skipToSync()
		return
	}
	s.noFill()
	if s.mayRetry(code) {
		u.retrying = true
		u.avoid = s.node
		return
	}
	u.failed = true
	if s.node != nil && string(code) == "25006" {
		s.shared.Nodes.Hurry()
	}
	if e.replace != nil {
		s.toClient(e.replace.AppendTo(nil))
	} else {
		s.toClient(s.withClientNames(msg))
	}
	s.copyEnded()
	if e.kind != exQuery {
		u.skipping = true
		s.skipToSync()
	}
}

// withClientNames gives prepared statements in an error the names by which the client knows them.
func (s *Session) withClientNames(msg []byte) []byte {
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

// skipToSync drops what the server won't answer after an error: everything up to the next Sync.
func (s *Session) skipToSync() {
	for e := s.head(); e != nil && e.kind != exSync; e = s.head() {
		s.pop()
	}
}

// mayRetry says whether an error is the server's rather than the statement's, and the client has seen nothing yet.
func (s *Session) mayRetry(code []byte) bool {
	u := &s.unit
	if !u.read || u.sent || u.attempts >= maxAttempts || s.cancelled || s.phase == phaseOrphan {
		return false
	}
	switch string(code) {
	case "57P01", "57P02", "57P03": // shutting down, crashed, starting
		return true
	case "40001", "25006", "40P01", "55P03": // on a replica: a conflict with recovery, a write after all
		return s.node.Role() == topology.Replica
	case "0A000": // "cached plan must not change result type": prepared before a change that this client knows of
		clear(s.conn.Prepared)
		return u.attempts == 1 && !u.simple
	}
	return false
}

// serverReady takes a ReadyForQuery.
func (s *Session) serverReady(e *expect, msg []byte) {
	u := &s.unit
	if e.kind != exQuery && e.kind != exSync {
		s.serverBroken("an unexpected ReadyForQuery")
		return
	}
	swallow := e.swallow
	s.pop()
	if swallow {
		if s.phase == phaseSettling {
			s.settled()
		}
		return
	}
	if s.head() != nil || u.streaming && !u.hasSync {
		// A Query in the middle of a stream; more is to come.
		s.tx = msg[wire.HeaderLen]
		s.toClient(msg)
		return
	}
	status := msg[wire.HeaderLen]
	if s.tx == wire.TxIdle && status != wire.TxIdle {
		s.optsTx, s.optsCommit = s.opts, s.opts
	}
	s.applyEffects(status)
	s.tx = status
	if status == wire.TxIdle {
		s.portals = s.portals[:0]
		s.endWrite()
		if !u.failed {
			s.store()
		}
	}
	s.noFill()
	s.noteAnswer()
	s.toClient(msg)
	s.unitOver = true
}

// settled goes on with the unit after the server connection has the session's settings.
func (s *Session) settled() {
	if s.settleFailed {
		s.settleFailed = false
		err := s.settleError
		s.settleError = nil
		c := s.conn
		s.drop()
		c.Discard()
		if err == nil {
			err = wire.Errorf("XX000", "the session's settings couldn't be made on the server connection")
		}
		s.fail(err.WithSeverity("ERROR"))
		s.resume = true
		return
	}
	s.send()
}

// noteAnswer remembers where the answer came from.
func (s *Session) noteAnswer() {
	u := &s.unit
	src := sourcePrimary
	if s.node.Role() == topology.Replica {
		src = sourceReplica
	}
	s.last = lastAnswer{source: src, node: s.node, reason: u.reason, detail: u.detail}
	if src == sourceReplica {
		s.last.position = s.node.Position()
		s.local.Counters.Replica.Add(1)
	} else {
		s.last.position = s.cons.Floor()
		s.local.Counters.Primary.Add(1)
	}
}

// applyEffects does to the session what its statements have done on the server, now that they are known to have succeeded.
func (s *Session) applyEffects(status byte) {
	u := &s.unit
	if u.failed && u.provisional {
		s.bound = ""
	}
	if s.tx != wire.TxIdle && status == wire.TxIdle {
		s.opts = s.optsCommit
		if s.rolledBack() {
			s.opts = s.optsTx
		}
		s.applyKey()
	}
	if u.failed {
		return
	}
	for _, e := range u.effects {
		p := e.plan
		switch p.Kind {
		case router.KindSet, router.KindReset:
			s.settingChanged(p)
		case router.KindDiscard:
			if p.Unbinds {
				s.discardAll()
			}
		case router.KindDeallocate:
			if p.Name == "" {
				clear(s.conn.Prepared)
				s.forgetStatements()
			}
		}
	}
}

// rolledBack says whether the transaction that has just ended was undone.
func (s *Session) rolledBack() bool {
	for _, e := range s.unit.effects {
		if e.plan.Kind == router.KindRollback {
			return true
		}
	}
	return s.tx == wire.TxFailed
}

func (s *Session) settingChanged(p *router.Plan) {
	set := p.Set
	if set == nil || set.IsLocal || isFreshet(set.Name) {
		return
	}
	have, _ := s.conn.Settings.(*settings)
	switch {
	case p.Kind == router.KindReset && set.All:
		s.set = s.base
		s.conn.Settings = (*settings)(nil)
		s.opts = s.defaults
		s.applyKey()
		s.watchAll()
	case set.Default:
		s.set = s.set.with(set.Name, s.base.get(set.Name))
		s.conn.Settings = have.with(set.Name, "")
		s.watchSetting(set.Name, "", true)
		for _, p := range s.startup {
			if p.Name == set.Name {
				s.watchSetting(p.Name, p.Value, false)
			}
		}
	default:
		s.set = s.set.with(set.Name, set.SQL)
		s.conn.Settings = have.with(set.Name, set.SQL)
		s.watchSetting(set.Name, set.Value, false)
	}
	s.keyPrefix = nil
}

// discardAll follows DISCARD ALL: nothing of the session is left on the server connection.
func (s *Session) discardAll() {
	s.forgetStatements()
	s.unnamed = nil
	s.set = s.base
	s.conn.Settings = (*settings)(nil)
	clear(s.conn.Prepared)
	s.conn.Unnamed = 0
	s.conn.SequenceOwner = nil
	s.bound = ""
	s.seqUser = false
	s.opts = s.defaults
	s.applyKey()
	s.watchAll()
	s.keyPrefix = nil
}

// parameterStatus takes a report of a setting's new value.
func (s *Session) parameterStatus(msg []byte) {
	e := s.head()
	if e != nil && e.swallow || s.unit.retrying {
		return // of our own doing: the client knows its settings
	}
	s.toClientQuietly(msg)
	name, value, _ := bytes.Cut(wire.Body(msg), []byte{0})
	if string(name) == "standard_conforming_strings" || string(name) == "client_encoding" {
		s.watchSetting(string(name), string(bytes.TrimRight(value, "\x00")), false)
	}
	if e == nil || s.bound != "" {
		return
	}
	// A setting has changed: by a SET, which is tracked; at the end of a transaction; or by something that isn't understood.
	for _, ef := range s.unit.effects {
		switch ef.plan.Kind {
		case router.KindSet, router.KindReset, router.KindDiscard, router.KindCommit, router.KindRollback, router.KindRollbackTo:
			return
		}
	}
	if string(name) == "in_hot_standby" || s.tx != wire.TxIdle && s.unit.failed {
		return
	}
	s.bind("a statement changed the setting " + string(name))
}

// finish ends the unit: the server connection goes back, stays, or is closed if there is any doubt about it.
func (s *Session) finish(leftover bool) {
	u := &s.unit
	c := s.conn
	if s.phase == phaseOrphan {
		s.drop()
		if leftover || s.tx != wire.TxIdle || s.bound != "" {
			c.Discard() // which rolls back at once
		} else {
			c.Release()
		}
		s.end()
		return
	}
	if u.retrying {
		u.retrying = false
		s.drop()
		if leftover {
			c.Discard()
		} else {
			c.Release()
		}
		s.again()
		s.pump()
		return
	}
	switch {
	case s.tx != wire.TxIdle || s.bound != "":
		if s.inBody > 0 {
			s.serverBroken("the end of a COPY before its data was over")
			return
		}
	default:
		s.drop()
		if leftover || s.inBody > 0 {
			s.inBodyDropped = s.inBody > 0
			c.Discard()
		} else {
			c.Release()
		}
	}
	s.phase = phaseIdle
	s.pump()
}

// again runs the unit once more, elsewhere.
func (s *Session) again() {
	u := &s.unit
	u.failed, u.sent = false, false
	s.local.Counters.Retries.Add(1)
	s.phase = phaseIdle
	s.run()
}

// lastSync says whether the ReadyForQuery that has come is the last that is due.
func (s *Session) lastSync() bool {
	for i := s.qHead; i < len(s.q); i++ {
		if k := s.q[i].kind; (k == exSync || k == exQuery) && !s.q[i].swallow {
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
	s.skipToSync()
	if s.head() != nil {
		s.pop()
	}
}

// serverGoesAway takes an error that answers nothing: the server is about to close the connection.
func (s *Session) serverGoesAway(msg []byte) {
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	s.env.ToClient(msg)
	s.serverLostFor(nil)
}

// serverBroken ends the session after the server has said something that can't be: nothing on the
// connection can be trusted any more.
func (s *Session) serverBroken(what string) {
	err := wire.Fatal("08P01", "protocol violation of %s: %s", s.nodeAddr(), what)
	c := s.conn
	s.drop()
	if c != nil {
		c.Discard()
	}
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	s.serverLostFor(err)
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
	s.noFill()
	retry := u.retrying || (u.read && !u.sent && u.attempts < maxAttempts && !s.cancelled && s.phase == phaseRunning) ||
		(s.phase == phaseSettling && u.attempts < maxAttempts)
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
