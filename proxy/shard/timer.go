package shard

import "time"

// Timer calls a function on its loop after a time. It may be embedded by value; set it up with Init, then Reset and Stop cost no
// allocation. All methods are for the loop's goroutine alone. A running timer must not be copied.
//
// Times are counted from the start of the turn in which Reset was called, by the monotonic clock, and are kept to about a millisecond.
type Timer struct {
	loop  *Loop
	fn    func()
	when  int64 // by Loop.mono
	place int32 // index in the heap, plus one; 0: not running
}

// After calls fn on the loop once d has passed. It allocates the timer; one that is used again and again is better
// embedded in its owner: see Timer.
func (l *Loop) After(d time.Duration, fn func()) *Timer {
	t := &Timer{}
	t.Init(l, fn)
	t.Reset(d)
	return t
}

// Init says on which loop the timer runs and what it calls. The timer isn't started; it must not be running.
func (t *Timer) Init(l *Loop, fn func()) {
	if t.place != 0 {
		panic("shard: Init of a running timer")
	}
	t.loop, t.fn = l, fn
}

// Reset starts the timer, or starts it anew, to fire once after d, never in the turn at hand. Moving a running timer further away
// costs O(1): that is what a timeout does that is put off with every query.
func (t *Timer) Reset(d time.Duration) {
	t.when = t.loop.mono + max(int64(d), 1)
	if t.when < 0 {
		t.when = 1<<63 - 1
	}
	t.loop.timers.set(t)
}

// Stop stops the timer; after it fn isn't called. False: it wasn't running. A nil or never initialised timer may be stopped.
func (t *Timer) Stop() bool {
	if t == nil || t.place == 0 {
		return false
	}
	t.loop.timers.drop(t)
	return true
}

// Active says whether the timer is running.
func (t *Timer) Active() bool { return t != nil && t.place != 0 }

// timers is a 4-ary heap. Its keys are never later than the timers they stand for: a timer that is put off keeps its place,
// and is moved only when the old time comes.
type timers struct {
	heap []timerKey
}

type timerKey struct {
	when int64
	t    *Timer
}

// next returns how long until the first key; -1: there is none.
func (h *timers) next(now int64) time.Duration {
	if len(h.heap) == 0 {
		return -1
	}
	return max(time.Duration(h.heap[0].when-now), 0)
}

// fire runs what is due.
func (h *timers) fire(l *Loop) {
	for len(h.heap) > 0 && h.heap[0].when <= l.mono {
		t := h.heap[0].t
		if t.when > h.heap[0].when { // was put off
			h.heap[0].when = t.when
			h.down(0)
			continue
		}
		h.drop(t)
		l.call("timer", t.fn)
	}
}

func (h *timers) set(t *Timer) {
	if t.place == 0 {
		h.heap = append(h.heap, timerKey{t.when, t})
		t.place = int32(len(h.heap))
		h.up(len(h.heap) - 1)
		return
	}
	if i := int(t.place) - 1; t.when < h.heap[i].when {
		h.heap[i].when = t.when
		h.up(i)
	}
}

func (h *timers) drop(t *Timer) {
	i, last := int(t.place)-1, len(h.heap)-1
	t.place = 0
	moved := h.heap[last]
	h.heap[last] = timerKey{}
	h.heap = h.heap[:last]
	if i == last {
		return
	}
	h.heap[i] = moved
	moved.t.place = int32(i + 1)
	h.down(i)
	h.up(int(moved.t.place) - 1)
}

func (h *timers) up(i int) {
	k := h.heap[i]
	for i > 0 {
		parent := (i - 1) / 4
		if h.heap[parent].when <= k.when {
			break
		}
		h.place(i, h.heap[parent])
		i = parent
	}
	h.place(i, k)
}

func (h *timers) down(i int) {
	k := h.heap[i]
	for {
		first := 4*i + 1
		if first >= len(h.heap) {
			break
		}
		least := first
		for j := first + 1; j < min(first+4, len(h.heap)); j++ {
			if h.heap[j].when < h.heap[least].when {
				least = j
			}
		}
		if k.when <= h.heap[least].when {
			break
		}
		h.place(i, h.heap[least])
		i = least
	}
	h.place(i, k)
}

func (h *timers) place(i int, k timerKey) {
	h.heap[i] = k
	k.t.place = int32(i + 1)
}
