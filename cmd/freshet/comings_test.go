package main

import (
	"context"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// Clients that connect, ask something, and vanish without a word leave nothing behind: no goroutine, no memory, no server connection that is
// in use. $FRESHET_VANDALS says how many: a tenth of it.
func TestHazard02ManyWhoComeAndGoLeaveNothing(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k SELECT i, i FROM generate_series(1, 1000) i"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolSize = 3 })
	covered(t, c, in, db)
	n := vandals(t) / 10
	come := func(n int, seed uint64) {
		work := make(chan uint64)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for s := range work {
					comeAndGo(t, in.Addrs()[0], db, c.Password(), rand.New(rand.NewPCG(seed, s)))
				}
			})
		}
		for s := range n {
			work <- uint64(s)
		}
		close(work)
		wg.Wait()
	}
	settled := func() (goroutines int, heap uint64) {
		eventually(t, "they are all gone", func() bool {
			st := in.server.Stats()
			for _, p := range st.Pools {
				if p.Total-p.Idle-p.Making > 0 {
					return false
				}
			}
			return st.Clients == 0
		})
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	come(n/5, 1)
	goroutines, heap := settled()
	came := time.Now()
	come(n, 2)
	t.Logf("%d clients have come and gone in %v", n, time.Since(came).Round(time.Millisecond))
	eventually(t, "as many goroutines as before", func() bool { now, _ := settled(); return now <= goroutines+8 })
	if _, now := settled(); now > heap+8<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", heap, now)
	} else {
		t.Logf("goroutines: %d before; heap: %d KiB before, %d KiB after", goroutines, heap>>10, now>>10)
	}
	for _, p := range in.server.Stats().Pools {
		if p.Total > 3 {
			t.Errorf("a pool of 3 has %d connections", p.Total)
		}
	}
}

// comeAndGo is one client.
func comeAndGo(t *testing.T, addr, db, password string, r *rand.Rand) {
	fatal := &crowdClient{t: t, name: "a client"}
	done := make(chan struct{})
	go func() { // Fatalf ends the goroutine that it is called on
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn := dialWire(fatal, ctx, addr, db, password)
		defer conn.conn.Close()
		conn.patience = time.Minute
		for range 1 + r.IntN(3) {
			switch r.IntN(8) {
			case 0, 1, 2:
				conn.send(fatal, wire.AppendQuery(nil, "SELECT v FROM k WHERE a = 7"))
				conn.replies(fatal, 1)
			case 3:
				p := wire.AppendParse(nil, "s", "SELECT v FROM k WHERE a = $1")
				p = wire.AppendBind(p, "", "s", nil, [][]byte{[]byte("8")}, nil)
				conn.send(fatal, wire.AppendSync(wire.AppendExecute(p, "", 0)))
				conn.replies(fatal, 1)
			case 4:
				conn.send(fatal, wire.AppendQuery(nil, "BEGIN; UPDATE k SET v = v WHERE a = 9"))
				conn.replies(fatal, 1)
				conn.send(fatal, wire.AppendQuery(nil, "ROLLBACK"))
				conn.replies(fatal, 1)
			case 5:
				conn.send(fatal, wire.AppendQuery(nil, "CREATE TEMP TABLE IF NOT EXISTS x AS SELECT * FROM k"))
				conn.replies(fatal, 1)
			case 6: // gone before the answer
				conn.send(fatal, wire.AppendQuery(nil, "SELECT repeat('x', 10000) FROM generate_series(1, 200)"))
				return
			case 7: // gone in a transaction
				conn.send(fatal, wire.AppendQuery(nil, "BEGIN; SELECT v FROM k WHERE a = 10 FOR UPDATE"))
				conn.replies(fatal, 1)
				return
			}
		}
		if r.IntN(2) == 0 {
			conn.conn.(*net.TCPConn).SetLinger(0) // a reset
		}
	}()
	<-done
}
