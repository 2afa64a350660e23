package router

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// from looks at a FROM clause and adds what it names to the scope.
func (a *analysis) from(list []*pg.Node, sc *scope) {
	for _, n := range list {
		a.fromItem(n, sc)
	}
}

func (a *analysis) fromItem(n *pg.Node, sc *scope) {
	a.visit(n)
	switch x := n.Node.(type) {
	case *pg.Node_RangeVar:
		a.addTable(sc, a.rangeVar(x.RangeVar, sc), x.RangeVar.Alias)
	case *pg.Node_RangeSubselect:
		a.visit(x.RangeSubselect.Subquery)
		// Without LATERAL, the other items of this FROM clause aren't seen.
		outer := &scope{parent: sc.parent, ctes: sc.ctes}
		if x.RangeSubselect.Lateral {
			outer.tables, outer.using, outer.natural = slices.Clone(sc.tables), sc.using, sc.natural
		}
		a.addTable(sc, a.selectStmt(x.RangeSubselect.Subquery.GetSelectStmt(), outer), x.RangeSubselect.Alias)
	case *pg.Node_RangeFunction:
		a.addTable(sc, a.rangeFunction(x.RangeFunction, sc), x.RangeFunction.Alias)
	case *pg.Node_RangeTableSample:
		a.sample(x.RangeTableSample, sc)
	case *pg.Node_JoinExpr:
		a.join(x.JoinExpr, sc)
	case *pg.Node_RangeTableFunc:
		a.addTable(sc, a.xmlTable(x.RangeTableFunc, sc), x.RangeTableFunc.Alias)
	default: // JSON_TABLE …
		a.notUnderstood(n)
		sc.tables = append(sc.tables, &table{partial: true})
	}
}

// addTable adds a FROM item under its alias.
func (a *analysis) addTable(sc *scope, t *table, alias *pg.Alias) {
	if alias != nil {
		t = t.renamed(alias.Aliasname, a.strings(alias.Colnames))
	}
	sc.tables = append(sc.tables, t)
}

func (a *analysis) join(x *pg.JoinExpr, sc *scope) {
	before := len(sc.tables)
	a.fromItem(x.Larg, sc)
	middle := len(sc.tables)
	a.fromItem(x.Rarg, sc)
	if x.IsNatural {
		sc.natural = true
		a.operator("", "=", hidden, hidden)
	}
	left, right := &scope{tables: sc.tables[before:middle]}, &scope{tables: sc.tables[middle:]}
	for _, name := range a.strings(x.UsingClause) {
		l, _ := left.column(name)
		r, _ := right.column(name)
		a.operator("", "=", l, r)
		if sc.using == nil {
			sc.using = map[string]bool{}
		}
		sc.using[name] = true
	}
	if x.Quals != nil {
		a.expr(x.Quals, sc)
	}
	if x.JoinUsingAlias != nil {
		a.strings(x.JoinUsingAlias.Colnames)
		sc.tables = append(sc.tables, &table{name: x.JoinUsingAlias.Aliasname, partial: true})
	}
	if x.Alias != nil {
		// The tables in it can't be named any more.
		a.strings(x.Alias.Colnames)
		sc.tables = append(slices.Clone(sc.tables[:before]), &table{name: x.Alias.Aliasname, partial: true})
	}
}

// sample looks at TABLESAMPLE.
func (a *analysis) sample(x *pg.RangeTableSample, sc *scope) {
	a.add(notCacheable("TABLESAMPLE depends on how rows are stored"))
	schema, name := a.qualified(x.Method)
	if (schema != "" && schema != "pg_catalog") || (name != "bernoulli" && name != "system") {
		a.add(writes("TABLESAMPLE method " + name + " isn't known"))
	}
	a.exprs(x.Args, sc)
	if x.Repeatable != nil {
		a.expr(x.Repeatable, sc)
	}
	a.fromItem(x.Relation, sc)
}

