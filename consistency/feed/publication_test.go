package feed

import (
	"strings"
	"testing"
	"time"
)

// HAZARDS 12: somebody changes the publication, and what is changed afterwards isn't sent, or not under its name. The feed doesn't pass that
// commit without knowing.
func TestHazard12APublicationThatIsChangedByHandLosesNothing(t *testing.T) {
	const schema = `
		CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 50), (2, 50);
		CREATE TABLE b (id int PRIMARY KEY, v int); INSERT INTO b VALUES (1, 50), (2, 50);
		CREATE TABLE m (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
		CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); INSERT INTO m VALUES (1, 50)`
	for _, c := range []struct{ change, table string }{
		{"ALTER PUBLICATION freshet SET TABLE ONLY a WHERE (id > 1), ONLY b, m1", "a"},
		{"ALTER PUBLICATION freshet SET TABLE ONLY a (id), ONLY b, m1", "a"},
		{"ALTER PUBLICATION freshet DROP TABLE ONLY a", "a"},
		{"ALTER PUBLICATION freshet SET (publish = 'insert')", "a"},
		{"BEGIN; ALTER PUBLICATION freshet DROP TABLE m1; ALTER PUBLICATION freshet ADD TABLE m; ALTER PUBLICATION freshet SET (publish_via_partition_root); COMMIT", "m1"},
	} {
		f := newDatabase(t, servers.Get(t), schema)
		if strings.Contains(c.change, "WHERE") && f.value("current_setting('server_version_num')::int < 150000") == "true" {
			continue
		}
		f.start(Config{PollInterval: time.Hour}) // what isn't told isn't found
		f.covers()
		before := f.probe(f.conn)
		other := f.cell("b").Seq()
		f.exec(c.change + "; UPDATE " + c.table + " SET v = 7 WHERE id = 1")
		f.applied()
		if f.fresh(before, c.table) {
			t.Errorf("%s: an answer from before what was changed next is fresh", c.change)
		}
		if f.cell(c.table).Covered() {
			t.Errorf("%s: %s is covered", c.change, c.table)
		}
		if strings.HasSuffix(c.change, "ONLY a") && (!f.cell("b").Covered() || f.cell("b").Seq() != other) {
			t.Errorf("%s: it concerns another table, too", c.change)
		}
		f.stop()
	}
}

// A change of the publication that nobody can see yet, since its commit waits for a synchronous standby, is waited for.
func TestHazard12AHiddenChangeOfThePublicationIsWaitedFor(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a", "b"))
	f.start(Config{PollInterval: time.Hour})
	f.covers()
	show := f.hide()
	defer show()
	done := f.hidden("UPDATE b SET v = 1", "b") // so that it is known to be hidden what comes after it
	conn := f.connect(f.c.Primary())
	altered := make(chan struct{})
	go func() {
		defer close(altered)
		if _, err := conn.PgConn().Exec(f.Context(), "ALTER PUBLICATION freshet DROP TABLE a").ReadAll(); err != nil {
			f.Errorf("%v", err)
		}
	}()
	f.until("it waits", func() bool {
		return f.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'SyncRep'") == "2"
	})
	f.execOn(f.connect(f.c.Primary()), "SET synchronous_commit = local; INSERT INTO b VALUES (3, 2)")
	time.Sleep(10 * lookSoon) // nothing is to happen: what hurries would be caught, what doesn't isn't delayed by it
	if !f.cell("a").Covered() {
		t.Error("it is known though nobody can see it")
	}
	applied := f.table.Applied()
	show()
	<-done
	<-altered
	f.applied()
	if f.cell("a").Covered() || f.table.Applied() <= applied {
		t.Error("it isn't known though everybody can see it")
	}
}
