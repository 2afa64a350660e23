package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// shared is the cluster of tests that leave it as they found it.
var shared = cluster.Shared{Options: cluster.Options{Replicas: 2}}

// testLog passes log lines on to the test that runs.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(p[:max(0, len(p)-1)]))
	return len(p), nil
}

// startTestServer runs Freshet in front of a cluster, with the flags that change sets, until the test ends.
func startTestServer(t testing.TB, c *cluster.Cluster, change func(*ServeConfig)) *instance {
	t.Helper()
	cfg := DefaultServeConfig()
	cfg.Listen = []string{"127.0.0.1:0"}
	cfg.HTTP = ""
	cfg.Primary = c.Primary().URL(cluster.App)
	for _, r := range c.Replicas() {
		cfg.Replica = append(cfg.Replica, r.URL(cluster.App))
	}
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	in, err := startServer(context.Background(), cfg, slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := in.Shutdown(ctx); err != nil && !t.Failed() {
			t.Errorf("shutdown: %v", err)
		}
	})
	return in
}

// connect connects the superuser through Freshet.
func (i *instance) connect(t testing.TB, c *cluster.Cluster, database, params string) *pgx.Conn {
	t.Helper()
	url := "postgres://postgres:" + c.Password() + "@" + i.Addrs()[0] + "/" + database + "?sslmode=disable" + params
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatalf("connecting through Freshet: %v", err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
