//go:build !break_fence_primary

package rule

// FencePrimary: what a fill from the primary contains is told by its snapshot.
const FencePrimary = true
