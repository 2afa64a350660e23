package shard

import (
	"errors"
	"net"
)

// ErrFlushTimeout is what Closed reports when CloseAfterFlush had to give up on a peer that doesn't read.
var ErrFlushTimeout = errors.New("shard: the peer didn't take what was left to send")

// Handler is told what happens on a connection. All calls are made on the loop, never from inside a call that the
// handler makes to the loop or a Conn; so a handler may call any method of this and other connections of the loop.
type Handler interface {
	// Data gives bytes that arrived. p is valid during the call only, and the handler takes all of it.
	Data(c *Conn, p []byte)
	// Closed says that the connection is gone; it is called exactly once, and nothing after it, unless the connection was
	// detached. err is nil when Close or CloseAfterFlush did what it was asked to; io.EOF when the peer closed its writing
	// side (all that it sent before has been delivered, and what was still to be sent has been sent, if the peer took it within
	// Options.FlushTimeout); else what went wrong.
	Closed(c *Conn, err error)
	// Drained says that Buffered, having been above Options.LowWater, isn't any more.
	Drained(c *Conn)
}

// Conn is a connection of a loop. All methods are for the loop's goroutine alone. After Closed (or Detach) they do nothing.
type Conn struct {
	// User is the owner's, for whatever it likes.
	User any

	loop    *Loop
	handler Handler
	g       *driver // goroutine-driven; nil: epoll

	fd       int32
	slot     int32
	interest uint32 // what epoll watches for; unwatched: the descriptor isn't in epoll

	state    state
	paused   bool
	inReady  bool // in Loop.ready
	dirty    bool // in Loop.dirty
	blocked  bool // the peer doesn't take more: epoll says when it does
	above    bool // Buffered has been above the low-water mark since Drained
	peerDone bool // the peer has closed its writing side
	shut     bool // we have closed ours
	broken   bool // writing has failed with err; what the peer sent before is still being read

	out      []byte // written by the owner; from sent on it is unsent
	sent     int
	inflight int    // bytes with the writing goroutine
	waiting  []byte // to be delivered before anything is read

	err    error  // what Closed will say
	linger *Timer // bounds closing

	local, remote net.Addr
}

type state uint8

const (
	open    state = iota
	closing       // nothing more is delivered or accepted, but what was written is being sent
	dead          // closed or detached; only Closed is to come, if at all
)

// Write queues a copy of p. It never blocks: what was written in a turn leaves at its end with one system call, what the
// peer doesn't take waits. Bounding that is the owner's business, by Buffered and Drained.
func (c *Conn) Write(p []byte) {
	if c.state != open || c.broken || len(p) == 0 {
		return
	}
	if len(p) > cap(c.out)-len(c.out) {
		c.grow(len(p))
	}
	c.out = append(c.out, p...)
	if c.Buffered() > c.loop.opts.LowWater {
		c.above = true
	}
	c.flushLater()
}

// Buffered returns how many written bytes haven't been taken by the kernel yet.
func (c *Conn) Buffered() int { return len(c.out) - c.sent + c.inflight }

// PauseRead stops the delivery of data at once. While reading is paused, the end of the connection is noticed only when writing fails.
func (c *Conn) PauseRead() {
	if c.broken {
		c.die(c.err) // see writeFailed
	} else if c.state == open {
		c.paused = true // epoll is told when, and only if, something arrives meanwhile
	}
}

// ResumeRead ends PauseRead; what has arrived is delivered from the next turn on.
func (c *Conn) ResumeRead() {
	if c.state != open || !c.paused {
		return
	}
	c.paused = false
	if len(c.waiting) > 0 || c.g != nil {
		c.deliverLater()
	}
	if c.g == nil && !c.peerDone {
		c.watch(c.interest | readable)
	}
}

// Paused says whether reading is paused.
func (c *Conn) Paused() bool { return c.paused }

// Close closes the connection, dropping what is unsent, which is also all that was written in this turn. No Data or Drained follows; Closed does, later in this turn.
func (c *Conn) Close() { c.die(nil) }

