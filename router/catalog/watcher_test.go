package catalog_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/router/catalog"
)

// watch runs a watcher until the test ends.
func watch(t *testing.T, cfg catalog.WatcherConfig) *catalog.Watcher {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	w := catalog.NewWatcher(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return w
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) { // polls another process
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestWatcherPublishesBeforeItTells(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	var w *catalog.Watcher
	told := make(chan *catalog.Snapshot, 16)
	ready := make(chan struct{})
	w = watch(t, catalog.WatcherConfig{
		Connect:  func(ctx context.Context) (*pgx.Conn, error) { return c.Primary().Connect(ctx, db) },
		Interval: 5 * time.Millisecond,
		OnLook: func(look catalog.Look) bool {
			<-ready
			if w.Current() != look.Snapshot {
				t.Error("told before it was current")
			}
			if look.Changed {
				told <- look.Snapshot
			}
			return true
		},
	})
	close(ready)
	first := <-told
	exec(t, conn, "CREATE TABLE t (id int)")
	second := <-told
	if second.Generation <= first.Generation || second.RelationByName("public", "t") == nil || first.RelationByName("public", "t") != nil {
		t.Errorf("%d, then %d", first.Generation, second.Generation)
	}
	checked := w.CheckedAt()
	eventually(t, "a look that finds nothing new", func() bool { return w.CheckedAt() > checked })
	if w.Current() != second || w.Problem() != "" {
		t.Errorf("changed without a change; problem %q", w.Problem())
	}
}

func TestWatcherGoesOnOverErrors(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	var refuse atomic.Bool
	refuse.Store(true)
	w := watch(t, catalog.WatcherConfig{
		Connect: func(ctx context.Context) (*pgx.Conn, error) {
			if refuse.Load() {
				return nil, errors.New("nobody is at home")
			}
			return c.Primary().Connect(ctx, db)
		},
		Interval: 5 * time.Millisecond,
	})
	eventually(t, "a problem", func() bool { return w.Problem() == "nobody is at home" })
	if w.Current() != nil {
		t.Error("a snapshot of nothing")
	}
	refuse.Store(false)
	eventually(t, "a snapshot", func() bool { return w.Current() != nil && w.Problem() == "" })
	before := w.Current()
	exec(t, conn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
	exec(t, conn, "CREATE TABLE t (id int)")
	eventually(t, "the next snapshot", func() bool { s := w.Current(); return s != before && s.RelationByName("public", "t") != nil })
}

// A look can come before what it is to find is visible.
func TestWatcherLooksAgainUntilItIsNotTooEarly(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	var before, looks atomic.Int64
	w := watch(t, catalog.WatcherConfig{
		Connect:    func(ctx context.Context) (*pgx.Conn, error) { return c.Primary().Connect(ctx, db) },
		Interval:   time.Hour,
		BeforeLook: func() { before.Add(1) },
		OnLook: func(look catalog.Look) bool {
			if n := looks.Add(1); n != before.Load() || look.Visible == "" || look.Changed != (n == 1 || look.Snapshot.RelationByName("public", "t") != nil && n > 5) {
				t.Errorf("look %d of %d: %+v", n, before.Load(), look)
			}
			if looks.Load() == 5 {
				exec(t, conn, "CREATE TABLE t (id int)")
			}
			return look.Snapshot.RelationByName("public", "t") != nil
		},
	})
	eventually(t, "the table", func() bool { return w.Current() != nil && w.Current().RelationByName("public", "t") != nil })
	if looks.Load() != 6 {
		t.Errorf("%d looks", looks.Load())
	}
}

// What is taken over from the snapshot before is what would be read.
func TestALaterSnapshotSaysWhatAFreshOneWould(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	w := watch(t, catalog.WatcherConfig{
		Connect:  func(ctx context.Context) (*pgx.Conn, error) { return c.Primary().Connect(ctx, db) },
		Interval: 5 * time.Millisecond,
	})
	eventually(t, "a snapshot", func() bool { return w.Current() != nil })
	for _, sql := range []string{
		"CREATE TABLE t (id int)", "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT count(*)::int FROM t; END", "ALTER TABLE t RENAME TO u",
		"CREATE AGGREGATE a(int) (sfunc = int4pl, stype = int)", "ALTER FUNCTION pg_catalog.lower(text) VOLATILE", "ALTER SCHEMA public RENAME TO common", "DROP AGGREGATE common.a(int)",
	} {
		before := w.Current()
		exec(t, conn, sql)
		eventually(t, sql, func() bool { return w.Current() != before })
		now, fresh := w.Current(), load(t, conn)
		count := func(s *catalog.Snapshot) (n int) {
			for range s.Functions {
				n++
			}
			return n
		}
		if count(now) != count(fresh) {
			t.Errorf("%s: %d functions, for a fresh one %d", sql, count(now), count(fresh))
		}
		for f := range fresh.Functions {
			if !reflect.DeepEqual(now.Function(f.OID), f) || !slices.ContainsFunc(now.FunctionsNamed(f.Name), func(g *catalog.Function) bool { return g.OID == f.OID }) {
				t.Errorf("%s: %+v, for a fresh one %+v", sql, now.Function(f.OID), f)
			}
		}
	}
}

func TestPokeLooksAtOnce(t *testing.T) {
	c := pg.Get(t)
	db := c.NewDatabase(t)
	conn := connect(t, db)
	w := watch(t, catalog.WatcherConfig{
		Connect:  func(ctx context.Context) (*pgx.Conn, error) { return c.Primary().Connect(ctx, db) },
		Interval: time.Hour,
	})
	eventually(t, "a snapshot", func() bool { return w.Current() != nil })
	exec(t, conn, "CREATE TABLE t (id int)")
	w.Poke()
	w.Poke() // never blocks
	eventually(t, "the change", func() bool { return w.Current().RelationByName("public", "t") != nil })
}

func TestAServerInRecoveryIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a replica")
	}
	c := pg.Get(t)
	r, err := c.AddReplica(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := r.Connect(context.Background(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := catalog.Load(context.Background(), conn); !errors.Is(err, catalog.ErrNotPrimary) {
		t.Errorf("%v", err)
	}
}
