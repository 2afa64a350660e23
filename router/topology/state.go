package topology

import (
	"errors"
	"time"

	"github.com/freshet/freshet/consistency"
)

// ErrNoPrimary: no primary is known at the moment.
var ErrNoPrimary = errors.New("topology: no primary is known")

// NodeState is what is known about a node, for SHOW NODES and /metrics.
type NodeState struct {
	Addr        string
	Role        Role
	Up          bool
	Primary     bool   // it is the one that writes go to
	Fenced      bool   // says it is a primary, and isn't believed
	Refused     bool   // belongs to another cluster
	Follows     bool   // a replica on the primary's timeline: its positions count
	Drained     bool   // taken out of rotation by DRAIN
	BreakerOpen bool   // skipped for a while because connections to it kept failing
	Reason      string // why it isn't in use; empty when it is
	Timeline    uint32
	SystemID    uint64
	Position    consistency.LSN // a primary's own position, or what a replica has replayed
	AsOf        int64           // unix nanoseconds; 0: not known
	Lag         time.Duration   // of a replica: RefNow − AsOf; -1: not known
	LagBytes    int64           // of a replica: behind the primary's last sample; -1: not known
	Outstanding int64
	Heard       time.Time // last answer; zero: none
	Since       time.Time // of the present Up or not Up
	Started     time.Time // of the server; zero: not known
	Error       string    // the last failure's; empty when it answers
}

// State is a picture of all nodes in the order of the configuration.
func (t *Topology) State() []NodeState { return nil }
