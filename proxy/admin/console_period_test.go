package admin

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// worked is an Operator with one database, for which so many queries of a millisecond have been run.
type worked struct {
	Operator
	queries atomic.Uint64
	gone    atomic.Bool
}

func (w *worked) Databases(context.Context) ([]DatabaseInfo, error) {
	if w.gone.Load() {
		return nil, nil
	}
	n := w.queries.Load()
	return []DatabaseInfo{{Name: "app", Queries: n, Transactions: n, Received: 10 * n, QueryTime: time.Duration(n) * time.Millisecond}}, nil
}

// TestStatsAveragesAreOfTheLastPeriod: what was done in the last whole minute counts, and nothing before or after it.
func TestStatsAveragesAreOfTheLastPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worked{}
		c := NewConsole(ConsoleConfig{Operator: w})
		c.SetUsers([]string{"admin"}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.RunStats(ctx)
		show := func(what string) [][]any {
			t.Helper()
			list, err := c.Parse("SHOW " + what)
			if err != nil {
				t.Fatal(err)
			}
			r, err := c.Run(ctx, list[0], Client{User: "admin"})
			if err != nil {
				t.Fatal(err)
			}
			return r.Rows
		}
		queries := func(perSecond, total int64) {
			t.Helper()
			stats, averages := show("STATS")[0], show("STATS_AVERAGES")[0]
			if stats[2] != total || stats[9] != perSecond || averages[2] != perSecond || averages[3] != 10*perSecond {
				t.Errorf("SHOW STATS: %v, averages: %v; want %d queries, %d a second", stats, averages, total, perSecond)
			}
			if took := averages[6]; perSecond > 0 && took != int64(1000) {
				t.Errorf("a query takes %v µs", took)
			}
			for _, r := range show("TOTALS") {
				if want := map[any]int64{"avg_query_count": perSecond, "total_query_count": total}; want[r[0]] != 0 && r[1] != want[r[0]] {
					t.Errorf("SHOW TOTALS: %v, want %v", r, want)
				}
			}
		}
		w.queries.Store(300)
		time.Sleep(30 * time.Second)
		queries(10, 300) // since the start
		w.queries.Store(1200)
		time.Sleep(30*time.Second + time.Nanosecond)
		w.queries.Store(4800)
		queries(20, 4800) // the first period
		time.Sleep(time.Minute)
		queries(60, 4800) // the second: 3,600 of them
		time.Sleep(time.Minute)
		queries(0, 4800) // the third
		w.gone.Store(true)
		time.Sleep(time.Minute)
		w.gone.Store(false)
		w.queries.Store(600)
		queries(0, 600)
		time.Sleep(time.Minute)
		queries(10, 600) // it was forgotten, and has begun anew
		w.queries.Store(60)
		time.Sleep(time.Minute)
		queries(1, 60) // the same within a period
		cancel()
		synctest.Wait()
	})
}
