package shapes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

func itoa(n int) string { return strconv.Itoa(n) }

// column is one that a query can name.
type column struct {
	name  string
	class class
}

// item is what stands in a FROM clause, under its alias.
type item struct {
	alias   string
	columns []column
}

// source is what can stand in a FROM clause by its name.
type source struct {
	sql     string
	columns []column
	plain   bool // takes ONLY and a column list
}

// param is a parameter of a statement.
type param struct {
	class class
	text  string
}

// gen makes statements at random, for one world.
type gen struct {
	*rand.Rand
	sources []source
	ctes    []source
	params  *[]param // nil: literals only
	varyOK  bool     // what varies may be used; varies says whether it was
	varies  bool
	ordered bool // the last query that was made says in which order its rows come
	sub     int  // how deep in subqueries
	// extensions are those that there are.
	extensions []string
	aliases    int
}

func (g *gen) one(n int) bool                 { return g.IntN(n) == 0 }
func (g *gen) pick(list []string) string      { return list[g.IntN(len(list))] }
func (g *gen) any(list ...string) string      { return list[g.IntN(len(list))] }
func (g *gen) alias() string                  { g.aliases++; return "a" + itoa(g.aliases) }
func (i item) ref(c column) string            { return strings.TrimPrefix(i.alias+"."+c.name, ".") }
func (g *gen) steadyClass() class             { return class("iiiissbdue"[g.IntN(10)]) }
func withOrder(n int) (list string)           { return " ORDER BY " + positions(n) }
func (g *gen) keyClass(items []item) class    { return class("iiiisssub"[g.IntN(9)]) }
func join(parts []string, with string) string { return strings.Join(parts, with) }

func (g *gen) class() class {
	if g.has("hstore") && g.one(25) {
		return 'h'
	}
	return class("iiiiiissssbbndtzvueISkyrcwfq"[g.IntN(28)])
}

func (g *gen) has(extension string) bool { return slices.Contains(g.extensions, extension) }

func positions(n int) string {
	var list []string
	for i := range n {
		list = append(list, itoa(i+1))
	}
	return join(list, ", ")
}

// column picks a column of a class; empty: there is none.
func (g *gen) column(items []item, c class) string {
	var fit []string
	for _, it := range items {
		for _, col := range it.columns {
			if col.class == c {
				fit = append(fit, it.ref(col))
			}
		}
	}
	if len(fit) == 0 {
		return ""
	}
	return g.pick(fit)
}

// from makes a FROM clause of n items. outer are those that LATERAL can see beside them.
func (g *gen) from(outer []item, n int) (string, []item) {
	sql, first := g.item(nil)
	items := []item{first}
	for range n - 1 {
		kind := g.any("JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN", "NATURAL JOIN", "USING")
		var lateral []item
		if kind == "JOIN" || kind == "LEFT JOIN" || kind == "CROSS JOIN" {
			lateral = items
		}
		right, it := g.item(lateral)
		next := append(slices.Clone(items), it)
		switch kind {
		case "CROSS JOIN":
			sql += " CROSS JOIN " + right
		case "FULL JOIN":
			l, r := g.column(items, 'i'), g.column([]item{it}, 'i')
			if l == "" || r == "" {
				sql += " CROSS JOIN " + right
				break
			}
			sql += " FULL JOIN " + right + " ON " + l + " = " + r
		case "NATURAL JOIN":
			if g.clash(items, it) {
				sql += " CROSS JOIN " + right
				break
			}
			sql += g.any(" NATURAL JOIN ", " NATURAL LEFT JOIN ") + right
			// Of what it merges, both sides can still be named.
		case "USING":
			common := g.common(items, it)
			if common == "" {
				sql += " JOIN " + right + " ON " + g.condition(next, outer, 1)
				break
			}
			sql += g.any(" JOIN ", " LEFT JOIN ", " RIGHT JOIN ", " FULL JOIN ") + right + " USING (" + common + ")"
			if g.one(2) { // the merged one has no table
				class := class(0)
				for i, c := range it.columns {
					if c.name == common {
						class = it.columns[i].class
					}
				}
				next = append(next, item{columns: []column{{common, class}}})
			}
		default:
			sql += " " + kind + " " + right + " ON " + g.condition(next, outer, 1)
		}
		items = next
	}
	return sql, items
}

