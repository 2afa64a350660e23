package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

// sessionMode is a database behind --pool-mode session.
func sessionMode(t *testing.T, size int, wait time.Duration) (*cluster.Cluster, *instance, string) {
	t.Helper()
	return txDatabase(t, func(cfg *ServeConfig) {
		cfg.PoolMode, cfg.PoolSize, cfg.PoolWait = "session", size, wait
	})
}

// With --pool-mode session the client is told the process id of a server connection that is its own, whatever it does there; reads that may come from
// the cache or replicas still do.
func TestPoolModeSessionKeepsOneServerConnection(t *testing.T) {
	c, in, db := sessionMode(t, 10, 20*time.Second)
	conn := in.connect(t, c, db, "&options=-c%20work_mem%3D7MB%20-c%20freshet.consistency%3Dstrong&application_name=mine"+simpleProtocol)
	pid := fmt.Sprint(conn.PgConn().PID())
	for _, sql := range []string{
		"SHOW work_mem", "CREATE TABLE made(a serial, b int)", "INSERT INTO made(b) VALUES (1)", "SET work_mem = '9MB'", "SELECT pg_advisory_lock(4711)",
		"SELECT pg_advisory_unlock(4711)", "BEGIN", "CREATE TEMPORARY TABLE mine(a int)", "COMMIT", "DROP TABLE mine", "PREPARE p AS SELECT 1", "DEALLOCATE ALL",
		"LISTEN there", "UNLISTEN *", "SELECT setseed(0.5)", "DISCARD ALL", "LOAD 'plpgsql'",
	} {
		if got := one(t, conn, "SELECT pg_backend_pid()"); got != pid {
			t.Fatalf("before %s: process %s, the client was told %s", sql, got, pid)
		}
		do(t, conn, sql)
	}
	if got := one(t, conn, "SELECT pg_backend_pid()"); got != pid {
		t.Errorf("at the end: %s, not %s", got, pid)
	}
	for sql, want := range map[string]string{
		"SHOW work_mem":            "7MB", // what DISCARD ALL goes back to
		"SELECT lastval()":         "1",
		"SELECT b FROM made":       "1",
		"SHOW freshet.consistency": "strong",
		"SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()": "mine",
	} {
		if sql == "SELECT lastval()" {
			do(t, conn, "INSERT INTO made(b) VALUES (2)")
			want = "2"
		}
		if sql == "SELECT b FROM made" {
			sql = "SELECT min(b) FROM made"
		}
		if got := one(t, conn, sql); got != want {
			t.Errorf("%s: %s, not %s", sql, got, want)
		}
	}
	other := in.connect(t, c, db, "")
	cachedBy(t, other, "SELECT v FROM k WHERE a = 1")
	do(t, other, "UPDATE k SET v = 4711 WHERE a = 1")
	if got := one(t, other, "SELECT v FROM k WHERE a = 1"); got != "4711" {
		t.Errorf("its own write is missing: %s", got)
	}
	if got, want := one(t, other, "SELECT pg_backend_pid()"), fmt.Sprint(other.PgConn().PID()); got != want || got == pid {
		t.Errorf("process %s, the client was told %s; another has %s", got, want, pid)
	}
}

