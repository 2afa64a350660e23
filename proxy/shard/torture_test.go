package shard

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

var tortureSeed = flag.Uint64("torture.seed", 0, "run the torture test with this seed only")

// Whatever connections and their owners do to one another, in whatever order: bytes arrive in order and none twice, nothing is
// delivered while reading is paused or after the end, the end comes exactly once, and what CloseAfterFlush promised was sent.
func TestTorture(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4, 5}
	if testing.Short() {
		seeds = seeds[:1]
	}
	if *tortureSeed != 0 {
		seeds = []uint64{*tortureSeed}
	}
	onEach(t, func(t *testing.T, tr transport) {
		for _, seed := range seeds {
			torture(t, tr, seed)
			if t.Failed() {
				t.Fatalf("failed with -torture.seed=%d", seed)
			}
		}
	})
}

const (
	victims = 24
	acts    = 150 // of each
)

// victim is a connection and, as its handler, what is expected of it. It is touched on the loop it is on.
type victim struct {
	t     *testing.T
	all   *[victims]*victim
	loops [2]*Loop
	id    int
	r     *rand.Rand

	at       int // index in loops; -1: on its way
	c        *Conn
	acts     int
	tick     *Timer
	got      int // bytes delivered
	sent     int // bytes written
	paused   bool
	ended    int // calls of Closed
	asked    bool
	panicked bool
	err      error
	gracious bool // ended by CloseAfterFlush

	// The peer's, read when all is over.
	received int
	left     bool // it went away by itself
}

func (v *victim) Data(c *Conn, p []byte) {
	if c != v.c || v.paused || v.ended > 0 || v.asked || v.panicked {
		v.t.Errorf("%v: data for the wrong one, while paused, or after the end", v)
	}
	if at := stream(v.id, 0).mismatch(v.got, p); at >= 0 {
		v.t.Errorf("%v: wrong byte %d of %d", v, at, len(p))
	}
	v.got += len(p)
	v.act()
}

func (v *victim) Drained(c *Conn) {
	if c != v.c || v.ended > 0 || v.asked || v.panicked {
		v.t.Errorf("%v: Drained for the wrong one, or after the end", v)
	}
	v.act()
}

func (v *victim) Closed(c *Conn, err error) {
	v.ended++
	v.err = err
	v.tick.Stop()
	if c != v.c || v.ended > 1 {
		v.t.Errorf("%v: Closed for the wrong one, or again", v)
	}
	c.Write([]byte("into the void"))
	c.CloseAfterFlush()
	c.ResumeRead()
}

func (v *victim) String() string {
	return fmt.Sprintf("connection %d (got %d, sent %d, acts %d, paused %v, asked %v, ended %d with %v)", v.id, v.got, v.sent, v.acts, v.paused, v.asked, v.ended, v.err)
}

func (v *victim) write(n int) {
	if v.c.Buffered() > 1<<20 || v.asked {
		return
	}
	v.c.Write(stream(v.id, 1).at(v.sent, n))
	v.sent += n
}

// settle is what a victim does on arriving at a loop.
func (v *victim) settle(c *Conn, at int) {
	v.c, v.at, v.paused = c, at, false
	l := v.loops[at]
	v.tick = &Timer{}
	v.tick.Init(l, func() {
		v.tick.Reset(time.Duration(v.r.IntN(1500)) * time.Microsecond)
		v.c.Do(v.act)
	})
	v.tick.Reset(0)
}

// act does something at random.
func (v *victim) act() {
	if v.at < 0 || v.ended > 0 || v.asked || v.panicked {
		return
	}
	v.acts++
	if v.acts > acts {
		v.write(1000)
		v.gracious, v.asked = true, true
		v.c.CloseAfterFlush()
		return
	}
	switch n := v.r.IntN(1000); {
	case n < 400:
		v.write(v.r.IntN(1 << v.r.IntN(18)))
	case n < 500:
		v.c.PauseRead()
		v.paused = true
	case n < 650:
		v.c.ResumeRead()
		v.paused = false
	case n < 720:
		v.write(v.r.IntN(1000))
		to := 1 - v.at
		moves := v.c.Detach(func(d Detached) {
			v.loops[to].Post(func() {
				c, err := v.loops[to].Attach(d, v)
				if err != nil {
					v.t.Errorf("%v: %v", v, err)
					return
				}
				v.settle(c, to)
			})
		})
		if moves {
			v.at = -1
			v.tick.Stop()
		}
	case n < 726:
		v.asked = true
		v.c.Close()
	case n < 732:
		v.write(v.r.IntN(1 << 20))
		v.gracious, v.asked = true, true
		v.c.CloseAfterFlush()
	case n < 736: // somebody else
		if w := v.all[v.r.IntN(victims)]; w.isAt(v.at) {
			w.asked = true
			w.c.Close()
		}
	case n < 738:
		v.panicked = true
		if v.r.IntN(2) == 0 {
			v.c.Close()
		}
		panic("torture")
	}
}

