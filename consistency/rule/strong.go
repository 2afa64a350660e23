//go:build !break_strong

package rule

// Strong: a strong read is answered by a source that has got where the primary was after the read had arrived.
const Strong = true
