package shard

import (
	"os"
	"syscall"
	"time"
)

// grow makes room for n more bytes in the out buffer. Bytes are moved to the front only when that moves fewer than were sent
// since, so that a large backlog isn't copied over and over.
func (c *Conn) grow(n int) {
	b := &c.loop.buffers
	unsent := len(c.out) - c.sent
	if c.out != nil && unsent+n <= cap(c.out) && unsent <= c.sent {
		c.out = c.out[:copy(c.out, c.out[c.sent:])]
		c.sent = 0
		return
	}
	size := unsent + n
	if unsent > 0 {
		size = max(size, 2*cap(c.out))
	}
	p := b.get(size)
	p = append(p, c.out[c.sent:]...)
	if c.out != nil {
		b.put(c.out)
	}
	c.out, c.sent = p, 0
}

// freeOut gives the out buffer back, with whatever is in it.
func (c *Conn) freeOut() {
	if c.out != nil {
		c.loop.buffers.put(c.out)
	}
	c.out, c.sent = nil, 0
}

// flushLater has flush called at the end of the turn, unless the peer isn't taking anything anyway.
func (c *Conn) flushLater() {
	if !c.dirty && !c.blocked {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// flush sends what is unsent, as far as the peer takes it.
func (c *Conn) flush() {
	if c.state == dead || c.broken {
		return
	}
	if c.g != nil {
		c.handOver()
		return
	}
	for c.sent < len(c.out) {
		want := len(c.out) - c.sent
		n, errno := sysWrite(c.fd, c.out[c.sent:])
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 && errno != syscall.EAGAIN {
			c.writeFailed(os.NewSyscallError("write", errno))
			return
		}
		if errno == 0 {
			c.sent += n
			c.loop.count.out += uint64(n)
		}
		if errno == syscall.EAGAIN || n < want { // n < want: the next call would say EAGAIN
			c.blocked = true
			c.watch(c.interest | writable)
			c.tellDrained()
			return
		}
	}
	c.freeOut()
	if c.blocked {
		c.blocked = false
		c.watch(c.interest &^ writable)
	}
	c.flushed()
	c.tellDrained()
}

// flushed is called when nothing is left to send.
func (c *Conn) flushed() {
	if c.state != closing || c.shut {
		return
	}
	c.shut = true
	if c.peerDone {
		c.die(c.err)
		return
	}
	if c.g != nil {
		if !c.g.closeWrite() {
			c.die(c.err)
		}
		return
	}
	sysShutdownWrite(c.fd)
}

func (c *Conn) tellDrained() {
	if c.above && c.Buffered() <= c.loop.opts.LowWater {
		c.above = false
		if c.state == open {
			c.drained()
		}
	}
}

// writeFailed ends a connection to which nothing can be sent any more. What the peer sent before it went is delivered first (a
// server says why it hangs up, and may be gone before we have read that), unless the owner won't have it now: it might be
// waiting for room to write, for ever.
func (c *Conn) writeFailed(err error) {
	if c.state == closing || c.paused {
		c.die(err)
		return
	}
	c.freeOut()
	c.broken, c.err = true, err
	c.linger = c.loop.After(time.Second, func() { c.die(c.err) }) // the peer is gone, so reading ends by itself; a bound all the same
}
