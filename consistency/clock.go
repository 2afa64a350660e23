package consistency

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrClockClosed is what those get who wait for a Clock that is closed.
var ErrClockClosed = errors.New("the position clock is closed")

// Clock is the position clock: one coalesced question to the primary ("what is your WAL position?"), at most one in flight,
// shared by everybody who waits. Who comes while one is in flight waits for the next one, since only a question that began
// after a write was acknowledged is sure to be answered with a position that contains it. (Raft calls this ReadIndex.)
//
// Safe for concurrent use. Close it when done.
type Clock struct {
	ask     func(context.Context) (LSN, error)
	timeout time.Duration
	wake    chan struct{} // holds one when somebody waits
	stop    context.CancelFunc
	done    chan struct{}

	mu struct {
		sync.Mutex
		waiting []func(LSN, error)
		closed  bool
	}
}

// NewClock makes a clock. ask puts the question (PositionSQL) and ends when its context does; it is never called by two at
// a time. timeout bounds each question, connecting included.
func NewClock(ask func(context.Context) (LSN, error), timeout time.Duration) *Clock {
	// The clock's life is bounded by Close, not by a caller's context: those who wait must be answered in any case.
	ctx, stop := context.WithCancel(context.Background())
	c := &Clock{ask: ask, timeout: timeout, wake: make(chan struct{}, 1), stop: stop, done: make(chan struct{})}
	go c.run(ctx)
	return c
}

// Next calls fn with the answer to a question that begins after Next was called, or with its error. It never blocks. fn is
// called exactly once, on the clock's goroutine, so it must neither block nor Close the clock; it may call Next. On a
// closed clock it is called by Next itself, with ErrClockClosed: then it must not try again.
func (c *Clock) Next(fn func(LSN, error)) {
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		fn(0, ErrClockClosed)
		return
	}
	c.mu.waiting = append(c.mu.waiting, fn)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *Clock) run(ctx context.Context) {
	defer close(c.done)
	var asking []func(LSN, error)
	for ctx.Err() == nil {
		select {
		case <-c.wake:
		case <-ctx.Done():
		}
		c.mu.Lock()
		asking, c.mu.waiting = c.mu.waiting, asking[:0]
		c.mu.Unlock()
		if len(asking) == 0 {
			continue
		}
		lsn, err := c.put(ctx)
		for i, fn := range asking {
			asking[i] = nil
			fn(lsn, err)
		}
	}
	// Close has shut the door before it stopped us: nobody joins any more.
	c.mu.Lock()
	asking, c.mu.waiting = c.mu.waiting, nil
	c.mu.Unlock()
	for _, fn := range asking {
		fn(0, ErrClockClosed)
	}
}

func (c *Clock) put(closed context.Context) (LSN, error) {
	if closed.Err() != nil {
		return 0, ErrClockClosed
	}
	ctx, cancel := context.WithTimeout(closed, c.timeout)
	defer cancel()
	lsn, err := c.ask(ctx)
	if err != nil {
		lsn = 0
		if closed.Err() != nil {
			err = ErrClockClosed
		}
	}
	return lsn, err
}

// Close ends the question in flight, gives ErrClockClosed to those who wait, and waits for the clock's goroutine. May be
// called again.
func (c *Clock) Close() {
	c.mu.Lock()
	c.mu.closed = true
	c.mu.Unlock()
	c.stop()
	<-c.done
}
