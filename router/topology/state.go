package topology

import (
	"fmt"
	"time"

	"github.com/freshet/freshet/consistency"
)

// NodeState is what is known about a node, for SHOW NODES and /metrics.
type NodeState struct {
	Addr        string
	Role        Role
	Up          bool // answers, belongs to the cluster, isn't fenced
	Primary     bool // it is the one that writes go to
	Fenced      bool // says that it is the primary, and isn't believed
	Refused     bool // belongs to another cluster
	Follows     bool // a replica whose positions can be compared with the primary's
	Drained     bool // taken out of rotation by Drain
	BreakerOpen bool // skipped for a while because connections to it kept failing
	// Reason says in words why it isn't in use; empty when it is.
	Reason   string
	Timeline uint32 // 0: not known
	SystemID uint64 // of the cluster; 0: not visible
	// Position is a primary's position, or what a replica has replayed.
	Position consistency.LSN
	// AsOf, of a replica: it contains what was acknowledged before this
	// instant (unix nanoseconds); 0: not known.
	AsOf int64
	// Lag is, of a replica, RefNow − AsOf; −1: not known.
	Lag time.Duration
	// LagBytes is, of a replica, how far it is behind the primary's last known
	// position; −1: not known.
	LagBytes    int64
	Outstanding int64
	Heard       time.Time // the last answer; zero: none
	Since       time.Time // since when it answers, or doesn't
	Started     time.Time // the server's start; zero: not known
	// Error is the last failure, the monitor's or one that Failed reported;
	// empty when all has been well since.
	Error string
}

// State is a picture of all nodes in the order of the configuration. It takes
// no lock that an election holds.
func (t *Topology) State() []NodeState {
	now := consistency.Now()
	ref := t.RefNow(now)
	primary := t.primaryAt(now)
	states := make([]NodeState, len(t.nodes))
	for i, n := range t.nodes {
		s := NodeState{
			Addr:        n.addr,
			Role:        n.Role(),
			Up:          n.upAt(now),
			Primary:     n == primary,
			Fenced:      n.fenced.Load(),
			Refused:     n.foreign.Load(),
			Follows:     n.follows.Load(),
			Drained:     n.drained.Load(),
			BreakerOpen: n.openUntil.Load() > now,
			Timeline:    n.Timeline(),
			SystemID:    n.system.Load(),
			Lag:         -1,
			LagBytes:    -1,
			Outstanding: n.Outstanding(),
		}
		if s.Role == Primary {
			s.Position = consistency.LSN(n.lsn.Load())
		} else if s.Follows {
			s.Position, s.AsOf = n.Position(), n.AsOf()
			if s.AsOf != 0 {
				s.Lag = max(0, time.Duration(ref-s.AsOf))
			}
			if p := t.Position(); p != 0 {
				s.LagBytes = max(0, int64(p)-int64(s.Position))
			}
		}
		if last := n.last.Load(); last != 0 {
			s.Heard = time.Now().Add(time.Duration(last - now))
		}
		if started := n.started.Load(); started != 0 {
			s.Started = time.UnixMicro(started)
		}
		n.mu.Lock()
		s.Since = n.mu.since
		if n.mu.err != nil {
			s.Error = n.mu.err.Error()
		}
		n.mu.Unlock()
		s.Reason = t.reason(n, s, now)
		states[i] = s
	}
	return states
}

// reason says why a node isn't in use.
func (t *Topology) reason(n *Node, s NodeState, now int64) string {
	switch {
	case !n.answersAt(now):
		switch {
		case s.Error != "":
			return "down: " + s.Error
		case s.Heard.IsZero():
			return "no answer yet"
		}
		return fmt.Sprintf("down: no answer for %v", time.Duration(now-n.last.Load()).Round(time.Millisecond))
	case s.Refused:
		return fmt.Sprintf("belongs to another cluster (system identifier %d); check its URL", s.SystemID)
	case s.Fenced:
		return fmt.Sprintf("fenced: says that it is the primary, on timeline %d; the primary is %s, on timeline %d",
			s.Timeline, t.leaderName(), t.Timeline())
	case s.Role == Primary && s.Primary:
		return ""
	case s.Role == Primary:
		if e := t.elected.Load(); e != nil && n.identity().same(e.identity()) {
			return "another address of the primary " + e.addr
		}
		return "not elected yet"
	case n.strayed.Load():
		return "has WAL that the primary has not: it follows another history; make it anew from the primary"
	case t.ambiguous.Load():
		return "two primaries are on the same timeline: it can't be told which one it follows"
	case t.Timeline() == 0:
		return "no primary has been seen"
	case s.Timeline == 0:
		return "its timeline isn't visible: GRANT pg_monitor to the service user"
	case !s.Follows:
		return fmt.Sprintf("on timeline %d, the primary is on %d", s.Timeline, t.Timeline())
	case s.Drained:
		return "drained"
	case s.BreakerOpen:
		return "connections to it keep failing: " + s.Error
	case t.cfg.MaxLag > 0 && s.Lag > t.cfg.MaxLag:
		return fmt.Sprintf("lags by %v, more than %v", s.Lag.Round(time.Millisecond), t.cfg.MaxLag)
	}
	return ""
}

func (t *Topology) leaderName() string {
	if e := t.elected.Load(); e != nil {
		return e.addr
	}
	return "unknown"
}
