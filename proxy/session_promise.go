package proxy

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strconv"
	"time"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// A Parse promises something to the client: types of parameters, and what rows will look like, whether it asks for them (Describe) or
// not. Postgres keeps that promise, or fails with "cached plan must not change result type". Here a statement is prepared again and again, on
// one server connection after the other, and each time the server is asked whether it is still the same.
//
// The same knowledge answers a Parse without a server: what is known of a statement by the present catalog is what a server would say. If
// it is wrong, because the catalog has changed a moment ago and nobody here knows yet, that shows when the statement is prepared on a
// server before it is executed, and the client gets the error that it would have got if its Parse had come before the change.

// description is what a statement was said to be.
type description struct {
	params []byte // ParameterDescription
	row    []byte // RowDescription, or NoData
	digest [16]byte
}

func newDescription(params, row []byte) *description {
	d := &description{params: slices.Clone(params), row: slices.Clone(row)}
	sum := sha256.Sum256(append(slices.Clone(params), row...))
	copy(d.digest[:], sum[:])
	return d
}

func (d *description) hasRows() bool { return d.row[0] == wire.MsgRowDescription }

// oids are the types of the parameters.
func (d *description) oids() wire.OIDs {
	o, _ := wire.DecodeParameterDescription(wire.Body(d.params))
	return o
}

// sameRows says whether rows look the same to the client. As in Postgres (equalTupleDescs) it doesn't matter from which tables they are.
func (d *description) sameRows(other *description) bool {
	if d.row[0] != other.row[0] {
		return false
	}
	if !d.hasRows() {
		return true
	}
	a, err := wire.DecodeRowDescription(wire.Body(d.row))
	b, err2 := wire.DecodeRowDescription(wire.Body(other.row))
	if err != nil || err2 != nil || a.Len() != b.Len() {
		return false
	}
	for f, ok := a.Next(); ok; f, ok = a.Next() {
		g, _ := b.Next()
		if !bytes.Equal(f.Name, g.Name) || f.TypeOID != g.TypeOID || f.TypeSize != g.TypeSize || f.TypeModifier != g.TypeModifier {
			return false
		}
	}
	return true
}

func (d *description) same(other *description) bool {
	return bytes.Equal(d.params, other.params) && d.sameRows(other)
}

// edition is that of what is prepared now.
func (s *Session) edition() string {
	s.refreshContext()
	return strconv.FormatUint(s.ctxGen, 36)
}

// editionLike is that of a statement that is to be prepared again under other settings, and still is what st was promised to be.
func (s *Session) editionLike(st *statement) string {
	if d := st.promise.Load(); d != nil {
		return "as " + string(d.params) + string(d.row)
	}
	return st.edition
}

// promiseUnnamed gives an unnamed statement the promise of a named one with the same text.
func (s *Session) promiseUnnamed(st *statement) {
	st.scope, st.edition = s.scope(), s.edition()
	if known := s.shared.Statements.find([]byte(st.text), st.oids, st.scope, st.edition); known != nil {
		st.confirmed.Store(known.confirmed.Load())
		st.promise.Store(known.promise.Load())
	}
}

// catalogSettled says whether the catalog is known as well as can be: nobody here has changed it since it was read, nor does the feed
// know that anybody has.
func (s *Session) catalogSettled() bool {
	snap := s.db.Catalog()
	return snap != nil && snap.Generation == s.ctxGen && s.db.CatalogCheckedAt() > s.db.lastDDL.Load() && s.db.Table.CatalogHolds()
}

// prepareWait is how long a unit that only prepares waits for a server connection, if it could be answered by an older catalog's word. Its
// client may be what the others wait for: pgbench sends nothing for any of a thread's clients until its Parse is answered.
const prepareWait = 100 * time.Millisecond

