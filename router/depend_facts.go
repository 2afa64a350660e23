package router

import (
	"maps"
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Which rows of an item can influence the answer?
//
// A fact is an equality of a column with values, or of two columns, that is a strict condition: NULL doesn't fulfil it. At the top of a
// level the facts are the conjuncts of WHERE (and what a query around it says about the level's result, where that may be pushed
// into it). They say: a combined row that doesn't fulfil them can't influence the answer. From there they are carried down the tree
// of joins, to facts about one item. The invariant, at each node: whatever rows of the node's result don't fulfil the facts may come
// or go, the answer is the same.
//
//   - INNER JOIN … ON: a combined row is in the result only if it fulfils ON; so facts and ON hold together, and what they say about
//     the columns of one side alone holds for its rows.
//   - L LEFT JOIN M ON: its rows are pairs that fulfil ON, and rows of L with NULLs for M. If a fact is about a column of M, the
//     latter don't matter, and it is as an inner join. Otherwise ON says nothing about L. A row m of M matters only through rows l
//     of L with which it fulfils ON, since it makes of l's row with NULLs the pair (l, m); and if l doesn't fulfil the facts about L,
//     neither matters. So for M, facts and ON hold together in any case.
//   - L FULL JOIN M: a row l of L is in pairs and in its row with NULLs, and keeps a row m from having one. If there is a fact about L,
//     m's row with NULLs for L doesn't matter. So what the facts say holds for each side, but ON says nothing about either.
//
// What all rows of one side are sure to fulfil, because of inner joins within it (sure), may be used for the other side.
type facts struct {
	equal  [][2]ref
	values map[ref][]Value
}

func (f *facts) add(r ref, values []Value) {
	if f.values == nil {
		f.values = map[ref][]Value{}
	}
	if have, ok := f.values[r]; !ok || better(values, have) {
		f.values[r] = values
	}
}

// better says whether one list of values is rather to be used than another that holds as well.
func better(a, b []Value) bool {
	cost := func(list []Value) int {
		n := len(list)
		for _, v := range list {
			if v.array {
				n += maxRows
			}
		}
		return n
	}
	return cost(a) < cost(b)
}

// and returns all facts together, with those that follow from them.
func and(all ...facts) facts {
	var out facts
	for _, f := range all {
		out.equal = append(out.equal, f.equal...)
		for r, v := range f.values {
			out.add(r, v)
		}
	}
	for changed := true; changed; {
		changed = false
		for _, e := range out.equal {
			for _, pair := range [][2]ref{e, {e[1], e[0]}} {
				v, ok := out.values[pair[0]]
				have, also := out.values[pair[1]]
				if ok && (!also || better(v, have)) {
					out.add(pair[1], v)
					changed = true
				}
			}
		}
	}
	return out
}

// about returns those facts that are about these items alone.
func (f facts) about(items []*item) facts {
	var out facts
	for _, e := range f.equal {
		if slices.Contains(items, e[0].it) && slices.Contains(items, e[1].it) {
			out.equal = append(out.equal, e)
		}
	}
	for r, v := range f.values {
		if slices.Contains(items, r.it) {
			out.add(r, v)
		}
	}
	return out
}

// touch says whether one of the facts is about one of the items.
func (f facts) touch(items []*item) bool {
	for _, e := range f.equal {
		if slices.Contains(items, e[0].it) || slices.Contains(items, e[1].it) {
			return true
		}
	}
	for r := range f.values {
		if slices.Contains(items, r.it) {
			return true
		}
	}
	return false
}

// on are the facts of a join's condition.
func (d *rowDeps) on(j *join) facts {
	f := d.conditions(j.quals, j.names, j.items)
	f.equal = append(f.equal, j.using...)
	return f
}

// sure are facts that every row of a node's result fulfils.
func (d *rowDeps) sure(j *join) facts {
	switch {
	case j.it != nil:
		return facts{}
	case j.kind == pg.JoinType_JOIN_INNER:
		return and(d.sure(j.l), d.sure(j.r), d.on(j))
	case j.kind == pg.JoinType_JOIN_LEFT:
		return d.sure(j.l)
	case j.kind == pg.JoinType_JOIN_RIGHT:
		return d.sure(j.r)
	}
	return facts{}
}

// constrain carries facts down to the items.
func (d *rowDeps) constrain(j *join, f facts) {
	if j.it != nil {
		j.it.fixed = map[int][]Value{}
		for r, v := range f.values {
			j.it.fixed[r.col] = v
		}
		return
	}
	on, left, right := d.on(j), d.sure(j.l), d.sure(j.r)
	both := and(f, on, left, right)
	toLeft, toRight := both, both
	switch j.kind {
	case pg.JoinType_JOIN_INNER:
	case pg.JoinType_JOIN_LEFT:
		if !f.touch(j.r.items) {
			toLeft = and(f, left)
		}
		toRight = and(f, on, left)
	case pg.JoinType_JOIN_RIGHT:
		if !f.touch(j.l.items) {
			toRight = and(f, right)
		}
		toLeft = and(f, on, right)
	default:
		toLeft, toRight = f, f
	}
	d.constrain(j.l, toLeft.about(j.l.items))
	d.constrain(j.r, toRight.about(j.r.items))
}

// conditions are the facts in a condition, as far as they are about the items.
func (d *rowDeps) conditions(n *pg.Node, sc *naming, items []*item) (f facts) {
	if n == nil {
		return f
	}
	switch x := n.Node.(type) {
	case *pg.Node_BoolExpr:
		switch x.BoolExpr.Boolop {
		case pg.BoolExprType_AND_EXPR:
			for _, arg := range x.BoolExpr.Args {
				part := d.conditions(arg, sc, items)
				f.equal = append(f.equal, part.equal...)
				for r, v := range part.values {
					f.add(r, v)
				}
			}
		case pg.BoolExprType_NOT_EXPR:
			d.truth(&f, x.BoolExpr.Args[0], "f", sc, items)
		}
	case *pg.Node_ColumnRef:
		d.truth(&f, n, "t", sc, items)
	case *pg.Node_BooleanTest:
		switch x.BooleanTest.Booltesttype {
		case pg.BoolTestType_IS_TRUE:
			d.truth(&f, x.BooleanTest.Arg, "t", sc, items)
		case pg.BoolTestType_IS_FALSE:
			d.truth(&f, x.BooleanTest.Arg, "f", sc, items)
		}
	case *pg.Node_AExpr:
		d.comparison(&f, x.AExpr, sc, items)
	}
	return f
}

// truth is the condition that a column of type bool is true, or false.
func (d *rowDeps) truth(f *facts, n *pg.Node, value string, sc *naming, items []*item) {
	if x := n.GetColumnRef(); x != nil {
		if r, ok := sc.resolve(x); ok && d.a.j.base(r.column().typ) == oidBool && r.column().kind != 0 && slices.Contains(items, r.it) {
			f.add(r, []Value{{from: fromFixed, fixed: value}})
		}
	}
}

func (d *rowDeps) comparison(f *facts, x *pg.A_Expr, sc *naming, items []*item) {
	if !isEquality(x.Name) {
		return
	}
	switch x.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		left, right := x.Lexpr.GetRowExpr(), x.Rexpr.GetRowExpr()
		if left != nil && right != nil {
			if len(left.Args) == len(right.Args) {
				for i := range left.Args {
					d.equation(f, x.Name, left.Args[i], right.Args[i], true, sc, items)
				}
			}
			return
		}
		d.equation(f, x.Name, x.Lexpr, x.Rexpr, true, sc, items)
	case pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		// With a value it is the same, as NULL isn't taken for one; but two columns may both be NULL.
		d.equation(f, x.Name, x.Lexpr, x.Rexpr, false, sc, items)
	case pg.A_Expr_Kind_AEXPR_IN:
		list := x.Rexpr.GetList().GetItems()
		row := x.Lexpr.GetRowExpr()
		if row == nil {
			d.member(f, x.Name, x.Lexpr, list, sc, items)
			return
		}
		// (a, b) IN ((1, 2), (3, 4)): each column is one of what stands in its place. (It is made of comparisons of rows, one by one.)
		for i, left := range row.Args {
			var values []*pg.Node
			for _, n := range list {
				if args := n.GetRowExpr().GetArgs(); i < len(args) {
					values = append(values, args[i])
				}
			}
			if len(values) == len(list) {
				d.member(f, x.Name, left, values, sc, items)
			}
		}
	case pg.A_Expr_Kind_AEXPR_OP_ANY:
		if c, typ, ok := d.column(x.Lexpr, sc); ok {
			if v, ok := d.array(x.Name, x.Rexpr, typ, c.column().kind, sc.source); ok && slices.Contains(items, c.it) {
				f.add(c, v)
			}
		}
	}
}

