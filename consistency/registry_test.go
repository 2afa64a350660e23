package consistency

import (
	"fmt"
	"testing"
	"time"
)

func TestRegistrySharesASessionAmongConnectionsOfOneKey(t *testing.T) {
	r := NewRegistry(10*time.Second, CaughtUp)
	a, b, other := r.Get("a"), r.Get("a"), r.Get("b")
	if a != b || a == other {
		t.Fatal("the key doesn't decide which session it is")
	}
}

func TestRegistryKeepsASessionForTheWindowAfterItsLastConnection(t *testing.T) {
	r := NewRegistry(10*time.Second, CaughtUp)
	s := r.Get("a")
	r.Get("a")
	s.Saw(42)
	// Old sessions are looked for when any is released; that of an unknown key does nothing else.
	at := func(now int64) { r.Release("unknown", now*second) }
	r.Release("a", 0)
	at(95)
	if r.Len() != 1 {
		t.Fatal("forgotten while a connection was there")
	}
	r.Release("a", 100*second) // the last
	at(109)
	if r.Len() != 1 || r.Get("a") != s {
		t.Fatal("forgotten within the window")
	}
	at(115)
	if r.Len() != 1 {
		t.Fatal("forgotten though it came back")
	}
	r.Release("a", 116*second)
	if r.Get("a") != s {
		t.Fatal("forgotten at once")
	}
	r.Release("a", 118*second)
	at(127) // the window after 116 is over, not that after 118
	if r.Len() != 1 {
		t.Fatal("forgotten by the clock of an earlier departure")
	}
	at(128)
	if r.Len() != 0 {
		t.Fatal("kept beyond the window")
	}
	if got := r.Get("a"); got == s || got.Floor() != 0 {
		t.Fatal("a forgotten session came back")
	}
}

func TestRegistryIsBoundedByTheWindow(t *testing.T) {
	r := NewRegistry(time.Second, CaughtUp)
	for i := range 10_000 {
		key := fmt.Sprint(i)
		r.Get(key)
		r.Release(key, int64(i)*int64(time.Millisecond))
	}
	if r.Len() > 1001 || len(r.mu.idle) > 1001 {
		t.Fatalf("%d sessions, %d waiting", r.Len(), len(r.mu.idle))
	}
}

func TestRegistryLowersFloorsAfterALossyFailover(t *testing.T) {
	r := NewRegistry(time.Second, CaughtUp)
	a, b := r.Get("a"), r.Get("b")
	a.Saw(100)
	b.Saw(50)
	r.LowerFloors(70)
	if a.Floor() != 70 || b.Floor() != 50 {
		t.Fatalf("floors %s %s", a.Floor(), b.Floor())
	}
}
