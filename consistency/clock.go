package consistency

import (
	"context"
	"errors"
	"time"
)

// ErrClockClosed is what waiters of a closed Clock get.
var ErrClockClosed = errors.New("position clock is closed")

// Clock is the position clock: one coalesced question to the primary, "what is your WAL position?", at most one in flight.
type Clock struct{}

// NewClock makes a clock; ask puts the question, and is never called twice at a time; timeout bounds each.
func NewClock(ask func(context.Context) (LSN, error), timeout time.Duration) *Clock { return &Clock{} }

// Next calls fn with the answer to a question that began after Next was called. Never blocks; fn is called exactly once, on
// the clock's goroutine, and must not block.
func (c *Clock) Next(fn func(LSN, error)) {}

// Close ends the question in flight, gives ErrClockClosed to those who wait, and waits for the clock's goroutine.
func (c *Clock) Close() {}