// HAZARDS 4: with --pool-mode session everybody can name a server process: requests to cancel still need the secret, and reach who is meant.
func TestHazard04SessionsOfTheirOwnAreCancelledByPidAndKey(t *testing.T) {
	c, in, db := sessionMode(t, 10, 20*time.Second)
	ctx := context.Background()
	victim, bystander, admin := in.connect(t, c, db, ""), in.connect(t, c, db, ""), in.connect(t, c, db, "")
	other := make(chan error, 1)
	go func() { other <- try(bystander, "SELECT pg_sleep(600)") }()
	for name, cancel := range map[string]func() error{
		"pg_cancel_backend": func() error {
			_, err := admin.Exec(ctx, "SELECT pg_cancel_backend($1)", victim.PgConn().PID())
			return err
		},
		"CancelRequest": func() error { return victim.PgConn().CancelRequest(ctx) },
	} {
		done := make(chan error, 1)
		go func() { done <- try(victim, "SELECT pg_sleep(600)") }()
		eventually(t, "both run", func() bool { return activity(t, c, db, "active") == 2 })
		if err := cancel(); err != nil {
			t.Error(name, err)
		}
		if err := <-done; code(err) != "57014" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := victim.PgConn().CancelRequest(ctx); err != nil { // nothing runs, and nothing is hit
		t.Error(err)
	}
	do(t, victim, "SELECT 1")
	// Ended by an administrator, idle and busy: the client has the server's words.
	idle := dialWire(t, ctx, in.Addrs()[0], db, c.Password())
	defer idle.conn.Close()
	direct := connectTo(t, c.Primary().URL(db))
	terminate := func(where string) {
		do(t, direct, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+db+"' AND backend_type = 'client backend' AND application_name NOT LIKE 'freshet%' AND pid <> pg_backend_pid() AND "+where)
	}
	terminate("query LIKE '%pg_sleep(600)%'")
	if err := <-other; code(err) != "57P01" {
		t.Errorf("while it runs: %v", err)
	}
	terminate("true")
	if got := idle.replies(t, 1); !strings.HasPrefix(got, "E FATAL 57P01") || !strings.HasSuffix(got, "closed\n") {
		t.Errorf("idle: %s", got)
	}
	eventually(t, "nobody goes on without a server connection", func() bool { return try(victim, "SELECT 1") != nil && victim.IsClosed() })
}

// HAZARDS 5, 6: what a client has left on its server connection isn't there for the next one.
func TestHazard05NothingIsLeftOnASessionsConnection(t *testing.T) {
	c, in, db := sessionMode(t, 1, 20*time.Second)
	ctx := context.Background()
	connect := func() *pgx.Conn {
		return in.connect(t, c, db, simpleProtocol)
	}
	for _, tc := range []struct {
		sql  string
		same bool // the connection is used again
	}{
		{"SELECT 1", true},
		{"SET work_mem = '9MB'", true},
		{"SET ROLE app", true},
		{"BEGIN; SELECT txid_current(); COMMIT", true},
		{"CREATE TEMPORARY TABLE k(a int)", false},
		{"SELECT setseed(0.5)", false},
		{"PREPARE p AS SELECT 1", true},
		{"SELECT pg_advisory_lock(4711)", false},
		{"LISTEN there", false},
		{"BEGIN; UPDATE k SET v = -1", false},
	} {
		conn := connect()
		pid := conn.PgConn().PID()
		do(t, conn, tc.sql)
		if err := conn.Close(ctx); err != nil {
			t.Error(err)
		}
		next := connect() // waits for the only place
		if same := next.PgConn().PID() == pid; same != tc.same {
			t.Errorf("after %q: the same server connection: %v", tc.sql, same)
		}
		const left = `SELECT current_setting('work_mem') || ' ' || current_user || ' ' || pg_my_temp_schema() || ' ' || (SELECT count(*) FROM pg_listening_channels())
			|| ' ' || (SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'freshet%') || ' ' || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) || ' ' || (SELECT count(v) FROM k WHERE v = -1)`
		if got := one(t, next, left); got != "4MB postgres 0 0 0 0 0" {
			t.Errorf("after %q: %s", tc.sql, got)
		}
		next.Close(ctx)
	}
}

// HAZARDS 17: who finds no server connection free waits, for --pool-wait, and is told; who leaves makes room.
func TestHazard17SessionsOfTheirOwnWaitForAPlace(t *testing.T) {
	c, in, db := sessionMode(t, 1, time.Second)
	first := in.connect(t, c, db, "")
	url := "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/" + db + "?sslmode=disable"
	_, err := pgconn.Connect(context.Background(), url)
	if code(err) != "53300" || !strings.Contains(err.Error(), "became free") {
		t.Errorf("there is no place: %v", err)
	}
	done := make(chan error, 1)
	came := make(chan struct{})
	go func() {
		eventually(t, "a place", func() bool {
			select {
			case <-came:
			default:
				close(came)
			}
			conn, err := pgconn.Connect(context.Background(), url)
			if err == nil {
				done <- conn.Close(context.Background())
			}
			return err == nil
		})
	}()
	<-came
	first.Close(context.Background())
	if err := <-done; err != nil {
		t.Error(err)
	}
}
