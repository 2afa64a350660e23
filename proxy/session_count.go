package proxy

import (
	"sync/atomic"
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/router"
)

// What is counted of each unit once it has been answered. Times are between two turns of the shard's loop, or, of what the cache has
// answered, from a turn to the look into the cache, whose instant is asked for anyway: so they cost no look at the clock.

// missReason is why a read that might have come from the cache didn't.
type missReason uint8

const (
	missNone missReason = iota
	missAbsent
	missRows
	missTable
	missCatalog
	missGap
	missExpired
	missWriting
	missPinned
	missFloor
	missUnsettled
	missStrong
	missTooStale
	missUnknown
	missFeed
	missUncovered
	missTooBig
	missOff
	missTransaction
	missBound
	missRoute
	missClock
	missKinds
)

// missNames are the values of the label "reason" of freshet_cache_misses_total, and of SHOW CACHE. Those that begin with bypass weren't looked
// for. INTERFACE: relied on.
var missNames = [missKinds]string{
	missAbsent: "absent", missRows: "stale_row", missTable: "stale_table", missCatalog: "catalog_changed", missGap: "feed_gap", missExpired: "expired",
	missWriting: "own_write_running", missPinned: "own_write", missFloor: "behind_floor", missUnsettled: "behind_unsettled", missStrong: "behind_strong",
	missTooStale: "too_stale", missUnknown: "too_stale_unknown", missFeed: "not_caught_up", missUncovered: "uncovered",
	missTooBig: "too_big", missOff: "bypass_off", missTransaction: "bypass_transaction", missBound: "bypass_bound", missRoute: "bypass_route",
	missClock: "bypass_clock",
}

// missTexts are what SHOW freshet.reason has behind "cache miss".
var missTexts = [missKinds]string{
	missRows:    "rows that it reads have been written",
	missTable:   "a table that it reads has been written",
	missCatalog: "the catalog has changed, or the cache was flushed",
	missGap:     "the WAL feed was interrupted",
	missExpired: "expired",
}

// missOf says why an entry that isn't usable isn't.
func missOf(e *cache.Entry, t *consistency.Table) missReason {
	if e == nil {
		return missAbsent
	}
	switch e.Why() {
	case cache.StaleCatalog:
		if e.Epoch != t.Epoch() {
			return missGap
		}
		return missCatalog
	case cache.StaleTable:
		return missTable
	case cache.StaleRows:
		return missRows
	}
	if len(e.RowDesc) == 0 {
		return missAbsent // it has no description, and one is asked for
	}
	return missExpired
}

func missOfVerdict(v consistency.Verdict) missReason {
	switch v {
	case consistency.Writing:
		return missWriting
	case consistency.Pinned:
		return missPinned
	case consistency.BehindFloor:
		return missFloor
	case consistency.Unsettled:
		return missUnsettled
	case consistency.BehindPrimary:
		return missStrong
	case consistency.TooStale:
		return missTooStale
	}
	return missUnknown
}

// SecondsBounds are the upper bounds of a histogram's buckets but the last, which has none.
var SecondsBounds = [...]float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10}

// histogram counts times. It is written by one shard, and read by anybody.
type histogram struct {
	buckets [len(SecondsBounds) + 1]atomic.Uint64 // not cumulative
	sum     atomic.Int64                          // nanoseconds
}

var histogramBounds = func() (list [len(SecondsBounds)]int64) {
	for i, s := range SecondsBounds {
		list[i] = int64(s * float64(time.Second))
	}
	return list
}()

func (h *histogram) observe(d int64) {
	i := 0
	for i < len(histogramBounds) && d > histogramBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(d)
}

// sourceNames are the values of the label "source" of freshet_query_seconds.
var sourceNames = [sourceKinds]string{
	sourceNone: "none", sourceL1: "l1", sourceFlight: "flight", sourceReplica: "replica", sourcePrimary: "primary", sourceFreshet: "freshet",
}

