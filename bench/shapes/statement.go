package shapes

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Statement is a read.
type Statement struct {
	SQL    string
	Params []param
	// Varies: its answer isn't a function of tables, settings and role, by what it is made of.
	Varies bool
	// Name is that of a prepared statement, in the mode for it; on is what it was said to be on each connection.
	Name string
	on   map[*pgconn.PgConn]*pgconn.StatementDescription
}

// vary gives a prepared statement other parameters.
func (s *Statement) vary(n int) {
	for i := range s.Params {
		p := &s.Params[i]
		if values := classValues[p.class]; values != nil {
			p.text = values[(n*(i+1)+i)%len(values)]
		}
	}
}

// statement makes a read of which the order of rows is fixed. params: it may have parameters.
func (g *gen) statement(params bool) Statement {
	var list []param
	g.params, g.varies, g.sub, g.aliases, g.ctes, g.varyOK = nil, false, 0, 0, nil, true
	if params {
		g.params = &list
	}
	with := g.with()
	var sql string
	switch g.IntN(12) {
	case 0, 1, 2:
		sql = g.raw()
	case 3, 4:
		sql = g.lookup()
	case 5:
		sql = g.related()
	default:
		q, classes := g.query(nil, 1+g.IntN(4))
		if sql = q; !g.ordered {
			sql += withOrder(len(classes))
			sql += g.any("", "", "", " LIMIT 3", " OFFSET 1", " FETCH FIRST 3 ROWS ONLY")
		}
	}
	return numbered(Statement{SQL: with + sql, Params: list, Varies: g.varies})
}

var number = regexp.MustCompile(`\$[1-9]`)

// numbered leaves out the parameters that are in no part of the statement that was used.
func numbered(s Statement) Statement {
	var used []param
	names := map[string]string{}
	s.SQL = number.ReplaceAllStringFunc(s.SQL, func(p string) string {
		if names[p] == "" {
			used = append(used, s.Params[p[1]-'1'])
			names[p] = "$" + itoa(len(used))
		}
		return names[p]
	})
	s.Params = used
	return s
}

// with makes common table expressions.
func (g *gen) with() string {
	if !g.one(5) {
		return ""
	}
	if g.one(4) {
		s := g.sources[g.IntN(len(g.sources))]
		it := item{alias: "r0", columns: s.columns}
		if a := g.column([]item{it}, 'i'); a != "" {
			b := g.column([]item{it}, 'i')
			sql := "WITH RECURSIVE w0(c0, c1) AS (SELECT " + a + "::int, 0 FROM " + s.sql + " AS r0 WHERE " + g.condition([]item{it}, nil, 1) +
				" UNION SELECT " + b + "::int, w0.c1 + 1 FROM " + s.sql + " AS r0 JOIN w0 ON w0.c0 = " + a + " AND w0.c1 < 3) "
			g.ctes = append(g.ctes, source{sql: "w0", columns: []column{{"c0", 'i'}, {"c1", 'i'}}})
			return sql
		}
	}
	var parts []string
	for i := range 1 + g.IntN(2) {
		g.sub = 1
		sql, cols := g.feeding(nil)
		g.sub = 0
		name := "w" + itoa(i)
		parts = append(parts, name+" AS "+g.any("", "", "MATERIALIZED ", "NOT MATERIALIZED ")+"("+sql+")")
		g.ctes = append(g.ctes, source{sql: name, columns: cols})
	}
	return "WITH " + join(parts, ", ") + " "
}

// raw is a query that shows columns and expressions of any class as they are, sorted by their texts, too.
func (g *gen) raw() string {
	from, items := g.from(nil, 1+g.IntN(3))
	var targets, order []string
	for i := range 1 + g.IntN(5) {
		c := class("isnfbdtzvueISjkyrcwq"[g.IntN(20)])
		if g.has("hstore") && g.one(20) {
			c = 'h'
		}
		e := g.expr(c, items, g.IntN(3))
		if g.params != nil && strings.HasPrefix(e, "$") && !strings.Contains(e, "::") {
			e += "::text"
		}
		targets = append(targets, e+g.any("", " AS x"+itoa(i)))
		order = append(order, "("+e+`)::text COLLATE "C"`)
	}
	return "SELECT " + join(targets, ", ") + " FROM " + from + g.where(items, nil) + " ORDER BY " + join(order, ", ")
}

// lookup is what applications do most: rows of one table, or of a few, by key.
func (g *gen) lookup() string {
	s := g.sources[g.IntN(len(g.sources))]
	it := item{alias: "l", columns: s.columns}
	var order []string
	for _, c := range s.columns {
		order = append(order, it.ref(c)+`::text COLLATE "C"`)
	}
	c := g.keyClass(nil)
	col := g.column([]item{it}, c)
	if col == "" {
		c, col = s.columns[0].class, it.ref(s.columns[0])
	}
	where := col + g.any(" = "+g.value(c), " IN ("+g.value(c)+", "+g.value(c)+")", " = "+g.value(c)+" AND "+g.atom([]item{it}, nil, 1))
	return "SELECT " + g.any("*", "l.*") + " FROM " + s.sql + " AS l WHERE " + where + " ORDER BY " + join(order, ", ")
}

// related is what applications do with related tables: rows of one, by key, with those that belong to them.
func (g *gen) related() string {
	a, b := g.sources[g.IntN(len(g.sources))], g.sources[g.IntN(len(g.sources))]
	l, r := item{"l", a.columns}, item{"r", b.columns}
	c := g.keyClass(nil)
	from, to, by := g.column([]item{l}, c), g.column([]item{r}, c), g.column([]item{l}, c)
	if from == "" || to == "" {
		return g.lookup()
	}
	var order []string
	for _, it := range []item{l, r} {
		for _, col := range it.columns {
			order = append(order, it.ref(col)+`::text COLLATE "C"`)
		}
	}
	rest := " FROM " + a.sql + " AS l " + g.any("JOIN ", "LEFT JOIN ", "LEFT JOIN ") + b.sql + " AS r ON " + to + " = " + from + " WHERE " + by + " = " + g.value(c)
	switch g.IntN(5) {
	case 0:
		return "SELECT DISTINCT " + from + rest + " ORDER BY 1"
	case 1:
		return "SELECT count(*), max(" + to + "::text)" + rest + " ORDER BY 1, 2"
	}
	return "SELECT " + g.any("*", "l.*", "r.*") + rest + " ORDER BY " + join(order, ", ")
}
