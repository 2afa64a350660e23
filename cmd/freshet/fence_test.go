package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// HAZARD 9: an answer that a replica gave before it had replayed a write isn't served once the write is known.
func TestAFillFromALaggingReplicaIsNeverServedStale(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		// The lagging replica stays in rotation, so that fills come from it.
		cfg.MaxStaleness, cfg.RYWWindow = time.Minute, 2*time.Minute
	})
	covered(t, c, in, cluster.App)
	conn := in.connect(t, c, cluster.App, "")
	const read = "SELECT v FROM k WHERE a = 1"
	for i := 1; i <= 5; i++ {
		before := cachedBy(t, conn, read)
		if before != fmt.Sprint(i-1) {
			t.Fatalf("cached %s before write %d", before, i)
		}
		if err := c.Replicas()[0].PauseReplay(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.Primary().Exec(ctx, "UPDATE k SET v = v + 1"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the feed has applied the write", func() bool {
			one(t, conn, read)
			return source(t, conn) != "l1"
		})
		for range 20 { // fills, each of them from before the write
			if got := one(t, conn, read); got != fmt.Sprint(i-1) {
				t.Fatalf("%s came from %s, which can't know it", got, source(t, conn))
			}
			if got := source(t, conn); got == "l1" {
				t.Fatal("an answer from before the write is served from the cache after the feed has applied the write")
			}
		}
		if err := c.Replicas()[0].ResumeReplay(ctx); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitCaughtUp(ctx); err != nil {
			t.Fatal(err)
		}
		if got := one(t, conn, read); got != fmt.Sprint(i) {
			t.Fatalf("%s from %s after everything has caught up, want %d", got, source(t, conn), i)
		}
	}
}

// HAZARD 9: a commit that waits for a synchronous standby is in the WAL, and known to the feed, before anybody can see it on the primary.
func TestAFillThatRacesWithACommitIsNeverServedStale(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	// Only the primary answers, so that its snapshots are what fills see.
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Replica = nil })
	covered(t, c, in, cluster.App)
	if err := c.SetSynchronous(ctx, "replica1"); err != nil {
		t.Fatal(err)
	}
	conn := in.connect(t, c, cluster.App, "")
	const read = "SELECT v FROM k WHERE a = 1"
	for i := 1; i <= 5; i++ {
		if before := cachedBy(t, conn, read); before != fmt.Sprint(i-1) {
			t.Fatalf("cached %s before write %d", before, i)
		}
		if err := c.Replicas()[0].Freeze(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- c.Primary().Exec(ctx, "UPDATE k SET v = v + 1") }()
		eventually(t, "the feed has applied the commit", func() bool {
			one(t, conn, read)
			return source(t, conn) != "l1"
		})
		for range 20 {
			if got := one(t, conn, read); got != fmt.Sprint(i-1) {
				t.Fatalf("%s was read before it was committed", got)
			}
		}
		select {
		case err := <-done:
			t.Fatalf("the commit didn't wait: %v", err)
		default:
		}
		if err := c.Replicas()[0].Thaw(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// Acknowledged: from here on everybody sees it, and nothing more will come through the WAL to say so.
		for range 20 {
			if got := one(t, conn, read); got != fmt.Sprint(i) {
				t.Fatalf("%s from %s after %d was acknowledged", got, source(t, conn), i)
			}
		}
	}
}
