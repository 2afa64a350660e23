package proxy

import (
	"bytes"
	"slices"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// What SQL in a unit refers to by name is prepared on the server connection before the unit is sent, one after the other, and each time it is
// found out whether it still is what it was: Postgres' EXECUTE fails if rows would look different from what PREPARE has made. A statement
// that can't be had is left out, and the error of the EXECUTE that doesn't find it is replaced by the reason.

// need is a prepared statement that the unit refers to by SQL.
type need struct {
	st     *statement
	name   bool   // only its name matters: it is in the way, or will be deallocated
	holder uint64 // number of what holds its name on the server connection
}

// lackingNeed is one that can't be had.
type lackingNeed struct {
	name string
	msg  []byte // the ErrorResponse of who refers to it
}

func (u *unit) lacks(name string) []byte {
	for i := range u.lacking {
		if u.lacking[i].name == name {
			return u.lacking[i].msg
		}
	}
	return nil
}

// needMentioned notes what of the session's statements a plan refers to. Of several mentions the first decides what is needed of it: after it has been
// deallocated, or found to be in the way, it isn't executed any more.
func (s *Session) needMentioned(p *router.Plan) {
	if s.tx == wire.TxFailed {
		return
	}
	for _, m := range p.Mentions {
		if st := s.named[m.Name]; st != nil {
			s.need(m.Name, st, m.As != router.KindExecute)
		}
	}
	if p.ShowsPrepared {
		s.needAll(func(*statement) bool { return true })
	}
}

func (s *Session) needAll(which func(*statement) bool) {
	var names []string
	for name, st := range s.named {
		if which(st) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		s.need(name, s.named[name], false)
	}
}

func (s *Session) need(name string, st *statement, onlyName bool) *statement {
	u := &s.unit
	for i := range u.needs {
		if u.needs[i].st.name == name {
			return u.needs[i].st
		}
	}
	if !st.ownName() {
		own := s.giveName(name, st)
		if s.named[name] == st {
			s.registerStatement(own, name)
		} // else it is still to be prepared
		st = own
	}
	u.needs = append(u.needs, need{st: st, name: onlyName})
	return st
}

// fulfilNeeds prepares the next statement that the unit needs and the server doesn't have. False: there is none.
func (s *Session) fulfilNeeds() bool {
	u, c := &s.unit, s.conn
	if u.streaming || s.tx == wire.TxFailed || s.serverTx == wire.TxFailed {
		return false
	}
	for ; u.needed < len(u.needs); u.needed++ {
		n := u.needs[u.needed]
		if !s.hasPrepared(c, n.st) && u.lacks(n.st.name) == nil {
			break
		}
	}
	if u.needed == len(u.needs) {
		return false
	}
	n := &u.needs[u.needed]
	u.needed++
	from := len(s.q)
	out := s.dropOthers(s.local.out[:0])
	inBlock := s.serverTx == wire.TxActive
	if inBlock {
		out = s.executeOwn(out, "SAVEPOINT freshet_own") // so that the transaction outlives an error
	}
	if n.name {
		out = s.ensurePrepared(c, s.holder(n), out)
	} else {
		out = s.ensurePrepared(c, n.st, out)
		out = wire.AppendDescribe(out, wire.ObjectStatement, n.st.name)
		s.expect(expect{kind: exDescribeStatement, swallow: true, st: n.st})
	}
	if inBlock {
		out = s.executeOwn(out, "RELEASE freshet_own")
	}
	out = wire.AppendSync(out)
	s.expect(expect{kind: exSync, swallow: true})
	for i := from; i < len(s.q); i++ {
		s.q[i].needs = true
	}
	s.phase = phaseSettling
	c.Write(out)
	s.local.out = out
	return true
}

// holder is an empty statement with the name of what is needed.
func (s *Session) holder(n *need) *statement {
	n.holder = s.shared.Statements.serial()
	return &statement{id: n.holder, name: n.st.name, oids: []byte{0, 0}}
}

// holds says whether a statement is a holder of the unit in hand.
func (u *unit) holds(id uint64) bool {
	return slices.ContainsFunc(u.needs, func(n need) bool { return n.holder == id })
}

// needFailed takes an error of fulfilNeeds.
func (s *Session) needFailed(msg []byte) {
	u := &s.unit
	switch {
	case s.mayRetry(wire.ErrorField(wire.Body(msg), 'C')):
		u.retrying, u.avoid = true, s.node
	case s.unit.read && s.node != s.shared.Nodes.Primary() && s.shared.Nodes.Primary() != nil:
		// A replica may not have come that far.
		u.retrying, u.primary = true, true
	default:
		s.breakNeed(msg)
		u.undo = s.serverTx == wire.TxActive
	}
	s.skipToSync()
}

func (s *Session) breakNeed(msg []byte) {
	u := &s.unit
	u.lacking = append(u.lacking, lackingNeed{u.needs[u.needed-1].st.name, bytes.Clone(msg)})
}

// undoNeed brings the transaction back to where it was before fulfilNeeds. False: it is there.
func (s *Session) undoNeed() bool {
	if !s.unit.undo {
		return false
	}
	s.unit.undo = false
	s.expect(expect{kind: exQuery, swallow: true, needs: true})
	s.conn.Unnamed = 0
	s.conn.Write(wire.AppendQuery(s.local.out[:0], "ROLLBACK TO freshet_own;RELEASE freshet_own"))
	return true
}

// needDescribed takes what the server says of a statement that was prepared again, or has just been made by PREPARE.
func (s *Session) needDescribed(e *expect, row []byte) {
	st := e.st
	if e.made {
		if st = s.named[e.name]; st == nil || !st.sql || s.conn.Named[e.name] != st.id {
			return
		}
	}
	d := &description{params: s.parameters, row: row}
	switch have := st.promise.Load(); {
	case have == nil:
		st.promise.Store(newDescription(d.params, row))
		if s.mayPromise() {
			st.confirmed.Store(s.ctxGen)
		}
	case e.made:
	case !have.sameRows(d) && !st.fixed:
		s.breakNeed(changedResult.AppendTo(nil))
	case s.mayPromise():
		st.confirmed.Store(s.ctxGen)
	}
}

// whyMissing replaces the error of who refers to a statement that couldn't be had.
func (s *Session) whyMissing(msg []byte) []byte {
	if len(s.unit.lacking) == 0 {
		return msg
	}
	body := wire.Body(msg)
	if string(wire.ErrorField(body, 'C')) != "26000" {
		return msg
	}
	for _, b := range s.unit.lacking {
		if string(wire.ErrorField(body, 'M')) == noSuchStatement([]byte(b.name)).Message {
			return b.msg
		}
	}
	return msg
}

// needInline prepares what a unit that is passed on as it comes refers to.
func (s *Session) needInline(out []byte) []byte {
	u := &s.unit
	if !u.streaming || s.tx == wire.TxFailed {
		return out
	}
	for ; u.needed < len(u.needs); u.needed++ {
		n := &u.needs[u.needed]
		st := n.st
		if n.name && !s.hasPrepared(s.conn, st) {
			st = s.holder(n)
		}
		out = s.ensurePrepared(s.conn, st, out)
	}
	return out
}

// showInline is needInline for a statement that shows what is prepared: so much and no more is to be there.
func (s *Session) showInline(step *step, out []byte) []byte {
	if step.typ != wire.MsgExecute || step.plan == nil || !step.plan.ShowsPrepared || s.tx == wire.TxFailed {
		return out
	}
	s.needMentioned(step.plan)
	out = s.needInline(out)
	for id, name := range s.conn.Prepared.All() {
		if _, mine := s.namedHere(s.conn, name); !mine && !s.unit.holds(id) && !slices.ContainsFunc(s.unit.needs, func(n need) bool { return n.st.id == id }) {
			out = wire.AppendClose(out, wire.ObjectStatement, name)
			s.expect(expect{kind: exClose, swallow: true, evicts: id})
		}
	}
	return out
}

// literalSettings are the settings by which the literals of a text are read when it is prepared, and not when it is executed.
var literalSettings = []string{"array_nulls", dateStyle, "intervalstyle", "lc_monetary", "lc_numeric", "timezone", "transform_null_equals", "xmloption"}

// replay makes a statement by its PREPARE, under the settings that were in force at the time.
func (s *Session) replay(st *statement, out []byte) []byte {
	var back []string
	for _, name := range literalSettings {
		then, now := st.settings.get(name), s.set.get(name)
		if then == now || then != nil && now != nil && *then == *now {
			continue
		}
		out = s.executeOwn(out, localStatement(name, then))
		back = append(back, localStatement(name, now))
	}
	out = wire.AppendParse(out, "", st.text)
	out = wire.AppendBind(out, "", "", nil, nil, nil)
	out = wire.AppendExecute(out, "", 0)
	s.conn.Unnamed = 0
	s.expect(expect{kind: exParse, swallow: true, own: true})
	s.expect(expect{kind: exBind, swallow: true, own: true})
	s.expect(expect{kind: exExecute, swallow: true, own: true, prepared: st.id, st: st})
	for _, sql := range back {
		out = s.executeOwn(out, sql)
	}
	return out
}

func localStatement(name string, t *trackedSetting) string {
	if t == nil || t.how != settingValue {
		return "SET LOCAL " + quoteSettingName(name) + " TO DEFAULT"
	}
	return t.statement(true)
}
