package catalog

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// WatcherConfig says what a Watcher watches.
type WatcherConfig struct {
	// Connect opens a connection to the database on the current primary. The watcher closes it.
	Connect func(context.Context) (*pgx.Conn, error)
	// Interval between two looks at the digest; 0: one second.
	Interval time.Duration
	// Timeout of connecting, of one look, and of one load; 0: ten seconds.
	Timeout time.Duration
	// OnLook, if not nil, is called on the watcher's goroutine after each look that found out what the catalog is. Whoever
	// stamps cached answers on a change does it here: by then nothing new is planned by the old snapshot, except by a
	// planner that had already begun. If it returns false, the look came too early, and there is another one soon.
	OnLook func(Look) bool
	// BeforeLook, if not nil, is called on the same goroutine before a look reads anything.
	BeforeLook func()
	// Logger; nil: slog.Default().
	Logger *slog.Logger
}

// Look is what a look at the catalog has found.
type Look struct {
	Snapshot *Snapshot // the current one
	Changed  bool      // it is another one than before the look
	Parts    []string  // in what it differs, see Changed; nil for the first one
	// Visible is the server's pg_current_snapshot() that the look has seen the catalogs with.
	Visible string
}

// How soon there is another look after one that came too early: at first, and at last.
const (
	lookAgain       = 5 * time.Millisecond
	lookAgainSlowly = 200 * time.Millisecond
)

// Watcher keeps a current snapshot of one database. Its methods are safe for concurrent use; there is one Run at a time.
type Watcher struct {
	cfg       WatcherConfig
	poke      chan struct{}
	current   atomic.Pointer[Snapshot]
	checkedAt atomic.Int64
	problem   atomic.Pointer[string]
	hurried   atomic.Bool
}

// NewWatcher returns a watcher that has no snapshot yet. Run makes it watch.
func NewWatcher(cfg WatcherConfig) *Watcher {
	if cfg.Interval <= 0 {
		cfg.Interval = time.Second
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Watcher{cfg: cfg, poke: make(chan struct{}, 1)}
}

// Current returns the current snapshot, nil as long as there is none. It takes no lock.
func (w *Watcher) Current() *Snapshot { return w.current.Load() }

// CheckedAt returns when (unix nanoseconds) the last look was begun that found the current snapshot to be true; 0:
// never.
func (w *Watcher) CheckedAt() int64 { return w.checkedAt.Load() }

// Problem says why the last look failed; empty when it didn't.
func (w *Watcher) Problem() string {
	if p := w.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Poke makes the watcher look now instead of at the end of the interval. It never blocks.
func (w *Watcher) Poke() {
	select {
	case w.poke <- struct{}{}:
	default:
	}
}

// Hurry is Poke for those who come often: it makes the watcher look soon, and doesn't add looks to those that are due in a moment.
func (w *Watcher) Hurry() {
	if time.Now().UnixNano()-w.checkedAt.Load() > int64(hurryPause) {
		w.Poke()
		return
	}
	if w.hurried.CompareAndSwap(false, true) {
		time.AfterFunc(hurryPause, func() {
			w.hurried.Store(false)
			w.Poke()
		})
	}
}

// hurryPause is between two looks that Hurry has asked for: a look costs the server some milliseconds.
const hurryPause = 100 * time.Millisecond

// Forget forgets the snapshot: the database isn't there any more, or is another one.
func (w *Watcher) Forget() {
	w.checkedAt.Store(0)
	w.current.Store(nil)
	w.Poke()
}

// Run watches until ctx ends, over all errors, and returns the context's error. The current snapshot stays when the
// database can't be reached.
func (w *Watcher) Run(ctx context.Context) error {
	var conn *pgx.Conn
	hangUp := func() {
		if conn != nil {
			// ctx may have ended; saying goodbye gets a moment of its own.
			bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = conn.Close(bye)
			cancel()
			conn = nil
		}
	}
	defer hangUp()
	again := lookAgain
	for ctx.Err() == nil {
		began := time.Now()
		settled, err := w.look(ctx, &conn)
		if err != nil {
			hangUp()
			if ctx.Err() != nil {
				break
			}
			if noDatabase(err) {
				w.checkedAt.Store(0)
				w.current.Store(nil)
			}
		}
		w.note(err)
		if err == nil && !settled {
			w.pause(ctx, again, nil)
			again = min(2*again, lookAgainSlowly)
			continue
		}
		again = lookAgain
		// While one change follows the other, looks take half of the time at most.
		w.pause(ctx, min(time.Since(began), w.cfg.Interval), nil)
		// A little jitter keeps several Freshets from looking in the same moment.
		w.pause(ctx, w.cfg.Interval+time.Duration(rand.Int64N(int64(w.cfg.Interval)/10+1)), w.poke)
	}
	return ctx.Err()
}

// pause waits for a time, for ctx to end, or to be poked.
func (w *Watcher) pause(ctx context.Context, d time.Duration, poke <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-poke:
	case <-timer.C:
	}
}

// look compares digests and, where they differ, loads, publishes and tells. settled is false if it came too early.
func (w *Watcher) look(ctx context.Context, conn **pgx.Conn) (settled bool, err error) {
	began := time.Now().UnixNano()
	if *conn == nil {
		limited, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
		c, err := w.cfg.Connect(limited)
		cancel()
		if err != nil {
			return false, err
		}
		*conn = c
	}
	if w.cfg.BeforeLook != nil {
		w.cfg.BeforeLook()
	}
	limited, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	old := w.current.Load()
	look := Look{Snapshot: old}
	if old != nil {
		digest, visible, err := Digest(limited, *conn, old.ServerVersion)
		if err != nil {
			return false, err
		}
		look.Changed, look.Visible = digest != old.Digest, visible
	}
	if old == nil || look.Changed {
		s, visible, err := load(limited, *conn, old)
		if err != nil {
			return false, err
		}
		w.current.Store(s)
		look = Look{Snapshot: s, Changed: true, Visible: visible}
		if old != nil {
			look.Parts = Changed(old.Digest, s.Digest)
			w.cfg.Logger.Info("the catalog has changed", "parts", look.Parts)
		}
	}
	w.checkedAt.Store(began)
	if w.cfg.OnLook == nil {
		return true, nil
	}
	return w.cfg.OnLook(look), nil
}

// noDatabase says whether an error is that there is no such database.
func noDatabase(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "3D000"
}

// note remembers and logs a problem when it begins, changes and ends, not once a second.
func (w *Watcher) note(err error) {
	before, now := w.Problem(), ""
	if err != nil {
		now = err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			now = "the catalog query took too long: " + now
		}
	}
	if now == before {
		return
	}
	w.problem.Store(&now)
	if now != "" {
		w.cfg.Logger.Warn("the catalog can't be watched", "error", now)
		return
	}
	w.cfg.Logger.Info("the catalog is watched again")
}
