package feed

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/consistency"
)

// Config says what a Feed follows. It isn't changed after New.
type Config struct {
	// PrimaryURL gives the service URL of the current primary, with the database that the feed is for, or an error that
	// says why there is none. It is asked at each attempt to connect and once a second: from when it gives another one, the
	// feed follows that. The role needs REPLICATION, and no more privileges than LOGIN besides.
	PrimaryURL func() (string, error)
	// Publication names the tables that are covered; default "freshet".
	Publication string
	// Slot is the name of a permanent replication slot, made if it isn't there. Default: a temporary one.
	Slot string
	// Maintain has the feed add tables to the publication that were made since, and take out those that no longer have a
	// replica identity, as Plan would. It is done when the service user may.
	Maintain bool
	// OnCatalog, if not nil, is called when the catalog is to be looked at: after a commit that changed it, and when the feed has
	// caught up. It must not block.
	OnCatalog func()
	// PollInterval is how often the publication is looked at; default 1 s.
	PollInterval time.Duration
	// ConnectTimeout bounds connecting and each question; default 5 s. Making a slot takes as long as the longest transaction
	// that is running, and isn't bounded.
	ConnectTimeout time.Duration
	// RetryMax is the longest pause between two attempts to connect; default 5 s.
	RetryMax time.Duration
	// Logger; default slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Publication = cmp.Or(c.Publication, "freshet")
	c.PollInterval = cmp.Or(c.PollInterval, time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 5*time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, 5*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.Default())
	if c.OnCatalog == nil {
		c.OnCatalog = func() {}
	}
	return c
}

// retryMin is the first pause after a failed attempt to connect.
const retryMin = 50 * time.Millisecond

// State is what a feed is at.
type State string

// The states, in the order in which a feed passes them.
const (
	Stopped    State = "stopped"
	Connecting State = "connecting"
	Waiting    State = "waiting for running transactions" // for the slot to be made
	CatchingUp State = "catching up"
	Streaming  State = "streaming"
	Retrying   State = "retrying" // after a failure, see Reason
)

// Status is a feed as the console and the metrics show it.
type Status struct {
	State       State
	Reason      string // why it isn't streaming, and what mends it; "" when it is
	Problem     string // what isn't as it should be although it may be streaming, and what mends it
	Primary     string // host:port that it follows or last followed
	Slot        string // "" when there is none
	Timeline    uint32
	Serving     bool
	Position    consistency.LSN
	Applied     consistency.Seq
	Commits     uint64        // applied since New
	Lag         time.Duration // all that was acknowledged longer ago than this has been applied; meaningless unless Serving
	Published   int           // relations that the publication publishes completely
	Covered     int           // of those, the covered
	NotCovered  []Uncovered   // relations in the publication that are not published completely
	Connections int           // how often it has connected since New
}

// Uncovered is a relation that the publication names, but not on terms that tell of every change.
type Uncovered struct {
	OID    uint32
	Name   string // schema-qualified, quoted where needed
	Reason string
}

// Feed keeps one Table up to date. Make it with New, and call Run, once at a time. The methods are safe for concurrent use.
type Feed struct {
	cfg     Config
	table   *consistency.Table
	commits atomic.Uint64
	changed chan struct{}          // ends a pause
	fixed   func(version int) bool // sendsNewMembers; tests put another in its place

	mu struct {
		sync.Mutex
		status Status
		stop   context.CancelCauseFunc // ends the present attempt; nil: there is none
		logged string                  // the reason last logged
		pid    uint32                  // see Backend
	}
}

// New makes a feed that is the only one to write the table. It does nothing before Run.
func New(cfg Config, table *consistency.Table) *Feed {
	f := &Feed{cfg: cfg.withDefaults(), table: table, changed: make(chan struct{}, 1), fixed: sendsNewMembers}
	f.mu.status.State = Stopped
	return f
}

// Status says how the feed is.
func (f *Feed) Status() Status {
	f.mu.Lock()
	s := f.mu.status
	f.mu.Unlock()
	s.Timeline, s.Serving, s.Position, s.Applied = f.table.Timeline(), f.table.Serving(), f.table.Position(), f.table.Applied()
	s.Commits = f.commits.Load()
	if asOf := f.table.AsOf(); asOf != 0 {
		s.Lag = time.Duration(max(0, consistency.Now()-asOf))
	}
	return s
}