// clash says whether a NATURAL JOIN would compare what can't be compared.
func (g *gen) clash(items []item, it item) bool {
	for _, c := range it.columns {
		n := 0
		for _, o := range items {
			for _, oc := range o.columns {
				if oc.name == c.name {
					n++
					if oc.class != c.class || strings.IndexByte("jcwr", byte(c.class)) >= 0 {
						return true
					}
				}
			}
		}
		if n > 1 {
			return true
		}
	}
	return false
}

// common is a column that the item shares with exactly one of those before it.
func (g *gen) common(items []item, it item) string {
	var fit []string
	for _, c := range it.columns {
		n := 0
		for _, o := range items {
			for _, oc := range o.columns {
				if oc.name == c.name {
					n++
					if oc.class != c.class || strings.IndexByte("isubd", byte(c.class)) < 0 {
						n += 10
					}
				}
			}
		}
		if n == 1 {
			fit = append(fit, c.name)
		}
	}
	if len(fit) == 0 {
		return ""
	}
	return g.pick(fit)
}

// item makes a FROM item; lateral are those that it may refer to.
func (g *gen) item(lateral []item) (string, item) {
	it := item{alias: g.alias()}
	switch {
	case len(g.ctes) > 0 && g.one(3):
		s := g.ctes[g.IntN(len(g.ctes))]
		it.columns = s.columns
		return s.sql + " AS " + it.alias, it
	case g.sub < 2 && g.one(7):
		g.sub++
		defer func() { g.sub-- }()
		lat := ""
		if len(lateral) > 0 && g.one(2) {
			lat = "LATERAL "
		} else {
			lateral = nil
		}
		sql, cols := g.feeding(lateral)
		it.columns = cols
		return lat + "(" + sql + ") AS " + it.alias, it
	case g.one(12):
		return g.function(lateral, it)
	}
	s := g.sources[g.IntN(len(g.sources))]
	it.columns = s.columns
	only := ""
	if s.plain && g.one(8) {
		only = "ONLY "
	}
	return only + s.sql + " AS " + it.alias, it
}

// function is a function or VALUES in FROM.
func (g *gen) function(lateral []item, it item) (string, item) {
	arg := func(c class) string {
		if col := g.column(lateral, c); col != "" && g.one(2) {
			return g.cast(c, col)
		}
		return g.valueAs(c, false)
	}
	cols := func(list ...column) item { it.columns = list; return it }
	switch g.IntN(8) {
	case 0:
		return "generate_series(0, abs(" + arg('i') + ")) AS " + it.alias + "(i1)", cols(column{"i1", 'i'})
	case 1:
		return "unnest(" + arg('I') + ") WITH ORDINALITY AS " + it.alias + "(i1, i2)", cols(column{"i1", 'i'}, column{"i2", 'i'})
	case 2:
		return "jsonb_each_text(" + arg('k') + ") AS " + it.alias + "(s1, s2)", cols(column{"s1", 's'}, column{"s2", 's'})
	case 3:
		return "(VALUES (1, 'a'), (2, 'b'), (3, NULL)) AS " + it.alias + "(i1, s1)", cols(column{"i1", 'i'}, column{"s1", 's'})
	case 4:
		return "picked(" + arg('i') + ") AS " + it.alias + "(i1, s1)", cols(column{"i1", 'i'}, column{"s1", 's'})
	case 5:
		return "regexp_split_to_table(" + arg('s') + ", '') AS " + it.alias + "(s1)", cols(column{"s1", 's'})
	case 6:
		return "jsonb_to_record(" + arg('k') + ") AS " + it.alias + "(n int, s text)", cols(column{"n", 'i'}, column{"s", 's'})
	}
	return "generate_series(" + arg('d') + ", date '2020-01-03', '1 day') AS " + it.alias + "(z1)", cols(column{"z1", 'z'})
}

// cast makes an integer an int4, which functions want.
func (g *gen) cast(c class, e string) string {
	if c == 'i' {
		return "(" + e + ")::int"
	}
	return e
}

