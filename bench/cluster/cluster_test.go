package cluster_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func context1m(t *testing.T) context.Context {
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

func valueOf(t *testing.T, n *cluster.Node, sql string) string {
	t.Helper()
	v, err := n.Value(context1m(t), sql)
	must(t, err)
	return v
}

func TestWritesReachReplicas(t *testing.T) {
	ctx := context1m(t)
	began := time.Now()
	c := cluster.ForTest(t, cluster.Options{Replicas: 2, Redis: true, Log: t.Output()})
	t.Log(time.Since(began))
	must(t, c.Primary().Exec(ctx, "CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1)"))
	must(t, c.WaitCaughtUp(ctx))
	for _, r := range c.Replicas() {
		if v := valueOf(t, r, "SELECT i FROM t"); v != "1" {
			t.Errorf("%s has %q", r.Name(), v)
		}
	}
}
