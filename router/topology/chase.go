package topology

import (
	"context"
	"sync"
	"time"

	"github.com/freshet/freshet/consistency"
)

// While somebody waits for a replica to catch up, it is asked for its position again and again, over a link of its own: the
// monitor's questions come too seldom for that, and say more than is needed.
const (
	chaseName = "freshet_chase"
	chaseSQL  = `SELECT pg_catalog.pg_last_wal_replay_lsn()`
	chaseGap  = 150 * time.Microsecond // between two questions
	chaseRest = 10 * time.Millisecond  // after one that failed
	hopeless  = 80 * time.Millisecond  // behind by more than this, a replica isn't waited for
)

// AwaitReplica calls fn, once, when a replica that may be asked at all has reached lsn, or when one of them has been reset. ok is
// false, and fn won't be called, if there is none that may get there soon. cancel ends the wait; fn may be running then.
// fn must not block.
func (t *Topology) AwaitReplica(lsn consistency.LSN, fn func()) (cancel func(), ok bool) {
	now := consistency.Now()
	var waits []*consistency.Wait
	var once sync.Once
	for _, n := range t.nodes {
		if !n.serves(now) {
			continue
		}
		if at, _, behind := n.Behind(); behind && now-at > int64(hopeless) {
			continue
		}
		waits = append(waits, n.Await(lsn, func() { once.Do(fn) }))
		n.hunt()
	}
	return func() {
		for _, w := range waits {
			w.Cancel()
		}
	}, len(waits) > 0
}

// AskReplica has the replica with this source asked for its position, if somebody waits for it (Source.AwaitUntil). ok is
// false if it is none, or one that doesn't answer.
func (t *Topology) AskReplica(src *consistency.Source) (ok bool) {
	for _, n := range t.nodes {
		if &n.Source == src && n.serves(consistency.Now()) {
			n.hunt()
			return true
		}
	}
	return false
}

// hunt has the node asked as long as somebody waits.
func (n *Node) hunt() {
	select {
	case n.chase <- struct{}{}:
	default:
	}
}

// keepChasing asks the node for its position while somebody waits for it, until ctx ends.
func (n *Node) keepChasing(ctx context.Context) {
	var p kept
	defer p.drop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.chase:
		}
		for n.Awaited() && n.serves(consistency.Now()) {
			gap := chaseGap
			if err := n.askReplayed(ctx, &p); err != nil {
				p.drop()
				gap = chaseRest
			} else if !n.Awaited() {
				break
			}
			if !pause(ctx, gap) {
				return
			}
		}
	}
}

func (n *Node) askReplayed(ctx context.Context, p *kept) error {
	epoch := n.Epoch()
	_, err := p.reach(ctx, n, func(l *link, limit time.Duration) error { return l.prepare(ctx, chaseName, chaseSQL, limit) })
	if err != nil {
		return err
	}
	at := consistency.Now()
	var lsn consistency.LSN
	err = p.link.ask(ctx, chaseName, p.limit(ctx, n), func(v [][]byte) (err error) {
		if v[0] != nil { // NULL on a primary
			lsn, err = consistency.ParseLSN(text(v, 0))
		}
		return err
	})
	if err == nil {
		n.AdvanceIn(epoch, at, lsn)
	}
	return err
}
