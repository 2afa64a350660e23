package shapes

import (
	"strings"
)

// write makes a change of what a world holds. It may fail.
func (w *world) write() string {
	w.params, w.varyOK, w.sub, w.aliases, w.ctes = nil, false, 0, 0, nil
	switch w.IntN(30) {
	case 0:
		return "BEGIN; " + w.rows() + "; " + w.rows() + "; " + w.any("COMMIT", "COMMIT", "ROLLBACK")
	case 1:
		return "BEGIN; " + w.rows() + "; SAVEPOINT x; " + w.rows() + "; ROLLBACK TO x; " + w.rows() + "; COMMIT"
	case 2:
		return "SELECT change(" + itoa(w.IntN(5)) + ")"
	case 3:
		return "DO $do$BEGIN " + w.rows() + "; " + w.rows() + "; END$do$"
	case 4:
		if len(w.materialized) > 0 {
			return "REFRESH MATERIALIZED VIEW " + w.pick(w.materialized)
		}
	case 8:
		return "UPDATE lookup SET id = id + 10 WHERE id = " + itoa(w.IntN(4)) + "; UPDATE lookup SET id = id - 10 WHERE id > 9"
	case 9:
		return "UPDATE lookup SET " + w.any("s1 = 'b'", "s1 = NULL", "i1 = 1", "i1 = 3", "s1 = 'a', i1 = 2") + " WHERE id = " + itoa(w.IntN(4))
	}
	return w.rows()
}

// rows is a statement that changes rows.
func (w *world) rows() string {
	t := w.tables[w.IntN(len(w.tables))]
	if t.leaf && !w.one(3) {
		t = w.tables[w.IntN(len(w.tables))]
	}
	columns, values := w.row(t)
	insert := "INSERT INTO " + t.name + " (" + join(columns, ", ") + ") VALUES (" + join(values, ", ") + ")"
	it := item{alias: t.name}
	for _, c := range t.columns {
		it.columns = append(it.columns, column{c.name, c.kind.class})
	}
	set := func() string {
		var parts []string
		for i := range columns {
			if w.one(len(columns)) || i == len(columns)-1 && parts == nil {
				parts = append(parts, columns[i]+" = "+values[i])
			}
		}
		return join(parts, ", ")
	}
	one := func() string { // by the key, if it is one of few values
		var parts []string
		for _, k := range t.key {
			parts = append(parts, t.name+"."+k+" = "+w.literal(t, t.columns[t.index(k)]))
		}
		return join(parts, " AND ")
	}
	where := func() string {
		if !w.one(4) {
			return one()
		}
		return w.condition([]item{it}, nil, 0)
	}
	only := ""
	if w.one(6) {
		only = "ONLY "
	}
	switch w.IntN(16) {
	case 0, 1, 2:
		return insert + " ON CONFLICT DO NOTHING"
	case 3:
		return insert + " ON CONFLICT (" + join(t.key, ", ") + ") DO UPDATE SET " + set()
	case 4, 5:
		return "DELETE FROM " + only + t.name + " WHERE " + one()
	case 6:
		return "MERGE INTO " + t.name + " USING (VALUES (1), (2)) AS m(n) ON m.n = 1 AND " + one() + " WHEN MATCHED THEN " + w.any("DELETE", "UPDATE SET "+set()) + " WHEN NOT MATCHED THEN DO NOTHING"
	case 7:
		if w.one(3) {
			return "TRUNCATE " + t.name + w.any("", " CASCADE")
		}
		return "DELETE FROM " + t.name + " WHERE " + where()
	case 8: // a key, perhaps with what refers to it, or into another partition
		k := t.key[w.IntN(len(t.key))]
		return "UPDATE " + t.name + " SET " + k + " = " + w.literal(t, t.columns[t.index(k)]) + " WHERE " + one()
	case 9:
		return "COPY " + t.name + " (" + join(columns, ", ") + ") FROM STDIN\n" + copied(values)
	case 10:
		return "WITH gone AS (DELETE FROM " + t.name + " WHERE " + one() + " RETURNING *) SELECT count(*) FROM gone"
	}
	return "UPDATE " + only + t.name + " SET " + set() + " WHERE " + where()
}

