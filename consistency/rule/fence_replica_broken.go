//go:build break_fence_replica

package rule

// FenceReplica is broken: it is told by a snapshot taken there.
const FenceReplica = false
