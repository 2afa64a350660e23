package main

import (
	"context"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/consistency"
)

// A transaction of a million rows: while it runs and while it is decoded reads go on, nothing is staler than the bound, the feed takes no memory for
// its rows, and at the end the answers about it are right, and those about other tables still cached.
func TestHazard09TransactionOfAMillionRows(t *testing.T) {
	const bound = 500 * time.Millisecond
	c := shared.Get(t)
	db := c.NewDatabase(t)
	if err := c.Primary().ExecIn(t.Context(), db, `
		CREATE TABLE big(id int NOT NULL); -- without an index it is made in a second
		ALTER TABLE big REPLICA IDENTITY FULL;
		CREATE TABLE small(id int PRIMARY KEY, v int NOT NULL);
		INSERT INTO small SELECT i, 0 FROM generate_series(1, 10) i`); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.MaxStaleness = bound })
	covered(t, c, in, db)
	conn := in.connect(t, c, db, "")
	direct := func() *pgx.Conn {
		conn, err := c.Primary().Connect(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	writer, other := direct(), direct()
	table := in.databases.Get(db).Table
	count := func() string {
		return one(t, conn, "SELECT count(*) FROM big WHERE id = ANY ($1)", []int32{1, 500_000, 1_000_000})
	}
	small := func() string { return one(t, conn, "SELECT v FROM small WHERE id = $1", 1) }
	eventually(t, "both are cached", func() bool {
		count()
		both := source(t, conn) == "l1"
		small()
		return both && source(t, conn) == "l1"
	})

	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most := live(), uint64(0)
	committed := make(chan error, 1)
	go func() {
		_, err := writer.Exec(context.Background(), "INSERT INTO big SELECT generate_series(1, 1000000)")
		committed <- err
	}()
	// What others write meanwhile is seen within the bound, whoever has to answer for it.
	v, reads, over := 0, 0, false
	look := func() {
		t.Helper()
		v++
		do(t, other, "UPDATE small SET v = $1 WHERE id = 1", v)
		at := time.Now()
		for ; time.Since(at) <= bound; time.Sleep(50 * time.Millisecond) { // the bound has to pass
			small()
			reads++
		}
		if got := small(); got != strconv.Itoa(v) {
			t.Errorf("%v after it was acknowledged, %s instead of %d is read, from %s", bound, got, v, source(t, conn))
		}
		most = max(most, live())
	}
	for !over {
		select {
		case err := <-committed:
			if err != nil {
				t.Fatal(err)
			}
			over = true
		default:
		}
		look()
	}
	lsn, err := consistency.ParseLSN(one(t, other, "SELECT ("+consistency.PositionSQL+")::text"))
	if err != nil {
		t.Fatal(err)
	}
	do(t, other, "UPDATE small SET v = v") // so that the position is reached
	begun := time.Now()
	for table.Position() < lsn {
		if time.Since(begun) > 5*time.Minute {
			t.Fatalf("the feed is at %v and not at %v five minutes after the commit", table.Position(), lsn)
		}
		look()
	}
	t.Logf("the feed has got there %v after the commit; %d reads; %d KiB more in use at most", time.Since(begun).Round(time.Millisecond), reads, (int64(most)-int64(before))/1024)
	if most > before+16<<20 {
		t.Errorf("%d bytes were in use, %d before", most, before)
	}
	if got := count(); got != "3" {
		t.Errorf("%s of 3 rows are there", got)
	}
	eventually(t, "cached again", func() bool { return count() == "3" && source(t, conn) == "l1" })
}
