package admin

import (
	"context"
	"sync"
	"time"
)

// The averages of SHOW STATS are of the last whole period, as PgBouncer's are (its stats_period): what was done an hour ago says nothing
// about now. Before the first one is over, they are since the start.

// statsPeriod is how long a period is.
const statsPeriod = time.Minute

// work is what had been done at an instant: DatabaseInfo.totals by database.
type work struct {
	at     time.Time
	totals map[string][]int64
}

// period is the last one that is over. Safe for concurrent use.
type period struct {
	mu struct {
		sync.Mutex
		began, ended work
	}
}

// RunStats notes at the end of each period what has been done in it, until ctx ends.
func (c *Console) RunStats(ctx context.Context) {
	tick := time.NewTicker(statsPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if list, err := c.cfg.Operator.Databases(ctx); err == nil {
				c.period.end(workOf(list))
			}
		}
	}
}

func workOf(list []DatabaseInfo) work {
	w := work{time.Now(), map[string][]int64{}}
	for i := range list {
		w.totals[list[i].Name] = list[i].totals()
	}
	return w
}

func (p *period) end(w work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.began, p.mu.ended = p.mu.ended, w
}

// over is the last period that is over. now is what has been done until now, started is when nothing had been.
func (p *period) over(now work, started time.Time) (began, ended work) {
	p.mu.Lock()
	defer p.mu.Unlock()
	began, ended = p.mu.began, p.mu.ended
	if ended.at.IsZero() {
		ended = now
	}
	if began.at.IsZero() {
		began.at = started
	}
	return began, ended
}

// averages are the columns of SHOW STATS_AVERAGES behind the database, for some databases together: what was done in a second, and how
// long a transaction or query took.
func averages(began, ended work, databases ...string) []int64 {
	sum := make([]int64, len(new(DatabaseInfo).totals()))
	for _, name := range databases {
		before := began.totals[name]
		for i, n := range ended.totals[name] {
			if before != nil && before[i] <= n { // else it has been forgotten in between, and has begun anew
				n -= before[i]
			}
			sum[i] += n
		}
	}
	seconds := max(ended.at.Sub(began.at).Seconds(), 1)
	each := func(n int64) int64 { return int64(float64(n) / seconds) }
	return []int64{each(sum[0]), each(sum[1]), each(sum[2]), each(sum[3]), sum[4] / max(sum[0], 1), sum[5] / max(sum[1], 1), each(sum[6])}
}
