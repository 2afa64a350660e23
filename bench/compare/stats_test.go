package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{100, 1, 2, 3}, 2.5}, // one disturbed round doesn't matter
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, not %v", c.values, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("there is a median of nothing")
	}
	v := []float64{3, 1, 2}
	median(v)
	if v[0] != 3 {
		t.Error("median has sorted its argument: rounds would lose their order")
	}
}

func TestMedianRunTakesEachFigureByItself(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	got := medianRun([]Run{
		{TPS: 10, LatencyMS: 3, Transactions: 50, CPUMicros: f(7)},
		{TPS: 30, LatencyMS: 1, Transactions: 150, CPUMicros: f(5)},
		{TPS: 20, LatencyMS: 2, Transactions: 100},
	})
	if got.TPS != 20 || got.LatencyMS != 2 || got.Transactions != 100 {
		t.Errorf("got %+v", got)
	}
	if got.CPUMicros == nil || *got.CPUMicros != 6 {
		t.Errorf("CPU time: got %v, want 6 of the two that have one", got.CPUMicros)
	}
	if got.CacheShare != nil {
		t.Errorf("a share of the cache came from nowhere: %v", *got.CacheShare)
	}
}

// runs are a series with these throughputs.
func runs(tps ...float64) *Series {
	s := &Series{}
	for _, x := range tps {
		s.Runs = append(s.Runs, Run{TPS: x})
	}
	s.Median = medianRun(s.Runs)
	return s
}

func TestRatioOf(t *testing.T) {
	// A machine that slows down over the rounds slows both: the ratios stay.
	got, ok := ratioOf(runs(70, 60, 35), runs(100, 80, 50))
	if want := (ratio{of: 0.75, low: 0.7, high: 0.75}); !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for name, c := range map[string][2]*Series{
		"nobody against somebody": {nil, runs(1)},
		"somebody against nobody": {runs(1), nil},
		"no runs":                 {runs(), runs(1)},
		"against nothing done":    {runs(1), runs(0)},
	} {
		if r, ok := ratioOf(c[0], c[1]); ok {
			t.Errorf("%s: there is a ratio: %+v", name, r)
		}
	}
}

func TestSpread(t *testing.T) {
	if got := runs(90, 100, 120).spread(); math.Abs(got-0.3) > 1e-9 {
		t.Errorf("spread is %v, not 0.3", got)
	}
	if got := runs(90).spread(); got != 0 {
		t.Errorf("spread of one run is %v", got)
	}
}
