package router

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// level is one SELECT, VALUES or set operation, with the names in it looked up.
type level struct {
	names       *naming
	query       *pg.SelectStmt
	left, right *level // of a set operation
	from        *join  // nil: nothing
	out         []outColumn
	partial     bool // out isn't known
	exprs       []scoped
}

// outColumn is a column of a level's result. It has a type and kind only if it is a column of an item, ref.
type outColumn struct {
	itemColumn
	ref ref
}

// scoped is an expression that may have subqueries in it, with what they see around them.
type scoped struct {
	expr  *pg.Node
	names *naming
}

// join is a node of the tree of joins. A leaf has an item.
type join struct {
	it    *item
	kind  pg.JoinType
	l, r  *join
	quals *pg.Node
	names *naming  // of quals
	using [][2]ref // columns that are equal
	items []*item  // all in it
}

// maxLevels bounds the work: common table expressions and views are looked at each time that they are read.
const maxLevels = 1000

// build looks up the names of a query.
func (d *rowDeps) build(s *pg.SelectStmt, parent *naming) *level {
	if d.levels++; d.levels > maxLevels || s == nil {
		d.lost = true
		return &level{names: &naming{parent: parent, source: parent.source}, query: &pg.SelectStmt{}, partial: true}
	}
	if s.WithClause != nil {
		parent = d.with(s.WithClause, parent)
	}
	l := &level{names: &naming{parent: parent, source: parent.source}, query: s}
	switch {
	case s.Larg != nil || s.Rarg != nil:
		l.left, l.right = d.build(s.Larg, parent), d.build(s.Rarg, parent)
		l.union()
	case len(s.ValuesLists) > 0:
		for i := range s.ValuesLists[0].GetList().GetItems() {
			l.out = append(l.out, outColumn{itemColumn: itemColumn{name: "column" + itoa(i+1)}})
		}
		l.look(l.names, s.ValuesLists...)
	default:
		for _, n := range s.FromClause {
			part, seen := d.fromItem(l, n, l.names)
			l.names = seen.beside(l.names)
			if l.from != nil {
				part = &join{kind: pg.JoinType_JOIN_INNER, l: l.from, r: part, items: slices.Concat(l.from.items, part.items)}
			}
			l.from = part
		}
		l.targets(s.TargetList)
	}
	l.look(l.names, s.WhereClause, s.HavingClause, s.LimitCount, s.LimitOffset)
	for _, list := range [][]*pg.Node{s.TargetList, s.DistinctClause, s.GroupClause, s.WindowClause, s.SortClause} {
		l.look(l.names, list...)
	}
	return l
}

func (l *level) look(sc *naming, exprs ...*pg.Node) {
	for _, n := range exprs {
		if n != nil {
			l.exprs = append(l.exprs, scoped{n, sc})
		}
	}
}

// with makes the names of common table expressions known. Each sees those before it, and all if they are recursive.
func (d *rowDeps) with(w *pg.WithClause, parent *naming) *naming {
	all := map[string]*cte{}
	for _, n := range w.Ctes {
		c := n.GetCommonTableExpr()
		if c == nil {
			continue
		}
		e := &cte{name: c.Ctename, query: c.Ctequery.GetSelectStmt(), columns: c.Aliascolnames, names: parent,
			whole: w.Recursive || c.SearchClause != nil || c.CycleClause != nil}
		if w.Recursive {
			all[e.name] = e
			continue
		}
		parent = &naming{parent: parent, source: parent.source, ctes: map[string]*cte{e.name: e}}
	}
	if w.Recursive {
		parent = &naming{parent: parent, source: parent.source, ctes: all}
		for _, e := range all {
			e.names = parent
		}
	}
	return parent
}

// beside puts together what stands side by side in a FROM clause.
func (sc *naming) beside(left *naming) *naming {
	out := &naming{parent: left.parent, source: left.source, items: slices.Concat(left.items, sc.items), loose: left.loose || sc.loose}
	for _, using := range []map[string]ref{left.using, sc.using} {
		for name, r := range using {
			if out.using == nil {
				out.using = map[string]ref{}
			}
			if _, twice := out.using[name]; twice {
				r = ref{}
			}
			out.using[name] = r
		}
	}
	return out
}

