//go:build break_row_old

package rule

// RowOld is broken: a change stamps only what depends on rows as they are after it.
const RowOld = false
