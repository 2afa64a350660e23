//go:build break_row_stamp

package rule

// RowStamp is broken: a change stamps the cell of its relation only.
const RowStamp = false
