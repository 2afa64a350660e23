package main

import (
	"context"
	"strings"
	"testing"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/wire"
)

// HAZARD 2, 22: a client that vanishes in a transaction leaves no locks behind, also when a statement of it runs, which would go on for long.
func TestHazard02TheTransactionOfAVanishedClientEndsAtOnce(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	for _, running := range []string{"", "SELECT pg_sleep(600)", "UPDATE k SET v = v WHERE a = 2 AND pg_sleep(600) IS NOT NULL"} {
		conn := dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
		conn.send(t, wire.AppendQuery(nil, "BEGIN"))
		conn.send(t, wire.AppendQuery(nil, "UPDATE k SET v = -1 WHERE a = 1"))
		conn.replies(t, 2)
		if running != "" {
			conn.send(t, wire.AppendQuery(nil, running))
		}
		eventually(t, "it runs", func() bool {
			return running == "" || activity(t, c, db, "active") == 1
		})
		conn.conn.Close()
		eventually(t, "the transaction is over: "+running, func() bool { return activity(t, c, db, "active")+inTransaction(t, c, db) == 0 })
		other := in.connect(t, c, db, "")
		do(t, other, "UPDATE k SET v = v WHERE a = 1") // nobody holds the lock
		if got := one(t, other, "SELECT v FROM k WHERE a = 1"); got != "1" {
			t.Errorf("%q: it isn't rolled back: %s", running, got)
		}
	}
}

func activity(t testing.TB, c *cluster.Cluster, db, state string) (n int) {
	t.Helper()
	conn, err := c.Primary().Connect(context.Background(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	err = conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state = $2 AND query LIKE '%pg_sleep(600)%'", db, state).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// HAZARD 22: a READ ONLY transaction that loses its replica fails, in words, and its session goes on.
func TestHazard22ATransactionThatLosesItsReplicaFails(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	for _, idle := range []bool{true, false} {
		conn := in.connect(t, c, db, simpleProtocol)
		eventually(t, "a READ ONLY transaction begins on a replica", func() bool {
			do(t, conn, "COMMIT")
			do(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
			one(t, conn, "SELECT v FROM k WHERE a = 1")
			return strings.HasPrefix(source(t, conn), "replica ")
		})
		kill := func() {
			for _, r := range c.Replicas() {
				if err := r.Exec(context.Background(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+db+"' AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name NOT LIKE 'freshet%'"); err != nil {
					t.Fatal(err)
				}
			}
		}
		sql := "SELECT v FROM k WHERE a = 1"
		if idle {
			kill()
			eventually(t, "it is known", func() bool { return try(conn, sql) != nil })
		} else {
			done := make(chan error, 1)
			go func() { done <- try(conn, "SELECT count(*) FROM k a, k b, k c, k d, k e") }()
			kill()
			if err := <-done; code(err) != "40001" {
				t.Errorf("while a statement runs: %v", err)
			}
		}
		if status(conn) != 'E' {
			t.Errorf("status %c", status(conn))
		}
		do(t, conn, "ROLLBACK")
		if one(t, conn, sql) != "1" {
			t.Error("the session doesn't go on")
		}
	}
}
