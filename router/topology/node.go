package topology

import (
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/consistency"
)

// Role is what a server says it is.
type Role int32

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
// position is the last WAL location it is known to have replayed. All methods
// are safe for concurrent use; the getters take no lock.
type Node struct {
	consistency.Source

	addr        string
	url         string
	config      *pgconn.Config
	outstanding atomic.Int64
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

// Role is what the node said last, whether or not that is believed: see
// Topology.Primary for who is.
func (n *Node) Role() Role { return Unknown }

// Up says whether the node has answered within Config.DownAfter, belongs to
// the cluster and isn't fenced.
func (n *Node) Up() bool { return false }

// Timeline is the node's timeline, as far as it is known; 0: it isn't.
func (n *Node) Timeline() uint32 { return 0 }

// Begin counts a query that is sent to this node.
func (n *Node) Begin() { n.outstanding.Add(1) }

// End counts a query that has been answered, or whose connection was lost.
func (n *Node) End() { n.outstanding.Add(-1) }

// Outstanding is the number of queries under way.
func (n *Node) Outstanding() int64 { return n.outstanding.Load() }

// Failed says that a connection to the node failed on the way of the data
// (refused, reset, timed out: not an error that the server answered). The
// node is looked at at once. A replica is skipped until it has answered, and
// for longer each time when connections keep failing although it answers.
func (n *Node) Failed(err error) {}

// Worked says that a new connection to the node was made.
func (n *Node) Worked() {}
