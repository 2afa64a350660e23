package feed

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

func (f *fixture) killWalsender() {
	f.Helper()
	f.until("there is a walsender to kill", func() bool {
		return f.value("SELECT count(pg_terminate_backend(active_pid)) FROM pg_replication_slots WHERE database = current_database() AND active") == "1"
	})
}

func TestReconnectInvalidatesEverythingAndServesNothingUntilCaughtUp(t *testing.T) {
	f := newFixture(t, tables("a", "b"))
	reader := f.connect(f.c.Primary())
	f.applied()
	old := f.probe(reader)
	if !f.fresh(old, "a") {
		t.Fatal("not fresh before anything has happened")
	}
	seq, err := f.table.Contains(old)
	f.must(err)

	// Making the new slot waits for this transaction, so the state between can be looked at.
	writer := f.connect(f.c.Primary())
	f.execOn(writer, "BEGIN; UPDATE a SET v = 1")
	f.killWalsender()
	f.until("waiting for transactions", func() bool { return f.feed.Status().State == Waiting })
	if f.table.Serving() || f.table.Covered(f.oid("a")) {
		t.Error("connected, and taken for caught up")
	}
	if f.table.Global().Seq() <= seq {
		t.Error("what was cached before the gap is still fresh")
	}
	if _, err := f.table.Contains(old); !errors.Is(err, consistency.ErrGap) {
		t.Errorf("a fill from before the gap is judged: %v", err)
	}
	f.execOn(writer, "COMMIT")
	f.covers()
	if f.table.Global().Seq() <= seq {
		t.Error("what was cached before the gap is fresh again")
	}
	if _, err := f.table.Contains(old); !errors.Is(err, consistency.ErrGap) {
		t.Errorf("a fill from before the gap is judged: %v", err)
	}
	if !f.fresh(f.probe(reader), "a") {
		t.Error("nothing can be cached after the gap")
	}
	f.stamps("UPDATE b SET v = 1", []string{"b"}, []string{"a"})
	if s := f.feed.Status(); s.Connections != 2 {
		t.Errorf("%d connections", s.Connections)
	}
}

func TestNothingIsServedBeforeTheBacklogOfASlotIsApplied(t *testing.T) {
	const slot = "freshet_backlog_test"
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.start(Config{Slot: slot})
	defer f.dropSlot(slot)
	f.covers()
	f.stop()
	f.exec("DO $$ BEGIN FOR i IN 1..20000 LOOP UPDATE a SET v = i WHERE id = 1; COMMIT; END LOOP; END $$")
	lsn := f.position()
	f.start(Config{Slot: slot})
	f.until("serving", func() bool { return f.table.Serving() })
	if at := f.table.Position(); at < lsn {
		t.Errorf("serving at %s, the primary was at %s before the feed came up", at, lsn)
	}
	if f.feed.Status().Commits < 20000 {
		t.Error("there was no backlog: the test tests nothing")
	}
	f.covers()
}

// As long as no primary can be reached what is cached stays; the gate's staleness bound, which AsOf is measured against, sees
// to it that it isn't served for longer than it may.
func TestWithoutAPrimaryTheTableStandsStill(t *testing.T) {
	var down atomic.Bool
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.start(Config{PrimaryURL: func() (string, error) {
		if down.Load() {
			return "", errors.New("no primary is known")
		}
		return f.c.Primary().URL(f.db), nil
	}})
	f.covers()
	f.applied()
	p := f.probe(f.connect(f.c.Primary()))
	down.Store(true)
	f.killWalsender()
	f.until("retrying", func() bool {
		return f.feed.Status().State == Retrying && strings.Contains(f.feed.Status().Reason, "no primary")
	})
	asOf := f.table.AsOf()
	if !f.table.Serving() || !f.fresh(p, "a") {
		t.Error("the cache is lost with the primary")
	}
	f.exec("UPDATE a SET v = 1")
	if f.table.AsOf() != asOf {
		t.Error("AsOf advances without a feed")
	}
	down.Store(false)
	f.covers()
	if _, err := f.table.Contains(p); !errors.Is(err, consistency.ErrGap) {
		t.Errorf("what went by unseen counts for nothing: %v", err)
	}
}

