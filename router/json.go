package router

import (
	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// jsonSince is the version of the server from which on a construct of SQL/JSON is what libpg_query takes it for.
// Before, its name is that of an ordinary function, or nothing at all.
func jsonSince(n *pg.Node) int {
	switch n.Node.(type) {
	case *pg.Node_JsonObjectConstructor, *pg.Node_JsonArrayConstructor, *pg.Node_JsonArrayQueryConstructor, *pg.Node_JsonObjectAgg,
		*pg.Node_JsonArrayAgg, *pg.Node_JsonIsPredicate:
		return 160000
	case *pg.Node_JsonParseExpr, *pg.Node_JsonScalarExpr, *pg.Node_JsonSerializeExpr, *pg.Node_JsonFuncExpr:
		return 170000
	}
	return 0
}

// jsonExpr looks at SQL/JSON constructors and query functions: they are reads, and aren't cached yet.
func (a *analysis) jsonExpr(n *pg.Node, sc *scope) bool {
	since := jsonSince(n)
	if since == 0 || a.s.ServerVersion < since {
		return false
	}
	a.add(notCacheable("SQL/JSON isn't analysed"))
	children(n.ProtoReflect(), func(m protoreflect.Message) { a.jsonPart(m, sc) })
	return true
}

// jsonPart looks at what such a construct consists of, down to the expressions in it.
func (a *analysis) jsonPart(m protoreflect.Message, sc *scope) {
	switch x := m.Interface().(type) {
	case *pg.TypeName:
		if t := a.resolveType(x); t != 0 {
			a.cast(hidden, t)
		}
		return
	case *pg.WindowDef:
		a.window(x, sc)
		return
	case *pg.Node:
		switch s := x.Node.(type) {
		case *pg.Node_JsonValueExpr, *pg.Node_JsonKeyValue, *pg.Node_JsonArgument, *pg.Node_JsonOutput, *pg.Node_JsonFormat,
			*pg.Node_JsonReturning, *pg.Node_JsonBehavior, *pg.Node_JsonAggConstructor:
			a.visit(x)
		case *pg.Node_SelectStmt:
			a.visit(x)
			a.selectStmt(s.SelectStmt, sc)
			return
		case nil:
			a.visit(x)
			return
		default:
			a.expr(x, sc)
			return
		}
	}
	children(m, func(m protoreflect.Message) { a.jsonPart(m, sc) })
}
