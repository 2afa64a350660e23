//go:build !break_newest_only

package rule

// Prefix: an answer reaches as far as the first commit that it doesn't contain.
const Prefix = true
