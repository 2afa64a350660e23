package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A run with real servers, without proxies, which other tests needn't build: it measures, writes its files, and would notice a lost write.
func TestRun(t *testing.T) {
	runtime.LockOSThread() // as main does
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	o, err := parseOptions(strings.Fields("--contenders direct --rounds 1 --time 1s --write-time 1s --scale 1 --clients 4"), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLab(ctx, o, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	}()
	r, err := l.run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range r.Workloads {
		if len(w.Series) != 1 || len(w.Series[0].Runs) != 1 || w.Series[0].Median.TPS <= 0 {
			t.Errorf("%s: %+v", w.Title, w.Series)
		}
	}
	if r.Sums == nil || r.Sums.Transactions == 0 {
		t.Errorf("sums: %+v", r.Sums)
	}

	dir := t.TempDir()
	page := filepath.Join(dir, "PAGE.md")
	if err := os.WriteFile(page, []byte(measuredBegin+"\n"+measuredEnd+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.write(filepath.Join(dir, "out"), page); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "out", jsonFile))
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(b, &back); err != nil || len(back.Workloads) != len(r.Workloads) {
		t.Errorf("what was written as data reads %+v, %v", back, err)
	}
	if text, _ := os.ReadFile(page); !strings.Contains(string(text), "(out/"+throughputFile+")") {
		t.Errorf("the page doesn't show the chart:\n%s", text)
	}
	if chart, _ := os.ReadFile(filepath.Join(dir, "out", throughputFile)); !strings.Contains(string(chart), "<svg") {
		t.Error("there is no chart")
	}

	// The check can fail: a balance that no transaction has put there.
	if err := l.cluster.Primary().Exec(ctx, "UPDATE pgbench_tellers SET tbalance = tbalance + 1 WHERE tid = 1"); err != nil {
		t.Fatal(err)
	}
	if err := l.checkWrites(ctx, &Result{}); err == nil {
		t.Error("a teller has one more than it should, and nobody notices")
	}
	// So can a run.
	if err := l.cluster.Primary().Exec(ctx, "DROP TABLE pgbench_accounts"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.turn(ctx, l.contender("direct"), l.scripts()[0], nil); err == nil || !strings.Contains(err.Error(), "pgbench_accounts") {
		t.Errorf("without the table the run ends with %v", err)
	}
}