func TestFailoverBeginsAnewOnTheNewTimeline(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1, Cache: true})
	f := newDatabase(t, c, tables("a"))
	var primary atomic.Pointer[cluster.Node]
	primary.Store(c.Primary())
	f.start(Config{PrimaryURL: func() (string, error) { return primary.Load().URL(f.db), nil }, PollInterval: time.Hour})
	f.covers()
	f.applied()
	old, epoch := f.probe(f.conn), f.table.Epoch()
	if f.table.Timeline() != 1 {
		t.Fatalf("timeline %d", f.table.Timeline())
	}
	f.must(c.WaitCaughtUp(f.Context()))
	f.must(c.Replicas()[0].Promote(f.Context())) // and the old one lives on
	primary.Store(c.Primary())
	f.feed.PrimaryChanged()
	if f.table.Serving() || f.table.Epoch() == epoch {
		t.Error("served after PrimaryChanged")
	}
	f.conn = f.connect(c.Primary())
	f.covers()
	if f.table.Timeline() != 2 || !strings.HasSuffix(c.Primary().Addr(), f.feed.Status().Primary) {
		t.Errorf("%+v", f.feed.Status())
	}
	if _, err := f.table.Contains(old); !errors.Is(err, consistency.ErrGap) {
		t.Errorf("a fill of the old timeline is judged: %v", err)
	}
	stray := f.probe(f.conn)
	stray.Timeline = 1
	if _, err := f.table.Contains(stray); !errors.Is(err, consistency.ErrTimeline) {
		t.Errorf("a fill of the old timeline is judged: %v", err)
	}
	f.stamps("UPDATE a SET v = 1", []string{"a"}, nil)
}

// Nobody has called PrimaryChanged, but PrimaryURL gives another server.
func TestAnotherPrimaryIsNoticedByItself(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	var suffix atomic.Value
	suffix.Store("")
	f.start(Config{PrimaryURL: func() (string, error) { return f.c.Primary().URL(f.db) + suffix.Load().(string), nil }})
	f.covers()
	epoch := f.table.Epoch()
	suffix.Store("&application_name=other")
	f.until("it has begun anew", func() bool { return f.table.Epoch() != epoch && f.feed.Status().Connections == 2 })
	f.covers()
}

func TestTheTemporarySlotGoesWithTheFeed(t *testing.T) {
	f := newFixture(t, tables("a"))
	slot := f.feed.Status().Slot
	if f.value("SELECT temporary FROM pg_replication_slots WHERE slot_name = '"+slot+"'") != "true" {
		t.Fatalf("slot %q isn't temporary", slot)
	}
	f.stop()
	if f.table.Serving() || f.feed.Status().State != Stopped {
		t.Error("serving without a feed")
	}
	f.until("the slot is gone", func() bool {
		return f.value("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == "0"
	})
}

func TestAPermanentSlotLetsGoOfItsWAL(t *testing.T) {
	const slot = "freshet_permanent_test"
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.start(Config{Slot: slot})
	defer f.dropSlot(slot)
	f.covers()
	for range 3 {
		f.exec("INSERT INTO a SELECT coalesce(max(id), 0) + 1, 0 FROM a")
		f.applied()
		lsn := f.position()
		f.until("the slot is released up to what was applied", func() bool {
			return f.value("SELECT confirmed_flush_lsn >= '"+lsn.String()+"' FROM pg_replication_slots WHERE slot_name = '"+slot+"'") == "true"
		})
	}
	// While another one uses it.
	second := New(Config{PrimaryURL: f.feed.cfg.PrimaryURL, Slot: slot, Logger: f.feed.cfg.Logger}, consistency.NewTable(16))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = second.Run(ctx) }()
	f.until("it is told", func() bool { return strings.Contains(second.Status().Reason, "another Freshet uses this slot") })
	cancel()
	<-ended

	f.stop()
	f.exec("UPDATE a SET v = 42")
	f.start(Config{Slot: slot})
	f.covers()
	f.stamps("UPDATE a SET v = 43", []string{"a"}, nil)
}

// A server that is shut down waits for its walsenders, and they for us.
func TestShutdownOfThePrimaryIsNotHeldUp(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Cache: true})
	f := newDatabase(t, c, tables("a"))
	f.start(Config{RetryMax: 100 * time.Millisecond})
	f.covers()
	began := time.Now()
	f.must(c.Primary().Stop(cluster.Fast))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	f.until("it is noticed", func() bool { return f.feed.Status().State == Retrying })
	f.must(c.Primary().Start(f.Context()))
	f.conn = f.connect(c.Primary())
	f.covers()
	f.stamps("UPDATE a SET v = 1", []string{"a"}, nil)
}

