package consistency

import "testing"

// What was planned by the old catalog isn't stored, however the change of the catalog and the fill cross each other.
func TestAChangeOfTheCatalogFencesWhatHasBegun(t *testing.T) {
	table := feeding(t, 16)
	table.CatalogLooked(onPrimary(table, "100:100:"))
	if !table.CatalogHolds() {
		t.Fatal("a look at the start doesn't count")
	}
	last := table.Applied()
	// Both fills answer with the change: the one on the primary sees it, the other one's replica has replayed it.
	primary, replica := onPrimary(table, "101:101:"), onReplica(table, 1010)
	ddl := table.Apply(Commit{XID: 100, End: 1010, Catalog: true})
	if table.Global().Seq() != ddl || table.CatalogHolds() {
		t.Errorf("global %d, holds %v", table.Global().Seq(), table.CatalogHolds())
	}
	// A look that doesn't see it yet, one that began before the feed knew, and one that contains it.
	table.CatalogLooked(onPrimary(table, "100:101:100"))
	table.CatalogLooked(primary)
	contains(t, table, primary, last)
	contains(t, table, replica, last)
	if table.CatalogHolds() {
		t.Error("holds by a look that can't be known to contain the change")
	}
	table.CatalogLooked(onPrimary(table, "101:101:"))
	if !table.CatalogHolds() {
		t.Error("doesn't hold by a look that contains it")
	}
	contains(t, table, onPrimary(table, "101:101:"), ddl)
	// Other stamps don't matter to it.
	table.FlushAll()
	table.Apply(Commit{XID: 101, End: 1020, Relations: []uint32{1}})
	table.Cover(1020, 7)
	if !table.CatalogHolds() {
		t.Error("doesn't hold though the catalog hasn't changed")
	}
	table.Gap()
	if table.CatalogHolds() {
		t.Error("holds after a gap")
	}
	table.Start(Start{From: 2000, NextXID: 200, Timeline: 1})
	table.SetServing(true)
	if table.CatalogHolds() {
		t.Error("holds after a gap without a look")
	}
	table.CatalogLooked(onPrimary(table, "200:200:"))
	if !table.CatalogHolds() {
		t.Error("doesn't hold after a look")
	}
}

func TestTheFenceOfTheCatalogOutlivesTheRing(t *testing.T) {
	table := feeding(t, 4)
	old := onReplica(table, 5000)
	table.Apply(Commit{XID: 100, End: 1010, Catalog: true})
	for i := range 8 {
		table.Apply(Commit{XID: uint32(101 + i), End: LSN(1020 + i)})
	}
	refused(t, table, old, ErrTooOld)
}
