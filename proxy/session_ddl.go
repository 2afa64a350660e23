package proxy

import (
	"slices"
	"time"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// What a statement may leave behind on its server connection is known from the catalog, which is read again some time after a change. A
// session that has changed it itself goes on at once, and may use what isn't known yet: a function that makes temporary tables, a trigger in C, a
// column whose default calls nextval(). So it keeps its server connection from its DDL on, until the catalog has been read again. What it has run
// meanwhile is then judged once more, and only if nothing was left behind does the connection go back.

// boundByDDL is why a session is bound in the meantime.
const boundByDDL = "DDL, until the catalog has been read again"

const (
	ddlLook      = 25 * time.Millisecond // how often an idle session looks whether the catalog has been read
	maxRejudged  = 100                   // different statements; a session that has run more stays bound
	maxRejudgedB = 64 << 10              // bytes of them
)

// ddlWindow is the time from a session's DDL on, until the catalog is known again.
type ddlWindow struct {
	since   int64 // unix nanoseconds; when the last DDL ended; 0: there is no window
	ran     []ranStatement
	bytes   int
	overrun bool
	judging bool
	ticket  uint64 // of the last Judge: what comes back for an earlier one holds no more
}

// ranStatement is a statement with what its names' meaning depends on besides the catalog.
type ranStatement struct {
	id       router.Fingerprint // statements with the same one leave the same behind
	text     string
	params   []uint32
	role     string
	path     string
	pathSet  bool
	executes bool // what its PREPARE has made
}

func (r ranStatement) same(o ranStatement) bool {
	return r.id == o.id && r.executes == o.executes && r.role == o.role && r.path == o.path && r.pathSet == o.pathSet && slices.Equal(r.params, o.params)
}

// ddlSettled is called when a unit is over: has it changed the catalog? committed: it has ended a transaction.
func (s *Session) ddlSettled(committed bool) {
	if s.ddl.since != 0 {
		if s.bound == "" {
			s.bound = boundByDDL // what it was bound for has failed
		}
		if committed {
			s.ddl.since = s.env.Now() // only now others see it
			s.db.noteDDL(s.ddl.since)
		}
	}
	if s.unit.failed {
		return
	}
	for _, e := range s.unit.effects {
		if e.plan.DDL {
			s.ddl.since = s.env.Now()
			s.db.noteDDL(s.ddl.since)
			s.ddl.judging = false // what is being judged is so by a catalog that is too old
			if s.db.CatalogHurry != nil {
				s.db.CatalogHurry()
			}
			if s.bound == "" {
				s.bind(boundByDDL)
			}
			return
		}
	}
}

// bindUntilCatalog binds the session because of a statement that was planned before anything was known about the catalog. It is judged when that
// has been read, as are those that come after DDL.
func (s *Session) bindUntilCatalog() {
	if s.ddl.since == 0 {
		s.ddl.since = s.env.Now()
	}
	if s.bound == "" {
		s.bind(boundByDDL)
	}
}

// ddlNote remembers what the unit runs, to be judged again.
func (s *Session) ddlNote() {
	u := &s.unit
	if s.ddl.since == 0 || s.ddl.overrun || s.boundLasting {
		return
	}
	note := func(id router.Fingerprint, text string, params []uint32, executes bool) {
		w := &s.ddl
		r := ranStatement{id: id, text: text, params: params, role: s.role(), executes: executes}
		r.path, r.pathSet = s.set.value("search_path")
		if slices.ContainsFunc(w.ran, r.same) {
			return // a migration that fills tables runs the same again and again
		}
		w.bytes += len(text)
		if len(w.ran) >= maxRejudged || w.bytes > maxRejudgedB {
			w.ran, w.overrun = nil, true
			return
		}
		w.ran = append(w.ran, r)
	}
	for _, n := range u.needs {
		if !n.name {
			note(n.st.fingerprint, n.st.text, n.st.params, n.st.sql)
		}
	}
	switch {
	case u.streaming, s.opaque, u.simple && len(u.buf) == 0:
		s.ddl.overrun = true
	case u.simple && u.buf[0] == wire.MsgQuery:
		if p := u.plan; p != nil && p.DDL && p.Kind == router.KindUtility && p.Binds == "" {
			return // of itself it leaves nothing behind
		}
		id, _ := s.local.Lexer.Scan(queryText(u.buf))
		note(id, string(queryText(u.buf)), nil, false)
	case u.simple:
		s.ddl.overrun = true // a function call message
	default:
		for i := range u.steps {
			if st := &u.steps[i]; st.typ == wire.MsgExecute && st.st != nil {
				note(st.st.fingerprint, st.st.text, st.st.params, st.st.sql)
			}
		}
	}
}

// ddlOver ends the window when it is time. It is called between two units, outside of transactions; the connection stays the session's unless
// it returns true.
func (s *Session) ddlOver() bool {
	if s.bound != boundByDDL || s.ddl.judging {
		return false
	}
	snap := s.db.Catalog()
	switch {
	case s.ddl.overrun:
		s.bound, s.boundLasting = "statements that ran right after DDL", true
	case s.db.CatalogCheckedAt() <= s.ddl.since || snap == nil:
		s.env.WakeIn(s, ddlLook, s.unit.number)
	case len(s.ddl.ran) == 0:
		s.ddl, s.bound = ddlWindow{}, ""
		return true
	default:
		s.ddl.judging = true
		s.ddlTicket++
		s.ddl.ticket = s.ddlTicket
		s.env.Judge(s, s.ddl.ticket, s.ddlRequests(snap))
	}
	return false
}

func (s *Session) ddlRequests(snap *catalog.Snapshot) []PlanRequest {
	reqs := make([]PlanRequest, len(s.ddl.ran))
	for i, r := range s.ddl.ran {
		reqs[i] = PlanRequest{Text: r.text, Executes: r.executes, Context: router.Context{
			Role: r.role, ParamTypes: r.params, SearchPath: snap.EffectiveSearchPath(s.user, r.role, r.path, r.pathSet),
		}}
	}
	return reqs
}

// Judged follows Judge: what the first ran of the statements leave behind, "" if nothing.
func (s *Session) Judged(ticket uint64, ran int, binds string) {
	if s.bound != boundByDDL || !s.ddl.judging || s.ddl.ticket != ticket {
		return
	}
	s.ddl.judging = false
	if binds != "" {
		s.bound, s.boundLasting = binds, true
		return
	}
	if !s.ddl.overrun { // meanwhile: then nothing of it is there any more
		s.ddl.ran = slices.Delete(s.ddl.ran, 0, ran)
	}
	s.ddlIdle()
}

// ddlIdle gives the connection of an idle session back when the window is over.
func (s *Session) ddlIdle() {
	if s.phase != phaseIdle || s.tx != wire.TxIdle || s.conn == nil || !s.ddlOver() {
		return
	}
	c := s.conn
	s.drop()
	c.Release()
}
