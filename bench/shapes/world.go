package shapes

import (
	"math/rand/v2"
	"slices"
	"strings"
)

// table is a table of a world, as those who write to it see it.
type table struct {
	name    string
	columns []tableColumn
	key     []string
	parent  *table // that a foreign key refers to
	leaf    bool   // a partition or child
	of      string // the parent of a partition
	bounds  string // of a partition
}

type tableColumn struct {
	name string
	kind kind
	def  string // beyond the type; generated columns aren't written
}

func (c tableColumn) generated() bool { return strings.Contains(c.def, "GENERATED") }

// world is a schema with what is in it.
type world struct {
	*gen
	name         string
	tables       []*table
	ddl          []string // that makes it
	materialized []string
}

// prelude is in each world: types and functions.
const prelude = `
CREATE DOMAIN posint AS int CHECK (VALUE > -100);
CREATE DOMAIN word AS varchar(12) CHECK (length(VALUE) < 13);
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE FUNCTION plus1(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN i * 2; END';
CREATE FUNCTION is_even(i int) RETURNS boolean LANGUAGE sql STABLE RETURN i % 2 = 0;
CREATE FUNCTION label(i int) RETURNS text LANGUAGE sql STABLE AS $$SELECT coalesce((SELECT s1 FROM lookup WHERE id = i), 'none')$$;
CREATE FUNCTION greet(t text) RETURNS text LANGUAGE plpgsql STABLE AS $$DECLARE n int; BEGIN SELECT count(*) INTO n FROM lookup WHERE s1 = t; IF n > 0 THEN RETURN 'hello ' || t; END IF; RETURN 'who?'; END$$;
CREATE FUNCTION rows_with(i int) RETURNS int LANGUAGE sql STABLE SECURITY DEFINER SET search_path = {world}, pg_temp AS $$SELECT count(*)::int FROM lookup WHERE i1 = i$$;
CREATE FUNCTION picked(i int) RETURNS TABLE (i1 int, s1 text) LANGUAGE sql STABLE AS $$SELECT id, s1 FROM lookup WHERE id >= i$$;
CREATE FUNCTION noise(i int) RETURNS float8 LANGUAGE plpgsql AS 'BEGIN RETURN random() + i * i; END';
CREATE FUNCTION larger(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT greatest($1, $2)';
CREATE AGGREGATE biggest(int) (sfunc = larger, stype = int);
`

// newWorld makes up a world.
func newWorld(r *rand.Rand, name string, extensions []string) *world {
	w := &world{gen: &gen{Rand: r, extensions: extensions}, name: name}
	w.ddl = append(w.ddl, "CREATE SCHEMA "+name+"; SET search_path = "+name+", public; CREATE TABLE lookup (id int PRIMARY KEY, s1 text, i1 int)")
	for line := range strings.SplitSeq(strings.TrimSpace(prelude), "\n") { // one may fail: not every Postgres has ICU
		w.ddl = append(w.ddl, strings.ReplaceAll(line, "{world}", name))
	}
	lookup := &table{name: "lookup", key: []string{"id"}, columns: []tableColumn{{"id", kinds[0], ""}, {"s1", kinds[4], ""}, {"i1", kinds[0], ""}}}
	w.tables = append(w.tables, lookup)
	w.source(lookup)
	for i := range 2 + r.IntN(3) {
		w.table("t" + itoa(i))
	}
	w.tricks()
	w.twists()
	for i := range 3 + r.IntN(3) {
		w.view(i)
	}
	w.ddl = append(w.ddl, "GRANT USAGE ON SCHEMA "+name+" TO app; GRANT ALL ON ALL TABLES IN SCHEMA "+name+" TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA "+name+" TO app")
	return w
}

func (w *world) kind(key bool) kind {
	for {
		k := kinds[w.IntN(len(kinds))]
		if extension := k.sql == "citext" || k.sql == "hstore"; (!key || k.key) && (!extension || w.has(k.sql)) {
			return k
		}
	}
}

