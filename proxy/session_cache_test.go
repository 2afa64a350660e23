package proxy

import (
	"testing"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// What a probe says about a query after it in the same transaction holds under READ COMMITTED only: above that the query has
// the probe's snapshot, and the position that a replica told is one from after it.
func TestProbeOfASharedSnapshotCountsForNothing(t *testing.T) {
	for _, c := range []struct {
		isolation string
		apart     bool
		probed    bool
	}{
		{"read committed", false, true},
		{"repeatable read", false, false},
		{"serializable", false, false},
		{"repeatable read", true, true},
	} {
		s := &Session{conn: backend.NewConn(nil, nil)}
		s.unit.probeApart = c.apart
		s.takeProbe(wire.AppendDataRow(nil, []byte("759:761:759"), []byte(c.isolation)))
		if s.unit.probed != c.probed {
			t.Errorf("%s, apart %v: probed %v", c.isolation, c.apart, s.unit.probed)
		}
		if want := c.isolation != "read committed"; s.conn.ProbeApart != want {
			t.Errorf("%s: the next one apart: %v", c.isolation, s.conn.ProbeApart)
		}
	}
}
