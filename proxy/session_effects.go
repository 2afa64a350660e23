package proxy

import (
	"bytes"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

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

// applyEffects does to the session what its statements have done on the server, now that they are known to have succeeded.
func (s *Session) applyEffects(status byte) {
	u := &s.unit
	if u.failed && u.provisional {
		s.bound = ""
	}
	if s.tx != wire.TxIdle && status == wire.TxIdle {
		s.txEnded(!u.failed && !s.rolledBack())
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
		sql := set.SQL
		if set.Name == dateStyle {
			if v := reportedValue(s.unit.reported, dateStyle, ""); v != "" {
				sql = setConfigSQL(dateStyle, v)
			} else if old := s.set.get(dateStyle); old != "" {
				sql = old // it hasn't changed
			}
		}
		s.set = s.set.with(set.Name, sql)
		s.conn.Settings = have.with(set.Name, sql)
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
	if e == nil {
		return
	}
	s.unit.reported = append(s.unit.reported, wire.ParamStatus{Name: string(name), Value: string(bytes.TrimRight(value, "\x00"))})
	if s.bound != "" {
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
