package router

import (
	pg "github.com/pganalyze/pg_query_go/v6"
)

// selectStmt looks at a SELECT, VALUES or set operation, and returns what its columns are.
func (a *analysis) selectStmt(s *pg.SelectStmt, outer *scope) *table {
	if s == nil {
		a.add(writes("a query isn't understood"))
		return &table{partial: true}
	}
	sc := outer.inner()
	a.with(s.WithClause, sc)
	if into := s.IntoClause; into != nil {
		a.add(writes("SELECT INTO creates a table"))
		if r := into.Rel; r != nil && r.Relpersistence == "t" {
			a.add(effect{binds: "temporary table"})
		}
		g := generic{j: a.j, path: a.path}
		g.message(into.ProtoReflect())
		a.add(g.effect)
		each(into.ProtoReflect(), func(n *pg.Node) bool { a.visit(n); return true })
	}
	for _, n := range s.LockingClause {
		a.visit(n)
		lock := n.GetLockingClause()
		if lock == nil {
			a.notUnderstood(n)
			continue
		}
		a.add(writes("a locking clause (FOR UPDATE, FOR SHARE …) locks rows"))
		for _, r := range lock.LockedRels {
			a.visit(r)
			if r.GetRangeVar() == nil {
				a.notUnderstood(r)
			}
		}
	}
	var out *table
	switch {
	case s.Op == pg.SetOperation_SETOP_UNION || s.Op == pg.SetOperation_SETOP_INTERSECT || s.Op == pg.SetOperation_SETOP_EXCEPT:
		left, right := a.selectStmt(s.Larg, sc), a.selectStmt(s.Rarg, sc)
		out = merge(left, right)
	case len(s.ValuesLists) > 0:
		out = a.values(s.ValuesLists, sc)
	default:
		a.from(s.FromClause, sc)
		out = a.targets(s.TargetList, sc)
	}
	if s.WhereClause != nil {
		a.expr(s.WhereClause, sc)
	}
	for _, n := range s.DistinctClause {
		if n.Node == nil { // plain DISTINCT is a list of one empty node
			a.visit(n)
			continue
		}
		a.expr(n, sc)
	}
	// Names in ORDER BY and GROUP BY can be those of result columns; their types don't matter there.
	for _, n := range s.GroupClause {
		a.expr(n, sc)
	}
	if s.HavingClause != nil {
		a.expr(s.HavingClause, sc)
	}
	for _, n := range s.WindowClause {
		a.visit(n)
		if w := n.GetWindowDef(); w != nil {
			a.window(w, sc)
		} else {
			a.notUnderstood(n)
		}
	}
	a.exprs(s.SortClause, sc)
	for _, n := range []*pg.Node{s.LimitOffset, s.LimitCount} {
		if n != nil {
			a.expr(n, sc)
		}
	}
	return out
}

// with looks at a WITH clause and makes its names known.
func (a *analysis) with(w *pg.WithClause, sc *scope) {
	if w == nil {
		return
	}
	sc.ctes = map[string]*table{}
	if w.Recursive {
		for _, n := range w.Ctes {
			if c := n.GetCommonTableExpr(); c != nil {
				sc.ctes[c.Ctename] = &table{name: c.Ctename, partial: true}
			}
		}
	}
	for _, n := range w.Ctes {
		a.visit(n)
		c := n.GetCommonTableExpr()
		if c == nil {
			a.notUnderstood(n)
			continue
		}
		names := a.strings(c.Aliascolnames)
		if c.SearchClause != nil {
			a.strings(c.SearchClause.SearchColList)
		}
		if c.CycleClause != nil {
			a.strings(c.CycleClause.CycleColList)
			for _, n := range []*pg.Node{c.CycleClause.CycleMarkValue, c.CycleClause.CycleMarkDefault} {
				if n != nil {
					a.expr(n, nil)
				}
			}
		}
		out := &table{partial: true}
		if s := c.Ctequery.GetSelectStmt(); s != nil {
			a.visit(c.Ctequery)
			out = a.selectStmt(s, sc)
		} else {
			a.add(writes("a WITH clause modifies data"))
			a.skip(c.Ctequery)
		}
		out = out.renamed(c.Ctename, names)
		if c.SearchClause != nil || c.CycleClause != nil {
			out.partial = true
		}
		sc.ctes[c.Ctename] = out
	}
}

// merge returns the columns of a set operation.
func merge(left, right *table) *table {
	out := &table{partial: left.partial || len(left.columns) != len(right.columns)}
	for i, c := range left.columns {
		switch {
		case left.partial || right.partial || i >= len(right.columns):
			c.typ = hidden
		case c.typ == right.columns[i].typ:
		default:
			c.typ = hidden
		}
		out.columns = append(out.columns, c)
	}
	return out
}

