package router

import (
	"fmt"
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// call looks at a function call. It returns the type of the result, and the function where it is certain which one it
// is.
func (a *analysis) call(x *pg.FuncCall, sc *scope) (typ, *catalog.Function) {
	schema, name := a.qualified(x.Funcname)
	args := make([]typ, 0, len(x.Args)+1)
	named := false
	for _, n := range x.Args {
		named = named || n.GetNamedArgExpr() != nil
		args = append(args, a.expr(n, sc))
	}
	for _, n := range x.AggOrder {
		t := a.expr(n, sc)
		if x.AggWithinGroup {
			args = append(args, t) // percentile_cont(0.5) WITHIN GROUP (ORDER BY x) is percentile_cont(0.5, x)
		}
	}
	if x.AggFilter != nil {
		a.expr(x.AggFilter, sc)
	}
	if x.Over != nil {
		a.window(x.Over, sc)
	}
	candidates := a.candidates(schema, name, len(args), named || x.FuncVariadic)
	exact := !named && !x.FuncVariadic && !x.AggWithinGroup
	if exact {
		candidates = a.choose(candidates, args)
	}
	chosen := 0
	for _, f := range candidates {
		if f.Name == "set_config" && f.Builtin() && len(x.Args) == 3 && x.Args[2].GetAConst().GetBoolval().GetBoolval() {
			// Ends with the transaction, so nothing is left to bind to.
			e := a.j.function(f)
			e.binds = ""
			a.add(e)
		} else if f.Name == "current_setting" && f.Builtin() {
			a.currentSetting(x.Args)
		} else {
			a.function(f)
		}
		for i := range args {
			a.domain(f.Arg(i, len(args)))
		}
		chosen++
	}
	// A call with one argument can be a cast (date(x)), and a column of a row (name(row)).
	if len(args) == 1 && (chosen != 1 || !a.exactly(candidates[0], args)) {
		if t := a.s.FindType(a.in(schema), name); t != nil {
			a.cast(args[0], t.OID)
			chosen++
			if len(candidates) == 0 {
				return typ{oid: t.OID}, nil
			}
		} else if schema == "" {
			a.systemColumn(name)
		}
	}
	if chosen == 0 {
		a.add(writes(fmt.Sprintf("function %s() with %d arguments isn't known", name, len(args))))
		return hidden, nil
	}
	a.populates(candidates, args)
	result := a.result(candidates, args)
	if len(candidates) == 1 && chosen == 1 && exact {
		return result, candidates[0]
	}
	return result, nil
}

// candidates returns the functions of a name that can be called with n arguments, in the order of the path, without
// those that one with the same arguments earlier in the path hides.
func (a *analysis) candidates(schema, name string, n int, loose bool) []*catalog.Function {
	var out []*catalog.Function
	all := a.s.FunctionsNamed(name)
	for _, in := range a.in(schema) {
	next:
		for _, f := range all {
			if f.Schema != in || f.Kind == catalog.KindProcedure || !loose && !f.Accepts(n) {
				continue
			}
			for _, o := range out {
				if o.Schema != in && slices.Equal(o.Args, f.Args) && o.Variadic == f.Variadic {
					continue next
				}
			}
			out = append(out, f)
		}
	}
	return out
}

// choose narrows candidates down as Postgres does (func_get_detail): an exact match is taken at once. Where string
// literals without a type are among the arguments, candidates that match exactly in all others have the most exact
// matches and are the only ones kept (func_select_candidate). Nothing more is done, so that more candidates may be
// left than Postgres would keep, never fewer.
func (a *analysis) choose(candidates []*catalog.Function, args []typ) []*catalog.Function {
	if len(candidates) < 2 {
		return candidates
	}
	for _, f := range candidates {
		if a.exactly(f, args) {
			return []*catalog.Function{f}
		}
	}
	if !slices.ContainsFunc(args, func(t typ) bool { return t.oid == 0 }) {
		var best []*catalog.Function
		for _, f := range candidates {
			if a.matches(f, args) {
				best = append(best, f)
			}
		}
		if len(best) > 0 {
			return best
		}
	}
	var out []*catalog.Function
	for _, f := range candidates {
		if !slices.ContainsFunc(indexed(args), func(arg indexedTyp) bool { return a.j.excluded(arg.t, f.Arg(arg.i, len(args))) }) {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return candidates
	}
	return out
}

type indexedTyp struct {
	i int
	t typ
}

func indexed(args []typ) []indexedTyp {
	out := make([]indexedTyp, len(args))
	for i, t := range args {
		out[i] = indexedTyp{i, t}
	}
	return out
}

// exactly tells whether a function takes exactly these types (an untyped literal is no exact match of anything).
func (a *analysis) exactly(f *catalog.Function, args []typ) bool {
	for i, t := range args {
		if t.oid == 0 || t.oid == oidUnknown || f.Arg(i, len(args)) != t.oid {
			return false
		}
	}
	return true
}

// matches tells whether a function takes exactly these types where they have one, domains counting as what they are
// over.
func (a *analysis) matches(f *catalog.Function, args []typ) bool {
	known := false
	for i, t := range args {
		if t.oid == oidUnknown {
			continue
		}
		known = true
		if f.Arg(i, len(args)) != a.j.base(t.oid) {
			return false
		}
	}
	return known
}

// result is the type of what a call returns, where all candidates agree.
func (a *analysis) result(candidates []*catalog.Function, args []typ) typ {
	var out uint32
	same, solid := true, true
	for i, f := range candidates {
		t := f.Result
		if a.j.pseudo(t) && t != oidRecord {
			t = a.polymorphic(f, args)
		}
		same = same && (i == 0 || t == out)
		solid = solid && t != 0 && !a.j.stringLike(t)
		out = t
	}
	if !same {
		return typ{solid: solid}
	}
	return typ{oid: out}
}

// polymorphic resolves anyelement and anyarray where an argument that is one says it.
func (a *analysis) polymorphic(f *catalog.Function, args []typ) uint32 {
	result := a.s.Type(f.Result)
	if result == nil || !result.Builtin() {
		return 0
	}
	for i, t := range args {
		param, own := a.s.Type(f.Arg(i, len(args))), a.s.Type(t.oid)
		if param == nil || !param.Builtin() || own == nil || own.Kind == catalog.TypePseudo {
			continue
		}
		array := a.s.Type(a.j.base(t.oid)) // a domain over an array counts as the array
		switch result.Name + " from " + param.Name {
		case "anyelement from anyelement", "anynonarray from anynonarray", "anyenum from anyenum":
			return t.oid
		case "anyarray from anyarray":
			return array.OID
		case "anyelement from anyarray":
			return array.Elem
		case "anyarray from anyelement", "anyarray from anynonarray":
			return own.Array
		}
	}
	return 0
}

// window looks at a window definition.
func (a *analysis) window(w *pg.WindowDef, sc *scope) {
	a.exprs(w.PartitionClause, sc)
	a.exprs(w.OrderClause, sc)
	for _, n := range []*pg.Node{w.StartOffset, w.EndOffset} {
		if n != nil {
			a.expr(n, sc)
		}
	}
	if len(w.OrderClause) > 0 && (w.StartOffset != nil || w.EndOffset != nil) {
		// RANGE with an offset calls in_range functions, found through the operator class of the sort column.
		for _, f := range a.s.FunctionsNamed("in_range") {
			a.function(f)
		}
	}
}

// populating are the functions that make rows of JSON, whose type is that of their first argument, or in the column definitions
// that follow them.
var populating = names(map[string]string{
	"": `json_populate_record json_populate_recordset json_to_record json_to_recordset
		jsonb_populate_record jsonb_populate_recordset jsonb_to_record jsonb_to_recordset`,
})

// populates looks at what the values of JSON are turned into: their text is read as that of the columns' types. (For column
// definitions, columnDefs does it.)
func (a *analysis) populates(candidates []*catalog.Function, args []typ) {
	for _, f := range candidates {
		if _, ok := populating[f.Name]; !ok || !f.Builtin() || len(args) == 1 {
			continue
		}
		if t := a.s.Type(a.j.base(args[0].oid)); t == nil || t.Kind != catalog.TypeComposite || a.j.readsClock(args[0].oid) {
			a.add(notCacheable("function " + f.Name + "() can turn strings into dates, and so read the clock"))
			continue
		}
		a.cast(typ{oid: oidText}, args[0].oid)
	}
}
