package proxy

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// DROP DATABASE, and the other statements of router.Vacating, are refused by Postgres while anybody else is connected to the database. As long as
// one runs, what is there is as if clients were connected directly: Freshet gives up what it holds there for itself (the WAL feed with its slot,
// the look at the catalog, idle pooled connections) and opens nothing new; and each client of Freshet that is connected to the database counts,
// with its server connection or with one that stands in for it, until it goes. So it is Postgres that answers, and it waits as it always does.

const (
	vacateTick = 20 * time.Millisecond // how often it is looked who has come or gone
	// maxStandIns is how many connections stand in for clients that have none; more don't change that the statement is refused.
	maxStandIns = 10
)

// vacancy is one statement that needs a database for itself.
type vacancy struct {
	srv     *Server
	what    router.Vacating
	by      *client
	over    chan bool // gets whether the statement has succeeded
	ended   atomic.Bool
	pools   []*backend.Pool // suspended
	standIn []*pgx.Conn
}

// vacate begins to give up a database. ready is called once, on another goroutine, when the statement may be sent, or with the error that it gets. The
// vacancy lasts until end.
func (s *Server) vacate(what router.Vacating, by *client, ready func(*wire.Error)) *vacancy {
	v := &vacancy{srv: s, what: what, by: by, over: make(chan bool, 1)}
	s.vacating.Go(func() { v.run(ready) })
	return v
}

// end ends the vacancy. It may be called again, which does nothing.
func (v *vacancy) end(succeeded bool) {
	if v.ended.CompareAndSwap(false, true) {
		v.over <- succeeded
	}
}

func (v *vacancy) run(ready func(*wire.Error)) {
	ctx, cancel := context.WithCancel(v.srv.ctx)
	defer cancel()
	databases := v.srv.cfg.Databases
	v.srv.cfg.Admitter.welcomes.forget() // so that who comes meanwhile asks Postgres
	databases.Vacate(ctx, v.what.Database)
	tell := sync.OnceFunc(func() { ready(nil) })
	succeeded := false
	tick := time.NewTicker(vacateTick)
	defer tick.Stop()
loop:
	for {
		if err := v.look(ctx); err != nil {
			tell = sync.OnceFunc(func() { ready(err) })
		}
		tell()
		select {
		case succeeded = <-v.over:
			break loop
		case <-ctx.Done():
			break loop
		case <-tick.C:
		}
	}
	v.dismiss()
	ended := succeeded && v.what.Ends
	if succeeded {
		v.srv.cfg.Admitter.welcomes.forget()
		if v.what.Makes != "" {
			databases.Made(v.what.Makes)
		}
	}
	if ended {
		for _, c := range v.clients() { // of a FORCE, and who has come in the last moment
			c.post(func() {
				c.session.Kill(wire.Fatal("57P01", "terminating connection due to administrator command"))
			})
		}
	}
	v.resume()
	databases.Return(v.what.Database, ended)
}

// look brings what is held in the database to what clients there amount to. An error is for the statement.
func (v *vacancy) look(ctx context.Context) *wire.Error {
	clients := len(v.clients())
	if clients == 0 || v.what.Force {
		v.suspend()
		v.dismiss()
		return nil
	}
	v.resume()
	have := v.connections()
	if have > clients {
		v.dropIdle()
		have = v.connections()
	}
	want := min(clients-have, maxStandIns)
	for len(v.standIn) > max(want, 0) {
		last := len(v.standIn) - 1
		closeStandIn(v.standIn[last])
		v.standIn = v.standIn[:last]
	}
	for len(v.standIn) < want {
		conn, err := v.connect(ctx)
		if err != nil {
			if len(v.standIn) > 0 || have > 0 || ctx.Err() != nil {
				break
			}
			return v.inUse(clients)
		}
		v.standIn = append(v.standIn, conn)
	}
	return nil
}

// connections counts the pooled connections to the database on the primary, without that of the client whose statement it is.
func (v *vacancy) connections() (n int) {
	for _, p := range v.srv.poolsOf(v.what.Database, v.srv.cfg.Topology.Primary()) {
		n += p.Stats().Total
	}
	if v.by.database == v.what.Database {
		n--
	}
	return n
}

func (v *vacancy) connect(ctx context.Context) (*pgx.Conn, error) {
	// While the statement runs, nobody is let in to the database: then there is nothing to be counted any more.
	ctx, cancel := context.WithTimeout(ctx, v.srv.cfg.ConnectTimeout)
	defer cancel()
	return v.srv.cfg.Databases.connect(ctx, v.what.Database)
}

// inUse is Postgres' error, for where the service role may not connect to the database.
func (v *vacancy) inUse(clients int) *wire.Error {
	e := wire.Errorf("55006", "database \"%s\" is being accessed by other users", v.what.Database)
	if v.what.Makes != "" && !v.what.Ends {
		e = wire.Errorf("55006", "source database \"%s\" is being accessed by other users", v.what.Database)
	}
	if clients == 1 {
		return e.WithDetail("There is 1 other session using the database.")
	}
	return e.WithDetail("There are %d other sessions using the database.", clients)
}

// clients are those that are connected to the database, without the one whose statement it is.
func (v *vacancy) clients() (list []*client) {
	v.srv.mu.Lock()
	defer v.srv.mu.Unlock()
	for _, c := range v.srv.mu.sessions {
		if c.database == v.what.Database && c != v.by {
			list = append(list, c)
		}
	}
	return list
}

func (v *vacancy) dismiss() {
	for _, c := range v.standIn {
		closeStandIn(c)
	}
	v.standIn = nil
}

func closeStandIn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // a goodbye has a moment of its own
	defer cancel()
	c.Close(ctx)
}

// suspend closes the idle pooled connections to the database, on all nodes, and has no others made.
func (v *vacancy) suspend() {
	had := len(v.pools)
	for _, p := range v.srv.poolsOf(v.what.Database, nil) {
		if !slices.Contains(v.pools, p) {
			p.Suspend()
			v.pools = append(v.pools, p)
		}
	}
	if len(v.pools) > had {
		v.dropIdle()
	}
}

// resume undoes it.
func (v *vacancy) resume() {
	for _, p := range v.pools {
		p.Resume()
	}
	v.pools = nil
}

// dropIdle closes idle pooled connections to the database, and returns when that is done.
func (v *vacancy) dropIdle() {
	pools := v.srv.poolsOf(v.what.Database, nil)
	var all sync.WaitGroup
	for i, l := range v.srv.loops {
		all.Add(1)
		if !l.Post(func() {
			defer all.Done()
			for _, p := range pools {
				p.Local(i).DropIdle()
			}
		}) {
			all.Done()
		}
	}
	all.Wait()
}

// poolsOf are the pools of a database, of all users, on a node; nil: on all.
func (s *Server) poolsOf(database string, node *topology.Node) (list []*backend.Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.mu.pools {
		if k.database == database && (node == nil || k.node == node) {
			list = append(list, p)
		}
	}
	return list
}

// restEvery ends looking after databases that nobody has been connected to for a time.
func (s *Server) restEvery() {
	idle := s.cfg.DatabaseIdleTimeout
	tick := time.NewTicker(max(idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		for _, name := range s.cfg.Databases.Rest(idle) {
			s.log.Info("nobody is connected to the database any more: nothing is held there", "database", name)
			v := vacancy{srv: s, what: router.Vacating{Database: name}}
			v.dropIdle()
		}
	}
}
