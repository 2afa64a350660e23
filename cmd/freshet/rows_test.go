package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

// rowsLab is a Freshet whose cache is looked at: what a change that was made past it has made stale, and what it hasn't.
type rowsLab struct {
	testing.TB
	c      *cluster.Cluster
	in     *instance
	db     string
	direct *pgx.Conn // past Freshet
	conns  map[string]*pgx.Conn
}

func newRowsLab(t testing.TB, setup string) *rowsLab {
	t.Helper()
	c := shared.Get(t)
	return newRowsLabIn(t, c, c.NewDatabase(t), setup)
}

func newRowsLabIn(t testing.TB, c *cluster.Cluster, db, setup string) *rowsLab {
	t.Helper()
	l := &rowsLab{TB: t, c: c, db: db, conns: map[string]*pgx.Conn{}}
	if err := c.Primary().ExecIn(t.Context(), l.db, setup); err != nil {
		t.Fatal(err)
	}
	// No floors, and no bound that a busy machine could miss: whether an answer comes from the cache is up to its cells alone.
	l.in = startTestServer(t, c, func(cfg *ServeConfig) { cfg.Consistency, cfg.MaxStaleness = "eventual", time.Hour })
	covered(t, c, l.in, l.db)
	for name, params := range map[string]string{"simple": simpleProtocol, "extended": "", "text": "&default_query_exec_mode=exec"} {
		l.conns[name] = l.in.connect(t, c, l.db, params)
	}
	var err error
	if l.direct, err = c.Primary().Connect(t.Context(), l.db); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.direct.Close(context.Background()) })
	return l
}

// applied waits until the feed has passed all that is committed now.
func (l *rowsLab) applied() {
	l.Helper()
	lsn, err := consistency.ParseLSN(one(l, l.direct, "SELECT ("+consistency.PositionSQL+")::text"))
	if err != nil {
		l.Fatal(err)
	}
	if _, err := l.direct.PgConn().Exec(l.Context(), consistency.FlushSQL).ReadAll(); err != nil {
		l.Fatal(err)
	}
	table := l.in.databases.Get(l.db).Table
	eventually(l, "the feed is at "+lsn.String(), func() bool { return table.Serving() && table.Position() >= lsn })
}

// question is a statement with its parameters, and the name by which a test calls it.
type question struct {
	name, sql string
	args      []any
}

// by has each mode ask in words of its own: without parameters, one text has one answer in the cache, however it is sent.
func (q question) by(mode string) question {
	q.sql += " /* " + mode + " */"
	return q
}

// ask asks for all rows as one text.
func (l *rowsLab) ask(conn *pgx.Conn, q question) string {
	l.Helper()
	rows, err := conn.Query(l.Context(), q.sql, q.args...)
	if err != nil {
		l.Fatalf("%s: %v", q.sql, err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		v, err := row.Values()
		return fmt.Sprint(v...), err
	})
	if err != nil {
		l.Fatalf("%s: %v", q.sql, err)
	}
	return strings.Join(list, "\n")
}

// cached has all of the questions cached, by each connection.
func (l *rowsLab) cached(questions []question) {
	l.Helper()
	for mode, conn := range l.conns {
		for _, q := range questions {
			q = q.by(mode)
			eventually(l, "a cached answer to "+q.sql+" ("+mode+")", func() bool {
				l.ask(conn, q)
				return source(l, conn) == "l1"
			})
		}
	}
}

// change makes a change past Freshet, and says of which questions the answers have to be stale then. All others have to be
// cached still, and each answer has to be what the primary answers.
func (l *rowsLab) change(questions []question, sql string, stale ...string) {
	l.Helper()
	l.cached(questions)
	if _, err := l.direct.PgConn().Exec(l.Context(), sql).ReadAll(); err != nil {
		l.Fatalf("%s: %v", sql, err)
	}
	l.applied()
	if err := l.c.WaitCaughtUp(l.Context()); err != nil { // eventual means that an answer of theirs may be old
		l.Fatal(err)
	}
	for mode, conn := range l.conns {
		var got []string
		for _, q := range questions {
			q = q.by(mode)
			answer := l.ask(conn, q)
			if source(l, conn) != "l1" {
				got = append(got, q.name)
			}
			if want := l.ask(l.direct, q); answer != want {
				l.Errorf("%s, then %s %v (%s) from %s:\n%s\nand should be\n%s", sql, q.sql, q.args, mode, source(l, conn), answer, want)
			}
		}
		slices.Sort(got)
		slices.Sort(stale)
		if !slices.Equal(got, stale) {
			l.Errorf("%s (%s): not from the cache are %v, and should be %v", sql, mode, got, stale)
		}
	}
}

