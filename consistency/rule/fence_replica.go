//go:build !break_fence_replica

package rule

// FenceReplica: what a fill from a replica contains is told by how far that has replayed.
const FenceReplica = true
