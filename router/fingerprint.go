package router

import "fmt"

// Fingerprint identifies a statement with its literals lifted out, or, where Scan.Exact says so, its exact text.
// It is a keyed hash with a key that is made at process start: it is comparable within one process only, and isn't for
// showing to users (StatementID is).
type Fingerprint struct{ Hi, Lo uint64 }

// String is the fingerprint in hexadecimal, for debugging.
func (f Fingerprint) String() string { return fmt.Sprintf("%016x%016x", f.Hi, f.Lo) }
