package router

import (
	"sync"
	"testing"
)

func planKey(n, generation uint64) Key {
	// The low bits choose the set; a few keys to each.
	return Key{Statement: Fingerprint{Hi: n, Lo: n * 0x9E3779B97F4A7C15}, Generation: generation}
}

func TestPlanCacheRemembers(t *testing.T) {
	c := NewPlanCache(64)
	a, b := &Plan{Name: "a"}, &Plan{Name: "b"}
	key := planKey(1, 1)
	if c.Get(key) != nil {
		t.Error("an empty cache has a plan")
	}
	c.Put(key, a)
	if c.Get(key) != a {
		t.Error("the plan is gone")
	}
	for name, other := range map[string]Key{
		"statement":  {Statement: Fingerprint{Hi: 2, Lo: key.Statement.Lo}, Generation: 1},
		"context":    {Statement: key.Statement, Context: Fingerprint{Hi: 1}, Generation: 1},
		"generation": {Statement: key.Statement, Generation: 2},
	} {
		if c.Get(other) != nil {
			t.Errorf("another %s has the same plan", name)
		}
	}
	c.Put(key, b)
	if c.Get(key) != b || c.Len() != 1 {
		t.Error("the plan wasn't replaced")
	}
}

func TestPlanCacheIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	c := NewPlanCache(64)
	hot := planKey(0, 1)
	c.Put(hot, &Plan{})
	for n := uint64(1); n < 10_000; n++ {
		if c.Get(hot) == nil {
			t.Fatalf("a plan in use was forgotten after %d others", n)
		}
		c.Put(planKey(n, 1), &Plan{})
	}
	if c.Len() > 64 {
		t.Errorf("%d plans", c.Len())
	}
}

func TestPlanCacheForgetsOldGenerationsFirst(t *testing.T) {
	c := NewPlanCache(planWays) // one set
	for n := range uint64(planWays) {
		c.Put(planKey(n, 1), &Plan{})
		c.Get(planKey(n, 1))
	}
	for n := range uint64(planWays) {
		c.Put(planKey(n, 2), &Plan{})
		c.Get(planKey(n, 2))
	}
	for n := range uint64(planWays) {
		if c.Get(planKey(n, 2)) == nil {
			t.Errorf("plan %d of the new generation had to make room", n)
		}
	}
}

func TestPlanCacheGetDoesNotAllocate(t *testing.T) {
	c := NewPlanCache(64)
	key := planKey(1, 1)
	c.Put(key, &Plan{})
	if n := testing.AllocsPerRun(100, func() { c.Get(key) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPlanCacheUnderContention(t *testing.T) {
	c := NewPlanCache(64)
	plans := make([]*Plan, 500)
	for i := range plans {
		plans[i] = &Plan{Name: itoa(i)}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for round := range 20 {
				for i, p := range plans {
					key := planKey(uint64(i), uint64(round/10))
					if got := c.Get(key); got != nil && got != p {
						t.Errorf("plan %d is %s", i, got.Name)
					}
					c.Put(key, p)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkPlanCacheGet(b *testing.B) {
	c := NewPlanCache(1024)
	key := planKey(1, 1)
	c.Put(key, &Plan{})
	b.ReportAllocs()
	for b.Loop() {
		c.Get(key)
	}
}