// equation is the condition that two sides are equal.
func (d *rowDeps) equation(f *facts, op []*pg.Node, left, right *pg.Node, strict bool, sc *naming, items []*item) {
	a, typeA, okA := d.column(left, sc)
	b, typeB, okB := d.column(right, sc)
	switch {
	case okA && okB:
		if !strict || !d.equality(op, sc.source, typeA, typeB) || a.column().kind != b.column().kind {
			return
		}
		inA, inB := slices.Contains(items, a.it), slices.Contains(items, b.it)
		switch {
		case inA && inB:
			f.equal = append(f.equal, [2]ref{a, b})
		case inA:
			// A column of a query around this one: if only rows with certain values of it matter there, only those matter here.
			f.outer(a, b)
		case inB:
			f.outer(b, a)
		}
	case okB:
		a, typeA, left, right = b, typeB, right, left
		fallthrough
	case okA:
		if v, ok := d.scalar(op, right, typeA, a.column().kind, sc.source); ok && slices.Contains(items, a.it) {
			f.add(a, []Value{v})
		}
	}
}

func (f *facts) outer(r, outer ref) {
	if v, ok := outer.it.fixed[outer.col]; ok {
		f.add(r, v)
	}
}

// member is the condition column IN (…).
func (d *rowDeps) member(f *facts, op []*pg.Node, left *pg.Node, list []*pg.Node, sc *naming, items []*item) {
	c, typ, ok := d.column(left, sc)
	// Several values are brought to one type, theirs and the column's in common, and compared as that.
	if !ok || len(list) == 0 || len(list) > maxRows || !d.equality(op, sc.source, typ, d.a.j.base(typ)) {
		return
	}
	begin := len(d.pending)
	var values []Value
	for _, n := range list {
		v, ok := d.operand(op, n, typ, c.column().kind, sc.source)
		if !ok {
			d.pending = d.pending[:begin]
			return
		}
		values = append(values, v)
	}
	d.understood(begin)
	if slices.Contains(items, c.it) && d.certain(values) {
		f.add(c, values)
	}
}