// CloseAfterFlush closes the connection once the peer has been sent everything, and gives it the chance to read it: the
// writing side is shut first, then what the peer still sends is discarded until it closes too, for else the kernel
// would answer those bytes with a reset, which makes the peer lose what it hasn't read. All of this takes no longer than
// Options.FlushTimeout. No Data or Drained follows; Closed does.
func (c *Conn) CloseAfterFlush() {
	if c.state == open {
		c.finish(nil)
	}
}

// SetHandler changes who is told from the next callback on.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// Loop returns the loop that the connection belongs to.
func (c *Conn) Loop() *Loop { return c.loop }

// RemoteAddr returns the peer's address as the adopted net.Conn gave it.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr returns our own address as the adopted net.Conn gave it.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// Do calls fn, at once, as if it were a callback of this connection: if it panics, the connection is closed, and nobody else's. It is
// for functions that a connection's owner gives to Post or a Timer.
func (c *Conn) Do(fn func()) {
	defer c.caught("Do")
	fn()
}

// data delivers p to the handler.
func (c *Conn) data(p []byte) {
	c.loop.count.in += uint64(len(p))
	defer c.caught("Data")
	c.handler.Data(c, p)
}

func (c *Conn) drained() {
	defer c.caught("Drained")
	c.handler.Drained(c)
}

func (c *Conn) closed() {
	defer c.caught("Closed")
	c.handler.Closed(c, c.err)
}

// caught is deferred around callbacks: whoever panics loses its connection, and nobody else's.
func (c *Conn) caught(what string) {
	if r := recover(); r != nil {
		c.die(c.loop.panicked(what, r))
	}
}

// deliverLater has deliverWaiting called in the next turn.
func (c *Conn) deliverLater() {
	if !c.inReady {
		c.inReady = true
		c.loop.ready = append(c.loop.ready, c)
	}
}

// deliverWaiting delivers what has been read already.
func (c *Conn) deliverWaiting() {
	if len(c.waiting) > 0 && c.state == open && !c.paused {
		p := c.waiting
		c.waiting = nil
		c.data(p)
	}
	if c.g != nil {
		c.g.deliver(c)
	}
}

// peerClosed is called when the peer has closed its writing side and all it sent has been delivered.
func (c *Conn) peerClosed() {
	c.peerDone = true
	switch {
	case c.broken:
		c.die(c.err)
	case c.state == open:
		c.finish(errPeerClosed)
	case c.state == closing && c.shut:
		c.die(c.err)
	}
	if c.state == closing && c.g == nil {
		c.watch(c.interest &^ readable) // or epoll would tell us again and again
	}
}

// failed is called when reading has failed.
func (c *Conn) failed(err error) {
	if c.broken || c.state == closing && c.Buffered() == 0 {
		err = c.err // if all was sent, how the peer leaves is its own business
	}
	c.die(err)
}

// finish closes the connection in good order; verdict is what Closed says when that works.
func (c *Conn) finish(verdict error) {
	if c.broken {
		c.die(c.err)
		return
	}
	c.state, c.err = closing, verdict
	c.paused, c.waiting = false, nil
	if c.Buffered() == 0 {
		c.flushed()
	}
	if c.state == dead {
		return
	}
	if c.g != nil {
		c.deliverLater() // to discard it
	} else if !c.peerDone {
		c.watch(c.interest | readable)
	}
	c.linger = c.loop.After(c.loop.opts.FlushTimeout, func() {
		if c.Buffered() > 0 && c.err == nil {
			c.err = ErrFlushTimeout
		}
		c.die(c.err)
	})
}

// die ends the connection; the rest happens in Loop.bury.
func (c *Conn) die(err error) {
	if c.state == dead {
		return
	}
	c.state, c.err = dead, err
	c.loop.dying = append(c.loop.dying, c)
}

// release lets go of what the connection holds in memory.
func (c *Conn) release() {
	c.linger.Stop()
	c.linger, c.waiting = nil, nil
	c.freeOut()
}

// shutdown closes the connection for good.
func (c *Conn) shutdown() {
	if c.g != nil {
		c.loop.helpers.Go(c.g.close)
		return
	}
	c.loop.ep.forget(c)
	sysClose(c.fd)
	c.fd = -1
}
