// Package cache keeps answers: the key under which an answer is found, the
// answer itself (Entry), the memory that holds answers (L1), the rule that
// one miss asks for all (Flights), and the way of an answer from the server
// into the cache (Fill, with the fence of DESIGN 4).
//
// It is not where freshness is decided: that an answer may be served at all
// is the gate's word (consistency.Session.Admits on the table's Source), and
// which commits a fill contains is worked out by consistency.Table.Contains.
// It doesn't know SQL, plans or sockets either.
//
// The rules it upholds:
//
//   - Two different lists of key parts never share an answer. The whole key
//     is stored and compared byte by byte; a hash only finds the place.
//   - An entry is served only while every cell it depends on is at or below
//     the entry's number (Entry.Fresh). Nothing is deleted to invalidate it.
//   - An answer that can't be judged isn't stored.
//   - Memory has a bound in which everything is counted.
package cache
