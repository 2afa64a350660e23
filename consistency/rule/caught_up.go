//go:build !break_caught_up

package rule

// CaughtUp: a feed that has connected again serves nothing before it has caught up, and nothing from before the gap.
const CaughtUp = true
