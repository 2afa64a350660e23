package topology

import (
	"log/slog"

	"github.com/freshet/freshet/consistency"
)

// met: a monitor has connected, to this server.
func (t *Topology) met(n *Node, id identity) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := n.started.Load(); old != id.started {
		// Another server, or another run of it. A replica that has crashed comes
		// back with what it had flushed, which can be less than it had replayed.
		n.unfollow()
		n.strayed.Store(false)
		n.timeline.Store(0)
		n.heard.Store(0) // what was heard was said by another
		n.Worked()
	}
	n.started.Store(id.started)
	n.system.Store(id.system)
	t.judgeSystems()
}

// heard: a node has answered.
func (t *Topology) heard(n *Node, a answer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.verdict = true
	if n.role.Swap(int32(a.role)) != int32(a.role) {
		n.timeline.Store(0)
	}
	switch {
	case a.role == Primary:
		n.timeline.Store(a.timeline)
		n.lsn.Store(uint64(a.lsn))
	case a.timeline > n.timeline.Load():
		// A replica's never goes back within one run; the restart point's may
		// only be behind what has been seen streaming.
		n.timeline.Store(a.timeline)
	}
	n.heard.Store(a.got)
	n.last.Store(a.got)
	if n.turn(true, nil) {
		t.cfg.Logger.Info("node is up", "node", n.addr, "role", a.role.String(), "timeline", n.timeline.Load())
	}
	t.elect()
	switch a.role {
	case Primary:
		if n.follows.Load() {
			n.unfollow()
		}
		if t.primaryAt(a.got) == n {
			t.seen.Store(a.got)
			t.primary.AdvanceIn(t.primary.Epoch(), a.at, a.lsn)
			t.sample(a.at, a.lsn)
		}
	case Replica:
		n.fenced.Store(false)
		t.follow(n, a)
	}
}

// lost: a node has failed to answer, or to let us connect.
func (t *Topology) lost(n *Node, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.verdict = true
	n.heard.Store(0)
	if n.turn(false, err) {
		t.cfg.Logger.Warn("node is down", "node", n.addr, "role", n.Role().String(), "error", err)
	}
	t.elect()
}

// judgeSystems tells the nodes of the cluster from those of others. The
// cluster is the primary's that was elected; before that, the one of the
// first node in the configuration that has said. Called with mu held.
func (t *Topology) judgeSystems() {
	ours := t.mu.leader.system
	for _, n := range t.nodes {
		if ours == 0 {
			ours = n.system.Load()
		}
	}
	t.mu.system = ours
	for _, n := range t.nodes {
		sys := n.system.Load()
		foreign := sys != 0 && ours != 0 && sys != ours
		if n.foreign.Swap(foreign) == foreign {
			continue
		}
		if foreign {
			n.unfollow()
			t.cfg.Logger.Error("node belongs to another cluster and is not used; check its URL",
				"node", n.addr, "system_identifier", sys, "expected", ours)
		} else {
			t.cfg.Logger.Info("node belongs to the cluster after all", "node", n.addr, "system_identifier", sys)
		}
	}
}

// claims says whether n says, lately, that it is the cluster's primary.
func (n *Node) claims(now int64) bool {
	return n.Role() == Primary && n.answersAt(now) && !n.foreign.Load()
}

// identity is which server n is.
func (n *Node) identity() identity {
	return identity{system: n.system.Load(), started: n.started.Load()}
}

