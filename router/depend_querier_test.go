package router_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// shape is what a FROM item of the random queries can be.
type shape struct {
	sql     string
	columns []string // name:type, i for integers, s for strings, b for bool
}

var soundnessShapes = []shape{
	{"ta", []string{"id:i", "x:i", "s:s", "b:b"}},
	{"ta", []string{"id:i", "x:i", "s:s", "b:b"}},
	{"tb", []string{"id:i", "a:i", "s:s", "x:i"}},
	{"tb", []string{"id:i", "a:i", "s:s", "x:i"}},
	{"tp", []string{"a:i", "b:i", "x:i"}},
	{"ti", []string{"id:i", "x:i"}},
	{"ONLY ti", []string{"id:i", "x:i"}},
	{"va", []string{"k:i", "s:s", "x:i"}},
	{"vj", []string{"id:i", "bid:i", "s:s"}},
	{"vg", []string{"a:i", "n:i", "m:i"}},
	{"vu", []string{"id:i", "x:i"}},
	{"vs", []string{"id:i", "a:i"}},
}

// querier makes random queries.
type querier struct {
	*rand.Rand
	aliases int
	ctes    []shape // that can be named
	depth   int
}

func (q *querier) pick(list ...string) string { return list[q.IntN(len(list))] }
func (q *querier) one(n int) bool             { return q.IntN(n) == 0 }

// seen is a FROM item under its alias.
type seen struct {
	alias string
	shape
}

func (s seen) column(q *querier, typ string) string {
	var fit []string
	for _, c := range s.columns {
		if name, t, _ := strings.Cut(c, ":"); typ == "" || t == typ {
			fit = append(fit, s.alias+"."+name)
		}
	}
	if len(fit) == 0 {
		return ""
	}
	return fit[q.IntN(len(fit))]
}

func column(q *querier, items []seen, typ string) string {
	for range 8 {
		if c := items[q.IntN(len(items))].column(q, typ); c != "" {
			return c
		}
	}
	return ""
}

func (q *querier) value(typ string) string {
	switch typ {
	case "i":
		return q.pick("0", "1", "2", "3", "'1'", "-1", "2::bigint")
	case "s":
		return q.pick("'p'", "'q'", "'r'", "''", "'p'::text", "'q'::varchar")
	}
	return q.pick("true", "false", "'t'")
}

// atom is a condition about the items, those of outer queries among them.
func (q *querier) atom(items, outer []seen) string {
	typ := q.pick("i", "i", "i", "s", "b")
	c := column(q, items, typ)
	if c == "" {
		return "true"
	}
	all := append(slices.Clone(items), outer...)
	switch q.IntN(16) {
	case 0, 1, 2, 3:
		return c + " = " + q.value(typ)
	case 4:
		return q.value(typ) + " = " + c
	case 5, 6, 7:
		if d := column(q, all, typ); d != "" {
			return c + " = " + d
		}
	case 8:
		return c + " IN (" + q.value(typ) + ", " + q.value(typ) + ")"
	case 9:
		if typ == "i" {
			return c + q.pick(" = ANY('{1,2}')", " = ANY(ARRAY[0, 1])", " <> ALL('{1}')", " > 1", " + 0 = 1", " = 1.0")
		}
		if typ == "b" {
			return c + " = ANY(ARRAY[true, " + q.value(typ) + "])"
		}
		return c + " = ANY(ARRAY[" + q.value(typ) + ", " + q.value(typ) + "])"
	case 10:
		return c + q.pick(" IS NULL", " IS NOT NULL")
	case 11:
		if d := column(q, all, typ); d != "" && q.one(2) {
			return c + " IS NOT DISTINCT FROM " + d
		}
		return c + " IS " + q.pick("", "NOT ") + "DISTINCT FROM " + q.value(typ)
	case 12:
		if typ == "b" {
			return q.pick("", "NOT ") + c
		}
		return c + " <> " + q.value(typ)
	case 13:
		if d := column(q, all, "i"); d != "" && typ == "i" {
			return "(" + c + ", " + d + ") = (" + q.value("i") + ", " + q.value("i") + ")"
		}
	case 14:
		if q.depth < 1 {
			return q.pick("", "NOT ") + "EXISTS (" + q.selection(all, false) + ")"
		}
	case 15:
		if q.depth < 1 && typ == "i" {
			return c + q.pick(" IN ", " NOT IN ") + "(" + q.selection(all, true) + ")"
		}
	}
	return c + " = " + q.value(typ)
}

func (q *querier) condition(items, outer []seen) string {
	var parts []string
	for range 1 + q.IntN(3) {
		a := q.atom(items, outer)
		switch q.IntN(8) {
		case 0:
			a = "(" + a + " OR " + q.atom(items, outer) + ")"
		case 1:
			a = "NOT (" + a + " AND " + q.atom(items, outer) + ")"
		}
		parts = append(parts, a)
	}
	return strings.Join(parts, " AND ")
}

func (q *querier) item(outer []seen) (string, seen) {
	q.aliases++
	s := seen{alias: "t" + strconv.Itoa(q.aliases)}
	switch {
	case len(q.ctes) > 0 && q.one(3):
		s.shape = q.ctes[q.IntN(len(q.ctes))]
		return s.sql + " AS " + s.alias, s
	case q.depth < 1+q.IntN(2) && q.one(5):
		q.depth++
		sql, columns := q.query(nil)
		q.depth--
		s.columns = columns
		return "(" + sql + ") AS " + s.alias, s
	case q.depth < 2 && len(outer) > 0 && q.one(8):
		q.depth++
		sql, columns := q.query(outer)
		q.depth--
		s.columns = columns
		return "LATERAL (" + sql + ") AS " + s.alias, s
	}
	s.shape = soundnessShapes[q.IntN(len(soundnessShapes))]
	return s.sql + " AS " + s.alias, s
}

