package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet/freshet/consistency"
)

// What a replica has shown, and the primary doesn't show yet.
//
// On the primary a commit becomes visible after its record has been written to the WAL: a moment later, but the backend can
// lose its processor in that moment; or much later, when it waits for a synchronous standby. A replica that has got
// the record shows the commit all the same. So whoever has read from a replica can find less on the primary
// afterwards, however far the primary is by its WAL. ConfirmVisible finds out that it isn't so, or waits.

// ErrHidden: some replica shows commits that the primary doesn't show yet, and that hasn't changed in the time that there was.
var ErrHidden = errors.New("topology: a replica has shown commits that the primary doesn't show yet (they wait for a synchronous standby)")

// VisibleAsOf is an instant (by consistency.Now): whatever any replica had shown until then is visible to each new snapshot
// of the primary. 0: nothing is known. Lock-free.
func (t *Topology) VisibleAsOf() int64 { return t.visible.Load() }

// The questions. To the primary: where it is, and what is visible. To a replica, first: how far it is, by position and by
// transaction; then: which of these transactions it shows as committed. (A replica's pg_current_snapshot() doesn't list
// those in progress, but its xmax is right.) The check against xmax is there because pg_xact_status() fails for
// transactions that the server hasn't heard of.
const (
	visibleName = "freshet_visible"
	visibleSQL  = `SELECT pg_catalog.pg_current_snapshot(), (` + consistency.PositionSQL + `)`

	shownName = "freshet_shown"
	shownSQL  = `SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()), pg_catalog.pg_last_wal_replay_lsn()`

	endedName = "freshet_ended"
	endedSQL  = `SELECT x FROM pg_catalog.unnest($1::pg_catalog.xid8[]) AS x WHERE CASE
	WHEN x OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
	THEN pg_catalog.pg_xact_status(x) OPERATOR(pg_catalog.=) 'committed' END`

	// Last resort: see lost.
	waitersSQL = `SELECT count(*) FILTER (WHERE wait_event OPERATOR(pg_catalog.=) 'SyncRep'),
	pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') FROM pg_catalog.pg_stat_get_activity(NULL)`
	drawSQL = `SELECT pg_catalog.pg_current_xact_id()`
)

// Bounds of one ConfirmVisible.
const (
	shownLimit = 250 * time.Millisecond // for a replica's answer; then another has to stand in for it
	lostAfter  = time.Second            // see lost
	hiddenGap  = 200 * time.Microsecond // between two looks at what the primary shows, at first
	hiddenMost = 5 * time.Millisecond
	mostXIDs   = 4096 // that a replica is asked about at once
)

// ConfirmVisible returns when everything that any replica had shown to anybody before it was called is visible to new
// snapshots of the primary, and moves VisibleAsOf. It is what a consistency.Clock asks; its position means nothing. Errors: ErrHidden when ctx has ended, ErrNoPrimary, those of connections. One at a time; others wait.
func (t *Topology) ConfirmVisible(ctx context.Context) (consistency.LSN, error) {
	select {
	case t.confirming <- struct{}{}:
	case <-ctx.Done():
		return 0, ErrHidden
	}
	defer func() { <-t.confirming }()
	if t.confirm.stopped {
		return 0, ErrStopped
	}
	ctx, cancel := t.confirm.begin(ctx)
	defer cancel()
	n, term := t.Primary(), t.term.Load()
	if n == nil {
		return 0, ErrNoPrimary
	}
	c := confirmation{t: t, primary: n, now: consistency.Now()}
	asked := c.dirty()
	err := c.run(ctx, asked)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrHidden) {
		err = fmt.Errorf("%w; time ran out with: %w", ErrHidden, err)
	}
	if err == nil && (t.elected.Load() != n || t.term.Load() != term) {
		err = fmt.Errorf("topology: %w: it changed meanwhile", ErrNoPrimary)
	}
	if err != nil {
		for _, r := range asked {
			r.dirty.Store(true)
		}
		return 0, err
	}
	t.visible.Store(c.now)
	return 0, nil
}

// DoubtReplicas makes the next ConfirmVisible ask all replicas: others than we may have shown what is on them.
func (t *Topology) DoubtReplicas() {
	for _, n := range t.nodes {
		if n.follows.Load() {
			n.dirty.Store(true)
		}
	}
}

// confirmation is one run of ConfirmVisible.
type confirmation struct {
	t       *Topology
	primary *Node
	now     int64 // when it began
	lsn     consistency.LSN
	shown   consistency.Snapshot // of the primary, the latest
}

