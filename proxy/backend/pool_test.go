package backend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/shard"
	"github.com/freshet/freshet/proxy/wire"
)

// poolHarness is a pool before a real server, over loops of its own.
type poolHarness struct {
	t     *testing.T
	c     *cluster.Cluster
	loops []*shard.Loop
	pool  *Pool
}

func newPoolHarness(t *testing.T, loops int, opts Options) *poolHarness {
	t.Helper()
	noLeaks(t)
	c := cluster.ForTest(t, cluster.Options{})
	h := &poolHarness{t: t, c: c}
	for i := range loops {
		l, err := shard.New(shard.Options{Name: fmt.Sprint(i), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run()
		}()
		t.Cleanup(func() {
			l.Close()
			<-done
		})
		h.loops = append(h.loops, l)
	}
	target := mustTarget(t, c.Primary().URL(cluster.App))
	opts.Connect = 20 * time.Second
	h.pool = NewPool(target, cluster.App, "postgres", h.loops, opts)
	t.Cleanup(h.pool.Close)
	return h
}

// on runs fn on a loop and waits for it.
func (h *poolHarness) on(loop int, fn func()) {
	h.t.Helper()
	done := make(chan struct{})
	h.loops[loop].Post(func() {
		defer close(done)
		fn()
	})
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		h.t.Fatal("the loop is stuck")
	}
}

// borrower is a session that doesn't do anything.
type borrower struct{ data, closed chan struct{} }

func newBorrower() *borrower {
	return &borrower{data: make(chan struct{}, 100), closed: make(chan struct{}, 100)}
}
func (b *borrower) ServerData([]byte)  { b.data <- struct{}{} }
func (b *borrower) ServerClosed(error) { b.closed <- struct{}{} }
func (b *borrower) ServerDrained()     {}

type grant struct {
	who  int
	loop int
	conn *Conn
	err  error
}

// acquire asks on a loop; what is granted arrives in grants.
func (h *poolHarness) acquire(loop, who int, grants chan<- grant) (w *Waiter) {
	h.t.Helper()
	h.on(loop, func() {
		b := newBorrower()
		var c *Conn
		c, w = h.pool.Local(loop).Acquire(b, mustTarget(h.t, h.c.Primary().URL(cluster.App)).Service(), func(c *Conn, err error) {
			if c != nil {
				c.Own(b)
			}
			grants <- grant{who, loop, c, err}
		})
		if c != nil {
			grants <- grant{who, loop, c, nil}
		}
	})
	return w
}

func (h *poolHarness) next(grants <-chan grant) grant {
	h.t.Helper()
	select {
	case g := <-grants:
		return g
	case <-time.After(20 * time.Second):
		h.t.Fatal("nothing is granted")
		return grant{}
	}
}

func (h *poolHarness) release(g grant) { h.on(g.loop, g.conn.Release) }

