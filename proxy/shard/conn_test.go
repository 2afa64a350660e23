package shard

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// echo writes back what it gets.
func echo() *funcs { return &funcs{data: func(c *Conn, p []byte) { c.Write(p) }} }

func TestEchoGivesEverythingBackInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		initial := []byte("read during the handshake")
		adopt(t, l, ours, echo(), initial...)
		sent := make([]byte, 1<<20)
		rand.NewChaCha8([32]byte{1}).Read(sent)
		go func() {
			r := rand.New(rand.NewPCG(1, 2))
			for p := sent; len(p) > 0; {
				n := min(len(p), 1+r.IntN(1<<r.IntN(16)))
				if _, err := theirs.Write(p[:n]); err != nil {
					t.Error(err)
					return
				}
				p = p[n:]
			}
		}()
		got := make([]byte, len(initial)+len(sent))
		theirs.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(theirs, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, append(initial, sent...)) {
			t.Error("what came back isn't what was sent")
		}
	})
}

// relay passes bytes on to its peer, and stops reading while that has more than a little to send.
type relay struct {
	peer  *Conn
	most  *int
	limit int
}

func (r *relay) Data(c *Conn, p []byte) {
	r.peer.Write(p)
	*r.most = max(*r.most, r.peer.Buffered())
	if r.peer.Buffered() > r.limit {
		c.PauseRead()
	}
}
func (r *relay) Drained(*Conn)       { r.peer.ResumeRead() }
func (r *relay) Closed(*Conn, error) { r.peer.CloseAfterFlush() }

// Both directions at once, each with more than fits into all buffers: HAZARDS 16, 21.
func TestBothDirectionsMoveInBoundedMemory(t *testing.T) {
	size := int64(64 << 20)
	if testing.Short() {
		size = 4 << 20
	}
	onEach(t, func(t *testing.T, tr transport) {
		const limit = 100 << 10
		l := tr.loop(t, Options{})
		var conns [2]*Conn
		var theirs [2]net.Conn
		var most int
		for i := range conns {
			var ours net.Conn
			ours, theirs[i] = tr.pair(t)
			conns[i] = adopt(t, l, ours, nil)
			on(t, l, conns[i].PauseRead)
		}
		on(t, l, func() {
			for i, c := range conns {
				c.SetHandler(&relay{peer: conns[1-i], most: &most, limit: limit})
				c.ResumeRead()
			}
		})
		var sums [2]struct{ sent, got hash.Hash }
		var all sync.WaitGroup
		for i := range conns {
			sums[i].sent, sums[1-i].got = sha256.New(), sha256.New()
			all.Go(func() {
				src := io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size)
				if n, err := io.CopyBuffer(struct{ io.Writer }{theirs[i]}, io.TeeReader(src, sums[i].sent), make([]byte, 50000)); n != size || err != nil {
					t.Error("sent", n, err)
				}
			})
			all.Go(func() {
				if n, err := io.CopyN(sums[1-i].got, theirs[1-i], size); n != size || err != nil {
					t.Error("received", n, err)
				}
			})
		}
		done := make(chan struct{})
		go func() { all.Wait(); close(done) }()
		wait(t, done, "everything has passed")
		for i := range sums {
			if !bytes.Equal(sums[i].sent.Sum(nil), sums[1-i].got.Sum(nil)) {
				t.Error("what arrived isn't what was sent")
			}
		}
		on(t, l, func() {
			if most > limit+l.opts.ReadBuffer {
				t.Errorf("%d bytes were held in one buffer", most)
			}
		})
	})
}

func TestPauseReadStopsDataAtOnceAndResumeBringsItAll(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{ReadBuffer: 16})
		ours, theirs := tr.pair(t)
		var got []byte
		var wrong bool
		c := adopt(t, l, ours, &funcs{data: func(c *Conn, p []byte) {
			wrong = wrong || c.Paused()
			got = append(got, p...)
			c.PauseRead()
		}}, []byte("initial ")...)
		sent := []byte("initial ")
		r := rand.New(rand.NewPCG(3, 4))
		go func() {
			for range 100 {
				theirs.Write([]byte("some more bytes, in pieces that come when they come; "))
			}
		}()
		for range 100 {
			sent = append(sent, "some more bytes, in pieces that come when they come; "...)
		}
		for before := 0; before < len(sent); {
			until(t, l, "data came", func() bool { before = len(got); return c.Paused() })
			for range r.IntN(3) { // turns in which nothing may come
				on(t, l, func() {
					if len(got) != before {
						t.Error("data came while reading was paused")
					}
				})
			}
			if before < len(sent) {
				on(t, l, func() { c.ResumeRead(); c.PauseRead(); c.ResumeRead() })
			}
		}
		on(t, l, func() {
			if wrong || !bytes.Equal(got, sent) {
				t.Error("data came while reading was paused, or isn't what was sent")
			}
		})
	})
}

// Reading is resumed by somebody whose event comes first in the very turn in which there is one for us.
func TestInitialBytesComeFirstAlsoWhenResumedAmongEvents(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		others, others2 := tr.pair(t)
		var got []byte
		var c *Conn
		on(t, l, func() {
			c, _ = l.Adopt(ours, &funcs{data: func(c *Conn, p []byte) { got = append(got, p...) }}, []byte("initial, "))
			c.PauseRead()
		})
		adopt(t, l, others, &funcs{data: func(*Conn, []byte) { c.ResumeRead() }})
		on(t, l, func() { // nothing is noticed meanwhile, so both events come in one turn
			var writers sync.WaitGroup
			for _, nc := range []net.Conn{others2, theirs} {
				writers.Go(func() { nc.Write([]byte("more")) })
				if tr.holds() {
					writers.Wait()
				}
			}
		})
		until(t, l, "all has come", func() bool { return len(got) == len("initial, more") })
		on(t, l, func() {
			if string(got) != "initial, more" {
				t.Errorf("got %q", got)
			}
		})
	})
}

func TestDrainedComesOnceTheBacklogHasFallen(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{LowWater: 1000})
		ours, theirs := tr.pair(t)
		drained := make(chan int, 10)
		c := adopt(t, l, ours, &funcs{drained: func(c *Conn) { drained <- c.Buffered() }})
		go io.Copy(io.Discard, theirs)
		on(t, l, func() { c.Write(make([]byte, 1000)) })
		until(t, l, "all is sent", func() bool { return c.Buffered() == 0 })
		if len(drained) != 0 {
			t.Error("Drained, though never above the mark")
		}
		on(t, l, func() { c.Write(make([]byte, 10<<20)) })
		if n := wait(t, drained, "Drained is called"); n > 1000 {
			t.Errorf("Drained with %d bytes buffered", n)
		}
		until(t, l, "all is sent", func() bool { return c.Buffered() == 0 })
		if len(drained) != 0 {
			t.Error("Drained twice")
		}
		rests(t, l)
	})
}
