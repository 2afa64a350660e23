//go:build !break_row_old

package rule

// RowOld: an UPDATE or DELETE stamps what depends on the row as it was, too; if the old values aren't known, what depends on any row.
const RowOld = true
