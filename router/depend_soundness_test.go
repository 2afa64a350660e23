package router_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// The rule that row dependencies rest on, tried out: whatever happens to a row that a plan's dependencies don't name, the answer is the
// same. Queries over small tables with few values, and for each of them random changes of single rows.

const soundnessSchema = `
CREATE TABLE ta (id int PRIMARY KEY, x int, s text, b bool);
CREATE TABLE tb (id bigint PRIMARY KEY, a int, s varchar(9), x smallint); ALTER TABLE tb REPLICA IDENTITY FULL;
CREATE TABLE tp (a int, b int, x int, PRIMARY KEY (a, b)) PARTITION BY LIST (b);
CREATE TABLE tp0 (x int, b int NOT NULL, a int NOT NULL, PRIMARY KEY (a, b)); ALTER TABLE tp ATTACH PARTITION tp0 FOR VALUES IN (0, 1);
CREATE TABLE tp1 PARTITION OF tp DEFAULT;
CREATE TABLE ti (id int PRIMARY KEY, x int); CREATE TABLE tj (s text, PRIMARY KEY (id)) INHERITS (ti);
CREATE VIEW va AS SELECT id AS k, s, x FROM ta WHERE b;
CREATE VIEW vj AS SELECT ta.id, tb.id AS bid, tb.s FROM ta LEFT JOIN tb ON tb.a = ta.id;
CREATE VIEW vg AS SELECT a, count(*) AS n, max(x) AS m FROM tb GROUP BY a;
CREATE VIEW vu AS SELECT id, x FROM ta UNION ALL SELECT a, x FROM tp;
CREATE VIEW vs AS SELECT id, a FROM tb WHERE s::text = 'p'::text OR s IN ('q', 'r')`

// soundnessRow holds values as text, nil for NULL.
type soundnessRow map[string]*string

type soundnessTable struct {
	name    string
	oid     uint32 // in whose name changes come
	columns []string
	key     []string
	rows    []soundnessRow
}

func text(s string) *string { return &s }

func randomValue(q *querier, column string) *string {
	if q.one(6) {
		return nil
	}
	switch column {
	case "s":
		return text(q.pick("p", "q", "r", ""))
	case "b!":
		return text(q.pick("t", "f"))
	}
	if column == "id" {
		return text(q.pick("0", "1", "2", "3", "-1"))
	}
	return text(q.pick("0", "1", "2"))
}

func (t *soundnessTable) random(q *querier) soundnessRow {
	r := soundnessRow{}
	for _, c := range t.columns {
		kind := c
		if t.name == "ta" && c == "b" {
			kind = "b!"
		}
		for r[c] = randomValue(q, kind); slices.Contains(t.key, c) && r[c] == nil; {
			r[c] = randomValue(q, kind)
		}
	}
	return r
}

func (t *soundnessTable) same(a, b soundnessRow) bool {
	for _, k := range t.key {
		if *a[k] != *b[k] {
			return false
		}
	}
	return true
}

// add puts a row in, unless its key is taken.
func (t *soundnessTable) add(r soundnessRow) bool {
	if slices.ContainsFunc(t.rows, func(o soundnessRow) bool { return t.same(o, r) }) {
		return false
	}
	t.rows = append(t.rows, r)
	return true
}

func literal(v *string) string {
	if v == nil {
		return "NULL"
	}
	return "'" + *v + "'"
}

