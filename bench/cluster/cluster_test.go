package cluster_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
)

// shared is for the tests that leave a cluster as it was.
var shared = cluster.Shared{Options: cluster.Options{Replicas: 2, Redis: true}}

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(victimDir); ok {
		victim(dir) // never returns
	}
	goleak.VerifyTestMain(shared.Main(m))
}

func withTimeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantValue fails the test when a query on a node doesn't give want.
func wantValue(t *testing.T, n *cluster.Node, sql, want string) {
	t.Helper()
	got, err := n.Value(withTimeout(t), sql)
	must(t, err)
	if got != want {
		t.Errorf("%s: %s gives %q, want %q", n.Name(), sql, got, want)
	}
}

// eventually polls, for what happens after a call has returned.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) { // polling
		if time.Now().After(end) {
			t.Fatal("still not: " + what)
		}
	}
}

func TestWritesReachReplicas(t *testing.T) {
	ctx := withTimeout(t)
	c := shared.Get(t)
	must(t, c.Primary().Exec(ctx, "CREATE TABLE w (i int PRIMARY KEY); INSERT INTO w VALUES (1)"))
	t.Cleanup(func() { must(t, c.Primary().Exec(context.Background(), "DROP TABLE w")) })
	must(t, c.WaitCaughtUp(ctx))
	if len(c.Replicas()) != 2 {
		t.Fatalf("%d replicas", len(c.Replicas()))
	}
	for _, r := range c.Replicas() {
		wantValue(t, r, "SELECT i FROM w", "1")
		wantValue(t, r, "SELECT pg_is_in_recovery()", "t")
		if r.Upstream() != c.Primary() {
			t.Errorf("%s follows %v", r.Name(), r.Upstream())
		}
	}
}

func TestEverythingDemandsAPassword(t *testing.T) {
	ctx := withTimeout(t)
	p := shared.Get(t).Primary()
	for _, url := range []string{
		p.UserURL(cluster.Superuser, "guess", "postgres"),
		p.UserURL(cluster.App, "guess", cluster.App),
		p.UserURL(cluster.Superuser, "guess", "postgres") + "&replication=database",
	} {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			_ = conn.Close(ctx)
			t.Errorf("%s: let in", url)
		} else if !strings.Contains(err.Error(), "28P01") {
			t.Error(err)
		}
	}
	out, err := redisSays(shared.Get(t).Redis(), "")
	must(t, err)
	if !strings.HasPrefix(out, "-NOAUTH") {
		t.Errorf("redis without password says %q", out)
	}
}

func TestAppIsAnOrdinaryUserWithItsOwnDatabase(t *testing.T) {
	ctx := withTimeout(t)
	c := shared.Get(t)
	conn, err := pgx.Connect(ctx, c.Primary().AppURL())
	must(t, err)
	defer conn.Close(ctx)
	var super string
	must(t, conn.QueryRow(ctx, "SELECT current_setting('is_superuser')").Scan(&super))
	if super != "off" {
		t.Error("app is a superuser")
	}
	_, err = conn.Exec(ctx, "CREATE TABLE of_app (i int); DROP TABLE of_app")
	must(t, err)
}

func TestUnixSocket(t *testing.T) {
	ctx := withTimeout(t)
	c := shared.Get(t)
	p := c.Primary()
	if p.SocketDir() == "" {
		t.Fatal("no socket")
	}
	config, err := pgx.ParseConfig(p.URL(cluster.App))
	must(t, err)
	config.Host = p.SocketDir()
	conn, err := pgx.ConnectConfig(ctx, config)
	must(t, err)
	must(t, conn.Close(ctx))
}

func TestLogicalReplicationIsPossible(t *testing.T) {
	ctx := withTimeout(t)
	p := shared.Get(t).Primary()
	conn, err := pgx.Connect(ctx, p.ReplicationURL(cluster.App))
	must(t, err)
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, "CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL pgoutput").ReadAll()
	must(t, err)
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	ctx := withTimeout(t)
	c := shared.Get(t)
	var name string
	t.Run("inner", func(t *testing.T) {
		name = c.NewDatabase(t)
		if other := c.NewDatabase(t); other == name {
			t.Error("twice the same")
		}
		must(t, c.Primary().ExecIn(ctx, name, "CREATE TABLE t (i int)"))
		// It goes although somebody is connected.
		conn, err := c.Primary().Connect(ctx, name)
		must(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) }) // it is dead by then
	})
	wantValue(t, c.Primary(), "SELECT count(*) FROM pg_database WHERE datname = '"+name+"'", "0")
}

