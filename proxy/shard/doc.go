// Package shard runs event loops: sockets, timers and mailboxes for one core.
//
// It is for moving bytes between many connections at the cost of few system calls, no locks and no goroutine
// switches: everything that belongs to a [Loop] is touched by that loop's goroutine alone. On Linux a loop is a thread
// with epoll and raw, non-blocking system calls; elsewhere, and for connections that aren't plain sockets (TLS,
// net.Pipe), a pair of goroutines per connection does the I/O and hands it to the loop, with the same callbacks.
//
// It isn't for anything that blocks (dialling, TLS handshakes, look-ups: do these beside the loop and come back with
// [Loop.Post]), and it knows nothing of Postgres.
//
// A busy loop never lets go of its processor, in the scheduler's sense: give the process [Headroom] more of them than it has loops.
//
// The rules it upholds: callbacks run one at a time, on the loop, in the order of arrival; a handler hears Closed
// exactly once and nothing after it; no byte that was accepted is lost or reordered while the connection lives; memory is
// held only for bytes that wait, so that an idle connection costs next to nothing; a handler that panics loses its own
// connection and harms no other.
package shard