// copied is a line of COPY's text format.
func copied(values []string) string {
	var parts []string
	for _, v := range values {
		if v == "NULL" {
			parts = append(parts, `\N`)
			continue
		}
		v = strings.ReplaceAll(v[1:len(v)-1], "''", "'")
		parts = append(parts, strings.ReplaceAll(v, `\`, `\\`))
	}
	return join(parts, "\t") + "\n"
}

// definition is DDL.
func (w *world) definition() string {
	t := w.tables[w.IntN(len(w.tables))]
	for t.leaf {
		t = w.tables[w.IntN(len(w.tables))]
	}
	policy := ""
	for _, sql := range w.ddl {
		if strings.HasPrefix(sql, "CREATE POLICY p0 ON ") {
			policy = strings.Fields(sql)[4]
		}
	}
	switch w.IntN(30) {
	case 18, 19, 20:
		var parts []*table
		for _, t := range w.tables {
			if t.of != "" {
				parts = append(parts, t)
			}
		}
		if len(parts) > 0 { // what is detached may already be, or be attached with rows that don't fit
			p := parts[w.IntN(len(parts))]
			detach, attach := "ALTER TABLE "+p.of+" DETACH PARTITION "+p.name, "ALTER TABLE "+p.of+" ATTACH PARTITION "+p.name+" "+p.bounds
			return w.any(detach, attach, attach, detach+"; "+attach)
		}
	case 21, 22:
		return "ALTER FUNCTION " + w.any("label(int) ", "greet(text) ", "is_even(int) ") + w.any("VOLATILE", "STABLE", "STABLE SECURITY DEFINER", "STABLE SECURITY INVOKER")
	case 23:
		return "ALTER TABLE " + t.name + w.any(" FORCE", " NO FORCE") + " ROW LEVEL SECURITY"
	case 24:
		return "ALTER TABLE " + t.name + "_kid" + w.any(" INHERIT ", " NO INHERIT ") + t.name
	case 25:
		c := t.columns[w.IntN(len(t.columns))]
		return "ALTER TABLE " + t.name + " ALTER " + c.name + " TYPE " + w.any("bigint", "varchar(30)", "text", c.kind.sql)
	case 26:
		c := t.columns[w.IntN(len(t.columns))].name
		return "ALTER TABLE " + t.name + " RENAME " + c + " TO away" + w.any("", "; ALTER TABLE "+t.name+" RENAME away TO "+c)
	case 27:
		return "ALTER TABLE " + t.name + w.any(" DROP COLUMN IF EXISTS made", " ADD COLUMN IF NOT EXISTS made int GENERATED ALWAYS AS (1 + 1) STORED")
	case 28:
		return "VACUUM FULL " + t.name
	case 29:
		return "ALTER VIEW v" + itoa(w.IntN(5)) + " SET (security_invoker = " + w.any("true", "false") + ")"
	case 0:
		return "ALTER TABLE " + t.name + " ADD COLUMN IF NOT EXISTS added int DEFAULT 7"
	case 1:
		return "ALTER TABLE " + t.name + " DROP COLUMN IF EXISTS added"
	case 2:
		return "CREATE OR REPLACE FUNCTION label(i int) RETURNS text LANGUAGE sql STABLE AS $$SELECT 'label " + itoa(w.IntN(3)) + " ' || i$$"
	case 3:
		return "CREATE OR REPLACE FUNCTION plus1(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + " + itoa(1+w.IntN(2)) + "'"
	case 4:
		if policy != "" {
			return "ALTER POLICY p0 ON " + policy + " USING (" + w.any("true", "i1 = 1", "i1 IS DISTINCT FROM 2", "s1 = 'a'", "false") + ")"
		}
	case 5:
		if policy != "" {
			return "ALTER TABLE " + policy + w.any(" DISABLE", " ENABLE") + " ROW LEVEL SECURITY"
		}
	case 6:
		return "REVOKE SELECT ON " + t.name + " FROM app"
	case 7, 8:
		return "GRANT SELECT ON ALL TABLES IN SCHEMA " + w.name + " TO app"
	case 9:
		return "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'glad' BEFORE " + w.any("'ok'", "'happy'")
	case 10:
		return "ALTER TABLE " + t.name + " REPLICA IDENTITY " + w.any("FULL", "DEFAULT")
	case 11:
		return "CREATE TABLE IF NOT EXISTS early." + t.name + " AS SELECT * FROM " + w.name + "." + t.name + " LIMIT 2; GRANT SELECT ON early." + t.name + " TO app"
	case 12:
		return "DROP TABLE IF EXISTS early." + t.name + " CASCADE"
	case 13:
		return "CREATE INDEX ON " + t.name + " (" + t.columns[0].name + ")"
	case 14:
		return "ALTER TABLE " + t.name + " RENAME TO renamed; ALTER TABLE renamed RENAME TO " + t.name
	case 15:
		return "ALTER ROLE app SET app.tenant = '" + itoa(w.IntN(3)) + "'"
	case 16:
		return "CREATE OR REPLACE FUNCTION greet(t text) RETURNS text LANGUAGE sql STABLE AS $$SELECT 'dear ' || t$$"
	}
	return "ALTER TABLE " + t.name + " ALTER " + t.columns[0].name + " SET STATISTICS 50; ANALYZE " + t.name
}
