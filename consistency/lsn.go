package consistency

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a WAL location of the current timeline: a byte offset into the write-ahead log. 0 is "none, before everything"
// (Postgres' InvalidXLogRecPtr).
type LSN uint64

// ParseLSN reads Postgres' text form of a WAL location, "16/B374D848".
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	if ok {
		h, err1 := strconv.ParseUint(high, 16, 32)
		l, err2 := strconv.ParseUint(low, 16, 32)
		if err1 == nil && err2 == nil {
			return LSN(h<<32 | l), nil
		}
	}
	return 0, fmt.Errorf("not a WAL location: %q", s)
}

// String gives Postgres' text form, "16/B374D848".
func (l LSN) String() string {
	return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l))
}
