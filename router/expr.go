package router

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

func (a *analysis) exprs(list []*pg.Node, sc *scope) {
	for _, n := range list {
		a.expr(n, sc)
	}
}

// expr looks at an expression and returns its type, as far as it is known.
func (a *analysis) expr(n *pg.Node, sc *scope) typ {
	if n == nil {
		return hidden
	}
	a.visit(n)
	switch x := n.Node.(type) {
	case *pg.Node_AConst:
		return a.constant(x.AConst)
	case *pg.Node_ParamRef:
		return a.parameter(int(x.ParamRef.Number) - 1)
	case *pg.Node_ColumnRef:
		return a.columnRef(x.ColumnRef, sc)
	case *pg.Node_FuncCall:
		t, _ := a.call(x.FuncCall, sc)
		return t
	case *pg.Node_AExpr:
		return a.aExpr(x.AExpr, sc)
	case *pg.Node_TypeCast:
		arg := a.expr(x.TypeCast.Arg, sc)
		if array := x.TypeCast.Arg.GetAArrayExpr(); array != nil {
			arg.literal = allLiteral(array)
		}
		target := a.resolveType(x.TypeCast.TypeName)
		if target == 0 {
			return hidden
		}
		if row := x.TypeCast.Arg.GetRowExpr(); row != nil && a.castRow(row, target) {
			return typ{oid: target}
		}
		a.cast(arg, target)
		return typ{oid: target}
	case *pg.Node_BoolExpr:
		a.exprs(x.BoolExpr.Args, sc)
		return typ{oid: oidBool}
	case *pg.Node_NullTest:
		a.expr(x.NullTest.Arg, sc)
		return typ{oid: oidBool}
	case *pg.Node_BooleanTest:
		a.expr(x.BooleanTest.Arg, sc)
		return typ{oid: oidBool}
	case *pg.Node_CaseExpr:
		return a.caseExpr(x.CaseExpr, sc)
	case *pg.Node_CoalesceExpr:
		return a.common(x.CoalesceExpr.Args, sc)
	case *pg.Node_MinMaxExpr:
		return a.common(x.MinMaxExpr.Args, sc)
	case *pg.Node_SubLink:
		return a.subLink(x.SubLink, sc)
	case *pg.Node_AArrayExpr:
		t := a.common(x.AArrayExpr.Elements, sc)
		if elem := a.s.Type(t.oid); elem != nil && elem.Array != 0 && t.oid != oidUnknown {
			return typ{oid: elem.Array}
		}
		return hidden
	case *pg.Node_RowExpr:
		for _, n := range x.RowExpr.Args {
			a.rowTypes[n] = a.expr(n, sc)
		}
		return hidden
	case *pg.Node_List:
		a.exprs(x.List.Items, sc)
		return hidden
	case *pg.Node_AIndirection:
		return a.indirection(x.AIndirection, sc)
	case *pg.Node_CollateClause:
		a.strings(x.CollateClause.Collname)
		t := a.expr(x.CollateClause.Arg, sc)
		return typ{oid: t.oid}
	case *pg.Node_SqlvalueFunction:
		return a.valueFunction(x.SqlvalueFunction)
	case *pg.Node_GroupingFunc:
		a.exprs(x.GroupingFunc.Args, sc)
		return typ{oid: oidInt4}
	case *pg.Node_GroupingSet:
		a.exprs(x.GroupingSet.Content, sc)
		return hidden
	case *pg.Node_SortBy:
		t := a.expr(x.SortBy.Node, sc)
		if len(x.SortBy.UseOp) > 0 {
			schema, name := a.qualified(x.SortBy.UseOp)
			a.operator(schema, name, t, t)
		}
		return hidden
	case *pg.Node_NamedArgExpr:
		return a.expr(x.NamedArgExpr.Arg, sc)
	case *pg.Node_XmlExpr:
		// They depend on xmlbinary and xmloption, which are in the key.
		a.exprs(x.XmlExpr.Args, sc)
		for _, arg := range x.XmlExpr.NamedArgs {
			a.visit(arg)
			if rt := arg.GetResTarget(); rt != nil && len(rt.Indirection) == 0 {
				a.expr(rt.Val, sc)
			} else {
				a.notUnderstood(arg)
			}
		}
		if x.XmlExpr.Op == pg.XmlExprOp_IS_DOCUMENT {
			return typ{oid: oidBool}
		}
		return typ{oid: oidXML}
	case *pg.Node_XmlSerialize:
		a.expr(x.XmlSerialize.Expr, sc)
		t := a.resolveType(x.XmlSerialize.TypeName)
		if t != 0 {
			a.cast(typ{oid: oidText}, t)
		}
		return typ{oid: t}
	}
	if !a.jsonExpr(n, sc) {
		a.notUnderstood(n)
	}
	return hidden
}

// parameter is a parameter of the statement, whose value is asked about when it comes, or an argument.
func (a *analysis) parameter(i int) typ {
	if i < 0 || i >= len(a.params) || a.params[i] == 0 {
		if a.stored {
			return hidden
		}
		return untyped
	}
	if p := a.j.typeProblem(a.params[i]); p != "" {
		a.add(notCacheable(p))
	}
	return typ{oid: a.params[i], literal: !a.stored}
}

