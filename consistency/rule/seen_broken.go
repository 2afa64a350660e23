//go:build break_seen

package rule

// Seen is broken: a session may be shown older answers after newer ones.
const Seen = false
