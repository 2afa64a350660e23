// Package feed reads the primary's write-ahead log and keeps a consistency.Table up to date: for each commit, which
// relations it changed. There is one Feed per database.
//
// It speaks logical replication (pgoutput) over a temporary slot, so that a Freshet that dies never holds back WAL; and, on
// an ordinary connection beside it, watches what can't be seen in the stream: which relations the publication has.
// Package feed also knows what has to be set up in the database for that (Plan). It doesn't decide what may be cached, and
// it keeps no data: from a change it takes the relation, and hashes of the values by which answers pick its rows.
//
// The rule it upholds: when the table says that a relation is covered and that it is serving, then every commit that
// changed the relation and ends at or before the table's position has stamped its cell, and in each column set those of the
// rows that it changed, as they were and as they are; and whatever may have been missed
// (before the feed connected, while it was cut off, before a relation was published) makes what was cached before
// it stale.
package feed
