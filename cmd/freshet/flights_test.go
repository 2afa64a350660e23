package main

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// asked is how many queries Freshet has sent to servers, apart from its own.
func asked(in *instance) uint64 {
	q := in.Snapshot().Queries
	return q["primary"] + q["replica"]
}

// slow is a query that can be cached and takes the servers about a second.
const slow = "SELECT count(*) FROM n a, n b, n c WHERE a.i + b.i + c.i > 10"

func slowTable(t testing.TB, c *cluster.Cluster, db string) {
	t.Helper()
	if err := c.Primary().ExecIn(context.Background(), db, "CREATE TABLE n(i int PRIMARY KEY); INSERT INTO n SELECT generate_series(1, 180); GRANT SELECT, INSERT, DELETE ON n TO "+cluster.App); err != nil {
		t.Fatal(err)
	}
}

// HAZARD 18: a thousand clients miss the same slow query at once, and the servers get it once.
func TestHazard18AThousandMissesAreOneQuery(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	slowTable(t, c, db)
	// Without passwords, since a thousand of them would take longer than the query.
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.AuthType, cfg.AuthFile = "trust", userlist(t, cluster.App, c.AppPassword())
		cfg.PoolWait = time.Minute
	})
	covered(t, c, in, db)
	if err := c.WaitCaughtUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	const clients = 1000
	conns := make([]*pgx.Conn, clients)
	url := "postgres://" + cluster.App + "@" + in.Addrs()[0] + "/" + db + "?sslmode=disable&default_query_exec_mode=simple_protocol"
	var connecting sync.WaitGroup
	limit := make(chan struct{}, 20)
	for i := range conns {
		connecting.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = conn
		})
	}
	connecting.Wait()
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close(ctx)
			}
		}
	}()
	if t.Failed() {
		return
	}
	before := asked(in)
	var asking sync.WaitGroup
	var wrong atomic.Int64
	const want = "5831880" // 180³, less the 120 sums of no more than 10
	begin := make(chan struct{})
	for _, conn := range conns {
		asking.Go(func() {
			<-begin
			var n string
			if err := conn.QueryRow(ctx, strings.Replace(slow, "count(*)", "count(*)::text", 1)).Scan(&n); err != nil {
				wrong.Add(1)
				t.Log(err)
			} else if n != want {
				wrong.Add(1)
			}
		})
	}
	close(begin)
	asking.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of %d answers are wrong", n, clients)
	}
	if got := asked(in) - before; got != 1 {
		t.Errorf("%d queries for %d clients", got, clients)
	}
	if s := in.Snapshot(); s.FlightShared+s.Queries["l1"] != clients-1 {
		t.Errorf("%d were answered by the flight, %d by the cache", s.FlightShared, s.Queries["l1"])
	}
}

// Followers of one flight, whatever becomes of it.
func TestFollowersOfAFlight(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	slowTable(t, c, db)
	in := startTestServer(t, c, nil)
	covered(t, c, in, db)
	if err := c.WaitCaughtUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	const followers = 8
	conns := make([]*pgx.Conn, followers+1)
	for i := range conns {
		conns[i] = in.connect(t, c, db, simpleProtocol)
	}
	for name, step := range map[string]struct {
		disturb func(leader *pgx.Conn, cancel context.CancelFunc)
		queries uint64 // at most
	}{
		"the leader cancels": {func(_ *pgx.Conn, cancel context.CancelFunc) { cancel() }, 2},
		"the leader vanishes": {func(leader *pgx.Conn, _ context.CancelFunc) {
			leader.PgConn().Conn().Close()
		}, 2},
		"its server connection is killed": {func(*pgx.Conn, context.CancelFunc) {
			for _, n := range append(c.Replicas(), c.Primary()) {
				killed, err := n.Value(context.Background(), "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '"+db+"' AND query LIKE '%n a, n b%' AND state = 'active' AND pid <> pg_backend_pid()")
				if err != nil {
					t.Error(err)
				}
				if killed != "0" {
					return // or whoever leads next, elsewhere, is hit as well
				}
			}
		}, 2},
		"what it reads is written": {func(*pgx.Conn, context.CancelFunc) {
			if err := c.Primary().ExecIn(context.Background(), db, "INSERT INTO n VALUES (100000); DELETE FROM n WHERE i = 100000"); err != nil {
				t.Error(err)
			}
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			sql := slow + " AND '" + name + "' <> ''"
			before := asked(in)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			leader := in.connect(t, c, db, simpleProtocol)
			flights := in.flights.Len
			done := make(chan error, 1)
			go func() {
				var n int64
				done <- leader.QueryRow(ctx, sql).Scan(&n)
			}()
			eventually(t, "the flight is under way", func() bool { return flights() > 0 })
			var following sync.WaitGroup
			for _, conn := range conns[:followers] {
				following.Go(func() {
					var n int64
					if err := conn.QueryRow(context.Background(), sql).Scan(&n); err != nil || n != 5831880 {
						t.Errorf("a follower gets %d %v", n, err)
					}
				})
			}
			eventually(t, "all follow", func() bool { return in.flights.Waiting() >= followers })
			step.disturb(leader, cancel)
			following.Wait()
			<-done
			if got := asked(in) - before; got > step.queries {
				t.Errorf("%d queries", got)
			}
		})
	}
}

// An answer too large for the cache is passed on as it comes; nobody waits for the end of it, and it is nowhere as a whole.
func TestTooLargeAnswersAreStreamed(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	if err := c.Primary().ExecIn(context.Background(), db, `CREATE TABLE large(i int PRIMARY KEY, v text);
		ALTER TABLE large ALTER v SET STORAGE EXTERNAL; INSERT INTO large SELECT i, repeat('x', 100000) FROM generate_series(1, 1000) i`); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	covered(t, c, in, db)
	if err := c.WaitCaughtUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	lead, follow := in.connect(t, c, db, simpleProtocol), in.connect(t, c, db, simpleProtocol)
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const sql = "SELECT i, v FROM large"
	rows, err := lead.Query(ctx, sql)
	if err != nil || !rows.Next() {
		t.Fatalf("no first row: %v", err)
	}
	// The leader doesn't read on. It has the flight no longer, or the follower would wait for ever.
	got := 0
	others, err := follow.Query(ctx, sql)
	if err != nil {
		t.Fatal(err)
	}
	for others.Next() {
		if got++; got == 500 {
			runtime.GC()
			runtime.ReadMemStats(&during)
		}
	}
	if others.Err() != nil || got != 1000 {
		t.Errorf("the follower gets %d rows: %v", got, others.Err())
	}
	if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 30<<20 {
		t.Errorf("100 MB are on their way to one who doesn't read and one who does, and the heap has grown by %d MB", grown>>20)
	}
	for n := 1; ; n++ {
		if !rows.Next() {
			if rows.Err() != nil || n != 1000 {
				t.Errorf("the leader gets %d rows: %v", n, rows.Err())
			}
			break
		}
	}
	if in.l1.Len() != 0 {
		t.Error("it is in the cache")
	}
}
