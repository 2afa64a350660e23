package main

import (
	"context"
	"sync"
	"testing"

	"github.com/freshet/freshet/bench/cluster"
)

// TestHazard06CurrvalIsTheSessionsOwn: currval() and lastval() speak of the session's own last nextval(), on whichever server connection that
// was, while other sessions advance the same sequences; and a session that has called none is told so.
func TestHazard06CurrvalIsTheSessionsOwn(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolSize = 12 })
	db := c.NewDatabase(t)
	if err := c.Primary().ExecIn(context.Background(), db, "CREATE SEQUENCE q; CREATE TABLE r(id serial PRIMARY KEY, v int)"); err != nil {
		t.Fatal(err)
	}
	in.databases.Get(db)
	eventually(t, "the catalog is known", func() bool {
		for _, d := range in.databases.Status() {
			if d.Name == db {
				return d.Catalog
			}
		}
		return false
	})
	var wg sync.WaitGroup
	for range 4 {
		conn := in.connect(t, c, db, "")
		wg.Go(func() {
			ctx := context.Background()
			for i := range 60 {
				var next, curr, id, last int64
				err := conn.QueryRow(ctx, "SELECT nextval('q')").Scan(&next)
				if err == nil && i%3 == 1 {
					_, err = conn.Exec(ctx, "UPDATE r SET v = 2 WHERE id = 1") // another write, which may go anywhere
				}
				if err == nil {
					err = conn.QueryRow(ctx, "SELECT currval('q')").Scan(&curr)
				}
				if err == nil && next != curr {
					t.Errorf("nextval() gave %d, then currval() %d", next, curr)
				}
				if err == nil {
					err = conn.QueryRow(ctx, "INSERT INTO r(v) VALUES (1) RETURNING id").Scan(&id)
				}
				if err == nil {
					err = conn.QueryRow(ctx, "SELECT lastval()").Scan(&last)
				}
				if err == nil && id != last {
					t.Errorf("the row got %d, then lastval() gave %d", id, last)
				}
				// Once the habit is known, a lost state can't happen any more.
				if err != nil && i > 0 {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	stranger := in.connect(t, c, db, "")
	for _, begin := range []string{"", "BEGIN"} {
		if _, err := stranger.Exec(context.Background(), begin); err != nil {
			t.Fatal(err)
		}
		if _, err := stranger.Exec(context.Background(), "SELECT lastval()"); err == nil {
			t.Errorf("after %q: lastval() gives another session's value", begin)
		}
	}
}

// TestNextvalAloneDoesntBind: a session that never asks for currval() outside of nextval()'s transaction isn't bound.
func TestNextvalAloneDoesntBind(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	if err := c.Primary().ExecIn(context.Background(), cluster.App, "CREATE SEQUENCE IF NOT EXISTS alone"); err != nil {
		t.Fatal(err)
	}
	conn := in.connect(t, c, cluster.App, "")
	ctx := context.Background()
	for range 5 {
		if _, err := conn.Exec(ctx, "SELECT nextval('alone')"); err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var next, curr int64
		if err := tx.QueryRow(ctx, "SELECT nextval('alone')").Scan(&next); err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(ctx, "SELECT currval('alone')").Scan(&curr); err != nil {
			t.Fatal(err)
		}
		if next != curr {
			t.Errorf("nextval() gave %d, currval() %d", next, curr)
		}
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, counters := range in.server.Stats().Shards {
		if n := counters.Bound.Load(); n > 0 {
			t.Errorf("%d sessions were bound", n)
		}
	}
}
