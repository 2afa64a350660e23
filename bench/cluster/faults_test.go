package cluster_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// redisSays is Redis' first line to PING, after logging in with a password if
// there is one.
func redisSays(r *cluster.Redis, password string) (string, error) {
	conn, err := net.DialTimeout("tcp", r.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	in := bufio.NewReader(conn)
	if password != "" {
		fmt.Fprintf(conn, "AUTH %s\r\n", password)
		if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
			return line, err
		}
	}
	fmt.Fprint(conn, "PING\r\n")
	return in.ReadString('\n')
}

// connects tells whether a node answers within a moment.
func connects(t *testing.T, n *cluster.Node, moment time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), moment)
	defer cancel()
	conn, err := n.Connect(ctx, cluster.App)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func TestKilledNodeComesBackWithItsData(t *testing.T) {
	ctx := withTimeout(t)
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	p, r := c.Primary(), c.Replicas()[0]
	must(t, p.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))
	port, pid := p.Port(), p.Pid()
	conn, err := p.Connect(ctx, cluster.App)
	must(t, err)
	must(t, p.Kill())
	must(t, p.Kill())
	if p.Running() || p.Pid() != 0 {
		t.Error("runs")
	}
	if _, err := conn.Exec(ctx, "SELECT 1"); err == nil {
		t.Error("a connection has survived")
	}
	_ = conn.Close(ctx)
	if err := connects(t, p, time.Second); err == nil {
		t.Error("still lets people in")
	}
	wantValue(t, r, "SELECT i FROM t", "1")

	must(t, p.Start(ctx))
	must(t, p.Start(ctx))
	if p.Port() != port || p.Pid() == pid {
		t.Errorf("port %d was %d, pid %d was %d", p.Port(), port, p.Pid(), pid)
	}
	must(t, p.Exec(ctx, "INSERT INTO t VALUES (2)"))
	must(t, c.WaitCaughtUp(ctx))
	wantValue(t, r, "SELECT count(*) FROM t", "2")

	for _, mode := range []cluster.StopMode{cluster.Fast, cluster.Immediate} {
		must(t, p.Restart(ctx, mode))
		wantValue(t, p, "SELECT count(*) FROM t", "2")
		must(t, r.Restart(ctx, mode))
	}
	must(t, c.WaitCaughtUp(ctx))
}

func TestPausedReplicaLagsUntilResumed(t *testing.T) {
	ctx := withTimeout(t)
	c := shared.Get(t)
	r, other := c.Replicas()[0], c.Replicas()[1]
	must(t, c.Primary().Exec(ctx, "CREATE TABLE p (i int)"))
	t.Cleanup(func() { must(t, c.Primary().Exec(context.Background(), "DROP TABLE p")) })
	must(t, c.WaitCaughtUp(ctx))
	must(t, r.PauseReplay(ctx))
	t.Cleanup(func() { must(t, r.ResumeReplay(context.Background())) })
	must(t, c.Primary().Exec(ctx, "INSERT INTO p VALUES (1)"))
	lsn, err := c.Primary().Value(ctx, "SELECT pg_current_wal_flush_lsn()")
	must(t, err)
	must(t, other.WaitReplayed(ctx, lsn))
	wantValue(t, other, "SELECT count(*) FROM p", "1")
	wantValue(t, r, "SELECT count(*) FROM p", "0")

	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.WaitCaughtUp(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a paused replica: %v", err)
	}
	must(t, r.ResumeReplay(ctx))
	must(t, c.WaitCaughtUp(ctx))
	wantValue(t, r, "SELECT count(*) FROM p", "1")
}

func TestFrozenNodeIsSilentUntilThawed(t *testing.T) {
	ctx := withTimeout(t)
	c := shared.Get(t)
	for _, n := range c.Nodes() {
		conn, err := n.Connect(ctx, cluster.App)
		must(t, err)
		must(t, n.Freeze())
		t.Cleanup(func() { must(t, n.Thaw()) })
		if !n.Running() {
			t.Error("frozen is not dead")
		}
		// An open connection: sent, and no answer.
		answered := make(chan error, 1)
		go func() {
			_, err := conn.Exec(ctx, "SELECT 1")
			answered <- err
		}()
		if err := connects(t, n, 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: a new connection: %v", n.Name(), err)
		}
		select {
		case err := <-answered:
			t.Fatalf("%s: a frozen backend has answered: %v", n.Name(), err)
		default:
		}
		must(t, n.Thaw())
		must(t, <-answered)
		must(t, conn.Close(ctx))
	}
	r := c.Redis()
	must(t, r.Freeze())
	if out, err := redisSays(r, ""); err == nil {
		t.Errorf("frozen redis says %q", out)
	}
	must(t, r.Thaw())
	if _, err := redisSays(r, ""); err != nil {
		t.Error(err)
	}
}

func TestFrozenNodeCanBeStoppedAndKilled(t *testing.T) {
	ctx := withTimeout(t)
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	r := c.Replicas()[0]
	must(t, r.Freeze())
	must(t, r.Stop(cluster.Fast))
	must(t, r.Start(ctx))
	must(t, r.Freeze())
	must(t, r.Kill())
	must(t, r.Start(ctx))
	must(t, c.WaitCaughtUp(ctx))
	must(t, c.Primary().Freeze()) // and is left so for Stop
}

