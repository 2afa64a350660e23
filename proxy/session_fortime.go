package proxy

import (
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router"
)

// Answers that are cached for a time because the session asks for it (freshet.cache_ttl), though not all that they depend on is
// watched. They have keys of their own: who hasn't asked isn't given them. What is watched makes them stale as it does others, and
// a session isn't given what was fetched before its own last write.

// cacheTTL is for how long the session, or the statement, wants the answer to be cached for a time; 0: not at all.
func (s *Session) cacheTTL(plan *router.Plan) time.Duration {
	ttl := s.opts.cacheTTL
	if h := s.unit.hint.CacheTTL; h != 0 {
		ttl = max(h, 0)
	}
	if ttl == 0 || !plan.ForATime || s.level() == consistency.Strong {
		return 0
	}
	if limit := s.shared.CacheTTL; limit > 0 {
		ttl = min(ttl, limit)
	}
	return ttl
}

// chooseForATime has the unit cached for a time if it can't be cached otherwise.
func (s *Session) chooseForATime(plan *router.Plan, clockWord bool, ttl time.Duration) {
	u := &s.unit
	switch {
	case !plan.Cacheable:
		u.detail = plan.Reason
	case clockWord:
		u.detail = clockWordReason
	case !s.db.Table.Serving():
		u.detail = reasonTexts[reasonFeedBehind]
	case !s.covered(plan.Relations):
		u.detail = cache.ErrUncovered.Error()
	default:
		return
	}
	u.ttl = ttl
}

func (s *Session) covered(relations []uint32) bool {
	for _, oid := range relations {
		if !s.db.Table.Covered(oid) {
			return false
		}
	}
	return true
}

// tryForATime is tryCache for such a unit.
func (s *Session) tryForATime(msgs []byte) bool {
	u := &s.unit
	now := s.env.Now()
	u.looked = now
	e := s.shared.L1.Get(u.key)
	if e != nil && e.Fresh() && s.fits(e) && now-e.FilledAt < int64(u.ttl) && !s.cons.WrittenSince(e.AsOf) {
		s.hit(e)
		return true
	}
	if u.miss = missOf(e, s.db.Table); e != nil && e.Fresh() {
		u.miss = missExpired
	}
	return s.revalidate(e, now, msgs) || s.joinFlight(msgs, false)
}

// catalogHolds says whether the plan is made by a catalog that holds all that is known to have changed in it. Without the feed nothing
// is known but what a look at it finds, which makes stale what was planned before.
func (s *Session) catalogHolds() bool {
	return s.db.Table.CatalogHolds() || s.unit.ttl > 0 && !s.db.Table.Serving()
}
