package admin

import (
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// The metrics. INTERFACE: their names are relied on.
var (
	queries      = metric("queries_total", "Queries answered, by where the answer came from.", "source")
	querySeconds = metric("query_seconds", "How long queries took from when they had arrived, by where the answer came from. Those that failed before a server had them: none.", "source")
	queryErrors  = metric("query_errors_total", "Error responses passed on to clients.")
	retries      = metric("retries_total", "Reads sent again because a server had failed before it answered.")

	cacheHits      = metric("cache_hits_total", "Reads answered from the cache.", "tier")
	cacheMisses    = metric("cache_misses_total", "Reads that may be cached and were not answered from the cache, by reason.", "reason")
	cacheBytes     = metric("cache_bytes", "Memory in use by the cache, everything counted.", "tier")
	cacheLimit     = metric("cache_limit_bytes", "Memory that the cache may use.", "tier")
	cacheEntries   = metric("cache_entries", "Answers held, stale ones included.", "tier")
	cacheEvictions = metric("cache_evictions_total", "Answers dropped for want of room: never asked for again (unused), asked for less than others (used), or stale.", "tier", "kind")
	cacheForATime  = metric("cache_ttl_hits_total", "Reads answered from the cache because of freshet.cache_ttl.")
	cacheStale     = metric("cache_stale_total", "Reads answered from the cache with an answer that was, or may have been, stale: --stale-if-error (error) and --stale-while-revalidate (revalidate).", "cause")
	waits          = metric("catch_up_waits_total", "Reads that waited for the cache or a replica to catch up with what their session has seen or asks for.")
	waitsInVain    = metric("catch_up_waits_in_vain_total", "Of these waits, those that took too long: the read went elsewhere.")
	flightShared   = metric("flight_shared_total", "Misses answered by the query of another session.")

	feedLag       = metric("feed_lag_seconds", "How old the newest change is that the WAL feed is sure to have applied.", "database")
	feedServing   = metric("feed_serving", "1 while the WAL feed is caught up and answers may come from the cache.", "database")
	feedRelations = metric("feed_relations", "Relations that the WAL feed covers.", "database")
	feedCommits   = metric("feed_commits_total", "Commits that the WAL feed has applied.", "database")

	columnSets        = metric("column_sets", "Ways in which cached answers pick rows by the values of columns.", "database")
	columnSetsMost    = metric("column_sets_relation_max", "The same of the relation that has the most.", "database")
	columnSetBytes    = metric("column_set_bytes", "Memory of the cells by which such rows are told apart.", "database")
	columnSetLimit    = metric("column_set_limit_bytes", "Memory that these cells may take.", "database")
	columnSetsRefused = metric("column_sets_refused_total", "Answers that depend on all rows of a relation because there was no room for more cells.", "database")

	nodeUp          = metric("node_up", "1 while the server answers.", "node", "role")
	nodeUsed        = metric("node_used", "1 while queries may be sent to the server.", "node")
	nodeOutstanding = metric("node_outstanding", "Queries under way at the server.", "node")
	replicaLag      = metric("replica_lag_seconds", "How old what the replica has replayed is.", "node")
	replicaLagBytes = metric("replica_lag_bytes", "WAL that the replica has not replayed yet.", "node")
	breakerOpen     = metric("breaker_open", "1 while the server is left alone because connections to it kept failing.", "node")
	failovers       = metric("failovers_total", "Times at which another server became the primary.")

	pins  = metric("pins_total", "Reads sent to the primary because of the session's own writes.")
	bound = metric("bound_total", "Times at which a session was bound to its server connection.")

	clients    = metric("clients", "Clients connected.")
	clientsMax = metric("clients_max", "Clients that may be connected; 0: any number.")

	poolConnections = metric("pool_connections", "Server connections.", "node", "database", "user", "state")
	poolWaiting     = metric("pool_waiting", "Sessions that wait for a server connection.", "node", "database", "user")

	buildInfo = metric("build_info", "Always 1; its labels say which Freshet this is.", "version", "commit", "goversion")
)

func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("freshet_"+name, help, labels, nil)
}

// collector makes metrics of a Snapshot, one for each scrape.
type collector struct {
	source          Source
	version, commit string
}

