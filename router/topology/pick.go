package topology

import (
	"math/rand/v2"

	"github.com/freshet/freshet/consistency"
)

// PickReplica gives a replica that is up and that the gate admits for this
// session, by the rule of Config.Balance; nil when there is none. skip, if
// not nil, is left out (it has just failed). r.RefNow comes from RefNow. It
// takes no lock and allocates nothing.
func (t *Topology) PickReplica(s *consistency.Session, r consistency.Read, skip *Node) *Node {
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

// pick gives one of those with the least load; among equals each has the same
// chance (a reservoir of one). The random numbers are the runtime's, kept per
// thread without a lock.
func (t *Topology) pick(s *consistency.Session, r consistency.Read, skip *Node, now int64, load func(*Node) int64) *Node {
	var best *Node
	var least int64
	equals := uint32(0)
	for _, n := range t.nodes {
		if n == skip || !n.serves(now) {
			continue
		}
		l := load(n)
		if best != nil && l > least || !s.Admits(&n.Source, r) {
			continue
		}
		if best == nil || l < least {
			best, least, equals = n, l, 1
			continue
		}
		equals++
		if rand.Uint32N(equals) == 0 {
			best = n
		}
	}
	return best
}

// next gives the one after the last one, among those that may answer now (not
// among all nodes: who stands behind one that may not would get its share).
func (t *Topology) next(s *consistency.Session, r consistency.Read, skip *Node, now int64) *Node {
	may := func(n *Node) bool { return n != skip && n.serves(now) && s.Admits(&n.Source, r) }
	count := uint32(0)
	for _, n := range t.nodes {
		if may(n) {
			count++
		}
	}
	if count == 0 {
		return nil
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
	return last // nil if all have just gone
}
