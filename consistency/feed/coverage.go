package feed

import (
	"slices"

	"github.com/freshet/freshet/consistency"
)

// member is a relation that the publication publishes completely.
type member struct {
	oid      uint32
	identity string // changes when the relation leaves the publication and comes back, or the terms change
}

// coverage knows how far each member is on its way to being covered.
//
// A relation isn't covered as soon as it is in the publication: a transaction that was running at that moment may have
// changed it before, or go on changing it, without its changes being sent (HAZARDS 12). Rather than lock out writers while
// it is added, we wait: when it is first seen, an xid is drawn (before); when all transactions with lower xids have
// ended, which a snapshot's xmin shows, the primary's position is asked for (from); and when the feed has passed that, every
// change that it hasn't seen is in the past, and visible to every snapshot taken from now on. (The snapshot's xmax
// wouldn't do for the xid: there can be running transactions at and above it.)
type coverage struct {
	members map[uint32]*membership
}

type membership struct {
	identity string
	before   uint64          // 0: no xid drawn yet
	from     consistency.LSN // 0: those transactions haven't all ended
	covered  bool
}

// update takes the present list, and returns those which must be uncovered.
func (c *coverage) update(list []member) (gone []uint32) {
	present := make(map[uint32]*membership, len(list))
	for _, m := range list {
		old := c.members[m.oid]
		if old == nil || old.identity != m.identity {
			present[m.oid] = &membership{identity: m.identity}
		} else {
			present[m.oid] = old
		}
	}
	for oid, old := range c.members {
		if old.covered && present[oid] != old {
			gone = append(gone, oid)
		}
	}
	c.members = present
	slices.Sort(gone)
	return gone
}

// undrawn says whether there are members for which no xid has been drawn. It is drawn after the list was read.
func (c *coverage) undrawn() bool { return c.any(func(m *membership) bool { return m.before == 0 }) }

// drawn takes an xid that was drawn after the list was read: the transactions to wait for have lower ones.
func (c *coverage) drawn(xid uint64) {
	for _, m := range c.members {
		if m.before == 0 {
			m.before = xid
		}
	}
}

// ended takes a snapshot, and says whether it is the first to show that all transactions that some member waits for have
// ended. Their position is to be asked for after it was taken.
func (c *coverage) ended(s consistency.Snapshot) bool {
	return c.any(func(m *membership) bool { return m.waitsFor(s) })
}

// endedBy takes that position.
func (c *coverage) endedBy(s consistency.Snapshot, lsn consistency.LSN) {
	for _, m := range c.members {
		if m.waitsFor(s) {
			m.from = lsn
		}
	}
}

func (m *membership) waitsFor(s consistency.Snapshot) bool {
	return m.before != 0 && m.from == 0 && s.Xmin >= m.before
}

// reached takes the feed's position and returns those which are covered from now on, by the position that they waited for.
func (c *coverage) reached(position consistency.LSN) map[consistency.LSN][]uint32 {
	var begins map[consistency.LSN][]uint32
	for oid, m := range c.members {
		if !m.covered && m.from != 0 && m.from <= position {
			m.covered = true
			if begins == nil {
				begins = make(map[consistency.LSN][]uint32)
			}
			begins[m.from] = append(begins[m.from], oid)
		}
	}
	return begins
}

// waiting says whether some member isn't covered yet.
func (c *coverage) waiting() bool { return c.any(func(m *membership) bool { return !m.covered }) }

func (c *coverage) count() (covered int) {
	for _, m := range c.members {
		if m.covered {
			covered++
		}
	}
	return covered
}

func (c *coverage) any(is func(*membership) bool) bool {
	for _, m := range c.members {
		if is(m) {
			return true
		}
	}
	return false
}
