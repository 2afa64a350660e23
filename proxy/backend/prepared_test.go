package backend

import "testing"

func TestTheStatementThatWasNotUsedForLongestGoesFirst(t *testing.T) {
	var p Prepared
	if !p.Empty() || p.Has(1) || p.Use(1) {
		t.Fatal("something is there")
	}
	never := func(uint64) bool { return false }
	if _, _, ok := p.Oldest(never); ok {
		t.Fatal("an oldest of none")
	}
	p.AddOwn(1<<62, "own")
	for id, name := range []string{"a", "b", "c"} {
		p.Add(uint64(id), name)
	}
	p.Use(0)
	if id, name, ok := p.Oldest(never); !ok || id != 1 || name != "b" {
		t.Errorf("oldest is %d %q, %v", id, name, ok)
	}
	if p.Has(1); !p.Has(1) { // is no use
		t.Error("it is gone")
	}
	if id, _, ok := p.Oldest(func(id uint64) bool { return id == 1 }); !ok || id != 2 {
		t.Errorf("oldest but 1 is %d, %v", id, ok)
	}
	// 1 was skipped, and counts as used.
	if id, _, _ := p.Oldest(never); id != 2 {
		t.Errorf("oldest is %d", id)
	}
	p.Remove(2)
	if id, _, _ := p.Oldest(never); id != 0 || p.Clients() != 2 {
		t.Errorf("oldest of %d is %d", p.Clients(), id)
	}
	if _, _, ok := p.Oldest(func(uint64) bool { return true }); ok {
		t.Error("one that is in use was given up")
	}
	p.Clear()
	if !p.Empty() || p.Has(1<<62) || p.Has(0) {
		t.Error("something is left")
	}
}