// isAt says whether v may be touched by somebody on that loop.
func (v *victim) isAt(at int) bool {
	for _, s := range v.loops[at].slots {
		if s.c != nil && s.c.handler == v && s.c.state == open && !v.asked && !v.panicked {
			return true
		}
	}
	return false
}

func torture(t *testing.T, tr transport, seed uint64) {
	quiet := Options{Logger: slog.New(slog.DiscardHandler), FlushTimeout: time.Second, ReadBuffer: 10000, LowWater: 20000}
	var loops [2]*Loop
	for i := range loops {
		loops[i] = tr.loop(t, quiet)
	}
	all := &[victims]*victim{}
	var peers sync.WaitGroup
	for i := range all {
		all[i] = &victim{t: t, all: all, loops: loops, id: i, r: rand.New(rand.NewPCG(seed, uint64(i)))}
	}
	for i, v := range all {
		ours, theirs := tr.pair(t)
		at := i % 2
		on(t, loops[at], func() {
			c, err := loops[at].Adopt(ours, v, stream(i, 0).at(0, 100))
			if err != nil {
				t.Error(err)
				return
			}
			v.settle(c, at)
		})
		v.peer(&peers, theirs, rand.New(rand.NewPCG(seed, uint64(i)+1000)))
	}
	done := make(chan struct{})
	go func() { peers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("not all have come to their end")
	}
	for i, l := range loops {
		until(t, l, "everything is closed", func() bool { return len(l.free) == len(l.slots) })
		if t.Failed() {
			t.Log(i, l.Stats())
		}
	}
	for _, l := range loops {
		l.Close()
	}
	<-done
	for _, v := range all {
		if v.ended != 1 {
			t.Errorf("%v: Closed was called %d times", v, v.ended)
		}
		if v.received > v.sent {
			t.Errorf("%v: the peer received %d bytes", v, v.received)
		}
		if v.gracious && !v.left && v.err == nil && v.received != v.sent {
			t.Errorf("%v: the peer received %d bytes", v, v.received)
		}
	}
}

// peer is the other end: it writes its stream, checks what it reads, and leaves in one way or another.
func (v *victim) peer(all *sync.WaitGroup, nc net.Conn, r *rand.Rand) {
	size := 100 + r.IntN(1<<(10+r.IntN(12)))
	leaves, buf := r.IntN(4), make([]byte, 1+r.IntN(100000))
	all.Go(func() {
		for at := 100; at < size; {
			n := min(1+r.IntN(1<<r.IntN(17)), size-at)
			if _, err := nc.Write(stream(v.id, 0).at(at, n)); err != nil {
				return
			}
			at += n
		}
		switch cw, _ := nc.(closeWriter); {
		case leaves == 0 && cw != nil:
			v.left = true
			cw.CloseWrite()
		case leaves == 1:
			v.left = true
			if tc, ok := nc.(*net.TCPConn); ok {
				tc.SetLinger(0)
			}
			nc.Close()
		}
	})
	all.Go(func() {
		for {
			n, err := nc.Read(buf)
			if at := stream(v.id, 1).mismatch(v.received, buf[:n]); at >= 0 {
				v.t.Errorf("connection %d: the peer got a wrong byte %d of %d at %d", v.id, at, n, v.received)
			}
			v.received += n
			if err != nil {
				if err == io.EOF {
					nc.Close()
				}
				return
			}
		}
	})
}

// source is the bytes that one end of a connection sends: a piece of noise, over and over, so that a lost, doubled or swapped byte shows.
type source []byte

var noise = func() []byte {
	p := make([]byte, 65521)
	rand.NewChaCha8([32]byte{}).Read(p)
	return p
}()

func stream(id, direction int) source {
	at := (id*2 + direction) * 1009 % len(noise)
	return source(noise[at:])
}

func (s source) at(offset, n int) []byte {
	p := make([]byte, 0, n)
	for len(p) < n {
		at := (offset + len(p)) % len(s)
		p = append(p, s[at:min(len(s), at+n-len(p))]...)
	}
	return p
}

// mismatch returns the index of the first byte of p that isn't the stream's; -1: all are.
func (s source) mismatch(offset int, p []byte) int {
	for i := range p {
		if p[i] != s[(offset+i)%len(s)] {
			return i
		}
	}
	return -1
}