// answerPrepares answers a unit that does nothing but prepare and describe statements that are known. older says whether what was known by an
// older catalog will do.
func (s *Session) answerPrepares(older bool) bool {
	u := &s.unit
	if u.executes > 0 || s.conn != nil || s.bound != "" || s.tx == wire.TxFailed || u.streaming || len(u.steps) < 2 || !older && !s.catalogSettled() {
		return false
	}
	snapshot := false // Postgres would take one
	for i := range u.steps {
		st := &u.steps[i]
		switch st.typ {
		case wire.MsgParse, wire.MsgDescribe:
			if st.again || st.missing || st.st == nil || st.object == wire.ObjectPortal || !s.knows(st.st, older) {
				return false
			}
			if k := st.plan.Kind; k != router.KindRead && k != router.KindWrite {
				return false
			}
			snapshot = snapshot || !st.describesStatement()
		case wire.MsgClose:
			if st.object != wire.ObjectStatement {
				return false
			}
		case wire.MsgSync:
		case wire.MsgFlush:
			if !u.flush {
				return false
			}
		default:
			return false
		}
	}
	for i := range u.steps {
		st := &u.steps[i]
		switch st.typ {
		case wire.MsgParse:
			s.env.ToClient(parseComplete)
			s.registerStatement(st.st, s.overlayName(st.st))
		case wire.MsgDescribe:
			d := st.st.promise.Load()
			s.env.ToClient(d.params)
			s.env.ToClient(d.row)
		case wire.MsgClose:
			s.env.ToClient(closeComplete)
			s.closeStatement(st.name)
		}
	}
	s.endOverlay()
	if snapshot {
		s.held.reads = s.held.reads || s.held.on
		s.partReads = u.flush
	}
	s.local.Counters.Prepares.Add(1)
	s.answered()
	return true
}

// knows says whether it is known what a statement is, by the present catalog or by an older one.
func (s *Session) knows(st *statement, older bool) bool {
	d := st.promise.Load()
	if d == nil && older {
		if d = s.shared.Statements.described(st); d != nil {
			st.promise.CompareAndSwap(nil, d)
		}
	}
	return d != nil && (older || s.ctxGen != 0 && st.confirmed.Load() == s.ctxGen)
}

// waitsInVain answers a unit that has waited for a server connection without one, if it can be.
func (s *Session) waitsInVain() {
	node := s.node
	s.node = nil
	if !s.answerPrepares(true) {
		s.node = node
		return
	}
	node.End()
	s.env.Leave(s)
	s.pump()
}

// promised is what the client has been told of a statement before this unit, as a part of the answer's key: who has been told something else mustn't
// get the same.
func (s *Session) promised(st *statement) []byte {
	d := st.promise.Load()
	if d == nil || s.parsed(st) {
		return nil
	}
	return d.digest[:]
}

// parsed says whether the unit prepares the statement.
func (s *Session) parsed(st *statement) bool {
	for i := range s.unit.steps {
		if s.unit.steps[i].typ == wire.MsgParse && s.unit.steps[i].st == st {
			return true
		}
	}
	return false
}

// describesNext says whether the client itself asks what the statement is that is being prepared.
func (s *Session) describesNext() bool {
	u := &s.unit
	i := s.stepNow + 1
	return !u.streaming && i < len(u.steps) && u.steps[i].typ == wire.MsgDescribe && u.steps[i].st == u.steps[i-1].st && u.steps[i].object == wire.ObjectStatement
}

// askPromise appends the question what the statement is that has just been prepared, unless that is known or the client asks itself.
func (s *Session) askPromise(st *statement, name string, out []byte) []byte {
	if s.tx == wire.TxFailed || s.describesNext() || !st.fixed && (name == "" || !mayBePromised(s.plan(st))) {
		return out
	}
	s.expect(expect{kind: exDescribeStatement, swallow: true, st: st, name: name, promises: true})
	return wire.AppendDescribe(out, wire.ObjectStatement, st.name)
}

// mayBePromised says whether what a statement is depends on text, settings and catalog alone. What FETCH or EXECUTE gives depends on more.
func mayBePromised(p *router.Plan) bool {
	return p != nil && (p.Kind == router.KindRead || p.Kind == router.KindWrite) && p.Mentions == nil
}

