package proxy

import (
	"testing"
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/wire"
)

// waiter is a session with a fresh answer in the cache.
type waiter struct {
	*simulation
	table *consistency.Table
}

func newWaiter(t *testing.T) *waiter {
	m := newSimulation(t)
	w := &waiter{m, m.s.db.Table}
	w.table.Start(consistency.Start{From: 0x1000, NextXID: 10, Timeline: 1})
	w.table.SetServing(true)
	e := &cache.Entry{Seq: w.table.Applied(), Deps: []*consistency.Cell{w.table.Global()}, Epoch: w.table.Epoch()}
	e.SetBytes([]byte("key"), wire.AppendRowDescription(nil), nil, wire.AppendCommandComplete(nil, "SELECT 0"))
	m.s.shared.L1.Put(e)
	w.table.Observe(m.Now(), w.table.Position())
	return w
}

// read asks for it; what comes of it is in out and in the session's phase.
func (w *waiter) read() {
	s := w.s
	s.phase = phaseIdle
	s.unit = unit{number: s.unit.number + 1, simple: true, alone: true, key: []byte("key")}
	w.out, w.await = nil, nil
	s.tryCache(nil)
}

// A read that follows its session's own write doesn't go to the primary because it is a few microseconds too early: it waits until
// it is known where the write ended, and then until the feed has got there.
func TestReadAfterTheSessionsWriteWaitsForTheCache(t *testing.T) {
	w := newWaiter(t)
	s, primary := w.s, w.s.shared.Nodes.PrimarySource()
	write := func() (ended int64) {
		s.cons.WriteBegan()
		ended = w.Now()
		s.cons.WriteEnded(ended)
		return ended
	}
	waiting := func(why string) {
		t.Helper()
		if s.phase != phaseCatchingUp || len(w.await) != 1 || len(w.out) > 0 {
			t.Fatalf("%s: phase %d, %d awaited, answered %q", why, s.phase, len(w.await), w.out)
		}
	}
	ended := write()
	w.read()
	waiting("where the write ended isn't known")
	primary.AdvanceIn(primary.Epoch(), ended+1, 0x1200)
	w.await[0]()
	waiting("the feed hasn't got there")
	w.table.KeepAlive(0x1200)
	w.await[0]()
	if len(w.out) == 0 {
		t.Fatal("no answer, though the cache has caught up")
	}
	w.read()
	if len(w.out) == 0 {
		t.Fatal("it waits again without a reason")
	}

	// Not while the write is under way on another connection, nor again after it has waited in vain.
	s.cons.WriteBegan()
	w.read()
	if s.phase == phaseCatchingUp || len(w.out) > 0 {
		t.Errorf("a write is under way: phase %d, answered %q", s.phase, w.out)
	}
	s.cons.WriteEnded(w.Now())
	w.read()
	waiting("that write has ended")
	s.Woken(s.unit.number)
	if len(w.out) > 0 {
		t.Fatal("answered without the session's write")
	}
	w.read()
	if s.phase == phaseCatchingUp {
		t.Error("it waits again at once")
	}
	if s.settling == 0 {
		t.Error("the answers that come instead won't say how far they reach")
	}
}

func TestWaitsInVainBecomeRarer(t *testing.T) {
	w := newWaiter(t)
	s := w.s
	now := int64(1)
	vain := func() time.Duration {
		s.waitedInVain(now)
		return time.Duration(s.restUntil - now)
	}
	for i, want := range []int{2, 4, 8, 16, 20, 20} {
		if got := vain(); got != time.Duration(want)*catchUpSession {
			t.Errorf("after %d: rests for %v", i+1, got)
		}
	}
	for range 5 { // each of which was worth it
		s.phase, s.unit = phaseCatchingUp, unit{number: s.unit.number + 1, simple: true, alone: true, key: []byte("key")}
		s.CaughtUp(s.unit.number)
	}
	if got := vain(); got != 2*catchUpSession {
		t.Errorf("after five that were worth it: rests for %v", got)
	}
}
