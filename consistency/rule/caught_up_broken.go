//go:build break_caught_up

package rule

// CaughtUp is broken: connected is taken for caught up.
const CaughtUp = false
