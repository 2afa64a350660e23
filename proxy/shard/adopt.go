package shard

import (
	"errors"
	"fmt"
	"io"
	"net"
)

var errPeerClosed = io.EOF

// Adopt takes nc over: it must not be used by anybody afterwards, and in case of an error it has been closed. A plain
// TCP or Unix socket on Linux goes into epoll; anything else is driven by two goroutines. initial, which may be nil, are bytes that
// were read from nc already: they are delivered before anything else (in a later turn) and belong to the loop until then. Keep-alive
// and other socket options are the caller's business, except TCP_NODELAY, which is set.
func (l *Loop) Adopt(nc net.Conn, h Handler, initial []byte) (*Conn, error) {
	d := Detached{fd: -1, local: nc.LocalAddr(), remote: nc.RemoteAddr(), waiting: initial}
	if l.closing {
		nc.Close()
		return nil, ErrLoopClosed
	}
	if l.ep != nil {
		fd, taken, err := takeDescriptor(nc)
		if err != nil {
			return nil, fmt.Errorf("shard: taking over a connection: %w", err)
		}
		if taken {
			d.fd = fd
			return l.Attach(d, h)
		}
	}
	d.g = newDriver(nc)
	return l.Attach(d, h)
}

// Attach takes over a connection that another loop (or this one) has let go. In case of an error it has been closed. User comes
// along. Data flows, including what was buffered, from the next turn; reading isn't paused.
func (l *Loop) Attach(d Detached, h Handler) (*Conn, error) {
	if l.closing {
		d.Close()
		return nil, ErrLoopClosed
	}
	if d.g == nil && (l.ep == nil || d.fd < 0) {
		d.Close()
		return nil, errors.New("shard: a socket from an epoll loop can't go to a portable one")
	}
	c := &Conn{
		User: d.User, loop: l, handler: h, g: d.g, fd: d.fd, interest: unwatched,
		out: d.out, sent: d.sent, inflight: d.inflight, waiting: d.waiting,
		local: d.local, remote: d.remote,
	}
	l.insert(c)
	c.above = c.Buffered() > l.opts.LowWater
	if c.g != nil {
		c.blocked = c.inflight > 0
		c.g.attach(c)
	} else {
		c.watch(readable)
		if c.state == dead { // epoll refused it
			err := c.err
			c.state, l.dying = open, l.dying[:len(l.dying)-1]
			l.remove(c)
			c.release()
			c.shutdown()
			return nil, err
		}
	}
	if len(c.waiting) > 0 {
		c.deliverLater()
	}
	if len(c.out) > c.sent {
		c.flushLater()
	}
	return c, nil
}

// Detached is a connection between two loops, with its unread and unsent bytes. Attach it or Close it, once.
type Detached struct {
	User any // as it was on the Conn

	fd            int32
	g             *driver
	out           []byte
	sent          int
	inflight      int
	waiting       []byte
	local, remote net.Addr
}

// Close closes the connection. Its unsent bytes are lost. It may wait a moment for goroutines of the connection.
func (d Detached) Close() {
	if d.g != nil {
		d.g.close()
	} else if d.fd >= 0 {
		sysClose(d.fd)
	}
}

// Detach takes the connection out of its loop without losing bytes. From here c is dead: nothing more is delivered, no
// Closed is called, writing does nothing. Later in this turn, outside of any other callback, then is called with the connection;
// typically it posts an Attach to another loop (and closes it, if Post says that this has been closed).
//
// False: the connection is being closed already, be it that its peer has gone, and stays: then isn't called, Closed follows (or
// was called).
func (c *Conn) Detach(then func(Detached)) bool {
	if c.state != open {
		return false
	}
	c.state = dead
	c.loop.leave = append(c.loop.leave, leaver{c, then})
	return true
}

// pack takes everything out of c that goes along.
func (c *Conn) pack() Detached {
	d := Detached{
		User: c.User, fd: c.fd, g: c.g, out: c.out, sent: c.sent, inflight: c.inflight,
		waiting: c.waiting, local: c.local, remote: c.remote,
	}
	c.out, c.sent, c.inflight, c.waiting = nil, 0, 0, nil
	c.linger.Stop()
	if c.g != nil {
		c.g.detach()
	} else {
		c.loop.ep.forget(c)
		c.fd = -1
	}
	return d
}
