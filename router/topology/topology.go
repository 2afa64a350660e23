package topology

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/freshet/freshet/consistency"
)

// ErrNoPrimary: no primary is known at the moment.
var ErrNoPrimary = errors.New("topology: no primary is known")

// ErrStopped: Run has ended.
var ErrStopped = errors.New("topology: stopped")

// Topology is the set of nodes and what is known about them. All methods are
// safe for concurrent use.
//
// Lock order: asking or confirming, then mu, then a Source's or a Node's own.
type Topology struct {
	cfg   Config
	nodes []*Node // never changed after New

	elected    atomic.Pointer[Node] // the present or last primary
	changing   atomic.Bool          // it is being changed; see lead
	term       atomic.Uint64
	timeline   atomic.Uint32 // of elected when it was elected
	seen       atomic.Int64  // consistency.Now() of elected's last answer
	position   atomic.Uint64 // what it was
	ambiguous  atomic.Bool   // two primaries on this timeline: it says nothing about whom a replica follows
	hurryUntil atomic.Int64
	primary    consistency.Source                    // see PrimarySource
	rounds     atomic.Uint32                         // of round robin
	sources    atomic.Pointer[[]*consistency.Source] // AddSource's

	asking     chan struct{} // holds one while the position link is in use
	ask        asker         // guarded by asking
	confirming chan struct{} // holds one while something is being confirmed
	confirm    confirmer     // guarded by confirming
	visible    atomic.Int64  // see VisibleAsOf

	// mu orders what monitors report: elections, resets, samples. A sample or
	// a position of before a change of the primary never reaches a Source
	// after it.
	mu struct {
		sync.Mutex
		began   int64
		settled bool     // the first election may take place
		leader  identity // which run of which server elected is
		system  uint64   // the cluster's identity, as far as known
		sampled int64    // instant of the last sample; 0: none of this primary
	}
	sourcesMu sync.Mutex // for AddSource and RemoveSource against each other
}

// New makes a topology; Run starts it. It fails only for URLs that can't be
// read, never because a server is missing (HAZARDS 20).
func New(cfg Config) (*Topology, error) {
	t := &Topology{cfg: cfg.withDefaults(), asking: make(chan struct{}, 1), confirming: make(chan struct{}, 1)}
	urls := slices.Clone(cfg.Replicas)
	if cfg.Primary != "" {
		urls = slices.Insert(urls, 0, cfg.Primary)
	}
	for _, url := range urls {
		pc, err := parseURL(url, t.cfg)
		if err != nil {
			return nil, err
		}
		addr := addrOf(pc.Host, pc.Port)
		if slices.ContainsFunc(t.nodes, func(n *Node) bool { return n.addr == addr }) {
			continue // given twice
		}
		t.nodes = append(t.nodes, &Node{
			t: t, addr: addr, url: url, config: pc, index: len(t.nodes),
			kick: make(chan struct{}, 1), chase: make(chan struct{}, 1),
		})
	}
	if len(t.nodes) == 0 {
		return nil, errNoNodes
	}
	t.mu.began = consistency.Now()
	return t, nil
}

// Run watches the nodes until ctx ends, and returns when everything it has
// started has ended. It is called once.
func (t *Topology) Run(ctx context.Context) {
	t.mu.Lock()
	t.mu.began = consistency.Now()
	t.mu.Unlock()
	var wg sync.WaitGroup
	for _, n := range t.nodes {
		wg.Go(func() { n.watch(ctx) })
		wg.Go(func() { n.keepChasing(ctx) })
	}
	wg.Go(func() { t.keepConfirming(ctx) })
	stop := context.AfterFunc(ctx, func() {
		t.ask.interrupt()
		t.confirm.interrupt()
	})
	wg.Wait()
	stop()
	t.asking <- struct{}{}
	t.ask.end()
	<-t.asking
	t.confirming <- struct{}{}
	t.confirm.end()
	<-t.confirming
}

// Primary is the node that writes go to: it says that it is the primary, is
// up, believed and not fenced; nil when there is none at the moment. It takes
// no lock and allocates nothing.
func (t *Topology) Primary() *Node { return t.primaryAt(consistency.Now()) }

func (t *Topology) primaryAt(now int64) *Node {
	n := t.elected.Load()
	if n == nil || n.Role() != Primary || !n.upAt(now) || t.changing.Load() {
		return nil
	}
	return n
}

// Nodes are all nodes in the order of the configuration. The slice is shared:
// not to be changed.
func (t *Topology) Nodes() []*Node { return t.nodes }

// Term counts the changes of the primary; 0: there was none yet.
func (t *Topology) Term() uint64 { return t.term.Load() }

// Timeline is the timeline of the present or last primary; 0: there was none.
func (t *Topology) Timeline() uint32 { return t.timeline.Load() }

// Position is the primary's position when it was last asked; 0: never. What it
// has acknowledged since isn't in it.
func (t *Topology) Position() consistency.LSN { return consistency.LSN(t.position.Load()) }

// PrimarySource knows where the primary was when it was last asked: what bounds all answers that were given before
// (consistency.Source.Until). It isn't a source to read from, and has no AsOf. Its Epoch changes with the primary.
func (t *Topology) PrimarySource() *consistency.Source { return &t.primary }

// RefNow is the instant that staleness is measured against (unix nanoseconds
// by consistency.Now): now while a primary is up; otherwise the last instant
// at which one was seen, since nothing can have been committed after it, as
// far as anyone knows. While none has ever been seen it is now, by which
// every replica is too stale: how far it is behind can't be told.
func (t *Topology) RefNow(now int64) int64 {
	if t.Primary() != nil {
		return now
	}
	if seen := t.seen.Load(); seen != 0 && seen < now {
		return seen
	}
	return now
}

// AddSource makes the samples of the primary's position known to one more
// source: the version table of a feed. That it is reset when the primary
// changes is its owner's business: see Config.OnPrimaryChange.
func (t *Topology) AddSource(s *consistency.Source) {
	t.sourcesMu.Lock()
	defer t.sourcesMu.Unlock()
	next := append(slices.Clone(t.extra()), s)
	t.sources.Store(&next)
}

// RemoveSource ends that. One sample that is just being passed on may still
// reach it.
func (t *Topology) RemoveSource(s *consistency.Source) {
	t.sourcesMu.Lock()
	defer t.sourcesMu.Unlock()
	next := slices.DeleteFunc(slices.Clone(t.extra()), func(x *consistency.Source) bool { return x == s })
	t.sources.Store(&next)
}

func (t *Topology) extra() []*consistency.Source {
	if p := t.sources.Load(); p != nil {
		return *p
	}
	return nil
}
