package router

import (
	"encoding/json"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// maxPLpgSQL is how long a body may be that is parsed.
const maxPLpgSQL = 64 << 10

// plpgsql looks at a function in PL/pgSQL, by the tree that libpg_query makes of it, which says little of types. So what
// each variable may hold is found out by looking at the statements again and again until nothing new is found; what
// they do counts the last time.
type plpgsql struct {
	f      *catalog.Function
	a      *analysis // of the present round
	datums []datum
	byName map[string][]int
	more   bool // the round has found something new
}

// datum is a variable, or a field of one.
type datum struct {
	name   string
	typ    typ    // of a scalar; hidden where it isn't known
	record bool   // it holds rows
	shape  *table // that were assigned to it; nil: none yet
	parent int    // of a field: whose
	field  string
}

// plNode is a node of the tree: a name and what is in it.
type plNode = map[string]any

// plpgsqlBody looks at the body of a function in PL/pgSQL.
func (a *analysis) plpgsqlBody(f *catalog.Function) {
	function := a.parsePLpgSQL(f)
	if function == nil {
		return
	}
	p := &plpgsql{f: f, a: a}
	p.declare(function)
	for range 8 {
		p.more = false
		round := a.within()
		round.path, round.role, round.as, round.params = a.path, a.role, a.as, a.params
		p.a = round
		p.node(function)
		if !p.more || round.effect.write != "" {
			a.merge(&finding{round.effect, round.rels, round.cyclic})
			return
		}
	}
	a.add(writes("its variables aren't understood"))
}

// parsePLpgSQL returns the tree, or nil with an effect.
func (a *analysis) parsePLpgSQL(f *catalog.Function) plNode {
	source := f.Source
	switch {
	case len(source) > maxPLpgSQL:
		a.add(writes("its body is very long"))
		return nil
	case tooComplex([]byte(source)):
		a.add(writes("its body is deeply nested"))
		return nil
	case strings.Contains(source, "#variable_conflict"), strings.Contains(source, "$freshet$"), strings.ContainsRune(source, 0):
		a.add(writes("its body isn't understood"))
		return nil
	}
	var b strings.Builder
	b.WriteString("CREATE FUNCTION f(")
	for i := range f.Args {
		if i > 0 {
			b.WriteString(", ")
		}
		if i < len(f.ArgNames) && f.ArgNames[i] != "" {
			b.WriteString(quoteIdentifier(f.ArgNames[i]) + " ")
		}
		b.WriteString("pg_catalog.text") // its types are of no use to us
	}
	outs := 0
	for _, c := range f.Columns {
		if !slices.Contains(f.ArgNames, c.Name) || c.Name == "" {
			if len(f.Args)+outs > 0 {
				b.WriteString(", ")
			}
			b.WriteString("OUT " + quoteIdentifier(c.Name) + " pg_catalog.text")
			outs++
		}
	}
	b.WriteString(")")
	switch {
	case f.ReturnsSet && outs > 0:
		b.WriteString(" RETURNS SETOF record")
	case f.ReturnsSet:
		b.WriteString(" RETURNS SETOF pg_catalog.text")
	case len(f.Columns) > 0:
	case f.Result == oidVoid:
		b.WriteString(" RETURNS void")
	case f.Result == oidTrigger || f.Result == oidEventTrigger:
		a.add(writes("it is a trigger function"))
		return nil
	default:
		b.WriteString(" RETURNS pg_catalog.text")
	}
	b.WriteString(" LANGUAGE plpgsql AS $freshet$" + source + "$freshet$")
	text, err := pg.ParsePlPgSqlToJSON(b.String())
	var list []struct {
		Function plNode `json:"PLpgSQL_function"`
	}
	if err != nil || json.Unmarshal([]byte(text), &list) != nil || len(list) != 1 || list[0].Function == nil {
		a.add(writes("its body isn't understood"))
		return nil
	}
	return list[0].Function
}

// declare reads the variables.
func (p *plpgsql) declare(function plNode) {
	p.byName = map[string][]int{}
	list, _ := function["datums"].([]any)
	for i, n := range list {
		kind, v := single(n)
		d := datum{name: str(v, "refname"), parent: -1}
		switch kind {
		case "PLpgSQL_var":
			_, t := single(v["datatype"])
			d.typ, d.record = p.typeOf(d.name, str(t, "typname"))
		case "PLpgSQL_rec":
			d.record = true
		case "PLpgSQL_recfield":
			d.name, d.parent, d.field = "", num(v, "recparentno"), str(v, "fieldname")
		case "PLpgSQL_row":
			d.name = ""
		default:
			p.a.add(writes("a variable isn't understood"))
		}
		p.datums = append(p.datums, d)
		if d.name != "" {
			p.byName[d.name] = append(p.byName[d.name], i)
		}
	}
	// Arguments and results have the types of the catalog.
	for i, name := range p.f.ArgNames {
		if i < len(p.a.params) {
			p.argument(name, p.a.params[i])
		}
	}
	for _, c := range p.f.Columns {
		p.argument(c.Name, c.Type)
	}
}

// argument sets the type of an argument. The first variable of a name is the argument: they come first.
func (p *plpgsql) argument(name string, oid uint32) {
	list := p.byName[name]
	if name == "" || len(list) == 0 {
		return
	}
	d := &p.datums[list[0]]
	d.typ, d.record = typ{}, false
	switch t := p.a.s.Type(p.a.j.base(oid)); {
	case t == nil || t.Kind == catalog.TypePseudo:
	case t.Kind == catalog.TypeComposite:
		d.record, d.shape, d.typ = true, p.row(t), typ{oid: oid}
	default:
		d.typ = typ{oid: oid}
	}
}

// row is the shape of a composite type.
func (p *plpgsql) row(t *catalog.Type) *table {
	if r := p.a.s.Relation(t.Relation); r != nil && !r.System() {
		return relationTable(r)
	}
	return &table{partial: true}
}

// typeOf resolves the type of a declaration.
func (p *plpgsql) typeOf(name, text string) (t typ, record bool) {
	text = strings.TrimSpace(text)
	if i := strings.LastIndexByte(text, '%'); i >= 0 {
		return p.typeLike(text[:i], strings.ToLower(strings.TrimSpace(text[i+1:])))
	}
	tree, err := parse("SELECT NULL::" + text)
	if err != nil || len(tree.Stmts) != 1 {
		return hidden, false
	}
	targets := tree.Stmts[0].Stmt.GetSelectStmt().GetTargetList()
	if len(targets) != 1 {
		return hidden, false
	}
	b := p.a.within()
	b.path = p.a.path
	oid := b.resolveType(targets[0].GetResTarget().GetVal().GetTypeCast().GetTypeName())
	known := p.a.s.Type(p.a.j.base(oid))
	switch {
	case known == nil || b.effect.write != "":
		return hidden, text == "record"
	case known.Kind == catalog.TypeComposite || known.Kind == catalog.TypePseudo:
		return typ{oid: oid}, true
	}
	if problem := p.a.j.typeProblem(oid); problem != "" {
		p.a.add(notCacheable("variable " + name + ": " + problem))
	}
	return typ{oid: oid}, false
}

// typeLike resolves name%TYPE and name%ROWTYPE. What isn't found is hidden.
func (p *plpgsql) typeLike(name, how string) (typ, bool) {
	parts := strings.Split(name, ".")
	for i := range parts {
		if parts[i] = strings.TrimSpace(parts[i]); strings.HasPrefix(parts[i], `"`) {
			return hidden, how == "rowtype"
		}
		parts[i] = lowerASCII(parts[i])
	}
	find := func(parts []string) *catalog.Relation {
		if len(parts) == 2 {
			return p.a.s.RelationByName(parts[0], parts[1])
		}
		return p.a.s.FindRelation(p.a.path, parts[0])
	}
	n := len(parts)
	switch {
	case how == "rowtype" && n <= 2:
		if r := find(parts); r != nil && r.RowType != 0 {
			return typ{oid: r.RowType}, true
		}
		return hidden, true
	case how == "type" && (n == 2 || n == 3):
		if r := find(parts[:n-1]); r != nil {
			if c, ok := r.Column(parts[n-1]); ok {
				if t := p.a.s.Type(p.a.j.base(c.Type)); t != nil && t.Kind == catalog.TypeComposite {
					return typ{oid: c.Type}, true
				}
				return typ{oid: c.Type}, false
			}
		}
	}
	return hidden, false
}

// single takes apart a node that consists of one named thing.
func single(n any) (kind string, v plNode) {
	m, _ := n.(plNode)
	for k, inner := range m {
		v, _ = inner.(plNode)
		return k, v
	}
	return "", nil
}

func str(n plNode, key string) string { s, _ := n[key].(string); return s }

// num reads a number; those that are 0 are left out of the tree.
func num(n plNode, key string) int { f, _ := n[key].(float64); return int(f) }

// scope is in which the expressions of the body find the variables.
func (p *plpgsql) scope() *scope {
	vars := &table{name: p.f.Name}
	sc := &scope{tables: []*table{vars}}
	p.a.variables = map[string]typ{}
	for _, d := range p.datums {
		if d.name == "" {
			continue
		}
		vars.columns = append(vars.columns, column{d.name, d.typ})
		p.a.variables[d.name] = d.typ
		if d.record {
			shape := &table{name: d.name, partial: true}
			if d.shape != nil {
				shape.columns, shape.partial = d.shape.columns, d.shape.partial
			}
			sc.rows = append(sc.rows, shape)
		}
	}
	return sc
}

// query looks at an expression or query of the body and returns its columns.
func (p *plpgsql) query(n any) *table {
	_, e := single(n)
	if e == nil {
		return &table{partial: true}
	}
	text := str(e, "query")
	if num(e, "parseMode") == parseExpr {
		text = "SELECT " + text
	}
	return p.sql(text)
}

func (p *plpgsql) sql(text string) *table {
	return p.a.text(text, p.scope())
}

// first is the type of an expression.
func first(t *table) typ {
	if t.partial || len(t.columns) != 1 {
		return hidden
	}
	return t.columns[0].typ
}

// How an expression is to be parsed (RawParseMode); those that follow are assignments to names of one, two and three parts.
const (
	parseExpr   = 2
	parseAssign = 3
)

// assignTo looks at a value going to a variable, which goes through its text if need be.
func (p *plpgsql) assignTo(varno int, from typ) {
	if varno < 0 || varno >= len(p.datums) {
		p.a.add(writes("an assignment isn't understood"))
		return
	}
	switch d := p.datums[varno]; {
	case d.record:
		p.reshape(varno, &table{partial: true})
		if d.typ.oid != 0 && d.typ.oid != oidRecord && d.typ.oid != from.oid {
			p.a.cast(from, d.typ.oid)
		}
	case d.parent >= 0 && d.parent < len(p.datums):
		target := hidden
		if shape := p.datums[d.parent].shape; shape != nil && !shape.partial {
			target, _ = shape.column(d.field)
		}
		p.convert(from, target)
	default:
		p.convert(from, d.typ)
	}
}

// convert looks at how a value is brought to a variable's type, which may be unknown.
func (p *plpgsql) convert(from, to typ) {
	switch {
	case to.oid != 0:
		if from.oid != to.oid {
			p.a.cast(from, to.oid)
		}
	case from.oid == 0 || p.a.j.stringLike(from.oid):
		p.a.add(notCacheable("a variable of unknown type is given something that may be a string like 'now'"))
	}
}

// assignRow looks at a row that goes to a target: one record, or a list of variables.
func (p *plpgsql) assignRow(target any, row *table) {
	kind, v := single(target)
	switch kind {
	case "PLpgSQL_rec":
		p.record(num(v, "dno"), row)
	case "PLpgSQL_row":
		fields, _ := v["fields"].([]any)
		if len(fields) == 1 { // a record may be the only one
			f, _ := fields[0].(plNode)
			if no := num(f, "varno"); no < len(p.datums) && p.datums[no].record {
				p.record(no, row)
				return
			}
		}
		for i, n := range fields {
			f, _ := n.(plNode)
			from := hidden
			if !row.partial && i < len(row.columns) {
				from = row.columns[i].typ
			}
			p.assignTo(num(f, "varno"), from)
		}
	case "PLpgSQL_var":
		for _, i := range p.byName[str(v, "refname")] {
			p.assignTo(i, first(row))
		}
	default:
		p.a.add(writes("a target isn't understood"))
	}
}

// record gives a record a row. One that is declared with a type keeps that.
func (p *plpgsql) record(no int, row *table) {
	if no < 0 || no >= len(p.datums) {
		p.a.add(writes("a target isn't understood"))
		return
	}
	d := p.datums[no]
	t := p.a.s.Type(p.a.j.base(d.typ.oid))
	if t == nil || t.Kind != catalog.TypeComposite {
		p.reshape(no, row)
		return
	}
	declared := p.row(t)
	p.reshape(no, declared)
	for i, c := range declared.columns {
		from := hidden
		if !row.partial && i < len(row.columns) {
			from = row.columns[i].typ
		}
		p.convert(from, c.typ)
	}
	if declared.partial {
		p.a.add(writes("a variable isn't understood"))
	}
}

// reshape notes what a record may hold.
func (p *plpgsql) reshape(no int, row *table) {
	d := &p.datums[no]
	switch {
	case d.shape == nil:
		d.shape, p.more = row, true
	case d.shape.partial && len(d.shape.columns) == 0, d.shape.partial == row.partial && slices.Equal(d.shape.columns, row.columns):
	default:
		d.shape, p.more = &table{partial: true}, true
	}
}
