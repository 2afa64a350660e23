package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// Above READ COMMITTED a query shares the snapshot of what its transaction has asked before it, so a fill's probe has to have a
// transaction of its own there. Such sessions use the cache like others.
func TestFillsAboveReadCommitted(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	covered(t, c, in, db)
	for _, isolation := range []string{"read%20committed", "repeatable%20read"} {
		for _, mode := range []string{"", simpleProtocol} {
			conn := in.connect(t, c, db, mode+"&default_transaction_isolation="+isolation)
			for range 3 {
				before := cachedBy(t, conn, "SELECT v FROM k WHERE a = 1")
				if err := c.Primary().ExecIn(ctx, db, "UPDATE k SET v = v + 1"); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the write is seen", func() bool { return one(t, conn, "SELECT v FROM k WHERE a = 1") != before })
			}
		}
	}
}

// A user who may not ask what a fill's probe asks, and what is asked after its query, gets answers all the same.
func TestAFailingProbeOnlyCostsTheCache(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	// The privileges on a server's own functions belong to the database.
	if err := c.Primary().ExecIn(ctx, db, `CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 7); GRANT SELECT ON k TO `+cluster.App+`;
		REVOKE EXECUTE ON FUNCTION pg_current_snapshot() FROM PUBLIC; REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM PUBLIC`); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Replica = nil })
	covered(t, c, in, db)
	written := 0
	for _, mode := range []string{"", simpleProtocol} {
		conn, err := pgx.Connect(ctx, "postgres://"+cluster.App+":"+c.AppPassword()+"@"+in.Addrs()[0]+"/"+db+"?sslmode=disable"+mode)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		for i := range 50 {
			if i%10 == 5 { // or the probe isn't needed
				written++
				if err := c.Primary().ExecIn(ctx, db, fmt.Sprintf("INSERT INTO k VALUES (%d, 0)", 1+written)); err != nil {
					t.Fatal(err)
				}
			}
			if got := one(t, conn, "SELECT v FROM k WHERE a = 1"); got != "7" {
				t.Fatal(got)
			}
			if from := source(t, conn); !strings.HasPrefix(from, "primary") {
				t.Fatalf("answered by %s", from)
			}
		}
	}
}
