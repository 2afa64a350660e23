package proxy

import (
	"slices"
	"strings"

	"github.com/freshet/freshet/proxy/wire"
)

// prepared notes that a Parse has succeeded, on the server connection and for the client.
func (s *Session) prepared(e *expect) {
	if e.own {
		return
	}
	switch {
	case e.prepared == 0:
		s.conn.Unnamed = 0
	case e.st == nil:
		s.conn.Prepared.AddOwn(e.prepared, e.name)
	case e.st.name == "":
		s.conn.Unnamed = e.st.id
	default:
		s.conn.Prepared.Add(e.prepared, e.st.name)
		if e.st.ownName() {
			s.nameHere(e.st)
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

// discardAll follows DISCARD ALL: nothing of the session is left on the server connection.
func (s *Session) discardAll() {
	s.forgetStatements()
	s.touch() // it doesn't run in a transaction block, so that this is the whole transaction
	s.force(variables{s.set.undone(s.base), s.defaults})
	s.txSettings.kept = s.variables()
	s.unit.discarded = true
	s.conn.Prepared.Clear()
	clear(s.conn.Named)
	s.conn.Unnamed = 0
	s.conn.SequenceOwner = nil
	s.unit.doubtful = s.boundLasting // who knows what else is left; the server process isn't reused
	s.unbind()
	s.ddl = ddlWindow{}
	s.seqUser = false
}

// unitSettled is called when the unit's last ReadyForQuery has come: what its statements have done holds, or is undone.
func (s *Session) unitSettled(status byte) {
	u := &s.unit
	if u.failed && u.provisional {
		s.unbind()
	}
	s.noteFrees()
	before := u.settings
	if status == wire.TxIdle {
		s.settingsEnd(!u.failed)
	}
	if u.discarded {
		// The server has its own defaults now; the session, those with which it began.
		noteSettings(s.conn, nil)
		for _, p := range s.reported {
			s.tell(p.Name, p.Value)
		}
		return
	}
	noteSettings(s.conn, s.set)
	if u.failed || status == wire.TxFailed || s.bound != "" && s.bound != boundByDDL {
		return
	}
	for _, name := range u.reported {
		if !s.explained(name, before) {
			s.bind("a statement changed the setting " + name)
			return
		}
	}
}

// explained says whether a report of a setting's new value can be due to what is known to have been set since before.
func (s *Session) explained(name string, before *settings) bool {
	differ := func(name string) bool {
		a, b := before.get(name), s.set.get(name)
		return a != b && (a == nil || b == nil || *a != *b)
	}
	switch name {
	case "in_hot_standby":
		return true
	case "is_superuser", "session_authorization":
		return differ("role") || differ("session_authorization")
	}
	return differ(name)
}

// parameterStatus takes a report of a setting's new value.
func (s *Session) parameterStatus(msg []byte) {
	e := s.head()
	u := &s.unit
	if e != nil && e.swallow || u.retrying || u.discarded {
		return // of our own doing: the client knows its settings
	}
	name, value, err := wire.DecodeParameterStatus(wire.Body(msg))
	if err != nil {
		return
	}
	s.tell(string(name), string(value))
	if e != nil {
		u.reported = append(u.reported, lowerASCII(string(name)))
	}
}

// tell sends the client a setting's value, if it is another than it was told last.
func (s *Session) tell(name, value string) {
	switch lowerASCII(name) {
	case "standard_conforming_strings":
		s.opaque = !isOn(value)
		if s.opaque {
			s.bind("standard_conforming_strings is off")
		}
	case "client_encoding":
		s.opaqueText = !isUTF8(value)
	}
	for i := range s.told {
		if s.told[i].Name != name {
			continue
		}
		if s.told[i].Value == value {
			return
		}
		if !s.toldOwn {
			s.told, s.toldOwn = slices.Clone(s.told), true
		}
		s.told[i].Value = value
		s.toClientQuietly(wire.AppendParameterStatus(nil, name, value))
		return
	}
	s.told, s.toldOwn = append(slices.Clone(s.told), wire.ParamStatus{Name: name, Value: value}), true
	s.toClientQuietly(wire.AppendParameterStatus(nil, name, value))
}

// isUTF8 says whether a client_encoding is UTF8 by any of its names.
func isUTF8(value string) bool {
	v := strings.ToLower(strings.Trim(value, " '\""))
	v = strings.NewReplacer("-", "", "_", "").Replace(v)
	return v == "utf8" || v == "unicode"
}
