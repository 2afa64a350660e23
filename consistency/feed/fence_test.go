package feed

import (
	"errors"
	"testing"

	"github.com/freshet/freshet/consistency"
)

// hide has commits wait for a synchronous standby that doesn't exist: they are in the WAL, and applied by the feed, but not
// visible. show ends it.
func (f *fixture) hide() (show func()) {
	f.Helper()
	f.must(f.c.Primary().Set(f.Context(), "synchronous_standby_names", "nobody"))
	shown := false
	show = func() {
		if !shown {
			shown = true
			f.must(f.c.Primary().Set(f.Context(), "synchronous_standby_names", ""))
		}
	}
	f.until("the setting is in force", func() bool { return f.value("current_setting('synchronous_standby_names')") == "nobody" })
	return show
}

// hidden runs a change that will wait, and returns when the feed has applied it. done is closed when it has been acknowledged.
func (f *fixture) hidden(sql, table string) (done chan struct{}) {
	f.Helper()
	conn := f.connect(f.c.Primary())
	f.until("the setting is in force there", func() bool {
		return f.valueOn(conn, "current_setting('synchronous_standby_names')") == "nobody"
	})
	before := f.cell(table).Seq()
	done = make(chan struct{})
	go func() {
		defer close(done)
		if _, err := conn.PgConn().Exec(f.Context(), sql).ReadAll(); err != nil {
			f.Errorf("%s: %v", sql, err)
		}
	}()
	f.until("the feed applies a commit that isn't visible", func() bool { return f.cell(table).Seq() > before })
	return done
}

func TestFillOnThePrimaryDoesNotContainACommitThatWaitsForASynchronousStandby(t *testing.T) {
	f := newFixture(t, tables("a", "b"))
	reader := f.connect(f.c.Primary())
	f.execOn(reader, "SET synchronous_commit = local")
	show := f.hide()
	defer show()
	done := f.hidden("UPDATE a SET v = 7 WHERE id = 1", "a")

	p := f.probe(reader)
	if v := f.valueOn(reader, "SELECT v FROM a WHERE id = 1"); v != "0" {
		t.Fatalf("the commit is visible: v = %s. The test tests nothing", v)
	}
	if f.fresh(p, "a") {
		t.Error("an answer without a commit that the feed has applied is judged to contain it")
	}
	// A later commit of the same table is visible: the newest isn't the one that is missing.
	f.execOn(reader, "UPDATE a SET v = 8 WHERE id = 2")
	f.applied()
	p = f.probe(reader)
	if v := f.valueOn(reader, "SELECT string_agg(v::text, ' ' ORDER BY id) FROM a"); v != "0 8" {
		t.Fatalf("v = %s. The test tests nothing", v)
	}
	if f.fresh(p, "a") {
		t.Error("an answer is judged by the newest commit of the table, and an older one is missing")
	}
	if !f.fresh(p, "b") {
		t.Error("an answer about what wasn't touched is refused")
	}
	late := f.probe(reader)
	show()
	<-done
	if f.fresh(late, "a") {
		t.Error("an old answer becomes fresh when the commit becomes visible")
	}
	p = f.probe(reader)
	if v := f.valueOn(reader, "SELECT v FROM a WHERE id = 1"); v != "7" || !f.fresh(p, "a") {
		t.Errorf("v = %s, and it is judged not to contain that", v)
	}
}

func TestFillOnAReplicaContainsWhatThatHasReplayed(t *testing.T) {
	f := newFixture(t, tables("a", "b"))
	replica := f.c.Replicas()[0]
	f.must(f.c.WaitCaughtUp(f.Context()))
	reader := f.connect(replica)
	f.must(replica.PauseReplay(f.Context()))
	defer func() { f.must(replica.ResumeReplay(f.Context())) }()
	f.exec("UPDATE a SET v = 7")
	f.applied()
	p := f.probe(reader)
	if !p.OnReplica {
		t.Fatal("the probe takes it for a primary")
	}
	if v := f.valueOn(reader, "SELECT v FROM a WHERE id = 1"); v != "0" {
		t.Fatalf("v = %s: it replays. The test tests nothing", v)
	}
	if f.fresh(p, "a") {
		t.Error("an answer of a replica that lags is judged to contain what it hasn't replayed")
	}
	if !f.fresh(p, "b") {
		t.Error("an answer about what wasn't touched is refused")
	}
	f.must(replica.ResumeReplay(f.Context()))
	f.must(f.c.WaitCaughtUp(f.Context()))
	p = f.probe(reader)
	if v := f.valueOn(reader, "SELECT v FROM a WHERE id = 1"); v != "7" || !f.fresh(p, "a") {
		t.Errorf("v = %s, and it is judged not to contain that", v)
	}
}

// A replica that hasn't come to where the feed began might lack commits that the feed never saw.
func TestFillOnAReplicaFromBeforeTheFeedBeganIsRefused(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	replica := f.c.Replicas()[0]
	f.must(f.c.WaitCaughtUp(f.Context()))
	reader := f.connect(replica)
	f.must(replica.PauseReplay(f.Context()))
	defer func() { f.must(replica.ResumeReplay(f.Context())) }()
	f.exec("UPDATE a SET v = 7")
	f.start(Config{})
	f.covers()
	p := f.probe(reader)
	if v := f.valueOn(reader, "SELECT v FROM a WHERE id = 1"); v != "0" {
		t.Fatalf("v = %s: it replays. The test tests nothing", v)
	}
	if seq, err := f.table.Contains(p); !errors.Is(err, consistency.ErrTooOld) {
		t.Errorf("judged to contain up to %d (%v)", seq, err)
	}
}

// A commit can be hidden for as long as a feed, the next one, and its slot live: its record is before the place where the
// second takes up the stream, so that one never hears of it.
func TestFillIsRefusedWhileACommitFromBeforeTheFeedIsHidden(t *testing.T) {
	const slot = "freshet_hidden_test"
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.start(Config{Slot: slot})
	defer f.dropSlot(slot)
	f.covers()
	reader := f.connect(f.c.Primary())
	f.execOn(reader, "SET synchronous_commit = local")
	show := f.hide()
	defer show()
	done := f.hidden("UPDATE a SET v = 7", "a")
	passed := f.table.Position()
	f.until("the server knows that we have got that", func() bool {
		return f.value("SELECT confirmed_flush_lsn >= '"+passed.String()+"' FROM pg_replication_slots WHERE slot_name = '"+slot+"'") == "true"
	})
	f.stop()

	f.start(Config{Slot: slot})
	defer f.stop()
	f.until("serving", func() bool { return f.table.Serving() })
	p := f.probe(reader)
	if v := f.valueOn(reader, "SELECT v FROM a WHERE id = 1"); v != "0" {
		t.Fatalf("v = %s. The test tests nothing", v)
	}
	if _, err := f.table.Contains(p); !errors.Is(err, consistency.ErrTooOld) {
		t.Errorf("judged, with %v", err)
	}
	show()
	<-done
	f.covers()
	p = f.probe(reader)
	if v := f.valueOn(reader, "SELECT v FROM a WHERE id = 1"); v != "7" || !f.fresh(p, "a") {
		t.Errorf("v = %s, and it is judged not to contain that", v)
	}
}

func (f *fixture) dropSlot(slot string) {
	f.Helper()
	f.stop()
	f.until("the slot is free", func() bool {
		return f.value("SELECT active FROM pg_replication_slots WHERE slot_name = '"+slot+"'") != "true"
	})
	f.exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '" + slot + "'")
}
