package shard

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPostedFunctionsRunInTheOrderOfEachSender(t *testing.T) {
	for _, tr := range []transport{{portable: false}, {portable: true}} {
		l := tr.loop(t, Options{})
		const senders, each = 16, 2000
		var next [senders]int
		var wrong, ran int
		var all sync.WaitGroup
		for s := range senders {
			all.Go(func() {
				for i := range each {
					ok := l.Post(func() {
						if next[s] != i {
							wrong++
						}
						next[s]++
						ran++
					})
					if !ok {
						t.Error("refused")
					}
					if i%100 == 0 {
						runtime.Gosched() // so that the loop sleeps now and then
					}
				}
			})
		}
		all.Wait()
		on(t, l, func() {
			if wrong != 0 || ran != senders*each {
				t.Errorf("portable %v: %d of %d ran, %d out of order", tr.portable, ran, senders*each, wrong)
			}
		})
	}
}

// A sleeping loop is woken for each of many single letters: none may be slept over.
func TestPostWakesTheLoop(t *testing.T) {
	for _, tr := range []transport{{portable: false}, {portable: true}} {
		l := tr.loop(t, Options{})
		ran := make(chan struct{})
		for range 5000 {
			l.Post(func() { ran <- struct{}{} })
			wait(t, ran, "the loop wakes")
		}
	}
}

func TestPostFromTheLoopItselfDoesNotStarveOthers(t *testing.T) {
	l := transport{}.loop(t, Options{})
	ours, theirs := tcpPair(t)
	adopt(t, l, ours, echo())
	stop := false
	var again func()
	again = func() {
		if !stop {
			l.Post(again)
		}
	}
	l.Post(again)
	theirs.SetDeadline(time.Now().Add(patience))
	theirs.Write([]byte("x"))
	if _, err := theirs.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	on(t, l, func() { stop = true })
}

func TestCloseRunsWhatWasPostedAndClosesEverything(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		var closed, posted int
		var late bool
		var theirs []net.Conn
		for range 20 {
			ours, their := tr.pair(t)
			theirs = append(theirs, their)
			adopt(t, l, ours, &funcs{closed: func(c *Conn, err error) {
				if err != ErrLoopClosed {
					t.Errorf("Closed with %v", err)
				}
				closed++
				late = late || l.Post(func() {})
				c.Write([]byte("x"))
				c.Close()
				c.Detach(nil)
			}})
		}
		hold := make(chan struct{})
		l.Post(func() { <-hold })
		for range 100 {
			l.Post(func() { posted++ })
		}
		ours, _ := tr.pair(t)
		l.Post(func() {
			if c, err := l.Adopt(ours, echo(), nil); err == nil { // Close has not, or has just been called
				c.SetHandler(&funcs{})
			}
		})
		var all sync.WaitGroup
		for range 3 {
			all.Go(l.Close)
		}
		close(hold)
		all.Wait()
		if closed != 20 || posted != 100 || late {
			t.Errorf("%d of 20 closed, %d of 100 run, Post accepted afterwards: %v", closed, posted, late)
		}
		for _, nc := range append(theirs, ours) {
			nc.SetDeadline(time.Now().Add(patience))
			if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a connection is open after Close: %d, %v", n, err)
			}
		}
		if n := l.Stats().Conns; n != 0 {
			t.Errorf("%d connections are counted", n)
		}
		l.Close()
		if l.Post(func() {}) {
			t.Error("Post accepted after Close")
		}
	})
}

func TestCloseOfLoopThatNeverRan(t *testing.T) {
	for _, portable := range []bool{false, true} {
		l, err := New(Options{Portable: portable})
		if err != nil {
			t.Fatal(err)
		}
		ran := false
		l.Post(func() { ran = true })
		l.Close()
		l.Close()
		l.Run()
		if !ran {
			t.Error("what was posted didn't run")
		}
	}
}

// The end of the goroutine by a callback (t.FailNow does that) still closes everything.
func TestGoexitInCallbackClosesTheLoop(t *testing.T) {
	l := transport{}.loop(t, Options{})
	ours, _ := tcpPair(t)
	closed := make(chan error, 1)
	adopt(t, l, ours, &funcs{closed: func(c *Conn, err error) { closed <- err }})
	l.Post(runtime.Goexit)
	if err := wait(t, closed, "Closed is called"); err != ErrLoopClosed {
		t.Error(err)
	}
}

