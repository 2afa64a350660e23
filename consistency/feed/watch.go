package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/freshet/freshet/consistency"
)

// watch is what goes on beside the stream, on an ordinary connection: it finds out when the feed has caught up, what the
// publication covers, and what has become visible. It is used by one goroutine.
type watch struct {
	f        *Feed
	l        *link
	caughtUp bool
	stale    bool // the server won't send what is in the publication now, see sendsNewMembers
	maintain *maintenance
	digest   string    // of what the last look at the publication depended on
	lookBy   time.Time // when to look again even if that hasn't changed
}

func newWatch(f *Feed, l *link) *watch {
	w := &watch{f: f, l: l}
	if f.cfg.Maintain {
		w.maintain = &maintenance{feed: f}
	}
	return w
}

// How often the watch looks at where the stream is, when it waits for something and when it doesn't; how often it asks for a
// snapshot at most, while it waits for a transaction to end, which can take hours; and how far behind the stream may be
// before the server is asked for a keepalive.
const (
	lookSoon     = 2 * time.Millisecond
	lookIdly     = 20 * time.Millisecond
	askPatiently = 200 * time.Millisecond
	behindFor    = 100 * time.Millisecond
	silentFor    = 20 * time.Second // then the connection is given up
)

// lookAnyway is how often the publication is read though nothing seems to have changed: for what isn't in the digest, as who
// may do what.
const lookAnyway = time.Minute

var errStaleStream = errors.New("the publication has new tables, for which this version of the server needs a new connection")

func (w *watch) run(ctx context.Context) error {
	table, cover := w.f.table, &w.l.coverage
	// Caught up means: past where the primary was after the stream had begun.
	target, err := w.position(ctx)
	if err != nil {
		return err
	}
	var nextPoll, nextSnapshot time.Time
	ask := lookSoon
	for {
		position := table.Position()
		if !w.caughtUp && position >= target {
			w.caughtUp = true
			table.SetServing(true)
			w.f.serving()
			w.f.cfg.OnCatalog()
		}
		for lsn, oids := range cover.reached(position) {
			table.Cover(lsn, oids...)
		}
		now := time.Now()
		if w.l.stream.catalog.Swap(false) {
			nextPoll = now // a new table, perhaps
		}
		if !now.Before(nextPoll) {
			if err := w.poll(ctx); err != nil {
				return err
			}
			nextPoll, nextSnapshot, ask = now.Add(w.f.cfg.PollInterval), now, lookSoon
		}
		waiting := cover.waiting()
		if !now.Before(nextSnapshot) {
			if err := w.snapshot(ctx); err != nil {
				return err
			}
			nextSnapshot = nextPoll
			if waiting {
				nextSnapshot = now.Add(ask)
				ask = min(2*ask, askPatiently)
			}
		}
		w.f.update(func(s *Status) { s.Published, s.Covered = len(cover.members), cover.count() })

		at, _, behind := table.Behind()
		late := behind && consistency.Now()-at > int64(behindFor)
		if late && consistency.Now()-max(at, w.l.stream.heard.Load()) > int64(silentFor) {
			return fmt.Errorf("nothing has come on the replication connection for %v, though the server has been asked", silentFor)
		}
		if err := w.l.stream.report(false, late); err != nil {
			return err
		}
		pause := lookIdly
		if waiting || !w.caughtUp {
			pause = lookSoon
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(pause, time.Until(nextPoll))):
		case l := <-w.l.stream.looks:
			if err := w.look(ctx, l.xid); err != nil {
				return err
			}
			close(l.done)
		}
	}
}

