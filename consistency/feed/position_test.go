package feed

import (
	"fmt"
	"testing"
	"time"

	"github.com/freshet/freshet/consistency"
)

// position asks what the position clock asks, in both of its forms, which have to agree.
func (f *fixture) position() consistency.LSN {
	f.Helper()
	whole := func() consistency.LSN {
		lsn, err := consistency.ParseLSN(f.value(consistency.PositionSQL))
		f.must(err)
		return lsn
	}
	for {
		before := whole()
		var insert, segment, block string
		f.must(f.conn.QueryRow(f.Context(), consistency.PositionPartsSQL).Scan(&insert, &segment, &block))
		after := whole()
		if before != after {
			continue // something was written
		}
		lsn, err := consistency.ParseLSN(insert)
		f.must(err)
		if got := consistency.PositionOf(lsn, []byte(segment), []byte(block)); got != before {
			f.Fatalf("the position is %s; of its parts %s, %s and %s: %s", before, insert, segment, block, got)
		}
		return before
	}
}

func (f *fixture) insertLSN() consistency.LSN {
	f.Helper()
	lsn, err := consistency.ParseLSN(f.value("pg_current_wal_insert_lsn()"))
	f.must(err)
	return lsn
}

// reached waits until replica and feed have come to a position, with nothing written meanwhile.
func (f *fixture) reached(lsn consistency.LSN) {
	f.Helper()
	f.until("the feed reaches "+lsn.String(), func() bool { return f.table.Position() >= lsn })
	f.must(f.c.Replicas()[0].WaitReplayed(f.Context(), lsn.String()))
}

// quiet switches off what writes WAL by itself.
func (f *fixture) quiet() {
	f.Helper()
	f.exec("CHECKPOINT")
	f.applied()
	f.reached(f.position())
}

// When the last record ends with its page, the insert position is already behind the next page's header: no replica and no
// feed gets there.
func TestPositionIsReachedOnAQuietServerAtTheEndOfAPage(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.quiet()
	const page, header = 8192, 24
	for deadline := time.Now().Add(within); ; {
		if time.Now().After(deadline) {
			t.Fatal("no record ended with its page: something else writes, for longer than an autovacuum")
		}
		// How much more than its content does a message take?
		from := f.insertLSN()
		f.exec("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000))")
		to := f.insertLSN()
		if to/page != from/page {
			continue // there is a page header in between
		}
		overhead := int(to-from) - 1000
		left := page - int(to%page)
		if left < overhead+1000 {
			f.exec(fmt.Sprintf("SELECT pg_logical_emit_message(false, 'x', repeat('x', %d))", left+1000))
			continue
		}
		f.exec(fmt.Sprintf("SELECT pg_logical_emit_message(false, 'x', repeat('x', %d))", left-overhead))
		if f.insertLSN()%page == header {
			break
		}
	}
	insert, position := f.insertLSN(), f.position()
	if position != insert-header {
		t.Fatalf("position %s where the insert position is %s", position, insert)
	}
	f.reached(position)
	if f.insertLSN() == insert && f.table.Position() >= insert {
		t.Error("the insert position can be reached after all: then PositionSQL needs no arithmetic")
	}
}

func TestPositionIsReachedOnAQuietServerAtTheStartOfASegment(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.quiet()
	f.exec("SELECT pg_switch_wal()")
	insert, position := f.insertLSN(), f.position()
	if position >= insert {
		t.Fatalf("position %s, insert position %s. The test tests nothing", position, insert)
	}
	f.reached(position)
}

// What is acknowledged without having been flushed is below the position that is asked for afterwards.
func TestPositionContainsACommitThatIsNotFlushed(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.exec("SET synchronous_commit = off")
	unflushed := 0
	for i := range 5 {
		before := f.cell("a").Seq()
		f.exec(fmt.Sprintf("UPDATE a SET v = %d", i))
		position := f.position()
		flushed, err := consistency.ParseLSN(f.value("pg_current_wal_flush_lsn()"))
		f.must(err)
		if flushed < position {
			unflushed++
		}
		f.until("position", func() bool { return f.table.Position() >= position })
		if f.cell("a").Seq() <= before {
			t.Fatal("the position was reached before the write was applied")
		}
	}
	if unflushed == 0 {
		t.Error("all had been flushed: the test tests nothing")
	}
}

// The records of an open transaction aren't flushed: on a quiet server nobody gets there, unless somebody sees to it.
func TestFlushSQLMakesThePositionReachableDuringAnOpenTransaction(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.quiet()
	other := f.connect(f.c.Primary())
	f.execOn(other, "BEGIN; UPDATE a SET v = 1")
	position := f.position()
	flushed, err := consistency.ParseLSN(f.value("pg_current_wal_flush_lsn()"))
	f.must(err)
	if flushed >= position {
		t.Error("it is flushed by itself: then FlushSQL isn't needed")
	}
	began := time.Now()
	f.exec(consistency.FlushSQL)
	f.reached(position)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("reached after %v: that was the bgwriter, which comes by every 15 s", took)
	}
	f.execOn(other, "ROLLBACK")
}

// With synchronous_standby_names = '*' the feed counts as a synchronous standby, whether that was meant or not.
func TestCommitsThatWaitForTheFeedDoNotWaitLong(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.must(f.c.Primary().Set(f.Context(), "synchronous_standby_names", `FIRST 1 ("freshet feed")`))
	defer func() { f.must(f.c.Primary().Set(f.Context(), "synchronous_standby_names", "")) }()
	f.until("it is in force", func() bool {
		return f.value("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND application_name = 'freshet feed'") == "1"
	})
	const commits = 20
	began := time.Now()
	for i := range commits {
		f.exec(fmt.Sprintf("UPDATE a SET v = %d", i))
	}
	// Without the feed's word when it has applied a commit, they would take as long as its periodic ones, seconds.
	if each := time.Since(began) / commits; each > 250*time.Millisecond {
		t.Errorf("%v each", each)
	}
}

func TestPositionAdvancesWithCommitsThatAreNotCovered(t *testing.T) {
	f := newFixture(t, tables("a")+"CREATE TABLE u (id int); CREATE UNLOGGED TABLE w (id int PRIMARY KEY)")
	a := f.cell("a").Seq()
	for range 5 {
		f.exec("INSERT INTO u VALUES (1)")
		f.reached(f.position())
		// In another database of the cluster.
		f.must(f.c.Primary().Exec(f.Context(), "SELECT pg_logical_emit_message(true, 'x', 'x')"))
		f.reached(f.position())
	}
	if f.cell("a").Seq() != a {
		t.Error("stamped by what others wrote")
	}
}

func TestIdleDatabaseStaysCurrent(t *testing.T) {
	f := newFixture(t, tables("a"))
	f.applied()
	for range 3 {
		now := consistency.Now()
		f.until("AsOf advances though nothing happens", func() bool { return f.table.AsOf() > now })
	}
}
