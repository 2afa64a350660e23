package check

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// counts is what happened, as numbers.
type counts struct {
	reads, writes      atomic.Int64
	windows, undecided atomic.Int64
	allowed            atomic.Int64
	audits             atomic.Int64

	mu struct {
		sync.Mutex
		errors  map[string]int64
		sampled map[string]int64 // sources, by SHOW
		reasons map[string]int64 // why it wasn't the cache
		stalest time.Duration
		behind  int64              // reads that lacked something
		earlier map[string]float64 // answers by source, of Freshets that have ended
		slowest statement
	}
}

func (c *counts) init() {
	c.mu.errors, c.mu.sampled, c.mu.reasons = map[string]int64{}, map[string]int64{}, map[string]int64{}
	c.mu.earlier = map[string]float64{}
}

// error counts a failed statement by its SQLSTATE.
func (c *counts) error(err error) {
	code := "connection"
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		code = pg.Code
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.errors[code]++
}

func (c *counts) source(s, reason string) {
	if s == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.sampled[s]++
	if s != "l1" && s != "flight" {
		c.mu.reasons[reason]++
	}
}

func (c *counts) stale(d time.Duration) {
	if d == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.behind++
	c.mu.stalest = max(c.mu.stalest, d)
}

// restarted notes what a Freshet that is about to end has counted.
func (c *counts) restarted(sources map[string]float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s, n := range sources {
		c.mu.earlier[s] += n
	}
}

func (c *counts) took(s *statement) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended-s.began > c.mu.slowest.ended-c.mu.slowest.began {
		c.mu.slowest = *s
	}
}

// Report is what a run has found.
type Report struct {
	Statements int64 // sent through Freshet
	Reads      int64 // judged
	Writes     int64 // acknowledged, through Freshet and past it
	Took       time.Duration
	Sources    map[string]float64 // answers by source, as Freshet counts them
	Sampled    map[string]int64   // the same by SHOW freshet.source, of every 64th read
	Reasons    map[string]int64   // why those weren't answered by the cache
	Behind     int64              // reads that lacked an acknowledged write of somebody else, which is allowed within the bound
	Stalest    time.Duration      // the longest such a write had been acknowledged
	Windows    int64              // histories that porcupine has judged
	Undecided  int64              // those for which it took too long
	Faults     map[string]int
	Slowest    string           // the statement that took longest, and when
	Allowed    int64            // violations of rules that are allowed to be violated
	Errors     map[string]int64 // refused or broken statements by SQLSTATE
	Violations []*Violation
}

func (r *run) report(took time.Duration, before, after map[string]float64) *Report {
	c := &r.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &Report{
		Statements: r.total.Load(), Reads: c.reads.Load(), Writes: c.writes.Load(), Took: took, Sources: map[string]float64{}, Sampled: c.mu.sampled, Reasons: c.mu.reasons,
		Behind: c.mu.behind, Stalest: c.mu.stalest, Windows: c.windows.Load(), Undecided: c.undecided.Load(), Faults: map[string]int{},
		Errors: c.mu.errors, Allowed: c.allowed.Load(), Slowest: c.mu.slowest.String(), Violations: r.violations(),
	}
	maps.Copy(p.Sources, c.mu.earlier)
	for s, n := range after {
		p.Sources[s] += n - before[s]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.mu.broken {
		p.Faults[f.name]++
	}
	return p
}

// Share is a source's share of all answers.
func (p *Report) Share(source string) float64 {
	total := 0.0
	for _, n := range p.Sources {
		total += n
	}
	if total == 0 {
		return 0
	}
	return p.Sources[source] / total
}

// Print writes it for a person.
func (p *Report) Print(w io.Writer) {
	for _, v := range p.Violations {
		v.Print(w)
	}
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	line("%d statements in %v (%.0f/s): %d reads judged, %d writes acknowledged, %d histories given to porcupine (%d undecided)",
		p.Statements, p.Took.Round(time.Millisecond), float64(p.Statements)/p.Took.Seconds(), p.Reads, p.Writes, p.Windows+p.Undecided, p.Undecided)
	var shares []string
	for _, s := range slices.Sorted(maps.Keys(p.Sources)) {
		shares = append(shares, fmt.Sprintf("%s %.1f %%", s, 100*p.Share(s)))
	}
	line("answered by: %s", strings.Join(shares, ", "))
	line("sampled:     %s", counted(p.Sampled))
	line("not cached:  %s", counted(p.Reasons))
	line("broken:      %s", counted(p.Faults))
	line("errors:      %s", counted(p.Errors))
	line("staleness:   %d reads lacked somebody else's acknowledged write, acknowledged at most %v before", p.Behind, p.Stalest.Round(time.Microsecond))
	line("slowest:     %s", p.Slowest)
	if p.Allowed > 0 {
		line("allowed:     %d violations", p.Allowed)
	}
	if len(p.Violations) == 0 {
		line("no violation")
	} else {
		line("%d VIOLATIONS", len(p.Violations))
	}
}

func counted[N int | int64](m map[string]N) string {
	if len(m) == 0 {
		return "none"
	}
	var list []string
	for _, s := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s %d", s, m[s]))
	}
	return strings.Join(list, ", ")
}
