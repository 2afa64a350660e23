package main

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// notified waits for the next notification that a client gets.
func notified(t *testing.T, conn *pgx.Conn, payload string) (pid uint32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	if err != nil || n.Payload != payload {
		t.Fatalf("%+v, %v; want %q", n, err, payload)
	}
	return n.PID
}

func notifyExec(t *testing.T, conn *pgx.Conn, sql ...string) {
	t.Helper()
	for _, q := range sql {
		if _, err := conn.Exec(context.Background(), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// A client knows its own notifications by the pid in them, which is the one that it was told, however it listens and notifies.
func TestOwnNotificationsHaveTheClientsPid(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolSize = 2 })
	db := c.NewDatabase(t)
	ctx := context.Background()
	before := in.connect(t, c, db, "")
	for i, script := range [][]string{
		{"LISTEN news", "NOTIFY news, 'mine'"},
		{"LISTEN news; NOTIFY news, 'mine'"},
		{"BEGIN", "LISTEN news", "SELECT 1", "NOTIFY news, 'mine'", "COMMIT"},
		{"LISTEN news", "SELECT pg_notify('news', 'mine')"},
		{"LISTEN news", "BEGIN", "SAVEPOINT s", "NOTIFY news, 'mine'", "RELEASE s", "SELECT 1", "COMMIT"},
		{"LISTEN news", "UNLISTEN *", "SELECT 1", "LISTEN news", "DO $$ BEGIN EXECUTE 'NOTIFY news, ''mine'''; END $$"},
	} {
		// Somebody else notifies over the connections that there are.
		notifyExec(t, before, "NOTIFY news, 'before'", "NOTIFY news, 'before'")
		a := in.connect(t, c, db, "")
		notifyExec(t, a, script...)
		if pid := notified(t, a, "mine"); pid != a.PgConn().PID() {
			t.Errorf("script %d: it came from %d: the client's pid is %d", i, pid, a.PgConn().PID())
		}
		// What was sent in one pipeline with what listens.
		batch := &pgx.Batch{}
		batch.Queue("LISTEN more")
		batch.Queue("SELECT pg_notify('more', $1)", "piped")
		if err := a.SendBatch(ctx, batch).Close(); err != nil {
			t.Fatal(err)
		}
		if pid := notified(t, a, "piped"); pid != a.PgConn().PID() {
			t.Errorf("script %d, pipeline: it came from %d: the client's pid is %d", i, pid, a.PgConn().PID())
		}
		notifyExec(t, before, "NOTIFY news, 'theirs'")
		if pid := notified(t, a, "theirs"); pid == a.PgConn().PID() {
			t.Errorf("script %d: another's notification came from the client's own pid", i)
		}
		a.Close(ctx)
	}
}

// Another client's notification tells the pid that that client was told, however it was sent.
func TestNotificationsOfOthersHaveTheirPids(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	db := c.NewDatabase(t)
	ctx := context.Background()
	a := in.connect(t, c, db, "")
	notifyExec(t, a, "CREATE TABLE told (id int PRIMARY KEY, words text)",
		"CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY news, 'theirs'; RETURN NEW; END $$",
		"CREATE CONSTRAINT TRIGGER tell AFTER INSERT ON told DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell()",
		"LISTEN news")
	for i, script := range [][]string{
		{"NOTIFY news, 'theirs'"},
		{"SELECT pg_notify('news', 'theirs')"},
		{"BEGIN", "NOTIFY news, 'theirs'", "SELECT 1", "COMMIT"},
		{"INSERT INTO told VALUES (1)"},
		{"WITH x AS (INSERT INTO told VALUES (2) RETURNING id) SELECT * FROM x"},
		{"BEGIN", "INSERT INTO told VALUES (3)", "SELECT 1", "COMMIT"},
	} {
		b := in.connect(t, c, db, "")
		// The connection may be one that another client has just used to notify, and then it isn't known at once whose it was. That
		// nobody is told something wrong meanwhile is below.
		var pid uint32
		for try := 0; pid != b.PgConn().PID(); try++ {
			if try == 100 {
				t.Fatalf("script %d: it came from %d: the sender's pid is %d", i, pid, b.PgConn().PID())
			}
			if try > 0 {
				notifyExec(t, b, "DELETE FROM told")
				time.Sleep(20 * time.Millisecond) // the time that has to pass without other senders
			}
			notifyExec(t, b, script...)
			pid = notified(t, a, "theirs")
		}
		b.Close(ctx)
	}
	// Who isn't a client of Freshet is known by the server process.
	past, err := pgx.Connect(ctx, c.Primary().URL(db))
	if err != nil {
		t.Fatal(err)
	}
	defer past.Close(ctx)
	notifyExec(t, past, "NOTIFY news, 'past'")
	if pid := notified(t, a, "past"); pid != past.PgConn().PID() {
		t.Errorf("it came from %d; the server process is %d", pid, past.PgConn().PID())
	}
}

// Two clients whose statements take turns on one server connection: a notification tells its sender's pid, or the server process', but never
// the other client's.
func TestNotificationsOfOthersAreNotMixedUp(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolSize = 2 })
	db := c.NewDatabase(t)
	a := in.connect(t, c, db, "")
	notifyExec(t, a, "LISTEN news")
	senders := []*pgx.Conn{in.connect(t, c, db, ""), in.connect(t, c, db, "")}
	pids := map[uint32]int{a.PgConn().PID(): -1, senders[0].PgConn().PID(): 0, senders[1].PgConn().PID(): 1}
	for i := range 40 {
		from := i % 2
		notifyExec(t, senders[from], "NOTIFY news, 'x'")
		if pid := notified(t, a, "x"); pid >= 1<<24 {
			if who, ok := pids[pid]; !ok || who != from {
				t.Fatalf("notification %d came from %d, which is client %d; it was sent by %d", i, pid, who, from)
			}
		}
	}
}
