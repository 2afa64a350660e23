package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/proxy"
)

// TestConsolePauses: transactions finish, what needs a server waits (however short --query-timeout is), no server connection is
// left, and RESUME lets all go.
func TestConsolePauses(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Cache, cfg.PoolWait = "off", time.Minute })
	db := c.NewDatabase(t)
	ctx := context.Background()
	console, watcher := in.consoleOf(t, c), in.consoleOf(t, c)
	inTx, waits, cancelled := in.connect(t, c, db, "&default_query_exec_mode=simple_protocol"), in.connect(t, c, db, ""), in.connect(t, c, db, "")
	do(t, inTx, "BEGIN")
	do(t, inTx, "CREATE TABLE x (a int)")
	run := func(fn func() error) chan error {
		ch := make(chan error, 1)
		go func() { ch <- fn() }()
		return ch
	}
	waiting := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprint(n, " statements wait for RESUME"), func() bool {
			got := 0
			for _, row := range rowsOf(t, watcher, "SHOW CLIENTS") {
				if row["waits_for"] == "RESUME" && row["state"] == "waiting" {
					got++
				}
			}
			return got == n
		})
	}

	paused := run(func() error { _, err := console.Exec(ctx, "PAUSE "+db); return err })
	eventually(t, "it is paused", func() bool { return in.databases.Get(db).Paused() })
	in.server.SetLimits(proxy.Limits{Query: 50 * time.Millisecond})
	answered := run(func() error { _, err := waits.Exec(ctx, "SELECT 1"); return err })
	short, cancel := context.WithCancel(ctx)
	gone := run(func() error { _, err := cancelled.Exec(short, "SELECT 1"); return err })
	waiting(2)
	cancel()
	if err := <-gone; err == nil {
		t.Error("a cancelled statement was answered")
	}
	waiting(1)
	in.server.SetLimits(proxy.Limits{})
	do(t, inTx, "INSERT INTO x VALUES (1)") // goes on
	select {
	case err := <-paused:
		t.Fatalf("PAUSE returns while a transaction runs: %v", err)
	default:
	}
	in.server.SetLimits(proxy.Limits{Query: 50 * time.Millisecond})
	time.Sleep(300 * time.Millisecond) // it is to expire, several times over
	waiting(1)
	in.server.SetLimits(proxy.Limits{})
	for _, p := range in.server.Stats().Pools {
		if p.Database == db && p.Waiting > 0 {
			t.Error("it waits in a pool, where --pool-wait would end it")
		}
	}
	do(t, inTx, "COMMIT")
	if err := <-paused; err != nil {
		t.Fatalf("PAUSE: %v", err)
	}
	for _, p := range in.server.Stats().Pools {
		if p.Database == db && p.Total != 0 {
			t.Errorf("%d connections to %s are left", p.Total, p.Node)
		}
	}
	select {
	case err := <-answered:
		t.Fatalf("a statement was answered by a paused database: %v", err)
	default:
	}
	do(t, console, "RESUME "+db)
	if err := <-answered; err != nil {
		t.Errorf("after RESUME: %v", err)
	}
	if got := one(t, inTx, "SELECT count(*) FROM x"); got != "1" {
		t.Error(got)
	}
	for command, want := range map[string]string{"RESUME " + db: "55000", "RESUME": "55000", "PAUSE nowhere": "3D000", "RESUME nowhere": "3D000", "PAUSE a b": "42601"} {
		if _, err := console.Exec(ctx, command); sqlstate(err) != want {
			t.Errorf("%s: %v", command, err)
		}
	}

	// Who gives PAUSE up while it waits, has done nothing.
	do(t, inTx, "BEGIN")
	do(t, inTx, "INSERT INTO x VALUES (2)")
	paused = run(func() error { _, err := console.Exec(ctx, "PAUSE"); return err })
	eventually(t, "it is paused", func() bool { return in.databases.Get(db).Paused() })
	answered = run(func() error { _, err := waits.Exec(ctx, "SELECT 1"); return err })
	waiting(1)
	if err := console.PgConn().CancelRequest(ctx); err != nil {
		t.Error(err)
	}
	if err := <-paused; sqlstate(err) != "57014" {
		t.Errorf("PAUSE that is cancelled: %v", err)
	}
	if err := <-answered; err != nil {
		t.Errorf("afterwards: %v", err)
	}
	do(t, inTx, "ROLLBACK")
}

