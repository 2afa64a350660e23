package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// Reads go on while there is no primary, and everything goes on with a new one; what was cached from the old timeline isn't served.
func TestAPromotedReplicaTakesOver(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolWait = time.Second })
	covered(t, c, in, cluster.App)
	url := "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/app?sslmode=disable"
	conn := in.connect(t, c, cluster.App, "")
	do(t, conn, "UPDATE k SET v = 1")
	if err := c.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	cachedBy(t, conn, "SELECT v FROM k WHERE a = 1")
	holder, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close(ctx)
	do(t, holder, "BEGIN")
	do(t, holder, "UPDATE k SET v = 100")

	old := c.Primary()
	if err := old.Kill(); err != nil {
		t.Fatal(err)
	}
	// HAZARD 22: an error, not silence, for who has a transaction open.
	if _, err := holder.Exec(ctx, "UPDATE k SET v = 101"); err == nil {
		t.Error("a transaction goes on without its server")
	}
	for range 20 {
		if got := one(t, conn, "SELECT v FROM k WHERE a = 1"); got != "1" {
			t.Fatalf("without a primary: %s from %s", got, source(t, conn))
		}
		time.Sleep(20 * time.Millisecond) // long enough for the loss of the primary to be noticed on the way
	}
	do(t, conn, "SET freshet.cache = off")
	one(t, conn, "SELECT v FROM k WHERE a = 1")
	if got := source(t, conn); !strings.HasPrefix(got, "replica ") {
		t.Errorf("without a primary and a cache reads come from %s", got)
	}
	do(t, conn, "RESET freshet.cache")
	if _, err := conn.Exec(ctx, "UPDATE k SET v = 2"); err == nil {
		t.Error("a write without a primary was acknowledged")
	}
	if conn.IsClosed() {
		conn = in.connect(t, c, cluster.App, "")
	}

	if err := c.Replicas()[0].Promote(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Replicas() {
		if err := r.Follow(ctx, c.Primary()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "writes work again", func() bool {
		_, err := conn.Exec(ctx, "UPDATE k SET v = 3")
		if conn.IsClosed() {
			conn = in.connect(t, c, cluster.App, "")
		}
		return err == nil
	})
	for i := 4; i < 200; i++ {
		do(t, conn, "UPDATE k SET v = $1", i)
		if got := one(t, conn, "SELECT v FROM k WHERE a = 1"); got != fmt.Sprint(i) {
			t.Fatalf("wrote %d, read %s from %s", i, got, source(t, conn))
		}
	}
	cachedBy(t, conn, "SELECT v FROM k WHERE a = 1")
	var pg interface{ SQLState() string }
	if _, err := conn.Exec(ctx, "SELECT 1/0"); !errors.As(err, &pg) || pg.SQLState() != "22012" {
		t.Errorf("an error of the new primary: %v", err)
	}
}

// A replica that dies in the middle is not noticed by who reads.
func TestAReplicaThatDiesIsNotNoticed(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 7)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Cache = "off" })
	stop, done := make(chan struct{}), make(chan error, 8)
	for range 8 {
		conn := in.connect(t, c, cluster.App, "")
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				var v int
				if err := conn.QueryRow(ctx, "SELECT v FROM k WHERE a = 1").Scan(&v); err != nil || v != 7 {
					done <- fmt.Errorf("read %d: %v", v, err)
					return
				}
			}
		}()
	}
	for i := range 3 {
		r := c.Replicas()[i%2]
		if err := r.Kill(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // the readers go on meanwhile
		if err := r.Start(ctx); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the replica is back", func() bool {
			up := 0
			for _, n := range in.topo.State() {
				if n.Up {
					up++
				}
			}
			return up == 3
		})
	}
	close(stop)
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
