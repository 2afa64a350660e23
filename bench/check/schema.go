package check

import (
	"fmt"
	"strings"
)

// How many objects there are: few, so that clients meet.
const (
	tables    = 3 // of registers
	registers = 8 // in each
	pairs     = 8
	lists     = 8
	listKept  = 12 // entries that trimming a list leaves
	bulkRows  = 500
	seats     = 6
	places    = 4 // of each seat
)

// journal names the kinds in the table journal.
const schema = `
CREATE TABLE journal (kind int NOT NULL, id bigint NOT NULL, n bigint NOT NULL, v bigint NOT NULL);
CREATE INDEX ON journal (v);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO journal VALUES (TG_ARGV[0]::int, NEW.id, NEW.n, NEW.v);
	RETURN NULL;
END $$;
{{registers}}
CREATE TABLE pa (id bigint PRIMARY KEY, n bigint NOT NULL, v bigint NOT NULL);
CREATE TABLE pb (id bigint PRIMARY KEY, n bigint NOT NULL, v bigint NOT NULL);
INSERT INTO pa SELECT i, 0, 0 FROM generate_series(0, {{pairs}} - 1) i;
INSERT INTO pb SELECT i, 0, 0 FROM generate_series(0, {{pairs}} - 1) i;
CREATE TRIGGER keep AFTER UPDATE ON pa FOR EACH ROW EXECUTE FUNCTION keep(1);
CREATE TABLE item (id bigint, n bigint, v bigint NOT NULL, PRIMARY KEY (id, n));
CREATE TRIGGER keep AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION keep(2);
CREATE TABLE bulk (id bigint PRIMARY KEY, n bigint NOT NULL, v bigint NOT NULL);
INSERT INTO bulk SELECT i, 0, 0 FROM generate_series(1, {{bulk}}) i;
CREATE FUNCTION keep_bulk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO journal SELECT 4, 0, max(n), max(v) FROM bulk;
	RETURN NULL;
END $$;
CREATE TRIGGER keep AFTER INSERT OR UPDATE ON bulk FOR EACH STATEMENT EXECUTE FUNCTION keep_bulk();
{{seats}}
CREATE TABLE one (a int PRIMARY KEY);
INSERT INTO one VALUES (1);
CREATE VIEW gen AS SELECT 0::bigint AS n, 0::bigint AS v FROM one;
CREATE FUNCTION write_pair(i bigint, val bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE r bigint;
BEGIN
	UPDATE pa SET n = n + 1, v = val WHERE id = i RETURNING n INTO r;
	UPDATE pb SET n = n + 1, v = val WHERE id = i;
	RETURN r;
END $$;
ANALYZE;
`

const registerSchema = `
CREATE TABLE r{{t}} (id bigint PRIMARY KEY, n bigint NOT NULL, v bigint NOT NULL);
INSERT INTO r{{t}} SELECT i, 0, 0 FROM generate_series({{t}} * 100, {{t}} * 100 + {{registers}} - 1) i;
CREATE TRIGGER keep AFTER INSERT OR UPDATE ON r{{t}} FOR EACH ROW EXECUTE FUNCTION keep(0);
CREATE VIEW v{{t}} AS SELECT id, n, v FROM r{{t}};
CREATE FUNCTION write_r{{t}}(i bigint, val bigint) RETURNS bigint LANGUAGE sql AS
	'UPDATE r{{t}} SET n = n + 1, v = val WHERE id = i RETURNING n';
`

// The three ways in which the stream can tell where a row was: as part of a whole old row, not at all, and as part of the key.
var seatTables = []string{"FULL", "DEFAULT", "USING INDEX seat2_place"}

const seatSchema = `
CREATE TABLE seat{{t}} (id bigint PRIMARY KEY, place bigint NOT NULL, n bigint NOT NULL, v bigint NOT NULL);
CREATE UNIQUE INDEX seat{{t}}_place ON seat{{t}} (place);
ALTER TABLE seat{{t}} REPLICA IDENTITY {{identity}};
INSERT INTO seat{{t}} SELECT i, i * {{places}}, 0, 0 FROM generate_series(0, {{seats}} - 1) i WHERE i % {{tables}} = {{t}};
CREATE TRIGGER keep AFTER UPDATE ON seat{{t}} FOR EACH ROW EXECUTE FUNCTION keep(5);
`

func schemaSQL() string {
	var all, allSeats strings.Builder
	for t, identity := range seatTables {
		allSeats.WriteString(strings.NewReplacer("{{t}}", fmt.Sprint(t), "{{identity}}", identity, "{{places}}", fmt.Sprint(places),
			"{{seats}}", fmt.Sprint(seats), "{{tables}}", fmt.Sprint(len(seatTables))).Replace(seatSchema))
	}
	for t := range tables {
		all.WriteString(strings.NewReplacer("{{t}}", fmt.Sprint(t), "{{registers}}", fmt.Sprint(registers)).Replace(registerSchema))
	}
	return strings.NewReplacer("{{registers}}", all.String(), "{{seats}}", allSeats.String(), "{{pairs}}", fmt.Sprint(pairs), "{{bulk}}", fmt.Sprint(bulkRows)).Replace(schema)
}
