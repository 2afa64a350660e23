package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
	"github.com/freshet/freshet/router/topology"
)

// Nodes is what a session has to know of the servers. *topology.Topology is one.
type Nodes interface {
	Primary() *topology.Node
	PickReplica(s *consistency.Session, r consistency.Read, skip *topology.Node) (*topology.Node, consistency.Verdict)
	RefNow(now int64) int64
	PrimarySource() *consistency.Source
	AwaitReplica(lsn consistency.LSN, fn func()) (cancel func(), ok bool)
	VisibleAsOf() int64
	DoubtReplicas()
	Hurry()
}

// Shared is what all sessions of a process have in common. Its fields aren't changed once there are sessions; what they
// point to is safe for concurrent use.
type Shared struct {
	Nodes          Nodes
	L1             *cache.L1
	Fills          *cache.Fills
	Flights        *cache.Flights
	Statements     *statements
	Registry       *consistency.Registry
	NewConsistency func() *consistency.Session
	Defaults       options
	MaxStaleness   time.Duration
	PoolWait       time.Duration // for the error's text
	CacheOff       bool
	MaxPrepared    int // clients' statements on one server connection
	// How long an answer is kept though nothing says that it is stale (0: no limit), and for how long it is given though it may be
	// (0: not at all): to sessions of the level eventual while another is fetched, and to all when no server can answer.
	CacheTTL, StaleWhileRevalidate, StaleIfError time.Duration

	CancelWait time.Duration // how long a server may take to react to a request to cancel

	refills refills
	limits  atomic.Pointer[Limits] // nil: none
	elastic atomic.Int64           // see session_elastic.go
}

// Database is what sessions have to know of the database that they are connected to.
type Database struct {
	Name    string
	Table   *consistency.Table
	Plans   *router.PlanCache
	Planner *router.Planner
	Catalog func() *catalog.Snapshot // nil as long as nothing is known
	// CatalogCheckedAt is when (unix nanoseconds) the last look was begun that Catalog is as true as. CatalogHurry asks for another look soon.
	CatalogCheckedAt func() int64
	CatalogHurry     func()

	pause     pause
	defaults  atomic.Uint64 // see Defaults
	unsettled atomic.Int32  // > 0: a replica may not know the present defaults yet, though it could be logged in to

	lastDDL    atomic.Int64 // when (unix nanoseconds) the last DDL of a session here had ended
	generation struct {     // the catalog's newest that a session has seen, and since when
		sync.Mutex
		number uint64
		since  int64
	}

	sequenceHabits sync.Map // by user: *atomic.Bool, see session_sequence.go
}

// noteDDL notes when a session has changed the catalog.
func (d *Database) noteDDL(at int64) {
	for {
		last := d.lastDDL.Load()
		if at <= last || d.lastDDL.CompareAndSwap(last, at) {
			return
		}
	}
}

// generationSince says since when sessions know a generation of the catalog; 0: there is a newer one.
func (d *Database) generationSince(number uint64, now int64) int64 {
	g := &d.generation
	g.Lock()
	defer g.Unlock()
	if number > g.number {
		g.number, g.since = number, now
	}
	if number < g.number {
		return 0
	}
	return g.since
}

func (d *Database) sequenceHabit(user string) *atomic.Bool {
	habit, _ := d.sequenceHabits.LoadOrStore(user, new(atomic.Bool))
	return habit.(*atomic.Bool)
}

// Defaults is a number that grows when what ALTER ROLE … SET and ALTER DATABASE … SET say has changed: a server connection that was made
// before begins with other settings than one that is made now, so that it isn't lent any more.
func (d *Database) Defaults() uint64 { return d.defaults.Load() }

// ShardLocal is scratch memory and counters that the sessions of one shard share; it is touched on that shard only, except
// for Counters.
type ShardLocal struct {
	Lexer    *router.Lexer
	Key      cache.KeyBuilder
	Resolver router.Resolver
	Counters Counters

	scratch []byte
	out     []byte
	params  []router.Param
	deps    [1]consistency.Dependency

	tallies, exactTallies *tallies
	totals                map[*Database]*totals
}

// whole is a dependency on all rows of these relations. It is the shard's scratch.
func (l *ShardLocal) whole(relations []uint32) []consistency.Dependency {
	l.deps[0].Relations = relations
	return l.deps[:]
}

// NewShardLocal makes the scratch memory of one shard.
func NewShardLocal() *ShardLocal {
	return &ShardLocal{
		Lexer: router.NewLexer(), tallies: newTallies(maxTallies), exactTallies: newTallies(maxExactTallies), totals: map[*Database]*totals{},
	}
}

// Counters count what the sessions of one shard do. They are added to by the shard and read by anybody.
type Counters struct {
	HitL1        atomic.Uint64
	FlightShared atomic.Uint64
	HitForATime  atomic.Uint64 // of HitL1: because of freshet.cache_ttl
	Revalidated  atomic.Uint64 // of HitL1: stale, while it was fetched anew
	StaleIfError atomic.Uint64 // of HitL1: stale, since no server could answer
	Replica      atomic.Uint64
	Primary      atomic.Uint64
	Errors       atomic.Uint64
	Retries      atomic.Uint64
	Bound        atomic.Uint64
	Pins         atomic.Uint64
	CatchUps     atomic.Uint64 // waits for a replica or the cache to catch up
	CatchUpsVain atomic.Uint64 // of these, those for which it took too long
	Prepares     atomic.Uint64 // units that only prepare, answered from memory
	Confirms     atomic.Uint64 // waits for the primary to show what replicas have shown
	Clients      atomic.Int64

	Misses  [missKinds]atomic.Uint64 // by missReason
	Seconds [sourceKinds]histogram   // by source
}

// SharedConfig is what NewShared needs.
type SharedConfig struct {
	Nodes          Nodes
	L1             *cache.L1
	MaxEntry       int64 // bytes; larger answers aren't stored
	Registry       *consistency.Registry
	NewConsistency func() *consistency.Session
	Consistency    consistency.Level // where a session doesn't say; LevelUnset: SessionLevel
	MaxStaleness   time.Duration
	PoolWait       time.Duration
	CancelWait     time.Duration // how long a server may take to react to a request to cancel; then its connection is closed
	CacheOff       bool
	MaxPrepared    int // clients' statements on one server connection

	CacheTTL, StaleWhileRevalidate, StaleIfError time.Duration // see Shared
}

// NewShared puts together what sessions share.
func NewShared(cfg SharedConfig) *Shared {
	if cfg.Consistency == consistency.LevelUnset {
		cfg.Consistency = consistency.SessionLevel
	}
	return &Shared{
		Nodes: cfg.Nodes, L1: cfg.L1, Fills: cache.NewFills(cfg.L1, cfg.MaxEntry), Flights: cache.NewFlights(),
		Statements: newStatements(), Registry: cfg.Registry, NewConsistency: cfg.NewConsistency,
		Defaults:     options{route: router.RouteAuto, consistency: cfg.Consistency, maxStaleness: cfg.MaxStaleness},
		MaxStaleness: cfg.MaxStaleness, PoolWait: cfg.PoolWait, CacheOff: cfg.CacheOff,
		MaxPrepared: cfg.MaxPrepared, CancelWait: cfg.CancelWait,
		CacheTTL: cfg.CacheTTL, StaleWhileRevalidate: cfg.StaleWhileRevalidate, StaleIfError: cfg.StaleIfError,
	}
}
