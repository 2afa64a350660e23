package proxy

import (
	"sync"
	"time"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/wire"
)

// Stale answers, which are given in two cases only, are marked, and have a bound that is proven: how long ago the answer was last
// known to be right (cache.Entry.RightAsOf). A session isn't given one that may lack what it has written itself. That it doesn't go
// back in time isn't kept up.

// expired says by how much the answer is beyond --cache-ttl; 0 or less: it isn't.
func (s *Shared) expired(e *cache.Entry, now int64) time.Duration {
	if s.CacheTTL == 0 {
		return 0
	}
	return time.Duration(now-e.FilledAt) - s.CacheTTL
}

// mayShow says whether the session may be given the answer within a bound of staleness.
func (s *Session) mayShow(e *cache.Entry, now int64, bound time.Duration) bool {
	if e == nil || !s.fits(e) {
		return false
	}
	asOf := e.RightAsOf(s.db.Table)
	return asOf != 0 && now-asOf <= int64(bound) && !s.cons.WrittenSince(asOf)
}

// revalidate answers the unit with what is stale while somebody else fetches what isn't. False: it doesn't.
func (s *Session) revalidate(e *cache.Entry, now int64, msgs []byte) bool {
	u := &s.unit
	bound := s.shared.StaleWhileRevalidate
	if bound == 0 || e == nil || s.refilling || s.level() != consistency.Eventual || s.shared.expired(e, now) > bound {
		return false
	}
	if e.ForATime && e.Fresh() { // it went stale when its time was over
		if now-e.FilledAt > int64(u.ttl+bound) || !s.fits(e) || s.cons.WrittenSince(e.AsOf) {
			return false
		}
	} else if !s.mayShow(e, now, bound) {
		return false
	}
	if s.shared.refills.begin(u.key) {
		s.env.Refill(s, append([]byte(nil), u.key...), s.alone(msgs))
	}
	s.local.Counters.Revalidated.Add(1)
	s.hitStale(e, reasonRevalidates)
	return true
}

// staleIfError answers the unit, which no server can answer, with what there is. False: there is nothing that may be given.
func (s *Session) staleIfError() bool {
	u := &s.unit
	if s.shared.StaleIfError == 0 || len(u.key) == 0 || u.sent || s.refilling || s.level() == consistency.Strong {
		return false
	}
	now := s.env.Now()
	e := s.shared.L1.Get(u.key)
	if !s.mayShow(e, now, s.shared.StaleIfError) {
		return false
	}
	s.abandonFlight() // its followers see for themselves
	s.phase = phaseIdle
	s.unit.looked = now
	s.local.Counters.StaleIfError.Add(1)
	s.hitStale(e, reasonNoNode)
	return true
}

func (s *Session) hitStale(e *cache.Entry, why reason) {
	s.unit.waited = false
	for _, t := range s.unit.tallies {
		t.stale++
	}
	s.hit(e)
	s.last.stale, s.last.reason, s.last.ttl = true, why, 0
}

// refilled is what a refiller calls the named statement that it is handed.
const refilled = "refilled"

// alone are messages that ask what the unit in hand asks, and need no statement that was prepared before but the one that refiller hands on.
func (s *Session) alone(msgs []byte) []byte {
	if s.unit.simple {
		return append([]byte(nil), msgs...)
	}
	b, st, _ := s.single(msgs) // it is one: it has a key
	var out []byte
	name := ""
	switch {
	case !s.unit.promised:
		out, _ = wire.AppendParseAs(nil, wire.Parse{Query: []byte(st.text), ParamTypes: wire.OIDs(st.oids[2:])}, nil)
	case st.name != "":
		name = refilled
	}
	out, _ = wire.AppendBindAs(out, b, nil, []byte(name))
	out = wire.AppendDescribe(out, wire.ObjectPortal, "")
	out = wire.AppendExecute(out, "", 0)
	return wire.AppendSync(out)
}

// refiller is a session with the settings of s and without a client. A statement of which the client has been told what it is, by an
// earlier Parse, has the same promise there: what is fetched keeps it, or isn't stored (see verifyPromises).
func (s *Session) refiller(env Env) *Session {
	r := &Session{env: env, shared: s.shared, local: s.local, db: s.db, user: s.user, tx: wire.TxIdle, serverTx: wire.TxIdle, refilling: true,
		seqHabit: s.seqHabit, totals: s.totals, cons: s.shared.NewConsistency(), defaults: s.defaults, opts: s.opts, base: s.base, set: s.set,
		loginRole: s.loginRole, reported: s.reported, told: s.reported, opaque: s.opaque, opaqueText: s.opaqueText}
	r.opts.sessionKey = ""
	r.deriveTx()
	if s.unit.promised {
		for i := range s.unit.steps {
			if st := &s.unit.steps[i]; st.typ == wire.MsgBind {
				r.registerStatement(st.st, refilled)
			}
		}
	}
	return r
}

// refills are the keys that are being fetched anew for others. Safe for concurrent use.
type refills struct {
	mu   sync.Mutex
	keys map[string]struct{}
}

// maxRefills is how many there are at most: more would only queue up for server connections.
const maxRefills = 256

// begin says whether the caller is to fetch. Then it has to call end.
func (r *refills) begin(key []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.keys[string(key)]; ok || len(r.keys) >= maxRefills {
		return false
	}
	if r.keys == nil {
		r.keys = map[string]struct{}{}
	}
	r.keys[string(key)] = struct{}{}
	return true
}

func (r *refills) end(key []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, string(key))
}
