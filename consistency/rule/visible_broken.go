//go:build break_visible

package rule

// Visible is broken: the primary is taken to show whatever is in its log.
const Visible = false
