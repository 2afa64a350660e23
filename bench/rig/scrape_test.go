package rig

import (
	"maps"
	"strings"
	"testing"
)

func TestMetricsAreSummed(t *testing.T) {
	m, err := ReadMetrics(strings.NewReader(`# TYPE hits counter
hits{tier="l1",database="a b"} 3
hits{tier="l1",database="c"} 4
hits{tier="l2",database="c"} 8
# TYPE open gauge
open 5
undeclared 1.5
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		got, want float64
	}{
		{m.Sum("hits"), 15}, {m.Sum("hits", "tier", "l1"), 7}, {m.Sum("hits", "tier", "l1", "database", "a b"), 3}, {m.Sum("hits", "tier", "l3"), 0},
		{m.Sum("open"), 5}, {m.Sum("undeclared"), 1.5}, {m.Sum("nothing"), 0},
	} {
		if c.got != c.want {
			t.Errorf("got %v, not %v", c.got, c.want)
		}
	}
	if by := m.By("hits", "database"); !maps.Equal(by, map[string]float64{"a b": 3, "c": 12}) {
		t.Errorf("by database: %v", by)
	}
	if _, err := ReadMetrics(strings.NewReader("hits{ 1")); err == nil {
		t.Error("half a page is none")
	}
}
