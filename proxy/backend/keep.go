package backend

import "github.com/freshet/freshet/proxy/wire"

// A client may keep a server connection from its beginning to its end (--pool-mode session). The connection is borrowed and released as others
// are, but comes back to the client's keeper in place of the pool: a Borrower that hears what the server says of itself in between.

// Keep makes c a kept connection. It was acquired, and is clean. On the connection's loop, as everything here.
func (c *Conn) Keep(keeper Borrower) { c.keeper, c.owner = keeper, keeper }

// Kept says whether c is a kept connection.
func (c *Conn) Kept() bool { return c.keeper != nil }

// Borrow lends a kept connection. False: it is closed, or what is known about its node doesn't hold for it any more, so that nothing may be asked
// of it.
func (c *Conn) Borrow(owner Borrower) bool {
	if c.closed || c.pool.opts.Epoch != nil && c.pool.opts.Epoch() != c.epoch {
		return false
	}
	c.owner = owner
	return true
}

// Spoil has a kept connection closed at the end, since DISCARD ALL wouldn't undo all that was done on it.
func (c *Conn) Spoil() { c.spoilt = true }

// GiveUp ends the keeping: the connection goes back to the pool once it is clean, or is closed where that isn't certain.
func (c *Conn) GiveUp() {
	idle := c.owner == c.keeper
	c.keeper = nil
	switch {
	case c.closed:
	case c.spoilt || !idle || c.pool.outdated(c):
		c.Discard()
	default:
		c.owner = &washer{c: c}
		c.Write(discardAll)
	}
}

var discardAll = wire.AppendQuery(nil, "DISCARD ALL")

// washer borrows a connection that a client has kept until the server has forgotten what the client did on it.
type washer struct {
	c      *Conn
	buf    []byte
	failed bool
}

// ServerData awaits the answer to DISCARD ALL.
func (w *washer) ServerData(p []byte) {
	w.buf = append(w.buf, p...)
	for {
		typ, n, err := wire.Frame(w.buf)
		switch {
		case err != nil:
			w.c.Discard()
			return
		case n == 0 || n > len(w.buf):
			return
		case typ == wire.MsgErrorResponse:
			w.failed = true
		case typ == wire.MsgReadyForQuery:
			if w.failed || w.buf[wire.HeaderLen] != wire.TxIdle || n != len(w.buf) {
				w.c.Discard()
				return
			}
			// Custom settings stay known to the server.
			w.c.State = State{Customs: w.c.Customs, ProbeApart: w.c.ProbeApart}
			w.c.Release()
			return
		}
		w.buf = w.buf[n:]
	}
}

// ServerClosed needs nothing: the pool knows.
func (w *washer) ServerClosed(error) {}

// ServerDrained needs nothing.
func (w *washer) ServerDrained() {}
