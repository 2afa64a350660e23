//go:build break_fence_primary

package rule

// FencePrimary is broken: it is told by the WAL position of the primary.
const FencePrimary = false
