//go:build break_ryw

package rule

// ReadYourWrites is broken: a write leaves no trace in its session.
const ReadYourWrites = false
