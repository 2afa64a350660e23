//go:build !break_staleness

package rule

// Staleness: no source answers that may be further behind than the bound.
const Staleness = true
