package shard

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func TestPeerThatShutsItsWritingSideIsClosedAfterItsData(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		var got []byte
		closed := make(chan error, 2)
		adopt(t, l, ours, &funcs{
			data:   func(c *Conn, p []byte) { got = append(got, p...); c.Write(p) },
			closed: func(c *Conn, err error) { closed <- err },
		})
		theirs.Write([]byte("last words"))
		cw, half := theirs.(closeWriter)
		if !half {
			theirs.Read(make([]byte, 100)) // net.Pipe: nothing is ever under way there
			theirs.Close()
		} else if err := cw.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := wait(t, closed, "Closed is called"); err != io.EOF {
			t.Errorf("Closed with %v", err)
		}
		if string(got) != "last words" {
			t.Errorf("got %q", got)
		}
		if half {
			theirs.SetReadDeadline(time.Now().Add(patience))
			back, err := io.ReadAll(theirs)
			if string(back) != "last words" || err != nil {
				t.Errorf("what was written on hearing them was lost: %q, %v", back, err)
			}
		}
	})
}

// What was written before the peer's end of file is sent, also when that takes longer than a turn.
func TestPeerThatShutsItsWritingSideStillGetsWhatIsBuffered(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		cw, half := theirs.(closeWriter)
		if !half {
			t.Skip("can't")
		}
		big := make([]byte, 16<<20)
		closed := make(chan error, 2)
		adopt(t, l, ours, &funcs{
			data:   func(c *Conn, p []byte) { c.Write(big) },
			closed: func(c *Conn, err error) { closed <- err },
		})
		theirs.Write([]byte("?"))
		cw.CloseWrite()
		rests(t, l) // the end of file is there all the time
		theirs.SetReadDeadline(time.Now().Add(patience))
		if n, err := io.Copy(io.Discard, theirs); n != int64(len(big)) || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := wait(t, closed, "Closed is called"); err != io.EOF {
			t.Errorf("Closed with %v", err)
		}
	})
}

func TestResetIsReportedAsAnError(t *testing.T) {
	for _, portable := range []bool{false, true} {
		for _, paused := range []bool{false, true} {
			l := transport{portable: portable}.loop(t, Options{})
			ours, theirs := tcpPair(t)
			closed := make(chan error, 2)
			c := adopt(t, l, ours, &funcs{closed: func(c *Conn, err error) { closed <- err }})
			on(t, l, func() {
				if paused {
					c.PauseRead()
				}
			})
			theirs.(*net.TCPConn).SetLinger(0)
			theirs.Close()
			if paused { // then it is noticed when we write
				for range 3 {
					on(t, l, func() { c.Write([]byte("anybody there?")) })
				}
			}
			if err := wait(t, closed, "Closed is called"); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("portable %v, paused %v: Closed with %v", portable, paused, err)
			}
			on(t, l, func() {
				if paused && c.broken {
					t.Errorf("portable %v: waited for words that nobody would have heard", portable)
				}
			})
		}
	}
}

// A paused connection whose peer has gone must not keep the loop busy: epoll reports a hang-up whether one asks or not.
func TestResetOfPausedConnectionDoesNotSpin(t *testing.T) {
	for _, tr := range transports[:2] {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		closed := make(chan error, 2)
		var got []byte
		c := adopt(t, l, ours, &funcs{
			data:   func(c *Conn, p []byte) { got = append(got, p...) },
			closed: func(c *Conn, err error) { closed <- err },
		})
		on(t, l, c.PauseRead)
		theirs.Write([]byte("FATAL"))
		theirs.Close()
		rests(t, l)
		on(t, l, c.ResumeRead)
		if err := wait(t, closed, "Closed is called"); err != io.EOF {
			t.Errorf("%s: Closed with %v", tr.name, err)
		}
		if string(got) != "FATAL" {
			t.Errorf("%s: got %q", tr.name, got)
		}
	}
}

// A server that hangs up says why; that must reach us even if we notice the hang-up by a failed write.
func TestLastWordsAreHeardWhenWritingFails(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		if _, half := func() (net.Conn, bool) { a, b := tr.pair(t); a.Close(); _, ok := b.(closeWriter); return b, ok }(); !half {
			t.Skip("a pipe holds no words")
		}
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		closed := make(chan error, 2)
		var got []byte
		c := adopt(t, l, ours, &funcs{
			data:   func(c *Conn, p []byte) { got = append(got, p...) },
			closed: func(c *Conn, err error) { closed <- err },
		})
		// Everything happens while the loop is busy, so that it writes before it reads.
		on(t, l, func() {
			theirs.Write([]byte("FATAL: terminating connection"))
			theirs.Close()
			for range 3 {
				c.Write([]byte("query"))
				c.flush() // the first write is answered by a reset, the second fails
				time.Sleep(2 * time.Millisecond)
			}
		})
		wait(t, closed, "Closed is called")
		if string(got) != "FATAL: terminating connection" {
			t.Errorf("got %q", got)
		}
	})
}