// values looks at VALUES lists.
func (a *analysis) values(lists []*pg.Node, sc *scope) *table {
	out := &table{}
	for row, n := range lists {
		a.visit(n)
		list := n.GetList()
		if list == nil {
			a.notUnderstood(n)
			continue
		}
		for i, item := range list.Items {
			t := settled(a.expr(item, sc))
			switch {
			case row == 0:
				out.columns = append(out.columns, column{"column" + itoa(i+1), t})
			case i < len(out.columns) && out.columns[i].typ != t:
				out.columns[i].typ = hidden
			}
		}
	}
	return out
}

// settled is the type of an expression as a column of a subquery, where an untyped literal becomes text. (In a row of
// VALUES it may become something else, so it isn't known there.)
func settled(t typ) typ {
	if t.oid == oidUnknown {
		return hidden
	}
	return typ{oid: t.oid, solid: t.solid}
}

// targets looks at a target list.
func (a *analysis) targets(list []*pg.Node, sc *scope) *table {
	out := &table{}
	for _, n := range list {
		a.visit(n)
		rt := n.GetResTarget()
		if rt == nil || rt.Val == nil || len(rt.Indirection) > 0 {
			a.notUnderstood(n)
			out.partial = true
			continue
		}
		if ref := rt.Val.GetColumnRef(); ref != nil && len(ref.Fields) > 0 && ref.Fields[len(ref.Fields)-1].GetAStar() != nil {
			a.visit(rt.Val)
			a.star(ref, sc, out)
			continue
		}
		t := a.expr(rt.Val, sc)
		if ind := rt.Val.GetAIndirection(); ind != nil && len(ind.Indirection) > 0 && ind.Indirection[len(ind.Indirection)-1].GetAStar() != nil {
			out.partial = true
			continue
		}
		name := rt.Name
		if name == "" {
			name = figureName(rt.Val)
		}
		out.columns = append(out.columns, column{name, settled(t)})
	}
	return out
}

// star adds the columns of * or table.*.
func (a *analysis) star(ref *pg.ColumnRef, sc *scope, out *table) {
	for _, f := range ref.Fields {
		a.visit(f)
	}
	tables := sc.tables
	switch len(ref.Fields) {
	case 1:
		if len(tables) > 1 && (sc.natural || len(sc.using) > 0) {
			out.partial = true // merged columns come first, and once
			return
		}
	case 2:
		t := sc.table(ref.Fields[0].GetString_().GetSval())
		if t == nil {
			out.partial = true // a composite column, perhaps
			return
		}
		tables = []*table{t}
	default:
		out.partial = true
		return
	}
	for _, t := range tables {
		out.partial = out.partial || t.partial
		out.columns = append(out.columns, t.columns...)
	}
}

// figureName is the name that Postgres gives to a column without AS (FigureColname), where it comes from a name in
// the expression.
func figureName(n *pg.Node) string {
	last := func(list []*pg.Node) string {
		if len(list) == 0 {
			return ""
		}
		return list[len(list)-1].GetString_().GetSval()
	}
	switch x := n.Node.(type) {
	case *pg.Node_ColumnRef:
		return last(x.ColumnRef.Fields)
	case *pg.Node_FuncCall:
		return last(x.FuncCall.Funcname)
	case *pg.Node_TypeCast:
		if name := figureName(x.TypeCast.Arg); name != "" {
			return name
		}
		return last(x.TypeCast.TypeName.GetNames())
	case *pg.Node_CollateClause:
		return figureName(x.CollateClause.Arg)
	case *pg.Node_CoalesceExpr:
		return "coalesce"
	case *pg.Node_AIndirection:
		if name := last(x.AIndirection.Indirection); name != "" {
			return name
		}
		return figureName(x.AIndirection.Arg)
	case *pg.Node_CaseExpr:
		if x.CaseExpr.Defresult != nil {
			if name := figureName(x.CaseExpr.Defresult); name != "" {
				return name
			}
		}
		return "case"
	case *pg.Node_AArrayExpr:
		return "array"
	case *pg.Node_RowExpr:
		return "row"
	case *pg.Node_MinMaxExpr:
		if x.MinMaxExpr.Op == pg.MinMaxOp_IS_LEAST {
			return "least"
		}
		return "greatest"
	case *pg.Node_SubLink:
		switch x.SubLink.SubLinkType {
		case pg.SubLinkType_EXISTS_SUBLINK:
			return "exists"
		case pg.SubLinkType_ARRAY_SUBLINK:
			return "array"
		case pg.SubLinkType_EXPR_SUBLINK:
			if s := x.SubLink.Subselect.GetSelectStmt(); s != nil && len(s.TargetList) > 0 {
				rt := s.TargetList[0].GetResTarget()
				if rt.GetName() != "" {
					return rt.Name
				}
				if rt.GetVal() != nil {
					return figureName(rt.Val)
				}
			}
		}
	}
	return ""
}
