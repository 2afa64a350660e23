package proxy

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"net"
	"slices"
	"time"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/shard"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// client runs one session on its shard: it is the session's Env, and the handler of the client's connection.
// Everything in it but the fields set by newClient is touched on the shard only.
type client struct {
	srv      *Server
	shard    int
	loop     *shard.Loop
	pid      uint32
	secret   []byte
	user     string
	database string
	identity auth.Identity
	seated   bool // has a seat to leave (Server.takeSeat)
	remote   net.Addr
	local    net.Addr
	tls      string
	since    time.Time
	refills  []byte // the key that it fills the cache for; nil: there is somebody, at the other end of conn

	conn    *shard.Conn // client <-> proxy
	session *Session
	waiter  *backend.Waiter
	waitsAt *backend.Local
	pools   []nodePool
	ended   bool
	closing bool
	vacancy *vacancy // for the unit in hand
	awaits  []func() // end what the session waits for
	wake    shard.Timer
	wakes   uint64 // the unit that asked to be woken
	limit   shard.Timer

	home     *backend.Conn // see client_home.go
	homeNode *topology.Node
}

// nodePool is a short cut to the pool's part of this shard.
type nodePool struct {
	node  *topology.Node
	local *backend.Local
}

func newClient(s *Server, shardIndex int, a *Admitted) *client {
	c := &client{srv: s, shard: shardIndex, loop: s.loops[shardIndex], user: a.User, database: a.Database, identity: a.Identity, seated: a.seated,
		remote: a.Conn.RemoteAddr(), local: a.Conn.LocalAddr(), tls: a.TLS, since: time.Now()}
	size := 4
	if a.Protocol >= protocol32 {
		size = 32
	}
	c.secret = make([]byte, size)
	rand.Read(c.secret)
	return c
}

const protocol32 = 3<<16 | 2

// start begins the session, on the loop, when there is what it needs.
func (c *client) start(a *Admitted, db *Database) {
	if c.srv.cfg.PoolMode == PoolSession {
		c.findHome(a, db)
		return
	}
	c.begin(a, db)
}

func (c *client) begin(a *Admitted, db *Database) {
	s := c.srv
	session, err := NewSession(c, s.cfg.Shared, s.locals[c.shard], db, a.User, a.Params, slices.Concat(a.Welcome, a.Unreported))
	if err != nil {
		e, ok := err.(*wire.Error)
		if !ok {
			e = wire.Errorf("XX000", "%s", err)
		}
		c.leaveHome()
		c.turnAway(a, e.WithSeverity("FATAL"))
		return
	}
	c.session, session.home = session, c.home
	conn, err := c.loop.Adopt(a.Conn, c, a.Leftover)
	if err != nil {
		s.log.Warn("taking over a client failed", "error", err)
		c.closing = true
		session.ClientClosed(err)
		return
	}
	c.conn = conn
	c.initTimers()
	s.mu.Lock()
	if c.home != nil {
		c.pid = c.home.PID()
	}
	for s.mu.sessions[c.pid] != nil || c.pid == 0 {
		c.pid = firstClientPID + s.nextPID.Add(1)%(firstConsolePID-firstClientPID)
	}
	s.mu.sessions[c.pid] = c
	session.pid = c.pid
	stopping := s.mu.stopping
	s.mu.Unlock()
	var out []byte
	for _, p := range a.Welcome {
		out = wire.AppendParameterStatus(out, p.Name, p.Value)
	}
	out = wire.AppendBackendKeyData(out, c.pid, c.secret)
	out = wire.AppendReadyForQuery(out, wire.TxIdle)
	conn.Write(out)
	session.LimitsChanged()
	if stopping {
		session.Drain()
	}
}

func (c *client) initTimers() {
	c.limit.Init(c.loop, func() { c.do(c.session.Expired) })
	c.wake.Init(c.loop, func() { c.do(func() { c.session.Woken(c.wakes) }) })
}

