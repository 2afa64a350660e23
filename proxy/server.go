package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/shard"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router/topology"
)

// Config is what a Server is made of.
type Config struct {
	Shards    int // event loops; 0: one per core
	Shared    *Shared
	Databases *Databases
	Clock     *consistency.Clock
	Visible   *consistency.Clock // asks Topology.ConfirmVisible
	Admitter  *Admitter
	Topology  *topology.Topology
	Console   *admin.Console // what clients of the database admin.ConsoleDatabase talk to; nil: there is none

	MaxClients        int
	PoolSize          int
	PoolWait          time.Duration
	PoolMode          PoolMode // default PoolTransaction
	ConnectTimeout    time.Duration
	ServerLifetime    time.Duration
	ServerIdleTimeout time.Duration
	DrainTimeout      time.Duration
	// DatabaseIdleTimeout is how long a database without clients is still looked after; 0: for ever.
	DatabaseIdleTimeout time.Duration
	Logger              *slog.Logger
}

// Server accepts clients and runs their sessions on shards. Make it with NewServer, give it listeners with Serve, end it with Shutdown.
type Server struct {
	cfg      Config
	log      *slog.Logger
	refusals *refusals
	loops    []*shard.Loop
	locals   []*ShardLocal
	epochs   []int64 // of the loops: when each was made (consistency.Now)
	planner  *planners
	targets  map[*topology.Node]backend.Target
	senders  map[*topology.Node]*backend.Senders

	clients    atomic.Int64 // admitted or being admitted
	seats      atomic.Int64 // those of them that have a seat
	maxClients atomic.Int64 // how many seats there are
	nextPID    atomic.Uint32

	mu struct {
		sync.Mutex
		pools     map[poolKey]*backend.Pool
		sessions  map[uint32]*client // by the process id that the client was told
		consoles  map[uint32]*console
		listeners []net.Listener
		pending   map[net.Conn]struct{} // not admitted yet
		stopping  bool
	}
	loopsDone sync.WaitGroup
	admitting sync.WaitGroup
	accepting sync.WaitGroup
	vacating  sync.WaitGroup // and what else runs beside the shards
	ctx       context.Context
	cancel    context.CancelFunc
}

type poolKey struct {
	node           *topology.Node
	database, user string
}

// NewServer makes a server and starts its shards. It accepts nobody until Serve.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Shards <= 0 {
		cfg.Shards = runtime.NumCPU()
	}
	s := &Server{cfg: cfg, log: cfg.Logger, refusals: newRefusals(cfg.Logger), targets: map[*topology.Node]backend.Target{}, senders: map[*topology.Node]*backend.Senders{}}
	s.SetMaxClients(cfg.MaxClients)
	cfg.Admitter.server.Store(s)
	s.ctx, s.cancel = context.WithCancel(context.Background()) // ended by Shutdown
	s.mu.pools = map[poolKey]*backend.Pool{}
	s.mu.sessions = map[uint32]*client{}
	s.mu.consoles = map[uint32]*console{}
	s.mu.pending = map[net.Conn]struct{}{}
	for _, n := range cfg.Topology.Nodes() {
		t, err := backend.NewTarget(n.ConnConfig())
		if err != nil {
			s.cancel()
			return nil, fmt.Errorf("%s: %w", n.Addr(), err)
		}
		s.targets[n], s.senders[n] = t, &backend.Senders{}
	}
	// The shards hold on to their processors; everything beside them needs some of its own.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), cfg.Shards+shard.Headroom))
	for i := range cfg.Shards {
		l, err := shard.New(shard.Options{Name: fmt.Sprintf("shard%d", i), Logger: cfg.Logger})
		if err != nil {
			s.cancel()
			for _, l := range s.loops {
				l.Close()
			}
			return nil, fmt.Errorf("starting shard %d: %w", i, err)
		}
		s.loops = append(s.loops, l)
		s.locals = append(s.locals, NewShardLocal())
		s.epochs = append(s.epochs, consistency.InstantOf(l.Base()))
	}
	for i, l := range s.loops {
		s.loopsDone.Add(1)
		go func() {
			defer s.loopsDone.Done()
			l.Run()
		}()
		l.Post(func() { s.sweepEvery(i) })
	}
	s.planner = newPlanners(max(2, cfg.Shards))
	if cfg.DatabaseIdleTimeout > 0 {
		s.vacating.Go(s.restEvery)
	}
	return s, nil
}

