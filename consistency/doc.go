// Package consistency decides which place may answer a read.
//
// It holds positions (LSN), the sources that have one (Source), the floors and pins of sessions (Session, Registry),
// the position clock that finds a write's position (Clock), and the version table that says whether a cached answer is
// still right (Table). It does no I/O of its own and knows no SQL but the few questions about positions; the WAL feed
// that moves a Table along is package feed, the monitor that moves the replicas' sources is router/topology.
//
// The rule it upholds, for replicas and cache alike: a source may answer a read if and only if its position has reached
// the session's floor and it is within the staleness bound (the gate, Session.Admits); and a cached answer may be
// served if and only if no commit that the feed has applied, and that touches what it read, is missing from it
// (the fence, Table.Contains, with Cell.Seq compared at every hit).
//
// What a read does is lock-free and allocates nothing.
package consistency
