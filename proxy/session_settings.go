package proxy

import (
	"bytes"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// variables are what SET changes.
type variables struct {
	set  *settings
	opts options // of freshet.*
}

// transactionSettings remembers what a transaction's end, or ROLLBACK TO, brings back. As in Postgres (guc.c, AtEOXact_GUC),
// what SET LOCAL has changed ends with the transaction, what SET has changed ends with it if it is undone, and a savepoint
// is a smaller transaction within. What is in force is in the session itself.
type transactionSettings struct {
	start   variables // when the transaction began
	kept    variables // what COMMIT will leave: SET LOCAL left out
	saves   []savedSettings
	touched bool // there is something to bring back
}

type savedSettings struct {
	name        string
	force, kept variables
}

// variables are those in force.
func (s *Session) variables() variables { return variables{s.set, s.opts} }

// change applies a SET to what is in force, and, unless it is local, to what will be after the transaction.
func (s *Session) change(local bool, fn func(variables) variables) {
	tx := &s.txSettings
	s.touch()
	s.force(fn(s.variables()))
	if !local {
		tx.kept = fn(tx.kept)
	}
}

func (s *Session) touch() {
	if tx := &s.txSettings; !tx.touched {
		tx.touched = true
		tx.start = s.variables()
		tx.kept = tx.start
	}
}

// force makes variables those in force, and works out what follows from them.
func (s *Session) force(v variables) {
	if v.set != s.set {
		s.set = v.set
		s.ctxOK = false
		s.keyPrefix = nil
		s.deriveTx()
	}
	if v.opts != s.opts {
		s.opts = v.opts
		s.applyKey()
	}
}

// settingsEnd follows the end of a transaction, be it one of a single statement.
func (s *Session) settingsEnd(committed bool) {
	tx := &s.txSettings
	if !tx.touched {
		return
	}
	after := tx.kept
	if !committed {
		after = tx.start
	}
	after.set = s.set.undone(after.set)
	s.force(after)
	clear(tx.saves)
	*tx = transactionSettings{saves: tx.saves[:0]}
}

// savepoint follows SAVEPOINT.
func (s *Session) savepoint(name string) {
	s.touch()
	tx := &s.txSettings
	tx.saves = append(tx.saves, savedSettings{name, s.variables(), tx.kept})
}

// leaveSavepoint follows RELEASE, or, if undo is set, ROLLBACK TO.
func (s *Session) leaveSavepoint(name string, undo bool) {
	tx := &s.txSettings
	for i := len(tx.saves) - 1; i >= 0; i-- {
		if tx.saves[i].name != name {
			continue
		}
		if !undo {
			tx.saves = tx.saves[:i]
			return
		}
		v := tx.saves[i].force
		v.set = s.set.undone(v.set)
		s.force(v)
		tx.kept = tx.saves[i].kept
		tx.saves = tx.saves[:i+1]
		return
	}
}

// executed follows a statement's success: it does to the session what the statement has done on the server. args are the
// values of its parameters, as far as they matter; tag is that of its CommandComplete; makes is what a PREPARE has made.
func (s *Session) executed(p *router.Plan, args []router.Assignment, tag []byte, makes *statement) {
	if p.Assigns != nil {
		for _, a := range args {
			s.assign(a)
		}
		return
	}
	switch p.Kind {
	case router.KindSet, router.KindReset:
		s.settingChanged(p.Set)
	case router.KindDiscard:
		if p.Unbinds {
			s.discardAll()
		}
	case router.KindDeallocate:
		if p.Name == "" {
			s.conn.Prepared.Clear()
			clear(s.conn.Named)
			s.forgetStatements()
		} else {
			s.deallocated(p.Name)
		}
	case router.KindPrepare:
		s.preparedBySQL(makes)
	case router.KindCommit, router.KindPrepareTransaction:
		s.settingsEnd(!bytes.HasPrefix(tag, []byte("ROLLBACK")))
	case router.KindRollback:
		s.settingsEnd(false)
	case router.KindSavepoint:
		s.savepoint(p.Name)
	case router.KindRelease:
		s.leaveSavepoint(p.Name, false)
	case router.KindRollbackTo:
		s.leaveSavepoint(p.Name, true)
	}
}

// assign follows set_config().
func (s *Session) assign(a router.Assignment) {
	local, _ := router.ParseBool(a.Local.Text)
	name := lowerASCII(a.Name.Text)
	if a.Value.Null {
		s.assignTo(name, nil, local)
		return
	}
	s.assignTo(name, &trackedSetting{name: name, value: a.Value.Text}, local)
}

// settingChanged follows SET and RESET.
func (s *Session) settingChanged(set *router.Setting) {
	switch {
	case set == nil:
	case set.All:
		s.change(false, func(v variables) variables {
			return variables{v.set.resetAll(s.base), s.defaults}
		})
	case set.Default:
		s.assignTo(set.Name, nil, set.IsLocal)
	case set.HasValue:
		s.assignTo(set.Name, &trackedSetting{name: set.Name, value: set.Value}, set.IsLocal)
	case set.IsLocal:
		s.assignTo(set.Name, nil, true)
		if !isTransactionSetting(set.Name) {
			s.bind("SET LOCAL to something that isn't a constant")
		}
	default:
		s.assignTo(set.Name, &trackedSetting{name: set.Name, how: settingSQL, value: set.SQL}, false)
	}
}

// assignTo makes a setting, or resets it if t is nil.
func (s *Session) assignTo(name string, t *trackedSetting, local bool) {
	if isTransactionSetting(name) || name == "seed" {
		return // ends with the transaction however it is set; binds
	}
	if t != nil && !local && someoneElse(s.set) && needsRights(name) && !s.superuser() {
		s.bind("SET " + name + " in another role than the login's")
	}
	s.change(local, func(v variables) variables {
		if isFreshet(name) {
			if o, err := v.opts.changed(name, t, s.defaults); err == nil {
				v.opts = o
			}
		}
		if t == nil {
			v.set = v.set.reset(name, s.base)
			if name == "session_authorization" {
				v.set = v.set.reset("role", s.base)
			}
			return v
		}
		u := *t
		switch name {
		case dateStyle:
			u.value = mergeDateStyle(s.dateStyleOf(v.set), u.value, s.dateStyleOf(s.base))
		case "session_authorization":
			v.set = s.withRole(v.set, trackedSetting{name: "role", value: "none"}) // as the SQL standard has it
		case "role":
			v.set = s.withRole(v.set, u)
			return v
		}
		v.set = v.set.with(u)
		return v
	})
}

// localSetting executes a SET or RESET of one of our own settings, which no server has seen.
func (s *Session) localSetting(set *router.Setting) {
	var t *trackedSetting
	if !set.Default {
		t = &trackedSetting{name: set.Name, value: set.Value}
	}
	s.change(set.IsLocal, func(v variables) variables {
		if o, err := v.opts.changed(set.Name, t, s.defaults); err == nil {
			v.opts = o
		}
		if v.set.get(set.Name) != nil { // a server has, in a string of several statements, or by set_config()
			v.set = v.set.reset(set.Name, nil)
		}
		return v
	})
}

// superuser says whether the login role may set everything.
func (s *Session) superuser() bool {
	snap := s.db.Catalog()
	return snap != nil && snap.Superuser(s.user)
}

// role is the effective role: current_user.
func (s *Session) role() string {
	role, ok := s.set.value("role")
	if !ok {
		role = s.loginRole
	}
	if role != "" && role != "none" {
		return role
	}
	if user, ok := s.set.value("session_authorization"); ok {
		return user
	}
	return s.user
}

// withRole is with for the role. No role is the same as a role that was never set, where there is no other default.
func (s *Session) withRole(set *settings, t trackedSetting) *settings {
	if t.value == "none" && s.loginRole == "" && s.base.get("role") == nil {
		return set.reset("role", nil)
	}
	return set.with(t)
}

// completed follows the CommandComplete of a statement of the client's.
func (s *Session) completed(e *expect, msg []byte) {
	p, args := e.plan, e.args
	if p == nil {
		return
	}
	if e.kind == exQuery {
		i := s.unit.completed
		s.unit.completed++
		if r := s.unit.rewriting; r != nil {
			if i >= len(r.owners) {
				return
			}
			i = r.owners[i]
		}
		if p.Kind == router.KindMulti {
			if i >= len(p.Parts) {
				return
			}
			p = p.Parts[i]
		}
		args = p.Assigns
	}
	makes := e.makes
	if makes == nil && p.Kind == router.KindPrepare {
		makes = s.newPrepared(p, s.preparedText(e, p))
	}
	s.executed(p, args, bytes.TrimRight(wire.Body(msg), "\x00"), makes)
}

// setPortalArgs notes what a portal will set when it is executed.
func (s *Session) setPortalArgs(b wire.Bind, p *router.Plan) {
	if p == nil || p.Assigns == nil {
		return
	}
	args, ok := bindAssigns(b, p.Assigns)
	if !ok {
		s.bind("set_config() with parameters that can't be read")
	}
	for i := range s.portals {
		if s.portals[i].name == string(b.Portal) {
			s.portals[i].args = args
		}
	}
}

func (s *Session) portalArgs(execute []byte, p *router.Plan) []router.Assignment {
	if p == nil || p.Assigns == nil {
		return nil
	}
	m, err := wire.DecodeExecute(wire.Body(execute))
	if err != nil {
		return nil
	}
	if m.MaxRows != 0 {
		s.bind("set_config() by a row-limited Execute")
	}
	for i := range s.portals {
		if s.portals[i].name == string(m.Portal) && s.portals[i].args != nil {
			return s.portals[i].args
		}
	}
	return p.Assigns
}

// bindAssigns gives the parameters of assignments their values.
func bindAssigns(b wire.Bind, list []router.Assignment) ([]router.Assignment, bool) {
	var values [][]byte
	for v, ok := b.Params.Next(); ok; v, ok = b.Params.Next() {
		values = append(values, v)
	}
	good := true
	value := func(a router.Argument, boolean bool) router.Argument {
		if a.Param == 0 {
			return a
		}
		i := a.Param - 1
		if i >= len(values) {
			good = false
			return a
		}
		v := values[i]
		out := router.Argument{Text: string(v), Null: v == nil}
		if boolean && b.ParamFormats.Of(i) != 0 && len(v) == 1 {
			out.Text = "false"
			if v[0] != 0 {
				out.Text = "true"
			}
		}
		return out
	}
	out := make([]router.Assignment, 0, len(list))
	for _, a := range list {
		out = append(out, router.Assignment{Name: value(a.Name, false), Value: value(a.Value, false), Local: value(a.Local, true)})
	}
	return out, good
}
