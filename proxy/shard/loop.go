package shard

import (
	"errors"
	"log/slog"
	"time"
)

// ErrLoopClosed is what Closed reports for connections that were open when their loop was closed, and what Adopt and
// Attach return on a loop that is closing.
var ErrLoopClosed = errors.New("shard: loop is closed")

// Options configure a loop. The zero value is good for production.
type Options struct {
	Name         string        // in log lines; default "shard"
	Logger       *slog.Logger  // default slog.Default()
	ReadBuffer   int           // bytes; most that one connection delivers per turn. One such buffer per loop. Default 64 KiB
	LowWater     int           // bytes; Drained fires when Buffered falls to this or below, having been above. Default 64 KiB
	FlushTimeout time.Duration // how long CloseAfterFlush waits for a peer that doesn't read. Default 5s
	Portable     bool          // no epoll: every connection is driven by goroutines, as on systems other than Linux
}

// Loop is one event loop. Only Post, Close, and Stats may be called from any goroutine; everything else belongs to the
// goroutine that is in Run.
type Loop struct{}

// New makes a loop. It owns descriptors from here on: Close it, also if Run was never called.
func New(opts Options) (*Loop, error) { panic("todo") }

// Run runs the loop until Close is called. It must be called once at most.
func (l *Loop) Run() { panic("todo") }

// Close ends the loop: what was posted before is run, every connection is closed (Closed is called with
// ErrLoopClosed; unsent bytes are dropped), and every goroutine has ended when it returns. It may be called several times, and
// from any goroutine but the loop's own.
func (l *Loop) Close() { panic("todo") }

// Post hands fn to the loop, which runs the functions posted from one goroutine in their order. It never blocks and may be
// called from anywhere, the loop included. False: the loop is closed and fn won't run.
func (l *Loop) Post(fn func()) bool { panic("todo") }

// Now returns the wall clock in Unix nanoseconds, as it was at the start of the turn. On the loop only.
func (l *Loop) Now() int64 { panic("todo") }

// After calls fn on the loop once d has passed. It allocates the timer; one that is used again and again is better
// embedded in its owner: see Timer.
func (l *Loop) After(d time.Duration, fn func()) *Timer { panic("todo") }

// Timer calls a function on its loop after a time. It may be embedded by value; set it up with Init, then Reset and Stop cost no
// allocation. All methods are for the loop's goroutine alone. A running timer must not be copied.
type Timer struct{}

// Init says on which loop the timer runs and what it calls. The timer isn't started.
func (t *Timer) Init(l *Loop, fn func()) { panic("todo") }

// Reset starts the timer, or starts it anew, to fire once after d. Moving a running timer further away costs O(1).
func (t *Timer) Reset(d time.Duration) { panic("todo") }

// Stop stops the timer; after it fn isn't called. False: it wasn't running. A nil or never initialised timer may be stopped.
func (t *Timer) Stop() bool { panic("todo") }

// Active says whether the timer is running.
func (t *Timer) Active() bool { panic("todo") }

// Stats are a loop's counters since its start; Conns is how many connections it has now.
type Stats struct {
	Conns    int64
	BytesIn  uint64 // bytes delivered to handlers
	BytesOut uint64 // bytes taken by the kernel (or by the writing goroutine's connection)
	Turns    uint64 // turns of the loop
	Wakes    uint64 // times the loop slept and was woken, by whatever
	Posts    uint64 // functions run for Post
	Panics   uint64 // callbacks that panicked
}

// Stats returns the counters as of the loop's last moment of rest or up to 64 turns ago. Safe from any goroutine.
func (l *Loop) Stats() Stats { panic("todo") }
