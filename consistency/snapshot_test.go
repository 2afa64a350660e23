package consistency

import (
	"slices"
	"testing"
)

func TestSnapshotReadsPostgresForm(t *testing.T) {
	for _, c := range []struct {
		text string
		want Snapshot
	}{
		{"10:10:", Snapshot{Xmin: 10, Xmax: 10}},
		{"10:20:10,14", Snapshot{Xmin: 10, Xmax: 20, Xip: []uint64{10, 14}}},
		{"4294967299:4294967300:4294967299", Snapshot{Xmin: 1<<32 + 3, Xmax: 1<<32 + 4, Xip: []uint64{1<<32 + 3}}},
	} {
		got, err := ParseSnapshot(c.text)
		if err != nil || got.Xmin != c.want.Xmin || got.Xmax != c.want.Xmax || !slices.Equal(got.Xip, c.want.Xip) {
			t.Errorf("%s: got %v (%v)", c.text, got, err)
		}
	}
	for _, text := range []string{"", "10", "10:20", "20:10:", "10:20:9", "10:20:20", "10:20:14,10", "10:20:14,14", "10:20:a", "0:0:", "10:20:10:"} {
		if got, err := ParseSnapshot(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestSnapshotSees(t *testing.T) {
	s := Snapshot{Xmin: 10, Xmax: 20, Xip: []uint64{10, 14}}
	for xid, want := range map[uint64]bool{9: true, 10: false, 11: true, 13: true, 14: false, 15: true, 19: true, 20: false, 21: false} {
		if got := s.Sees(xid); got != want {
			t.Errorf("sees %d: %v", xid, got)
		}
	}
}
