package main

import (
	"math"
	"slices"
)

// median of values, which it leaves as they are; NaN of none. Of an even number it is the mean of the middle two.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// medianRun is the median of each figure on its own. A figure that a run lacks is not in its median.
func medianRun(runs []Run) Run {
	optional := func(get func(Run) *float64) *float64 {
		var v []float64
		for _, r := range runs {
			if p := get(r); p != nil {
				v = append(v, *p)
			}
		}
		if len(v) == 0 {
			return nil
		}
		m := median(v)
		return &m
	}
	figure := func(get func(Run) float64) float64 {
		var v []float64
		for _, r := range runs {
			v = append(v, get(r))
		}
		return median(v)
	}
	return Run{
		TPS:          figure(func(r Run) float64 { return r.TPS }),
		LatencyMS:    figure(func(r Run) float64 { return r.LatencyMS }),
		Transactions: figure(func(r Run) float64 { return r.Transactions }),
		CPUMicros:    optional(func(r Run) *float64 { return r.CPUMicros }),
		CacheShare:   optional(func(r Run) *float64 { return r.CacheShare }),
	}
}

// spread is how far a series' throughputs are apart: the difference of the largest and the smallest, by the median.
func (s *Series) spread() float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for _, r := range s.Runs {
		low, high = min(low, r.TPS), max(high, r.TPS)
	}
	if s.Median.TPS == 0 || len(s.Runs) == 0 {
		return math.NaN()
	}
	return (high - low) / s.Median.TPS
}

// ratio is a comparison of two series' throughputs.
type ratio struct {
	of        float64 // of the medians
	low, high float64 // of the rounds, each by itself
}

// ratioOf compares a with b; false when there is nothing to compare.
func ratioOf(a, b *Series) (ratio, bool) {
	if a == nil || b == nil || len(a.Runs) == 0 || len(b.Runs) == 0 || b.Median.TPS == 0 {
		return ratio{}, false
	}
	r := ratio{of: a.Median.TPS / b.Median.TPS, low: math.Inf(1), high: math.Inf(-1)}
	for i := range min(len(a.Runs), len(b.Runs)) {
		if b.Runs[i].TPS == 0 {
			continue
		}
		x := a.Runs[i].TPS / b.Runs[i].TPS
		r.low, r.high = min(r.low, x), max(r.high, x)
	}
	return r, true
}
