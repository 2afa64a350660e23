package topology

import (
	"context"
	"time"

	"github.com/freshet/freshet/consistency"
)

// Topology is the set of nodes and what is known about them. All methods are
// safe for concurrent use.
type Topology struct {
	cfg   Config
	nodes []*Node
}

// New makes a topology; Run starts it. It fails only for URLs that can't be
// read, never because a server is missing.
func New(cfg Config) (*Topology, error) { return &Topology{cfg: cfg.withDefaults()}, nil }

// Run watches the nodes until ctx ends, and returns when everything it
// started has ended. It is called once.
func (t *Topology) Run(ctx context.Context) {}

// Primary is the node that writes go to: up, believed, not fenced; nil when
// there is none at the moment. It takes no lock and allocates nothing.
func (t *Topology) Primary() *Node { return nil }

// Nodes are all nodes in the order of the configuration. The slice is shared:
// not to be changed.
func (t *Topology) Nodes() []*Node { return t.nodes }

// Term counts the changes of the primary; 0: there was none yet.
func (t *Topology) Term() uint64 { return 0 }

// Timeline is the timeline of the present or last primary; 0: there was none.
func (t *Topology) Timeline() uint32 { return 0 }

// RefNow is the instant that staleness is measured against (unix nanoseconds
// by consistency.Now): now while a primary is up; otherwise the last instant
// at which one was seen, since nothing can have been committed after it, as
// far as anyone knows. While none has ever been seen it is now.
func (t *Topology) RefNow(now int64) int64 { return now }

// PickReplica gives a replica that is up and that the gate admits for this
// session, by the rule of Config.Balance; nil when there is none. skip, if
// not nil, is left out. It takes no lock and allocates nothing.
func (t *Topology) PickReplica(s *consistency.Session, refNow int64, bound time.Duration, skip *Node) *Node {
	return nil
}

// Ask puts the position question to the primary over a connection kept for
// it: what the position clock (consistency.NewClock) asks.
func (t *Topology) Ask(ctx context.Context) (consistency.LSN, error) { return 0, ErrNoPrimary }

// Hurry says that somebody waits for replicas to catch up: for a short while
// they are asked more often. It is cheap enough to be called for each write.
func (t *Topology) Hurry() {}

// AddSource makes the primary's samples known to one more source: the version
// table of a feed.
func (t *Topology) AddSource(s *consistency.Source) {}

// RemoveSource ends that.
func (t *Topology) RemoveSource(s *consistency.Source) {}