// A permanent slot that the server has given up, to save its disk, is made again.
func TestALostSlotIsMadeAgain(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}})
	f := newDatabase(t, c, tables("a"))
	f.start(Config{Slot: "keeper"})
	f.covers()
	f.stop()
	for f.value("SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'keeper'") != "lost" {
		f.exec("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 100000)); SELECT pg_switch_wal()")
		f.exec("CHECKPOINT")
	}
	f.exec("UPDATE a SET v = 7")
	var log countingLog
	f.start(Config{Slot: "keeper", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.covers()
	if log.count("was lost, and is made again") != 1 {
		t.Error("it isn't said")
	}
	f.stamps("UPDATE a SET v = 8", []string{"a"}, nil)
}

// HAZARD 12: a permanent slot is dropped while it is in use. The one that is made instead begins later: what was committed in between is missing, and
// what was cached before counts for nothing.
func TestHazard12ASlotThatIsDroppedWhileItIsUsed(t *testing.T) {
	const slot = "freshet_dropped_test"
	f := newDatabase(t, servers.Get(t), tables("a", "b"))
	f.start(Config{Slot: slot})
	defer f.dropSlot(slot)
	f.covers()
	reader := f.connect(f.c.Primary())
	f.applied()
	old := f.probe(reader)
	if !f.fresh(old, "a") {
		t.Fatal("not fresh before anything has happened")
	}
	// Whoever has it active is ended as often as it takes to be first.
	f.until("the slot is dropped", func() bool {
		_, _ = f.conn.Exec(f.Context(), "SELECT pg_terminate_backend(active_pid, 1000) FROM pg_replication_slots WHERE slot_name = '"+slot+"' AND active")
		_, err := f.conn.Exec(f.Context(), "SELECT pg_drop_replication_slot('"+slot+"')")
		return err == nil
	})
	f.exec("UPDATE a SET v = 7")
	f.until("a fill from before can't be judged", func() bool {
		_, err := f.table.Contains(old)
		return errors.Is(err, consistency.ErrGap)
	})
	f.covers()
	if _, err := f.table.Contains(old); !errors.Is(err, consistency.ErrGap) {
		t.Errorf("a fill from before is judged: %v", err)
	}
	f.stamps("UPDATE a SET v = 8", []string{"a"}, []string{"b"})
	if !f.fresh(f.probe(reader), "a") {
		t.Error("nothing can be cached any more")
	}
}

// Whatever is done to the publication by hand: what the feed can mend it does, of the rest it says what it is, and each recovers.
func TestAPublicationChangedByHand(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a", "b"))
	f.exec("DROP ROLE IF EXISTS keeper; CREATE ROLE keeper LOGIN PASSWORD 'x' REPLICATION; ALTER TABLE a OWNER TO keeper; ALTER PUBLICATION freshet OWNER TO keeper")
	f.exec("GRANT CREATE ON DATABASE " + f.db + " TO keeper")
	defer func() {
		f.stop()
		f.exec("REASSIGN OWNED BY keeper TO postgres; DROP OWNED BY keeper; DROP ROLE keeper")
	}()
	var log countingLog
	f.start(Config{Maintain: true, PrimaryURL: func() (string, error) { return f.c.Primary().UserURL("keeper", "x", f.db), nil }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.covers()
	problem := func() string { return f.feed.Status().Problem }

	f.exec("ALTER PUBLICATION freshet DROP TABLE a, b")
	f.until("its own table comes back", func() bool { return f.cell("a").Covered() })
	f.until("it says what it may not do", func() bool {
		return problem() == `"public"."b" isn't in the publication, and the service role doesn't own it: freshet setup, as its owner, adds it`
	})
	if f.cell("b").Covered() || f.feed.Status().State != Streaming || !f.table.Serving() {
		t.Errorf("%+v", f.feed.Status())
	}
	f.exec("ALTER PUBLICATION freshet OWNER TO postgres; ALTER PUBLICATION freshet DROP TABLE a")
	f.until("another's publication", func() bool { return strings.Contains(problem(), "role keeper doesn't own it") })
	f.exec("ALTER PUBLICATION freshet OWNER TO keeper; ALTER TABLE b OWNER TO keeper")
	f.until("all is well", func() bool { return problem() == "" && f.cell("a").Covered() && f.cell("b").Covered() })

	f.exec("ALTER TABLE b DROP CONSTRAINT b_pkey")
	f.until("a table without a key isn't covered", func() bool { return !f.cell("b").Covered() })
	if problem() != "" {
		t.Error(problem())
	}
	f.exec("UPDATE b SET v = 1; ALTER TABLE b ADD PRIMARY KEY (id)")
	f.until("one with a key is", func() bool { return f.cell("b").Covered() })
	f.exec("ALTER TABLE b REPLICA IDENTITY NOTHING")
	f.until("nor one with REPLICA IDENTITY NOTHING", func() bool { return !f.cell("b").Covered() })
	f.exec("ALTER TABLE b REPLICA IDENTITY FULL")
	f.until("one with FULL is", func() bool { return f.cell("b").Covered() })

	f.exec("DROP PUBLICATION freshet")
	f.until("without a publication nothing is served", func() bool {
		return !f.table.Serving() && strings.Contains(f.feed.Status().Reason, "run freshet setup")
	})
	f.setup()
	f.until("it comes back by itself", func() bool { return f.table.Serving() && f.cell("b").Covered() })
	if n := log.count("some tables aren't covered"); n < 2 || n > 6 {
		t.Errorf("logged %d times", n)
	}
}
