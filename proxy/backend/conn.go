package backend

import (
	"github.com/freshet/freshet/proxy/shard"
)

// Transport is the socket below a server connection, as its shard offers it. *shard.Conn is one; tests
// use their own. Nothing in it blocks, and all of it is called on the owning shard only.
type Transport interface {
	Write(p []byte)
	Buffered() int
	PauseRead()
	ResumeRead()
	Close()
}

// Borrower is whoever a server connection is lent to: a client's session. Its methods are called on
// the shard that owns the connection.
type Borrower interface {
	// ServerData brings bytes from the server; they are valid during the call only.
	ServerData(p []byte)
	// ServerClosed says that the connection is gone, with bytes or without; err may be nil (EOF).
	ServerClosed(err error)
	// ServerDrained says that what was written has mostly reached the server.
	ServerDrained()
}

// State is what Freshet knows about the server side of a connection: what has been prepared there, and
// which settings it has. It is how a connection that served one session is brought to the state of the
// next. Only the borrower, or the pool between two borrowers, touches it.
type State struct {
	// Prepared holds the statements known to exist on the server.
	Prepared Prepared
	// Named are the numbers of those that have the name by which their session knows them. They may be gone from Prepared.
	Named map[string]uint64
	// Unnamed is the number of the unnamed prepared statement on the server, 0 when unknown.
	Unnamed uint64
	// Settings identifies the tracked settings that are in force; it is opaque here (proxy owns its meaning). nil: as at login.
	Settings any
	// Customs are the custom settings that have ever been made: they can be reset, but not be made unknown again.
	Customs map[string]struct{}
	// SequenceOwner is the session whose nextval() results currval() and lastval() on this connection speak of.
	// SequenceVersion is the owner's own count of such connections: only the last is still right.
	SequenceOwner   any
	SequenceVersion uint64
	// ProbeApart: transactions here aren't READ COMMITTED unless they say so, which a cache fill's probe has to know.
	ProbeApart bool
	// Generation is the catalog's generation when the oldest statement in Prepared was prepared.
	Generation uint64
}

// Conn is a server connection that is logged in as its pool's user. It belongs to one shard at a
// time; everything in it is touched on that shard only.
type Conn struct {
	State

	pool     *Pool
	home     *Local
	io       Transport
	raw      *shard.Conn // io, where it is a real one: needed to move between shards
	pid      uint32
	secret   []byte
	born     int64 // unix nanos
	epoch    uint64
	defaults uint64
	idleAt   int64 // unix nanos; since when it is idle
	owner    Borrower
	reused   bool // it has been in the pool between two borrowers
	closed   bool
	cancels  int  // cancel requests on their way to the server
	parked   bool // released, but waiting for cancels to be over
	keeper   Borrower
	spoilt   bool // see keep.go
	sender   *Sender
}

// NewConn makes a connection over a transport that is already logged in. For tests and simulations;
// pools make their own.
func NewConn(io Transport, owner Borrower) *Conn { return &Conn{io: io, owner: owner} }

// Owner is whom the connection is lent to; nil: nobody.
func (c *Conn) Owner() Borrower { return c.owner }

// Pool returns the pool that the connection belongs to; nil outside of one.
func (c *Conn) Pool() *Pool { return c.pool }

// Write queues bytes for the server. It copies p and never blocks.
func (c *Conn) Write(p []byte) { c.io.Write(p) }

// Buffered says how many bytes written haven't been taken by the kernel yet.
func (c *Conn) Buffered() int { return c.io.Buffered() }

// PauseRead stops ServerData until ResumeRead: backpressure from a slow client.
func (c *Conn) PauseRead() { c.io.PauseRead() }

// ResumeRead undoes PauseRead.
func (c *Conn) ResumeRead() { c.io.ResumeRead() }

// Epoch is what Options.Vouch returned for this connection.
func (c *Conn) Epoch() uint64 { return c.epoch }

// Reused says whether the connection has been in the pool between two borrowers, where it may have died unnoticed.
func (c *Conn) Reused() bool { return c.reused }

// Born is when the connection was made, in unix nanoseconds.
func (c *Conn) Born() int64 { return c.born }

// Outdated says whether the pool won't lend the connection again.
func (c *Conn) Outdated() bool { return c.pool != nil && c.pool.outdated(c) }

// PID returns the server's process id of this connection, as in pg_stat_activity.
func (c *Conn) PID() uint32 { return c.pid }

// connHandler turns a shard's events into the borrower's. It is a type of its own so that the methods
// aren't part of Conn's API.
type connHandler struct{ c *Conn }

func (h connHandler) Data(_ *shard.Conn, p []byte) {
	c := h.c
	if c.owner != nil {
		c.owner.ServerData(p)
		return
	}
	// Nobody asked anything: a notice that the server is going away, or something we don't understand.
	// Either way the connection isn't one to lend (HAZARD 2).
	c.pool.drop(c)
}

func (h connHandler) Closed(_ *shard.Conn, err error) {
	c := h.c
	if c.closed {
		return
	}
	owner := c.owner
	c.pool.lost(c)
	if owner != nil {
		owner.ServerClosed(err)
	}
}

func (h connHandler) Drained(_ *shard.Conn) {
	if h.c.owner != nil {
		h.c.owner.ServerDrained()
	}
}
