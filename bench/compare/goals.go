package main

import "fmt"

// The goals. Changing one is changing what is promised: say so in the page.
const (
	goalCached   = 0.7  // of the floor's throughput, when answers come from the cache
	goalUncached = 0.9  // of PgBouncer's throughput, without a cache
	goalMisses   = 0.85 // of the throughput without a cache, when every read misses and is a fill
	goalAlloc    = 0.05 // heap allocations per cached query that still count as none: one in twenty can't be the query's own
	// maxIdle is how many allocations per query the process may make for other reasons, for the difference to mean something.
	maxIdle = 0.5
	// hotShare is the share of answers from the cache below which a run wasn't one of cached answers.
	hotShare = 0.99
)

// Goal is what was to be reached and what was.
type Goal struct {
	Text string `json:"text"`
	Mode string `json:"mode"`
	// Want is a lower bound of Got; an upper one if AtMost.
	Want   float64 `json:"want"`
	AtMost bool    `json:"at_most"`
	Got    float64 `json:"got"`
	// Low and High are the extremes of the rounds, each by itself; both 0 where there are no rounds.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	// Verdict is "met", "missed", "not judged" or "not measured".
	Verdict string `json:"verdict"`
	// Note says why it isn't judged or measured.
	Note string `json:"note,omitempty"`
}

// Verdicts.
const (
	met         = "met"
	missed      = "missed"
	notJudged   = "not judged"
	notMeasured = "not measured"
)

// missedBy is by how much, relative to what was wanted.
func (g Goal) missedBy() float64 {
	if g.Verdict != missed || g.AtMost {
		return 0
	}
	return (g.Want - g.Got) / g.Want
}

// judge works out all goals, in the order in which they are shown.
func (r *Result) judge() []Goal {
	var goals []Goal
	for _, mode := range modes {
		w := r.workload("select-" + mode)
		g := Goal{Text: "cached: at least 0.7 of the floor's throughput", Mode: mode, Want: goalCached}
		goals = append(goals, g.compare(w, "freshet", "floor", true))
	}
	for _, mode := range modes {
		w := r.workload("select-" + mode)
		g := Goal{Text: "uncached: at least 0.9 of PgBouncer's throughput", Mode: mode, Want: goalUncached}
		goals = append(goals, g.compare(w, "freshet-off", "pgbouncer", false))
	}
	misses := Goal{Text: "a miss that fills: at least 0.85 of the throughput without a cache", Mode: "extended", Want: goalMisses}
	goals = append(goals, misses.compare(r.workload(missesKey), "freshet-misses", "freshet-off", false))
	for _, mode := range modes {
		g := Goal{Text: "no allocation per cached query", Mode: mode, Want: goalAlloc, AtMost: true, Verdict: notMeasured}
		for _, a := range r.Allocations {
			if a.Mode != mode {
				continue
			}
			g.Got, g.Verdict = a.PerQuery, met
			if a.PerQuery > goalAlloc {
				g.Verdict = missed
			}
			switch {
			case a.CacheShare < hotShare:
				g.Verdict = notJudged
				g.Note = fmt.Sprintf("only %.0f %% of the answers came from the cache", 100*a.CacheShare)
			case a.Idle > maxIdle*a.Queries:
				g.Verdict, g.Note = notJudged, "too few queries to see them beside what the process does when idle"
			}
		}
		goals = append(goals, g)
	}
	return goals
}

// compare fills in what was got. A goal about cached answers is judged only if the answers were cached; one about PgBouncer only if
// both did the same job.
func (g Goal) compare(w *Workload, who, against string, cached bool) Goal {
	g.Verdict = notMeasured
	if w == nil {
		return g
	}
	a, b := w.series(who), w.series(against)
	x, ok := ratioOf(a, b)
	if !ok {
		return g
	}
	g.Got, g.Low, g.High, g.Verdict = x.of, x.low, x.high, missed
	if x.of >= g.Want {
		g.Verdict = met
	}
	switch share := a.Median.CacheShare; {
	case b.Note != "":
		g.Verdict, g.Note = notJudged, "the other one ran in "+b.Note
	case cached && share == nil:
		g.Verdict, g.Note = notJudged, "where the answers came from isn't known"
	case cached && *share < hotShare:
		g.Verdict, g.Note = notJudged, fmt.Sprintf("only %.0f %% of the answers came from the cache", 100**share)
	}
	return g
}
