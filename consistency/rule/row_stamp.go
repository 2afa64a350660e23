//go:build !break_row_stamp

package rule

// RowStamp: a change stamps the cells of the rows that it touches, in each column set by which answers pick rows.
const RowStamp = true
