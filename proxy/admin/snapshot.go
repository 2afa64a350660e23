package admin

import "time"

// Source tells what there is to tell. It is asked once for each request, from
// several goroutines at once, and must answer from memory: no I/O, no waiting.
type Source interface {
	Snapshot() Snapshot
}

// Snapshot is a momentary picture of a Freshet. Counters count since the start
// of the process and never fall. Whoever made it hands it over: nothing in it
// may be changed afterwards.
type Snapshot struct {
	// Draining: Freshet is shutting down, and takes no new clients.
	Draining bool

	// Queries are those answered, by source: "l1", "flight", "replica",
	// "primary". An answer from the cache after waiting for a flight counts as
	// "flight" only. A source that exists and has answered nothing yet is in the
	// map with 0, so that its series begins at 0.
	Queries map[string]uint64
	// Seconds are the times that they took, by source.
	Seconds []Histogram
	// QueryErrors are error responses passed on to clients.
	QueryErrors uint64
	// Retries are reads sent again, unseen by the client, because a server had
	// failed before it answered.
	Retries uint64

	// CacheOff: by configuration. Then Tiers, Misses and Feeds are empty.
	CacheOff bool
	Tiers    []Tier
	// Misses are reads that may be cached and weren't answered from the cache,
	// by reason, e.g. "absent", "stale_row", "own_write".
	Misses map[string]uint64
	// Waits are waits of reads for the cache or a replica to catch up with what the session has seen or asks for; WaitsInVain
	// those of them that took too long.
	Waits, WaitsInVain uint64
	// ForATime are reads answered from the cache because of freshet.cache_ttl.
	ForATime uint64
	// Stale are reads answered from the cache though the answer was stale, or that it wasn't couldn't be told: by why that was
	// done, "error" or "revalidate".
	Stale map[string]uint64
	// FlightShared are misses that were answered by another session's query.
	FlightShared uint64
	Feeds        []Feed

	// Pins are reads sent to the primary because of the session's own writes.
	Pins uint64
	// Bound counts the times at which a session was bound to its server
	// connection.
	Bound uint64

	Clients    int64 // connected now
	MaxClients int64 // 0: no bound

	Nodes     []Node
	Failovers uint64 // changes of the primary, the first one not counted
	Pools     []Pool
}

// Histogram is how long queries took.
type Histogram struct {
	Source string
	Bounds []float64     // upper bounds of the buckets but the last, in seconds
	Counts []uint64      // of each bucket
	Sum    time.Duration // of all
}

// Tier is a level of the cache.
type Tier struct {
	Name      string // "l1"
	Hits      uint64 // reads answered from it
	Bytes     int64  // in use, everything counted
	Limit     int64  // at most so many bytes
	Entries   int64
	Evictions map[string]uint64 // entries that left for want of room, by kind
}

// Feed is the WAL feed of one database.
type Feed struct {
	Database string
	// Serving: caught up, so that answers may come from the cache.
	Serving bool
	// Lag is how old what it has applied is; negative: not known.
	Lag time.Duration
	// Relations is the number of relations that it covers.
	Relations int
	// Commits are those that it has applied.
	Commits uint64
	// ColumnSets are the ways in which cached answers pick rows, of all relations and of the one with the most; each has cells.
	ColumnSets, ColumnSetsMost int
	// CellBytes is what these cells take, of at most CellLimit.
	CellBytes, CellLimit int64
	// ColumnSetsRefused counts answers that had to depend on all rows of a relation because there was no room for more cells.
	ColumnSetsRefused uint64
	// Reason says why it isn't serving. If it is serving all the same, it says
	// what is degraded. Empty: all is well.
	Reason string
}

// Node is a Postgres server.
type Node struct {
	Name string // host:port
	Role string // "primary", "replica" or "unknown": what it says it is
	// Primary: it is the one that writes go to.
	Primary bool
	// Up: it answers.
	Up bool
	// Reason says why it isn't used; empty: it is.
	Reason      string
	Lag         time.Duration // of a replica; negative: not known
	LagBytes    int64         // of a replica; negative: not known
	Outstanding int64         // queries under way
	Drained     bool          // DRAIN has taken it out of rotation
	BreakerOpen bool          // left alone for a while, since connections to it kept failing
}

// used says whether queries are sent to the node.
func (n Node) used() bool { return n.Up && n.Reason == "" }

// Pool is the set of server connections of one node, database and user.
type Pool struct {
	Node, Database, User string

	Idle       int // connections that wait for a query
	Busy       int // connections that are lent to a session
	Connecting int // connections in the making
	Waiting    int // sessions that wait for a connection
}
