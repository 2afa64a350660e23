package proxy

import (
	"strings"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// heldTx is a transaction that the client has begun and that no server knows of yet. BEGIN goes out in front of the
// first statement that needs it. Until then, plain reads of a READ COMMITTED transaction are answered as outside of one: each of
// its statements has a snapshot of its own there, too, and nothing in such a read tells one transaction from another.
type heldTx struct {
	on    bool
	mode  router.Transaction // as the client asked for it; what is unset is as the session's defaults have it
	route router.Route       // what the hint in BEGIN asked for
	reads bool               // something has been read, so that Postgres would have taken a snapshot
	// portal: the client has executed BEGIN as an unnamed portal, which is still there.
	portal bool
}

// txDefaults are what a transaction is like whose BEGIN doesn't say.
type txDefaults struct {
	isolation router.Isolation // unset: not known
	readOnly  bool
}

const (
	isolationSetting = "default_transaction_isolation"
	readOnlySetting  = "default_transaction_read_only"
)

// deriveTx works out what transactions are like under the settings in force.
func (s *Session) deriveTx() {
	for _, name := range []string{isolationSetting, readOnlySetting} {
		value, ok := s.set.value(name)
		if !ok {
			value = reportedValue(s.reported, name)
		}
		s.txDefaults.watch(name, value)
	}
}

// watch notes the value of a setting.
func (d *txDefaults) watch(name, value string) {
	switch name {
	case isolationSetting:
		switch strings.ToLower(strings.Trim(value, " '\"")) {
		case "read committed":
			d.isolation = router.IsolationReadCommitted
		case "read uncommitted":
			d.isolation = router.IsolationReadUncommitted
		case "repeatable read":
			d.isolation = router.IsolationRepeatableRead
		case "serializable":
			d.isolation = router.IsolationSerializable
		default:
			d.isolation = router.IsolationUnset
		}
	case readOnlySetting:
		d.readOnly = isOn(value)
	}
}

// plain says whether a statement on its own, outside of a transaction block, may be answered by a replica or the cache as
// far as the default isolation goes. SERIALIZABLE needs the primary: a replica refuses it, and what it promises
// depends on what all others do there.
func (d *txDefaults) plain() bool {
	return d.isolation != router.IsolationUnset && d.isolation != router.IsolationSerializable
}

// isolation is the isolation level of the transaction that is held back; unset when it isn't known.
func (s *Session) isolation() router.Isolation {
	if i := s.held.mode.Isolation; i != router.IsolationUnset {
		return i
	}
	return s.txDefaults.isolation
}

func (s *Session) readOnly() bool {
	switch s.held.mode.Access {
	case router.AccessReadOnly:
		return true
	case router.AccessReadWrite:
		return false
	}
	return s.txDefaults.readOnly
}

// txLocal says whether Freshet itself answers a statement of transaction control.
func (s *Session) txLocal(p *router.Plan) bool {
	switch p.Kind {
	case router.KindBegin:
		return s.tx == wire.TxIdle && s.conn == nil && s.bound == ""
	case router.KindCommit, router.KindRollback:
		return s.held.on
	case router.KindSet:
		// What is said after the first snapshot may be refused.
		return s.held.on && s.tx == wire.TxActive && !s.held.reads && p.Set.Name == "transaction_mode"
	}
	return false
}

// answerTx does what txLocal says it can, and appends CommandComplete.
func (s *Session) answerTx(out []byte, p *router.Plan) []byte {
	tag := "SET"
	switch p.Kind {
	case router.KindBegin:
		s.held = heldTx{on: true, mode: p.Transaction, route: p.Hint.Route, reads: s.partReads}
		s.tx = wire.TxActive
		if tag = "BEGIN"; p.Transaction.Start {
			tag = "START TRANSACTION"
		}
	case router.KindCommit, router.KindRollback:
		committed := p.Kind == router.KindCommit && s.tx == wire.TxActive
		if tag = "ROLLBACK"; committed {
			tag = "COMMIT"
		}
		s.settingsEnd(committed)
		s.txEnded()
		if p.Transaction.Chain {
			s.held.reads = false
			s.tx = wire.TxActive
		} else {
			s.held = heldTx{}
			s.tx = wire.TxIdle
		}
	case router.KindSet:
		m, t := &s.held.mode, p.Transaction
		if t.Isolation != router.IsolationUnset {
			m.Isolation = t.Isolation
		}
		if t.Access != router.AccessUnset {
			m.Access = t.Access
		}
		if t.Deferrable || t.NotDeferrable {
			m.Deferrable, m.NotDeferrable = t.Deferrable, t.NotDeferrable
		}
	}
	s.last = lastAnswer{source: sourceFreshet, reason: reasonHeld}
	return wire.AppendCommandComplete(out, tag)
}

// txEnded follows the end of a transaction block, on a server or held back.
func (s *Session) txEnded() {
	s.portals = s.portals[:0]
	s.ghost.st = nil
}

// failTx is called when a statement failed without the server that has its transaction knowing.
func (s *Session) failTx() {
	if s.tx != wire.TxActive {
		return
	}
	s.tx = wire.TxFailed
	s.poisoned = s.conn != nil
}

// mayLeave says whether a statement of the transaction that is held back may be answered outside of it. The plans that are
// Cacheable are the ones whose answer depends on nothing but data and the session's settings: not on the clock, which
// stands still in a transaction, not on its id, not on who else is connected.
func (s *Session) mayLeave(plan *router.Plan, clockWord bool) bool {
	if plan.Kind != router.KindRead || !plan.Cacheable || clockWord || s.bound != "" {
		return false
	}
	if !s.held.on {
		return true
	}
	if s.tx != wire.TxActive || s.held.route != router.RouteUnset && s.held.route != router.RouteAuto || s.opts.route == router.RoutePrimary {
		return false
	}
	switch s.isolation() {
	case router.IsolationReadCommitted, router.IsolationReadUncommitted:
		return true
	}
	return false
}

// chooseTxNode says where the transaction that is held back begins: READ ONLY ones on a replica, if that is proven to make no
// difference for the statement in hand; all others on the primary.
func (s *Session) chooseTxNode() *topology.Node {
	u := &s.unit
	nodes := s.shared.Nodes
	u.reason, u.detail = reasonTransaction, ""
	switch {
	case u.writes:
		u.reason = reasonWrite
		if u.plan != nil {
			u.detail = u.plan.WriteReason
		}
	case !s.readOnly() || s.tx != wire.TxActive || u.primary || u.streaming || !s.replicaToo() || s.readsCatalogs() || s.readOnlyAtPrimary:
	case s.held.route == router.RoutePrimary || s.route() == router.RoutePrimary:
		u.reason = reasonRoute
	case s.isolation() == router.IsolationUnset || s.isolation() == router.IsolationSerializable:
		u.detail = "SERIALIZABLE"
	default:
		if n, _ := nodes.PickReplica(s.cons, s.want(s.env.Now()), u.avoid); n != nil {
			u.detail = "READ ONLY"
			return n
		}
	}
	return nodes.Primary()
}

// readsCatalogs says whether the unit reads system catalogs.
func (s *Session) readsCatalogs() bool {
	for _, e := range s.unit.effects {
		if e.plan.ReadsCatalogs {
			return true
		}
	}
	return false
}

// replicaToo says whether all statements of the unit do the same on a replica as on the primary, in a READ ONLY transaction.
func (s *Session) replicaToo() bool {
	u := &s.unit
	if u.binds != "" || len(u.effects) == 0 && !u.simple && u.executes > 0 {
		return false
	}
	for _, e := range u.effects {
		if !e.plan.ReplicaToo {
			return false
		}
	}
	return !u.unknown && u.plan != functionCallPlan
}

// refuseOnReplica fails a statement that the replica, which a READ ONLY transaction has begun on, can't be asked.
func (s *Session) refuseOnReplica() {
	s.readOnlyAtPrimary = true
	s.fail(wire.Errorf("40001", "the READ ONLY transaction was begun on a replica, and this statement needs the primary").
		WithHint("Run the transaction again: from now on those of this session go to the primary. (SET freshet.route = 'primary' says so from the start.)"))
}

// Statements of Freshet's own on server connections have numbers from here on in backend.Prepared.
const (
	beginIDs   = 1<<62 + 100
	snapshotID = 1<<62 + 99
)

// beginText is the statement that begins a transaction like this, and its number among all such.
func beginText(t router.Transaction) (string, uint64) {
	b := append(make([]byte, 0, 64), "BEGIN"...)
	id := uint64(t.Isolation)
	switch t.Isolation {
	case router.IsolationReadUncommitted:
		b = append(b, " ISOLATION LEVEL READ UNCOMMITTED"...)
	case router.IsolationReadCommitted:
		b = append(b, " ISOLATION LEVEL READ COMMITTED"...)
	case router.IsolationRepeatableRead:
		b = append(b, " ISOLATION LEVEL REPEATABLE READ"...)
	case router.IsolationSerializable:
		b = append(b, " ISOLATION LEVEL SERIALIZABLE"...)
	}
	id = id*3 + uint64(t.Access)
	switch t.Access {
	case router.AccessReadWrite:
		b = append(b, " READ WRITE"...)
	case router.AccessReadOnly:
		b = append(b, " READ ONLY"...)
	}
	id *= 3
	switch {
	case t.Deferrable:
		b = append(b, " DEFERRABLE"...)
		id++
	case t.NotDeferrable:
		b = append(b, " NOT DEFERRABLE"...)
		id += 2
	}
	return string(b), id
}

// queueBegin puts what begins the transaction on the server in front of the unit. It has no Sync of its own: if it fails,
// the server skips the unit, which must not run outside of the transaction.
func (s *Session) queueBegin() {
	mode := s.held.mode
	// The server connection may have been made when the role's defaults were others.
	mode.Isolation = s.isolation()
	if s.readOnly() {
		mode.Access = router.AccessReadOnly
	}
	sql, n := beginText(mode)
	s.queueOwn(beginIDs+n, sql, true)
	if s.held.reads {
		// In Postgres the transaction would have had a snapshot by now, which SET TRANSACTION looks at.
		s.queueOwn(snapshotID, "SELECT", false)
	}
	if !s.bindsFirst() && (!s.held.portal || s.held.reads) {
		// Ours must not be found in the place of a portal that the client doesn't have.
		s.local.out = wire.AppendClose(s.local.out, wire.ObjectPortal, "")
		s.expect(expect{kind: exClose, swallow: true, begins: true})
	}
	s.unit.began = true
	if s.node.Role() == topology.Replica {
		s.onReplica = true
	}
}

// bindsFirst says whether the unit makes an unnamed portal before it can refer to one.
func (s *Session) bindsFirst() bool {
	u := &s.unit
	for _, st := range u.steps {
		switch st.typ {
		case wire.MsgBind:
			b, err := wire.DecodeBind(wire.Body(u.buf[st.off:st.end]))
			return err == nil && len(b.Portal) == 0
		case wire.MsgExecute, wire.MsgDescribe:
			if st.typ == wire.MsgExecute || st.object == wire.ObjectPortal {
				return false
			}
		}
	}
	return u.simple
}

// queueOwn queues the execution of a statement of ours, which is prepared once per connection.
func (s *Session) queueOwn(id uint64, sql string, begins bool) {
	out := s.local.out
	name := append(append(make([]byte, 0, 32), "freshet_own_"...), byte('a'+(id-snapshotID)/26), byte('a'+(id-snapshotID)%26))
	hides := s.showsPrepared() // and the client mustn't see it
	if !s.conn.Prepared.Has(id) {
		if hides {
			id = 0
		}
		out = wire.AppendParse(out, string(name), sql)
		s.expect(expect{kind: exParse, swallow: true, prepared: id, name: string(name), begins: begins})
	}
	out = wire.AppendBind(out, "", string(name), nil, nil, nil)
	out = wire.AppendExecute(out, "", 0)
	s.expect(expect{kind: exBind, swallow: true, begins: begins})
	s.expect(expect{kind: exExecute, swallow: true, begins: begins})
	if hides {
		out = wire.AppendClose(out, wire.ObjectStatement, string(name))
		s.expect(expect{kind: exClose, swallow: true, begins: begins, evicts: id})
	}
	s.local.out = out
}

// queuePoison makes the transaction on the server fail, because a statement of it has failed that the server doesn't know of.
func (s *Session) queuePoison() {
	s.poisoned = false
	s.local.out = wire.AppendSync(s.poison(s.local.out))
	s.expect(expect{kind: exParse, swallow: true, poison: true})
	s.expect(expect{kind: exSync, swallow: true})
}

// beginFailed takes the error of the BEGIN that was put in front of the unit. The server has skipped the unit up to a Sync.
func (s *Session) beginFailed(msg []byte) {
	u := &s.unit
	u.failed = true
	s.onReplica = false
	s.toClient(msg)
	if !u.simple {
		u.skipping = true
		s.skipToSync()
		return
	}
	s.q, s.qHead = s.q[:0], 0
	s.expect(expect{kind: exSync})
	s.conn.Write(syncMessage)
}

var syncMessage = wire.AppendSync(nil)

// shownStatus is the transaction status that the client is told, after the server has said status.
func (s *Session) shownStatus(status byte) byte {
	switch {
	case !s.held.on:
		return status
	case s.unit.failed || s.tx == wire.TxFailed:
		return wire.TxFailed
	}
	return wire.TxActive
}

// chained says whether the unit ended its transaction and began another.
func (s *Session) chained() bool {
	for _, e := range s.unit.effects {
		if e.plan.Transaction.Chain {
			return true
		}
	}
	return false
}
