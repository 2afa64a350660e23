package proxy

import (
	"fmt"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// hasPrepared says whether the server will know the statement when it gets to the messages that are queued next.
func (s *Session) hasPrepared(c *backend.Conn, st *statement) bool {
	if c == nil {
		return false
	}
	for i := len(s.q) - 1; i >= s.qHead; i-- {
		switch e := &s.q[i]; {
		case (e.kind == exParse || e.kind == exExecute) && e.prepared != 0 && e.st != nil && e.st.name == st.name:
			return e.st == st
		case e.dropsUnnamed && st.name == "":
			return false
		case e.makes != nil && e.makes.name == st.name:
			return e.makes == st
		case e.evicts == st.id && e.evicts != 0:
			return false
		case e.kind == exExecute && e.plan != nil && st.name != "" && (e.plan.Unbinds || e.plan.Kind == router.KindDeallocate && e.plan.Name == ""):
			return false
		}
	}
	if st.name == "" {
		return c.Unnamed == st.id
	}
	return c.Prepared.Use(st.id)
}

// ensurePrepared makes sure that the server will know the statement, appending a Parse whose reply the client doesn't see.
func (s *Session) ensurePrepared(c *backend.Conn, st *statement, out []byte) []byte {
	if s.hasPrepared(c, st) {
		return out
	}
	out = s.makeRoom(c, st, out)
	if st.sql {
		return s.replay(st, out)
	}
	types := wire.OIDs(st.oids[2:])
	if d := st.promise.Load(); d != nil {
		types = d.oids() // as Postgres does when it plans anew
	}
	var err error
	out, err = wire.AppendParseAs(out, wire.Parse{Query: []byte(st.text), ParamTypes: types}, []byte(st.name))
	if err != nil {
		panic(fmt.Sprintf("a statement that was read can't be written: %v", err))
	}
	s.expect(expect{kind: exParse, swallow: true, prepared: st.id, st: st})
	if d := st.promise.Load(); s.unit.streaming && d != nil && d.hasRows() {
		out = wire.AppendDescribe(out, wire.ObjectStatement, st.name)
		s.expect(expect{kind: exDescribeStatement, swallow: true, st: st, verifies: true})
	}
	return out
}

// makeRoom closes statements on the server that weren't used for long, so that with the one that is about to be prepared there are no more than
// --max-prepared-statements. It is done when the server says so: until then, an error in what stands before may keep it from being done.
func (s *Session) makeRoom(c *backend.Conn, st *statement, out []byte) []byte {
	most := s.shared.MaxPrepared
	have := c.Prepared.Clients()
	if st.name == "" || have+len(s.q)-s.qHead < most {
		return out
	}
	for i := s.qHead; i < len(s.q); i++ {
		switch e := &s.q[i]; {
		case e.kind == exParse && e.prepared != 0 && e.st != nil && e.st.name != "" && !c.Prepared.Has(e.prepared):
			have++
		case e.evicts != 0:
			have--
		}
	}
	for ; have >= most; have-- {
		id, name, ok := c.Prepared.Oldest(s.inUse)
		if !ok {
			break
		}
		out = wire.AppendClose(out, wire.ObjectStatement, name)
		s.expect(expect{kind: exClose, swallow: true, evicts: id})
	}
	return out
}

// inUse says whether the unit in hand or a portal refers to a statement, or the statement is being closed already.
func (s *Session) inUse(id uint64) bool {
	if s.bound != "" && s.keptByName(id) {
		return true
	}
	for i := range s.unit.needs {
		if n := &s.unit.needs[i]; n.st.id == id || n.holder == id {
			return true
		}
	}
	for i := range s.unit.steps {
		if st := s.unit.steps[i].st; st != nil && st.id == id {
			return true
		}
	}
	for i := range s.portals {
		if st := s.portals[i].st; st != nil && st.id == id {
			return true
		}
	}
	for i := s.qHead; i < len(s.q); i++ {
		if s.q[i].evicts == id {
			return true
		}
	}
	return false
}

// showsPrepared says whether the unit shows the prepared statements of the server connection, of which those of Freshet and of other sessions are
// nothing for this client.
func (s *Session) showsPrepared() bool {
	for _, e := range s.unit.effects {
		if e.plan.ShowsPrepared {
			return true
		}
	}
	return false
}
