package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/consistency/feed"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
	"github.com/freshet/freshet/router/topology"
)

// DatabasesConfig says how the databases of the cluster are looked after.
type DatabasesConfig struct {
	Topology    *topology.Topology
	Clock       *consistency.Clock
	Publication string
	Slot        string // permanent slot's name; empty: a temporary slot for each database
	NoFeed      bool   // --cache=off: neither feed nor cache
	Ring        int    // commits that a version table remembers; 0: 1<<16
	Plans       int    // plans that are remembered for each database; 0: 10,000
	RowCells    int64  // bytes for each database to tell rows apart by; 0: 64 MiB; negative: none
	// ReplayGrace is how long a replica may take to know of what the primary does, before it is taken out of rotation (--ryw-window); 0: 10 s.
	ReplayGrace time.Duration
	Logger      *slog.Logger
}

// Databases holds what is known of each database that clients connect to: its catalog, and the version table with
// the feed that moves it. A database is looked after from its first client on, until nobody has been there for a time. Safe for concurrent
// use; Close it.
type Databases struct {
	cfg    DatabasesConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     struct {
		sync.Mutex
		byName map[string]*runningDatabase
		closed bool
	}
}

type runningDatabase struct {
	Database
	watcher *catalog.Watcher
	feed    *feed.Feed        // nil: no cache
	probe   consistency.Probe // of the watcher's look
	life    life              // see database_life.go
}

// NewDatabases returns an empty set.
func NewDatabases(cfg DatabasesConfig) *Databases {
	if cfg.Ring <= 0 {
		cfg.Ring = 1 << 16
	}
	if cfg.Plans <= 0 {
		cfg.Plans = 10_000
	}
	if cfg.ReplayGrace <= 0 {
		cfg.ReplayGrace = 10 * time.Second
	}
	d := &Databases{cfg: cfg}
	d.ctx, d.cancel = context.WithCancel(context.Background()) // ended by Close
	d.mu.byName = map[string]*runningDatabase{}
	return d
}

// getLocked returns a database, which nobody may be looking after. The caller holds mu.
func (d *Databases) getLocked(name string) *runningDatabase {
	if r := d.mu.byName[name]; r != nil {
		return r
	}
	r := &runningDatabase{}
	r.Name = name
	r.Table = consistency.NewTable(d.cfg.Ring)
	if d.cfg.RowCells != 0 {
		r.Table.LimitRowCells(max(0, d.cfg.RowCells))
	}
	r.Plans = router.NewPlanCache(d.cfg.Plans)
	log := d.cfg.Logger.With("database", name)
	r.watcher = catalog.NewWatcher(catalog.WatcherConfig{
		Connect:    func(ctx context.Context) (*pgx.Conn, error) { return d.connect(ctx, name) },
		BeforeLook: func() { r.probe = r.Table.Begin() },
		OnLook:     func(look catalog.Look) bool { return d.looked(r, look) },
		Logger:     log,
	})
	r.Catalog = r.watcher.Current
	r.CatalogCheckedAt, r.CatalogHurry = r.watcher.CheckedAt, r.watcher.Hurry
	r.Planner = router.NewPlanner(r.watcher.Current)
	if !d.cfg.NoFeed {
		r.feed = d.newFeed(r, len(d.mu.byName) == 0, log)
	}
	d.mu.byName[name] = r
	return r
}

// AwaitCatalog waits until something is known about the database, for a moment: until then nothing can be told about a
// statement, and each session that makes one would have to be bound. It returns without, when there is no primary to ask.
func (d *Databases) AwaitCatalog(ctx context.Context, db *Database) {
	if db.Catalog() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catalogWait)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for db.Catalog() == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// catalogWait bounds AwaitCatalog.
const catalogWait = 3 * time.Second

// looked takes what a look at the catalog has found, on the watcher's goroutine. What has changed, by whatever way it was
// found out, makes everything stale that was cached under the old catalog, and everything whose fill is under way: the new
// snapshot is current already, so nothing more is planned by the old one. What the feed knows to have changed is also waited
// for: until a look contains it (false: not yet), nothing is filled.
func (d *Databases) looked(r *runningDatabase, look catalog.Look) bool {
	switch {
	case look.Changed && look.Parts == nil: // the first look: of connections from before it isn't known what they began with
		r.defaults.Add(1)
	case slices.Contains(look.Parts, "setting") || slices.Contains(look.Parts, "everything"):
		d.defaultsChanged(r)
	}
	if look.Changed {
		d.catalogChanged(r)
	}
	if r.feed == nil || !r.Table.Serving() {
		return true // there is another look when it serves
	}
	snapshot, err := consistency.ParseSnapshot(look.Visible)
	if err != nil {
		d.cfg.Logger.Error("the server's snapshot can't be read", "snapshot", look.Visible, "error", err)
		return false
	}
	probe := r.probe
	probe.Snapshot = snapshot
	r.Table.CatalogLooked(probe)
	return r.Table.CatalogHolds()
}