// by asks for the rows of a table by a column.
func by(table, column string, values ...any) (list []question) {
	for _, v := range values {
		list = append(list, question{fmt.Sprint(v), "SELECT * FROM " + table + " WHERE " + column + " = $1", []any{v}})
	}
	return list
}

// HAZARD 9: a write, by whomever, makes the answers stale that are about the rows it touches; and those about other rows stay.
func TestHazard09AWriteMakesStaleWhatItTouches(t *testing.T) {
	l := newRowsLab(t, `
		CREATE TABLE k(id int PRIMARY KEY, v text);
		INSERT INTO k SELECT i, 'v' FROM generate_series(1, 10) i;
		CREATE TABLE side(id bigint PRIMARY KEY, n int);
		INSERT INTO side SELECT i, 0 FROM generate_series(1, 10) i;
		CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE side SET n = n + 1 WHERE id = new.id; RETURN NULL; END';
		CREATE TRIGGER count_it AFTER UPDATE ON k FOR EACH ROW EXECUTE FUNCTION count_it();
		CREATE TABLE child(id int PRIMARY KEY, k int REFERENCES k ON DELETE CASCADE);
		INSERT INTO child SELECT i, i FROM generate_series(1, 5) i;
		CREATE VIEW seen AS SELECT id AS key, v FROM k;
		CREATE VIEW two AS SELECT * FROM k WHERE id IN (1, 2)`)
	questions := slices.Concat(by("k", "id", 1, 2, 3, 11), []question{
		{"in", "SELECT v FROM k WHERE id IN ($1, $2) ORDER BY id", []any{2, 4}},
		{"any", "SELECT count(*) FROM k WHERE id = ANY($1)", []any{[]int32{3, 11, 12}}},
		{"view", "SELECT v FROM seen WHERE key = $1", []any{1}},
		{"two", "SELECT count(*) FROM two", nil},
		{"join", "SELECT k.v, s.n FROM k JOIN side s ON s.id = k.id WHERE k.id = $1", []any{5}},
		{"side", "SELECT n FROM side WHERE id = $1", []any{3}},
		{"child", "SELECT k FROM child WHERE id = $1", []any{2}},
		{"all", "SELECT count(*) FROM k", nil},
	})
	l.change(questions, "SELECT 1")
	l.change(questions, "UPDATE k SET v = 'w' WHERE id = 1", "1", "view", "two", "all")
	l.change(questions, "UPDATE k SET v = 'w' WHERE id = 3", "3", "any", "side", "all")
	l.change(questions, "UPDATE side SET n = n - 1 WHERE id = 5", "join")
	l.change(questions, "INSERT INTO k VALUES (11, 'x')", "11", "any", "all")
	l.change(questions, "UPDATE k SET id = 12 WHERE id = 11", "11", "any", "all")
	l.change(questions, "DELETE FROM k WHERE id = 12", "any", "all")
	l.change(questions, "UPDATE child SET k = 6 WHERE id = 2", "child")
	l.change(questions, "DELETE FROM k WHERE id = 6", "child", "all") // a cascade
	l.change(questions, "BEGIN; UPDATE k SET v = 'y' WHERE id = 1; ROLLBACK")
	l.change(questions, "BEGIN; UPDATE k SET v = 'y' WHERE id = 1; SAVEPOINT s; UPDATE k SET v = 'y' WHERE id = 2; ROLLBACK TO s; UPDATE k SET v = 'y' WHERE id = 4; COMMIT",
		"1", "in", "view", "two", "all")
	l.change(questions, "INSERT INTO k VALUES (2, 'z') ON CONFLICT (id) DO UPDATE SET v = excluded.v", "2", "in", "two", "all")
	l.change(questions, "COPY k FROM PROGRAM 'echo 11,c' CSV", "11", "any", "all")
	l.change(questions, "UPDATE k SET v = v || '!'", "1", "2", "3", "11", "in", "any", "view", "two", "join", "side", "all")
	l.change(questions, "TRUNCATE k CASCADE", "1", "2", "3", "11", "in", "any", "view", "two", "join", "child", "all")
	l.change(questions, "INSERT INTO k VALUES (1, 'again')", "1", "view", "two", "all")
	if err := pgx.BeginFunc(t.Context(), l.direct, func(tx pgx.Tx) error {
		l.cached(questions) // and a fill while the transaction has written and not committed
		if _, err := tx.Exec(t.Context(), "UPDATE k SET v = 'late' WHERE id = 1"); err != nil {
			return err
		}
		do(t, l.conns["simple"], "SELECT 1")
		l.cached(by("k", "v", "late"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	l.applied()
	if err := l.c.WaitCaughtUp(t.Context()); err != nil { // as in change
		t.Fatal(err)
	}
	if got := l.ask(l.conns["extended"], by("k", "v", "late")[0]); !strings.Contains(got, "late") {
		t.Errorf("an answer from before the commit is served: %q", got)
	}
}

// HAZARD 9: what isn't known about a row's old values counts as anything.
func TestHazard09OldValuesAreThoseOfTheReplicaIdentity(t *testing.T) {
	l := newRowsLab(t, `
		CREATE TABLE d(id int PRIMARY KEY, owner int, n int);
		CREATE TABLE f(id int PRIMARY KEY, owner int, n int);
		ALTER TABLE f REPLICA IDENTITY FULL;
		CREATE TABLE x(id int PRIMARY KEY, code int NOT NULL, owner int, n int);
		CREATE UNIQUE INDEX x_code ON x(code) INCLUDE (owner);
		ALTER TABLE x REPLICA IDENTITY USING INDEX x_code;
		INSERT INTO d SELECT i, i % 3, 0 FROM generate_series(1, 9) i;
		INSERT INTO f SELECT i, i % 3, 0 FROM generate_series(1, 9) i;
		INSERT INTO x SELECT i, 100 + i, i % 3, 0 FROM generate_series(1, 9) i`)
	d := by("d", "owner", 0, 1, 2)
	l.change(d, "INSERT INTO d VALUES (10, 1, 0)", "1")
	l.change(d, "UPDATE d SET n = 1 WHERE id = 10", "0", "1", "2")
	l.change(d, "DELETE FROM d WHERE id = 10", "0", "1", "2")
	f := append(by("f", "owner", 0, 1, 2), question{"null", "SELECT * FROM f WHERE owner IS NULL", nil})
	l.change(f, "INSERT INTO f VALUES (10, 1, 0)", "1", "null")
	l.change(f, "UPDATE f SET n = 1 WHERE id = 10", "1", "null")
	l.change(f, "UPDATE f SET owner = 2 WHERE id = 10", "1", "2", "null")
	l.change(f, "UPDATE f SET owner = NULL WHERE id = 10", "2", "null")
	l.change(f, "UPDATE f SET id = 11, owner = 0 WHERE id = 10", "0", "null")
	l.change(f, "DELETE FROM f WHERE id = 11", "0", "null")
	x := slices.Concat(by("x", "code", 101, 102), by("x", "owner", 0, 1), by("x", "id", 7))
	l.change(x, "UPDATE x SET n = 1 WHERE id = 1", "101", "0", "1", "7")
	l.change(x, "UPDATE x SET owner = 0 WHERE id = 1", "101", "0", "1", "7")
	l.change(x, "INSERT INTO x VALUES (10, 110, 1, 0)", "1")
	l.change(x, "DELETE FROM x WHERE id = 2", "102", "0", "1", "7")

	// The identity changes: what is cached is made stale by that, and what comes is told otherwise.
	l.change(d, "ALTER TABLE d REPLICA IDENTITY FULL", "0", "1", "2")
	l.change(d, "UPDATE d SET n = 2 WHERE id = 4", "0", "1", "2") // the first one comes with another description of the table
	l.change(d, "UPDATE d SET n = 2 WHERE id = 5", "2")
	l.change(d, "ALTER TABLE d REPLICA IDENTITY DEFAULT; UPDATE d SET n = 3 WHERE id = 4", "0", "1", "2")
	l.change(d, "UPDATE d SET n = 4 WHERE id = 4", "0", "1", "2")
}

// HAZARD 9: keys of every kind by which rows can be picked, and of several columns.
func TestHazard09KeysOfEveryKind(t *testing.T) {
	l := newRowsLab(t, `
		CREATE TABLE pair(a int, b text, n int, PRIMARY KEY (b, a));
		INSERT INTO pair SELECT i, c, 0 FROM generate_series(1, 3) i, unnest('{x,y,é}'::text[]) c;
		CREATE DOMAIN code AS varchar(20);
		CREATE TABLE word(w code PRIMARY KEY, n int);
		INSERT INTO word VALUES ('', 0), ('a', 0), ('A', 0), ('naïve', 0), ('a b''c', 0);
		CREATE TABLE u(u uuid PRIMARY KEY, n int);
		INSERT INTO u SELECT format('00000000-0000-0000-0000-00000000000%s', i)::uuid, 0 FROM generate_series(1, 3) i;
		CREATE TABLE flag(b bool PRIMARY KEY, n int);
		INSERT INTO flag VALUES (true, 0), (false, 0);
		CREATE TABLE small(i smallint PRIMARY KEY, n int);
		INSERT INTO small VALUES (-1, 0), (0, 0), (1, 0);
		CREATE TABLE num(i numeric PRIMARY KEY, n int);
		INSERT INTO num VALUES (1.0, 0), (2, 0)`)
	pairs := func(list ...string) (out []question) {
		for _, p := range list {
			b, a, _ := strings.Cut(p, " ")
			out = append(out, question{p, "SELECT n FROM pair WHERE a::text = $2 AND b = $1", []any{b, a}})
			if a != "" {
				out[len(out)-1] = question{p, "SELECT n FROM pair WHERE b = $1 AND a = " + a, []any{b}}
			}
		}
		return out
	}
	p := append(pairs("x 1", "x 2", "y 1", "é 1", "é 2"), question{"é", "SELECT sum(n) FROM pair WHERE b = $1", []any{"é"}})
	l.change(p, "UPDATE pair SET n = 1 WHERE a = 1 AND b = 'x'", "x 1")
	l.change(p, "UPDATE pair SET n = 1 WHERE a = 2 AND b = 'é'", "é 2", "é")
	l.change(p, "UPDATE pair SET b = 'z' WHERE a = 1 AND b = 'é'", "é 1", "é")
	l.change(p, "UPDATE pair SET b = 'é' WHERE b = 'z'", "é 1", "é")
	l.change(p, "DELETE FROM pair WHERE a = 1", "x 1", "y 1", "é 1", "é")

	w := by("word", "w", "", "a", "A", "naïve", "a b'c")
	l.change(w, "UPDATE word SET n = 1 WHERE w = ''", "")
	l.change(w, "UPDATE word SET n = 1 WHERE w = 'a'", "a")
	l.change(w, "UPDATE word SET n = 1 WHERE w = 'naïve'", "naïve")
	l.change(w, "UPDATE word SET n = 1 WHERE w LIKE 'a b%'", "a b'c")

	u := []question{}
	for _, i := range []string{"1", "2"} {
		u = append(u, question{i, "SELECT n FROM u WHERE u = '00000000-0000-0000-0000-00000000000" + i + "'", nil})
	}
	l.change(u, "UPDATE u SET n = 1 WHERE u = '{00000000000000000000000000000001}'", "1")
	l.change(u, "UPDATE u SET u = '00000000-0000-0000-0000-00000000000A' WHERE u::text LIKE '%2'", "2")

	f := []question{{"t", "SELECT n FROM flag WHERE b", nil}, {"f", "SELECT n FROM flag WHERE NOT b", nil}}
	l.change(f, "UPDATE flag SET n = 1 WHERE b", "t")
	s := []question{{"-1", "SELECT n FROM small WHERE i = -1", nil}, {"0", "SELECT n FROM small WHERE i = 0", nil}, {"1", "SELECT n FROM small WHERE i = 1::bigint", nil}}
	l.change(s, "UPDATE small SET n = 1 WHERE i = -1", "-1")
	l.change(s, "UPDATE small SET n = 1 WHERE i = 1", "1")
	n := []question{{"1", "SELECT n FROM num WHERE i = 1", nil}, {"2", "SELECT n FROM num WHERE i = 2.00", nil}}
	l.change(n, "UPDATE num SET n = 1 WHERE i = 1.000", "1", "2") // one value has many texts
}

// HAZARD 9: values that are stored apart aren't in the stream where they are as they were.
func TestHazard09ValuesThatAreStoredApart(t *testing.T) {
	l := newRowsLab(t, `
		CREATE TABLE full_(id int PRIMARY KEY, big text, n int);
		ALTER TABLE full_ ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
		CREATE TABLE plain(id int PRIMARY KEY, big text, n int);
		ALTER TABLE plain ALTER big SET STORAGE EXTERNAL;
		CREATE TABLE key_(big text, n int);
		ALTER TABLE key_ ALTER big SET STORAGE EXTERNAL, ALTER big SET NOT NULL;
		INSERT INTO full_ SELECT i, repeat(i::text, 2500), 0 FROM generate_series(1, 4) i;
		INSERT INTO plain SELECT i, repeat(i::text, 2500), 0 FROM generate_series(1, 4) i;
		INSERT INTO key_ SELECT repeat(i::text, 2500), 0 FROM generate_series(1, 4) i;
		CREATE UNIQUE INDEX key_big ON key_(big);
		ALTER TABLE key_ REPLICA IDENTITY USING INDEX key_big`)
	ask := func(table string) (list []question) {
		for _, v := range []string{"1", "2", "3"} {
			list = append(list, question{v, "SELECT n FROM " + table + " WHERE big = $1", []any{strings.Repeat(v, 2500)}})
		}
		return list
	}
	f := append(ask("full_"), by("full_", "id", 4)...)
	l.change(f, "UPDATE full_ SET n = 1 WHERE id = 1", "1")
	l.change(f, "UPDATE full_ SET big = repeat('3', 2500) WHERE id = 2", "2", "3")
	l.change(f, "UPDATE full_ SET big = 'short' WHERE id = 2", "3")
	l.change(f, "DELETE FROM full_ WHERE id = 3", "3")
	p := append(ask("plain"), by("plain", "id", 4)...)
	l.change(p, "UPDATE plain SET n = 1 WHERE id = 1", "1", "2", "3")
	l.change(p, "INSERT INTO plain VALUES (5, repeat('2', 2500), 7)", "2")
	k := ask("key_")
	l.change(k, "UPDATE key_ SET n = 1 WHERE big LIKE '1%'", "1")
	l.change(k, "UPDATE key_ SET big = repeat('5', 2500) WHERE big LIKE '2%'", "2")
	l.change(k, "DELETE FROM key_ WHERE big LIKE '3%'", "3")
}

// HAZARD 9: rows of partitions and of inheritance children, by whatever name they are read and written.
func TestHazard09RowsOfPartitionsAndChildren(t *testing.T) {
	l := newRowsLab(t, `
		CREATE TABLE m(id int, day int, n int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
		CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10);
		CREATE TABLE m2(n int, day int NOT NULL, id int NOT NULL, PRIMARY KEY (id, day));
		ALTER TABLE m ATTACH PARTITION m2 FOR VALUES FROM (10) TO (20);
		INSERT INTO m SELECT i, d, 0 FROM generate_series(1, 3) i, unnest('{1,11}'::int[]) d;
		CREATE TABLE top(id int PRIMARY KEY, n int);
		CREATE TABLE low(more int, PRIMARY KEY (id)) INHERITS (top);
		INSERT INTO top SELECT i, 0 FROM generate_series(1, 3) i;
		INSERT INTO low SELECT i, 0, 0 FROM generate_series(3, 5) i`)
	q := func(name, sql string) question { return question{name, sql, nil} }
	m := []question{
		q("1 1", "SELECT n FROM m WHERE id = 1 AND day = 1"), q("1 11", "SELECT n FROM m WHERE id = 1 AND day = 11"), q("1", "SELECT sum(n) FROM m WHERE id = 1"),
		q("2", "SELECT sum(n) FROM m WHERE id = 2"), q("m2 1", "SELECT n FROM m2 WHERE id = 1 AND day = 11"), q("m2 2", "SELECT n FROM m2 WHERE id = 2"),
		q("m1 1", "SELECT n FROM m1 WHERE id = 1"), q("all", "SELECT count(*), sum(n) FROM m"),
	}
	l.change(m, "UPDATE m SET n = 1 WHERE id = 1 AND day = 1", "1 1", "1", "m1 1", "all")
	l.change(m, "UPDATE m2 SET n = 1 WHERE id = 1", "1 11", "1", "m2 1", "all")
	l.change(m, "UPDATE m SET day = 12 WHERE id = 3 AND day = 1", "all")
	l.change(m, "UPDATE m SET day = 2 WHERE id = 2 AND day = 11", "2", "m2 2", "all")
	l.change(m, "INSERT INTO m VALUES (2, 13, 5)", "2", "m2 2", "all")
	l.change(m, "TRUNCATE m1", "1 1", "1 11", "1", "2", "m1 1", "all")
	l.change(m, "TRUNCATE m", "1 1", "1 11", "1", "2", "m2 1", "m2 2", "m1 1", "all")
	i := []question{
		q("1", "SELECT n FROM top WHERE id = 1"), q("3", "SELECT n FROM top WHERE id = 3 ORDER BY tableoid"), q("only 3", "SELECT n FROM ONLY top WHERE id = 3"),
		q("4", "SELECT n FROM top WHERE id = 4"), q("low 3", "SELECT n FROM low WHERE id = 3"),
	}
	l.change(i, "UPDATE ONLY top SET n = 1 WHERE id = 3", "3", "only 3")
	l.change(i, "UPDATE low SET n = 1 WHERE id = 4", "4")
	l.change(i, "UPDATE top SET n = 2 WHERE id = 3", "3", "only 3", "low 3")
	l.change(i, "TRUNCATE low", "1", "3", "only 3", "4", "low 3") // with and without ONLY, the cells are the same
}
