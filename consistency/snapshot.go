package consistency

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Snapshot is what pg_current_snapshot() says on a primary: which transactions a statement can see. Xids are 64 bits
// wide (epoch and xid), and only those of top-level transactions are listed.
type Snapshot struct {
	Xmin uint64   // every transaction below it has ended
	Xmax uint64   // none at or above it had ended
	Xip  []uint64 // in progress between the two, ascending
}

// ParseSnapshot reads the text form of pg_snapshot, "10:20:10,14".
func ParseSnapshot(s string) (Snapshot, error) {
	fail := func() (Snapshot, error) { return Snapshot{}, fmt.Errorf("not a snapshot: %q", s) }
	xmin, rest, ok := strings.Cut(s, ":")
	xmax, list, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 {
		return fail()
	}
	var p Snapshot
	var err error
	if p.Xmin, err = strconv.ParseUint(xmin, 10, 64); err != nil {
		return fail()
	}
	if p.Xmax, err = strconv.ParseUint(xmax, 10, 64); err != nil || p.Xmax < p.Xmin || p.Xmin == 0 {
		return fail()
	}
	for list != "" {
		var one string
		one, list, _ = strings.Cut(list, ",")
		xid, err := strconv.ParseUint(one, 10, 64)
		if err != nil || xid < p.Xmin || xid >= p.Xmax || len(p.Xip) > 0 && xid <= p.Xip[len(p.Xip)-1] {
			return fail()
		}
		p.Xip = append(p.Xip, xid)
	}
	return p, nil
}

// Sees says whether the snapshot contains the commit of this top-level transaction, given that it has committed.
func (s Snapshot) Sees(xid uint64) bool {
	if xid < s.Xmin {
		return true
	}
	if xid >= s.Xmax {
		return false
	}
	_, inProgress := slices.BinarySearch(s.Xip, xid)
	return !inProgress
}
