// Package topology knows the servers: which one is the primary, which
// replicas there are, how far each has replayed, and which of them answer.
//
// A goroutine a node keeps one connection to it and asks a short question
// every 50 ms. Roles are discovered, not believed: the flags only say where
// to look. From the answers come the replicas' positions, and samples of the
// primary's position by which each replica's AsOf is known.
//
// It is not the pool of the clients' connections (proxy/backend) and doesn't
// decide whether a replica may answer a read: that is the gate
// (consistency.Session.Admits), which PickReplica asks.
//
// The rules it upholds:
//
//   - What is believed about a node has an age; a node that hasn't answered
//     for Config.DownAfter isn't up (HAZARDS 20).
//   - Of two nodes that say "primary" the one with the higher timeline is it,
//     the other is fenced: nothing is sent to it.
//   - A replica counts only while it is known to follow the primary's
//     timeline: WAL positions of different timelines can't be compared.
//   - A node that is down, slow or stopped never delays what concerns another.
package topology