func (t *soundnessTable) insert(r soundnessRow) string {
	var values []string
	for _, c := range t.columns {
		values = append(values, literal(r[c]))
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", t.name, strings.Join(t.columns, ", "), strings.Join(values, ", "))
}

func (t *soundnessTable) where(r soundnessRow) string {
	var parts []string
	for _, k := range t.key {
		parts = append(parts, k+" = "+literal(r[k]))
	}
	return " WHERE " + strings.Join(parts, " AND ")
}

// change makes a random change of one row: what to execute, and the rows that are gone and that have come.
func (t *soundnessTable) change(q *querier) (sql string, gone, come soundnessRow) {
	only := "ONLY " + t.name
	if len(t.rows) > 0 && q.one(3) {
		r := t.rows[q.IntN(len(t.rows))]
		return "DELETE FROM " + only + t.where(r), r, nil
	}
	r := t.random(q)
	if len(t.rows) > 0 && q.one(2) {
		old := t.rows[q.IntN(len(t.rows))]
		for _, c := range t.columns {
			if q.one(2) {
				r[c] = old[c]
			}
		}
		if slices.ContainsFunc(t.rows, func(o soundnessRow) bool { return t.same(o, r) && !t.same(o, old) }) {
			return "", nil, nil
		}
		var set []string
		for _, c := range t.columns {
			set = append(set, c+" = "+literal(r[c]))
		}
		return "UPDATE " + only + " SET " + strings.Join(set, ", ") + t.where(old), old, r
	}
	if slices.ContainsFunc(t.rows, func(o soundnessRow) bool { return t.same(o, r) }) {
		return "", nil, nil
	}
	return t.insert(r), nil, r
}

// touches tells whether a change of a row is one of those that the dependencies name.
func touches(t *testing.T, deps []consistency.Dependency, oid uint32, r soundnessRow) bool {
	for _, d := range deps {
		if r == nil || !slices.Contains(d.Relations, oid) {
			continue
		}
		if d.Set == nil {
			return true
		}
		var h consistency.RowHash
		null := false
		for _, c := range d.Set.Columns() {
			v, there := r[c.Name]
			if !there {
				t.Fatalf("no column %s", c.Name)
			}
			if v == nil {
				null = true
				break
			}
			var ok bool
			if h, ok = h.Text(c.Kind, []byte(*v)); !ok {
				t.Fatalf("%s: %q isn't read", c.Name, *v)
			}
		}
		if !null && slices.Contains(d.Rows, h) {
			return true
		}
	}
	return false
}

// soundness is what the queries are tried on.
type soundness struct {
	*testing.T
	q        *querier
	seed     uint64
	conn     *pgx.Conn
	planner  *router.Planner
	resolver router.Resolver
	tables   []*soundnessTable
	checked  int
}

func newSoundness(t *testing.T) *soundness {
	ctx := context.Background()
	db := pg.Get(t).NewDatabase(t)
	conn, err := pg.Get(t).Primary().Connect(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	if _, err := conn.Exec(ctx, soundnessSchema); err != nil {
		t.Fatal(err)
	}
	s, err := catalog.Load(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	if v, err := strconv.ParseUint(os.Getenv("FRESHET_SEED"), 10, 64); err == nil {
		seed = v
	}
	w := &soundness{T: t, conn: conn, seed: seed, q: &querier{Rand: rand.New(rand.NewPCG(seed, 0))},
		planner: router.NewPlanner(func() *catalog.Snapshot { return s })}
	w.tables = []*soundnessTable{
		{name: "ta", columns: []string{"id", "x", "s", "b"}, key: []string{"id"}},
		{name: "tb", columns: []string{"id", "a", "s", "x"}, key: []string{"id"}},
		{name: "tp0", columns: []string{"a", "b", "x"}, key: []string{"a", "b"}},
		{name: "tp1", columns: []string{"a", "b", "x"}, key: []string{"a", "b"}},
		{name: "ti", columns: []string{"id", "x"}, key: []string{"id"}},
		{name: "tj", columns: []string{"id", "x", "s"}, key: []string{"id"}},
	}
	for _, table := range w.tables {
		table.oid = s.RelationByName("public", table.name).OID
	}
	return w
}

// fill gives the tables other rows.
func (w *soundness) fill() {
	w.Helper()
	sql := "TRUNCATE ta, tb, tp, ti, tj;"
	for _, table := range w.tables {
		table.rows = nil
		for range 5 {
			if r := table.random(w.q); table.fits(r) && table.add(r) {
				sql += table.insert(r) + ";"
			}
		}
	}
	if _, err := w.conn.Exec(context.Background(), sql); err != nil {
		w.Fatal(err)
	}
}

// fits tells whether a row may be in a partition.
func (t *soundnessTable) fits(r soundnessRow) bool {
	if r == nil || t.name != "tp0" && t.name != "tp1" {
		return true
	}
	return (*r["b"] == "0" || *r["b"] == "1") == (t.name == "tp0")
}

// try compares the answer with what it is after changes that the dependencies don't name. onRows: there are dependencies on rows.
func (w *soundness) try(sql string, changes int) (onRows bool) {
	w.Helper()
	plan := w.planner.Plan(sql, router.Context{Role: "postgres", SearchPath: publicPath})
	if !plan.Cacheable {
		w.Fatalf("%s: %s", sql, plan.Reason)
	}
	deps := w.resolver.Resolve(plan, router.Execution{Text: []byte(sql), UTF8: true})
	if !slices.ContainsFunc(deps, func(d consistency.Dependency) bool { return d.Set != nil }) {
		return false
	}
	ask := "SELECT coalesce(array_agg(q::text ORDER BY q::text COLLATE \"C\")::text, '') FROM (" + sql + ") q;"
	script, what := ask, []string{""}
	read := slices.DeleteFunc(slices.Clone(w.tables), func(t *soundnessTable) bool { return !slices.Contains(plan.Relations, t.oid) })
	for range changes {
		table := read[w.q.IntN(len(read))]
		change, gone, come := table.change(w.q)
		if change == "" || !table.fits(come) || touches(w.T, deps, table.oid, gone) || touches(w.T, deps, table.oid, come) {
			continue
		}
		script += "BEGIN;" + change + ";" + ask + "ROLLBACK;"
		what = append(what, change)
	}
	results, err := w.conn.PgConn().Exec(context.Background(), script).ReadAll()
	if err != nil {
		if !strings.Contains(err.Error(), "FULL JOIN is only supported") {
			w.Fatalf("%s: %v", sql, err)
		}
		return false
	}
	before := string(results[0].Rows[0][0])
	for i, change := range what[1:] {
		w.checked++
		r := results[1+4*i:]
		if n := r[1].CommandTag.RowsAffected(); n != 1 {
			w.Fatalf("%s: %d rows", change, n)
		}
		if after := string(r[2].Rows[0][0]); after != before {
			w.Errorf("seed %d\n%s\n  depends on %s\n  and after %s\n  is %s\n  not %s", w.seed, sql, strings.Join(plan.DependsOn(), "; "), change, after, before)
			break
		}
	}
	return true
}

// soundnessQueries are one or more for each of the rules. {i} stands for a random number, {s} for a random string.
var soundnessQueries = strings.Split(strings.TrimSpace(`
SELECT * FROM ta WHERE id = {i}
SELECT * FROM ta WHERE x = {i} AND s = {s}
SELECT * FROM ta WHERE id IN ({i}, {i}) AND b
SELECT * FROM ta WHERE NOT b AND x = {i}
SELECT * FROM ta WHERE x IS NOT DISTINCT FROM {i}
SELECT * FROM ta WHERE x = ANY('{0,{i}}')
SELECT count(*), max(s) FROM ta WHERE x = {i}
SELECT * FROM ta WHERE x = {i} OR id = {i}
SELECT * FROM ta WHERE NOT (x = {i})
SELECT * FROM ta WHERE (x = {i}) IS NOT TRUE
SELECT * FROM ta WHERE x = {i} AND (id = {i} OR s = {s})
SELECT * FROM ta WHERE x = {i} LIMIT 0
SELECT * FROM tb WHERE s = {s}
SELECT * FROM tp WHERE a = {i}
SELECT * FROM tp WHERE a = {i} AND b = {i}
SELECT * FROM tp WHERE (a, b) IN (({i}, {i}), ({i}, {i}))
SELECT * FROM ta LEFT JOIN tp ON (tp.a, tp.b) IN ((ta.x, {i}), ({i}, {i})) WHERE ta.id = {i}
SELECT * FROM ta WHERE (x, s) NOT IN (({i}, {s}), ({i}, {s})) AND id = {i}
SELECT * FROM ti WHERE id = {i}
SELECT * FROM ONLY ti WHERE id = {i}
SELECT * FROM tj WHERE id = {i}
SELECT * FROM ta JOIN tb ON tb.a = ta.id WHERE ta.id = {i}
SELECT * FROM ta JOIN tb ON tb.a = ta.id AND tb.s = {s}
SELECT * FROM ta JOIN tb ON tb.x = ta.x AND tb.a = ta.id WHERE ta.x = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id WHERE ta.id = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id AND tb.s = {s}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id AND ta.x = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id AND ta.id = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id WHERE tb.a = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id WHERE tb.x = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id WHERE tb.a IS NOT DISTINCT FROM {i}
SELECT * FROM ta LEFT JOIN tb ON tb.x = {i} WHERE ta.x = {i}
SELECT * FROM tb RIGHT JOIN ta ON tb.a = ta.id WHERE ta.id = {i}
SELECT * FROM tb RIGHT JOIN ta ON tb.a = ta.id AND ta.x = {i}
SELECT * FROM tb RIGHT JOIN ta ON tb.a = ta.id AND tb.x = {i}
SELECT * FROM ta FULL JOIN tb ON tb.a = ta.id WHERE ta.id = {i}
SELECT * FROM ta FULL JOIN tb ON tb.a = ta.id WHERE tb.x = {i}
SELECT * FROM ta FULL JOIN tb ON tb.a = ta.id AND ta.x = {i}
SELECT * FROM ta FULL JOIN tb ON tb.a = ta.id AND tb.x = {i} AND ta.x = {i}
SELECT * FROM ta FULL JOIN tb ON tb.a = ta.id WHERE ta.x = tb.x AND tb.x = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id LEFT JOIN ti ON ti.id = tb.x WHERE ta.id = {i}
SELECT * FROM ta LEFT JOIN tb ON tb.a = ta.id LEFT JOIN ti ON ti.id = tb.a WHERE ta.id = {i}
SELECT * FROM ta LEFT JOIN (tb JOIN ti ON ti.id = tb.x AND ti.x = {i}) ON tb.a = ta.id
SELECT * FROM ta LEFT JOIN (tb JOIN ti ON ti.id = tb.x) ON tb.a = ta.id AND ti.x = {i}
SELECT * FROM ta LEFT JOIN (tb LEFT JOIN ti ON ti.id = tb.x AND ti.x = {i}) ON tb.a = ta.id AND tb.x = {i}
SELECT * FROM (ta JOIN ti ON ti.id = ta.x) LEFT JOIN tb ON tb.x = ti.id WHERE ta.x = {i}
SELECT * FROM (ta LEFT JOIN ti ON ti.id = ta.x AND ti.x = {i}) JOIN tb ON tb.a = ti.x
SELECT * FROM (ta LEFT JOIN ti ON ti.id = ta.x AND ti.x = {i}) LEFT JOIN tb ON tb.a = ti.x
SELECT * FROM (ta LEFT JOIN ti ON ti.id = ta.x AND ta.id = {i}) LEFT JOIN tb ON tb.a = ta.id
SELECT * FROM (ti RIGHT JOIN ta ON ti.id = ta.x AND ta.id = {i}) LEFT JOIN tb ON tb.a = ta.id
SELECT * FROM (ta FULL JOIN ti ON ta.id = ti.x AND ta.x = {i}) LEFT JOIN tb ON tb.a = ta.x
SELECT * FROM (ta LEFT JOIN ti ON ta.id = ti.x AND ti.id = {i}) FULL JOIN tb ON tb.a = ta.id
SELECT * FROM (ta FULL JOIN ti ON ta.id = ti.x) LEFT JOIN tb ON tb.a = ta.id WHERE ta.id = {i}
SELECT * FROM ta a JOIN ta b ON b.x = a.id WHERE a.id = {i}
SELECT * FROM ta a JOIN ta b ON b.x IS NOT DISTINCT FROM a.x WHERE a.x = {i}
SELECT * FROM ta a LEFT JOIN ta b ON b.x IS NOT DISTINCT FROM a.x WHERE a.x IS NOT DISTINCT FROM {i}
SELECT * FROM ta a LEFT JOIN tb b ON b.a IS NOT DISTINCT FROM a.x LEFT JOIN ti c ON c.x IS NOT DISTINCT FROM b.x WHERE b.x IS NOT DISTINCT FROM c.id AND c.id = {i}
SELECT * FROM ta JOIN tb USING (x) WHERE x = {i}
SELECT * FROM ta LEFT JOIN tb USING (x) WHERE x = {i}
SELECT * FROM ta RIGHT JOIN tb USING (x) WHERE x = {i}
SELECT x FROM ta FULL JOIN tb USING (x) WHERE x = {i}
SELECT ta.s FROM ta JOIN tb USING (x) JOIN ti USING (x) WHERE x = {i}
SELECT ta.s FROM ta NATURAL JOIN ti WHERE ta.id = {i}
SELECT * FROM (SELECT * FROM ta) q WHERE id = {i}
SELECT * FROM (SELECT id, x FROM ta ORDER BY id LIMIT 2) q WHERE x = {i}
SELECT * FROM (SELECT id, x FROM ta ORDER BY id OFFSET 1) q WHERE x = {i}
SELECT * FROM (SELECT x, count(*) OVER () FROM ta) q WHERE x = {i}
SELECT * FROM (SELECT x, count(*) OVER (PARTITION BY s) AS n FROM ta) q WHERE x = {i}
SELECT * FROM (SELECT DISTINCT ON (s) s, x FROM ta ORDER BY s, x) q WHERE x = {i}
SELECT * FROM (SELECT DISTINCT s, x FROM ta) q WHERE x = {i}
SELECT * FROM (SELECT x, count(*) FROM ta GROUP BY x) q WHERE x = {i}
SELECT * FROM (SELECT x, count(*) FROM ta GROUP BY x, s) q WHERE x = {i}
SELECT * FROM (SELECT id, x, (SELECT count(*) FROM ta b WHERE b.x = a.id) FROM ta a GROUP BY id) q WHERE x = {i}
SELECT * FROM (SELECT x, count(*) FROM ta GROUP BY ROLLUP (x)) q WHERE x = {i}
SELECT * FROM (SELECT max(id) AS id, x FROM ta GROUP BY x) q WHERE id = {i}
SELECT * FROM (SELECT id, x FROM ta UNION SELECT a, x FROM tb) q WHERE id = {i}
SELECT * FROM (SELECT id, x FROM ta EXCEPT SELECT id, x FROM ti) q WHERE id = {i}
SELECT * FROM (SELECT id, x FROM ta EXCEPT ALL SELECT x, id FROM ti) q WHERE id = {i}
SELECT * FROM (SELECT id, x FROM ta INTERSECT SELECT x, id FROM ti) q WHERE x = {i}
SELECT * FROM (SELECT id FROM ta UNION ALL SELECT id FROM ti ORDER BY 1 LIMIT 2) q WHERE id = {i}
SELECT id FROM ta WHERE id = {i} UNION SELECT a FROM tb WHERE s = {s}
SELECT * FROM ta WHERE x = {i} AND EXISTS (SELECT FROM tb WHERE tb.a = ta.x)
SELECT * FROM ta WHERE x = {i} AND NOT EXISTS (SELECT FROM tb WHERE tb.a = ta.x AND tb.s = {s})
SELECT * FROM ta WHERE x = {i} AND id NOT IN (SELECT a FROM tb WHERE tb.x = {i} AND a IS NOT NULL)
SELECT * FROM ta WHERE x = {i} OR EXISTS (SELECT FROM tb WHERE tb.a = ta.x)
SELECT id, (SELECT count(*) FROM tb WHERE a = ta.x) FROM ta WHERE x = {i}
SELECT ta.id, (SELECT count(*) FROM tb WHERE a = ti.x) FROM ta LEFT JOIN ti ON ti.id = ta.x AND ti.x = {i}
SELECT ta.id, (SELECT count(*) FROM ti WHERE x = tb.a OR tb.a IS NULL) FROM ta LEFT JOIN tb ON tb.a = ta.id AND tb.x = {i}
SELECT ta.id, (SELECT count(*) FROM ti WHERE x IS NOT DISTINCT FROM tb.a) FROM ta LEFT JOIN tb ON tb.a = ta.id AND tb.a = {i}
SELECT ta.id, (SELECT count(*) FROM ti WHERE x = ta.id) FROM ta FULL JOIN tb ON tb.a = ta.id WHERE ta.id = {i}
SELECT (SELECT count(*) FROM tb WHERE a = x), x FROM ta WHERE x = {i}
SELECT * FROM ta LEFT JOIN tb ON EXISTS (SELECT FROM ti WHERE ti.x = ta.x) WHERE ta.x = {i}
SELECT * FROM ta, LATERAL (SELECT * FROM tb WHERE tb.a = ta.id) q WHERE ta.id = {i}
SELECT * FROM ta LEFT JOIN LATERAL (SELECT * FROM tb WHERE tb.a = ta.id ORDER BY tb.id LIMIT 1) q ON true WHERE ta.id = {i}
SELECT * FROM ta LEFT JOIN LATERAL (SELECT * FROM tb WHERE tb.a = ta.id ORDER BY tb.id LIMIT 1) q ON q.x = {i}
SELECT * FROM ta LEFT JOIN LATERAL (SELECT * FROM tb WHERE tb.a = ta.id) q ON q.x = {i}
SELECT * FROM ta LEFT JOIN LATERAL (SELECT * FROM tb WHERE tb.a = ta.id) q ON ta.id = {i}
WITH w AS (SELECT * FROM ta) SELECT * FROM w WHERE id = {i}
WITH w AS (SELECT * FROM ta) SELECT * FROM w WHERE id = {i} UNION ALL SELECT * FROM w WHERE x = {i}
WITH w AS (SELECT * FROM ta WHERE x = {i}), v AS (SELECT * FROM w WHERE id = {i}) SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM v)
WITH w AS (SELECT id, x FROM ta), ta AS (SELECT id FROM tb) SELECT * FROM ta JOIN w USING (id) WHERE w.id = {i}
WITH RECURSIVE r AS (SELECT id, x FROM ta WHERE id = {i} UNION SELECT ta.id, ta.x FROM ta JOIN r ON ta.id = r.x) SELECT * FROM r
WITH RECURSIVE r AS (SELECT id, x FROM ta UNION SELECT ta.id, r.x FROM ta JOIN r ON ta.x = r.id) SELECT * FROM r WHERE id = {i}
SELECT * FROM va WHERE k = {i}
SELECT * FROM vj WHERE id = {i}
SELECT * FROM vj WHERE bid = {i}
SELECT * FROM vg WHERE a = {i}
SELECT * FROM vg WHERE m = {i}
SELECT * FROM vu WHERE id = {i}
SELECT * FROM vs WHERE a = {i}
SELECT * FROM va JOIN vg ON vg.a = va.x WHERE va.x = {i}
SELECT x, y.s FROM (SELECT id AS x, x AS id, s FROM ta) y WHERE id = {i}
SELECT * FROM ta AS t(x, id) WHERE id = {i}
SELECT sum(x) FILTER (WHERE id = {i}) FROM ta WHERE s = {s}
SELECT x, count(*) FROM ta WHERE s = {s} GROUP BY x HAVING x = {i}
`), "\n")

func TestRowsThatAreNotNamedDoNotMatter(t *testing.T) {
	w := newSoundness(t)
	onRows := 0
	for range 4 {
		for _, sql := range soundnessQueries {
			w.fill()
			for strings.Contains(sql, "{i}") {
				sql = strings.Replace(sql, "{i}", w.q.pick("0", "1", "2"), 1)
			}
			for strings.Contains(sql, "{s}") {
				sql = strings.Replace(sql, "{s}", w.q.pick("'p'", "'q'"), 1)
			}
			if w.try(sql, 40) {
				onRows++
			}
		}
	}
	t.Logf("seed %d: %d of %d queries depend on rows, %d changes", w.seed, onRows, 4*len(soundnessQueries), w.checked)
	if onRows < 2*len(soundnessQueries) || w.checked < 10*onRows {
		t.Error("too little was tried")
	}
}

func TestRowsThatAreNotNamedDoNotMatterToRandomQueries(t *testing.T) {
	w := newSoundness(t)
	n, onRows := 60, 0
	if v, err := strconv.Atoi(os.Getenv("FRESHET_SOUNDNESS")); err == nil {
		n = v
	}
	for i := range n {
		if i%10 == 0 {
			w.fill()
		}
		if w.try(w.q.statement(), 20) {
			onRows++
		}
	}
	t.Logf("seed %d: %d of %d queries depend on rows, %d changes", w.seed, onRows, n, w.checked)
	if onRows < n/5 || w.checked < 4*onRows {
		t.Error("too little was tried")
	}
}