func TestCloseAfterFlushSendsEverything(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		closed := make(chan error, 2)
		c := adopt(t, l, ours, &funcs{
			data:   func(c *Conn, p []byte) { t.Error("data after CloseAfterFlush") },
			closed: func(c *Conn, err error) { closed <- err },
		})
		big := bytes.Repeat([]byte("all of this "), 1<<20)
		on(t, l, func() {
			c.Write(big)
			c.CloseAfterFlush()
			c.Write([]byte("but not this"))
		})
		go theirs.Write([]byte("something that nobody reads any more")) // must not make the kernel reset the connection
		theirs.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(theirs)
		if !bytes.Equal(got, big) || err != nil {
			t.Errorf("%d bytes of %d, %v", len(got), len(big), err)
		}
		theirs.Close()
		if err := wait(t, closed, "Closed is called"); err != nil {
			t.Errorf("Closed with %v", err)
		}
	})
}

// Closing a socket with unread bytes in it resets the connection, and the peer may lose what it was told last.
func TestCloseAfterFlushDoesNotResetPeerThatIsStillTalking(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{})
		ours, theirs := tr.pair(t)
		c := adopt(t, l, ours, &funcs{data: func(*Conn, []byte) { t.Error("data after CloseAfterFlush") }})
		written := make(chan struct{})
		on(t, l, func() {
			go func() { theirs.Write([]byte("a query")); close(written) }()
			select {
			case <-written:
			case <-time.After(10 * time.Millisecond): // net.Pipe: not before it is read
			}
			c.Write([]byte("FATAL"))
			c.CloseAfterFlush()
		})
		theirs.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(theirs)
		if string(got) != "FATAL" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		wait(t, written, "the query is taken")
	})
}

func TestCloseAfterFlushOfPausedConnectionNoticesThatPeerGoes(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{FlushTimeout: time.Hour})
		ours, theirs := tr.pair(t)
		closed := make(chan error, 2)
		c := adopt(t, l, ours, &funcs{closed: func(c *Conn, err error) { closed <- err }})
		on(t, l, c.PauseRead)
		go theirs.Write([]byte("unread"))
		on(t, l, func() {
			c.Write([]byte("bye"))
			c.CloseAfterFlush()
		})
		theirs.SetReadDeadline(time.Now().Add(patience))
		io.ReadAll(theirs)
		theirs.Close()
		if err := wait(t, closed, "Closed is called"); err != nil {
			t.Errorf("Closed with %v", err)
		}
	})
}

func TestCloseAfterFlushGivesUpOnPeerThatDoesNotRead(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		const limit = 50 * time.Millisecond
		l := tr.loop(t, Options{FlushTimeout: limit})
		ours, _ := tr.pair(t)
		closed := make(chan error, 2)
		c := adopt(t, l, ours, &funcs{closed: func(c *Conn, err error) { closed <- err }})
		began := time.Now()
		on(t, l, func() {
			c.Write(make([]byte, 32<<20))
			c.CloseAfterFlush()
		})
		if err := wait(t, closed, "Closed is called"); err != ErrFlushTimeout {
			t.Errorf("Closed with %v", err)
		}
		if d := time.Since(began); d < limit/2 {
			t.Errorf("gave up after %v", d)
		}
	})
}

// A peer that reads everything and stays is let go of as well; that isn't an error.
func TestCloseAfterFlushDoesNotWaitForPeerForEver(t *testing.T) {
	onEach(t, func(t *testing.T, tr transport) {
		l := tr.loop(t, Options{FlushTimeout: 50 * time.Millisecond})
		ours, theirs := tr.pair(t)
		closed := make(chan error, 2)
		c := adopt(t, l, ours, &funcs{closed: func(c *Conn, err error) { closed <- err }})
		on(t, l, func() {
			c.Write([]byte("bye"))
			c.CloseAfterFlush()
		})
		theirs.SetReadDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(theirs)
		if string(got) != "bye" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if err := wait(t, closed, "Closed is called"); err != nil {
			t.Errorf("Closed with %v", err)
		}
	})
}
