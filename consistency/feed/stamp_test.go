package feed

import (
	"fmt"
	"strings"
	"testing"
)

func TestCommitIsAppliedAndStampsExactlyItsRelations(t *testing.T) {
	f := newFixture(t, tables("a", "b", "c")+`
		CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
		INSERT INTO child VALUES (1, 1);
		CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO log DEFAULT VALUES; RETURN NULL; END';
		CREATE TRIGGER note AFTER UPDATE ON c FOR EACH ROW EXECUTE FUNCTION note();
		CREATE FUNCTION writes() RETURNS void LANGUAGE sql AS 'UPDATE b SET v = v + 1'`)
	f.stamps("INSERT INTO a VALUES (3, 0)", []string{"a"}, []string{"b", "c", "child", "log"})
	f.stamps("UPDATE b SET v = 1", []string{"b"}, []string{"a", "c", "child", "log"})
	f.stamps("DELETE FROM c WHERE id = 2", []string{"c"}, []string{"a", "b", "child", "log"})
	f.stamps("DELETE FROM a WHERE id = 1", []string{"a", "child"}, []string{"b", "c", "log"})
	f.stamps("UPDATE c SET v = 1", []string{"c", "log"}, []string{"a", "b", "child"})
	f.stamps("SELECT writes()", []string{"b"}, []string{"a", "c", "child", "log"})
	f.stamps("BEGIN; UPDATE a SET v = 5; UPDATE b SET v = 5; COMMIT", []string{"a", "b"}, []string{"c", "child", "log"})
	f.stamps("COPY a FROM PROGRAM 'echo 7,7' CSV", []string{"a"}, []string{"b", "c", "child", "log"})
	f.stamps("UPDATE a SET v = 5 WHERE id = 999; SELECT count(*) FROM b; SELECT * FROM c FOR UPDATE", nil, []string{"a", "b", "c", "child", "log"})
	f.stamps("SET LOCAL synchronous_commit = off; UPDATE a SET v = 6", []string{"a"}, []string{"b", "c"})
	f.stamps("VACUUM a", nil, []string{"a"})
}

func TestTruncateStampsAllThatItEmpties(t *testing.T) {
	f := newFixture(t, tables("a", "b", "c")+`
		CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES a);
		CREATE TABLE grandchild (id int PRIMARY KEY, child int REFERENCES child)`)
	f.stamps("TRUNCATE b", []string{"b"}, []string{"a", "c", "child", "grandchild"})
	f.stamps("TRUNCATE b, c", []string{"b", "c"}, []string{"a", "child", "grandchild"})
	f.stamps("TRUNCATE a CASCADE", []string{"a", "child", "grandchild"}, []string{"b", "c"})
	f.stamps("BEGIN; TRUNCATE a CASCADE; ROLLBACK", nil, []string{"a", "child", "grandchild", "b", "c"})
}

func TestPartitionsAreStampedByLeaf(t *testing.T) {
	f := newFixture(t, `
		CREATE TABLE m (id int, day int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
		CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10);
		CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (day);
		CREATE TABLE m21 PARTITION OF m2 FOR VALUES FROM (10) TO (20)`)
	for _, name := range []string{"m", "m1", "m2", "m21"} {
		if !f.cell(name).Covered() {
			t.Errorf("%s is not covered", name)
		}
	}
	f.stamps("INSERT INTO m VALUES (1, 1)", []string{"m1"}, []string{"m21"})
	f.stamps("INSERT INTO m VALUES (1, 11)", []string{"m21"}, []string{"m1"})
	f.stamps("UPDATE m SET day = 12 WHERE day = 1", []string{"m1", "m21"}, nil)
	f.stamps("TRUNCATE m2", []string{"m21"}, []string{"m1"})
	f.stamps("TRUNCATE m", []string{"m1", "m21"}, nil)
}

func TestRollbackStampsNothing(t *testing.T) {
	f := newFixture(t, tables("a", "b"))
	f.stamps("BEGIN; UPDATE a SET v = 1; UPDATE b SET v = 1; ROLLBACK", nil, []string{"a", "b"})
}

