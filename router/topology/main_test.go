package topology

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/consistency"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is where a topology under test writes to.
type log struct {
	t  *testing.T
	mu struct {
		sync.Mutex
		bytes.Buffer
	}
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.String()
}

func (l *log) has(parts ...string) bool {
	for line := range strings.Lines(l.String()) {
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

// run starts a topology and stops it when the test ends.
func run(t *testing.T, cfg Config) (*Topology, *log) {
	t.Helper()
	l := &log{t: t}
	cfg.Logger = slog.New(slog.NewTextHandler(l, nil))
	topo, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { topo.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		begun := time.Now()
		<-done
		if d := time.Since(begun); d > time.Second {
			t.Errorf("it took %v to stop", d)
		}
		if t.Failed() {
			t.Logf("log:\n%s", l)
		}
	})
	return topo, l
}

// until polls: servers don't say when they are ready for what is waited for.
func until(t *testing.T, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	for !ok() {
		if time.Since(begun) > limit {
			t.Fatalf("after %v: not %s", limit, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begun)
}

// never watches for a while that something doesn't happen.
func never(t *testing.T, what string, d time.Duration, happens func() bool) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < d; {
		if happens() {
			t.Fatalf("after %v: %s", time.Since(begun), what)
		}
		time.Sleep(time.Millisecond)
	}
}

func url(n *cluster.Node) string { return n.URL(cluster.App) }

func urls(nodes ...*cluster.Node) []string {
	var s []string
	for _, n := range nodes {
		s = append(s, url(n))
	}
	return s
}

// at is the topology's node for a server.
func at(t *testing.T, topo *Topology, c *cluster.Node) *Node {
	t.Helper()
	for _, n := range topo.Nodes() {
		if n.Addr() == c.Addr() {
			return n
		}
	}
	t.Fatalf("no node %s", c.Addr())
	return nil
}

// state is the node's line of SHOW NODES.
func state(t *testing.T, topo *Topology, c *cluster.Node) NodeState {
	t.Helper()
	for _, s := range topo.State() {
		if s.Addr == c.Addr() {
			return s
		}
	}
	t.Fatalf("no node %s", c.Addr())
	return NodeState{}
}

// lsn asks a server for a position, in its own words.
func lsn(t *testing.T, n *cluster.Node, sql string) consistency.LSN {
	t.Helper()
	v, err := n.Value(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	l, err := consistency.ParseLSN(v)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// reader is a session that has written nothing.
func reader() *consistency.Session {
	return consistency.NewSession(10*time.Second, consistency.CaughtUp)
}

// picks gives the replica for a session that has written nothing.
func (t *Topology) picks(bound time.Duration) *Node {
	return picked(t, reader(), within(t.RefNow(consistency.Now()), bound), nil)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, n *cluster.Node, i int) {
	t.Helper()
	must(t, n.Exec(t.Context(), fmt.Sprintf("CREATE TABLE IF NOT EXISTS seen (n int); INSERT INTO seen VALUES (%d)", i)))
}

// picked is PickReplica without its reason.
func picked(t interface {
	PickReplica(*consistency.Session, consistency.Read, *Node) (*Node, consistency.Verdict)
}, s *consistency.Session, r consistency.Read, skip *Node) *Node {
	n, _ := t.PickReplica(s, r, skip)
	return n
}

// within is a read of the default level.
func within(refNow int64, bound time.Duration) consistency.Read {
	return consistency.Read{Level: consistency.SessionLevel, RefNow: refNow, Bound: bound}
}
