package proxy

import (
	"errors"
	"slices"
	"time"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/consistency/rule"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// run sends the unit in hand, whose bytes are held, to a server.
func (s *Session) run() {
	u := &s.unit
	before := s.bound
	for _, e := range u.effects {
		if e.plan.Binds != "" {
			s.bindBy(e.plan)
		}
	}
	s.bindForPrepared()
	if before == "" && s.bound != "" && s.bound != boundByDDL && s.tx != wire.TxFailed {
		// What can't be seen may refer to them.
		s.needAll(func(st *statement) bool { return st.sql })
	}
	if (before == "" || before == boundByDDL) && s.bound != before {
		u.provisional = u.plan != nil && u.plan.Kind == router.KindInvalid && s.tx == wire.TxIdle
	}
	s.noteSequences()
	if err := s.lost; err != nil {
		s.lost = nil
		if s.held.on && s.tx == wire.TxFailed {
			s.fail(err)
			return
		}
	}
	u.read = !u.writes && !u.primary && (s.tx == wire.TxIdle || s.held.on && s.tx == wire.TxActive) && s.bound == "" && !u.streaming
	if s.conn != nil {
		if s.onReplica && s.tx == wire.TxActive && !s.replicaToo() {
			s.refuseOnReplica()
			return
		}
		s.heldReason()
		if !s.onReplica && s.awaitVisible() {
			return
		}
		if s.tx == wire.TxActive && s.readsSequences() && !s.ownsSequences(s.conn) {
			s.conn.Unnamed = 0 // settling sends a Query
			s.settle()
			return
		}
		if s.tx != wire.TxFailed && s.showsPrepared() && !s.conn.Prepared.Empty() {
			s.settle()
			return
		}
		if s.vacate() {
			return
		}
		s.send()
		return
	}
	if s.park() {
		return
	}
	node := s.chooseNode()
	if s.phase == phaseAsking || s.phase == phaseCatchingUp {
		return
	}
	if node == nil && (s.staleIfError() || s.awaitNode()) {
		return
	}
	if node == nil {
		s.fail(wire.Errorf("57P03", "no Postgres server can answer this now").
			WithDetail("The primary isn't known or is down, and no replica may answer: %s.", s.unit.reasonText()).
			WithHint("Try again; see the log and /readyz for what is wrong."))
		return
	}
	if node.Role() == topology.Replica || !s.awaitVisible() {
		s.acquire(node)
	}
}

// nodeRetry is how often a unit looks again for a server, while there is none.
const nodeRetry = 20 * time.Millisecond

// awaitNode makes the unit wait for a server: there may be one in a moment, at the start or after a failover. False: it has
// waited for --pool-wait.
func (s *Session) awaitNode() bool {
	u, now := &s.unit, s.env.Now()
	if u.giveUp == 0 {
		u.giveUp = now + int64(s.shared.PoolWait)
	}
	if now >= u.giveUp {
		return false
	}
	s.phase = phaseAwaiting
	s.env.WakeIn(s, nodeRetry, u.number)
	return true
}

// Woken follows WakeIn.
func (s *Session) Woken(number uint64) {
	switch s.phase {
	case phaseIdle:
		s.ddlIdle()
		return
	case phaseAcquiring:
		if number == s.unit.number {
			s.waitsInVain()
		}
		return
	case phaseCatchingUp:
		if number == s.unit.number {
			s.waitedInVain(s.env.Now())
			s.CaughtUp(number)
		}
		return
	}
	if s.phase != phaseAwaiting || number != s.unit.number {
		return
	}
	s.phase = phaseIdle
	s.run()
	s.pump()
}

func (u *unit) reasonText() string {
	return lastAnswer{reason: u.reason, detail: u.detail}.reasonText()
}

func (s *Session) heldReason() {
	u := &s.unit
	switch {
	case s.bound != "":
		u.reason, u.detail = reasonBound, s.bound
	case s.tx != wire.TxIdle:
		u.reason, u.detail = reasonTransaction, ""
		if s.onReplica {
			u.detail = "READ ONLY"
		}
	}
}

// chooseNode says who is to answer the unit: a replica that may, else the primary, else nobody. It may instead make the unit
// wait, which shows in its phase.
func (s *Session) chooseNode() *topology.Node {
	u := &s.unit
	nodes := s.shared.Nodes
	primary := nodes.Primary()
	route := s.route()
	switch {
	case s.bound != "":
		u.reason, u.detail = reasonBound, s.bound
		return primary
	case s.held.on && !u.leaves:
		return s.chooseTxNode()
	case u.writes:
		u.reason, u.detail = reasonWrite, ""
		if u.plan != nil {
			u.detail = u.plan.WriteReason
		}
		if u.streaming {
			u.reason = reasonStreamed
		}
		return primary
	case u.primary:
		if u.reason == reasonNone || u.reason == reasonNotCacheable {
			u.reason, u.detail = reasonOnPrimary, u.primaryReason()
		}
		if u.streaming {
			u.reason, u.detail = reasonStreamed, ""
		}
		return primary
	case route == router.RoutePrimary:
		u.reason, u.detail = reasonRoute, ""
		return primary
	case !s.txDefaults.plain():
		u.reason, u.detail = reasonOnPrimary, "the isolation level is SERIALIZABLE"
		return primary
	}
	now := s.env.Now()
	n, v := nodes.PickReplica(s.cons, s.want(now), u.avoid)
	switch {
	case n != nil:
		if u.reason == reasonNone && route == router.RouteReplica {
			u.reason = reasonRoute
		}
		return n
	case v == consistency.BehindPrimary && s.askPosition(), s.awaitSettled(v), s.awaitReplica(v):
		return nil
	}
	if u.reason == reasonNone && v != consistency.NothingKnown {
		u.reason = reasonOf(v)
	}
	if s.cons.Pinned(now) {
		u.reason, u.detail = reasonPinned, ""
		s.local.Counters.Pins.Add(1)
		nodes.Hurry()
	} else if s.cons.Floor() > 0 {
		nodes.Hurry()
	}
	if primary == u.avoid && primary != nil && u.attempts > 1 {
		return nil
	}
	return primary
}

func (u *unit) primaryReason() string {
	if u.plan != nil {
		return u.plan.PrimaryReason
	}
	return ""
}

func (s *Session) acquire(node *topology.Node) {
	u := &s.unit
	u.attempts++
	s.node = node
	node.Begin()
	s.phase = phaseAcquiring
	if c := s.env.Acquire(s, node); c != nil {
		s.granted(c)
		return
	}
	s.waitsSince = s.env.Turn()
	if !u.simple && !u.streaming && u.executes == 0 && s.bound == "" {
		s.env.WakeIn(s, prepareWait, u.number)
	}
}

// Granted brings the connection that was asked for, or says why there is none.
func (s *Session) Granted(c *backend.Conn, err error) {
	if s.phase != phaseAcquiring {
		if c != nil {
			c.Release()
		}
		return
	}
	u := &s.unit
	node := s.node
	s.totals.waiting += s.env.Turn() - s.waitsSince
	if err == nil && u.read && node.Role() == topology.Replica && !s.stillAdmitted(node) {
		// It was, before the wait for this connection.
		s.drop()
		c.Release()
		u.avoid = node
		s.run()
		s.pump()
		return
	}
	if err == nil {
		c.Own(s)
		s.granted(c)
		s.pump()
		return
	}
	s.drop()
	if errors.Is(err, backend.ErrClosing) { // it isn't the server's fault, nor the unit's
		u.attempts--
		if !s.db.Paused() {
			u.avoid = node
		}
		s.run()
		s.pump()
		return
	}
	var pg *wire.Error
	refused := errors.As(err, &pg)
	down := !errors.Is(err, backend.ErrPoolWait) && (!refused || isDown(pg.Code))
	if down && u.read && u.attempts-u.stale < maxAttempts {
		u.avoid = node
		s.run()
		s.pump()
		return
	}
	switch {
	case down && s.staleIfError():
	case down && s.awaitNode():
		// Nothing has been sent: whatever it is, it can be sent later. A server that restarts refuses for a moment before the monitor
		// has noticed.
		u.attempts--
		u.avoid = nil
		return
	case errors.Is(err, backend.ErrPoolWait):
		s.fail(wire.Errorf("53300", "no connection to %s became free within %s", node.Addr(), s.shared.PoolWait).
			WithHint("Raise --pool-size or --pool-wait, or run fewer long transactions."))
	case refused:
		// The server's own words; as an error, since this connection can go on.
		s.fail(pg.WithSeverity("ERROR"))
	default:
		s.fail(wire.Errorf("08006", "can't connect to %s: %s", node.Addr(), err))
	}
	s.pump()
}

func (s *Session) stillAdmitted(n *topology.Node) bool {
	return s.cons.Admits(&n.Source, s.want(s.env.Now()))
}

func (s *Session) granted(c *backend.Conn) {
	s.conn = c
	if s.vacate() {
		return
	}
	s.settle()
}

// send writes the unit to the server.
func (s *Session) send() {
	u := &s.unit
	c := s.conn
	if s.fulfilNeeds() || s.verifyPromises() {
		return
	}
	if s.seqUser {
		s.bind("currval() or lastval() is in use")
	}
	if s.leavesSequences() {
		s.ownSequences(c)
	}
	s.ddlNote()
	if u.writes && s.mayNotify() {
		s.noteSender()
	}
	if u.writes && !s.wrote && !s.onReplica {
		s.wrote = true
		s.cons.WriteBegan()
	}
	s.local.out = s.local.out[:0]
	if len(c.Named) > 0 && s.looksAtNames() {
		s.local.out = s.dropOthers(s.local.out)
	}
	if (u.read || u.ttl > 0) && u.key != nil && (u.leading || u.alone) && u.plan != nil && (u.plan.Cacheable || u.ttl > 0) {
		s.beginFill()
	}
	s.lookAt()
	if u.filling && !u.probed {
		s.queueProbe()
	}
	if s.held.on && !u.leaves {
		s.queueBegin()
		s.poisoned = s.tx == wire.TxFailed
	}
	if s.poisoned {
		s.queuePoison()
	}
	s.phase = phaseRunning
	u.begun = true
	s.local.out = s.needInline(s.local.out)
	if u.simple {
		if u.rewriting != nil {
			s.local.out = wire.AppendQuery(s.local.out, string(u.rewriting.text))
		} else {
			s.local.out = append(s.local.out, u.buf...)
		}
		makes := u.makes()
		s.expect(expect{kind: exQuery, plan: u.plan, quiet: u.sight.asks || makes != nil})
		c.Unnamed = 0 // a Query drops the unnamed statement
		for _, name := range makes {
			s.local.out = s.describeMade(s.local.out, name, nil)
		}
		if u.sight.asks {
			s.local.out = s.queueAfter(s.local.out)
		}
		if u.sight.asks || makes != nil {
			s.local.out = wire.AppendSync(s.local.out)
			s.expect(expect{kind: exSync})
		}
	} else {
		s.queueSteps(c)
		if !u.hasSync && !u.flush {
			s.phase = phaseStreaming
		}
	}
	c.Write(s.local.out)
	s.flushLocals()
	if !u.read && len(u.buf) > maxKept {
		u.buf = nil // it won't be sent again
	}
}

// The probe is prepared once per connection, under a name that no client's statement gets. Its second column is for
// takeProbe.
const (
	probeName      = "freshet_probe"
	probeIsolation = ", pg_catalog.current_setting('transaction_isolation')"
	probeReplica   = "SELECT pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text" + probeIsolation
	probePrimary   = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text" + probeIsolation
	probeIDs       = 1 << 62 // numbers of the probes in backend.Prepared
)

// queueProbe asks the server, just before the fill's query and in the same write, what its snapshot will contain.
//
// There is no Sync after it, which saves the server a transaction and both of us a packet. Under READ COMMITTED that makes
// no difference: the query takes a snapshot of its own, later than the probe's. Above it the query would have the
// probe's, which a replica takes before it says how far it has replayed; there the probe has a transaction to itself.
func (s *Session) queueProbe() {
	out := s.local.out
	id, sql, name := uint64(probeIDs), probePrimary, probeName+"_primary"
	s.unit.probe.OnReplica = s.node.Role() == topology.Replica
	if s.unit.probe.OnReplica {
		id, sql, name = probeReplicaID, probeReplica, probeReplicaName
		if !rule.FenceReplica {
			id, sql, name = probeIDs+99, probePrimary, probeName+"_broken"
		}
	}
	out = s.ask(out, id, name, sql, false)
	s.unit.probeApart = s.conn.ProbeApart
	if s.unit.probeApart {
		out = wire.AppendSync(out)
		s.expect(expect{kind: exSync, swallow: true})
	}
	s.local.out = out
}

// ask appends a question of ours, which is prepared once on each server connection; after says whether it stands behind the
// client's query. There is no Sync with it.
func (s *Session) ask(out []byte, id uint64, name, sql string, after bool) []byte {
	if !s.preparedBefore(id) {
		out = wire.AppendParse(out, name, sql)
		s.expect(expect{kind: exParse, swallow: true, prepared: id, name: name, after: after})
	}
	out = wire.AppendBind(out, "", name, nil, nil, nil)
	out = wire.AppendExecute(out, "", 0)
	s.expect(expect{kind: exBind, swallow: true, after: after})
	s.expect(expect{kind: exProbe, swallow: true, after: after})
	return out
}

func (s *Session) expect(e expect) { s.q = append(s.q, e) }

// queueSteps appends the steps of the extended unit to the shard's out buffer and queues the replies that are due. c is nil
// when the unit is Freshet's alone.
func (s *Session) queueSteps(c *backend.Conn) {
	s.ghost.now = s.ghost.st
	for i := range s.unit.steps {
		s.stepNow = i
		s.queueStep(c, &s.unit.steps[i], s.unit.buf)
	}
}

// queueStep does it for one step.
func (s *Session) queueStep(c *backend.Conn, st *step, msgs []byte) {
	msg := msgs[st.off:st.end]
	out := s.local.out
	local := s.localPlan(st)
	switch st.typ {
	case wire.MsgParse:
		p, _ := wire.DecodeParse(wire.Body(msg))
		name := string(p.Name)
		switch {
		case st.again:
			// Everything else that may be wrong with it comes before the name in Postgres. The server must fail at this place too, so
			// that what follows is skipped and what went before is rolled back.
			out = s.checkParse(out, p, st.st)
			out = s.poison(out)
			s.expect(expect{kind: exParse, st: st.st, replace: wire.Errorf("42P05", "prepared statement %s already exists", `"`+name+`"`)})
		case local == nil && name != "" && s.hasPrepared(c, st.st) && !s.catalogSettled() && s.tx != wire.TxFailed:
			// It may be out of date.
			out = wire.AppendClose(out, wire.ObjectStatement, st.st.name)
			s.expect(expect{kind: exClose, swallow: true, evicts: st.st.id})
			out, _ = wire.AppendParseAs(out, p, []byte(st.st.name))
			s.expect(expect{kind: exParse, st: st.st, name: name, registers: true, prepared: st.st.id})
			out = s.askPromise(st.st, name, out)
		case local != nil || s.hasPrepared(c, st.st):
			if s.tx == wire.TxFailed {
				out = s.checkParse(out, p, st.st) // nearly everything is refused now
			}
			s.expect(expect{kind: exLocal, local: parseComplete, st: st.st, name: name, registers: true})
			if local == nil && st.st.confirmed.Load() != s.ctxGen {
				out = s.askPromise(st.st, name, out)
			}
		default:
			out = s.makeRoom(c, st.st, out)
			out, _ = wire.AppendParseAs(out, p, []byte(st.st.name))
			s.expect(expect{kind: exParse, st: st.st, name: name, registers: true, prepared: st.st.id})
			out = s.askPromise(st.st, name, out)
		}
	case wire.MsgBind:
		b, _ := wire.DecodeBind(wire.Body(msg))
		switch {
		case st.missing:
			out = s.poison(out)
			s.expect(expect{kind: exParse, replace: noSuchStatement(b.Statement)})
		case local != nil:
			err := bindMismatch(b, len(st.st.params))
			if err == nil && s.portalTaken(b.Portal) {
				err = wire.Errorf("42P03", "cursor %q already exists", string(b.Portal))
			}
			switch {
			case err == nil:
				s.localPortal(b.Portal, false)
				s.expect(expect{kind: exLocal, local: bindComplete})
			case c == nil:
				s.expect(expect{kind: exLocal, replace: err})
			default:
				out = s.poison(out)
				s.expect(expect{kind: exParse, replace: err})
			}
		default:
			err := s.refusedBind(c, b, st)
			if err == nil && s.unit.isBroken(st.st) {
				err = s.unit.brokenError
			}
			if err != nil {
				out = s.poison(out)
				s.expect(expect{kind: exParse, replace: err})
				break
			}
			out = s.ensurePrepared(c, st.st, out)
			out, _ = wire.AppendBindAs(out, b, b.Portal, []byte(st.st.name))
			s.expect(expect{kind: exBind, step: s.stepNow, nameHash: hashOfName(b.Statement)})
			s.setPortalArgs(b, st.plan)
		}
		if len(b.Portal) == 0 {
			s.ghost.now, s.ghost.st = nil, nil
		}
	case wire.MsgDescribe:
		switch {
		case st.missing:
			d, _ := wire.DecodeDescribe(wire.Body(msg))
			out = s.poison(out)
			s.expect(expect{kind: exParse, replace: noSuchStatement(d.Name)})
		case local != nil:
			s.expect(expect{kind: exLocal, local: s.describeLocal(st, local)})
		case st.object == wire.ObjectStatement && st.st.fixed && st.st.promise.Load() != nil && s.tx != wire.TxFailed && !s.parsed(st.st):
			d := st.st.promise.Load()
			s.expect(expect{kind: exLocal, local: append(slices.Clone(d.params), d.row...)})
		case st.object == wire.ObjectStatement:
			if told, err := s.refusedDescribe(c, st); err != nil {
				out = s.poison(out)
				s.expect(expect{kind: exParse, replace: err})
				break
			} else if told != nil {
				s.expect(expect{kind: exLocal, local: told})
				break
			}
			told := s.describeAgain(c, st)
			if s.unit.isBroken(st.st) {
				out = s.poison(out)
				s.expect(expect{kind: exParse, replace: s.unit.brokenError})
				break
			}
			out = s.ensurePrepared(c, st.st, out)
			out = wire.AppendDescribe(out, wire.ObjectStatement, st.st.name)
			d, _ := wire.DecodeDescribe(wire.Body(msg))
			s.expect(expect{kind: exDescribeStatement, st: st.st, name: string(d.Name), promises: s.parsed(st.st) && (st.st.fixed || mayBePromised(st.plan)), told: told})
		default:
			out = append(s.raise(c, msg, out), msg...)
			s.expect(expect{kind: exDescribePortal})
		}
	case wire.MsgExecute:
		if local != nil {
			e, _ := wire.DecodeExecute(wire.Body(msg))
			err := s.checkLocal(local)
			if local.Kind == router.KindDeallocate && local.Name != "" && !s.nameAwaited(local.Name) {
				err = noSuchStatement([]byte(local.Name))
			}
			again := s.localPortal(e.Portal, true)
			if again && local.Kind == router.KindShow { // its row has been given
				s.expect(expect{kind: exLocal, local: wire.AppendCommandComplete(nil, "SHOW")})
				break
			} else if again {
				err = wire.Errorf("55000", "portal %s cannot be run", `"`+string(e.Portal)+`"`)
			}
			if err != nil && c != nil {
				out = s.poison(out) // the server has to skip what follows, too
				s.expect(expect{kind: exParse, replace: err})
				break
			} else if err != nil {
				s.expect(expect{kind: exLocal, replace: err})
				break
			}
			if local.Kind == router.KindDeallocate {
				out = s.deallocateHere(c, local, out)
			}
			s.expect(expect{kind: exLocal, execute: local})
			break
		}
		out = append(s.raise(c, msg, out), msg...)
		args := s.portalArgs(msg, st.plan)
		s.expect(expect{kind: exExecute, plan: st.plan, args: args, st: st.st, makes: st.makes})
		if st.makes != nil {
			out = s.describeMade(out, st.makes.name, st.makes)
		}
		for _, set := range resets(st.plan, args) {
			for _, sql := range corrections(s.base, set) {
				out = s.executeOwn(out, sql)
			}
		}
	case wire.MsgClose:
		if m, _ := wire.DecodeClose(wire.Body(msg)); st.object == wire.ObjectPortal && len(m.Name) == 0 {
			s.ghost.now, s.ghost.st, s.held.portal = nil, nil, false
		}
		if st.object == wire.ObjectStatement || c == nil {
			m, _ := wire.DecodeClose(wire.Body(msg))
			id, here := s.namedHere(c, string(m.Name))
			if !here {
				id, here = s.madeInUnit(string(m.Name))
			}
			if here {
				out = append(out, msg...)
				s.expect(expect{kind: exClose, evicts: id, name: string(m.Name), closes: true})
				break
			}
			s.expect(expect{kind: exLocal, local: closeComplete, name: string(m.Name), closes: st.object == wire.ObjectStatement})
			break
		}
		out = append(out, msg...)
		s.expect(expect{kind: exClose})
	case wire.MsgSync:
		if c == nil {
			s.expect(expect{kind: exLocal, sync: true})
			break
		}
		if s.unit.sight.asks {
			out = s.queueAfter(out)
		}
		out = append(out, msg...)
		s.expect(expect{kind: exSync})
	case wire.MsgFlush:
		if c != nil && s.unit.flush {
			if s.unit.sight.asks {
				out = s.queueAfter(out)
			}
			out = wire.AppendSync(out)
			s.expect(expect{kind: exSync})
			break
		}
		out = append(out, msg...)
	}
	s.local.out = out
}

// checkParse appends a Parse of which only an error matters.
func (s *Session) checkParse(out []byte, p wire.Parse, st *statement) []byte {
	out, _ = wire.AppendParseAs(out, p, nil)
	s.expect(expect{kind: exParse, swallow: true, st: st})
	return out
}

// executeOwn appends a statement of which the client sees nothing. If it fails, so does what follows.
func (s *Session) executeOwn(out []byte, sql string) []byte {
	const name = "freshet_own"
	out = wire.AppendParse(out, name, sql)
	out = wire.AppendBind(out, name, name, nil, nil, nil)
	out = wire.AppendExecute(out, name, 0)
	out = wire.AppendClose(out, wire.ObjectPortal, name)
	out = wire.AppendClose(out, wire.ObjectStatement, name)
	s.expect(expect{kind: exParse, swallow: true, own: true})
	s.expect(expect{kind: exBind, swallow: true, own: true})
	s.expect(expect{kind: exExecute, swallow: true, own: true})
	s.expect(expect{kind: exClose, swallow: true, own: true})
	s.expect(expect{kind: exClose, swallow: true, own: true})
	return out
}

// poison appends a message that fails on every server, in the place of one that we know to be wrong. The error is
// replaced by the right one on its way back.
func (s *Session) poison(out []byte) []byte {
	return wire.AppendParse(out, "", refused)
}

// refused is a text that every server refuses.
const refused = "freshet: refused"

func noSuchStatement(name []byte) *wire.Error {
	if len(name) == 0 {
		return wire.Errorf("26000", "unnamed prepared statement does not exist")
	}
	return wire.Errorf("26000", "prepared statement %s does not exist", `"`+string(name)+`"`)
}

// localPlan returns the plan of a message's statement if Freshet answers it, else nil. It goes by the plan that the unit was made from: the catalog may have
// changed since, and what was taken for ours must not be taken for the server's halfway through.
func (s *Session) localPlan(st *step) *router.Plan {
	if st.st == nil || st.plan == nil || s.tx == wire.TxFailed || !s.isLocal(st.plan) {
		return nil
	}
	return st.plan
}

func (s *Session) describeLocal(st *step, p *router.Plan) []byte {
	var out []byte
	if st.object == wire.ObjectStatement {
		out = wire.AppendParameterDescription(out)
	}
	if p.Kind == router.KindShow {
		return wire.AppendRowDescription(out, showColumn(p.Show))
	}
	return wire.AppendNoData(out)
}