// fromItem looks up an item of a FROM clause. before is what stands before it, which LATERAL sees. What is returned has the items
// whose columns can be named.
func (d *rowDeps) fromItem(l *level, n *pg.Node, before *naming) (*join, *naming) {
	switch x := n.Node.(type) {
	case *pg.Node_RangeVar:
		return leaf(d.rangeVar(x.RangeVar, before).alias(x.RangeVar.Alias), before)
	case *pg.Node_RangeSubselect:
		outer := &naming{parent: before.parent, source: before.source}
		if x.RangeSubselect.Lateral {
			outer = before
		}
		sub := d.build(x.RangeSubselect.Subquery.GetSelectStmt(), outer)
		return leaf(sub.item().alias(x.RangeSubselect.Alias), before)
	case *pg.Node_RangeFunction:
		l.look(before, x.RangeFunction.Functions...)
		it := &item{opaque: true}
		return leaf(it.alias(x.RangeFunction.Alias), before)
	case *pg.Node_JoinExpr:
		return d.joinExpr(l, x.JoinExpr, before)
	}
	return leaf(&item{opaque: true}, before)
}

func leaf(it *item, before *naming) (*join, *naming) {
	items := []*item{it}
	return &join{it: it, items: items}, &naming{parent: before.parent, source: before.source, items: items}
}

func (d *rowDeps) joinExpr(l *level, x *pg.JoinExpr, before *naming) (*join, *naming) {
	left, seenLeft := d.fromItem(l, x.Larg, before)
	right, seenRight := d.fromItem(l, x.Rarg, seenLeft.beside(before))
	seen := seenRight.beside(seenLeft)
	j := &join{kind: x.Jointype, l: left, r: right, quals: x.Quals, names: seen, items: slices.Concat(left.items, right.items)}
	if x.IsNatural {
		seen.loose = true
	}
	for _, n := range x.UsingClause {
		name := n.GetString_().GetSval()
		a, okA := seenLeft.here().column(name)
		b, okB := seenRight.here().column(name)
		if okA && okB && d.comparable(seen.source, a, b) {
			j.using = append(j.using, [2]ref{a, b})
		}
		var stands ref
		switch {
		case x.Jointype == pg.JoinType_JOIN_RIGHT && okB:
			stands = b
		case x.Jointype != pg.JoinType_JOIN_RIGHT && x.Jointype != pg.JoinType_JOIN_FULL && okA:
			stands = a
		}
		if seen.using == nil {
			seen.using = map[string]ref{}
		}
		seen.using[name] = stands
	}
	l.look(seen, x.Quals)
	if x.JoinUsingAlias != nil {
		seen.items = append(slices.Clone(seen.items), &item{name: x.JoinUsingAlias.Aliasname, opaque: true})
	}
	if x.Alias != nil {
		// What is in it can't be named any more.
		seen = &naming{parent: before.parent, source: before.source, items: []*item{{name: x.Alias.Aliasname, opaque: true}}}
	}
	return j, seen
}

// here is the same without what is around it.
func (sc *naming) here() *naming {
	return &naming{source: sc.source, items: sc.items, using: sc.using, loose: sc.loose}
}

// alias gives an item another name, and its first columns.
func (it *item) alias(alias *pg.Alias) *item {
	if alias == nil {
		return it
	}
	it.name, it.schema = alias.Aliasname, ""
	if len(alias.Colnames) > 0 {
		it.rename(alias.Colnames)
	}
	return it
}

func (it *item) rename(list []*pg.Node) {
	it.columns = slices.Clone(it.columns)
	for i, n := range list {
		if i >= len(it.columns) {
			it.opaque = true
			break
		}
		it.columns[i].name = n.GetString_().GetSval()
	}
}

// item is a subquery as an item of a FROM clause.
func (l *level) item() *item {
	it := &item{sub: l, opaque: l.partial}
	if !l.partial {
		for _, c := range l.out {
			it.columns = append(it.columns, c.itemColumn)
		}
	}
	return it
}

