package router

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// assignments recognises a SELECT of nothing but set_config() calls whose arguments are constants or parameters, and
// returns what they do; nil for all others.
func (st *statement) assignments(n *pg.Node) []Assignment {
	s := n.GetSelectStmt()
	if s == nil || len(s.TargetList) == 0 || st.shadowed("set_config") || s.Op != pg.SetOperation_SETOP_NONE || s.WithClause != nil ||
		s.IntoClause != nil || s.WhereClause != nil || s.HavingClause != nil || s.LimitCount != nil || s.LimitOffset != nil ||
		len(s.FromClause)+len(s.ValuesLists)+len(s.GroupClause)+len(s.WindowClause)+len(s.DistinctClause)+len(s.SortClause)+len(s.LockingClause) > 0 {
		return nil
	}
	var out []Assignment
	for _, target := range s.TargetList {
		call := target.GetResTarget().GetVal().GetFuncCall()
		if call == nil || len(call.Args) != 3 || call.Over != nil || call.AggFilter != nil || call.AggDistinct || call.AggStar ||
			call.FuncVariadic || len(call.AggOrder) > 0 || !isSetConfig(call.Funcname) {
			return nil
		}
		name, ok1 := st.textArgument(call.Args[0])
		value, ok2 := st.textArgument(call.Args[1])
		local, ok3 := st.boolArgument(call.Args[2])
		if !ok1 || !ok2 || !ok3 {
			return nil
		}
		out = append(out, Assignment{name, value, local})
	}
	return out
}

func isSetConfig(name []*pg.Node) bool {
	switch len(name) {
	case 1:
	case 2:
		if name[0].GetString_().GetSval() != "pg_catalog" {
			return false
		}
	default:
		return false
	}
	return lastName(name) == "set_config"
}

// shadowed tells whether a name of a function can mean another one than that of pg_catalog.
func (st *statement) shadowed(name string) bool {
	for _, f := range st.j.s.FunctionsNamed(name) {
		if !f.Builtin() {
			return true
		}
	}
	return false
}

// uncast takes the casts to one of some types off an expression.
func uncast(n *pg.Node, types ...string) (*pg.Node, bool) {
	for c := n.GetTypeCast(); c != nil; c = n.GetTypeCast() {
		known := false
		for _, t := range types {
			known = known || lastName(c.TypeName.GetNames()) == t
		}
		if !known || len(c.TypeName.ArrayBounds)+len(c.TypeName.Typmods) > 0 {
			return nil, false
		}
		n = c.Arg
	}
	return n, true
}

// argument reads a constant or parameter. Constants must be part of the plan's identity.
func (st *statement) argument(n *pg.Node, types ...uint32) (a Argument, c *pg.A_Const, ok bool) {
	if p := n.GetParamRef(); p != nil {
		a.Param = int(p.Number)
		if i := a.Param - 1; i >= 0 && i < len(st.params) && st.params[i] != 0 {
			for _, t := range types {
				ok = ok || st.params[i] == t
			}
			return a, nil, ok
		}
		return a, nil, a.Param > 0
	}
	c = n.GetAConst()
	if c == nil || !st.exact {
		return a, nil, false
	}
	a.Null = c.Isnull
	return a, c, true
}

func (st *statement) textArgument(n *pg.Node) (Argument, bool) {
	n, ok := uncast(n, "text", "varchar")
	if !ok {
		return Argument{}, false
	}
	a, c, ok := st.argument(n, oidText, oidVarchar)
	switch {
	case !ok || a.Param > 0 || a.Null:
		return a, ok
	case c.GetSval() == nil:
		return a, false
	}
	a.Text = c.GetSval().Sval
	return a, true
}

func (st *statement) boolArgument(n *pg.Node) (Argument, bool) {
	n, ok := uncast(n, "bool")
	if !ok {
		return Argument{}, false
	}
	a, c, ok := st.argument(n, oidBool)
	if !ok || a.Param > 0 || a.Null {
		return a, ok
	}
	a.Text = "false"
	switch v := c.Val.(type) {
	case *pg.A_Const_Boolval:
		if v.Boolval.Boolval {
			a.Text = "true"
		}
		return a, true
	case *pg.A_Const_Sval:
		on, ok := ParseBool(v.Sval.Sval)
		if on {
			a.Text = "true"
		}
		return a, ok
	}
	return a, false
}

// ParseBool reads a boolean as Postgres does (bool.c: parse_bool_with_len).
func ParseBool(s string) (value, ok bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	switch {
	case s == "":
		return false, false
	case strings.HasPrefix("true", s), strings.HasPrefix("yes", s), s == "on", s == "1":
		return true, true
	case strings.HasPrefix("false", s), strings.HasPrefix("no", s), s == "of", s == "off", s == "0":
		return false, true
	}
	return false, false
}