func TestFailover(t *testing.T) {
	ctx := withTimeout(t)
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	old, next, other := c.Primary(), c.Replicas()[0], c.Replicas()[1]
	must(t, old.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS i"))
	must(t, c.WaitCaughtUp(ctx))
	must(t, old.Kill())
	must(t, next.Promote(ctx))
	if c.Primary() != next || len(c.Replicas()) != 1 || c.Replicas()[0] != other {
		t.Errorf("primary is %s, %d replicas", c.Primary().Name(), len(c.Replicas()))
	}
	must(t, next.Exec(ctx, "INSERT INTO t VALUES (2)"))
	// (pg_control_checkpoint() says so only after the next checkpoint.)
	wantValue(t, next, "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8)", "00000002")

	must(t, other.Follow(ctx, next))
	must(t, c.WaitCaughtUp(ctx))
	wantValue(t, other, "SELECT count(*) FROM t", "2")

	// The old one comes back, believing that it is primary still.
	must(t, old.Start(ctx))
	wantValue(t, old, "SELECT pg_is_in_recovery()", "f")
	must(t, old.Exec(ctx, "INSERT INTO t VALUES (666)"))
	port := old.Port()
	must(t, old.Rejoin(ctx, next))
	if old.Port() != port || old.Upstream() != next || len(c.Replicas()) != 2 {
		t.Errorf("port %d was %d, upstream %v, %d replicas", old.Port(), port, old.Upstream(), len(c.Replicas()))
	}
	must(t, next.Exec(ctx, "INSERT INTO t VALUES (3)"))
	must(t, c.WaitCaughtUp(ctx))
	wantValue(t, old, "SELECT string_agg(i::text, ',' ORDER BY i) FROM t", "1,2,3")

	if err := next.Follow(ctx, other); err == nil {
		t.Error("a primary follows")
	}
}

func TestReplicaIsAddedWhileThePrimaryIsWritten(t *testing.T) {
	ctx := withTimeout(t)
	c := cluster.ForTest(t, cluster.Options{})
	p := c.Primary()
	must(t, p.Exec(ctx, "CREATE TABLE t (i serial PRIMARY KEY, pad text)"))
	writing, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		for writing.Err() == nil {
			if err := p.Exec(ctx, "INSERT INTO t (pad) SELECT repeat('x', 1000) FROM generate_series(1, 500)"); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	r, err := c.AddReplica(ctx)
	stop()
	must(t, <-ended)
	must(t, err)
	must(t, c.WaitCaughtUp(ctx))
	want, err := p.Value(ctx, "SELECT count(*) || ' ' || sum(length(pad)) FROM t")
	must(t, err)
	wantValue(t, r, "SELECT count(*) || ' ' || sum(length(pad)) FROM t", want)
	if r.Name() != "replica1" || len(c.Replicas()) != 1 {
		t.Errorf("%s, %d replicas", r.Name(), len(c.Replicas()))
	}
}

func TestSynchronousCommitWaitsForTheReplica(t *testing.T) {
	ctx := withTimeout(t)
	c := cluster.ForTest(t, cluster.Options{Replicas: 2, Synchronous: []string{"replica1"}})
	p, r := c.Primary(), c.Replicas()[0]
	must(t, p.Exec(ctx, "CREATE TABLE t (i int)"))
	must(t, r.Freeze())
	conn, err := p.Connect(ctx, cluster.App)
	must(t, err)
	defer conn.Close(ctx)
	committed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(ctx, "INSERT INTO t VALUES (1)")
		committed <- err
	}()
	eventually(t, "commit waits", func() bool {
		v, err := p.Value(ctx, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
		return err == nil && v == "1"
	})
	// In the WAL, and not visible.
	wantValue(t, p, "SELECT count(*) FROM t", "0")
	must(t, r.Thaw())
	must(t, <-committed)
	wantValue(t, p, "SELECT count(*) FROM t", "1")

	must(t, c.SetSynchronous(ctx))
	must(t, r.Kill())
	must(t, p.Exec(ctx, "INSERT INTO t VALUES (2)"))
}

func TestRedisComesBackEmpty(t *testing.T) {
	ctx := withTimeout(t)
	r := cluster.ForTest(t, cluster.Options{Redis: true}).Redis()
	config, err := pgx.ParseConfig(strings.Replace(r.URL(), "redis:", "postgres:", 1)) // any URL parser will do
	must(t, err)
	port := r.Port()
	for _, end := range []func() error{r.Kill, r.Stop} {
		if out, err := redisSays(r, config.Password); err != nil || out != "+PONG\r\n" {
			t.Errorf("says %q, %v", out, err)
		}
		must(t, end())
		if _, err := redisSays(r, ""); err == nil || r.Running() {
			t.Error("still runs")
		}
		must(t, r.Start(ctx))
		if r.Port() != port {
			t.Errorf("port %d was %d", r.Port(), port)
		}
	}
}