// defaultsChanged has server connections made anew: at once, and then those that were made to a replica that didn't know yet. As long
// as there can be such connections nothing is filled from replicas.
func (d *Databases) defaultsChanged(r *runningDatabase) {
	r.unsettled.Add(1)
	r.defaults.Add(1)
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		defer r.unsettled.Add(-1)
		for _, pause := range []time.Duration{d.cfg.ReplayGrace / 10, d.cfg.ReplayGrace} {
			select {
			case <-d.ctx.Done():
				return
			case <-time.After(pause):
			}
			r.defaults.Add(1)
		}
	}()
}

func (d *Databases) catalogChanged(r *runningDatabase) {
	lsn, err := d.cfg.Topology.Ask(d.ctx)
	if err != nil {
		// Without a position the fills from replicas that haven't seen the change can't be told from those that have: once more, then.
		r.Table.CatalogChanged(0)
		retry := time.NewTicker(100 * time.Millisecond)
		defer retry.Stop()
		for err != nil {
			select {
			case <-d.ctx.Done():
				return
			case <-retry.C:
			}
			lsn, err = d.cfg.Topology.Ask(d.ctx)
		}
	}
	r.Table.CatalogChanged(lsn)
}

// connect opens a service connection to a database on the primary.
func (d *Databases) connect(ctx context.Context, name string) (*pgx.Conn, error) {
	n := d.cfg.Topology.Primary()
	if n == nil {
		return nil, topology.ErrNoPrimary
	}
	cfg, err := pgx.ParseConfig(n.URL())
	if err != nil {
		return nil, fmt.Errorf("the service URL of %s can't be read", n.Addr())
	}
	if name != "" { // else the service URL's
		cfg.Database = name
	}
	cfg.LookupFunc = n.ConnConfig().LookupFunc
	cfg.RuntimeParams["application_name"] = "freshet catalog"
	cfg.RuntimeParams["client_encoding"] = "UTF8" // whatever ALTER ROLE or ALTER DATABASE says
	return pgx.ConnectConfig(ctx, cfg)
}

// serviceURL is the service URL of the primary for another database.
func (d *Databases) serviceURL(name string) (string, error) {
	n := d.cfg.Topology.Primary()
	if n == nil {
		return "", topology.ErrNoPrimary
	}
	u, err := url.Parse(n.URL())
	if err != nil {
		return "", fmt.Errorf("the service URL of %s can't be read", n.Addr())
	}
	u.Path = "/" + name
	return u.String(), nil
}

// Close stops looking after all databases and waits until that has ended.
func (d *Databases) Close() {
	d.mu.Lock()
	d.mu.closed = true
	d.mu.Unlock()
	d.cancel()
	d.wg.Wait()
}

// newFeed makes what has the database's version table follow the WAL.
func (d *Databases) newFeed(r *runningDatabase, first bool, log *slog.Logger) *feed.Feed {
	slot := d.cfg.Slot
	if slot != "" && !first {
		// A slot belongs to one database. The first is the service URL's.
		slot += "_" + r.Name
	}
	return feed.New(feed.Config{
		PrimaryURL:  func() (string, error) { return d.serviceURL(r.Name) },
		Publication: d.cfg.Publication,
		Slot:        slot,
		Maintain:    true,
		OnCatalog:   r.watcher.Poke,
		Logger:      log,
	}, r.Table)
}

// PrimaryChanged makes everything stale that was cached from another primary, and has the feeds and catalogs follow the new one.
func (d *Databases) PrimaryChanged() {
	for _, r := range d.list() {
		if r.feed != nil {
			r.feed.PrimaryChanged()
		}
		r.watcher.Poke()
	}
}

func (d *Databases) list() []*runningDatabase {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*runningDatabase, 0, len(d.mu.byName))
	for _, r := range d.mu.byName {
		list = append(list, r)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// DatabaseStatus is a database's picture for metrics and health.
type DatabaseStatus struct {
	Name string
	Feed feed.Status
	// ColumnSets is what it takes to tell rows apart.
	ColumnSets consistency.ColumnSetStats
	Catalog    bool // a snapshot is there
	// CatalogProblem says why the last look at the catalog failed; empty when it didn't.
	CatalogProblem string
	// Settling: after ALTER ROLE … SET there may still be connections to replicas that began with the old settings.
	Settling bool
}

// Status returns a momentary picture of all databases that are looked after. Safe for concurrent use.
func (d *Databases) Status() []DatabaseStatus {
	var out []DatabaseStatus
	for _, r := range d.list() {
		if !d.running(r) {
			continue
		}
		st := DatabaseStatus{Name: r.Name, Catalog: r.watcher.Current() != nil, CatalogProblem: r.watcher.Problem(), Settling: r.unsettled.Load() > 0}
		if r.feed != nil {
			st.Feed = r.feed.Status()
			st.ColumnSets = r.Table.ColumnSetStats()
		}
		out = append(out, st)
	}
	return out
}
