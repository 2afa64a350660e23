package consistency

import "time"

// started pairs the wall clock with the monotonic one, once.
var started = time.Now()

// Now is the present instant as unix nanoseconds, by the monotonic clock: it agrees with the wall clock at the start
// of the process and is never set back or forward by whoever adjusts that. Every instant that this package is given
// must come from here: an AsOf taken before the clock was set back would otherwise seem to be later than a write that
// came after it.
func Now() int64 {
	return started.UnixNano() + int64(time.Since(started))
}

// InstantOf is what Now was at t, a time of this process that has a reading of the monotonic clock.
func InstantOf(t time.Time) int64 {
	return started.UnixNano() + int64(t.Sub(started))
}