// rangeFunction looks at functions in FROM. They see what stands before them (LATERAL is implied).
func (a *analysis) rangeFunction(x *pg.RangeFunction, sc *scope) *table {
	out := &table{partial: true}
	for _, n := range x.Functions {
		a.visit(n)
		list := n.GetList()
		if list == nil || len(list.Items) == 0 {
			a.notUnderstood(n)
			continue
		}
		for i, item := range list.Items {
			switch {
			case item.Node == nil: // no column definitions
				a.visit(item)
			case i == 0:
				if call := item.GetFuncCall(); call != nil && len(x.Functions) == 1 {
					a.visit(item)
					t, chosen := a.call(call, sc)
					out = a.functionTable(call, t, chosen)
				} else {
					a.expr(item, sc)
				}
			case item.GetList() != nil:
				a.visit(item)
				a.columnDefs(item.GetList().Items, readsText(list.Items[0]))
				out = &table{partial: true}
			default:
				a.notUnderstood(item)
			}
		}
	}
	if len(x.Coldeflist) > 0 {
		out = a.columnDefs(x.Coldeflist, readsText(x.Functions[0].GetList().GetItems()[0]))
	}
	if x.Ordinality {
		out = &table{columns: append(slices.Clone(out.columns), column{"ordinality", typ{oid: oidInt8}}), partial: out.partial}
	}
	return out
}

// readsText tells whether the columns of a function that returns records are made from text.
func readsText(n *pg.Node) bool {
	_, ok := populating[lastName(n.GetFuncCall().GetFuncname())]
	return ok
}

// columnDefs looks at AS (name type, …) of a function that returns records.
func (a *analysis) columnDefs(list []*pg.Node, fromText bool) *table {
	out := &table{}
	for _, n := range list {
		a.visit(n)
		def := n.GetColumnDef()
		if def == nil {
			a.notUnderstood(n)
			continue
		}
		t := a.resolveType(def.TypeName)
		if t != 0 && fromText {
			a.cast(typ{oid: oidText}, t)
		}
		if def.CollClause != nil {
			a.strings(def.CollClause.Collname)
		}
		out.columns = append(out.columns, column{def.Colname, typ{oid: t}})
	}
	return out
}

// functionTable is what a function in FROM gives, where one function was chosen.
func (a *analysis) functionTable(call *pg.FuncCall, result typ, chosen *catalog.Function) *table {
	if result.solid && chosen == nil {
		return &table{name: lastName(call.Funcname), columns: []column{{lastName(call.Funcname), result}}, scalar: true}
	}
	if chosen == nil || result.oid == 0 || result.oid == oidRecord && len(chosen.Columns) == 0 {
		return &table{partial: true}
	}
	out := &table{name: chosen.Name}
	if len(chosen.Columns) > 0 {
		for i, c := range chosen.Columns {
			t := typ{oid: c.Type}
			if a.j.pseudo(c.Type) {
				t = hidden
			}
			name := c.Name
			if name == "" {
				name = "column" + itoa(i+1)
			}
			if len(chosen.Columns) == 1 {
				return &table{partial: true} // named by the function or its alias
			}
			out.columns = append(out.columns, column{name, t})
		}
		return out
	}
	t := a.s.Type(a.j.base(result.oid))
	if t == nil || t.Kind == catalog.TypePseudo {
		return &table{partial: true}
	}
	if t.Kind == catalog.TypeComposite {
		r := a.s.Relation(t.Relation)
		if r == nil || r.System() {
			return &table{partial: true}
		}
		return relationTable(r)
	}
	// One column, named by the alias if there is one, else by the function.
	return &table{name: chosen.Name, columns: []column{{chosen.Name, typ{oid: result.oid}}}, scalar: true}
}

// xmlTable looks at XMLTABLE, whose columns are made from text.
func (a *analysis) xmlTable(x *pg.RangeTableFunc, sc *scope) *table {
	a.expr(x.Docexpr, sc)
	a.expr(x.Rowexpr, sc)
	for _, n := range x.Namespaces {
		a.visit(n)
		if rt := n.GetResTarget(); rt != nil && len(rt.Indirection) == 0 {
			a.expr(rt.Val, sc)
		} else {
			a.notUnderstood(n)
		}
	}
	out := &table{name: "xmltable"}
	for _, n := range x.Columns {
		a.visit(n)
		c := n.GetRangeTableFuncCol()
		if c == nil {
			a.notUnderstood(n)
			continue
		}
		t := uint32(oidInt4)
		if !c.ForOrdinality {
			if t = a.resolveType(c.TypeName); t != 0 {
				a.cast(typ{oid: oidText}, t)
			}
		}
		for _, e := range []*pg.Node{c.Colexpr, c.Coldefexpr} {
			if e != nil {
				a.expr(e, sc)
			}
		}
		out.columns = append(out.columns, column{c.Colname, typ{oid: t}})
	}
	return out
}

func relationTable(r *catalog.Relation) *table {
	out := &table{name: r.Name}
	for _, c := range r.Columns {
		out.columns = append(out.columns, column{c.Name, typ{oid: c.Type}})
	}
	return out
}