func (w *world) source(t *table) {
	s := source{sql: t.name, plain: true}
	for _, c := range t.columns {
		s.columns = append(s.columns, column{c.name, c.kind.class})
	}
	w.sources = append(w.sources, s)
}

// table makes up a table.
func (w *world) table(name string) {
	t := &table{name: name}
	counts := map[class]int{}
	add := func(k kind, def string) string {
		counts[k.class]++
		n := strings.ToLower(string(rune(k.class))) + itoa(counts[k.class])
		if k.class == 'I' || k.class == 'S' { // i1 and I1 are the same
			n = "a" + n
		}
		t.columns = append(t.columns, tableColumn{n, k, def})
		return n
	}
	// A key of one column, mostly an integer, or of several.
	switch w.IntN(4) {
	case 0:
		t.key = []string{add(w.kind(true), "NOT NULL")}
	case 1:
		t.key = []string{add(w.kind(true), "NOT NULL"), add(w.kind(true), "NOT NULL")}
	case 2:
		t.columns = append(t.columns, tableColumn{"id", kinds[w.IntN(2)], "NOT NULL"})
		t.key = []string{"id"}
	case 3:
		t.key = []string{add(kinds[w.IntN(3)], "NOT NULL")}
	}
	for range 2 + w.IntN(5) {
		def := ""
		if w.one(8) {
			def = "NOT NULL"
		}
		add(w.kind(false), def)
	}
	if w.one(4) && counts['i'] > 0 {
		add(kinds[0], "GENERATED ALWAYS AS (i1 * 2) STORED")
	}
	// What all can be joined by.
	for counts['i'] < 2 {
		add(kinds[w.IntN(3)], "")
	}
	if counts['s'] == 0 {
		add(kinds[4+w.IntN(4)], "")
	}
	w.Shuffle(len(t.columns), func(i, j int) { t.columns[i], t.columns[j] = t.columns[j], t.columns[i] })
	var defs []string
	for _, c := range t.columns {
		defs = append(defs, c.name+" "+c.kind.sql+" "+c.def)
	}
	defs = append(defs, "PRIMARY KEY ("+join(t.key, ", ")+")")
	if w.one(3) {
		if p := w.referenced(); p != nil {
			defs = append(defs, "pid "+p.columns[p.index(p.key[0])].kind.sql+" REFERENCES "+p.name+" ON DELETE "+w.any("CASCADE", "SET NULL")+" ON UPDATE CASCADE")
			t.parent = p
		}
	}
	sql := "CREATE TABLE " + name + " (" + join(defs, ", ") + ")"
	if t.parent != nil {
		t.columns = append(t.columns, tableColumn{"pid", t.parent.columns[t.parent.index(t.parent.key[0])].kind, ""})
	}
	w.tables = append(w.tables, t)
	w.source(t)
	switch w.IntN(6) {
	case 0, 1:
		w.partitions(t, sql)
	case 2:
		w.ddl = append(w.ddl, sql, "CREATE TABLE "+name+"_kid (extra int, PRIMARY KEY ("+join(t.key, ", ")+")) INHERITS ("+name+")")
		kid := &table{name: name + "_kid", key: t.key, columns: t.columns, leaf: true}
		w.tables = append(w.tables, kid)
		if w.one(2) {
			w.source(kid)
		}
	default:
		w.ddl = append(w.ddl, sql)
	}
	if w.one(3) {
		for _, o := range w.tables {
			if strings.HasPrefix(o.name, name) {
				w.ddl = append(w.ddl, "ALTER TABLE "+o.name+" REPLICA IDENTITY FULL")
			}
		}
	} else if w.one(4) {
		if i := t.index("i1"); i >= 0 && !t.columns[i].generated() && len(t.key) == 1 && t.key[0] != "i1" && !strings.Contains(sql, "GENERATED") {
			w.ddl = append(w.ddl, "ALTER TABLE "+name+" ALTER i1 SET NOT NULL; CREATE UNIQUE INDEX ON "+name+" ("+t.key[0]+", i1); ALTER TABLE "+name+" REPLICA IDENTITY USING INDEX "+name+"_"+t.key[0]+"_i1_idx")
		}
	}
}