// dirty are the replicas that have shown something since the last confirmation, and those that are just doing so.
func (c *confirmation) dirty() (list []*Node) {
	for _, n := range c.t.nodes {
		// In this order: see Node.End.
		busy := n.outstanding.Load() > 0
		if (n.dirty.Swap(false) || busy) && n != c.primary && n.Role() == Replica {
			list = append(list, n)
		}
	}
	return list
}

func (c *confirmation) run(ctx context.Context, replicas []*Node) error {
	if len(replicas) == 0 {
		return nil // nobody has shown anything
	}
	if err := c.look(ctx); err != nil {
		return err
	}
	var asked []*Node // who is asked for all of them
	var xmax uint64
	missing := false
	for _, r := range replicas {
		x, _, err := c.askShown(ctx, r)
		if err != nil {
			missing = true
			continue
		}
		asked, xmax = append(asked, r), max(xmax, x)
	}
	if missing {
		r, x, err := c.standIn(ctx)
		if err != nil {
			return err
		}
		if r == nil {
			if err := c.lost(ctx); err != nil {
				return err
			}
		} else {
			asked, xmax = append(asked, r), max(xmax, x)
		}
	}
	// What no replica knows of hasn't been shown by any.
	var doubtful []uint64
	for _, xid := range c.shown.Xip {
		if xid < xmax {
			doubtful = append(doubtful, xid)
		}
	}
	for xid := c.shown.Xmax; xid < xmax; xid++ {
		if len(doubtful) == mostXIDs {
			return fmt.Errorf("topology: a replica is %d transactions ahead of what the primary shows", xmax-c.shown.Xmax)
		}
		doubtful = append(doubtful, xid)
	}
	if len(doubtful) == 0 {
		return nil
	}
	var hidden []uint64
	for _, r := range asked {
		ended, err := c.askEnded(ctx, r, doubtful)
		if err != nil {
			return err // the next confirmation finds somebody to stand in for it
		}
		hidden = append(hidden, ended...)
	}
	return c.await(ctx, func() bool {
		return !slices.ContainsFunc(hidden, func(xid uint64) bool { return !c.shown.Sees(xid) })
	})
}

