//go:build break_cells

package rule

// Cells is broken: an entry is served for ever.
const Cells = false
