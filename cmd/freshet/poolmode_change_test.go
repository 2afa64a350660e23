package main

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

// With --pool-mode session, as on Postgres: who is connected goes on by the defaults that there were at its login, who comes gets the new ones.
func TestPoolModeSessionAfterAlterRoleSet(t *testing.T) {
	c, in, db := sessionMode(t, 4, 20*time.Second)
	const user = "changing"
	if err := c.Primary().ExecIn(context.Background(), db, "DROP ROLE IF EXISTS changing; CREATE ROLE changing LOGIN PASSWORD 'p'; GRANT SELECT ON k TO changing"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Primary().ExecIn(context.Background(), db, "DROP OWNED BY changing; DROP ROLE changing"); err != nil {
			t.Error(err)
		}
	})
	url := fmt.Sprintf("postgres://%s:p@%s/%s?sslmode=disable&default_query_exec_mode=simple_protocol", user, in.Addrs()[0], db)
	const date = "SELECT '2020-02-01'::date::text || ' ' || current_setting('work_mem') FROM k WHERE a = 1"
	early, first := connectTo(t, url), connectTo(t, url)
	for range 3 {
		one(t, early, date)
		one(t, first, date)
	}
	admin := in.connect(t, c, db, simpleProtocol)
	own := url + "&freshet.route=primary&freshet.cache=off"
	for _, style := range []string{"German", "SQL"} {
		before := in.databases.Get(db).Defaults()
		do(t, admin, "ALTER ROLE changing SET DateStyle = '"+style+"'; ALTER ROLE changing SET work_mem = '"+map[string]string{"German": "7MB", "SQL": "9MB"}[style]+"'")
		want := map[string]string{"German": "01.02.2020 7MB", "SQL": "02/01/2020 9MB"}[style]
		eventually(t, "the change is known", func() bool { return in.databases.Get(db).Defaults() > before })
		for range 3 {
			late := connectTo(t, own)
			for range 3 { // from wherever
				if got := one(t, late, date); got != want {
					t.Fatalf("after %s a new client gets %s", style, got)
				}
			}
			if got := one(t, late, "SHOW DateStyle"); got[:3] != style[:3] {
				t.Errorf("after %s: %s", style, got)
			}
			late.Close(context.Background())
			for _, sql := range []string{"SELECT 1", "RESET ALL", "DISCARD ALL"} {
				do(t, early, sql)
				if got := one(t, early, date); got != "2020-02-01 4MB" {
					t.Fatalf("after %s and %s who was there before gets %s", style, sql, got)
				}
			}
		}
	}
	// The connection of one who goes isn't given to one who comes.
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		late := connectTo(t, own)
		if got := one(t, late, date); got != "02/01/2020 9MB" {
			t.Fatalf("a new client gets %s", got)
		}
		late.Close(context.Background())
	}
}

// After a failover a client's own server connection is gone: it is told so, and may connect again.
func TestPoolModeSessionAfterAFailover(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolMode, cfg.PoolWait = "session", time.Second })
	clients := map[string]*pgx.Conn{}
	for _, name := range []string{"idle", "writing", "in a transaction"} {
		clients[name] = in.connect(t, c, cluster.App, "")
		do(t, clients[name], "UPDATE k SET v = v + 1")
	}
	do(t, clients["in a transaction"], "BEGIN")
	do(t, clients["in a transaction"], "UPDATE k SET v = 100")
	if err := c.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Primary().Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Replicas()[0].Promote(ctx); err != nil {
		t.Fatal(err)
	}
	for name, conn := range clients {
		_, err := conn.Exec(ctx, "UPDATE k SET v = v + 1")
		var pg *pgconn.PgError
		if err == nil || errors.As(err, &pg) && pg.Severity != "FATAL" {
			t.Errorf("%s: it goes on without its server connection: %v", name, err)
		}
		if !conn.IsClosed() {
			t.Errorf("%s: still connected", name)
		}
	}
	var again *pgx.Conn
	eventually(t, "a client connects to the new primary", func() bool {
		conn, err := pgx.Connect(ctx, "postgres://postgres:"+c.Password()+"@"+in.Addrs()[0]+"/app?sslmode=disable")
		if err != nil {
			return false
		}
		if _, err := conn.Exec(ctx, "UPDATE k SET v = v + 10"); err != nil {
			conn.Close(ctx)
			return false
		}
		again = conn
		return true
	})
	defer again.Close(ctx)
	if got, want := one(t, again, "SELECT pg_backend_pid()"), fmt.Sprint(again.PgConn().PID()); got != want {
		t.Errorf("process %s, the client was told %s", got, want)
	}
	if got := one(t, again, "SELECT v FROM k"); got != "13" {
		t.Errorf("v is %s", got)
	}
}
