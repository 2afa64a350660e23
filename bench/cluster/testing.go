package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TB is the part of testing.TB that is needed. (Programs that aren't tests use
// this package, too, and have no need of the package testing.)
type TB interface {
	Helper()
	Name() string
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// ForTest starts a cluster for one test, and stops it when the test ends. A
// cluster that can't be started fails the test: it is never skipped. If the
// test fails, the end of each server's log is shown.
func ForTest(t TB, o Options) *Cluster {
	t.Helper()
	o.Cache = true
	c, err := Start(context.Background(), o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.showLogs(t)
		}
		if err := c.Stop(); err != nil {
			t.Fatalf("stop cluster: %v", err)
		}
	})
	return c
}

func (c *Cluster) showLogs(t TB) {
	for _, n := range c.Nodes() {
		t.Logf("log of %s:\n%s", n.Name(), n.LogTail(4096))
	}
	if c.redis != nil {
		t.Logf("log of redis:\n%s", c.redis.LogTail(1024))
	}
}

// Shared is one cluster for all tests of a package: set Options, and have
// TestMain run Main. It is started when a test first asks for it.
// A test that stops, promotes or reconfigures servers has its own cluster
// (ForTest), or puts everything back.
type Shared struct {
	Options Options

	mu struct {
		sync.Mutex
		c   *Cluster
		err error
	}
}

// Get is the cluster; it fails the test if it can't be started.
func (s *Shared) Get(t TB) *Cluster {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.c == nil && s.mu.err == nil {
		o := s.Options
		o.Cache = true
		s.mu.c, s.mu.err = Start(context.Background(), o)
	}
	if s.mu.err != nil {
		t.Fatalf("%v", s.mu.err)
	}
	s.mu.c.awaitPrimary(t)
	return s.mu.c
}

// awaitPrimary waits until the primary answers, so that a test which took it
// down fails alone, and not with all that come after it.
func (c *Cluster) awaitPrimary(t TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var last error
	if err := poll(ctx, func() (bool, error) {
		last = c.Primary().Exec(ctx, "SELECT 1")
		return last == nil, nil
	}); err != nil {
		t.Fatalf("the shared cluster's primary: %v: %v", err, last)
	}
}

// Stop stops the cluster if it was started.
func (s *Shared) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.c == nil {
		return nil
	}
	return s.mu.c.Stop()
}

// Main is m, which is a *testing.M, with Stop after it. It can be given to
// goleak.VerifyTestMain, or be run: os.Exit(shared.Main(m).Run()).
func (s *Shared) Main(m interface{ Run() int }) interface{ Run() int } { return sharedMain{s, m} }

type sharedMain struct {
	s *Shared
	m interface{ Run() int }
}

// Run runs the tests, then stops the cluster.
func (r sharedMain) Run() int {
	code := r.m.Run()
	if err := r.s.Stop(); err != nil {
		fmt.Println("stop cluster:", err)
		code = max(code, 1)
	}
	return code
}

// NewDatabase creates an empty database, owned by App, for one test and drops
// it afterwards, with whoever is still connected. It returns its name.
func (c *Cluster) NewDatabase(t TB, options ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name := fmt.Sprintf("test%d", c.databases.Add(1))
	// STRATEGY wal_log (the default since 15) makes no checkpoint.
	if err := c.Primary().ExecIn(ctx, "postgres", "CREATE DATABASE "+name+" OWNER "+App+" "+strings.Join(options, " ")); err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		drop := func() error { return c.Primary().ExecIn(ctx, "postgres", "DROP DATABASE "+name+" WITH (FORCE)") }
		err := drop()
		// FORCE doesn't reach who follows the WAL.
		for tries := 0; tries < 20 && inUse(err); tries++ {
			_ = c.Primary().ExecIn(ctx, "postgres", "SELECT pg_terminate_backend(active_pid, 1000) FROM pg_replication_slots WHERE database = '"+name+"' AND active")
			err = drop()
		}
		if err != nil {
			t.Logf("%v", err)
		}
	})
	return name
}

func inUse(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55006"
}