// sweepEvery looks after idle server connections of a shard, on its loop.
func (s *Server) sweepEvery(i int) {
	t := &shard.Timer{}
	t.Init(s.loops[i], func() {
		for _, p := range s.poolList() {
			p.Local(i).Sweep()
		}
		t.Reset(sweepInterval)
	})
	t.Reset(sweepInterval)
}

const sweepInterval = 5 * time.Second

func (s *Server) poolList() []*backend.Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*backend.Pool, 0, len(s.mu.pools))
	for _, p := range s.mu.pools {
		list = append(list, p)
	}
	return list
}

// pool returns the pool of a node, database and user, made on first demand.
func (s *Server) pool(n *topology.Node, database, user string) *backend.Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := poolKey{n, database, user}
	p := s.mu.pools[key]
	if p == nil {
		db := s.cfg.Databases.Get(database)
		p = backend.NewPool(s.targets[n], database, user, s.loops, backend.Options{
			Size: s.cfg.PoolSize, Wait: s.cfg.PoolWait, Connect: s.cfg.ConnectTimeout,
			Lifetime: s.cfg.ServerLifetime, IdleTimeout: s.cfg.ServerIdleTimeout,
			Logger: s.log, Failed: n.Failed, Worked: n.Worked, Epoch: n.Epoch, Defaults: db.Defaults, Senders: s.senders[n],
			Closing: func() bool { return db.Paused() || n.Drained() && n.Role() == topology.Replica },
			Vouch: func(ask func(string) (string, error)) (uint64, error) {
				v := n.BeginVouch()
				answer, err := ask(topology.VouchSQL)
				if err == nil {
					err = v.Check(answer)
				}
				return v.Epoch, err
			},
		})
		s.mu.pools[key] = p
	}
	return p
}

// Serve accepts clients from ln until it is closed or the server shuts down. It returns nil then. The
// listener belongs to the server from here on.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.mu.stopping {
		s.mu.Unlock()
		ln.Close()
		return nil
	}
	s.mu.listeners = append(s.mu.listeners, ln)
	s.accepting.Add(1)
	s.mu.Unlock()
	defer s.accepting.Done()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			var ne net.Error
			if errors.As(err, &ne) {
				// Out of descriptors, or a client that was quick to go: others can still be served.
				s.log.Warn("accepting a client failed", "error", err)
				select {
				case <-time.After(50 * time.Millisecond):
					continue
				case <-s.ctx.Done():
					return nil
				}
			}
			return err
		}
		s.mu.Lock()
		if s.mu.stopping {
			s.mu.Unlock()
			conn.Close()
			return nil
		}
		if s.crowdedLocked() {
			s.mu.Unlock()
			conn.Close()
			continue
		}
		s.mu.pending[conn] = struct{}{}
		s.admitting.Add(1)
		s.mu.Unlock()
		go s.admit(conn)
	}
}

// admissionTimeout is how long what comes after the login may take, as Postgres' authentication_timeout.
const admissionTimeout = 60 * time.Second

// admit does what comes before a client's session, on a goroutine of its own.
func (s *Server) admit(conn net.Conn) {
	defer s.admitting.Done()
	s.clients.Add(1)
	handed := false
	defer func() {
		s.mu.Lock()
		delete(s.mu.pending, conn)
		s.mu.Unlock()
		if !handed {
			s.clients.Add(-1)
		}
	}()
	if tc, ok := conn.(*net.TCPConn); ok {
		tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 6})
	}
	a, err := s.cfg.Admitter.Admit(s.ctx, conn)
	if err != nil {
		s.refusals.note(conn.RemoteAddr().String(), err, time.Now())
		conn.Close()
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, admissionTimeout)
	defer cancel()
	if a.Cancel != nil {
		// The client takes the end of this connection for the end of its request (HAZARDS 4).
		s.cancelRequest(ctx, a.Cancel.PID, a.Cancel.Secret)
		a.Conn.Close()
		return
	}
	if s.cfg.Console != nil && a.Database == admin.ConsoleDatabase {
		s.mu.Lock()
		delete(s.mu.pending, conn) // it isn't on its way in any more
		s.mu.Unlock()
		s.serveConsole(a)
		return
	}
	db := s.cfg.Databases.Enter(a.Database)
	s.cfg.Databases.AwaitCatalog(ctx, db)
	if s.cfg.PoolMode == PoolSession {
		s.awaitPrimary(ctx)
	}
	handed = true
	s.start(a, db)
}

// refuse tells a client that was admitted otherwise why it can't stay.
func refuse(conn net.Conn, err *wire.Error) {
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	conn.Write(err.AppendTo(nil))
	conn.Close()
}

