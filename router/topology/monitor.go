package topology

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/freshet/freshet/consistency"
)

// How long a monitor waits before it tries to connect again: short at first,
// since most of what breaks a connection is a restart, then longer.
const (
	retryFirst = 10 * time.Millisecond
	retryLimit = 500 * time.Millisecond
)

// hurrySpan is how long Hurry lasts.
const hurrySpan = 50 * time.Millisecond

// jitter is between half of d and d, so that those who failed together don't
// try again together.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// watch keeps an eye on the node until ctx ends. It blocks on nothing but
// this node.
func (n *Node) watch(ctx context.Context) {
	retry := retryFirst
	for {
		answered, err := n.visit(ctx)
		if ctx.Err() != nil {
			return
		}
		n.t.lost(n, err)
		if answered {
			retry = retryFirst
		}
		if !n.wait(ctx, jitter(retry), retryFirst) {
			return
		}
		retry = min(2*retry, retryLimit)
	}
}

// visit connects and asks until something fails. answered: it didn't fail at
// once.
func (n *Node) visit(ctx context.Context) (answered bool, err error) {
	l, err := dial(ctx, n.config)
	if err != nil {
		return false, err
	}
	defer l.close()
	limit := n.t.cfg.DownAfter
	id, err := l.identify(ctx, limit)
	if err != nil {
		return false, err
	}
	if err := l.prepare(ctx, pollName, pollSQL, limit); err != nil {
		return false, err
	}
	n.again.Store(false)
	n.t.met(n, id)
	var behind unflushed
	var flushed int64
	for {
		if n.again.Load() {
			return answered, ErrElsewhere
		}
		doubt, epoch, before := n.doubt.Load(), n.Epoch(), n.Position()
		a, err := l.poll(ctx, limit)
		if err != nil {
			return answered, err
		}
		answered = true
		if n.Epoch() == epoch {
			a.before = before
		}
		n.t.heard(n, a)
		n.cleared.Store(doubt)
		if a.role == Primary && behind.due(n.t, n, a) && a.got-flushed > int64(minFlush) {
			// What it says back doesn't matter: it is asked again anyway. But a
			// link that is broken by it is found out here.
			flushed = a.got
			if err := l.query(ctx, consistency.FlushSQL, limit, nil); broken(err) {
				return answered, err
			}
		}
		pause := n.t.cfg.Interval
		if n.t.hurrying() {
			// It is the replicas that somebody waits for. The primary is asked for
			// the sake of what it hasn't flushed.
			hurry := n.t.cfg.HurryInterval
			if a.role == Primary {
				hurry *= 4
			}
			pause = min(pause, hurry)
		}
		if !n.wait(ctx, pause, n.t.cfg.HurryInterval) {
			return answered, ctx.Err()
		}
	}
}

// wait lets d pass, or less when the monitor is wanted (look), but wakings are
// at least `least` apart. It says whether to go on.
func (n *Node) wait(ctx context.Context, d, least time.Duration) bool {
	end := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	kick := n.kick
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			if kick == nil {
				n.woken = time.Now()
			}
			return true
		case <-kick:
			now := time.Now()
			soonest := n.woken.Add(least)
			if !now.Before(soonest) {
				n.woken = now
				return true
			}
			if soonest.Before(end) {
				timer.Reset(soonest.Sub(now))
				kick = nil // it is on its way; further ones change nothing
			}
		}
	}
}

// minFlush is the least time between two flushes of the primary's WAL.
const minFlush = 20 * time.Millisecond

// slowFlush is how long a source may be behind for want of a flush while
// nobody waits for it.
const slowFlush = 250 * time.Millisecond

// unflushed is a position of the primary that wasn't flushed when it was first
// given, and when that was (at 0: none).
type unflushed struct {
	lsn consistency.LSN
	at  int64
}

// due says whether the primary has to be made to flush: there is a source that
// can't reach a position which the primary gave a while ago, because it still
// isn't flushed (the records of a transaction that is open; see
// consistency.FlushSQL). Without it all replicas would seem to be stale for as
// long as that lasts. a is the primary's answer.
func (u *unflushed) due(t *Topology, n *Node, a answer) bool {
	if t.elected.Load() != n || a.flushed >= a.lsn {
		*u = unflushed{}
		return false
	}
	if u.at == 0 || a.flushed >= u.lsn {
		*u = unflushed{lsn: a.lsn, at: a.at}
	}
	patience := slowFlush
	if t.hurrying() {
		patience = 2 * t.cfg.HurryInterval
	}
	if a.at-u.at < int64(patience) {
		return false
	}
	for _, r := range t.nodes {
		if r != n && r.follows.Load() && r.answersAt(a.got) && r.Position() < u.lsn {
			return true
		}
	}
	for _, s := range t.extra() {
		if s.Position() < u.lsn {
			return true
		}
	}
	return false
}

// Hurry says that somebody waits for replicas to catch up: for the next 50 ms
// they are asked every Config.HurryInterval. It is cheap enough to be called
// for each write and, while somebody waits, in each turn of a loop. It isn't
// free for the servers, nor for us: with a primary, two replicas and no end of
// it, 450 questions a second and some 7 % of a core (1 % without; 2 cores,
// process idle otherwise).
func (t *Topology) Hurry() {
	now := consistency.Now()
	until := t.hurryUntil.Load()
	if until-now > int64(hurrySpan)/2 {
		return
	}
	if !t.hurryUntil.CompareAndSwap(until, now+int64(hurrySpan)) {
		return // somebody else did it just now
	}
	if until <= now {
		for _, n := range t.nodes {
			n.look()
		}
	}
}

func (t *Topology) hurrying() bool { return consistency.Now() < t.hurryUntil.Load() }
