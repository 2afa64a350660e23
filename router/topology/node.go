package topology

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/consistency"
)

// Role is what a server says it is.
type Role int32

// The roles. A server that hasn't answered yet is Unknown.
const (
	Unknown Role = iota
	Primary
	Replica
)

// String is the role's name in SHOW NODES and metrics.
func (r Role) String() string {
	switch r {
	case Primary:
		return "primary"
	case Replica:
		return "replica"
	}
	return "unknown"
}

// Node is one server. As a Source it is what the gate is asked about: its
// position is the last WAL location it is known to have replayed. Its Epoch
// changes whenever that has lost its meaning: another server or another run
// of it answers, or another primary leads; positions and connections of
// before don't count any more (AdvanceIn, Vouch). It is moved by the monitor;
// others use AdvanceIn only.
//
// All methods are safe for concurrent use; the getters take no lock and
// allocate nothing.
type Node struct {
	consistency.Source

	t      *Topology
	addr   string
	url    string
	config *pgconn.Config
	index  int // in the configuration's order
	kick   chan struct{}
	chase  chan struct{} // somebody waits for its position, see AwaitReplica

	outstanding atomic.Int64
	dirty       atomic.Bool // has shown something since the last confirmation: see ConfirmVisible
	drained     atomic.Bool

	// Written by the node's monitor under Topology.mu, read by all.
	role     atomic.Int32
	timeline atomic.Uint32
	system   atomic.Uint64
	started  atomic.Int64  // identity.started of the server that answers
	lsn      atomic.Uint64 // a primary's position
	heard    atomic.Int64  // consistency.Now() of the last answer; 0: down
	last     atomic.Int64  // the same, kept when it is down
	follows  atomic.Bool   // a replica whose positions can be compared with the primary's
	fenced   atomic.Bool
	foreign  atomic.Bool
	strayed  atomic.Bool // has WAL that the primary hasn't

	// The data path's doubts. Failed raises doubt; an answer to a question
	// that was asked afterwards brings cleared up to it.
	doubt, cleared atomic.Uint64
	again          atomic.Bool  // a Vouch failed: the monitor is to connect anew
	failures       atomic.Int32 // in a row
	openUntil      atomic.Int64 // breaker: consistency.Now()

	mu struct { // a leaf: nothing is locked under it
		sync.Mutex
		up    bool
		since time.Time
		err   error
	}

	// Guarded by Topology.mu.
	verdict  bool  // has answered or failed once
	fencedAt int64 // when it was fenced
	checked  bool  // its positions have stood the comparison with the primary's
	mark     mark  // what is to be compared next

	woken time.Time // of the monitor alone: when it was last woken early
}

// mark is a position and an instant at which the node had it; at 0: none.
type mark struct {
	at  int64
	lsn consistency.LSN
}

// addrOf is "host:port", or the path of a Unix socket.
func addrOf(host string, port uint16) string {
	if strings.HasPrefix(host, "/") {
		return host + "/.s.PGSQL." + strconv.Itoa(int(port))
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// Addr is "host:port" as given, or the path of a Unix socket.
func (n *Node) Addr() string { return n.addr }

// URL is the service URL. It may hold a password: not to be shown or logged.
func (n *Node) URL() string { return n.url }

// ConnConfig is a copy of the configuration of the service login.
func (n *Node) ConnConfig() *pgconn.Config { return n.config.Copy() }

// Role is what the node said last, whether or not it is believed or up; see
// Topology.Primary for who leads.
func (n *Node) Role() Role { return Role(n.role.Load()) }

// Up says whether the node has answered within Config.DownAfter, belongs to
// the cluster and isn't fenced.
func (n *Node) Up() bool { return n.upAt(consistency.Now()) }

func (n *Node) upAt(now int64) bool {
	return n.answersAt(now) && !n.foreign.Load() && !n.fenced.Load()
}

// answersAt says whether the last answer is young enough. An age, not a flag:
// it also holds when we are the ones who have slept (HAZARDS 20).
func (n *Node) answersAt(now int64) bool {
	heard := n.heard.Load()
	return heard != 0 && now-heard <= int64(n.t.cfg.DownAfter)
}

// serves says whether reads may go to this replica as far as its health is
// concerned.
func (n *Node) serves(now int64) bool {
	return n.follows.Load() && n.upAt(now) && !n.drained.Load() &&
		n.doubt.Load() == n.cleared.Load() && n.openUntil.Load() <= now
}

// Timeline is the node's timeline, as far as it is known; 0: it isn't.
func (n *Node) Timeline() uint32 { return n.timeline.Load() }

// Begin counts a query that is sent to this node.
func (n *Node) Begin() { n.outstanding.Add(1) }

// End counts a query that has been answered, or whose connection was lost.
func (n *Node) End() {
	if n.Role() == Replica && !n.dirty.Load() {
		n.dirty.Store(true) // before the count: see confirmation.dirty
	}
	n.outstanding.Add(-1)
}

// Outstanding is the number of queries under way.
func (n *Node) Outstanding() int64 { return n.outstanding.Load() }

// Drain takes a replica out of rotation, or back in (DRAIN, ENABLE). It
// changes nothing for a primary, which has no substitute.
func (n *Node) Drain(on bool) { n.drained.Store(on) }

// Drained says whether Drain is on.
func (n *Node) Drained() bool { return n.drained.Load() }

// The breaker opens after so many failures in a row, each after an answer of
// the node in between, and stays open for this long, doubled with each
// further one up to the limit.
const (
	breakerAfter = 3
	breakerOpen  = 100 * time.Millisecond
	breakerLimit = 5 * time.Second
)

// Failed says that a connection to the node failed on the way of the data
// (refused, reset, timed out: not an error that the server answered). The
// node is looked at, at once. A replica is skipped until it has answered that,
// and for longer each time when connections to it keep failing although it
// does.
func (n *Node) Failed(err error) {
	n.note(err)
	cleared := n.cleared.Load()
	if n.doubt.Add(1) == cleared+1 {
		// The first since the node has answered: a pool that breaks as a whole
		// counts once.
		if f := n.failures.Add(1); f >= breakerAfter {
			open := breakerLimit
			if shift := f - breakerAfter; shift < 6 {
				open = min(breakerLimit, breakerOpen<<shift)
			}
			n.openUntil.Store(consistency.Now() + int64(jitter(open)))
		}
	}
	n.look()
}

// Worked says that a new connection to the node was made, which closes the
// breaker.
func (n *Node) Worked() {
	if n.failures.Load() != 0 {
		n.failures.Store(0)
		n.openUntil.Store(0)
		n.note(nil)
	}
}

// look wakes the monitor.
func (n *Node) look() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

func (n *Node) note(err error) {
	n.mu.Lock()
	n.mu.err = err
	n.mu.Unlock()
}

// turn notes that the node has come up or gone down, and says whether that is
// news.
func (n *Node) turn(up bool, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	news := n.mu.up != up || n.mu.since.IsZero()
	if news {
		n.mu.up, n.mu.since = up, time.Now()
	}
	if news || err != nil {
		n.mu.err = err
	}
	return news
}