// condition is a WHERE or ON clause; most are equalities, by which rows are picked.
func (g *gen) condition(items, outer []item, depth int) string {
	var parts []string
	for range 1 + g.IntN(3) {
		a := g.atom(items, outer, depth)
		switch g.IntN(10) {
		case 0:
			a = "(" + a + " OR " + g.atom(items, outer, depth) + ")"
		case 1:
			a = "NOT (" + a + " AND " + g.atom(items, outer, depth) + ")"
		}
		parts = append(parts, a)
	}
	return join(parts, " AND ")
}

func (g *gen) atom(items, outer []item, depth int) string {
	all := append(slices.Clone(items), outer...)
	c := g.keyClass(items)
	col := g.column(items, c)
	if col == "" {
		return g.expr('b', all, depth)
	}
	switch g.IntN(20) {
	case 0, 1, 2, 3, 4:
		return col + " = " + g.value(c)
	case 5, 6, 7:
		if other := g.column(all, c); other != "" {
			return col + " = " + other
		}
	case 8:
		return g.value(c) + " = " + col
	case 9, 10:
		return col + " IN (" + g.value(c) + ", " + g.value(c) + ")"
	case 11:
		return col + " = ANY (ARRAY[" + g.value(c) + ", " + g.value(c) + "])"
	case 12:
		if c == 'i' {
			return col + " = ANY (" + g.value('I') + ")"
		}
		return col + "::text = " + g.value('s')
	case 13:
		if c == 'i' {
			pair := "(" + g.value('i') + ", " + g.value('i') + ")"
			return "(" + col + ", " + g.column(all, 'i') + ") " + g.any("= "+pair, "IN ((0, 1), "+pair+")", "= ANY (SELECT 1, 2)")
		}
		return col + " IS NOT DISTINCT FROM " + g.value(c)
	case 14:
		return col + g.any(" IS NULL", " IS NOT NULL")
	case 15:
		if g.sub < 2 {
			g.sub++
			defer func() { g.sub-- }()
			return col + g.any(" IN (", " NOT IN (", " = ANY (", " <> ALL (") + g.small(c, all) + ")"
		}
	case 16:
		if q := g.column(items, 'q'); q != "" {
			return q + " = " + g.any(quote(g.pick(words)), g.value('s'), g.value('q'))
		}
	case 17:
		if n := g.column(items, 'n'); n != "" && c == 'i' {
			return col + " = " + n
		}
	case 18:
		if c == 'i' {
			return col + g.any(" = 1.0", "::bigint = 2", "::text = '1'", " = 1::numeric", " + 0 = 1", " = 2::smallint", " = '1'", "::numeric = 1")
		}
		if c == 's' {
			return col + g.any(" COLLATE ci = 'A'", " = 'a'::bpchar", " = 'a'::varchar(3)", "::varchar(1) = 'a'", ` COLLATE "C" = 'b'`, " = 'a'::name", " = 'a'::word", g.odd())
		}
	}
	return g.expr('b', all, depth)
}

// odd is a string in a way of writing that is rare: Freshet doesn't read it, and so doesn't cache it.
func (g *gen) odd() string {
	if !g.one(3) {
		return " = $odd$a$odd$"
	}
	return g.any(" = U&'\\0061'", " = U&'!0061' UESCAPE '!'", " = E'\\x61'", " = 'a'\n'b'")
}

// out makes an expression something of which equal values have equal bytes.
func out(c class, e string) (string, class) {
	switch c {
	case 'n':
		return "(" + e + ")::numeric(14,4)", 'n'
	case 'j', 'v', 'q', 'f', 'h':
		return "(" + e + `)::text COLLATE "C"`, 's'
	}
	return e, c
}

// feeding is a query that another one reads.
func (g *gen) feeding(outer []item) (string, []column) {
	sql, classes := g.query(outer, 1+g.IntN(3))
	var cols []column
	for i, c := range classes {
		cols = append(cols, column{"c" + itoa(i), c})
	}
	return sql, cols
}

