package main

import (
	"cmp"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/router/topology"
)

// Snapshot gathers what metrics and health tell (admin.Source).
func (i *instance) Snapshot() admin.Snapshot {
	s := admin.Snapshot{
		Draining: i.draining.Load(),
		CacheOff: i.cacheOff,
		Queries:  map[string]uint64{"l1": 0, "flight": 0, "replica": 0, "primary": 0},
		Stale:    map[string]uint64{"error": 0, "revalidate": 0},
	}
	st := i.server.Stats()
	s.Clients, s.MaxClients = st.Clients, int64(st.MaxConns)
	var hits uint64
	for _, c := range st.Shards {
		flights := c.FlightShared.Load()
		l1 := c.HitL1.Load() - flights
		hits += l1
		s.Queries["l1"] += l1
		s.Queries["flight"] += flights
		s.Queries["replica"] += c.Replica.Load()
		s.Queries["primary"] += c.Primary.Load()
		s.QueryErrors += c.Errors.Load()
		s.Retries += c.Retries.Load()
		s.FlightShared += flights
		s.ForATime += c.HitForATime.Load()
		s.Stale["error"] += c.StaleIfError.Load()
		s.Stale["revalidate"] += c.Revalidated.Load()
		s.Waits += c.CatchUps.Load()
		s.WaitsInVain += c.CatchUpsVain.Load()
		s.Pins += c.Pins.Load()
		s.Bound += c.Bound.Load()
	}
	for _, p := range st.Pools {
		s.Pools = append(s.Pools, admin.Pool{Node: p.Node, Database: p.Database, User: p.User,
			Idle: p.Idle, Busy: max(0, p.Total-p.Idle-p.Making), Connecting: p.Making, Waiting: p.Waiting})
	}
	for _, n := range i.topo.State() {
		role := "unknown"
		switch n.Role {
		case topology.Primary:
			role = "primary"
		case topology.Replica:
			role = "replica"
		}
		s.Nodes = append(s.Nodes, admin.Node{Name: n.Addr, Role: role, Primary: n.Primary, Up: n.Up, Reason: n.Reason,
			Lag: n.Lag, LagBytes: n.LagBytes, Outstanding: n.Outstanding, Drained: n.Drained, BreakerOpen: n.BreakerOpen})
	}
	s.Seconds = st.Seconds
	s.Failovers = uint64(max(0, i.failovers.Load()-1))
	if i.cacheOff {
		return s
	}
	s.Misses = st.Misses
	l1 := i.l1.Stats()
	evicted := make(map[string]uint64, len(l1.Evicted))
	for kind, n := range l1.Evicted {
		evicted[cache.Eviction(kind).String()] = n
	}
	s.Tiers = []admin.Tier{{Name: "l1", Hits: hits, Bytes: l1.Bytes, Limit: i.l1.Budget(), Entries: l1.Entries, Evictions: evicted}}
	for _, d := range i.databases.Status() {
		f := admin.Feed{Database: d.Name, Serving: d.Feed.Serving, Lag: d.Feed.Lag, Relations: d.Feed.Covered, Reason: cmp.Or(d.Feed.Reason, d.Feed.Problem),
			Commits: d.Feed.Commits, ColumnSets: d.ColumnSets.Sets, ColumnSetsMost: d.ColumnSets.Most,
			CellBytes: d.ColumnSets.Bytes, CellLimit: d.ColumnSets.Limit, ColumnSetsRefused: d.ColumnSets.Refused}
		if !d.Feed.Serving {
			f.Lag = -1
		}
		switch {
		case f.Reason != "":
		case d.CatalogProblem != "":
			f.Reason = "the catalog can't be read, so that nothing new is cached: " + d.CatalogProblem
		case !d.Catalog:
			f.Reason = "the catalog isn't known yet"
		}
		s.Feeds = append(s.Feeds, f)
	}
	return s
}
