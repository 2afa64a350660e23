package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// A database is looked after (its catalog is watched, its WAL is followed) while clients are connected to it and for some time
// afterwards; the service URL's from the start on. It isn't, for as long as a statement runs that needs it for itself: see vacate.go. What is
// known about it, and what was cached, is then forgotten.

// life is whether and for whom a database is looked after. Guarded by Databases.mu.
type life struct {
	kept    bool      // also without clients
	clients int       // that are in, or about to be
	since   time.Time // since when there are none
	vacated int       // statements that need it for themselves
	stop    context.CancelFunc
	ended   chan struct{} // closed when looking after it has ended; nil: nobody does
}

// Keep looks after a database from now on, with clients or without.
func (d *Databases) Keep(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.getLocked(name)
	r.life.kept = true
	d.startLocked(r)
}

// Get returns a database. It is looked after from now on, as if a client had come and gone.
func (d *Databases) Get(name string) *Database {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.getLocked(name)
	if r.life.ended == nil {
		r.life.since = time.Now()
		d.startLocked(r)
	}
	return &r.Database
}

// Known returns a database that clients have used; nil: there is none of that name.
func (d *Databases) Known(name string) *Database {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.mu.byName[name]; r != nil {
		return &r.Database
	}
	return nil
}

// Enter returns a database for a client, which Leaves it at its end. It is looked after meanwhile.
func (d *Databases) Enter(name string) *Database {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.getLocked(name)
	r.life.clients++
	d.startLocked(r)
	return &r.Database
}

// Leave is the end of a client that has Entered.
func (d *Databases) Leave(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := &d.getLocked(name).life
	l.clients--
	l.since = time.Now()
}

func (d *Databases) running(r *runningDatabase) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return r.life.ended != nil
}

// startLocked begins to look after a database if that is due and nobody does. The caller holds mu.
func (d *Databases) startLocked(r *runningDatabase) {
	l := &r.life
	if d.mu.closed || l.ended != nil || l.vacated > 0 {
		return
	}
	ctx, stop := context.WithCancel(d.ctx)
	l.stop, l.ended = stop, make(chan struct{})
	ended := l.ended
	var both sync.WaitGroup
	if r.feed != nil {
		d.cfg.Topology.AddSource(&r.Table.Source)
		both.Go(func() {
			defer d.cfg.Topology.RemoveSource(&r.Table.Source)
			r.feed.Run(ctx)
		})
	}
	both.Go(func() { r.watcher.Run(ctx) })
	d.wg.Go(func() {
		defer stop()
		both.Wait()
		close(ended)
	})
}

// startAgainLocked does so after an interruption, if there is somebody. The caller holds mu.
func (d *Databases) startAgainLocked(r *runningDatabase) {
	if r.life.clients > 0 || r.life.kept {
		d.startLocked(r)
	}
}

// stopLocked ends looking after a database. The caller holds mu, gives it up, waits for what is returned (nil: nobody did), and then calls
// stopped.
func (r *runningDatabase) stopLocked() (ended chan struct{}) {
	if r.life.ended != nil {
		r.life.stop()
	}
	return r.life.ended
}

// stoppedLocked takes note that it has ended.
func (r *runningDatabase) stoppedLocked(ended chan struct{}) {
	if r.life.ended == ended {
		r.life.ended = nil
	}
}

// forget forgets what was known about a database by this name, whose feed isn't running or is about to find out.
func (r *runningDatabase) forget() {
	r.watcher.Forget()
	if r.feed != nil {
		r.Table.Gap()
	}
	r.defaults.Add(1)
}

// Rest ends looking after databases that have had no client for as long as idle, and returns their names.
func (d *Databases) Rest(idle time.Duration) (rested []string) {
	for _, r := range d.list() {
		d.mu.Lock()
		l := &r.life
		if l.ended == nil || l.kept || l.clients > 0 || l.vacated > 0 || time.Since(l.since) < idle {
			d.mu.Unlock()
			continue
		}
		ended := r.stopLocked()
		l.vacated++ // nobody starts it before it has ended
		d.mu.Unlock()
		<-ended
		r.forget()
		d.mu.Lock()
		r.stoppedLocked(ended)
		l.vacated--
		d.startAgainLocked(r) // somebody may have come
		d.mu.Unlock()
		rested = append(rested, r.Name)
	}
	return rested
}

// Vacate ends looking after a database until Return, and waits until the primary has noticed or ctx ends.
func (d *Databases) Vacate(ctx context.Context, name string) {
	d.mu.Lock()
	r := d.getLocked(name)
	r.life.vacated++
	var backend uint32
	if r.feed != nil {
		backend = r.feed.Backend()
	}
	ended := r.stopLocked()
	d.mu.Unlock()
	if ended == nil {
		return
	}
	<-ended
	d.mu.Lock()
	r.stoppedLocked(ended)
	d.mu.Unlock()
	if backend != 0 {
		if err := d.awaitGone(ctx, backend); err != nil && ctx.Err() == nil {
			d.cfg.Logger.Warn("whether the WAL feed's connection to a database that is to be dropped or copied has ended isn't known", "database", name, "error", err)
		}
	}
}

// goneSQL says whether a server process has ended, and ends it if it was asked to some time ago: one that makes a replication slot waits for
// others' transactions, and doesn't notice that its client is gone.
const goneSQL = `SELECT CASE WHEN $2 THEN pg_catalog.pg_terminate_backend(pid) END FROM pg_catalog.pg_stat_activity
	WHERE pid = $1 AND backend_type = 'walsender'`

const (
	goneTick = 5 * time.Millisecond
	goneSoon = 300 * time.Millisecond // after which it is terminated
	goneWait = 5 * time.Second
)

// awaitGone waits until a server process on the primary has ended, and with it its replication slot.
func (d *Databases) awaitGone(ctx context.Context, pid uint32) error {
	ctx, cancel := context.WithTimeout(ctx, goneWait)
	defer cancel()
	conn, err := d.connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	began := time.Now()
	for {
		rows, err := conn.Query(ctx, goneSQL, pid, time.Since(began) > goneSoon)
		if err != nil {
			return err
		}
		there, err := pgx.CollectRows(rows, func(pgx.CollectableRow) (struct{}, error) { return struct{}{}, nil })
		if err != nil || len(there) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(goneTick):
		}
	}
}

// Return is the end of a Vacate. ended: there is no such database any more.
func (d *Databases) Return(name string, ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.getLocked(name)
	if ended {
		r.forget()
	}
	r.life.vacated--
	r.life.since = time.Now()
	d.startAgainLocked(r)
}

// Made says that there is a new database of this name: what is known is of another.
func (d *Databases) Made(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.mu.byName[name]; r != nil {
		r.forget()
	}
}
