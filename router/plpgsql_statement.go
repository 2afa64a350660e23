package router

import (
	"maps"
	"slices"
	"strings"

	"github.com/freshet/freshet/router/catalog"
)

// node looks at a node of a function's tree, and all below it.
func (p *plpgsql) node(n any) {
	switch n := n.(type) {
	case []any:
		for _, item := range n {
			p.node(item)
		}
	case plNode:
		for _, key := range sortedKeys(n) {
			v := n[key]
			if inner, ok := v.(plNode); ok && strings.HasPrefix(key, "PLpgSQL_") {
				p.statement(key, inner)
			} else {
				p.node(v)
			}
		}
	}
}

// statement looks at one statement, or another part of the tree. What isn't on the list isn't understood.
func (p *plpgsql) statement(kind string, n plNode) {
	switch kind {
	case "PLpgSQL_expr":
		p.query(plNode{kind: n})
	case "PLpgSQL_stmt_block":
		if n["exceptions"] != nil {
			// Which errors come up can depend on more than data: locks, time-outs, conflicts on a replica.
			p.refuse("it catches errors")
		}
		p.node(n["body"])
	case "PLpgSQL_var":
		p.variable(n)
	case "PLpgSQL_rec", "PLpgSQL_row", "PLpgSQL_recfield", "PLpgSQL_type", "PLpgSQL_function":
		p.inner(n)
	case "PLpgSQL_stmt_assign":
		p.assign(n)
	case "PLpgSQL_stmt_if", "PLpgSQL_if_elsif", "PLpgSQL_stmt_loop", "PLpgSQL_stmt_while", "PLpgSQL_stmt_exit", "PLpgSQL_stmt_assert",
		"PLpgSQL_case_when", "PLpgSQL_stmt_perform":
		p.inner(n)
	case "PLpgSQL_stmt_case":
		t := hidden
		if n["t_expr"] != nil {
			t = first(p.query(n["t_expr"]))
		}
		if no := num(n, "t_varno"); n["t_varno"] != nil && no < len(p.datums) {
			p.datums[no].typ = t
		}
		p.node(n["case_when_list"])
		p.node(n["else_stmts"])
	case "PLpgSQL_stmt_fori":
		p.inner(n) // its variable and bounds are integers
	case "PLpgSQL_stmt_fors":
		row := p.query(n["query"])
		p.assignRow(n["var"], row)
		p.node(n["body"])
	case "PLpgSQL_stmt_foreach_a":
		t := first(p.query(n["expr"]))
		elem := hidden
		if array := p.a.s.Type(p.a.j.base(t.oid)); array != nil && array.Elem != 0 {
			elem = typ{oid: array.Elem}
			if num(n, "slice") > 0 {
				elem = typ{oid: t.oid}
			}
		}
		p.assignTo(num(n, "varno"), elem)
		p.node(n["body"])
	case "PLpgSQL_stmt_return", "PLpgSQL_stmt_return_next":
		switch {
		case n["expr"] != nil:
			p.result(p.query(n["expr"]))
		case len(p.f.Columns) == 0:
			p.result(&table{partial: true}) // of a variable, which isn't named in the tree
		}
	case "PLpgSQL_stmt_return_query":
		if n["dynquery"] != nil {
			p.refuse("it runs SQL that it puts together itself")
		}
		p.query(n["query"]) // of exactly the result's types
	case "PLpgSQL_stmt_execsql":
		row := p.query(n["sqlstmt"])
		if n["target"] != nil {
			p.assignRow(n["target"], row)
		}
	case "PLpgSQL_stmt_raise":
		if num(n, "elog_level") < elogError {
			p.refuse("it sends messages to the client (RAISE)")
		}
		p.inner(n)
	case "PLpgSQL_raise_option":
		p.inner(n)
	case "PLpgSQL_stmt_getdiag":
		p.getDiagnostics(n)
	case "PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors":
		p.refuse("it runs SQL that it puts together itself")
	case "PLpgSQL_stmt_open", "PLpgSQL_stmt_fetch", "PLpgSQL_stmt_close", "PLpgSQL_stmt_forc":
		p.refuse("it uses a cursor")
	default:
		p.refuse("a statement in it isn't understood")
	}
}

