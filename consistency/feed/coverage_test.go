package feed

import (
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

func TestCoverageWaitsForTransactionsThenForThePosition(t *testing.T) {
	var c coverage
	snapshot := func(xmin uint64) consistency.Snapshot { return consistency.Snapshot{Xmin: xmin, Xmax: xmin + 100} }
	c.update([]member{{1, "a"}, {2, "b"}})
	if !c.undrawn() {
		t.Fatal("no xid is wanted")
	}
	if c.ended(snapshot(1000)) || len(c.reached(9000)) > 0 {
		t.Error("covered before an xid was drawn")
	}
	c.drawn(100)
	if c.ended(snapshot(99)) {
		t.Error("a transaction with a lower xid is running")
	}
	if !c.ended(snapshot(100)) {
		t.Error("all with lower xids have ended")
	}
	c.endedBy(snapshot(100), 5000)
	if len(c.reached(4999)) > 0 {
		t.Error("covered before the position was reached")
	}
	if got := c.reached(5000); len(got) != 1 || len(got[5000]) != 2 {
		t.Errorf("covered: %v", got)
	}
	if len(c.reached(6000)) > 0 || c.waiting() || c.count() != 2 {
		t.Error("covered again")
	}

	// One leaves, one comes back under other terms, one is new.
	if gone := c.update([]member{{2, "b2"}, {3, "c"}}); len(gone) != 2 || gone[0] != 1 || gone[1] != 2 {
		t.Errorf("gone: %v", gone)
	}
	c.drawn(200)
	c.endedBy(snapshot(150), 7000)
	if len(c.reached(9000)) > 0 {
		t.Error("covered while transactions from before are running")
	}
	c.endedBy(snapshot(200), 8000)
	c.endedBy(snapshot(300), 8500)
	if got := c.reached(9000); len(got[8000]) != 2 {
		t.Errorf("covered: %v", got)
	}
	// What was never covered needs no stamp when it leaves.
	c.update([]member{{2, "b2"}, {3, "c"}, {4, "d"}})
	if gone := c.update([]member{{2, "b2"}, {3, "c"}}); len(gone) != 0 {
		t.Errorf("gone: %v", gone)
	}
}

// HAZARDS 12: a table comes into the publication while a transaction is changing it.
func TestATableIsCoveredOnlyWhenTransactionsFromBeforeItWasPublishedHaveEnded(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.exec(tables("n"))
	writer, younger := f.connect(f.c.Primary()), f.connect(f.c.Primary())
	f.execOn(writer, "BEGIN; UPDATE n SET v = 1 WHERE id = 1")
	f.execOn(younger, "BEGIN; SELECT 1")
	if r := f.setup(); len(r.Statements) == 0 {
		t.Fatal("setup doesn't add the table")
	}
	f.until("it is seen in the publication", func() bool { return f.feed.Status().Published == 2 })
	f.applied()
	for range 5 { // as many polls
		at := consistency.Now()
		f.until("another poll", func() bool { return f.table.AsOf() > at })
		if f.cell("n").Covered() {
			t.Fatal("covered while a transaction that has changed it runs, whose changes may never be sent")
		}
	}
	before := f.probe(f.conn)
	f.execOn(writer, "UPDATE n SET v = 2 WHERE id = 2; COMMIT")
	f.covers()
	if !f.cell("n").Covered() {
		t.Fatal("not covered")
	}
	if f.fresh(before, "n") {
		t.Error("a fill from before that transaction's end is judged to contain it")
	}
	if !f.fresh(f.probe(f.conn), "n") {
		t.Error("a fill from after that transaction's end is judged not to contain it")
	}
	f.stamps("UPDATE n SET v = 3", []string{"n"}, []string{"a"})
	f.execOn(younger, "UPDATE n SET v = 4 WHERE id = 1; COMMIT")
	f.stamps("UPDATE n SET v = 5", []string{"n"}, []string{"a"})
	if f.feed.Status().Connections != 1 {
		t.Error("the connection was given up for it")
	}
}

// A snapshot's xmax isn't above all transactions that run: those with the newest xids, none of which has ended, are at or
// above it. So the writer to test with is younger than the transaction that publishes the table.
func TestATableIsNotCoveredWhileTheYoungestTransactionFromBeforeRuns(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.exec(tables("n"))
	f.applied()
	writer := f.connect(f.c.Primary())
	f.exec("BEGIN; SELECT pg_current_xact_id()")
	f.execOn(writer, "BEGIN; UPDATE n SET v = 1")
	f.exec("ALTER PUBLICATION freshet ADD TABLE n; COMMIT")
	f.until("it is seen in the publication", func() bool { return f.feed.Status().Published == 2 })
	for range 3 {
		at := consistency.Now()
		f.until("another poll", func() bool { return f.table.AsOf() > at })
	}
	if f.cell("n").Covered() {
		t.Fatalf("covered while a transaction that has changed it runs, with %s", f.value("pg_current_snapshot()"))
	}
	f.execOn(writer, "COMMIT")
	f.covers()
}

// Servers without the fix of May 2025 get a new connection before the table is covered.
func TestServersThatMayNotSendNewTablesAreConnectedToAnew(t *testing.T) {
	for version, want := range map[int]bool{140017: false, 140018: true, 150012: false, 150013: true, 150018: true, 160008: false,
		160009: true, 170004: false, 170005: true, 180000: true, 190001: true} {
		if sendsNewMembers(version) != want {
			t.Errorf("%d: %v", version, !want)
		}
	}

	f := newDatabase(t, servers.Get(t), tables("a"))
	f.make(Config{})
	f.feed.fixed = func(int) bool { return false }
	f.run()
	f.covers()
	f.exec(tables("n"))
	writer := f.connect(f.c.Primary())
	f.execOn(writer, "BEGIN; UPDATE n SET v = 1")
	f.setup()
	f.until("it is seen in the publication", func() bool { return f.feed.Status().Published == 2 })
	if f.feed.Status().Connections != 1 {
		t.Error("there was no need to connect before the writer had ended")
	}
	f.execOn(writer, "COMMIT")
	f.until("n is covered", func() bool { return f.cell("n").Covered() })
	if f.feed.Status().Connections != 2 {
		t.Errorf("%d connections", f.feed.Status().Connections)
	}
	f.covers()
	f.stamps("UPDATE n SET v = 2", []string{"n"}, []string{"a"})
}

func TestATableThatLeavesThePublicationIsNotCovered(t *testing.T) {
	f := newFixture(t, tables("a", "b"))
	p := f.probe(f.conn)
	if !f.fresh(p, "a") {
		t.Fatal("not fresh")
	}
	f.exec("ALTER PUBLICATION freshet DROP TABLE a")
	f.until("it isn't covered", func() bool { return !f.cell("a").Covered() })
	if f.fresh(p, "a") {
		t.Error("what was cached about it is still served")
	}
	if !f.fresh(p, "b") || !f.cell("b").Covered() {
		t.Error("another table is touched by that")
	}
	f.exec("ALTER PUBLICATION freshet ADD TABLE a")
	f.until("it is covered again", func() bool { return f.cell("a").Covered() })
	f.stamps("UPDATE a SET v = 1", []string{"a"}, []string{"b"})
}

// Between two polls it leaves, is changed, and comes back: the change was never sent.
func TestATableThatLeavesThePublicationAndComesBackUnseenIsStale(t *testing.T) {
	for _, how := range []string{
		"ALTER PUBLICATION freshet DROP TABLE a; UPDATE a SET v = 1; ALTER PUBLICATION freshet ADD TABLE a",
		"ALTER PUBLICATION freshet SET (publish = 'insert'); UPDATE a SET v = 1; ALTER PUBLICATION freshet SET (publish = 'insert, update, delete, truncate')",
		"DROP PUBLICATION freshet; UPDATE a SET v = 1; CREATE PUBLICATION freshet FOR TABLE a",
	} {
		f := newFixture(t, tables("a"))
		seq, err := f.table.Contains(f.probe(f.conn))
		f.must(err)
		f.exec("BEGIN; " + how + "; COMMIT")
		f.until("stale: "+how, func() bool { return f.cell("a").Seq() > seq || f.table.Global().Seq() > seq })
		f.covers()
		f.stamps("UPDATE a SET v = 2", []string{"a"}, nil)
		f.stop()
	}
}

func TestWhatIsNotPublishedCompletelyIsNotCovered(t *testing.T) {
	f := newFixture(t, tables("a", "filtered", "narrow", "later")+
		"CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (9)")
	f.exec("ALTER PUBLICATION freshet DROP TABLE filtered, narrow, later")
	f.exec("ALTER PUBLICATION freshet ADD TABLE filtered WHERE (id > 1), TABLE narrow (id)")
	f.until("it is said why", func() bool {
		reasons := map[string]string{}
		for _, u := range f.feed.Status().NotCovered {
			reasons[u.Name] = u.Reason
		}
		return len(reasons) == 2 && strings.Contains(reasons[`"public"."filtered"`], "row filter") && strings.Contains(reasons[`"public"."narrow"`], "column list")
	})
	f.covers()
	for _, name := range []string{"filtered", "narrow", "later"} {
		if f.cell(name).Covered() {
			t.Errorf("%s is covered", name)
		}
	}
	if !f.cell("a").Covered() || !f.cell("m1").Covered() || !f.cell("m").Covered() {
		t.Error("a, m1 or m is not covered")
	}

	// A partition comes that isn't published: then the whole isn't, either.
	f.exec("CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (9) TO (99)")
	f.until("m isn't covered", func() bool { return !f.cell("m").Covered() })
	if !f.cell("m1").Covered() || f.cell("m2").Covered() {
		t.Error("of the partitions, m1 is published")
	}

	f.exec("ALTER PUBLICATION freshet SET (publish = 'insert, update, delete')")
	f.until("without TRUNCATE nothing is covered", func() bool {
		s := f.feed.Status()
		return s.Published == 0 && s.Covered == 0 && !f.cell("a").Covered() && len(s.NotCovered) > 0 && strings.Contains(s.NotCovered[0].Reason, "truncate")
	})
	f.exec("ALTER PUBLICATION freshet SET (publish = 'insert, update, delete, truncate')")
	f.covers()

	// Changes of partitions come under the root's name.
	f.exec("ALTER PUBLICATION freshet SET (publish_via_partition_root = true)")
	f.until("partitions aren't covered", func() bool { return !f.cell("m1").Covered() && f.cell("a").Covered() })
}

func TestPublicationsForAllTablesAndForASchema(t *testing.T) {
	f := newFixture(t, tables("a")+"CREATE SCHEMA s; CREATE TABLE s.b (id int PRIMARY KEY)")
	// The table is covered anew, by another publication.
	anew := func(sql, table string) {
		t.Helper()
		before := f.cell(table).Seq()
		f.exec(sql)
		f.until(table+" is covered after "+sql, func() bool { return f.cell(table).Seq() > before && f.cell(table).Covered() })
		f.covers()
	}
	anew("BEGIN; DROP PUBLICATION freshet; CREATE PUBLICATION freshet FOR ALL TABLES; COMMIT", "a")
	f.stamps("INSERT INTO s.b VALUES (1)", []string{"s.b"}, []string{"a"})
	anew("BEGIN; DROP PUBLICATION freshet; CREATE PUBLICATION freshet FOR TABLES IN SCHEMA s; COMMIT", "s.b")
	if f.cell("a").Covered() {
		t.Error("what isn't in the schema is covered")
	}
	f.exec("CREATE TABLE s.c (id int PRIMARY KEY)")
	f.until("what comes into it is covered", func() bool { return f.cell("s.c").Covered() })
	f.stamps("INSERT INTO s.c VALUES (1)", []string{"s.c"}, []string{"s.b"})
	f.exec("ALTER TABLE s.b SET SCHEMA public")
	f.until("what leaves it isn't", func() bool { return !f.cell("b").Covered() && f.cell("s.c").Covered() })
}

func TestWithoutAPublicationThereIsAClearReason(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.exec("DROP PUBLICATION freshet")
	f.start(Config{RetryMax: 50 * time.Millisecond})
	f.until("it is said", func() bool {
		return strings.Contains(f.feed.Status().Reason, `no publication "freshet"`) && strings.Contains(f.feed.Status().Reason, "freshet setup")
	})
	if f.table.Serving() {
		t.Error("serving")
	}
	f.setup()
	f.covers()
	if r := f.feed.Status().Reason; r != "" {
		t.Errorf("the reason stays: %s", r)
	}
	f.exec("DROP PUBLICATION freshet")
	f.until("it is said", func() bool {
		return strings.Contains(f.feed.Status().Reason, `no publication "freshet"`) && !f.table.Serving()
	})
	f.setup()
	f.covers()
}

func TestWithoutLogicalWALThereIsAClearReason(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Settings: map[string]string{"wal_level": "replica"}, Cache: true})
	f := newDatabase(t, c, tables("a"))
	f.start(Config{RetryMax: 50 * time.Millisecond})
	f.until("it is said", func() bool { return strings.Contains(f.feed.Status().Reason, "ALTER SYSTEM SET wal_level = 'logical'") })
	if f.table.Serving() {
		t.Error("serving")
	}
}

