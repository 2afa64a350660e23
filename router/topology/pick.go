package topology

import (
	"math/rand/v2"

	"github.com/freshet/freshet/consistency"
)

// PickReplica gives a replica that is up and that the gate admits for this
// session, by the rule of Config.Balance. Without one it says what stands
// against the one that is nearest to being admitted: consistency.NothingKnown
// when there is none at all. skip, if not nil, is left out (it has just
// failed). r.RefNow comes from RefNow. It takes no lock and allocates nothing,
// unless the session has something to settle (consistency.Session.See).
func (t *Topology) PickReplica(s *consistency.Session, r consistency.Read, skip *Node) (*Node, consistency.Verdict) {
	if t.cfg.MaxLag > 0 {
		r.Bound = min(r.Bound, t.cfg.MaxLag)
	}
	now := consistency.Now()
	switch t.cfg.Balance {
	case RoundRobin:
		return t.next(s, r, skip, now)
	case Random:
		return t.pick(s, r, skip, now, func(*Node) int64 { return 0 })
	default:
		return t.pick(s, r, skip, now, (*Node).Outstanding)
	}
}

// nearer gives the verdict of the one that is nearer to being admitted.
func nearer(a, b consistency.Verdict) consistency.Verdict {
	if nearness[a] >= nearness[b] {
		return a
	}
	return b
}

var nearness = [...]int{
	consistency.NothingKnown:  0,
	consistency.TooStale:      1,
	consistency.Writing:       2,
	consistency.Pinned:        3,
	consistency.Unsettled:     4,
	consistency.BehindFloor:   5,
	consistency.BehindPrimary: 6,
	consistency.Admitted:      7,
}

// pick gives one of those with the least load; among equals each has the same
// chance (a reservoir of one). The random numbers are the runtime's, kept per
// thread without a lock.
func (t *Topology) pick(s *consistency.Session, r consistency.Read, skip *Node, now int64, load func(*Node) int64) (*Node, consistency.Verdict) {
	var best *Node
	var least int64
	equals := uint32(0)
	verdict := consistency.NothingKnown
	for _, n := range t.nodes {
		if n == skip || !n.serves(now) {
			continue
		}
		l := load(n)
		if best != nil && l > least {
			continue
		}
		if v := s.Judge(&n.Source, r); v != consistency.Admitted {
			verdict = nearer(verdict, v)
			continue
		}
		verdict = consistency.Admitted
		if best == nil || l < least {
			best, least, equals = n, l, 1
			continue
		}
		equals++
		if rand.Uint32N(equals) == 0 {
			best = n
		}
	}
	return best, verdict
}

// next gives the one after the last one, among those that may answer now (not
// among all nodes: who stands behind one that may not would get its share).
func (t *Topology) next(s *consistency.Session, r consistency.Read, skip *Node, now int64) (*Node, consistency.Verdict) {
	verdict := consistency.NothingKnown
	may := func(n *Node) bool {
		if n == skip || !n.serves(now) {
			return false
		}
		v := s.Judge(&n.Source, r)
		verdict = nearer(verdict, v)
		return v == consistency.Admitted
	}
	count := uint32(0)
	for _, n := range t.nodes {
		if may(n) {
			count++
		}
	}
	if count == 0 {
		return nil, verdict
	}
	i := t.rounds.Add(1) % count
	var last *Node
	for _, n := range t.nodes {
		if !may(n) {
			continue
		}
		if last = n; i == 0 {
			break
		}
		i--
	}
	return last, verdict // nil if all have just gone
}