func TestSubtransactionsStampWhatRemainsOfThem(t *testing.T) {
	f := newFixture(t, tables("a", "b", "c"))
	f.stamps("BEGIN; SAVEPOINT s; UPDATE a SET v = 1; ROLLBACK TO s; UPDATE b SET v = 1; COMMIT", []string{"b"}, []string{"a", "c"})
	f.stamps("BEGIN; SAVEPOINT s; UPDATE a SET v = 2; RELEASE s; SAVEPOINT u; UPDATE b SET v = 2; COMMIT", []string{"a", "b"}, []string{"c"})

	// The snapshot of a fill lists the top-level transaction only; that is also whose xid comes with the commit.
	other := f.connect(f.c.Primary())
	f.exec("BEGIN; SAVEPOINT s; UPDATE c SET v = 1; SAVEPOINT u; UPDATE c SET v = 2")
	before := f.probe(other)
	f.exec("COMMIT")
	f.applied()
	if f.fresh(before, "c") {
		t.Error("a fill from before the commit is judged to contain it")
	}
	if !f.fresh(f.probe(other), "c") {
		t.Error("a fill from after the commit is judged not to contain it")
	}
}

func TestTwoPhaseCommitStampsWhenItCommits(t *testing.T) {
	f := newFixture(t, tables("a", "b"))
	f.stamps("BEGIN; UPDATE a SET v = 1; PREPARE TRANSACTION 'one'", nil, []string{"a", "b"})
	during := f.probe(f.conn)
	f.stamps("COMMIT PREPARED 'one'", []string{"a"}, []string{"b"})
	if f.fresh(during, "a") {
		t.Error("a fill from before COMMIT PREPARED is judged to contain it")
	}
	if !f.fresh(f.probe(f.conn), "a") {
		t.Error("a fill from after COMMIT PREPARED is judged not to contain it")
	}
	f.stamps("BEGIN; UPDATE a SET v = 1; PREPARE TRANSACTION 'two'", nil, []string{"a"})
	f.stamps("ROLLBACK PREPARED 'two'", nil, []string{"a"})
}

func TestBigTransactionStampsAllOfItsTables(t *testing.T) {
	var names []string
	var sql strings.Builder
	for i := range 50 {
		names = append(names, fmt.Sprintf("t%d", i))
		fmt.Fprintf(&sql, "INSERT INTO t%d SELECT g, g FROM generate_series(3, 1000) g;", i)
	}
	f := newFixture(t, tables(append(names, "untouched")...))
	f.applied()
	applied := f.table.Applied()
	f.stamps("BEGIN;"+sql.String()+sql2(names)+"INSERT INTO t0 SELECT g, g FROM generate_series(1001, 100000) g; COMMIT", names, []string{"untouched"})
	// One commit: all of its tables have its number.
	first := f.cell(names[0]).Seq()
	for _, name := range names {
		if s := f.cell(name).Seq(); s != first || s <= applied {
			t.Errorf("%s was stamped with %d, %s with %d; %d had been applied before", name, s, names[0], first, applied)
		}
	}
}

// sql2 goes through the tables again, so that no two changes in a row are of the same.
func sql2(names []string) string {
	var b strings.Builder
	for range 20 {
		for _, n := range names {
			fmt.Fprintf(&b, "UPDATE %s SET v = 1 WHERE id = 1;", n)
		}
	}
	return b.String()
}

func TestCatalogMessageStampsTheCatalogCell(t *testing.T) {
	f := newFixture(t, tables("a"))
	global := f.table.Global().Seq()
	f.exec("SELECT pg_logical_emit_message(true, 'freshet.catalogue', 'x'), pg_logical_emit_message(true, 'other', 'x'), pg_logical_emit_message(false, 'freshet.catalog', 'x')")
	f.exec("BEGIN; SELECT pg_logical_emit_message(true, 'freshet.catalog', ''); ROLLBACK")
	f.applied()
	if f.table.Global().Seq() != global {
		t.Error("stamped by another's message, or one that isn't transactional")
	}
	f.exec("SELECT pg_logical_emit_message(true, 'freshet.catalog', '')")
	f.applied()
	if f.table.Global().Seq() <= global {
		t.Error("not stamped")
	}
}