func (c *client) post(fn func()) {
	c.loop.Post(func() { c.do(fn) })
}

// do runs fn as an event of the client's connection: if it panics, this client goes, and no other.
func (c *client) do(fn func()) {
	switch {
	case c.ended:
	case c.conn != nil:
		c.conn.Do(fn)
	case c.refills != nil:
		c.doAlone(fn)
	}
}

// cancelRequest does what a CancelRequest asks for, if its key is right, and returns when that is done, or ctx has ended.
func (s *Server) cancelRequest(ctx context.Context, pid uint32, secret []byte) {
	s.mu.Lock()
	c, con := s.mu.sessions[pid], s.mu.consoles[pid]
	s.mu.Unlock()
	if con != nil && subtle.ConstantTimeCompare(con.secret, secret) == 1 {
		con.cancelCommand(errConsoleCancel)
	}
	if c == nil || subtle.ConstantTimeCompare(c.secret, secret) != 1 {
		return
	}
	done := make(chan struct{})
	c.loop.Post(func() {
		asked := false
		c.do(func() {
			asked = true
			c.session.Cancel(func() { close(done) })
		})
		if !asked { // it has ended meanwhile
			close(done)
		}
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Data, Closed and Drained are the client's connection's events (shard.Handler).

func (c *client) Data(_ *shard.Conn, p []byte) {
	if !c.closing {
		c.session.ClientData(p)
	}
}

func (c *client) Closed(_ *shard.Conn, err error) {
	c.closing = true
	c.session.ClientClosed(err)
}

func (c *client) Drained(*shard.Conn) {
	if !c.closing {
		c.session.ClientDrained()
	}
}

// What follows is the session's Env.

func (c *client) Now() int64 { return consistency.Now() }

func (c *client) Turn() int64 { return c.srv.epochs[c.shard] + c.loop.Mono() }

func (c *client) ToClient(p []byte) {
	if c.conn != nil {
		c.session.totals.sent += uint64(len(p))
		c.conn.Write(p)
	}
}

func (c *client) ClientBuffered() int {
	if c.conn == nil {
		return 0
	}
	return c.conn.Buffered()
}

func (c *client) PauseClient() {
	if c.conn != nil {
		c.conn.PauseRead()
	}
}

func (c *client) ResumeClient() {
	if c.conn != nil {
		c.conn.ResumeRead()
	}
}

func (c *client) CloseClient() {
	if !c.closing && c.conn != nil {
		c.conn.CloseAfterFlush()
	}
	c.closing = true
}

func (c *client) Acquire(s *Session, n *topology.Node) *backend.Conn {
	if sc, ok := c.lendHome(s, n); ok {
		return sc
	}
	l := c.localPool(n)
	if s.wantsOwned() {
		if sc := l.AcquireOwned(s, s.seqVersion); sc != nil {
			return sc
		}
	}
	// grant is called later, when the waiter is known; nil waiter: the connection is there.
	sc, w := l.Acquire(s, c.identity, c.granted)
	c.waiter, c.waitsAt = w, l
	return sc
}

func (c *client) granted(sc *backend.Conn, err error) {
	c.waiter = nil
	c.session.Granted(sc, err)
}

func (c *client) localPool(n *topology.Node) *backend.Local {
	for _, p := range c.pools {
		if p.node == n {
			return p.local
		}
	}
	l := c.srv.pool(n, c.database, c.user).Local(c.shard)
	c.pools = append(c.pools, nodePool{n, l})
	return l
}

func (c *client) Leave(*Session) {
	if c.waiter != nil {
		c.waitsAt.Leave(c.waiter)
		c.waiter = nil
	}
}

func (c *client) Plan(s *Session, req PlanRequest) {
	c.srv.planner.submit(s.db, req, func(p *router.Plan) {
		c.post(func() { s.Planned(req, p) })
	})
}

func (c *client) Judge(s *Session, ticket uint64, ran []PlanRequest) {
	c.srv.planner.judge(s.db, ran, func(binds string) {
		c.post(func() { s.Judged(ticket, len(ran), binds) })
	})
}

func (c *client) AskPosition(sess *consistency.Session, ticket uint64) {
	topo := c.srv.cfg.Topology
	topo.Hurry()
	c.srv.cfg.Clock.Next(func(lsn consistency.LSN, err error) {
		if err == nil {
			sess.Learned(ticket, lsn)
		}
	})
}

func (c *client) AskNow(s *Session, number uint64) {
	c.srv.cfg.Topology.Hurry()
	c.srv.cfg.Clock.Next(func(lsn consistency.LSN, err error) {
		c.post(func() { s.Positioned(number, lsn, err) })
	})
}

func (c *client) AwaitSource(s *Session, src *consistency.Source, lsn consistency.LSN, number uint64) {
	c.awaits = append(c.awaits, src.Await(lsn, c.caughtUp(s, number)).Cancel)
}

func (c *client) AwaitReplica(s *Session, lsn consistency.LSN, number uint64) bool {
	cancel, ok := c.srv.cfg.Topology.AwaitReplica(lsn, c.caughtUp(s, number))
	if ok {
		c.awaits = append(c.awaits, cancel)
	}
	return ok
}

func (c *client) AwaitUntil(s *Session, src *consistency.Source, at int64, ask bool, number uint64) bool {
	topo := c.srv.cfg.Topology
	w := src.AwaitUntil(at, c.caughtUp(s, number))
	switch {
	case !ask:
	case src == topo.PrimarySource():
		c.srv.cfg.Clock.Next(func(consistency.LSN, error) {}) // its answer reaches the source
	case !topo.AskReplica(src):
		w.Cancel()
		return false
	}
	c.awaits = append(c.awaits, w.Cancel)
	return true
}

func (c *client) caughtUp(s *Session, number uint64) func() {
	return func() { c.post(func() { s.CaughtUp(number) }) }
}

func (c *client) AwaitResume(s *Session, number uint64) {
	c.awaits = append(c.awaits, s.db.AwaitResume(func() { c.post(func() { s.Resumed(number) }) }))
}

func (c *client) StopAwaiting(*Session) {
	for i, cancel := range c.awaits {
		cancel()
		c.awaits[i] = nil
	}
	c.awaits = c.awaits[:0]
	c.wake.Stop()
}

func (c *client) ConfirmVisible(s *Session, number uint64) {
	c.srv.cfg.Visible.Next(func(_ consistency.LSN, err error) {
		c.post(func() { s.Confirmed(number, err) })
	})
}

func (c *client) Waker(s *Session, number uint64) func() {
	return func() { c.post(func() { s.FlightOver(number) }) }
}

func (c *client) CancelWaker(s *Session) func() {
	return func() { c.post(s.CancelOver) }
}

func (c *client) ExpireIn(_ *Session, d time.Duration) {
	if d > 0 {
		c.limit.Reset(d)
	} else {
		c.limit.Stop()
	}
}

func (c *client) WakeIn(_ *Session, d time.Duration, number uint64) {
	c.wakes = number
	c.wake.Reset(d)
}

func (c *client) Vacate(s *Session, what router.Vacating, number uint64) {
	c.vacancy = c.srv.vacate(what, c, func(err *wire.Error) {
		c.post(func() { s.Vacated(number, err) })
	})
}

func (c *client) Occupy(_ *Session, succeeded bool) {
	if c.vacancy != nil {
		c.vacancy.end(succeeded)
		c.vacancy = nil
	}
}

func (c *client) Ended(*Session) {
	if !c.ended {
		c.ended = true
		c.StopAwaiting(nil)
		c.limit.Stop()
		c.leaveHome()
		if c.refills != nil {
			c.srv.cfg.Shared.refills.end(c.refills)
			return
		}
		c.srv.gone(c)
	}
}