// Backend is the process on the primary that has the feed's temporary slot, or had it last; 0: there was none.
func (f *Feed) Backend() uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.pid
}

var errPrimaryChanged = errors.New("the primary has changed")

// PrimaryChanged says that another server is the primary now. When it returns nothing is served any more that was cached
// before, and the feed begins anew with what PrimaryURL gives.
func (f *Feed) PrimaryChanged() {
	f.table.Gap()
	f.mu.Lock()
	stop := f.mu.stop
	f.mu.Unlock()
	if stop != nil {
		stop(errPrimaryChanged)
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// Run follows the primary until ctx ends, whatever happens; it returns ctx's cause. When it returns nothing is served any
// more, and the temporary slot is gone.
func (f *Feed) Run(ctx context.Context) error {
	defer f.table.Gap()
	defer f.update(func(s *Status) { s.State, s.Reason, s.Slot = Stopped, "", "" })
	pause := time.Duration(0)
	for {
		if pause > 0 {
			select {
			case <-ctx.Done():
			case <-f.changed:
			case <-time.After(pause/2 + rand.N(pause/2+1)):
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		caughtUp, err := f.attempt(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		f.failed(err)
		switch {
		case errors.Is(err, errPrimaryChanged), errors.Is(err, errStaleStream):
			pause = 0
		case caughtUp:
			pause = retryMin
		default:
			pause = min(max(retryMin, 2*pause), f.cfg.RetryMax)
		}
	}
}

// attempt follows one primary for as long as that goes. caughtUp says whether it got as far as serving.
func (f *Feed) attempt(ctx context.Context) (caughtUp bool, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	f.mu.Lock()
	f.mu.stop = stop
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.mu.stop = nil
		f.mu.Unlock()
	}()

	f.update(func(s *Status) { s.State, s.Slot = Connecting, "" })
	link, err := f.connect(ctx)
	if err == nil {
		f.update(func(s *Status) { s.Connections++ })
		caughtUp, err = f.follow(ctx, stop, link)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return caughtUp, err
}

// follow runs the two halves, the stream and the watch beside it, until one of them fails.
func (f *Feed) follow(ctx context.Context, stop context.CancelCauseFunc, l *link) (caughtUp bool, err error) {
	defer l.close()
	w := newWatch(f, l)
	var halves sync.WaitGroup
	halves.Go(func() { stop(l.stream.run(ctx)) })
	halves.Go(func() { stop(w.run(ctx)) })
	<-ctx.Done()
	_ = l.stream.conn.Close() // which ends its run
	halves.Wait()
	return w.caughtUp, context.Cause(ctx)
}

func (f *Feed) update(change func(*Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.mu.status)
}

// failed notes why there is no feed. It is logged when it is another reason than the last time.
func (f *Feed) failed(err error) {
	reason := explain(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.status.State, f.mu.status.Reason, f.mu.status.Slot = Retrying, reason, ""
	if reason != f.mu.logged {
		f.mu.logged = reason
		f.cfg.Logger.Warn("WAL feed: not following the primary", "reason", reason, "primary", f.mu.status.Primary)
	}
}

// problem notes what isn't as it should be, "" when all is. It is logged when it changes.
func (f *Feed) problem(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.status.Problem == text {
		return
	}
	f.mu.status.Problem = text
	if text != "" {
		f.cfg.Logger.Warn("WAL feed: some tables aren't covered", "reason", text)
		return
	}
	f.cfg.Logger.Info("WAL feed: all tables that can be covered are in the publication")
}

// serving notes that the feed has caught up.
func (f *Feed) serving() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.status.State, f.mu.status.Reason, f.mu.logged = Streaming, "", ""
	f.cfg.Logger.Info("WAL feed: caught up", "primary", f.mu.status.Primary, "slot", f.mu.status.Slot,
		"timeline", f.table.Timeline(), "position", f.table.Position().String())
}
