//go:build !break_ryw

package rule

// ReadYourWrites: a write pins its session until its position is known, and raises the floor to it.
const ReadYourWrites = true
