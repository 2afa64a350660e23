//go:build !break_fence_none

package rule

// Fence: it is worked out how far into the feed a fill's answer reaches.
const Fence = true
