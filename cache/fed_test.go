package cache

import (
	"testing"

	"github.com/freshet/freshet/consistency"
)

// fed is a version table with a feed that the test plays.
type fed struct {
	t     *testing.T
	table *consistency.Table
	xid   uint32
	lsn   consistency.LSN
}

const firstXID = 1000

// newFed has the feed connected, caught up, and covering relations 1 to 9.
func newFed(t *testing.T) *fed {
	f := &fed{t: t, table: consistency.NewTable(64), xid: firstXID, lsn: 0x1000}
	f.table.Gap()
	f.connect()
	return f
}

func (f *fed) connect() {
	f.table.Start(consistency.Start{From: f.lsn, NextXID: uint64(f.xid), Timeline: 1})
	f.table.Cover(f.lsn, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	f.table.SetServing(true)
}

func (f *fed) cell(oid uint32) *consistency.Cell { return &f.table.Relation(oid).Cell }

// commit applies a transaction that touches these relations.
func (f *fed) commit(oids ...uint32) consistency.Seq {
	f.lsn += 0x100
	seq := f.table.Apply(consistency.Commit{XID: f.xid, End: f.lsn, Relations: oids})
	f.xid++
	return seq
}

// catalog applies a transaction that changes the catalog.
func (f *fed) catalog() consistency.Seq {
	f.lsn += 0x100
	seq := f.table.Apply(consistency.Commit{XID: f.xid, End: f.lsn, Catalog: true})
	f.xid++
	return seq
}

// onReplica is the server's half of a probe on a replica that has replayed
// everything up to lsn.
func onReplica(p consistency.Probe, lsn consistency.LSN) consistency.Probe {
	p.OnReplica, p.Replayed, p.Timeline = true, lsn, 1
	return p
}

// onPrimary is the same on the primary, when every transaction below xmax has
// ended but for those in progress.
func onPrimary(p consistency.Probe, xmax uint32, inProgress ...uint64) consistency.Probe {
	p.Timeline = 1
	p.Snapshot = consistency.Snapshot{Xmin: uint64(xmax), Xmax: uint64(xmax), Xip: inProgress}
	for _, x := range inProgress {
		p.Snapshot.Xmin = min(p.Snapshot.Xmin, x)
	}
	return p
}
