//go:build !break_visible

package rule

// Visible: who has been shown something by a replica is shown the primary only when that shows it, too.
const Visible = true