// rangeVar looks up a relation or common table expression.
func (d *rowDeps) rangeVar(v *pg.RangeVar, sc *naming) *item {
	if v.Schemaname == "" && v.Catalogname == "" {
		if c := sc.cte(v.Relname); c != nil {
			return d.cteItem(c)
		}
	}
	path := sc.source.path
	if v.Schemaname != "" {
		path = []string{v.Schemaname}
	}
	r := d.a.s.FindRelation(path, v.Relname)
	if r == nil || r.System() {
		return &item{name: v.Relname, opaque: true}
	}
	it := &item{name: r.Name, schema: r.Schema, place: v}
	switch r.Kind {
	case catalog.KindTable, catalog.KindPartitionedTable:
		it.rel = r
		for _, c := range r.Columns {
			col := itemColumn{c.Name, c.Type, d.a.j.kindOf(c.Type)}
			if slices.Contains(r.Unkeyed, c.Name) {
				col.kind = 0
			}
			it.columns = append(it.columns, col)
		}
		return it
	case catalog.KindView:
		return d.view(it, r)
	}
	for _, c := range r.Columns {
		it.columns = append(it.columns, itemColumn{name: c.Name, typ: c.Type})
	}
	return it
}

func (d *rowDeps) cteItem(c *cte) *item {
	if c.query == nil || c.building {
		return &item{name: c.name, opaque: true}
	}
	c.building = true
	it := d.build(c.query, c.names).item()
	c.building = false
	it.name = c.name
	it.rename(c.columns)
	if c.whole {
		// Which of its rows matter to whoever reads it says nothing about which rows it reads.
		it.opaque, it.columns = true, nil
	}
	return it
}

// view is a view, whose definition is looked at like a subquery.
func (d *rowDeps) view(it *item, r *catalog.Relation) *item {
	query, ok := d.views[it.place]
	if !ok {
		if tree, err := parse(r.Definition); err == nil && len(tree.Stmts) == 1 {
			query = tree.Stmts[0].Stmt.GetSelectStmt()
		}
		d.views[it.place] = query // one place has one tree: see count
	}
	if query == nil {
		it.opaque = true
		return it
	}
	sub := d.build(query, &naming{source: &source{path: []string{"pg_catalog"}}})
	in := sub.item()
	in.name, in.schema = it.name, it.schema
	if len(in.columns) != len(r.Columns) {
		in.opaque = true
	} else {
		for i, c := range r.Columns {
			in.columns[i].name = c.Name
		}
	}
	return in
}

// targets works out the columns of a result.
func (l *level) targets(list []*pg.Node) {
	for _, n := range list {
		rt := n.GetResTarget()
		if rt == nil || rt.Val == nil || len(rt.Indirection) > 0 {
			l.partial = true
			return
		}
		cr := rt.Val.GetColumnRef()
		if cr != nil && len(cr.Fields) > 0 && cr.Fields[len(cr.Fields)-1].GetAStar() != nil {
			l.star(cr)
			continue
		}
		if ind := rt.Val.GetAIndirection(); ind != nil && len(ind.Indirection) > 0 && ind.Indirection[len(ind.Indirection)-1].GetAStar() != nil {
			l.partial = true
			return
		}
		out := outColumn{itemColumn: itemColumn{name: rt.Name}}
		if out.name == "" {
			out.name = figureName(rt.Val)
		}
		if cr != nil {
			if r, ok := l.names.resolve(cr); ok {
				out.ref, out.typ, out.kind = r, r.column().typ, r.column().kind
			}
		}
		l.out = append(l.out, out)
	}
}

func (l *level) star(cr *pg.ColumnRef) {
	items := l.names.items
	switch {
	case len(cr.Fields) == 2:
		it := l.names.item("", cr.Fields[0].GetString_().GetSval())
		items = []*item{it}
		if it == nil {
			l.partial = true
			return
		}
	case len(cr.Fields) != 1 || l.names.loose || len(l.names.using) > 0: // merged columns come first, and once
		l.partial = true
		return
	}
	for _, it := range items {
		l.partial = l.partial || it.opaque
		for i, c := range it.columns {
			l.out = append(l.out, outColumn{c, ref{it, i}})
		}
	}
}

// union works out the columns of a set operation.
func (l *level) union() {
	a, b := l.left, l.right
	if a.partial || b.partial || len(a.out) != len(b.out) {
		l.partial = true
		return
	}
	for i, c := range a.out {
		c.ref = ref{}
		if o := b.out[i]; c.typ != o.typ {
			// What they are brought to isn't looked into.
			c.typ, c.kind = 0, 0
		} else if c.kind != o.kind {
			c.kind = 0
		}
		l.out = append(l.out, c)
	}
}