// TestConsolePausesLogins: who connects to a paused database is let in if one like it has been before, and waits if not; with --pool-mode session
// all wait. No server is asked meanwhile, who goes is gone, and RESUME lets all in.
func TestConsolePausesLogins(t *testing.T) {
	c := shared.Get(t)
	for _, mode := range []proxy.PoolMode{proxy.PoolTransaction, proxy.PoolSession} {
		t.Run(string(mode), func(t *testing.T) {
			in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Cache, cfg.PoolMode = "off", string(mode) })
			db := c.NewDatabase(t)
			console := in.consoleOf(t, c)
			type login struct {
				conn *pgx.Conn
				err  error
			}
			comes := func(ctx context.Context, name string) chan login {
				ch := make(chan login, 1)
				url := "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/" + db + "?sslmode=disable&application_name=" + name
				go func() {
					conn, err := pgx.Connect(ctx, url)
					ch <- login{conn, err}
				}()
				return ch
			}
			enters := func(ch chan login) *pgx.Conn {
				t.Helper()
				select {
				case l := <-ch:
					if l.err != nil {
						t.Fatal(l.err)
					}
					t.Cleanup(func() { l.conn.Close(context.Background()) })
					return l.conn
				case <-time.After(30 * time.Second):
					t.Fatal("it isn't let in")
				}
				return nil
			}
			ctx := context.Background()
			enters(comes(ctx, "known")).Close(ctx)
			eventually(t, "it is gone", func() bool { return in.server.Stats().Clients == 1 })
			do(t, console, "PAUSE "+db)

			waiting := []chan login{comes(ctx, "new"), comes(ctx, "new"), comes(ctx, "other")}
			known, inside := comes(ctx, "known"), 0
			var answered chan error
			if mode == proxy.PoolTransaction {
				conn := enters(known)
				answered = make(chan error, 1)
				go func() { _, err := conn.Exec(ctx, "SELECT 1"); answered <- err }()
				eventually(t, "its statement waits", func() bool {
					for _, row := range rowsOf(t, console, "SHOW CLIENTS") {
						if row["application_name"] == "known" && row["waits_for"] == "RESUME" {
							return true
						}
					}
					return false
				})
				inside = 1
			} else {
				waiting = append(waiting, known)
			}
			eventually(t, "all have come", func() bool { return in.server.Stats().Clients == int64(1+inside+len(waiting)) })
			brief, leave := context.WithCancel(ctx)
			gone := comes(brief, "gone")
			eventually(t, "one more has come", func() bool { return in.server.Stats().Clients == int64(2+inside+len(waiting)) })
			leave()
			if l := <-gone; l.err == nil {
				t.Error("one that had gone was let in")
			}
			eventually(t, "it is gone", func() bool { return in.server.Stats().Clients == int64(1+inside+len(waiting)) })
			n, err := c.Primary().Value(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+db+"' AND application_name IN ('known', 'new', 'other', 'gone')")
			if err != nil || n != "0" {
				t.Errorf("%s server connections while it is paused: %v", n, err)
			}
			for _, ch := range waiting {
				select {
				case l := <-ch:
					t.Fatalf("one got its answer while the database was paused: %v", l.err)
				default:
				}
			}
			do(t, console, "RESUME "+db)
			for _, ch := range waiting {
				if got := one(t, enters(ch), "SELECT 1"); got != "1" {
					t.Error(got)
				}
			}
			if answered != nil {
				if err := <-answered; err != nil {
					t.Error(err)
				}
			}
		})
	}
}
