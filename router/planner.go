package router

import "github.com/freshet/freshet/router/catalog"

// Planner makes plans. It is safe for concurrent use.
type Planner struct {
	src func() *catalog.Snapshot
}

// NewPlanner returns a planner that judges by the snapshot that src returns at the time of planning; src may return nil as long as
// there is none, and nothing is cacheable then.
func NewPlanner(src func() *catalog.Snapshot) *Planner { return &Planner{src: src} }

// Plan makes the plan of a text (one statement or several). It blocks (libpg_query: tens of microseconds and up), so it
// runs beside the shard. It never returns nil. Plan.Generation is for the Key under which it may be remembered.
func (p *Planner) Plan(text string, ctx Context) *Plan {
	return UnknownPlan("not planned")
}

// UnknownPlan is the plan of a statement that can't be understood: it goes to the primary, counts as a write and
// binds the session.
func UnknownPlan(reason string) *Plan {
	return &Plan{Kind: KindInvalid, Reason: reason, Writes: true, OnPrimary: true, PrimaryReason: reason, Binds: reason}
}