func TestOptions(t *testing.T) {
	ctx := withTimeout(t)
	dir := filepath.Join(os.TempDir(), "freshet-test-of-options")
	var log bytes.Buffer
	c := cluster.ForTest(t, cluster.Options{
		Dir: dir, TLS: true, Password: `it's \:mine`, Log: &log, Replicas: 1,
		Settings: map[string]string{"work_mem": "5MB", "wal_level": "replica", "search_path": `"$user", 'x'`, "application_name": `a\b'c`},
		HBA:      []string{"host all trusted 127.0.0.1/32 trust"},
	})
	p := c.Primary()
	wantValue(t, p, "SHOW work_mem", "5MB")
	wantValue(t, p, "SHOW wal_level", "replica")
	wantValue(t, p, "SHOW application_name", `a\b'c`)
	wantValue(t, p, "SHOW ssl", "on")
	wantValue(t, p, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", "t") // verified, see UserURL
	if c.Dir() != dir || c.Password() != `it's \:mine` || len(c.Replicas()) != 1 || c.Redis() != nil {
		t.Errorf("dir %s, password %q, %d replicas, redis %v", c.Dir(), c.Password(), len(c.Replicas()), c.Redis())
	}
	must(t, c.CreateUser(ctx, "trusted", "x", "CONNECTION LIMIT 3"))
	conn, err := pgx.Connect(ctx, p.UserURL("trusted", "wrong", cluster.App))
	must(t, err)
	must(t, conn.Close(ctx))

	must(t, p.Set(ctx, "work_mem", "6MB"))
	eventually(t, "work_mem is reloaded", func() bool {
		v, err := p.Value(ctx, "SHOW work_mem")
		return err == nil && v == "6MB"
	})
	must(t, c.Stop())
	must(t, c.Stop())
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("folder is left: %v", err)
	}
	if !strings.Contains(log.String(), "cluster: up after") {
		t.Errorf("logged %q", log.String())
	}
}

func TestFailedStartSaysWhyAndCleansUp(t *testing.T) {
	ctx := withTimeout(t)
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "precious"), nil, 0o600))
	tests := []struct {
		name string
		o    cluster.Options
		want string
	}{
		{"setting that Postgres refuses", cluster.Options{Settings: map[string]string{"no_such_setting": "1"}}, `unrecognized configuration parameter "no_such_setting"`},
		{"folder with something in it", cluster.Options{Dir: full}, "not empty"},
		{"no Postgres", cluster.Options{Bin: "/nowhere"}, "no Postgres server in /nowhere"},
		{"no Redis", cluster.Options{Redis: true, RedisServer: "/nowhere/redis"}, "/nowhere/redis"},
		{"replica that doesn't exist", cluster.Options{Synchronous: []string{"replica1"}}, "no replica replica1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			dir := filepath.Join(os.TempDir(), "freshet-test-of-failure")
			if tt.o.Dir == "" {
				tt.o.Dir = dir
			}
			tt.o.Cache = true
			c, err := cluster.Start(ctx, tt.o)
			if err == nil {
				_ = c.Stop()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("says %v, but not %s", err, tt.want)
			}
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("folder is left: %v", err)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(full, "precious")); err != nil {
		t.Errorf("removed what it didn't make: %v", err)
	}
}

func TestKeepLeavesACleanlyStoppedCluster(t *testing.T) {
	dir, err := os.MkdirTemp("", "freshet-test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	c, err := cluster.Start(withTimeout(t), cluster.Options{Dir: dir, Keep: true, Cache: true})
	must(t, err)
	must(t, c.Stop())
	if tail := c.Primary().LogTail(1000); !strings.Contains(tail, "database system is shut down") {
		t.Errorf("log ends with %s", tail)
	}
	if _, err := os.Stat(filepath.Join(dir, "primary", "postmaster.pid")); !os.IsNotExist(err) {
		t.Errorf("pid file is left: %v", err)
	}
}
