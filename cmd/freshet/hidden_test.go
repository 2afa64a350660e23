package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

// TestThePrimaryShowsNoLessThanAReplicaDid: a commit that waits for a synchronous standby is on the other replica, and not to
// be seen on the primary. Who has seen it there isn't shown the primary without it, whatever the way there; who hasn't is
// not kept waiting.
func TestThePrimaryShowsNoLessThanAReplicaDid(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	standby, other := c.Replicas()[0], c.Replicas()[1]
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Replica = []string{other.URL(cluster.App)}
		cfg.PoolWait = 500 * time.Millisecond
	})
	covered(t, c, in, cluster.App)
	if err := c.SetSynchronous(ctx, standby.Name()); err != nil {
		t.Fatal(err)
	}
	conn, cached, fresh := in.connect(t, c, cluster.App, ""), in.connect(t, c, cluster.App, ""), in.connect(t, c, cluster.App, "")
	if err := standby.Freeze(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Primary().Exec(ctx, "UPDATE k SET v = 1") }()
	const read = "SELECT v FROM k WHERE a = 1"
	eventually(t, "the replica shows it", func() bool {
		return one(t, conn, "/* freshet: cache=off */ "+read) == "1" && strings.HasPrefix(source(t, conn), "replica ")
	})
	eventually(t, "it is in the cache", func() bool { return one(t, cached, read) == "1" && source(t, cached) == "l1" })
	for _, sql := range []string{
		"/* freshet: route=primary */ " + read,
		"BEGIN; SELECT v FROM k WHERE a = 1 FOR SHARE; COMMIT",
		"UPDATE k SET v = v WHERE a = 2",
	} {
		_, err := conn.Exec(ctx, sql)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "40001" || pg.Hint == "" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if _, err := cached.Exec(ctx, "/* freshet: route=primary */ "+read); err == nil {
		t.Error("the primary is shown to somebody who has seen the commit in the cache")
	}
	if got := one(t, conn, "/* freshet: route=primary consistency=eventual */ "+read); got != "0" {
		t.Errorf("eventual: %s", got)
	}
	if got := one(t, fresh, "/* freshet: route=primary */ "+read); got != "0" {
		t.Errorf("a session that has seen nothing: %s", got)
	}
	if _, err := fresh.Exec(ctx, "/* freshet: route=primary consistency=strong */ "+read); err == nil {
		t.Error("strong: the primary is shown after another session has seen more")
	}
	if err := standby.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := one(t, conn, "/* freshet: route=primary */ "+read); got != "1" {
		t.Errorf("%s after the commit", got)
	}
}