func TestPanicHarmsNobodyElse(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		var log safeBuffer
		l := tr.loop(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		bystander, theirs := tr.pair(t)
		adopt(t, l, bystander, echo())
		talk := func() {
			t.Helper()
			theirs.SetDeadline(time.Now().Add(patience))
			theirs.Write([]byte("x"))
			if _, err := theirs.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		closed := make(chan error, 10)
		report := func(c *Conn, err error) { closed <- err }
		for what, h := range map[string]*funcs{
			"Data":    {data: func(*Conn, []byte) { panic("in Data") }, closed: report},
			"Closed":  {data: func(c *Conn, _ []byte) { c.Close() }, closed: func(c *Conn, err error) { report(c, &PanicError{}); panic("in Closed") }},
			"Drained": {data: func(c *Conn, _ []byte) { c.Write(make([]byte, 100<<10)) }, drained: func(*Conn) { panic("in Drained") }, closed: report},
		} {
			ours, their := tr.pair(t)
			adopt(t, l, ours, h)
			go func() {
				their.Write([]byte("x"))
				buf := make([]byte, 1000)
				for {
					if _, err := their.Read(buf); err != nil {
						return
					}
				}
			}()
			err := wait(t, closed, "Closed is called")
			if p := (*PanicError)(nil); !errors.As(err, &p) {
				t.Errorf("%s: Closed with %v", what, err)
			}
			talk()
		}
		l.Post(func() { panic("in Post") })
		talk()
		on(t, l, func() { l.After(0, func() { panic("in a timer") }) })
		until(t, l, "all have panicked", func() bool { return l.count.panics == 5 })
		talk()
		text := log.String()
		for _, what := range []string{"in Data", "in Closed", "in Drained", "in Post", "in a timer", "TestPanicHarmsNobodyElse"} {
			if !strings.Contains(text, what) {
				t.Errorf("%q isn't in the log", what)
			}
		}
	})
}

type safeBuffer struct {
	mu struct {
		sync.Mutex
		b bytes.Buffer
	}
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.b.String()
}

func TestStatsCount(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		adopt(t, l, ours, &funcs{data: func(c *Conn, p []byte) { c.Write(p); c.Write(p) }})
		theirs.SetDeadline(time.Now().Add(patience))
		for range 10 {
			theirs.Write([]byte("12345"))
			theirs.Read(make([]byte, 10))
		}
		deadline := time.Now().Add(patience)
		for s := l.Stats(); s.Conns != 1 || s.BytesIn != 50 || s.BytesOut != 100 || s.Turns < 10 || s.Posts != 1 || s.Wakes == 0; s = l.Stats() {
			if time.Now().After(deadline) {
				t.Fatalf("%+v", s)
			}
			runtime.Gosched()
		}
	})
}

func TestConnectionsAreServedInTurn(t *testing.T) {
	const buffer, conns, rounds = 4 << 10, 5, 20
	l := transport{}.loop(t, Options{ReadBuffer: buffer})
	var order []*Conn
	h := &funcs{data: func(c *Conn, p []byte) {
		if len(p) != buffer {
			t.Errorf("%d bytes at once", len(p))
		}
		order = append(order, c)
	}}
	var theirs [conns]net.Conn
	for i := range theirs {
		var ours net.Conn
		ours, theirs[i] = unixPair(t)
		adopt(t, l, ours, h)
	}
	held, hold := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(held); <-hold })
	wait(t, held, "the loop is held up")
	for _, nc := range theirs {
		nc.SetDeadline(time.Now().Add(patience))
		if _, err := nc.Write(make([]byte, rounds*buffer)); err != nil { // the kernel has room for it
			t.Fatal(err)
		}
	}
	close(hold)
	until(t, l, "all has come", func() bool { return len(order) == conns*rounds })
	for round := range slices.Chunk(order, conns) {
		if len(slices.Compact(slices.SortedFunc(slices.Values(round), func(a, b *Conn) int { return int(a.slot - b.slot) }))) != conns {
			t.Fatal("somebody was served twice before others were served once")
		}
	}
}

func TestNowIsTheClock(t *testing.T) {
	l := transport{}.loop(t, Options{})
	before := time.Now().UnixNano()
	var now int64
	on(t, l, func() { now = l.Now() })
	on(t, l, func() { now = l.Now() }) // the first may have come in a turn that began before
	if after := time.Now().UnixNano(); now < before || now > after {
		t.Errorf("%d isn't within %d…%d", now, before, after)
	}
}