// solve works out which rows a level reads, given what those who read its result say about the values of its columns.
func (d *rowDeps) solve(l *level, wanted map[int][]Value) {
	if !l.pushable() {
		wanted = nil
	}
	if l.left != nil {
		d.solve(l.left, wanted)
		d.solve(l.right, wanted)
	}
	if l.from != nil {
		f := d.conditions(l.query.WhereClause, l.names, l.from.items)
		for i, v := range wanted {
			if r := l.out[i].ref; r.it != nil && slices.Contains(l.from.items, r.it) {
				f.add(r, v)
			}
		}
		d.constrain(l.from, and(f))
		for _, it := range l.from.items {
			if it.sub != nil {
				d.solve(it.sub, maps.Clone(it.fixed))
			}
			if it.rel != nil {
				d.found(it)
			}
		}
	}
	for _, e := range l.exprs {
		d.subqueries(e.expr.ProtoReflect(), e.names)
	}
}

// pushable says whether rows of the result that don't matter can be left out of what the result is made of: with LIMIT, DISTINCT ON and
// window functions, rows have an influence on others. (With GROUP BY, a column of the result that is one of an item has one value for
// all rows of a group, or is NULL: Postgres takes no others.)
func (l *level) pushable() bool {
	q := l.query
	if l.partial || q.LimitCount != nil || q.LimitOffset != nil {
		return false
	}
	for _, n := range q.DistinctClause {
		if n.Node != nil {
			return false
		}
	}
	for _, list := range [][]*pg.Node{q.TargetList, q.SortClause} {
		for _, n := range list {
			if !each(n.ProtoReflect(), func(n *pg.Node) bool { return n.GetFuncCall().GetOver() == nil }) {
				return false
			}
		}
	}
	return true
}

// subqueries looks at the queries in an expression. What an item's columns are fixed to holds for them, too: a row that has other
// values can't influence the answer, whatever they say about it.
func (d *rowDeps) subqueries(m protoreflect.Message, sc *naming) {
	if s, ok := m.Interface().(*pg.SelectStmt); ok {
		d.solve(d.build(s, sc), nil)
		return
	}
	children(m, func(child protoreflect.Message) { d.subqueries(child, sc) })
}