// start hands an admitted client to the shard with the fewest.
func (s *Server) start(a *Admitted, db *Database) {
	best := 0
	for i := range s.locals {
		if s.locals[i].Counters.Clients.Load() < s.locals[best].Counters.Clients.Load() {
			best = i
		}
	}
	s.locals[best].Counters.Clients.Add(1)
	c := newClient(s, best, a)
	if !s.loops[best].Post(func() { c.start(a, db) }) {
		a.Conn.Close()
		s.gone(c)
	}
}

// gone takes a client out of the books.
func (s *Server) gone(c *client) {
	s.mu.Lock()
	delete(s.mu.sessions, c.pid)
	s.mu.Unlock()
	s.cfg.Databases.Leave(c.database)
	s.locals[c.shard].Counters.Clients.Add(-1)
	if c.seated {
		s.leaveSeat()
	}
	s.clients.Add(-1)
}

// Leave stops listening, on sockets on which another process goes on. Who has been accepted is let in. It waits, for as long as patience and ctx
// last, until all clients have gone by themselves; Shutdown comes next.
func (s *Server) Leave(ctx context.Context, patience time.Duration) {
	s.mu.Lock()
	for _, ln := range s.mu.listeners {
		ln.Close()
	}
	s.mu.Unlock()
	s.accepting.Wait()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		pending := len(s.mu.pending)
		s.mu.Unlock()
		if pending == 0 && s.clients.Load() == 0 { // in this order: who isn't pending any more is among the clients
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Shutdown stops: no new clients; transactions finish, for as long as ctx allows; idle clients get 57P01. Then everything is closed.
// It returns ctx's error if somebody had to be cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	already := s.mu.stopping
	s.mu.stopping = true
	for _, ln := range s.mu.listeners {
		ln.Close()
	}
	for c := range s.mu.pending {
		c.SetDeadline(time.Now()) // whoever isn't in yet stays out
	}
	s.mu.Unlock()
	if already {
		return nil
	}
	s.accepting.Wait()
	err := s.drain(ctx)
	s.cancel()
	s.admitting.Wait()
	s.vacating.Wait()
	s.mu.Lock()
	var left []*client
	for _, c := range s.mu.sessions {
		left = append(left, c)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.post(func() {
			c.session.Kill(wire.Fatal("57P01", "terminating connection due to administrator command"))
		})
	}
	for _, p := range s.poolList() {
		p.Close()
	}
	s.planner.close()
	for _, l := range s.loops {
		l.Close()
	}
	s.loopsDone.Wait()
	return err
}

// drain waits for the sessions to end of themselves.
func (s *Server) drain(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		n := len(s.mu.sessions)
		for _, c := range s.mu.sessions {
			c.post(c.session.Drain)
		}
		s.mu.Unlock()
		if n == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// LowerFloors brings the floors of all sessions back to lsn: after a failover that lost what was beyond it.
func (s *Server) LowerFloors(lsn consistency.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mu.sessions {
		c.post(func() { c.session.LowerFloor(lsn) })
	}
}

// SetLimits changes the limits of all sessions. Safe for concurrent use.
func (s *Server) SetLimits(l Limits) {
	s.cfg.Shared.SetLimits(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.mu.sessions {
		c.post(c.session.LimitsChanged)
	}
}

// Stats is a picture of the server for metrics.
type Stats struct {
	Clients  int64
	MaxConns int
	Shards   []*Counters
	Pools    []PoolStats
	Misses   map[string]uint64 // of the cache, by reason
	Seconds  []admin.Histogram // of queries, by source
}

// PoolStats is a pool's picture with its name.
type PoolStats struct {
	Node, Database, User string
	backend.Stats
}

// Elastic is how many bytes are lent to clients that send on and on without reading. Safe for concurrent use.
func (s *Server) Elastic() int64 { return s.cfg.Shared.elastic.Load() }

// Stats returns a momentary picture. Safe for concurrent use.
func (s *Server) Stats() Stats {
	st := Stats{Clients: s.clients.Load(), MaxConns: int(s.maxClients.Load()), Misses: map[string]uint64{}}
	for _, l := range s.locals {
		st.Shards = append(st.Shards, &l.Counters)
		for why, name := range missNames {
			if name != "" {
				st.Misses[name] += l.Counters.Misses[why].Load()
			}
		}
	}
	st.Seconds = s.seconds()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.mu.pools {
		st.Pools = append(st.Pools, PoolStats{k.node.Addr(), k.database, k.user, p.Stats()})
	}
	return st
}