// constant must not look at values: a plan is that of the fingerprint, which has only their classes.
func (a *analysis) constant(c *pg.A_Const) typ {
	switch x := c.Val.(type) {
	case *pg.A_Const_Ival:
		return typ{oid: oidInt4}
	case *pg.A_Const_Fval:
		// make_const()
		s := scanner{text: []byte(trimMinus(x.Fval.GetFval()))}
		negative := len(s.text) < len(x.Fval.GetFval())
		switch s.next().kind {
		case tokenInt4:
			return typ{oid: oidInt4}
		case tokenInt4Min:
			if negative {
				return typ{oid: oidInt4}
			}
			return typ{oid: oidInt8}
		case tokenInt8:
			return typ{oid: oidInt8}
		case tokenInt8Min:
			if negative {
				return typ{oid: oidInt8}
			}
		}
		return typ{oid: oidNumeric}
	case *pg.A_Const_Boolval:
		return typ{oid: oidBool}
	case *pg.A_Const_Bsval:
		return typ{oid: oidBit}
	}
	return untyped // a string or NULL
}

func trimMinus(s string) string {
	if len(s) > 0 && s[0] == '-' {
		return s[1:]
	}
	return s
}

// allLiteral tells whether an array constructor consists of string literals and parameters: a cast of it is a cast of
// each.
func allLiteral(x *pg.A_ArrayExpr) bool {
	for _, n := range x.Elements {
		switch e := n.Node.(type) {
		case *pg.Node_AConst, *pg.Node_ParamRef:
		case *pg.Node_AArrayExpr:
			if !allLiteral(e.AArrayExpr) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// common looks at expressions that Postgres brings to a common type (select_common_type).
func (a *analysis) common(list []*pg.Node, sc *scope) typ {
	var out typ
	literals := false
	for i, n := range list {
		t := a.expr(n, sc)
		literals = literals || t.oid == oidUnknown
		switch {
		case i == 0 || out.oid == oidUnknown:
			out = typ{oid: t.oid}
		case t.oid == oidUnknown || t.oid == out.oid:
		default:
			return a.rest(list[i+1:], sc)
		}
	}
	if out.oid == oidUnknown {
		return hidden // text, or what its surroundings want
	}
	if literals {
		out.oid = a.j.base(out.oid) // only where all are of one domain does it stay one
	}
	return out
}

func (a *analysis) rest(list []*pg.Node, sc *scope) typ {
	a.exprs(list, sc)
	return hidden
}

func (a *analysis) caseExpr(x *pg.CaseExpr, sc *scope) typ {
	var arg typ
	if x.Arg != nil {
		arg = a.expr(x.Arg, sc)
		if arg.oid == oidUnknown {
			arg = hidden // it becomes text
		}
	}
	var results []*pg.Node
	for _, n := range x.Args {
		a.visit(n)
		w := n.GetCaseWhen()
		if w == nil {
			a.notUnderstood(n)
			continue
		}
		t := a.expr(w.Expr, sc)
		if x.Arg != nil {
			a.operator("", "=", arg, t)
		}
		results = append(results, w.Result)
	}
	if x.Defresult != nil {
		results = append(results, x.Defresult)
	}
	return a.common(results, sc)
}

func (a *analysis) subLink(x *pg.SubLink, sc *scope) typ {
	a.visit(x.Subselect)
	t := a.selectStmt(x.Subselect.GetSelectStmt(), sc)
	first := hidden
	if !t.partial && len(t.columns) == 1 {
		first = t.columns[0].typ
	}
	switch x.SubLinkType {
	case pg.SubLinkType_ANY_SUBLINK, pg.SubLinkType_ALL_SUBLINK:
		test := a.expr(x.Testexpr, sc)
		name, schema := "=", ""
		if len(x.OperName) > 0 {
			schema, name = a.qualified(x.OperName)
		}
		a.operator(schema, name, test, first)
		return typ{oid: oidBool}
	case pg.SubLinkType_EXISTS_SUBLINK:
		return typ{oid: oidBool}
	case pg.SubLinkType_EXPR_SUBLINK:
		return first
	case pg.SubLinkType_ARRAY_SUBLINK:
		if elem := a.s.Type(first.oid); elem != nil && elem.Array != 0 {
			return typ{oid: elem.Array}
		}
		return hidden
	}
	a.add(writes("a subquery isn't understood"))
	return hidden
}

// valueFunction looks at the functions of the SQL standard that are written without parentheses.
func (a *analysis) valueFunction(x *pg.SQLValueFunction) typ {
	clock := func(name string, oid uint32) typ {
		a.add(notCacheable(name + " reads the clock"))
		return typ{oid: oid}
	}
	switch x.Op {
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_DATE:
		return clock("CURRENT_DATE", oidDate)
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_TIME, pg.SQLValueFunctionOp_SVFOP_CURRENT_TIME_N:
		return clock("CURRENT_TIME", oidTimetz)
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP, pg.SQLValueFunctionOp_SVFOP_CURRENT_TIMESTAMP_N:
		return clock("CURRENT_TIMESTAMP", oidTimestamptz)
	case pg.SQLValueFunctionOp_SVFOP_LOCALTIME, pg.SQLValueFunctionOp_SVFOP_LOCALTIME_N:
		return clock("LOCALTIME", oidTime)
	case pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP, pg.SQLValueFunctionOp_SVFOP_LOCALTIMESTAMP_N:
		return clock("LOCALTIMESTAMP", oidTimestamp)
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_CATALOG:
		return typ{oid: oidName} // the database is in the key
	case pg.SQLValueFunctionOp_SVFOP_CURRENT_SCHEMA, pg.SQLValueFunctionOp_SVFOP_CURRENT_ROLE, pg.SQLValueFunctionOp_SVFOP_CURRENT_USER,
		pg.SQLValueFunctionOp_SVFOP_USER, pg.SQLValueFunctionOp_SVFOP_SESSION_USER:
		// Search path and role are in the key.
	default:
		a.add(writes("a function without parentheses isn't understood"))
	}
	return typ{oid: oidName}
}

// systemColumns are the columns that every table has, and whether they change without a change of the row that is in the WAL
// feed: where it is stored (VACUUM FULL), and who has locked it. (Freezing doesn't show in xmin since 9.4.)
var systemColumns = map[string]bool{"ctid": true, "xmin": false, "xmax": true, "cmin": true, "cmax": true, "tableoid": false}

// systemColumn looks at a column by its name, if that is one of them; ok says so.
func (a *analysis) systemColumn(name string) (t typ, ok bool) {
	moves, ok := systemColumns[name]
	switch {
	case moves:
		a.add(notCacheable("system column " + name + " isn't kept right by the WAL"))
	case name == "tableoid":
		return typ{oid: oidOID}, true
	}
	return hidden, ok
}

func (a *analysis) columnRef(x *pg.ColumnRef, sc *scope) typ {
	var parts []string
	for _, f := range x.Fields {
		a.visit(f)
		switch f := f.Node.(type) {
		case *pg.Node_String_:
			parts = append(parts, f.String_.Sval)
		case *pg.Node_AStar: // count(t.*), ROW(t.*)
			return hidden
		default:
			a.add(writes("a column reference isn't understood"))
			return hidden
		}
	}
	if len(parts) == 0 {
		return hidden
	}
	last := parts[len(parts)-1]
	if t, ok := a.systemColumn(last); ok {
		return t
	}
	switch len(parts) {
	case 1:
		if t, found := sc.column(last); found {
			if v, ok := a.variables[last]; ok && v != t {
				return hidden // one of the two
			}
			return t
		}
		return hidden // a whole row, or an error
	case 2:
		t := sc.table(parts[0])
		if t == nil {
			break
		}
		if ct, ok := t.column(last); ok {
			return ct
		}
	case 3, 4:
		// schema.table.column
		t := sc.table(parts[len(parts)-2])
		if t == nil {
			break
		}
		if ct, ok := t.column(last); ok {
			return ct
		}
	}
	// row.function is function(row).
	a.projection(last)
	return hidden
}

// projection looks at what may be a call of a function with a row as its only argument: row.name, (expr).name. It
// need not be one, so only functions that are there are looked at.
func (a *analysis) projection(name string) {
	for _, f := range a.s.FunctionsNamed(name) {
		if f.Accepts(1) && f.Kind != catalog.KindProcedure {
			a.function(f)
		}
	}
}

// indirection looks at subscripts and fields of an expression.
func (a *analysis) indirection(x *pg.A_Indirection, sc *scope) typ {
	t := a.expr(x.Arg, sc)
	for _, n := range x.Indirection {
		a.visit(n)
		switch i := n.Node.(type) {
		case *pg.Node_AIndices:
			for _, n := range []*pg.Node{i.AIndices.Lidx, i.AIndices.Uidx} {
				if n != nil {
					a.expr(n, sc)
				}
			}
			elem := a.s.Type(a.j.base(t.oid))
			switch {
			case elem != nil && elem.Elem != 0 && !i.AIndices.IsSlice:
				t = typ{oid: elem.Elem}
			case elem != nil && elem.Elem != 0:
			case elem != nil && elem.OID == oidJSONB:
				t = typ{oid: oidJSONB}
			default:
				t = hidden
			}
		case *pg.Node_String_:
			name := i.String_.Sval
			a.systemColumn(name)
			t = a.field(t, name)
		case *pg.Node_AStar:
			t = hidden
		default:
			a.notUnderstood(n)
			t = hidden
		}
	}
	return t
}

// field is the type of (expr).name.
func (a *analysis) field(t typ, name string) typ {
	if c := a.s.Type(a.j.base(t.oid)); c != nil && c.Kind == catalog.TypeComposite {
		if r := a.s.Relation(c.Relation); r != nil {
			if col, ok := r.Column(name); ok {
				return typ{oid: col.Type}
			}
		}
	}
	a.projection(name)
	return hidden
}
