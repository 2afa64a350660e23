package shard

import "net"

// Handler is told what happens on a connection. All calls are made on the loop, never from inside a call that the
// handler makes to the loop or a Conn; so a handler may call any method of this and other connections of the loop.
type Handler interface {
	// Data gives bytes that arrived. p is valid during the call only, and the handler takes all of it.
	Data(c *Conn, p []byte)
	// Closed says that the connection is gone; it is called exactly once, and nothing after it, unless the connection was
	// detached. err is nil when Close or CloseAfterFlush did what it was asked to; io.EOF when the peer closed its writing
	// side (all that it sent before has been delivered, unless reading was paused); else what went wrong.
	Closed(c *Conn, err error)
	// Drained says that Buffered, having been above Options.LowWater, isn't any more.
	Drained(c *Conn)
}

// Conn is a connection of a loop. All methods are for the loop's goroutine alone. After Closed (or Detach) they do nothing.
type Conn struct {
	// User is the owner's, for whatever it likes.
	User any
}

// Adopt takes nc over: it must not be used by anybody afterwards, and in case of an error it has been closed. A plain
// TCP or Unix socket on Linux goes into epoll; anything else is driven by two goroutines. initial, which may be nil, are bytes that
// were read from nc already: they are delivered before anything else (in a later turn) and belong to the loop until then. Keep-alive
// and other socket options are the caller's business, except TCP_NODELAY, which is set.
func (l *Loop) Adopt(nc net.Conn, h Handler, initial []byte) (*Conn, error) { panic("todo") }

// Attach takes over a connection that another loop (or this one) has let go. In case of an error it has been closed. User comes
// along. Data flows, including what was buffered, from the next turn.
func (l *Loop) Attach(d Detached, h Handler) (*Conn, error) { panic("todo") }

// Detached is a connection between two loops, with its unread and unsent bytes. Attach it or Close it, once.
type Detached struct {
	User any // as it was on the Conn
}

// Close closes the connection. Its unsent bytes are lost.
func (d Detached) Close() { panic("todo") }

// Detach takes the connection out of its loop without losing bytes. From here c is dead: nothing more is delivered, no
// Closed is called, writing does nothing. Later in this turn, outside of any other callback, then is called with the connection;
// typically it posts an Attach to another loop.
func (c *Conn) Detach(then func(Detached)) { panic("todo") }

// Write queues a copy of p. It never blocks: what was written in a turn leaves at its end with one system call, what the
// peer doesn't take waits. Bounding that is the owner's business, by Buffered and Drained.
func (c *Conn) Write(p []byte) { panic("todo") }

// Buffered returns how many written bytes haven't been taken by the kernel yet.
func (c *Conn) Buffered() int { panic("todo") }

// PauseRead stops the delivery of data at once. While reading is paused, the end of the connection is noticed only when writing fails.
func (c *Conn) PauseRead() { panic("todo") }

// ResumeRead ends PauseRead; what has arrived is delivered from the next turn on.
func (c *Conn) ResumeRead() { panic("todo") }

// Paused says whether reading is paused.
func (c *Conn) Paused() bool { panic("todo") }

// Close closes the connection, dropping what is unsent. No Data or Drained follows; Closed does, later in this turn.
func (c *Conn) Close() { panic("todo") }

// CloseAfterFlush closes the connection once the peer has been sent everything, and gives it the chance to read it: the
// writing side is shut first, then what the peer still sends is discarded until it closes too, for else the kernel
// would answer those bytes with a reset, which makes the peer lose what it hasn't read. All of this takes no longer than
// Options.FlushTimeout. No Data or Drained follows; Closed does.
func (c *Conn) CloseAfterFlush() { panic("todo") }

// SetHandler changes who is told from the next callback on.
func (c *Conn) SetHandler(h Handler) { panic("todo") }

// Loop returns the loop that the connection belongs to.
func (c *Conn) Loop() *Loop { panic("todo") }

// RemoteAddr returns the peer's address as the adopted net.Conn gave it.
func (c *Conn) RemoteAddr() net.Addr { panic("todo") }

// LocalAddr returns our own address as the adopted net.Conn gave it.
func (c *Conn) LocalAddr() net.Addr { panic("todo") }