// from makes a FROM clause of one to three items.
func (q *querier) from(outer []seen) (string, []seen) {
	sql, first := q.item(nil)
	items := []seen{first}
	for range q.IntN(3 - min(q.depth, 1)) {
		kind := q.pick("JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", ",", "CROSS JOIN")
		var lateral []seen
		if kind != "RIGHT JOIN" && kind != "FULL JOIN" {
			lateral = items
		}
		right, it := q.item(lateral)
		next := append(slices.Clone(items), it)
		switch kind {
		case ",":
			if strings.Contains(sql, " JOIN ") { // binds less than the joins before it
				kind = "CROSS JOIN"
			}
			sql += " " + kind + " " + right
		case "CROSS JOIN":
			sql += " CROSS JOIN " + right
		case "FULL JOIN":
			// Postgres can do it only with conditions that can be merged or hashed.
			l, r := column(q, items, "i"), it.column(q, "i")
			if l == "" || r == "" {
				sql += " CROSS JOIN " + right
				break
			}
			sql = q.parenthesized(sql) + " FULL JOIN " + right + " ON " + l + " = " + r
		default:
			sql = q.parenthesized(sql) + " " + kind + " " + right + " ON " + q.condition(next, outer)
		}
		items = next
	}
	return sql, items
}

// parenthesized makes one item of what may have commas in it.
func (q *querier) parenthesized(sql string) string {
	return strings.ReplaceAll(sql, " , ", " CROSS JOIN ")
}

// selection is a subquery in an expression; with a single column of integers.
func (q *querier) selection(outer []seen, single bool) string {
	q.depth++
	defer func() { q.depth-- }()
	from, items := q.from(outer)
	target := "1"
	if single {
		if target = column(q, items, "i"); target == "" {
			target = "1"
		}
	}
	return "SELECT " + target + " FROM " + from + " WHERE " + q.condition(items, outer)
}

// query is a whole query with the columns of its result.
func (q *querier) query(outer []seen) (string, []string) {
	if q.one(8) && q.depth < 2 {
		q.depth++
		a, columns := q.plain(outer, 2)
		b, _ := q.plain(outer, 2)
		q.depth--
		return "(" + a + ") " + q.pick("UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL") + " (" + b + ")", columns
	}
	return q.plain(outer, 0)
}

func (q *querier) plain(outer []seen, width int) (string, []string) {
	from, items := q.from(outer)
	var targets, columns []string
	if width == 0 {
		width = 1 + q.IntN(3)
	}
	for range width {
		c := column(q, items, "i")
		if c == "" {
			c = "1"
		}
		columns = append(columns, fmt.Sprintf("c%d:i", len(columns)))
		targets = append(targets, fmt.Sprintf("%s AS c%d", c, len(targets)))
	}
	tail := ""
	if !q.one(4) {
		tail = " WHERE " + q.condition(items, outer)
	}
	switch q.IntN(10) {
	case 0:
		group, _, _ := strings.Cut(targets[0], " AS ")
		targets = append(targets[:1], "count(*)::int AS c1")
		columns = []string{"c0:i", "c1:i"}
		for len(targets) < width {
			columns = append(columns, fmt.Sprintf("c%d:i", len(targets)))
			targets = append(targets, fmt.Sprintf("0 AS c%d", len(targets)))
		}
		if group == "1" {
			tail += " GROUP BY ()"
		} else {
			tail += " GROUP BY " + q.pick(group, group, "1", "ROLLUP ("+group+")")
		}
		tail += q.pick("", " HAVING count(*) > 1")
	case 1:
		targets[0] = "DISTINCT " + targets[0]
	case 2:
		on, _, _ := strings.Cut(targets[0], " AS ")
		tail += " ORDER BY "
		for i := range targets {
			tail += fmt.Sprintf("%d, ", i+1)
		}
		tail = strings.TrimSuffix(tail, ", ")
		targets[0] = "DISTINCT ON (" + on + ") " + targets[0]
		if on == "1" {
			targets[0] = strings.TrimPrefix(targets[0], "DISTINCT ON (1) ")
		}
	case 3:
		i := len(targets) - 1
		targets[i] = fmt.Sprintf("(sum(%s) OVER (PARTITION BY %s))::int AS c%d", orOne(column(q, items, "i")), orOne(column(q, items, "i")), i)
	case 4:
		i := len(targets) - 1
		if q.depth < 1 {
			targets[i] = fmt.Sprintf("(SELECT count(*)::int FROM (%s) x) AS c%d", q.selection(items, true), i)
		}
	}
	sql := "SELECT " + strings.Join(targets, ", ") + " FROM " + from + tail
	if q.one(6) && !strings.Contains(tail, "ORDER BY") {
		order := make([]string, len(targets))
		for i := range order {
			order[i] = strconv.Itoa(i + 1)
		}
		sql += " ORDER BY " + strings.Join(order, ", ") + q.pick(" LIMIT 1", " LIMIT 2", " OFFSET 1", "")
	}
	return sql, columns
}

func orOne(c string) string {
	if c == "" {
		return "1"
	}
	return c
}

// statement is a query, perhaps with WITH before it.
func (q *querier) statement() string {
	q.aliases, q.depth, q.ctes = 0, 0, nil
	with := ""
	if q.one(4) {
		q.depth = 1
		sql, columns := q.query(nil)
		q.depth = 0
		with = "WITH w AS (" + sql + ") "
		q.ctes = []shape{{"w", columns}}
	}
	sql, _ := q.query(nil)
	return with + sql
}
