package shard

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
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

func (o Options) withDefaults() Options {
	if o.Name == "" {
		o.Name = "shard"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.ReadBuffer <= 0 {
		o.ReadBuffer = 64 << 10
	}
	if o.LowWater <= 0 {
		o.LowWater = 64 << 10
	}
	if o.FlushTimeout <= 0 {
		o.FlushTimeout = 5 * time.Second
	}
	return o
}

// Headroom is by how much GOMAXPROCS should exceed the number of loops that run in a process, for the sake of all its other
// goroutines: a loop that is busy makes only system calls which the scheduler doesn't see. Measured with two loops that never sleep,
// on two cores: a round trip between two goroutines over loopback takes 44 ms at the median with GOMAXPROCS=2, and 13 µs with 3 or
// more. The loops gain as well: with a processor idle the scheduler doesn't take away that of a loop which sleeps, to give it back some
// microseconds later (11 µs of CPU per request without, 8.8 µs with; 2 loops, 16 clients, bench/floor).
const Headroom = 2

// Loop is one event loop. Only Post, Close, and Stats may be called from any goroutine; everything else belongs to the
// goroutine that is in Run.
type Loop struct {
	opts Options
	ep   *epoll // nil: portable
	mail mailbox

	// Portable:
	bell  chan struct{} // wakes the loop
	alarm *time.Timer   // the same, after a time; made on first use

	now  int64     // wall clock, Unix nanoseconds, at the start of the turn
	mono int64     // nanoseconds since base by the monotonic clock, at the start of the turn
	base time.Time // when the loop was made

	timers  timers
	buffers buffers
	read    []byte // what every epoll connection reads into

	slots []slot  // all connections; an epoll event carries the index
	free  []int32 // unused slots

	// Work for later in the turn. A connection is in each at most once.
	ready  []*Conn  // has bytes to deliver that no event will announce
	dirty  []*Conn  // has bytes to send
	dying  []*Conn  // to be closed
	leave  []leaver // to be detached
	spare  []*Conn  // the other half of ready and dirty, while one is worked through
	count  counters
	shared published

	closing bool // no new connections

	run struct {
		sync.Mutex
		started, closed bool
	}
	done    chan struct{}  // closed when Run has ended
	helpers sync.WaitGroup // goroutines that close goroutine-driven connections
}

// slot is a place for a connection. The generation tells an event for the connection from one for its predecessor.
type slot struct {
	c   *Conn
	gen uint32
}

type leaver struct {
	c    *Conn
	then func(Detached)
}

// New makes a loop. It owns descriptors from here on: Close it, also if Run was never called.
func New(opts Options) (*Loop, error) {
	l := &Loop{opts: opts.withDefaults(), base: time.Now(), done: make(chan struct{})}
	if !opts.Portable {
		var err error
		if l.ep, err = newEpoll(); err != nil {
			return nil, fmt.Errorf("shard: %w", err)
		}
	}
	if l.ep == nil {
		l.bell = make(chan struct{}, 1)
	} else {
		l.read = make([]byte, l.opts.ReadBuffer)
	}
	l.tick()
	return l, nil
}

// Run runs the loop until Close is called. It must be called once at most.
func (l *Loop) Run() {
	l.run.Lock()
	if l.run.started {
		l.run.Unlock()
		panic("shard: Run called twice")
	}
	if l.run.closed {
		l.run.Unlock()
		return
	}
	l.run.started = true
	l.run.Unlock()

	if l.ep != nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	defer close(l.done)
	defer l.teardown() // also when a callback ends the goroutine (runtime.Goexit)
	for !l.mail.closed.Load() {
		l.turn()
	}
}

// Close ends the loop: what was posted before is run, every connection is closed (Closed is called with
// ErrLoopClosed; unsent bytes are dropped), and every goroutine has ended when it returns. It may be called several times, and
// from any goroutine but the loop's own.
func (l *Loop) Close() {
	l.mail.close(l)
	l.run.Lock()
	started, again := l.run.started, l.run.closed
	l.run.closed = true
	l.run.Unlock()
	if !started && !again {
		l.teardown()
		close(l.done)
	}
	<-l.done
}

// Post hands fn to the loop, which runs the functions posted from one goroutine in their order. It never blocks and may be
// called from anywhere, the loop included. False: the loop is closed and fn won't run.
func (l *Loop) Post(fn func()) bool { return l.mail.send(l, letter{fn: fn}) }

// Now returns the wall clock in Unix nanoseconds, as it was at the start of the turn. On the loop only.
func (l *Loop) Now() int64 { return l.now }

// Mono returns the nanoseconds between Base and the start of the turn, by the monotonic clock. On the loop only.
func (l *Loop) Mono() int64 { return l.mono }

// Base is when the loop was made.
func (l *Loop) Base() time.Time { return l.base }

// turn waits for something to do, and does it. The order: what needs no event, events, time, mail; then closing and sending,
// which also serves what the callbacks before them have caused.
func (l *Loop) turn() {
	events := 0
	if l.ep != nil {
		events = l.ep.poll() // a busy loop nearly always finds something; only one that sleeps pays for telling the scheduler
	}
	if events == 0 && len(l.ready)+len(l.dirty)+len(l.dying)+len(l.leave) == 0 && l.mail.sleep() {
		l.shared.publish(&l.count)
		timeout := l.timers.next(int64(time.Since(l.base)))
		if l.ep != nil {
			events = l.ep.wait(timeout)
		} else {
			l.await(timeout)
		}
		l.mail.awake()
		l.count.wakes++
	}
	l.tick()
	l.count.turns++

	l.deliverReady()
	if events > 0 {
		l.ep.dispatch(l, events)
	}
	l.timers.fire(l)
	l.mail.deliver(l)

	// Closing makes handlers write elsewhere, and sending makes connections fail: go round until there is nothing left, but not for
	// ever (Drained may write again, and be drained again).
	for range 4 {
		l.bury()
		l.flushDirty()
		if len(l.dying)+len(l.leave) == 0 {
			break
		}
	}
	if l.count.turns%64 == 0 {
		l.shared.publish(&l.count)
	}
}

// await waits for mail, which is where all news comes from without epoll. Negative: for ever.
func (l *Loop) await(timeout time.Duration) {
	if timeout < 0 {
		<-l.bell
		return
	}
	if l.alarm == nil {
		l.alarm = time.NewTimer(timeout)
	} else {
		l.alarm.Reset(timeout)
	}
	select {
	case <-l.bell:
		l.alarm.Stop()
	case <-l.alarm.C:
	}
}

func (l *Loop) tick() {
	t := time.Now()
	l.now = t.UnixNano()
	l.mono = int64(t.Sub(l.base))
}

// deliverReady delivers bytes that were read before the connection came here.
func (l *Loop) deliverReady() {
	if len(l.ready) == 0 {
		return
	}
	batch := l.ready
	l.ready, l.spare = l.spare[:0], nil
	for i, c := range batch {
		batch[i] = nil
		c.inReady = false
		c.deliverWaiting()
	}
	l.spare = batch[:0]
}

// flushDirty sends what was written in this turn.
func (l *Loop) flushDirty() {
	if len(l.dirty) == 0 {
		return
	}
	batch := l.dirty
	l.dirty, l.spare = l.spare[:0], nil
	for i, c := range batch {
		batch[i] = nil
		c.dirty = false
		c.flush()
	}
	l.spare = batch[:0]
}

// bury takes closed and detached connections out of the loop and says so. Descriptors are closed here and nowhere else, so no event of
// this turn can be mistaken for one of a new connection that was given the same number.
func (l *Loop) bury() {
	for i := 0; i < len(l.dying); i++ { // grows while we go
		c := l.dying[i]
		if c == nil {
			continue // a callback ended the goroutine here; teardown goes on
		}
		l.dying[i] = nil
		l.remove(c)
		c.release()
		c.shutdown()
		c.closed()
	}
	l.dying = l.dying[:0]
	for i := 0; i < len(l.leave); i++ {
		v := l.leave[i]
		if v.c == nil {
			continue
		}
		l.leave[i] = leaver{}
		d := v.c.pack()
		l.remove(v.c)
		l.call("Detach", func() { v.then(d) })
	}
	l.leave = l.leave[:0]
}

// insert gives c a slot.
func (l *Loop) insert(c *Conn) {
	if n := len(l.free); n > 0 {
		c.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		c.slot = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	l.slots[c.slot].c = c
	l.shared.conns.Add(1)
}

// remove gives c's slot back. Events that are still under way for it no longer find it.
func (l *Loop) remove(c *Conn) {
	s := &l.slots[c.slot]
	s.c = nil
	s.gen++
	l.free = append(l.free, c.slot)
	l.shared.conns.Add(-1)
}

// call runs a function that belongs to no connection.
func (l *Loop) call(what string, fn func()) {
	defer l.caught(what)
	fn()
}

// caught is deferred around callbacks that belong to no connection.
func (l *Loop) caught(what string) {
	if r := recover(); r != nil {
		l.panicked(what, r)
	}
}

func (l *Loop) panicked(what string, r any) error {
	l.count.panics++
	l.opts.Logger.Error("panic in a callback", "shard", l.opts.Name, "callback", what, "panic", r, "stack", string(debug.Stack()))
	return &PanicError{Value: r}
}

// PanicError is what Closed reports for a connection whose handler panicked.
type PanicError struct {
	Value any // what it panicked with
}

func (e *PanicError) Error() string { return fmt.Sprintf("shard: panic in a handler: %v", e.Value) }

// teardown closes everything. What was posted before Close still runs.
func (l *Loop) teardown() {
	l.closing = true
	l.mail.close(l) // it isn't yet when a callback has ended the goroutine
	l.tick()
	for l.mail.waiting.Load() {
		l.mail.deliver(l)
	}
	for _, s := range l.slots {
		if s.c != nil {
			s.c.die(ErrLoopClosed)
		}
	}
	for len(l.dying)+len(l.leave) > 0 {
		l.bury()
	}
	l.helpers.Wait()
	l.mail.deliver(l) // word from goroutines that have ended since
	l.timers = timers{}
	l.mail.unplug(l)
	l.shared.publish(&l.count)
}
