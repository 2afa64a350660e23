package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// TestASessionNeverGoesBackInTime: others write all the time, replicas stop and go; a session reads from wherever it is
// answered, and steers itself from one place to another. What it has seen it goes on seeing.
func TestASessionNeverGoesBackInTime(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k SELECT i, 0 FROM generate_series(1, 3) i"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		// Replicas that lag stay in rotation.
		cfg.MaxStaleness, cfg.RYWWindow = time.Minute, 2*time.Minute
	})
	covered(t, c, in, cluster.App)

	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	direct, err := c.Primary().Connect(ctx, cluster.App)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close(context.Background())
	beside.Go(func() {
		for ctx.Err() == nil {
			// All rows together, so that any two of them can be compared.
			if _, err := direct.Exec(ctx, "UPDATE k SET v = v + 1"); err != nil && ctx.Err() == nil {
				t.Errorf("writing: %v", err)
				return
			}
			time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond) // a load, not a wait
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
			case <-time.After(time.Duration(20+rand.IntN(100)) * time.Millisecond):
			}
			if err := r.ResumeReplay(context.Background()); err != nil {
				t.Errorf("resuming: %v", err)
			}
		}
	})

	var sources sync.Map // source → *atomic.Int64
	session := func(name string, conns ...*pgx.Conn) {
		seen := 0
		var before string
		until := time.Now().Add(3 * time.Second)
		for i := 0; time.Now().Before(until); i++ {
			conn := conns[i%len(conns)]
			hint := [...]string{"", "", "", "/* freshet: cache=off */ ", "/* freshet: route=replica */ ", "/* freshet: route=primary */ "}[rand.IntN(6)]
			if hint == "/* freshet: route=primary */ " && rand.IntN(4) > 0 {
				hint = ""
			}
			// As many texts as there are rows, in two shapes: some are in the cache, some are not.
			sql := fmt.Sprintf("%sSELECT v FROM k WHERE a = %d", hint, 1+rand.IntN(3))
			if rand.IntN(8) == 0 {
				sql = fmt.Sprintf("%s AND v >= %d", sql, -rand.IntN(1000)) // a miss
			}
			var v int
			if err := conn.QueryRow(ctx, sql).Scan(&v); err != nil {
				t.Errorf("%s: %s: %v", name, sql, err)
				return
			}
			var from string
			if err := conn.QueryRow(ctx, "SHOW freshet.source").Scan(&from); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			kind := strings.Fields(from)[0]
			if strings.HasPrefix(from, "replica") {
				kind = from
			}
			n, _ := sources.LoadOrStore(kind, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			if v < seen {
				t.Errorf("%s goes back from %d (%s) to %d (%s) with %s", name, seen, before, v, from, sql)
				return
			}
			seen, before = v, from
		}
	}
	var sessions sync.WaitGroup
	sessions.Go(func() { session("extended", in.connect(t, c, cluster.App, "")) })
	sessions.Go(func() { session("simple", in.connect(t, c, cluster.App, simpleProtocol)) })
	sessions.Go(func() {
		const key = "&freshet.session_key=both"
		session("two connections", in.connect(t, c, cluster.App, key), in.connect(t, c, cluster.App, simpleProtocol+key))
	})
	sessions.Wait()
	cancel()
	beside.Wait()
	var from []string
	kinds := map[string]int64{}
	sources.Range(func(k, v any) bool {
		kinds[k.(string)] = v.(*atomic.Int64).Load()
		from = append(from, k.(string)+": "+strconv.FormatInt(v.(*atomic.Int64).Load(), 10))
		return true
	})
	t.Log(strings.Join(from, ", "))
	for _, kind := range []string{"l1", "primary", "replica " + c.Replicas()[0].Addr(), "replica " + c.Replicas()[1].Addr()} {
		if kinds[kind] < 10 {
			t.Errorf("only %d answers from %s: the test proves little", kinds[kind], kind)
		}
	}
}