// seconds are the histograms of all shards together.
func (s *Server) seconds() (list []admin.Histogram) {
	for src, name := range sourceNames {
		h := admin.Histogram{Source: name, Bounds: SecondsBounds[:], Counts: make([]uint64, len(SecondsBounds)+1)}
		for _, l := range s.locals {
			of := &l.Counters.Seconds[src]
			for i := range of.buckets {
				h.Counts[i] += of.buckets[i].Load()
			}
			h.Sum += time.Duration(of.sum.Load())
		}
		list = append(list, h)
	}
	return list
}

// totals are what is counted of a database on one shard; touched there only.
type totals struct {
	queries, transactions               uint64
	received, sent                      uint64 // bytes, from and to clients
	queryTime, transactionTime, waiting int64  // nanoseconds
}

func (l *ShardLocal) totalsOf(db *Database) *totals {
	t := l.totals[db]
	if t == nil {
		t = &totals{}
		l.totals[db] = t
	}
	return t
}

// maxUnitTallies bounds how many executions of one unit are told apart.
const maxUnitTallies = 1000

// tallyText notes that the unit is a text.
func (s *Session) tallyText(fp router.Fingerprint, text []byte, plan *router.Plan, scan router.Scan) {
	if scan.NonASCII && s.opaqueText {
		plan = opaquePlan // as far as what may be shown is concerned
	}
	t := s.tally(fp, plan, scan.Exact)
	if t == nil {
		t = s.newTally(fp, text, plan, scan.Exact)
	}
	s.unit.tallies = append(s.unit.tallies, t)
}

// tallyStep notes an Execute.
func (s *Session) tallyStep(st *statement, plan *router.Plan) {
	if len(s.unit.tallies) < maxUnitTallies {
		s.unit.tallies = append(s.unit.tallies, s.tallyOf(st, plan))
	}
}

func (s *Session) tallyOf(st *statement, plan *router.Plan) *tally {
	t := s.tally(st.fingerprint, plan, st.scan.Exact)
	if t == nil {
		t = s.newTally(st.fingerprint, []byte(st.text), plan, st.scan.Exact)
	}
	return t
}

// countStep counts a statement of an extended unit that was answered before the rest of it.
func (s *Session) countStep(st *statement, plan *router.Plan) {
	s.tallyOf(st, plan).calls++
	s.totals.queries++
}

// count counts the answer to the unit in hand, which had come, or failed, at the instant now.
func (s *Session) count(src source, now int64) {
	u := &s.unit
	if u.counted || s.refilling {
		return
	}
	u.counted = true
	took := max(now-u.start, 0)
	s.local.Counters.Seconds[src].observe(took)
	s.totals.queryTime += took
	if src != sourceReplica && src != sourcePrimary {
		u.miss = missNone
	} else if u.miss != missNone {
		s.local.Counters.Misses[u.miss].Add(1)
	}
	n := len(u.tallies)
	if n == 0 {
		return
	}
	s.totals.queries += uint64(n)
	bytes := uint64(u.bytes)
	if n > 1 { // nobody knows which took what
		took /= int64(n)
		bytes /= uint64(n)
	}
	for _, t := range u.tallies {
		t.calls++
		t.bytes += bytes
		t.time += took
		t.slowest = max(t.slowest, took)
		switch src {
		case sourceL1:
			t.l1++
			continue
		case sourceFlight:
			t.shared++
			continue
		case sourceReplica:
			t.replica++
		case sourcePrimary:
			t.primary++
		}
		if u.failed || src == sourceNone {
			t.errors++
		}
		if u.miss != missNone {
			t.misses++
		}
		t.reason, t.detail = u.reason, u.detail
	}
}

// countTx counts a transaction when it is over, after each unit.
func (s *Session) countTx(now int64) {
	const idle = 'I' // wire.TxIdle
	if now == 0 {
		now = s.env.Turn()
	}
	switch began := s.txBegan; {
	case s.tx != idle && began == 0:
		s.txBegan = s.unit.start
	case s.tx == idle:
		if began == 0 {
			began = s.unit.start
		}
		s.txBegan = 0
		s.totals.transactions++
		s.totals.transactionTime += max(now-began, 0)
	}
}