func TestWithoutPrivilegesThereIsAClearReason(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.exec("DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN PASSWORD 'secret-password'")
	f.start(Config{
		PrimaryURL: func() (string, error) { return f.c.Primary().UserURL("poor", "secret-password", f.db), nil },
		RetryMax:   50 * time.Millisecond,
	})
	f.until("it is said", func() bool { return strings.Contains(f.feed.Status().Reason, "the service user needs REPLICATION") })
	if f.table.Serving() {
		t.Error("serving")
	}
	f.exec("ALTER ROLE poor REPLICATION") // and that is all it needs
	f.covers()
	f.stop()

	f.start(Config{
		PrimaryURL: func() (string, error) { return f.c.Primary().UserURL("poor", "wrong-password", f.db), nil },
		RetryMax:   50 * time.Millisecond,
	})
	f.until("it is said", func() bool { return strings.Contains(f.feed.Status().Reason, "password authentication failed") })
	if strings.Contains(f.feed.Status().Reason, "wrong-password") {
		t.Error("the password is told")
	}
	f.stop()
	f.start(Config{
		PrimaryURL: func() (string, error) { return "postgres://u:secret-password@127.0.0.1:1x/db", nil },
		RetryMax:   50 * time.Millisecond,
	})
	f.until("it is said", func() bool { return f.feed.Status().Reason != "" })
	if r := f.feed.Status().Reason; strings.Contains(r, "secret-password") {
		t.Errorf("the password is told: %s", r)
	}
	f.stop()
	f.exec("DROP ROLE poor")
}

func TestAStandbyIsNotFollowed(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.must(f.c.WaitCaughtUp(f.Context()))
	f.start(Config{PrimaryURL: func() (string, error) { return f.c.Replicas()[0].URL(f.db), nil }})
	f.until("it is said", func() bool { return strings.Contains(f.feed.Status().Reason, "standby") })
}

// The application may hold a table locked for long (DDL, a migration): the look at what is published neither waits for it, nor has others
// wait behind it.
func TestTheLookAtThePublicationTakesNoLocks(t *testing.T) {
	f := newFixture(t, tables("a", "later")+
		"CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (9)")
	other := f.connect(f.c.Primary())
	f.execOn(other, "BEGIN; LOCK TABLE m IN ACCESS EXCLUSIVE MODE")
	f.exec("ALTER PUBLICATION freshet DROP TABLE later")
	f.until("it is seen that a table isn't published any more", func() bool {
		s := f.feed.Status()
		return s.State == Streaming && s.Serving && s.Published == 3 && !f.cell("later").Covered()
	})
	if !f.cell("m").Covered() || !f.cell("m1").Covered() {
		t.Error("what is locked isn't covered any more")
	}
	f.execOn(other, "COMMIT")
}
