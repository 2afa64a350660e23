//go:build break_newest_only

package rule

// Prefix is broken: an answer that contains the newest commit is taken to contain all before it.
const Prefix = false