// await looks at what the primary shows until done.
func (c *confirmation) await(ctx context.Context, done func() bool) error {
	for gap := hiddenGap; !done(); gap = min(2*gap, hiddenMost) {
		if err := c.look(ctx); err != nil {
			return err
		}
		if done() {
			return nil
		}
		if !pause(ctx, gap) {
			return ErrHidden
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// standIn finds a replica that contains what any other can have shown before, since it has got where the primary was
// after that; nil: there is no other replica.
func (c *confirmation) standIn(ctx context.Context) (*Node, uint64, error) {
	for gap := hiddenGap; ; gap = min(2*gap, hiddenMost) {
		some := false
		for _, r := range c.t.nodes {
			if r == c.primary || !r.follows.Load() || !r.answersAt(consistency.Now()) {
				continue
			}
			xmax, lsn, err := c.askShown(ctx, r)
			if err != nil {
				continue
			}
			if lsn >= c.lsn {
				return r, xmax, nil
			}
			some = true
		}
		if !some {
			return nil, 0, nil
		}
		if !pause(ctx, gap) {
			return nil, 0, ErrHidden
		}
	}
}

// lost is for when a replica is gone and nobody knows what it has shown. It waits for all transactions of which it can have
// got the commit; but after a while only for those that wait for a synchronous standby, since nothing else keeps a
// transaction that long between its record and its end.
func (c *confirmation) lost(ctx context.Context) error {
	var drawn uint64
	number := func(v [][]byte) (err error) {
		drawn, err = strconv.ParseUint(text(v, 0), 10, 64)
		return err
	}
	if err := c.ask(ctx, c.primary, func(l *link, limit time.Duration) error { return l.query(ctx, drawSQL, limit, number) }); err != nil {
		return err
	}
	for gap := hiddenGap; ; gap = min(2*gap, hiddenMost) {
		if err := c.look(ctx); err != nil {
			return err
		}
		if c.shown.Xmin >= drawn {
			return nil
		}
		if consistency.Now()-c.now > int64(lostAfter) {
			none := false
			err := c.ask(ctx, c.primary, func(l *link, limit time.Duration) error {
				return l.query(ctx, waitersSQL, limit, func(v [][]byte) error {
					none = text(v, 0) == "0" && text(v, 1) == "t"
					return nil
				})
			})
			if err != nil || none {
				return err
			}
		}
		if !pause(ctx, gap) {
			return ErrHidden
		}
	}
}

// look asks the primary what it shows.
func (c *confirmation) look(ctx context.Context) error {
	epoch, at := c.t.primary.Epoch(), consistency.Now()
	err := c.ask(ctx, c.primary, func(l *link, limit time.Duration) error {
		return l.ask(ctx, visibleName, limit, func(v [][]byte) (err error) {
			if c.shown, err = consistency.ParseSnapshot(text(v, 0)); err == nil {
				c.lsn, err = consistency.ParseLSN(text(v, 1))
			}
			return err
		})
	})
	if err == nil {
		c.t.primary.AdvanceIn(epoch, at, c.lsn)
	}
	return err
}

func (c *confirmation) askShown(ctx context.Context, r *Node) (xmax uint64, lsn consistency.LSN, err error) {
	epoch, at := r.Epoch(), consistency.Now()
	err = c.ask(ctx, r, func(l *link, limit time.Duration) error {
		return l.ask(ctx, shownName, min(limit, shownLimit), func(v [][]byte) (err error) {
			if xmax, err = strconv.ParseUint(text(v, 0), 10, 64); err != nil {
				return err
			}
			lsn, err = consistency.ParseLSN(text(v, 1))
			return err
		})
	})
	if err == nil {
		r.AdvanceIn(epoch, at, lsn)
	}
	return xmax, lsn, err
}

func (c *confirmation) askEnded(ctx context.Context, r *Node, xids []uint64) (ended []uint64, err error) {
	var list strings.Builder
	list.WriteByte('{')
	for i, xid := range xids {
		if i > 0 {
			list.WriteByte(',')
		}
		list.WriteString(strconv.FormatUint(xid, 10))
	}
	list.WriteByte('}')
	err = c.ask(ctx, r, func(l *link, limit time.Duration) error {
		return l.askWith(ctx, endedName, list.String(), min(limit, shownLimit), func(v [][]byte) error {
			xid, err := strconv.ParseUint(text(v, 0), 10, 64)
			ended = append(ended, xid)
			return err
		})
	})
	return ended, err
}

// ask puts a question over the node's kept link, made anew if need be.
func (c *confirmation) ask(ctx context.Context, n *Node, question func(*link, time.Duration) error) error {
	if n != c.primary && !n.answersAt(consistency.Now()) {
		return fmt.Errorf("topology: %s doesn't answer", n.addr)
	}
	p := c.t.confirm.of(n)
	for {
		fresh, err := p.reach(ctx, n, func(l *link, limit time.Duration) error {
			if n == c.primary {
				return l.prepare(ctx, visibleName, visibleSQL, limit)
			}
			if err := l.prepare(ctx, shownName, shownSQL, limit); err != nil {
				return err
			}
			return l.prepare(ctx, endedName, endedSQL, limit)
		})
		if err == nil {
			err = question(p.link, p.limit(ctx, n))
		}
		if err == nil {
			return nil
		}
		p.drop()
		if fresh || ctx.Err() != nil {
			return fmt.Errorf("topology: what %s shows: %w", n.addr, err)
		}
	}
}

// confirmer holds what ConfirmVisible keeps from one time to the next. Guarded by Topology.confirming, but for the
// interruption.
type confirmer struct {
	interruption
	links   map[*Node]*kept
	stopped bool
}

func (c *confirmer) of(n *Node) *kept {
	p := c.links[n]
	if p == nil {
		p = &kept{}
		if c.links == nil {
			c.links = map[*Node]*kept{}
		}
		c.links[n] = p
	}
	return p
}

func (c *confirmer) end() {
	c.stopped = true
	for _, p := range c.links {
		p.drop()
	}
}

// keepConfirming confirms now and then what replicas have shown, so that those who come from one to the primary seldom wait.
func (t *Topology) keepConfirming(ctx context.Context) {
	tick := time.NewTicker(t.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !slices.ContainsFunc(t.nodes, func(n *Node) bool { return n.dirty.Load() }) || t.Primary() == nil {
			continue
		}
		once, cancel := context.WithTimeout(ctx, t.cfg.DownAfter)
		_, _ = t.ConfirmVisible(once) // whoever needs it asks, and is told
		cancel()
	}
}