// elect decides who leads, after news of any node. Called with mu held.
func (t *Topology) elect() {
	now := consistency.Now()
	if !t.settle(now) {
		return
	}
	var best *Node
	old := t.elected.Load()
	for _, n := range t.nodes {
		switch {
		case !n.claims(now):
		case best == nil, n.Timeline() > best.Timeline():
			best = n
		case n.Timeline() == best.Timeline() && n == old:
			// Among equals who leads goes on leading; otherwise the first in the
			// configuration, where --primary comes first.
			best = n
		}
	}
	if best == nil {
		return
	}
	if best.Timeline() < t.timeline.Load() {
		// The one who leads on the later timeline is away. Going back would be
		// to lose what it has acknowledged.
		best = nil
	}
	t.fence(best, now)
	if best == nil {
		return
	}
	id := best.identity()
	switch {
	case old == nil:
		t.lead(best, id, "first primary found")
	case best.Timeline() != t.timeline.Load():
		t.lead(best, id, "a primary on a later timeline")
	case id.same(t.mu.leader):
		if best != old { // the same server under another of its names
			t.elected.Store(best)
			t.cfg.Logger.Info("primary is reached by another address", "node", best.addr, "before", old.addr)
		}
	case best == old && !t.rewritten(best):
		// It has been restarted. Its timeline goes on.
		t.mu.leader = id
	case best == old:
		t.lead(best, id, "the primary came back with less than its replicas have")
	default:
		t.lead(best, id, "another server is the primary, on the same timeline")
	}
}

// settle says whether the first election may take place: when all nodes have
// been heard of, or have had their time. An old primary that answers first
// must not be taken for the primary because the new one takes a moment.
func (t *Topology) settle(now int64) bool {
	if t.mu.settled {
		return true
	}
	if now-t.mu.began < int64(t.cfg.DownAfter) {
		for _, n := range t.nodes {
			if !n.verdict {
				return false
			}
		}
	}
	t.mu.settled = true
	return true
}

// fence keeps everything from those who say that they are the primary but
// aren't best (nil: nobody is). Called with mu held.
func (t *Topology) fence(best *Node, now int64) {
	for _, n := range t.nodes {
		if !n.claims(now) {
			continue // if it is fenced, it stays so until it claims nothing more
		}
		if n == best || best != nil && n.identity().same(best.identity()) {
			if n.fenced.Swap(false) {
				t.cfg.Logger.Info("node is no longer fenced", "node", n.addr)
			}
			continue
		}
		if !n.fenced.Swap(true) {
			n.fencedAt = now
			attrs := []any{"node", n.addr, "timeline", n.Timeline()}
			if best != nil {
				attrs = append(attrs, "primary", best.addr, "its_timeline", best.Timeline())
			} else {
				attrs = append(attrs, "latest_timeline", t.timeline.Load())
			}
			t.cfg.Logger.Error("a second node says that it is the primary; it is fenced, nothing is sent to it. "+
				"Stop it, or make it a replica", attrs...)
		}
		// Both have answered since: not just the one's last word and the
		// other's first.
		if best != nil && n.Timeline() == best.Timeline() && !t.ambiguous.Load() &&
			n.heard.Load() > n.fencedAt && best.heard.Load() > n.fencedAt {
			t.ambiguous.Store(true)
			for _, r := range t.nodes {
				r.unfollow()
			}
			t.cfg.Logger.Error("two primaries are on the same timeline, so it can't be told which of them a replica follows; "+
				"replicas are not used until there is a primary on a later timeline, or Freshet is started again",
				"timeline", best.Timeline(), "nodes", slog.AnyValue([]string{best.addr, n.addr}))
		}
	}
}

// rewritten says whether a primary that was restarted has less WAL than
// somebody has of it: then it isn't the same history (a snapshot was put
// back). Replicas only get what the primary has flushed, so that a crash
// alone doesn't do this. Called with mu held.
func (t *Topology) rewritten(n *Node) bool {
	lsn := consistency.LSN(n.lsn.Load())
	for _, r := range t.nodes {
		if r != n && r.follows.Load() && r.Position() > lsn {
			return true
		}
	}
	for _, s := range t.extra() {
		if s.Position() > lsn {
			return true
		}
	}
	return false
}

