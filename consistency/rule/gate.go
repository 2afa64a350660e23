//go:build !break_gate

package rule

// Gate: a source answers a read only if its position has reached the session's floor, within the staleness bound.
const Gate = true
