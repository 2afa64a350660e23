package router

import (
	"fmt"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// aExpr looks at an operator expression.
func (a *analysis) aExpr(x *pg.A_Expr, sc *scope) typ {
	schema, name := a.qualified(x.Name)
	boolean := typ{oid: oidBool}
	switch x.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		if x.Lexpr == nil {
			return a.prefixOperator(schema, name, a.expr(x.Rexpr, sc))
		}
		left := a.expr(x.Lexpr, sc)
		return a.operator(schema, name, left, a.expr(x.Rexpr, sc))
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		left, right := a.expr(x.Lexpr, sc), a.expr(x.Rexpr, sc)
		elem := hidden
		if array := a.s.Type(a.j.base(right.oid)); array != nil && array.Elem != 0 {
			elem = typ{oid: array.Elem}
		} else if right.oid == oidUnknown {
			elem = untyped
		}
		a.operator(schema, name, left, elem)
		return boolean
	case pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		a.operator(schema, name, a.expr(x.Lexpr, sc), a.expr(x.Rexpr, sc))
		return boolean
	case pg.A_Expr_Kind_AEXPR_NULLIF:
		left := a.expr(x.Lexpr, sc)
		a.operator(schema, name, left, a.expr(x.Rexpr, sc))
		return settled(left)
	case pg.A_Expr_Kind_AEXPR_IN:
		left := a.expr(x.Lexpr, sc)
		a.visit(x.Rexpr)
		list := x.Rexpr.GetList()
		if list == nil {
			a.notUnderstood(x.Rexpr)
			return boolean
		}
		a.operator(schema, name, left, a.element(left, list.Items, sc))
		return boolean
	case pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE, pg.A_Expr_Kind_AEXPR_SIMILAR:
		a.operator(schema, name, a.expr(x.Lexpr, sc), a.expr(x.Rexpr, sc))
		return boolean
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN, pg.A_Expr_Kind_AEXPR_BETWEEN_SYM,
		pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		left := a.expr(x.Lexpr, sc)
		a.visit(x.Rexpr)
		for _, n := range x.Rexpr.GetList().GetItems() {
			bound := a.expr(n, sc)
			for _, op := range []string{"<", "<=", ">", ">="} {
				a.operator("", op, left, bound)
			}
		}
		return boolean
	}
	a.add(writes("an operator expression isn't understood"))
	a.expr(x.Lexpr, sc)
	a.expr(x.Rexpr, sc)
	return hidden
}

// element is the type that left is compared with in IN (…).
func (a *analysis) element(left typ, items []*pg.Node, sc *scope) typ {
	out := untyped
	for _, n := range items {
		t := a.expr(n, sc)
		switch {
		case t.oid == oidUnknown || out.oid == t.oid:
		case out.oid == oidUnknown:
			out = t
		default:
			out = typ{oid: 0}
		}
		if t.oid == 0 {
			out = hidden
		}
		if out.oid == 0 {
			for _, n := range items {
				if !a.visited[n] {
					a.expr(n, sc)
				}
			}
			return hidden
		}
	}
	return out
}

// operator looks at a binary operator and returns its type.
func (a *analysis) operator(schema, name string, left, right typ) typ {
	// An untyped literal is taken to have the type of the other side, if there is such an operator (binary_oper_exact).
	l, r := left.oid, right.oid
	if l == oidUnknown && r != 0 {
		l = r
	}
	if r == oidUnknown && l != 0 {
		r = l
	}
	var candidates []*catalog.Operator
	for _, in := range a.in(schema) {
	next:
		for _, o := range a.s.OperatorsNamed(name) {
			if o.Schema != in || o.Left == 0 {
				continue
			}
			for _, c := range candidates {
				if c.Schema != in && c.Left == o.Left && c.Right == o.Right {
					continue next
				}
			}
			candidates = append(candidates, o)
		}
	}
	return a.judgeOperators(name, a.chooseOperators(candidates, left, right, l, r))
}

func (a *analysis) chooseOperators(candidates []*catalog.Operator, left, right typ, l, r uint32) []*catalog.Operator {
	if l != 0 && l != oidUnknown && r != 0 && r != oidUnknown {
		bl, br := a.j.base(l), a.j.base(r)
		for _, exact := range [][2]uint32{{l, r}, {bl, br}} {
			for _, o := range candidates {
				if o.Left == exact[0] && o.Right == exact[1] {
					return []*catalog.Operator{o}
				}
			}
		}
	}
	var out []*catalog.Operator
	for _, o := range candidates {
		if !a.j.excluded(left, o.Left) && !a.j.excluded(right, o.Right) {
			out = append(out, o)
		}
	}
	if len(out) == 0 {
		return candidates
	}
	return out
}

func (a *analysis) prefixOperator(schema, name string, right typ) typ {
	var candidates []*catalog.Operator
	for _, in := range a.in(schema) {
		for _, o := range a.s.OperatorsNamed(name) {
			if o.Schema == in && o.Left == 0 {
				candidates = append(candidates, o)
			}
		}
	}
	for _, o := range candidates {
		if o.Right == right.oid {
			candidates = []*catalog.Operator{o}
			break
		}
	}
	return a.judgeOperators(name, candidates)
}

func (a *analysis) judgeOperators(name string, candidates []*catalog.Operator) typ {
	if len(candidates) == 0 {
		a.add(writes("operator " + name + " isn't known"))
		return hidden
	}
	result := candidates[0].Result
	for _, o := range candidates {
		before := a.effect.uncacheable
		a.function(a.s.Function(o.Function))
		if before == "" && a.effect.uncacheable != "" {
			a.effect.uncacheable = fmt.Sprintf("operator %s: %s", name, a.effect.uncacheable)
		}
		if o.Result != result {
			result = 0
		}
	}
	if a.j.pseudo(result) {
		return hidden
	}
	return typ{oid: result}
}
