package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// TestStrongReadsSeeWhateverWasAcknowledgedOrReadBefore: a value that was acknowledged to its writer, who isn't a client of
// Freshet, or that any strong read has returned, is seen by every strong read that begins afterwards, in whichever session;
// while replicas stop and go, and from the cache, replicas and the primary.
func TestStrongReadsSeeWhateverWasAcknowledgedOrReadBefore(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k SELECT i, 0 FROM generate_series(1, 3) i"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Consistency = "strong"
		cfg.MaxStaleness, cfg.RYWWindow = time.Minute, 2*time.Minute
	})
	covered(t, c, in, cluster.App)
	direct, err := c.Primary().Connect(ctx, cluster.App)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())

	var known atomic.Int64 // acknowledged, or returned by a strong read
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	beside.Go(func() {
		for i := int64(1); ctx.Err() == nil; i++ {
			if _, err := direct.Exec(ctx, "UPDATE k SET v = $1", i); err != nil && ctx.Err() == nil {
				t.Errorf("writing: %v", err)
				return
			}
			raiseTo(&known, i)
			time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond) // a load, not a wait
		}
	})
	beside.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			r := c.Replicas()[i%2]
			if err := r.PauseReplay(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("pausing: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rand.IntN(100)) * time.Millisecond):
			}
			if err := r.ResumeReplay(context.Background()); err != nil {
				t.Errorf("resuming: %v", err)
			}
		}
	})
	var sources sync.Map
	kinds := [...]string{"l1", "replica", "primary"}
	const least = 10 // answers of each kind, or the test proves little
	enough := func() bool {
		return !slices.ContainsFunc(kinds[:], func(kind string) bool {
			n, ok := sources.Load(kind)
			return !ok || n.(*atomic.Int64).Load() < least
		})
	}
	session := func(name string, conn *pgx.Conn) {
		ctx, stop := context.WithTimeout(ctx, time.Minute) // a read that hangs fails, and says which it was
		defer stop()
		began := time.Now()
		for ran := time.Duration(0); ran < 3*time.Second || ran < 40*time.Second && !enough(); ran = time.Since(began) {
			hint := [...]string{"", "", "/* freshet: cache=off */ ", "/* freshet: route=primary */ "}[rand.IntN(4)]
			sql := fmt.Sprintf("%sSELECT v FROM k WHERE a = %d", hint, 1+rand.IntN(3))
			before := known.Load()
			var v int64
			if err := conn.QueryRow(ctx, sql).Scan(&v); err != nil {
				t.Errorf("%s: %s: %v", name, sql, err)
				return
			}
			raiseTo(&known, v)
			var from string
			if err := conn.QueryRow(ctx, "SHOW freshet.source").Scan(&from); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			n, _ := sources.LoadOrStore(strings.Fields(from)[0], new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			if v < before {
				t.Errorf("%s reads %d from %s after %d was acknowledged or read, with %s", name, v, from, before, sql)
				return
			}
		}
	}
	var sessions sync.WaitGroup
	sessions.Go(func() { session("extended", in.connect(t, c, cluster.App, "")) })
	sessions.Go(func() { session("simple", in.connect(t, c, cluster.App, simpleProtocol)) })
	sessions.Go(func() { session("another", in.connect(t, c, cluster.App, "")) })
	sessions.Wait()
	got := map[string]int64{}
	sources.Range(func(k, v any) bool { got[k.(string)] = v.(*atomic.Int64).Load(); return true })
	t.Log(got)
	for _, kind := range kinds {
		if got[kind] < least {
			t.Errorf("only %d answers from %s: the test proves little", got[kind], kind)
		}
	}
}

func raiseTo(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if old >= v || a.CompareAndSwap(old, v) {
			return
		}
	}
}
