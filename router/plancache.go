package router

// Key identifies a plan.
type Key struct {
	Statement  Fingerprint // by Lexer.Scan
	Context    Fingerprint // by Context.ID
	Generation uint64      // catalog.Snapshot.Generation
}

// PlanCache remembers plans. It is bounded, and safe for concurrent use; Get takes no lock and doesn't allocate.
type PlanCache struct{}

// NewPlanCache returns a cache for about the given number of plans.
func NewPlanCache(plans int) *PlanCache { return &PlanCache{} }

// Get returns the plan of a key, or nil.
func (c *PlanCache) Get(key Key) *Plan { return nil }

// Put remembers a plan. It may push out another one.
func (c *PlanCache) Put(key Key, plan *Plan) {}