// query is a query whose columns c0, c1 … are steady.
func (g *gen) query(outer []item, width int) (string, []class) {
	var want []class
	if g.one(8) {
		for range width {
			want = append(want, g.steadyClass())
		}
		a, b := g.same(outer, want), g.same(outer, want)
		op := g.any("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL", "INTERSECT ALL")
		sql := "(" + a + ") " + op + " (" + b + ")"
		if g.ordered = g.one(4); g.ordered {
			sql += withOrder(width) + g.any(" LIMIT 2", " OFFSET 1", " LIMIT 1 OFFSET 1")
		}
		return sql, want
	}
	for len(want) < width {
		want = append(want, g.class())
	}
	ordered := false
	defer func(ordered *bool) { g.ordered = *ordered }(&ordered)
	switch g.IntN(9) {
	case 0, 1:
		return g.grouped(outer, want)
	case 2:
		return g.windowed(outer, want)
	case 3:
		sql, classes := g.plain(outer, want)
		sql = strings.Replace(sql, "SELECT ", "SELECT DISTINCT ", 1)
		return sql, classes
	case 4:
		sql, classes := g.plain(outer, want)
		ordered = true
		return strings.Replace(sql, "SELECT ", "SELECT DISTINCT ON (c0) ", 1) + withOrder(len(want)), classes
	case 5:
		sql, classes := g.plain(outer, want)
		ordered = true
		limit := g.any(" LIMIT 2", " OFFSET 1", " LIMIT 3 OFFSET 1", " FETCH FIRST 2 ROWS WITH TIES", " LIMIT ALL")
		if g.params != nil && g.one(2) && len(*g.params) < 6 {
			*g.params = append(*g.params, param{class: 'i', text: g.any("0", "1", "2", "5")})
			limit = " LIMIT $" + itoa(len(*g.params)) + g.any("", "::int")
		}
		return sql + withOrder(len(want)) + limit, classes
	}
	return g.plain(outer, want)
}

func (g *gen) same(outer []item, want []class) string {
	sql, classes := g.plain(outer, want)
	for i := range classes {
		if classes[i] != want[i] {
			panic(fmt.Sprint(classes, want))
		}
	}
	return sql
}

func (g *gen) where(items, outer []item) string {
	if g.one(6) {
		return ""
	}
	return " WHERE " + g.condition(items, outer, 2)
}

func (g *gen) targets(items, outer []item, want []class) ([]string, []class) {
	all := append(slices.Clone(items), outer...)
	var targets []string
	var classes []class
	for i, c := range want {
		e, c := out(c, g.expr(c, all, g.IntN(3)))
		targets, classes = append(targets, e+" AS c"+itoa(i)), append(classes, c)
	}
	return targets, classes
}

func (g *gen) plain(outer []item, want []class) (string, []class) {
	from, items := g.from(outer, 1+g.IntN(3-min(g.sub, 1)))
	targets, classes := g.targets(items, outer, want)
	return "SELECT " + join(targets, ", ") + " FROM " + from + g.where(items, outer), classes
}

// grouped is a query with aggregates.
func (g *gen) grouped(outer []item, want []class) (string, []class) {
	from, items := g.from(outer, 1+g.IntN(2))
	keys := g.IntN(len(want) + 1)
	targets, classes := g.targets(items, nil, want[:keys])
	for i := keys; i < len(want); i++ {
		c := want[i]
		if aggregates[c] == nil {
			c = 'i'
		}
		e, c := out(c, g.fill(g.pick(aggregates[c]), items, 2))
		targets, classes = append(targets, e+" AS c"+itoa(i)), append(classes, c)
	}
	sql := "SELECT " + join(targets, ", ") + " FROM " + from + g.where(items, outer)
	if keys > 0 {
		p := positions(keys)
		sql += " GROUP BY " + g.any(p, p, p, p, "ROLLUP ("+p+")", "CUBE ("+p+")", "GROUPING SETS (("+p+"), ())")
	}
	if g.one(4) {
		sql += " HAVING " + g.any("count(*) > 1", "count(*) < 3", "bool_or(true)", "max("+g.expr('i', items, 1)+") = 1")
	}
	return sql, classes
}

func (g *gen) windowed(outer []item, want []class) (string, []class) {
	from, items := g.from(outer, 1+g.IntN(2))
	targets, classes := g.targets(items, outer, want)
	i := g.IntN(len(want))
	c := class("iiisbf"[g.IntN(6)])
	e, c := out(c, g.fill(g.pick(windows[c]), items, 2))
	targets[i], classes[i] = e+" AS c"+itoa(i), c
	return "SELECT " + join(targets, ", ") + " FROM " + from + g.where(items, outer), classes
}
