//go:build break_fence_none

package rule

// Fence is broken: an answer contains what the feed has applied when it is stored.
const Fence = false
