package feed

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLag measures how long after a commit's acknowledgement the feed has applied it.
func BenchmarkLag(b *testing.B) {
	f := newFixture(b, tables("a"))
	cell := f.cell("a")
	var lags []time.Duration
	for b.Loop() {
		before := cell.Seq()
		if _, err := f.conn.Exec(b.Context(), "UPDATE a SET v = v + 1 WHERE id = 1"); err != nil {
			b.Fatal(err)
		}
		acknowledged := time.Now()
		for cell.Seq() == before { // to sleep would be to measure that
			runtime.Gosched()
		}
		lags = append(lags, time.Since(acknowledged))
	}
	slices.Sort(lags)
	b.ReportMetric(float64(lags[len(lags)/2].Nanoseconds())/1e3, "µs-median")
	b.ReportMetric(float64(lags[len(lags)*99/100].Nanoseconds())/1e3, "µs-p99")
}

// BenchmarkCommits has pgbench make 5,000 commits a second, and measures the CPU time that the feed takes for
// each of them.
func BenchmarkCommits(b *testing.B) {
	f := newFixture(b, tables("many"))
	pgbench, err := f.c.Program("pgbench")
	f.must(err)
	script := filepath.Join(b.TempDir(), "script")
	f.must(os.WriteFile(script, []byte("\\set id random(1, 1000)\nINSERT INTO many VALUES (:id, 0) ON CONFLICT (id) DO UPDATE SET v = many.v + 1;\n"), 0o644))
	processed := regexp.MustCompile(`transactions actually processed: (\d+)`)
	for b.Loop() {
		before, cpu, began := f.feed.Status().Commits, cpuTime(b), time.Now()
		out, err := exec.CommandContext(b.Context(), pgbench, "-n", "-T", "4", "-R", "5000", "-c", "8", "-M", "prepared", "-f", script, f.c.Primary().URL(f.db)).CombinedOutput()
		found := processed.FindSubmatch(out)
		if err != nil || found == nil {
			b.Fatalf("%v: %s", err, out)
		}
		took := time.Since(began)
		n, err := strconv.ParseUint(string(found[1]), 10, 64)
		f.must(err)
		f.until("all are applied", func() bool { return f.feed.Status().Commits-before >= n })
		b.ReportMetric(float64(n)/took.Seconds(), "commits/s")
		b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(n)/1e3, "µs-cpu/commit")
		b.ReportMetric(float64(time.Since(began)-took)/1e6, "ms-behind")
	}
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
