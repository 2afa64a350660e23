package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router/topology"
)

// With --pool-mode session a client has a server connection of its own on the primary, its home, from before its welcome to its end. It is known to
// the client by the server's process id. What has to be done on the primary is done there; reads that may be answered elsewhere are, by the
// same rules as with transaction pooling.

// PoolMode says how long a client has a server connection: the values of --pool-mode.
type PoolMode string

// Ways of pooling.
const (
	PoolTransaction PoolMode = "transaction" // for a transaction, or as long as the session is bound to it
	PoolSession     PoolMode = "session"     // one on the primary for as long as it is there
)

// awaitPrimary waits, for --pool-wait, for a primary to be known.
func (s *Server) awaitPrimary(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.PoolWait)
	defer cancel()
	tick := time.NewTicker(nodeRetry)
	defer tick.Stop()
	for s.cfg.Topology.Primary() == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// findHome gets the client a home, and then begins its session. On the loop.
func (c *client) findHome(a *Admitted, db *Database) {
	node := c.srv.cfg.Topology.Primary()
	if node == nil {
		c.turnAway(a, wire.Fatal("57P03", "the primary isn't known or is down").WithHint("Try again; see the log and /readyz for what is wrong."))
		return
	}
	sc, _ := c.localPool(node).Acquire(&keeper{c}, c.identity, func(sc *backend.Conn, err error) { c.homeFound(a, db, node, sc, err) })
	if sc != nil {
		c.homeFound(a, db, node, sc, nil)
	}
}

func (c *client) homeFound(a *Admitted, db *Database, node *topology.Node, sc *backend.Conn, err error) {
	var pg *wire.Error
	switch {
	case errors.Is(err, backend.ErrClosing) && db.Paused():
		db.AwaitResume(func() {
			if !c.loop.Post(func() { c.findHome(a, db) }) {
				c.turnAway(a, wire.Fatal("57P03", "the proxy is shutting down"))
			}
		})
		return
	case errors.Is(err, backend.ErrPoolWait):
		c.turnAway(a, wire.Fatal("53300", "no connection to %s became free within %s", node.Addr(), c.srv.cfg.PoolWait).
			WithHint("With --pool-mode session each client has a server connection for as long as it is connected: raise --pool-size, or connect fewer."))
		return
	case errors.As(err, &pg):
		c.turnAway(a, pg.WithSeverity("FATAL"))
		return
	case err != nil:
		c.turnAway(a, wire.Fatal("08006", "can't connect to %s: %s", node.Addr(), err))
		return
	}
	c.srv.mu.Lock()
	_, taken := c.srv.mu.sessions[sc.PID()]
	c.srv.mu.Unlock()
	if taken {
		// By the session of a client whose home is on another server, the primary before a failover.
		sc.Discard()
		c.findHome(a, db)
		return
	}
	sc.Keep(&keeper{c})
	c.home, c.homeNode = sc, node
	c.begin(a, db)
}

// turnAway ends a client that has no session yet.
func (c *client) turnAway(a *Admitted, err *wire.Error) {
	go refuse(a.Conn, err)
	c.srv.gone(c)
}

// lendHome lends the home to the session for what goes to node. False: it isn't what is asked for.
func (c *client) lendHome(s *Session, node *topology.Node) (sc *backend.Conn, ok bool) {
	switch {
	case c.home == nil:
		return nil, false
	case node == c.homeNode && c.home.Borrow(s):
		return c.home, true
	case node != c.homeNode && node.Role() == topology.Replica:
		return nil, false
	}
	// Not at once: the session is in the middle of something.
	c.post(func() {
		s.Kill(wire.Fatal("57P01", "the primary has changed, and with it the client's server connection is gone").WithHint("Connect again."))
	})
	return nil, true
}

// leaveHome is called at the client's end.
func (c *client) leaveHome() {
	if c.home != nil {
		c.home.GiveUp()
		c.home = nil
	}
}

// keeper has a client's home while the session doesn't use it.
type keeper struct{ c *client }

// ServerData brings what the server says of itself. If it is about to close the connection, the client is told by its words.
func (k *keeper) ServerData(p []byte) {
	if k.c.home == nil {
		return
	}
	for len(p) > 0 {
		typ, n, err := wire.Frame(p)
		if err != nil || n == 0 || n > len(p) {
			return // a part; what matters is said by ServerClosed
		}
		if typ == wire.MsgErrorResponse {
			msg := append([]byte(nil), p[:n]...)
			k.c.do(func() { k.c.session.HomeLost(msg) })
			return
		}
		p = p[n:]
	}
}

// ServerClosed ends the client.
func (k *keeper) ServerClosed(error) {
	if k.c.home != nil {
		k.c.do(func() { k.c.session.HomeLost(nil) })
	}
}

// ServerDrained needs nothing.
func (k *keeper) ServerDrained() {}