// poll looks at whether the primary and the publication are still what they were.
func (w *watch) poll(ctx context.Context) error {
	if url, err := w.f.cfg.PrimaryURL(); err == nil && url != w.l.url {
		w.f.table.Gap()
		return errPrimaryChanged
	}
	// The digest first, so that what changes in between is found the next time.
	digest, err := w.f.readDigest(ctx, w.l)
	if err != nil {
		return err
	}
	now := time.Now()
	if digest == w.digest && now.Before(w.lookBy) {
		return nil
	}
	w.digest, w.lookBy = digest, now.Add(lookAnyway)
	p, err := w.f.readPublication(ctx, w.l)
	if err != nil {
		return err
	}
	cover := &w.l.coverage
	w.f.table.Uncover(cover.update(p.members)...)
	if cover.undrawn() {
		xid, err := w.f.drawXID(ctx, w.l.sql)
		if err != nil {
			return err
		}
		cover.drawn(xid)
		w.stale = w.stale || !w.f.fixed(w.l.version)
	}
	w.f.update(func(s *Status) { s.NotCovered = p.uncovered })
	if len(p.members)+len(p.uncovered) == 0 {
		// Nothing is in it, or it is gone, which the walsender would notice only with the next change.
		if err := w.f.examine(ctx, w.l); err != nil {
			w.f.table.Gap()
			return err
		}
	}
	if w.maintain != nil && !w.maintain.run(ctx, w.l.sql) {
		w.digest = ""
	}
	return nil
}

// look looks at the publication once what a transaction has changed is visible. (That it is in the stream doesn't make it so: it may wait for a
// synchronous standby.)
func (w *watch) look(ctx context.Context, xid uint32) error {
	for {
		var text string
		asking, cancel := context.WithTimeout(ctx, w.f.cfg.ConnectTimeout)
		err := w.l.sql.QueryRow(asking, `SELECT pg_current_snapshot()::text`).Scan(&text)
		cancel()
		if err != nil {
			return err
		}
		s, err := consistency.ParseSnapshot(text)
		if err != nil {
			return err
		}
		// Of the 64 bits those are missing that it has in common with whatever runs at the time.
		if s.Sees(s.Xmax + uint64(int64(int32(xid-uint32(s.Xmax))))) {
			break
		}
		if err := w.l.stream.report(false, false); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookSoon):
		}
	}
	w.digest = ""
	return w.poll(ctx)
}

// snapshot asks the primary what is visible and where it is.
func (w *watch) snapshot(ctx context.Context) error {
	epoch, at := w.f.table.Epoch(), consistency.Now()
	asking, cancel := context.WithTimeout(ctx, w.f.cfg.ConnectTimeout)
	defer cancel()
	var text, location string
	if err := w.l.sql.QueryRow(asking, `SELECT pg_current_snapshot()::text, (`+consistency.PositionSQL+`)`).Scan(&text, &location); err != nil {
		return err
	}
	s, err := consistency.ParseSnapshot(text)
	if err != nil {
		return err
	}
	lsn, err := consistency.ParseLSN(location)
	if err != nil {
		return err
	}
	w.f.table.ObserveSnapshot(s)
	w.f.table.ObserveIn(epoch, at, lsn)
	if w.l.coverage.ended(s) {
		if w.stale {
			return errStaleStream
		}
		lsn, err := w.position(ctx)
		if err != nil {
			return err
		}
		w.l.coverage.endedBy(s, lsn)
	}
	return nil
}

// position asks the primary for its position and makes sure that the stream can get there.
func (w *watch) position(ctx context.Context) (consistency.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, w.f.cfg.ConnectTimeout)
	defer cancel()
	var text string
	if err := w.l.sql.QueryRow(ctx, consistency.PositionSQL).Scan(&text); err != nil {
		return 0, err
	}
	if _, err := w.l.sql.PgConn().Exec(ctx, consistency.FlushSQL).ReadAll(); err != nil {
		return 0, err
	}
	return consistency.ParseLSN(text)
}

// sendsNewMembers says whether the server's walsender is sure to send changes of tables that come into the publication while
// it runs, once the transactions that ran at the time have ended. Before these versions (fix of May 2025, "invalidate
// distributed to in-progress transactions"), decoding one of those could leave it with an old idea of the publication.
func sendsNewMembers(version int) bool {
	switch version / 10000 {
	case 14:
		return version >= 140018
	case 15:
		return version >= 150013
	case 16:
		return version >= 160009
	case 17:
		return version >= 170005
	}
	return version >= 180000
}
