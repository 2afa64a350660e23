package shard

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A connection that is handed back and forth between two loops while it is busy loses nothing.
func TestDetachAndAttachUnderLoadLoseNothing(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		loops := [2]*Loop{tr.loop(t, Options{Name: "a"}), tr.loop(t, Options{Name: "b"})}
		ours, theirs := tr.pair(t)
		size, moves := 4<<20, 0
		var stop atomic.Bool
		stopped := make(chan struct{})
		var move func(c *Conn, at int)
		h := echo()
		move = func(c *Conn, at int) {
			if stop.Load() {
				close(stopped)
				return
			}
			moves++
			c.Detach(func(d Detached) {
				if d.User != "mine" {
					t.Errorf("User is %v", d.User)
				}
				to := loops[1-at]
				to.Post(func() {
					c, err := to.Attach(d, h)
					if err != nil {
						t.Error(err)
						close(stopped)
						return
					}
					to.After(time.Duration(moves%3)*time.Millisecond, func() { move(c, 1-at) })
				})
			})
			c.Write([]byte("lost")) // it is dead
			c.Close()
		}
		on(t, loops[0], func() {
			c, err := loops[0].Adopt(ours, h, []byte("first "))
			if err != nil {
				t.Fatal(err)
			}
			c.User = "mine"
			move(c, 0)
		})
		sent := make([]byte, size)
		rand.NewChaCha8([32]byte{7}).Read(sent)
		go func() {
			for p := sent; len(p) > 0; {
				n := min(len(p), 10000)
				theirs.Write(p[:n])
				p = p[n:]
			}
		}()
		got := make([]byte, len("first ")+size)
		theirs.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(theirs, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, append([]byte("first "), sent...)) {
			t.Error("what came back isn't what was sent")
		}
		stop.Store(true)
		wait(t, stopped, "the last move")
		if moves < 5 {
			t.Errorf("moved only %d times", moves)
		}
	})
}

func TestDetachedWithUnsentBytesSendsThemElsewhere(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		a, b := tr.loop(t, Options{}), tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		big := make([]byte, 8<<20)
		rand.NewChaCha8([32]byte{8}).Read(big)
		drained := make(chan struct{}, 10)
		moved := make(chan Detached, 1)
		c := adopt(t, a, ours, &funcs{closed: func(*Conn, error) { t.Error("Closed on a detached connection") }})
		on(t, a, func() { c.Write(big[:6<<20]) })
		on(t, a, func() { c.Write(big[6<<20:]); c.PauseRead(); c.Detach(func(d Detached) { moved <- d }) })
		d := wait(t, moved, "it is detached")
		on(t, b, func() {
			c, err := b.Attach(d, &funcs{drained: func(*Conn) { drained <- struct{}{} }})
			if err != nil {
				t.Fatal(err)
			}
			if c.Buffered() == 0 || c.Paused() {
				t.Error("Buffered is", c.Buffered(), "Paused is", c.Paused())
			}
		})
		got := make([]byte, len(big))
		theirs.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, big) {
			t.Error("what arrived isn't what was sent", err)
		}
		wait(t, drained, "Drained is called")
	})
}

func TestDetachedCanBeClosedInstead(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		c := adopt(t, l, ours, echo())
		moved := make(chan Detached, 1)
		on(t, l, func() { c.Detach(func(d Detached) { moved <- d }) })
		wait(t, moved, "it is detached").Close()
		theirs.SetReadDeadline(time.Now().Add(patience))
		if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
	})
}

func TestAttachToClosedLoopClosesTheConnection(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		var err error
		l.Post(func() {
			l.closing = true // as during Close
			_, err = l.Adopt(ours, echo(), nil)
		})
		l.Close()
		if err != ErrLoopClosed {
			t.Error(err)
		}
		theirs.SetReadDeadline(time.Now().Add(patience))
		if _, err := theirs.Read(make([]byte, 1)); err != io.EOF {
			t.Error(err)
		}
	})
}

// A handler may close others for which there are events in this very turn, and open new ones; nobody gets another's bytes.
func TestClosingAndAdoptingAmongPendingEvents(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		if tr.name == "tls" && testing.Short() {
			t.Skip("slow")
		}
		l := tr.loop(t, Options{})
		for range 50 {
			const n = 4
			var theirs [n]net.Conn
			var conns [n]*Conn
			var closed [n]int
			heard := ""
			newOurs, newTheirs := tr.pair(t)
			var all sync.WaitGroup
			all.Go(func() { newTheirs.Write([]byte("new")) })
			gotNew := make(chan string, 1)
			for i := range n {
				var ours net.Conn
				ours, theirs[i] = tr.pair(t)
				conns[i] = adopt(t, l, ours, &funcs{
					data: func(c *Conn, p []byte) {
						heard += string(p)
						for _, other := range conns {
							other.Close()
						}
						_, err := l.Adopt(newOurs, &funcs{data: func(c *Conn, p []byte) { gotNew <- string(p) }}, nil)
						if err != nil {
							t.Error(err)
						}
					},
					closed: func(c *Conn, err error) { closed[i]++ },
				})
			}
			held, hold := make(chan struct{}), make(chan struct{})
			l.Post(func() { close(held); <-hold })
			wait(t, held, "the loop is held up")
			for _, nc := range theirs {
				all.Go(func() { nc.Write([]byte("x")) })
			}
			if tr.holds() {
				time.Sleep(time.Millisecond) // so that most often all events come in one turn
			}
			close(hold)
			if s := wait(t, gotNew, "the new one is served"); s != "new" {
				t.Fatalf("the new one got %q", s)
			}
			on(t, l, func() {
				if heard != "x" || closed != [n]int{1, 1, 1, 1} {
					t.Fatalf("heard %q; closed %v times", heard, closed)
				}
			})
			newTheirs.Close()
			for _, nc := range theirs {
				nc.Close()
			}
			all.Wait()
		}
	})
}

// The writing goroutine is done with a buffer just as the connection is on its way out.
func TestNewsThatComesWhileDetachingGoesAlong(t *testing.T) {
	for _, tr := range transports {
		if !tr.portable {
			continue
		}
		a, b := tr.loop(t, Options{}), tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		go io.Copy(io.Discard, theirs)
		c := adopt(t, a, ours, echo())
		moved := make(chan Detached, 1)
		on(t, a, func() {
			c.Write([]byte("x"))
			c.flush()
			for done := false; !done; runtime.Gosched() {
				c.g.mu.Lock()
				done = c.g.mu.written // and the letter that says so comes after the timer
				c.g.mu.Unlock()
			}
			a.After(0, func() { c.Detach(func(d Detached) { moved <- d }) })
		})
		d := wait(t, moved, "it is detached")
		on(t, b, func() { c, _ = b.Attach(d, echo()) })
		until(t, b, tr.name+": the new loop knows that all is written", func() bool { return c.Buffered() == 0 })
	}
}
