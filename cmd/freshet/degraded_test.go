package main

import (
	"context"
	"strings"
	"testing"

	"github.com/freshet/freshet/bench/cluster"
)

// TestWithoutLogicalWALThereIsNoCacheUntilThereIs: reads and writes go on, it is said where one looks, and it mends itself.
func TestWithoutLogicalWALThereIsNoCacheUntilThereIs(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1, Settings: map[string]string{"wal_level": "replica"}})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k (id int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 1)"); err != nil {
		t.Fatal(err)
	}
	runSetup(t, exitOK, "--primary", c.Primary().URL(cluster.App))
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.HTTP = "127.0.0.1:0" })
	conn := in.connect(t, c, cluster.App, simpleProtocol)
	ready := func() string {
		t.Helper()
		status, body := fetch(t, "http://"+in.HTTPAddr()+"/readyz")
		if status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		return body
	}
	eventually(t, "/readyz says it", func() bool { return strings.Contains(ready(), "ALTER SYSTEM SET wal_level") })
	if body := ready(); !strings.Contains(body, `"degraded"`) {
		t.Error(body)
	}
	if out, _ := runCommand(t, exitFailure, "check", "--primary", c.Primary().URL(cluster.App)); !line(out, `degraded +wal_level +replica: there is no cache`) || !line(out, ` +ALTER SYSTEM SET wal_level = 'logical'`) {
		t.Errorf("freshet check doesn't say it:\n%s", out)
	}
	for range 5 {
		if got := one(t, conn, "SELECT v FROM k WHERE id = 1"); got != "1" || source(t, conn) == "l1" {
			t.Errorf("%s from %s", got, source(t, conn))
		}
	}
	if got := one(t, conn, "SHOW freshet.reason"); !strings.Contains(got, "feed") {
		t.Error(got)
	}
	do(t, conn, "UPDATE k SET v = 2")
	if err := c.Primary().Set(ctx, "wal_level", "logical"); err != nil {
		t.Fatal(err)
	}
	if err := c.Primary().Restart(ctx, cluster.Fast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cache is used", func() bool {
		again := in.connect(t, c, cluster.App, simpleProtocol)
		defer again.Close(ctx)
		one(t, again, "SELECT v FROM k WHERE id = 1") // which fills it
		return one(t, again, "SELECT v FROM k WHERE id = 1") == "2" && source(t, again) == "l1"
	})
	eventually(t, "/readyz is well", func() bool { return !strings.Contains(ready(), "wal_level") })
}
