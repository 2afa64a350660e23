//go:build !break_cells

package rule

// Cells: an entry is served only while no commit beyond it has touched what it depends on.
const Cells = true
