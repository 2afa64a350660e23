package main

import (
	"bytes"
	"os"
	"strconv"
	"testing"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/shapes"
)

// TestAnswersThroughTheCacheAreThoseOfPostgres is the short form of `freshet bench shapes`. FRESHET_SHAPES=N has it ask N statements, FRESHET_SEED=N others.
func TestAnswersThroughTheCacheAreThoseOfPostgres(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	// Without replicas, each read at the level strong asks one server.
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Replica = nil })
	covered(t, c, in, db)
	cfg := shapes.Config{
		Direct: c.Primary().URL(db), AppDirect: c.Primary().UserURL(cluster.App, c.AppPassword(), db),
		Through:    "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/" + db + "?sslmode=disable",
		AppThrough: "postgres://app:" + c.AppPassword() + "@" + in.Addrs()[0] + "/" + db + "?sslmode=disable",
		Seed:       1, Shapes: 60, PerWorld: 60, Writes: 6,
	}
	if n, err := strconv.Atoi(os.Getenv("FRESHET_SHAPES")); err == nil {
		cfg.Shapes, cfg.PerWorld, cfg.Writes, cfg.Out = n, min(n, 100), 10, os.Stderr
		if w, err := strconv.Atoi(os.Getenv("FRESHET_WRITES")); err == nil {
			cfg.Writes = w
		}
	}
	if n, err := strconv.ParseUint(os.Getenv("FRESHET_SEED"), 10, 64); err == nil {
		cfg.Seed = n
	}
	cfg.Plans = shapePlans(cfg.Direct)
	report, err := shapes.Run(t.Context(), cfg)
	if report != nil {
		var out bytes.Buffer
		report.Print(&out)
		t.Log("\n" + out.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Violations) > 0 {
		t.Error("an answer wasn't that of Postgres")
	}
	if report.Share() < 90 {
		t.Errorf("of what is deterministic %.1f %% is cached, not 90 %%", report.Share())
	}
	if report.SampledCached == 0 {
		t.Error("too few answers came from the cache after a write, so that too little was tried")
	}
}
