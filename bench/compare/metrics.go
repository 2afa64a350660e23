package main

import (
	"context"
	"errors"

	"github.com/freshet/freshet/bench/rig"
)

// counters are what a Freshet has counted so far.
type counters struct {
	mallocs float64            // objects allocated on the heap
	queries map[string]float64 // answered, by source
}

func (c *contender) counters(ctx context.Context) (counters, error) {
	all, err := rig.Scrape(ctx, c.http)
	if err != nil {
		return counters{}, err
	}
	return countersOf(all)
}

// Names of metrics. The second is the Go runtime's.
const (
	queriesMetric = "freshet_queries_total"
	mallocsMetric = "go_memstats_mallocs_total"
)

func countersOf(all rig.Metrics) (counters, error) {
	if all[mallocsMetric] == nil || all[queriesMetric] == nil {
		return counters{}, errors.New("metrics: " + mallocsMetric + " or " + queriesMetric + " is missing")
	}
	return counters{mallocs: all.Sum(mallocsMetric), queries: all.By(queriesMetric, "source")}, nil
}

// since is what was counted after an earlier look.
func (k counters) since(before counters) counters {
	d := counters{mallocs: k.mallocs - before.mallocs, queries: map[string]float64{}}
	for s, n := range k.queries {
		d.queries[s] = n - before.queries[s]
	}
	return d
}

// total is the number of queries.
func (k counters) total() (n float64) {
	for _, q := range k.queries {
		n += q
	}
	return n
}

// cacheShare is the share of queries answered from the cache; false: there were none.
func (k counters) cacheShare() (float64, bool) {
	if k.total() == 0 {
		return 0, false
	}
	return k.queries["l1"] / k.total(), true
}
