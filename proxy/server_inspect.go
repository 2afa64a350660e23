package proxy

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/proxy/wire"
)

// What SHOW CLIENTS and the like tell: each shard is asked for what belongs to it.

// Clients are all clients, those of the console included. Safe for concurrent use.
func (s *Server) Clients(ctx context.Context) ([]admin.ClientInfo, error) {
	perShard := make([][]*client, len(s.loops))
	var list []admin.ClientInfo
	s.mu.Lock()
	for _, c := range s.mu.sessions {
		perShard[c.shard] = append(perShard[c.shard], c)
	}
	for _, c := range s.mu.consoles {
		list = append(list, c.clientInfo())
	}
	s.mu.Unlock()
	var mu sync.Mutex
	// Not all at once: other clients wait meanwhile.
	const some = 256
	for more := true; more; {
		more = false
		err := s.onShards(ctx, func(i int) {
			mine := perShard[i][:min(some, len(perShard[i]))]
			infos := make([]admin.ClientInfo, 0, len(mine))
			for _, c := range mine {
				if !c.ended {
					infos = append(infos, c.clientInfo())
				}
			}
			mu.Lock()
			list = append(list, infos...)
			mu.Unlock()
		})
		if err != nil {
			return nil, err
		}
		for i := range perShard {
			perShard[i] = perShard[i][min(some, len(perShard[i])):]
			more = more || len(perShard[i]) > 0
		}
	}
	slices.SortFunc(list, func(a, b admin.ClientInfo) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.User, b.User), cmp.Compare(a.PID, b.PID))
	})
	return list, nil
}

// clientInfo tells of a client. On its shard.
func (c *client) clientInfo() admin.ClientInfo {
	s := c.session
	info := admin.ClientInfo{
		User: c.user, Database: c.database, State: "active", Addr: c.remote, Local: c.local, Connected: c.since, PID: c.pid, TLS: c.tls,
		Prepared: len(s.named), Transaction: transactionWord(s.tx), Waits: s.phase.waitsFor(), Bound: s.bound,
		Source: s.last.sourceText(), Reason: strings.ReplaceAll(s.last.reasonText(), "%s", "a time"),
	}
	info.Application, _ = s.set.value("application_name")
	if s.unit.start != 0 {
		info.Requested = time.Unix(0, s.unit.start)
	}
	switch {
	case info.Waits != "":
		info.State = "waiting"
		info.Wait = time.Duration(max(consistency.Now()-s.unit.start, 0))
	case s.conn == nil && s.phase == phaseIdle:
		info.State = "idle"
	}
	if s.conn != nil {
		info.ServerPID = s.conn.PID()
	}
	if s.node != nil {
		info.Node = s.node.Addr()
	}
	return info
}

func (c *console) clientInfo() admin.ClientInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	info := admin.ClientInfo{User: c.client.User, Database: admin.ConsoleDatabase, State: "idle", Addr: c.conn.RemoteAddr(), Local: c.conn.LocalAddr(),
		Connected: c.info.since, Requested: c.mu.last, PID: c.client.PID, TLS: c.info.tls, Application: c.info.application, Transaction: "idle"}
	if c.mu.cancel != nil {
		info.State = "active"
	}
	return info
}

func transactionWord(tx byte) string {
	switch tx {
	case wire.TxActive:
		return "active"
	case wire.TxFailed:
		return "failed"
	}
	return "idle"
}

// waitsFor says in words what a session waits for that isn't its client or the answer of its server; "": it doesn't.
func (p phase) waitsFor() string {
	switch p {
	case phasePaused:
		return "RESUME"
	case phasePlanning:
		return "a plan"
	case phaseFlight:
		return "an identical query"
	case phaseAwaiting:
		return "a server that could answer"
	case phaseAsking:
		return "the primary's position"
	case phaseCatchingUp:
		return "a source to catch up"
	case phaseConfirming:
		return "the primary to show what replicas have shown"
	case phaseAcquiring:
		return "a server connection"
	}
	return ""
}

// Servers are all server connections. Safe for concurrent use.
func (s *Server) Servers(ctx context.Context) ([]admin.ServerInfo, error) {
	s.mu.Lock()
	pools := maps.Clone(s.mu.pools)
	s.mu.Unlock()
	var mu sync.Mutex
	var list []admin.ServerInfo
	err := s.onShards(ctx, func(i int) {
		var infos []admin.ServerInfo
		for k, p := range pools {
			for _, c := range p.Local(i).Conns() {
				info := admin.ServerInfo{Node: k.node.Addr(), Database: k.database, User: k.user, State: "idle", Connected: time.Unix(0, c.Born()),
					CloseNeeded: c.Outdated(), PID: c.PID(), Prepared: c.Prepared.Clients()}
				if c.Owner() != nil {
					info.State = "active"
				}
				if owner, ok := c.Owner().(*Session); ok {
					info.ClientPID = owner.pid
					info.Application, _ = owner.set.value("application_name")
					info.Requested = time.Unix(0, owner.unit.start)
				} else if k, ok := c.Owner().(*keeper); ok {
					info.ClientPID = k.c.pid
				}
				infos = append(infos, info)
			}
		}
		mu.Lock()
		list = append(list, infos...)
		mu.Unlock()
	})
	slices.SortFunc(list, func(a, b admin.ServerInfo) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Database, b.Database), cmp.Compare(a.User, b.User), cmp.Compare(a.PID, b.PID))
	})
	return list, err
}

// DatabaseTotals are what has been done for each database. Safe for concurrent use.
func (s *Server) DatabaseTotals(ctx context.Context) ([]admin.DatabaseInfo, error) {
	perShard := make([]map[*Database]totals, len(s.loops))
	err := s.onShards(ctx, func(i int) {
		perShard[i] = map[*Database]totals{}
		for db, t := range s.locals[i].totals {
			perShard[i][db] = *t
		}
	})
	if err != nil {
		return nil, err
	}
	var list []admin.DatabaseInfo
	for _, db := range s.cfg.Databases.All() {
		d := admin.DatabaseInfo{Name: db.Name, Paused: db.Paused()}
		for _, shard := range perShard {
			t := shard[db]
			d.Queries += t.queries
			d.Transactions += t.transactions
			d.Received += t.received
			d.Sent += t.sent
			d.QueryTime += time.Duration(t.queryTime)
			d.TransactionTime += time.Duration(t.transactionTime)
			d.Waiting += time.Duration(t.waiting)
		}
		list = append(list, d)
	}
	return list, nil
}

// Kill ends a client, at once. False: there is none of that number. Safe for concurrent use.
func (s *Server) Kill(pid uint32) bool {
	s.mu.Lock()
	c, con := s.mu.sessions[pid], s.mu.consoles[pid]
	s.mu.Unlock()
	switch {
	case con != nil:
		con.end(errConsoleKilled)
	case c != nil:
		c.post(func() {
			c.session.Kill(wire.Fatal("57P01", "terminating connection due to administrator command"))
		})
	default:
		return false
	}
	return true
}

// Sweep has each shard close idle connections that aren't to be lent any more. Safe for concurrent use.
func (s *Server) Sweep() {
	for _, p := range s.poolList() {
		for i, l := range s.loops {
			l.Post(p.Local(i).Sweep)
		}
	}
}