func (t *table) index(name string) int {
	for i, c := range t.columns {
		if c.name == name {
			return i
		}
	}
	return -1
}

// referenced is a table that a foreign key can refer to.
func (w *world) referenced() *table {
	t := w.tables[w.IntN(len(w.tables))]
	if len(t.key) != 1 || t.leaf {
		return nil
	}
	return t
}

func (w *world) partitions(t *table, sql string) {
	i := t.index(t.key[0])
	k := t.columns[i].kind
	part := func(parent, suffix, bounds string) *table {
		p := &table{name: parent + suffix, key: t.key, columns: t.columns, leaf: true, of: parent, bounds: bounds}
		w.ddl = append(w.ddl, "CREATE TABLE "+p.name+" PARTITION OF "+parent+" "+bounds)
		w.tables = append(w.tables, p)
		return p
	}
	switch how := w.IntN(3); {
	case how == 0:
		w.ddl = append(w.ddl, sql+" PARTITION BY LIST ("+t.key[0]+")")
		w.source(part(t.name, "_p0", "FOR VALUES IN ("+quote(k.values[0])+")"))
		part(t.name, "_p1", "DEFAULT")
	case how == 1 && k.class == 'i':
		w.ddl = append(w.ddl, sql+" PARTITION BY RANGE ("+t.key[0]+")")
		w.ddl = append(w.ddl, "CREATE TABLE "+t.name+"_s PARTITION OF "+t.name+" FOR VALUES FROM (MINVALUE) TO (2) PARTITION BY HASH ("+t.key[0]+")")
		w.source(&table{name: t.name + "_s", columns: t.columns})
		part(t.name+"_s", "0", "FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
		part(t.name+"_s", "1", "FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
		part(t.name, "_p1", "FOR VALUES FROM (2) TO (MAXVALUE)")
	default:
		w.ddl = append(w.ddl, sql+" PARTITION BY HASH ("+t.key[0]+")")
		part(t.name, "_p0", "FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
		part(t.name, "_p1", "FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
	}
}

// tricks are policies, triggers and functions that write.
func (w *world) tricks() {
	t := w.tables[1+w.IntN(len(w.tables)-1)]
	using := w.any(
		"i1 = current_setting('app.tenant', true)::int", "i1 IS NULL OR i1 <= current_setting('app.tenant')::int", "CURRENT_USER = 'app' AND i2 <> 3",
		"EXISTS (SELECT FROM lookup WHERE lookup.i1 = "+t.name+".i1)", "i1 IN (SELECT id FROM lookup)", "true", "i2 = plus1(0)", "s1 <> label(1)", "pg_has_role(CURRENT_USER, 'app', 'member')")
	if t.index("i1") >= 0 && t.index("i2") >= 0 && t.index("s1") >= 0 {
		w.ddl = append(w.ddl, "ALTER TABLE "+t.name+" ENABLE ROW LEVEL SECURITY", "CREATE POLICY p0 ON "+t.name+" USING ("+using+") WITH CHECK (true)")
	}
	on := w.tables[1+w.IntN(len(w.tables)-1)]
	w.ddl = append(w.ddl, "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = "+w.name+
		" AS $$BEGIN UPDATE lookup SET i1 = (coalesce(i1, 0) + 1) % 4 WHERE id = 1; INSERT INTO lookup VALUES (9, TG_OP, 1) ON CONFLICT (id) DO UPDATE SET s1 = EXCLUDED.s1; RETURN NULL; END$$",
		"CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON "+on.name+" FOR EACH ROW EXECUTE FUNCTION note()",
		"CREATE TRIGGER emptied AFTER TRUNCATE ON "+on.name+" EXECUTE FUNCTION note()",
		"CREATE FUNCTION twist() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.i2 := coalesce(NEW.i1, 0); RETURN NEW; END$$",
		"CREATE FUNCTION change(n int) RETURNS int LANGUAGE plpgsql AS $$BEGIN UPDATE lookup SET s1 = 'c' || n WHERE id = n; DELETE FROM lookup WHERE id = n + 4; RETURN n; END$$")
}

// twists has a trigger write something else than it was asked to.
func (w *world) twists() {
	for _, t := range w.tables[1:] {
		i1, i2 := t.index("i1"), t.index("i2")
		if w.one(4) && i1 >= 0 && i2 >= 0 && !t.columns[i1].generated() && !t.columns[i2].generated() && t.key[0] != "i2" {
			w.ddl = append(w.ddl, "CREATE TRIGGER twist BEFORE INSERT OR UPDATE ON "+t.name+" FOR EACH ROW EXECUTE FUNCTION twist()")
		}
	}
}

// view makes up a view or materialized view of what there is.
func (w *world) view(i int) {
	w.params, w.varyOK, w.sub, w.aliases = nil, false, 0, 0
	name, kind, options := "v"+itoa(i), "VIEW", ""
	sql, cols := "", []column(nil)
	if w.one(3) { // a plain one, as most are
		s := w.sources[w.IntN(len(w.sources))]
		it := item{alias: "x", columns: s.columns}
		cols = s.columns
		sql = "SELECT * FROM " + s.sql + " AS x WHERE " + w.condition([]item{it}, nil, 1)
	} else {
		sql, cols = w.feeding(nil)
	}
	switch w.IntN(6) {
	case 0:
		name, kind = "m"+itoa(i), "MATERIALIZED VIEW"
		w.materialized = append(w.materialized, name)
	case 1:
		options = " WITH (security_invoker)"
	case 2:
		options = " WITH (security_barrier)"
	}
	w.ddl = append(w.ddl, "CREATE "+kind+" "+name+options+" AS "+sql)
	w.sources = append(w.sources, source{sql: name, columns: cols})
}

// row is a random row as literals, for the columns that can be written.
func (w *world) row(t *table) (columns, values []string) {
	for _, c := range t.columns {
		if c.generated() {
			continue
		}
		columns, values = append(columns, c.name), append(values, w.literal(t, c))
	}
	return columns, values
}

func (w *world) literal(t *table, c tableColumn) string {
	null := c.def == "" && w.one(5)
	for _, k := range t.key {
		null = null && k != c.name
	}
	if null {
		return "NULL"
	}
	v := w.pick(c.kind.values)
	if c.kind.class == 'i' && len(t.key) == 1 && t.key[0] == c.name {
		v = itoa(w.IntN(5))
	}
	return quote(v)
}

// data fills the tables.
func (w *world) data() []string {
	var out []string
	for _, t := range w.tables {
		for range 5 + w.IntN(6) {
			columns, values := w.row(t)
			out = append(out, "INSERT INTO "+t.name+" ("+join(columns, ", ")+") VALUES ("+join(values, ", ")+") ON CONFLICT DO NOTHING")
		}
	}
	for _, name := range w.materialized {
		out = append(out, "REFRESH MATERIALIZED VIEW "+name)
	}
	return out
}

// keep forgets what Postgres hasn't taken.
func (w *world) keep(exists map[string]bool) {
	w.tables = slices.DeleteFunc(w.tables, func(t *table) bool { return !exists[t.name] })
	w.sources = slices.DeleteFunc(w.sources, func(s source) bool { return !exists[s.sql] })
	w.materialized = slices.DeleteFunc(w.materialized, func(name string) bool { return !exists[name] })
}
