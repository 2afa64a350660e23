package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// vandals is how many clients misbehave; $FRESHET_VANDALS makes them more.
func vandals(t *testing.T) int {
	n := 1500
	if v := os.Getenv("FRESHET_VANDALS"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// HAZARDS 2, 21, 27: clients that send anything but what they should, in any order, and vanish at any point, harm nobody: a
// client beside them gets right answers all the time, and when they are gone nothing is left of them, neither in Freshet nor on the servers.
func TestHazard02VandalsHarmNobodyAndLeaveNothing(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, `CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k SELECT i, i FROM generate_series(1, 1000) i;
		CREATE TABLE vandalised(a int, b text)`); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.AuthType, cfg.PoolSize = "trust", 3 })
	covered(t, c, in, db)
	bystander := in.connect(t, c, db, "")

	stop := make(chan struct{})
	var bystanding sync.WaitGroup
	end := sync.OnceFunc(func() { close(stop); bystanding.Wait() })
	t.Cleanup(end) // before its connection is closed
	bystanding.Go(func() {
		for i := 1; ; i = i%1000 + 1 {
			select {
			case <-stop:
				return
			default:
			}
			var a, v int
			err := bystander.QueryRow(ctx, "SELECT a, v FROM k WHERE a = $1", i).Scan(&a, &v)
			if err != nil || a != i || v != i {
				t.Errorf("the bystander asked for %d and got %d, %d, %v", i, a, v, err)
				return
			}
		}
	})
	n := vandals(t)
	rampage(t, in, db, n/5, 1)
	settled := func() (goroutines int, heap uint64) {
		eventually(t, "they are all gone", func() bool {
			st := in.server.Stats()
			busy := 0
			for _, p := range st.Pools {
				busy += p.Total - p.Idle - p.Making
			}
			return st.Clients == 1 && busy <= 1
		})
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc
	}
	goroutines, heap := settled()
	rampage(t, in, db, n, 2)
	// Connections to servers that were closed on doubt are made again, each by a goroutine that ends.
	eventually(t, "as many goroutines as before", func() bool { now, _ := settled(); return now <= goroutines+8 })
	if _, now := settled(); now > heap+16<<20 {
		t.Errorf("the heap has grown from %d to %d bytes", heap, now)
	}
	end()
	eventually(t, "no transaction and no lock of theirs is left on the primary", func() bool {
		conn, err := c.Primary().Connect(ctx, db)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		return one(t, conn, `SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid)
			WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND a.pid <> pg_backend_pid() AND (l.relation = 'vandalised'::regclass OR a.state LIKE 'idle in transaction%')`) == "0"
	})
}

// rampage lets n clients misbehave, eight at a time.
func rampage(t *testing.T, in *instance, db string, n int, seed uint64) {
	t.Helper()
	work := make(chan uint64)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for s := range work {
				vandal(t, in, db, rand.New(rand.NewPCG(seed, s)))
			}
		})
	}
	for s := range n {
		work <- uint64(s)
	}
	close(work)
	wg.Wait()
}

// vandal is one client that misbehaves.
func vandal(t *testing.T, in *instance, db string, r *rand.Rand) {
	conn, err := net.Dial("tcp", in.Addrs()[0])
	if err != nil {
		t.Errorf("connecting: %v", err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	hello := startup("user", "postgres", "database", db)
	switch r.IntN(12) {
	case 0: // gone before it is in
		conn.Write(hello[:r.IntN(len(hello))])
		return
	case 1: // not a startup packet
		conn.Write(mutated(r, hello))
		drain(conn, r)
		return
	}
	conn.Write(hello)
	if !welcomed(conn) {
		t.Error("a client wasn't let in")
		return
	}
	for range 1 + r.IntN(4) {
		p := message(r)
		for range r.IntN(5) {
			p = append(p, message(r)...)
		}
		switch r.IntN(4) {
		case 0:
			p = mutated(r, p)
		case 1:
			p = p[:r.IntN(len(p)+1)]
		}
		if _, err := conn.Write(p); err != nil {
			return
		}
		if r.IntN(2) == 0 {
			drain(conn, r)
		}
	}
	if r.IntN(4) == 0 {
		conn.(*net.TCPConn).SetLinger(0) // a reset
	}
}

// welcomed reads up to the first ReadyForQuery.
func welcomed(conn net.Conn) bool {
	var got []byte
	p := make([]byte, 4096)
	for {
		n, err := conn.Read(p)
		got = append(got, p[:n]...)
		if bytes.HasSuffix(got, []byte{'Z', 0, 0, 0, 5, 'I'}) {
			return true
		}
		if err != nil {
			return false
		}
	}
}

// drain reads a little of what comes, if anything does.
func drain(conn net.Conn, r *rand.Rand) {
	conn.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(3000)) * time.Microsecond))
	conn.Read(make([]byte, 1+r.IntN(8192)))
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
}

// message is a message as a client may send it, though perhaps not now.
func message(r *rand.Rand) []byte {
	names := []string{"", "s1", "s2"}
	name := names[r.IntN(len(names))]
	texts := []string{
		"SELECT a, v FROM k WHERE a = " + fmt.Sprint(r.IntN(1000)), "SELECT a, v FROM k WHERE a = $1", "BEGIN", "COMMIT", "ROLLBACK", "SELECT 1; SELECT 2",
		"INSERT INTO vandalised VALUES (1, 'x')", "COPY vandalised FROM STDIN", "COPY k TO STDOUT", "SELECT repeat('x', 100000) FROM generate_series(1, 20)",
		"SELECT 1/0", "not SQL", "SET datestyle = german", "CREATE TEMP TABLE t(a int)", "LISTEN x; NOTIFY x", "SHOW freshet.source", "SELECT pg_advisory_lock_shared(1)",
		"LOCK TABLE vandalised", "SELECT pg_sleep(0.001)", "DECLARE c CURSOR FOR SELECT * FROM k", "SAVEPOINT a", "PREPARE p AS SELECT 1", "", "DEALLOCATE ALL", "DISCARD ALL",
	}
	text := texts[r.IntN(len(texts))]
	switch r.IntN(16) {
	case 0, 1, 2, 3:
		return wire.AppendQuery(nil, text)
	case 4, 5:
		return wire.AppendParse(nil, name, text)
	case 6, 7:
		return wire.AppendBind(nil, name, names[r.IntN(len(names))], nil, [][]byte{[]byte("7")}, nil)
	case 8:
		return wire.AppendDescribe(nil, "SP"[r.IntN(2)], name)
	case 9, 10:
		return wire.AppendExecute(nil, name, uint32(r.IntN(2)*r.IntN(10)))
	case 11:
		return wire.AppendClose(nil, "SP"[r.IntN(2)], name)
	case 12, 13:
		return wire.AppendSync(nil)
	case 14:
		return []byte{'H', 0, 0, 0, 4}
	}
	return append([]byte{"dcfXpF"[r.IntN(6)], 0, 0, 0, 8}, "1\t2\n"...)
}

// mutated changes some bytes, takes some out and puts some in.
func mutated(r *rand.Rand, p []byte) []byte {
	p = bytes.Clone(p)
	for range 1 + r.IntN(4) {
		if len(p) == 0 {
			break
		}
		i := r.IntN(len(p))
		switch r.IntN(3) {
		case 0:
			p[i] = byte(r.Uint32())
		case 1:
			p = append(p[:i], p[i+1:]...)
		default:
			p = append(p[:i], append([]byte{byte(r.Uint32())}, p[i:]...)...)
		}
	}
	return p
}
