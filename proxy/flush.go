package proxy

import (
	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router/catalog"
)

// All are the databases that are looked after, by name.
func (d *Databases) All() []*Database {
	var list []*Database
	for _, r := range d.list() {
		list = append(list, &r.Database)
	}
	return list
}

// FlushTable makes stale what depends on a table, its partitions and inheritance children included, and drops it from l1. It returns how
// many entries that were; -1: there is no such table. Safe for concurrent use.
func (d *Database) FlushTable(l1 *cache.L1, schema, table string) (int, error) {
	snap := d.Catalog()
	if snap == nil {
		return -1, nil
	}
	rel := snap.RelationByName(schema, table)
	if rel == nil {
		return -1, nil
	}
	switch rel.Kind {
	case catalog.KindTable, catalog.KindPartitionedTable, catalog.KindMaterializedView, catalog.KindForeignTable:
	case catalog.KindView:
		return 0, wire.Errorf("42809", "\"%s\" is a view", table).WithHint("Flush the tables that it reads.")
	default:
		return 0, wire.Errorf("42809", "\"%s\" is not a table", table)
	}
	cells := map[*consistency.Cell]bool{}
	for _, oid := range append([]uint32{rel.OID}, snap.Descendants(rel.OID)...) {
		d.Table.Flush(oid)
		r := d.Table.Relation(oid)
		cells[&r.Cell] = true
		for _, set := range r.Sets() {
			cells[set.Whole()] = true // which whoever depends on rows depends on, too
		}
	}
	return l1.PurgeFunc(func(e *cache.Entry) bool {
		for _, c := range e.Deps {
			if cells[c] {
				return true
			}
		}
		return false
	}), nil
}
