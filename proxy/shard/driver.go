package shard

import (
	"io"
	"net"
	"sync"
	"time"
)

// driver moves the bytes of a connection that epoll can't: one goroutine reads, one writes, both in plain blocking Go. They
// outlive a change of loops. Memory is bounded: the reader waits until the loop has delivered what it read (which is also how
// PauseRead works), and the writer holds one buffer, which is the loop's again when it is written.
type driver struct {
	nc    net.Conn
	taken chan struct{} // the loop has delivered what the reader read; one token per read
	work  chan []byte   // to be written; nil: close the writing side. One at a time
	stop  chan struct{} // closed by close
	ended sync.WaitGroup

	// Lock order: mu, then the mailbox's.
	mu struct {
		sync.Mutex
		loop *Loop // nil while between loops
		c    *Conn
		told bool // a letter to loop is under way

		read    bool // the reader waits; these are what it read:
		in      []byte
		inErr   error
		written bool // the writer is done with this, with that result:
		buf     []byte
		n       int
		outErr  error
	}
}

const (
	smallRead = 1 << 10  // what an idle connection holds
	largeRead = 32 << 10 // once a small read was full, until one is short
)

func newDriver(nc net.Conn) *driver {
	nc.SetDeadline(time.Time{}) // a handshake's may be left
	g := &driver{nc: nc, taken: make(chan struct{}, 1), work: make(chan []byte, 1), stop: make(chan struct{})}
	g.ended.Go(g.reader)
	g.ended.Go(g.writer)
	return g
}

// largeReads are shared by all drivers. What is lost when one is closed in mid-stream, the collector finds.
var largeReads = sync.Pool{New: func() any { return new([largeRead]byte) }}

// reader reads until the end or an error, which it hands over like data.
func (g *driver) reader() {
	small := make([]byte, smallRead)
	buf := small
	var large *[largeRead]byte // while buf is it
	for {
		n, err := g.nc.Read(buf)
		if n == 0 && err == nil {
			continue
		}
		g.mu.Lock()
		g.mu.read, g.mu.in, g.mu.inErr = true, buf[:n], err
		g.tellLocked()
		g.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-g.taken:
		case <-g.stop:
			return
		}
		switch {
		case n < len(buf) && large != nil:
			largeReads.Put(large)
			large, buf = nil, small
		case n == len(buf) && large == nil:
			large = largeReads.Get().(*[largeRead]byte)
			buf = large[:]
		}
	}
}

// writer writes what it is given until an error or the end.
func (g *driver) writer() {
	for {
		var p []byte
		select {
		case p = <-g.work:
		case <-g.stop:
			return
		}
		if p == nil {
			g.nc.(closeWriter).CloseWrite() // if it fails, reading does too
			continue
		}
		n, err := g.nc.Write(p)
		g.mu.Lock()
		g.mu.written, g.mu.buf, g.mu.n, g.mu.outErr = true, p, n, err
		g.tellLocked()
		g.mu.Unlock()
		if err != nil {
			return
		}
	}
}

type closeWriter interface{ CloseWrite() error }

// closeWrite has the writing side closed. False: this kind of connection can't do that.
func (g *driver) closeWrite() bool {
	if _, ok := g.nc.(closeWriter); !ok {
		return false
	}
	g.work <- nil // there is room: nothing is being written
	return true
}

// tellLocked has news called on the loop.
func (g *driver) tellLocked() {
	if g.mu.loop != nil && !g.mu.told {
		g.mu.told = true
		g.mu.loop.mail.send(g.mu.loop, letter{g: g})
	}
}

func (g *driver) attach(c *Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.loop, g.mu.c, g.mu.told = c.loop, c, false
	g.tellLocked() // something may have happened meanwhile
}

func (g *driver) detach() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.loop, g.mu.c = nil, nil
}

// news is called on the loop when the reader or the writer has something to say.
func (g *driver) news(l *Loop) {
	g.mu.Lock()
	if g.mu.loop != l { // has moved on, and told the new loop
		g.mu.Unlock()
		return
	}
	g.mu.told = false
	c := g.mu.c
	if c.state == dead { // about to move on (or to be closed): the news goes along
		g.mu.Unlock()
		return
	}
	written, buf, n, err := g.mu.written, g.mu.buf, g.mu.n, g.mu.outErr
	g.mu.written, g.mu.buf = false, nil
	g.mu.Unlock()
	if written {
		c.wrote(buf, n, err)
	}
	c.deliverWaiting()
}

// deliver gives the connection what the reader has read, unless reading is paused.
func (g *driver) deliver(c *Conn) {
	if c.state == dead || c.paused {
		return
	}
	g.mu.Lock()
	read, in, err := g.mu.read, g.mu.in, g.mu.inErr
	g.mu.in = nil
	g.mu.Unlock()
	if !read {
		return
	}
	if len(in) > 0 && c.state == open {
		c.data(in)
	}
	if err == nil {
		g.mu.Lock()
		g.mu.read = false
		g.mu.Unlock()
		g.taken <- struct{}{}
		return
	}
	switch { // an error stays until it can be delivered
	case c.state == dead || c.paused:
	case err == io.EOF:
		g.mu.Lock()
		g.mu.read = false
		g.mu.Unlock()
		c.peerClosed()
	default:
		c.failed(err)
	}
}

// handOver gives the writer what is unsent, if it is idle.
func (c *Conn) handOver() {
	if c.inflight > 0 || len(c.out) == c.sent {
		return
	}
	c.inflight = len(c.out) - c.sent
	c.blocked = true
	p := c.out[c.sent:]
	c.out, c.sent = nil, 0
	c.g.work <- p // there is room: nothing is being written
}

// wrote is called when the writer is done with a buffer.
func (c *Conn) wrote(p []byte, n int, err error) {
	c.inflight, c.blocked = 0, false
	c.loop.count.out += uint64(n)
	c.loop.buffers.put(p)
	switch {
	case err != nil:
		c.writeFailed(err)
		return
	case len(c.out) > c.sent:
		c.handOver()
	default:
		c.flushed()
	}
	c.tellDrained()
}

// close ends both goroutines and the connection, and waits for them.
func (g *driver) close() {
	close(g.stop)
	// TLS says goodbye first, which may take 5 seconds when the peer doesn't read.
	if wrapped, ok := g.nc.(interface{ NetConn() net.Conn }); ok {
		t := time.AfterFunc(time.Second, func() { wrapped.NetConn().Close() })
		defer t.Stop()
	}
	g.nc.Close()
	g.ended.Wait()
}