// verifyPromises prepares what the unit refers to and the server doesn't know yet, and finds out whether it still is what the client
// has been told, before anything of the unit is sent. False: there is nothing to find out.
func (s *Session) verifyPromises() bool {
	u := &s.unit
	if u.simple || u.streaming || u.verified || s.tx == wire.TxFailed {
		return false
	}
	out := s.local.out[:0]
	any := false
	for i := range u.steps {
		st := u.steps[i].st
		if st == nil || u.steps[i].typ != wire.MsgBind && (u.steps[i].typ != wire.MsgDescribe || u.steps[i].object != wire.ObjectStatement) {
			continue
		}
		d := st.promise.Load()
		if d == nil || !d.hasRows() || st.fixed || s.parsed(st) || s.localPlan(&u.steps[i]) != nil {
			continue
		}
		if u.steps[i].typ == wire.MsgBind {
			if b, err := wire.DecodeBind(wire.Body(u.buf[u.steps[i].off:u.steps[i].end])); err != nil || s.refusedBind(s.conn, b, &u.steps[i]) != nil {
				continue
			}
		}
		if st.ownName() && slices.ContainsFunc(u.needs, func(n need) bool { return n.st.name == st.name }) {
			continue // it is there, or the unit fails before it gets there
		}
		if had := s.hasPrepared(s.conn, st); had && (st.ownName() || st.confirmed.Load() == s.ctxGen || s.serverTx != wire.TxIdle) {
			continue
		}
		if !any && len(s.conn.Named) > 0 {
			out = s.dropOthers(out)
		}
		from := len(s.q)
		out = s.ensurePrepared(s.conn, st, out)
		out = wire.AppendDescribe(out, wire.ObjectStatement, st.name)
		s.expect(expect{kind: exDescribeStatement, swallow: true, st: st})
		for j := from; j < len(s.q); j++ {
			s.q[j].verifies = true
		}
		any = true
	}
	if !any {
		return false
	}
	out = wire.AppendSync(out)
	s.expect(expect{kind: exSync, swallow: true})
	u.verified = true // once, also where the answer is good for this server connection only
	s.phase = phaseSettling
	s.conn.Write(out)
	s.local.out = out
	return true
}

// described takes what the server says that a statement is.
func (s *Session) described(e *expect, row []byte) {
	if e.kind == exDescribeStatement && (e.made || e.needs) && len(s.parameters) > 0 {
		s.needDescribed(e, row)
		return
	}
	if e.kind != exDescribeStatement || e.st == nil || !e.promises && !e.verifies || len(s.parameters) == 0 {
		return
	}
	if e.st.fixed {
		if e.st.promise.Load() == nil {
			e.st.promise.Store(newDescription(s.parameters, row))
		}
		return
	}
	st := e.st
	d := &description{params: s.parameters, row: row}
	have := st.promise.Load()
	switch {
	case e.verifies && s.unit.streaming && !have.sameRows(d):
		// What follows is under way, or done; but without the Sync nothing of it holds.
		s.shared.Statements.retire(st)
		s.discard()
		s.serverLostFor(changedResult.WithSeverity("FATAL"))
	case e.verifies && !have.sameRows(d):
		s.shared.Statements.retire(st) // who prepares it now gets what it is now
		if s.promiseError == nil {
			s.promiseBroken, s.brokenBy = st, st
			s.promiseError = changedResult.AppendTo(nil)
		}
	case have == nil && s.mayPromise():
		st.promise.CompareAndSwap(nil, newDescription(d.params, row))
		s.confirm(st)
	case have == nil && s.bound != "": // its own server connection knows what it was told
	case have == nil:
		s.promiseAnew(e, d)
	case e.verifies || have.same(d):
		if s.mayPromise() {
			s.confirm(st)
		}
	default:
		s.promiseAnew(e, d)
	}
}

var changedResult = wire.Errorf("0A000", "cached plan must not change result type")

// confirm notes that a server has said by the present catalog that a statement is what was promised.
func (s *Session) confirm(st *statement) {
	st.confirmed.Store(s.ctxGen)
	s.shared.Statements.describe(st)
	if st.name != "" {
		return
	}
	// What was learned of an unnamed statement serves those with the same text.
	known := s.shared.Statements.intern([]byte(st.text), st.oids, st.scope, st.edition, s.local.Lexer)
	known.promise.CompareAndSwap(nil, st.promise.Load())
	if p := known.promise.Load(); p.same(st.promise.Load()) {
		known.confirmed.Store(s.ctxGen)
	}
	s.shared.Statements.release(known)
}