// newRegistry holds Freshet's metrics and those of the process and the Go
// runtime.
func newRegistry(cfg Config) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		&collector{source: cfg.Source, version: cfg.Version, commit: cfg.Commit},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// Describe sends nothing, which makes this an unchecked collector: which series
// there are depends on the servers and databases at the time. That they are
// consistent is checked at each scrape, and by the tests.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.source.Snapshot()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), valid(labels)...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, valid(labels)...)
	}
	gauge(buildInfo, 1, c.version, c.commit, runtime.Version())

	for source, n := range s.Queries {
		counter(queries, n, source)
	}
	for _, h := range s.Seconds {
		buckets, n := make(map[float64]uint64, len(h.Bounds)), uint64(0)
		for i, bound := range h.Bounds {
			n += h.Counts[i]
			buckets[bound] = n
		}
		n += h.Counts[len(h.Bounds)]
		ch <- prometheus.MustNewConstHistogram(querySeconds, n, h.Sum.Seconds(), buckets, h.Source)
	}
	counter(queryErrors, s.QueryErrors)
	counter(retries, s.Retries)
	for _, t := range s.Tiers {
		counter(cacheHits, t.Hits, t.Name)
		gauge(cacheBytes, float64(t.Bytes), t.Name)
		gauge(cacheLimit, float64(t.Limit), t.Name)
		gauge(cacheEntries, float64(t.Entries), t.Name)
		for kind, n := range t.Evictions {
			counter(cacheEvictions, n, t.Name, kind)
		}
	}
	for reason, n := range s.Misses {
		counter(cacheMisses, n, reason)
	}
	counter(cacheForATime, s.ForATime)
	for cause, n := range s.Stale {
		counter(cacheStale, n, cause)
	}
	counter(waits, s.Waits)
	counter(waitsInVain, s.WaitsInVain)
	counter(flightShared, s.FlightShared)
	for _, f := range s.Feeds {
		// A lag that isn't known has no sample: 0 would be a lie, and NaN
		// makes every sum over it NaN.
		if f.Lag >= 0 {
			gauge(feedLag, f.Lag.Seconds(), f.Database)
		}
		gauge(feedServing, one(f.Serving), f.Database)
		gauge(feedRelations, float64(f.Relations), f.Database)
		counter(feedCommits, f.Commits, f.Database)
		gauge(columnSets, float64(f.ColumnSets), f.Database)
		gauge(columnSetsMost, float64(f.ColumnSetsMost), f.Database)
		gauge(columnSetBytes, float64(f.CellBytes), f.Database)
		gauge(columnSetLimit, float64(f.CellLimit), f.Database)
		counter(columnSetsRefused, f.ColumnSetsRefused, f.Database)
	}
	for _, n := range s.Nodes {
		gauge(nodeUp, one(n.Up), n.Name, n.Role)
		gauge(nodeUsed, one(n.used()), n.Name)
		gauge(nodeOutstanding, float64(n.Outstanding), n.Name)
		gauge(breakerOpen, one(n.BreakerOpen), n.Name)
		if n.Role != "replica" {
			continue
		}
		if n.Lag >= 0 {
			gauge(replicaLag, n.Lag.Seconds(), n.Name)
		}
		if n.LagBytes >= 0 {
			gauge(replicaLagBytes, float64(n.LagBytes), n.Name)
		}
	}
	counter(failovers, s.Failovers)
	counter(pins, s.Pins)
	counter(bound, s.Bound)
	gauge(clients, float64(s.Clients))
	gauge(clientsMax, float64(s.MaxClients))
	for _, p := range s.Pools {
		gauge(poolConnections, float64(p.Idle), p.Node, p.Database, p.User, "idle")
		gauge(poolConnections, float64(p.Busy), p.Node, p.Database, p.User, "busy")
		gauge(poolConnections, float64(p.Connecting), p.Node, p.Database, p.User, "connecting")
		gauge(poolWaiting, float64(p.Waiting), p.Node, p.Database, p.User)
	}
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// valid makes label values that a scrape can carry: names of roles and
// databases may be in any encoding (SQL_ASCII), and one that isn't UTF-8 would
// lose its series.
func valid(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return labels
}
