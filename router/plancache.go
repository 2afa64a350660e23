package router

import "sync/atomic"

// Key identifies a plan.
type Key struct {
	Statement  Fingerprint // by Lexer.Scan
	Context    Fingerprint // by Context.ID
	Generation uint64      // Plan.Generation, or that of the current catalog.Snapshot
}

// planWays is how many plans compete for the same places.
const planWays = 8

// PlanCache remembers plans. It is bounded, and safe for concurrent use; Get takes no lock and doesn't allocate.
//
// It is a table of small sets; which set, the statement's fingerprint tells, which nobody outside of the process can
// predict. Within a set the clock algorithm chooses what goes, with plans of older catalog snapshots first.
type PlanCache struct {
	sets []planSet
}

type planSet struct {
	slots [planWays]atomic.Pointer[planEntry]
	hand  atomic.Uint32
}

type planEntry struct {
	key  Key
	plan *Plan
	used atomic.Bool
}

// NewPlanCache returns a cache for at least the given number of plans.
func NewPlanCache(plans int) *PlanCache {
	n := 1
	for n*planWays < plans {
		n *= 2
	}
	return &PlanCache{sets: make([]planSet, n)}
}

func (c *PlanCache) set(key *Key) *planSet {
	return &c.sets[(key.Statement.Lo^key.Context.Lo)&uint64(len(c.sets)-1)]
}

// Get returns the plan of a key, or nil.
func (c *PlanCache) Get(key Key) *Plan {
	set := c.set(&key)
	for i := range set.slots {
		if e := set.slots[i].Load(); e != nil && e.key == key {
			if !e.used.Load() { // written only once, so that readers don't fight for the cache line
				e.used.Store(true)
			}
			return e.plan
		}
	}
	return nil
}

// Put remembers a plan under a key. It may push out another one, and under contention forget one of two; that costs
// another planning, nothing else.
func (c *PlanCache) Put(key Key, plan *Plan) {
	set := c.set(&key)
	entry := &planEntry{key: key, plan: plan}
	victim := -1
	for i := range set.slots {
		e := set.slots[i].Load()
		if e != nil && e.key == key {
			set.slots[i].Store(entry)
			return
		}
		if victim < 0 && (e == nil || e.key.Generation < key.Generation) {
			victim = i
		}
	}
	for victim < 0 {
		i := int(set.hand.Add(1) % planWays)
		if e := set.slots[i].Load(); e == nil || !e.used.Swap(false) {
			victim = i
		}
	}
	set.slots[victim].Store(entry)
}

// Len counts the plans, for statistics.
func (c *PlanCache) Len() int {
	n := 0
	for i := range c.sets {
		for j := range c.sets[i].slots {
			if c.sets[i].slots[j].Load() != nil {
				n++
			}
		}
	}
	return n
}
