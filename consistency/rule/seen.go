//go:build !break_seen

package rule

// Seen: what a session has been shown raises its floor.
const Seen = true
