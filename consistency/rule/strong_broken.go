//go:build break_strong

package rule

// Strong is broken: a strong read is answered like one of the level session.
const Strong = false
