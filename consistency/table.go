package consistency

import "sync/atomic"

// Seq is the number of a commit in the order in which the feed applied it; it goes on counting across gaps. 0: none.
type Seq uint64

// Cell holds the Seq of the last commit that touched something. An entry is fresh while each cell that it depends on is
// at most the entry's own Seq.
type Cell struct {
	seq     atomic.Uint64
	covered atomic.Bool
}

// Seq is the number of the last commit that touched it. Lock-free.
func (c *Cell) Seq() Seq { return Seq(c.seq.Load()) }

// Covered says whether the feed covers the relation of this cell. Lock-free.
func (c *Cell) Covered() bool { return c.covered.Load() }

// Table is the version table of one database with its ring of recent commits. As a Source, its position is the last
// commit that the feed has applied.
type Table struct {
	Source
	global Cell
}

// NewTable makes a table that remembers so many commits; it serves nothing until a feed says so.
func NewTable(ring int) *Table { return &Table{} }

// Relation is the cell of "any change" of a relation, made on first demand, the same until the process ends.
func (t *Table) Relation(oid uint32) *Cell { return &Cell{} }

// Global is the cell that every entry depends on: catalog changes, gaps and failovers stamp it.
func (t *Table) Global() *Cell { return &t.global }

// Covered says whether the feed covers this relation from the present position on.
func (t *Table) Covered(oid uint32) bool { return false }

// Serving says whether the feed has caught up since it last connected. If not, no fill is stored and no hit served. Lock-free.
func (t *Table) Serving() bool { return false }

// Applied is the number of the last commit applied. Lock-free.
func (t *Table) Applied() Seq { return 0 }

// Probe is what a fill saw, taken on the same connection just before its query. Begin notes the table's side of it before
// the question is sent; the rest comes from the server.
type Probe struct {
	OnReplica bool
	Replayed  LSN      // on a replica: pg_last_wal_replay_lsn()
	Snapshot  Snapshot // on the primary: pg_current_snapshot()
	Timeline  uint32   // of the node that answered; 0: not known, not compared

	Began   Seq    // Applied when the fill was begun
	Visible Seq    // up to here every commit was known then to be visible to any new snapshot of the primary
	Epoch   uint64 // Epoch then
}

// Begin starts a probe. To be called before the probe's question is sent.
func (t *Table) Begin() Probe { return Probe{} }

// Contains is the arithmetic of the fence: up to which commit does the answer that was probed so contain everything that
// the feed has applied? An error says that it can't be judged: then it must not be stored.
func (t *Table) Contains(p Probe) (Seq, error) { return 0, nil }

// CatalogChanged stamps Global: something outside the WAL's stream changed, and was seen by a look at the primary's catalog
// that was over when its position was lsn. Safe for concurrent use.
func (t *Table) CatalogChanged(lsn LSN) Seq { return 0 }

// Flush stamps one relation, or Global when oid is 0: for FLUSH CACHE. Safe for concurrent use.
func (t *Table) Flush(oid uint32) Seq { return 0 }