// lead makes n the primary. Called with mu held, so that nothing of the old
// one reaches a Source any more once this has begun, and nothing of the new
// one before it is over.
func (t *Topology) lead(n *Node, id identity, why string) {
	old := t.elected.Load()
	t.changing.Store(true)
	defer t.changing.Store(false)
	later := n.Timeline() != t.timeline.Load()
	for _, r := range t.nodes {
		r.unfollow()
		r.dirty.Store(false) // what it has shown of the old timeline may be lost
		if later {
			r.strayed.Store(false)
		}
	}
	if later {
		t.ambiguous.Store(false)
	}
	t.timeline.Store(n.Timeline())
	t.position.Store(0)
	t.primary.Reset()
	t.mu.leader = id
	t.mu.sampled = 0
	t.seen.Store(n.heard.Load())
	t.elected.Store(n)
	term := t.term.Add(1)
	if old == nil {
		t.cfg.Logger.Info("primary", "node", n.addr, "timeline", n.Timeline(), "term", term)
	} else {
		t.cfg.Logger.Warn("primary has changed", "node", n.addr, "before", old.addr,
			"timeline", n.Timeline(), "term", term, "because", why)
	}
	t.judgeSystems()
	if t.cfg.OnPrimaryChange != nil {
		t.cfg.OnPrimaryChange(n)
	}
}

// unfollow takes everything back that is known about the node as a source.
// Called with Topology.mu held.
func (n *Node) unfollow() {
	n.follows.Store(false)
	n.checked, n.mark = false, mark{}
	n.Reset()
}

// follow takes a replica's position, if it can be compared with the
// primary's. Called with mu held.
func (t *Topology) follow(n *Node, a answer) {
	// While no primary is up, a replica of the last one goes on counting.
	leads := t.timeline.Load()
	ok := leads != 0 && n.Timeline() == leads && a.lsn != 0 &&
		!n.foreign.Load() && !n.strayed.Load() && !t.ambiguous.Load()
	if !ok {
		if n.follows.Load() {
			n.unfollow()
			t.cfg.Logger.Warn("replica doesn't follow the primary's timeline and is not used",
				"node", n.addr, "timeline", n.Timeline(), "primary_timeline", leads)
		}
		return
	}
	if a.lsn < a.before { // not: < n.Position(), which others may have learned while this answer was on its way
		// All its processes have been restarted after a crash, under the same
		// postmaster, and it is replaying again.
		t.cfg.Logger.Warn("replica has gone back", "node", n.addr, "position", a.lsn.String(), "before", a.before.String())
		n.unfollow()
	}
	n.AdvanceIn(n.Epoch(), a.at, a.lsn)
	if n.mark.at == 0 {
		n.mark = mark{at: a.got, lsn: a.lsn}
	}
	if !n.follows.Swap(true) {
		t.cfg.Logger.Info("replica follows the primary", "node", n.addr, "timeline", leads, "position", a.lsn.String())
	}
}

// sample makes known what the primary's position was. Called with mu held, for
// the elected primary only.
func (t *Topology) sample(at int64, lsn consistency.LSN) {
	if at <= t.mu.sampled {
		return
	}
	t.mu.sampled = at
	t.position.Store(uint64(lsn))
	for _, r := range t.nodes {
		if r.follows.Load() && t.check(r, at, lsn) {
			r.Observe(at, lsn)
		}
	}
	for _, s := range t.extra() {
		s.Observe(at, lsn)
	}
}

// check holds what a replica said against what the primary says later: it
// can't have replayed what the primary hasn't written. If it has, they don't
// share a history, whatever the timelines' numbers say (two servers promoted
// from the same timeline both choose the same next one; a primary can have
// been put back to an older copy). Until the first check has been passed no
// sample reaches the replica, so that the gate admits nothing to it.
func (t *Topology) check(r *Node, at int64, lsn consistency.LSN) bool {
	if r.mark.at != 0 && r.mark.at < at {
		if r.mark.lsn > lsn {
			t.cfg.Logger.Error("replica has WAL that the primary has not; it follows another history and is not used. Make it anew from the primary",
				"node", r.addr, "position", r.mark.lsn.String(), "primary_position", lsn.String())
			r.strayed.Store(true)
			r.unfollow()
			return false
		}
		r.checked, r.mark = true, mark{}
	}
	return r.checked
}
