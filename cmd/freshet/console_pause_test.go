package main

import (
	"context"
	"fmt"
	"testing"
	"time"

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