// mayPromise says whether what the server in hand says of a statement is what the present catalog makes of it, for everybody: nothing temporary hides
// anything, nothing of the transaction has changed anything, and a replica has got as far as the catalog.
func (s *Session) mayPromise() bool {
	if s.bound != "" || s.ctxGen == 0 || s.node == nil {
		return false
	}
	now := s.env.Now()
	since := s.db.generationSince(s.ctxGen, now)
	return since != 0 && (s.node.Role() != topology.Replica || s.node.AsOf() >= since)
}

// promiseAnew gives the client's name a statement of its own, since the server says something else than others have been told.
func (s *Session) promiseAnew(e *expect, d *description) {
	old := e.st
	if old.promise.Load() != nil {
		s.conn.Generation = staleGeneration // by its name on the server others would get what they weren't told
	}
	var st *statement
	if s.mayPromise() {
		s.shared.Statements.retire(old)
		st = s.shared.Statements.intern([]byte(old.text), old.oids, old.scope, s.edition(), s.local.Lexer)
	} else {
		st = s.shared.Statements.private(old, s.local.Lexer)
	}
	st.promise.CompareAndSwap(nil, newDescription(d.params, d.row))
	if old.name == "" {
		old.promise.Store(st.promise.Load())
		s.shared.Statements.release(st)
		return
	}
	s.registerStatement(st, e.name)
	s.shared.Statements.release(st)
}

// verifyFailed takes an error of a statement that is being prepared for verifyPromises.
func (s *Session) verifyFailed(e *expect, msg []byte) {
	u := &s.unit
	if s.mayRetry(wire.ErrorField(wire.Body(msg), 'C')) {
		s.dropFill()
		u.retrying, u.avoid = true, s.node
		return
	}
	if s.promiseError != nil {
		s.skipToSync()
		return
	}
	if e.kind == exDescribeStatement {
		s.promiseBroken = e.st
	}
	s.brokenBy = e.st
	s.promiseError = bytes.Clone(s.withClientNames(e, msg)) // msg is gone when the server is ready
	s.skipToSync()
}

// breakPromise goes on with the unit, which fails where it refers to what isn't as promised. The server has said that it is ready.
func (s *Session) breakPromise() {
	u, c := &s.unit, s.conn
	if st := s.promiseBroken; st != nil {
		// What the server has by this name is of no use to anybody who was told otherwise.
		s.promiseBroken = nil
		s.expect(expect{kind: exClose, swallow: true, evicts: st.id})
		s.expect(expect{kind: exSync, swallow: true})
		c.Write(wire.AppendSync(wire.AppendClose(s.local.out[:0], wire.ObjectStatement, st.name)))
		if st.name == "" {
			c.Unnamed = 0
		}
		return
	}
	msg, st := s.promiseError, s.brokenBy
	s.promiseError, s.brokenBy = nil, nil
	if s.phase == phaseOrphan {
		s.end()
		return
	}
	u.resumeBroken(st, msg)
	if s.tx == wire.TxActive && s.serverTx == wire.TxFailed && !u.beginsBroken() {
		// What stands before it can't be done any more.
		s.local.Counters.Errors.Add(1)
		u.failed, s.resume = true, true
		s.failWith(msg)
		return
	}
	s.send()
	s.resume = true
}

// resumeBroken notes the error that the unit is to get where it refers to st first.
func (u *unit) resumeBroken(st *statement, msg []byte) {
	u.broken = st
	if err, e := wire.DecodeError(wire.Body(msg)); e == nil {
		u.brokenError = err
	} else {
		u.brokenError = changedResult
	}
}

// beginsBroken says whether nothing but preparing stands before that.
func (u *unit) beginsBroken() bool {
	for i := range u.steps {
		switch st := &u.steps[i]; st.typ {
		case wire.MsgBind, wire.MsgDescribe:
			return st.st == u.broken
		case wire.MsgExecute:
			return false
		}
	}
	return true
}
