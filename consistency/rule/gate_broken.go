//go:build break_gate

package rule

// Gate is broken: every source may answer every read.
const Gate = false
