//go:build break_staleness

package rule

// Staleness is broken: a source may be behind for any time.
const Staleness = false
