// Package check tries to catch Freshet lying. It starts a cluster (bench/cluster) and a Freshet before it, has many clients
// write and read through it and others write past it, directly to the primary, breaks things meanwhile, and judges every
// answer at the moment at which it comes.
//
// What makes an answer judgeable: everything that is read is an object (a register, a pair of rows, a list, a view) with
// versions in a total order, which the primary makes (each write adds one to the number of the version, under the row's
// lock), and each version has a value that no other write has. So an answer says by itself which write it comes from, and
// whether it contains another write is a comparison of two numbers.
//
// What is judged:
//
//   - A value was written: by a write that had begun, was not rolled back, and has this number alone.
//   - A statement's answer is one snapshot: pairs aren't torn, lists have no holes.
//   - Staleness: whatever was acknowledged longer ago than the bound is in the answer, at every level.
//   - Session: own acknowledged writes are in the answer, and what the session has seen. Sessions are connections, or all
//     connections with one freshet.session_key.
//   - Strong: whatever was acknowledged before the read began is in the answer, and what other strong reads had seen; windows
//     of the history are given to porcupine, too.
//   - At the end, by the journal that triggers keep: acknowledged writes are there, those that were refused are not, and
//     none is there twice.
//
// Times are taken before something is sent and after its answer has come, so that a write counts as acknowledged
// later than it was and a read as begun earlier: what is reported as a violation is one.
package check
