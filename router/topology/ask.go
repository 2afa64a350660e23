package topology

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/freshet/freshet/consistency"
)

// asker is the kept link of Ask.
type asker struct {
	kept
	interruption
	stopped bool
}

// kept is a link to a node that is used again and again.
type kept struct {
	link    *link
	node    *Node
	started int64 // of the server the link leads to
}

// interruption lets Run's end interrupt a question.
type interruption struct {
	mu struct {
		sync.Mutex
		cancel context.CancelFunc
		ended  bool
	}
}

// sampleGap is the least time between two samples that come from Ask; at
// thousands of questions a second they would say nothing new.
const sampleGap = 2 * time.Millisecond

// Ask puts the position question to the primary over a connection kept for
// it: what the position clock (consistency.NewClock) asks. One question at a
// time; others wait for it, or for their ctx. The answer is that of a node
// that was the primary from before the question until after the answer;
// otherwise it is an error (ErrNoPrimary, or of the connection). A link that
// has broken since the last question is made anew within this one.
func (t *Topology) Ask(ctx context.Context) (consistency.LSN, error) {
	select {
	case t.asking <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-t.asking }()
	if t.ask.stopped {
		return 0, ErrStopped
	}
	ctx, cancel := t.ask.begin(ctx)
	defer cancel()

	for {
		n, term, epoch := t.Primary(), t.term.Load(), t.primary.Epoch()
		if n == nil {
			t.ask.drop()
			return 0, ErrNoPrimary
		}
		fresh, err := t.ask.reach(ctx, n, func(l *link, limit time.Duration) error {
			return l.prepare(ctx, positionName, consistency.PositionPartsSQL, limit)
		})
		if err != nil {
			n.Failed(err)
			return 0, fmt.Errorf("topology: position of %s: %w", n.addr, err)
		}
		at := consistency.Now()
		lsn, err := t.ask.link.position(ctx, t.ask.limit(ctx, n))
		if err == nil {
			if t.elected.Load() != n || t.term.Load() != term || n.started.Load() != t.ask.started {
				t.ask.drop()
				return 0, fmt.Errorf("topology: %w: it changed while %s was asked for its position", ErrNoPrimary, n.addr)
			}
			t.primary.AdvanceIn(epoch, at, lsn)
			t.sampleAsked(n, term, at, lsn)
			return lsn, nil
		}
		t.ask.drop()
		if fresh || ctx.Err() != nil {
			n.Failed(err)
			return 0, fmt.Errorf("topology: position of %s: %w", n.addr, err)
		}
		// The kept link had died unnoticed, as it does with each restart of
		// the server: once more over a new one.
	}
}

// sampleAsked passes an answer on as a sample, unless the monitors are busy: a
// question must not wait for them (and may come from OnPrimaryChange's
// callee).
func (t *Topology) sampleAsked(n *Node, term uint64, at int64, lsn consistency.LSN) {
	if !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	if t.elected.Load() == n && t.term.Load() == term && at-t.mu.sampled >= int64(sampleGap) {
		t.sample(at, lsn)
	}
}

// begin gives the context of one question, which Run's end cancels.
func (p *interruption) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.ended {
		cancel()
	}
	p.mu.cancel = cancel
	return ctx, cancel
}

// interrupt ends the question under way and all later ones.
func (p *interruption) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.ended = true
	if p.mu.cancel != nil {
		p.mu.cancel()
	}
}

// reach makes sure that there is a link to n as the monitor knows it. fresh:
// it was made just now, and prepared.
func (p *kept) reach(ctx context.Context, n *Node, prepare func(*link, time.Duration) error) (fresh bool, err error) {
	if p.link != nil && p.node == n && p.started == n.started.Load() {
		return false, nil
	}
	p.drop()
	l, err := dial(ctx, n.config)
	if err != nil {
		return false, err
	}
	id, err := l.identify(ctx, n.t.cfg.DownAfter)
	if err == nil {
		err = prepare(l, n.t.cfg.DownAfter)
	}
	if err == nil && id.started != n.started.Load() {
		err = ErrElsewhere
	}
	if err != nil {
		l.close()
		return false, err
	}
	p.link, p.node, p.started = l, n, id.started
	return true, nil
}

// limit is how long the question may take.
func (p *kept) limit(ctx context.Context, n *Node) time.Duration {
	limit := n.t.cfg.DownAfter
	if d, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(d))
	}
	return limit
}

func (p *kept) drop() {
	if p.link != nil {
		p.link.close()
		p.link, p.node = nil, nil
	}
}

func (p *asker) end() {
	p.stopped = true
	p.drop()
}