// HAZARD 17: whoever waits longest is served next, whichever shard the connection comes free on.
func TestHazard17FirstComeFirstServedOverShards(t *testing.T) {
	h := newPoolHarness(t, 3, Options{Size: 2, Wait: 20 * time.Second})
	grants := make(chan grant, 100)
	var held []grant
	for i := range 2 {
		h.acquire(i, -1, grants)
		held = append(held, h.next(grants))
	}
	const waiters = 30
	for i := range waiters {
		h.acquire(i%3, i, grants)
	}
	for i := range waiters {
		h.release(held[0])
		g := h.next(grants)
		if g.err != nil || g.who != i || g.loop != i%3 {
			t.Fatalf("turn %d: %+v", i, g)
		}
		// It works where it has moved to, and is the one that was given back.
		if g.conn != held[0].conn {
			t.Fatalf("turn %d: another connection than the one that came free", i)
		}
		held = append(held[1:], g)
		if i%7 == 0 {
			h.on(g.loop, func() { g.conn.Write(wire.AppendQuery(nil, "SELECT 1")) })
			var b *borrower
			h.on(g.loop, func() { b = g.conn.owner.(*borrower) })
			select {
			case <-b.data:
			case <-time.After(20 * time.Second):
				t.Fatal("no answer on a connection that was handed over")
			}
		}
	}
	if s := h.pool.Stats(); s.Total != 2 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// HAZARD 4, 17: who leaves the queue while a connection is on its way isn't given it later, in the place of what it asks for
// next: that could be a connection to another node.
func TestALateGrantGoesToTheNext(t *testing.T) {
	h := newPoolHarness(t, 2, Options{Size: 1, Wait: 20 * time.Second})
	grants := make(chan grant, 100)
	h.acquire(0, 0, grants)
	held := h.next(grants)
	for range 20 {
		w := h.acquire(1, 1, grants)
		// While its shard is busy, the connection comes free and the waiter leaves.
		blocked := make(chan struct{})
		h.loops[1].Post(func() {
			<-blocked
			h.pool.Local(1).Leave(w)
		})
		h.release(held)
		close(blocked)
		h.acquire(0, 2, grants)
		if held = h.next(grants); held.who != 2 || held.err != nil {
			t.Fatalf("granted to one that had left: %+v", held)
		}
	}
	if s := h.pool.Stats(); s.Total != 1 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// HAZARD 17: a connection that is closing when it comes free can't move to another shard. Who waits there gets another one.
func TestAClosingConnectionDoesNotLoseWhoWaits(t *testing.T) {
	h := newPoolHarness(t, 2, Options{Size: 1, Wait: 20 * time.Second})
	grants := make(chan grant, 100)
	for i := range 5 {
		h.acquire(0, 0, grants)
		held := h.next(grants)
		h.acquire(1, 1, grants)
		h.on(0, func() {
			held.conn.raw.Close() // as when the server goes away in the same turn
			held.conn.Release()
		})
		next := h.next(grants)
		if next.err != nil || next.who != 1 || next.conn == held.conn {
			t.Fatalf("round %d: %+v", i, next)
		}
		h.on(1, next.conn.Discard)
	}
	if s := h.pool.Stats(); s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

func TestWaitingForAConnectionHasABound(t *testing.T) {
	h := newPoolHarness(t, 1, Options{Size: 1, Wait: time.Minute})
	grants := make(chan grant, 100)
	h.acquire(0, 0, grants)
	held := h.next(grants) // which takes as long as it takes to log in
	h.on(0, func() { h.pool.opts.Wait = 50 * time.Millisecond })
	for i := range 3 {
		h.acquire(0, 1+i, grants)
	}
	for i := range 3 {
		if g := h.next(grants); g.who != 1+i || !errors.Is(g.err, ErrPoolWait) {
			t.Errorf("%+v", g)
		}
	}
	h.release(held)
	h.acquire(0, 9, grants)
	if g := h.next(grants); g.err != nil {
		t.Error(g.err)
	}
}

// A connection that is too old or has been idle for too long is closed, also when nobody asks for one.
func TestConnectionsDontOutliveTheirTime(t *testing.T) {
	for name, opts := range map[string]Options{"lifetime": {Lifetime: time.Nanosecond}, "idle": {IdleTimeout: time.Nanosecond}} {
		t.Run(name, func(t *testing.T) {
			opts.Size = 3
			h := newPoolHarness(t, 1, opts)
			grants := make(chan grant, 100)
			var held []grant
			for i := range 3 {
				h.acquire(0, i, grants)
			}
			for range 3 {
				held = append(held, h.next(grants))
			}
			if name == "lifetime" {
				// One that is lent is let finish.
				h.on(0, h.pool.Local(0).Sweep)
				if s := h.pool.Stats(); s.Total != 3 {
					t.Fatalf("%+v", s)
				}
				h.pool.opts.Lifetime = time.Hour
				for _, g := range held {
					h.release(g)
				}
				h.pool.opts.Lifetime = time.Nanosecond
			} else {
				for _, g := range held {
					h.release(g)
				}
			}
			h.on(0, func() {}) // another turn, so that time has passed
			h.on(0, h.pool.Local(0).Sweep)
			if s := h.pool.Stats(); s.Total != 0 || s.Idle != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A pool doesn't make more connections than it may, however many ask at once, and uses all it may make.
func TestAPoolHasItsSize(t *testing.T) {
	h := newPoolHarness(t, 2, Options{Size: 5, Wait: 20 * time.Second})
	grants := make(chan grant, 1000)
	const clients = 100
	for i := range clients {
		h.acquire(i%2, i, grants)
	}
	served := 0
	most := 0
	var held []grant
	for served < clients {
		g := h.next(grants)
		if g.err != nil {
			t.Fatal(g.err)
		}
		served++
		held = append(held, g)
		most = max(most, len(held))
		if len(held) == 5 || len(held) == clients-served {
			for _, g := range held {
				h.release(g)
			}
			held = nil
		}
	}
	for _, g := range held {
		h.release(g)
	}
	if s := h.pool.Stats(); s.Total != 5 || most != 5 {
		t.Errorf("at most %d were lent at once; %+v", most, s)
	}
	conn, err := h.c.Primary().Connect(context.Background(), cluster.App)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' AND pid <> pg_backend_pid() AND backend_type = 'client backend'").Scan(&n); err != nil || n != 5 {
		t.Errorf("%d connections at the server (%v)", n, err)
	}
}