// elogError is ERROR of elog.h: from there on, RAISE ends the statement.
const elogError = 21

func (p *plpgsql) refuse(why string) { p.a.add(writes(why)) }

func (p *plpgsql) inner(n plNode) {
	for _, key := range sortedKeys(n) {
		p.node(n[key])
	}
}

// variable looks at a declaration.
func (p *plpgsql) variable(n plNode) {
	if n["cursor_explicit_expr"] != nil {
		p.refuse("it uses a cursor")
		return
	}
	if n["default_val"] == nil {
		return
	}
	row := p.query(n["default_val"])
	for _, i := range p.byName[str(n, "refname")] {
		p.assignTo(i, literalOr(n["default_val"], first(row)))
	}
}

// assign looks at target := expression.
func (p *plpgsql) assign(n plNode) {
	_, e := single(n["expr"])
	target, value, ok := cutAssignment(str(e, "query"))
	if num(e, "parseMode") < parseAssign || !ok {
		p.refuse("an assignment isn't understood")
		return
	}
	row := p.sql("SELECT " + value)
	from := first(row)
	if strings.ContainsAny(target, "[") {
		// A part of an array or of jsonb: its subscripts, and the type of the part.
		to := first(p.sql("SELECT " + target))
		p.convert(literalText(value, from), to)
		return
	}
	p.assignTo(num(n, "varno"), literalText(value, from))
}

// cutAssignment finds the := or = of an assignment.
func cutAssignment(text string) (target, value string, ok bool) {
	s := scanner{text: []byte(text)}
	depth := 0
	for {
		t := s.next()
		switch {
		case t.kind == tokenEOF || t.kind == tokenBad:
			return "", "", false
		case t.kind == tokenSelf && text[t.start] == '[':
			depth++
		case t.kind == tokenSelf && text[t.start] == ']':
			depth--
		case depth == 0 && (text[t.start:t.end] == ":=" || text[t.start:t.end] == "=" && t.kind == tokenOperator):
			return text[:t.start], text[t.end:], true
		}
	}
}

// literalOr is the type of an expression, with what is known if it is nothing but a literal.
func literalOr(n any, t typ) typ {
	_, e := single(n)
	return literalText(str(e, "query"), t)
}

func literalText(text string, t typ) typ {
	s := scanner{text: []byte(text)}
	if s.next().kind == tokenString && s.next().kind == tokenEOF {
		return untyped // clockWords has looked at it
	}
	if w := words(text); len(w) == 1 && w[0].kind == tokenIdent && w[0].text == "null" {
		return untyped
	}
	return t
}

// result looks at RETURN with an expression.
func (p *plpgsql) result(row *table) {
	result := p.a.s.Type(p.a.j.base(p.f.Result))
	switch {
	case p.f.Result == oidVoid:
	case result != nil && result.Kind == catalog.TypeComposite && row.partial:
		// A record, which has to be of that type.
	case p.a.j.pseudo(p.f.Result):
		// A polymorphic result is of the type that was found for the call; what isn't of that type goes through its text.
		if from := first(row); p.f.Result != oidRecord && (from.oid == 0 || p.a.j.stringLike(from.oid)) {
			p.a.add(notCacheable("a string may be brought to a type that isn't known here"))
		}
	default:
		if from := first(row); from.oid != p.f.Result {
			p.a.cast(from, p.f.Result)
		}
	}
}

// getDiagnostics looks at GET DIAGNOSTICS.
func (p *plpgsql) getDiagnostics(n plNode) {
	items, _ := n["diag_items"].([]any)
	for _, item := range items {
		_, d := single(item)
		if str(d, "kind") != "ROW_COUNT" {
			p.refuse("GET DIAGNOSTICS asks for more than ROW_COUNT")
			return
		}
		p.assignTo(num(d, "target"), typ{oid: oidInt8})
	}
}

func sortedKeys(n plNode) []string { return slices.Sorted(maps.Keys(n)) }
