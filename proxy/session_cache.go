package proxy

import (
	"errors"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/consistency/rule"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/topology"
)

// mayCache says whether the answer to a unit with this plan may come from the cache or be put there, as
// far as session and statement are concerned; the reason why not is noted for SHOW freshet.reason.
func (s *Session) mayCache(plan *router.Plan, clockWord bool) bool {
	u := &s.unit
	u.ttl = 0
	ttl := s.cacheTTL(plan)
	switch {
	case !plan.Cacheable && ttl == 0:
		u.reason, u.detail = reasonNotCacheable, plan.Reason
	case s.shared.CacheOff:
		u.reason, u.miss = reasonCacheOff, missOff
	case s.tx != wire.TxIdle && !u.leaves:
		u.reason, u.miss = reasonTransaction, missTransaction
	case !s.txDefaults.plain():
		u.reason, u.detail, u.miss = reasonNotCacheable, "the isolation level is SERIALIZABLE", missTransaction
	case s.bound != "":
		u.reason, u.detail, u.miss = reasonBound, s.bound, missBound
	case u.hint.Cache == router.CacheOff || (s.opts.cacheOff && u.hint.Cache == router.CacheUnset):
		u.reason, u.miss = reasonCacheOff, missOff
	case s.route() != router.RouteAuto:
		u.reason, u.miss = reasonRoute, missRoute
	case clockWord && ttl == 0:
		u.reason, u.detail, u.miss = reasonNotCacheable, clockWordReason, missClock
	default:
		if ttl > 0 {
			s.chooseForATime(plan, clockWord, ttl)
		}
		return true
	}
	return false
}

const clockWordReason = "a literal or parameter may read the clock ('now', 'today', …)"

// route is where the statement in hand wants to be answered.
func (s *Session) route() router.Route {
	if s.unit.hint.Route != router.RouteUnset {
		return s.unit.hint.Route
	}
	if s.opts.route == router.RouteUnset {
		return router.RouteAuto
	}
	return s.opts.route
}

// level is how fresh the answer to the statement in hand has to be.
func (s *Session) level() consistency.Level {
	if l := s.unit.hint.Consistency; l != consistency.LevelUnset {
		return l
	}
	return s.opts.consistency
}

// want is what the statement in hand asks of whoever answers it.
func (s *Session) want(now int64) consistency.Read {
	bound := s.opts.maxStaleness
	if h := s.unit.hint.MaxStaleness; h != 0 {
		bound = max(h, 0)
	}
	// The session may ask for less, not for more: --max-staleness is a promise of whoever runs Freshet.
	return consistency.Read{Level: s.level(), RefNow: s.shared.Nodes.RefNow(now), Bound: min(bound, s.shared.MaxStaleness),
		Primary: s.shared.Nodes.PrimarySource(), Floor: s.unit.floor}
}

// hashKey builds the cache key of the unit into unit.key: everything that can change a byte of the answer.
func (s *Session) hashKey(text, oids, rest, promised []byte) {
	if s.keyPrefix == nil {
		b := &s.local.Key
		b.Reset()
		b.PartString(s.db.Name)
		b.PartString(s.user)
		b.PartString(s.set.key())
		s.keyPrefix = append([]byte{}, b.Bytes()...)
	}
	b := &s.local.Key
	b.Reset()
	b.Part(s.keyPrefix)
	b.Part(text)
	b.Part(oids)
	b.Part(rest)
	b.Part(promised)
	s.unit.promised = promised != nil
	if s.unit.ttl > 0 {
		b.PartString("for a time") // which is an answer of its own: others must not be given it
	}
	s.unit.key = append(s.unit.key[:0], b.Bytes()...)
}

// tryCache answers the unit from the cache, or makes it wait for a flight, or makes it the leader of one.
// False: the unit goes to a server; then it may lead a flight.
func (s *Session) tryCache(msgs []byte) bool {
	u := &s.unit
	t := s.db.Table
	if u.ttl > 0 {
		return s.tryForATime(msgs)
	}
	if !t.Serving() {
		u.reason, u.miss = reasonFeedBehind, missFeed
		return false
	}
	now := s.env.Now()
	u.looked = now
	v := s.cons.Judge(&t.Source, s.want(now))
	asOf := t.AsOf()
	// In this order: a commit stamps its cells before it moves the position.
	e := s.shared.L1.Get(u.key)
	// (What is promised to eventual is counted from a question whose answer is beyond all that anybody had been answered by then.)
	reached := e != nil && (s.level() == consistency.Eventual || e.Reached(t))
	usable := e != nil && e.Fresh() && s.fits(e) && s.shared.expired(e, now) <= 0
	if !usable {
		u.miss = missOf(e, t)
	}
	switch v {
	case admitted:
		if usable && !reached && s.awaitReached(e) {
			s.hold(msgs)
			return true
		}
		if usable && reached {
			e.Right(asOf)
			s.hit(e)
			return true
		}
		if s.revalidate(e, now, msgs) {
			return true
		}
	case consistency.BehindPrimary, consistency.BehindFloor, consistency.Unsettled, consistency.Pinned:
		if !usable {
			break // by the time that somebody has filled it, the cache may have caught up
		}
		if v == consistency.BehindPrimary && s.askPosition() || s.awaitLearned(v) || s.awaitSettled(v) || s.awaitTable(v) {
			s.hold(msgs)
			return true
		}
		s.settleSoon() // or the answer that comes instead would be the next reason
		fallthrough
	default:
		u.reason, u.miss = reasonOf(v), missOfVerdict(v)
		return false
	}
	return s.joinFlight(msgs, v == admitted)
}

// joinFlight makes the unit wait for a flight, or the leader of one, or go alone. open: the gate is open. False: it goes to a server.
func (s *Session) joinFlight(msgs []byte, open bool) bool {
	u := &s.unit
	if u.alone || u.leading {
		return false
	}
	f, leading := s.shared.Flights.Join(u.key, s.db.Table.Applied(), s.env.Waker(s, u.number))
	u.flight, u.leading, u.open = f, leading, open
	if leading {
		return false
	}
	s.hold(msgs)
	s.phase = phaseFlight
	return true
}

// fits says whether the entry has what the unit asks for.
func (s *Session) fits(e *cache.Entry) bool {
	return len(e.RowDesc) > 0 || !s.unit.simple && !s.describes()
}

// describes says whether the extended unit asks for a RowDescription.
func (s *Session) describes() bool {
	for _, st := range s.unit.steps {
		if st.typ == wire.MsgDescribe {
			return true
		}
	}
	return false
}

// FlightOver says that the flight that unit number follows has ended: the answer may be in the cache now.
func (s *Session) FlightOver(number uint64) {
	if s.phase != phaseFlight || number != s.unit.number {
		return
	}
	u := &s.unit
	f := u.flight
	outcome := f.Outcome()
	u.flight = nil
	u.waited = true
	u.looked = s.env.Turn()
	u.joins++
	// A leader that vanished is followed by another; behind one whose answer doesn't help we don't queue up again.
	u.alone = outcome == cache.Unstorable || u.joins >= maxJoins
	if outcome == cache.Landed && u.open {
		// The gate was open when this one joined, so what contains everything that had been applied then is right for it. In the
		// cache it may be stale by now.
		if e := s.shared.L1.Get(u.key); e != nil && f.Covers(e, s.db.Table) && s.fits(e) {
			s.phase = phaseIdle
			s.hit(e)
			s.pump()
			return
		}
	}
	s.phase = phaseIdle
	if !s.tryCache(u.buf) {
		s.run()
	}
	s.pump()
}

// hit answers the unit in hand with an entry.
func (s *Session) hit(e *cache.Entry) {
	u := &s.unit
	if u.simple {
		s.env.ToClient(e.RowDesc)
		s.env.ToClient(e.Rows)
		s.env.ToClient(e.Complete)
	} else {
		for i := range u.steps {
			switch st := &u.steps[i]; st.typ {
			case wire.MsgParse:
				s.env.ToClient(parseComplete)
				s.registerStatement(st.st, s.overlayName(st.st))
			case wire.MsgBind:
				s.env.ToClient(bindComplete)
			case wire.MsgDescribe:
				s.env.ToClient(e.RowDesc)
			case wire.MsgExecute:
				s.env.ToClient(e.Rows)
				s.env.ToClient(e.Complete)
			case wire.MsgClose:
				s.env.ToClient(closeComplete)
			}
		}
		s.endOverlay()
	}
	s.cons.Saw(e.Until)
	s.cons.ReplicaShowed(e.Shown)
	s.last = lastAnswer{source: sourceL1, reason: reasonCached, position: e.Position}
	if u.waited {
		s.last.source, s.last.reason = sourceFlight, reasonShared
		s.local.Counters.FlightShared.Add(1)
	}
	if u.ttl > 0 {
		s.last.reason, s.last.ttl = reasonForATime, u.ttl
		s.local.Counters.HitForATime.Add(1)
	}
	s.local.Counters.HitL1.Add(1)
	u.bytes = e.Len()
	s.count(s.last.source, u.looked)
	s.endLead((*cache.Flight).Done) // somebody else has filled it while this one waited
	s.noteLeft()
	s.answered()
}

var (
	parseComplete = wire.AppendParseComplete(nil)
	bindComplete  = wire.AppendBindComplete(nil)
	closeComplete = wire.AppendCloseComplete(nil)
)

// beginFill prepares to store the answer that is about to be fetched, if this unit leads a flight. It must be
// called before the probe is sent.
func (s *Session) beginFill() {
	u := &s.unit
	u.filling = false
	if !u.leading && !u.alone {
		return
	}
	if s.fill == nil {
		s.fill = new(cache.Fill)
	}
	var err error
	if u.ttl > 0 {
		err = s.fill.BeginForATime(s.shared.Fills, s.db.Table, u.key, s.local.whole(u.plan.Relations))
	} else {
		err = s.fill.Begin(s.shared.Fills, s.db.Table, u.key, s.dependencies())
	}
	if err != nil {
		u.reason, u.detail, u.miss = reasonUncovered, err.Error(), missUncovered
		s.abandonFlight()
		return
	}
	if snap := s.db.Catalog(); snap == nil || snap.Generation != u.plan.Generation || !s.catalogHolds() || !s.hasDefaults() {
		// The plan may name the wrong relations, and the stamp that says so may have come before Begin, which would then not
		// see it. While the plan's snapshot is current, and holds what the feed knows to have changed, that stamp is still to come.
		// And a connection from before may have begun with other settings.
		s.fill.Abandon()
		u.reason, u.detail, u.miss = reasonUncovered, "the catalog has changed", missCatalog
		s.abandonFlight()
		return
	}
	u.filling = true
	if u.leading {
		u.flight.Began(s.fill.Begun())
	}
	u.probe = s.fill.Probe()
	u.probe.Timeline = s.node.Timeline()
	u.probe.AsOf = s.env.Now() // before the query is sent
	onReplica := s.node.Role() == topology.Replica
	if onReplica {
		u.probe.AsOf = s.node.AsOf()
	}
	u.probed = s.knownToContain(onReplica)
	switch {
	case u.ttl > 0:
		u.reason = reasonMissForATime
	case u.reason == reasonNone:
		u.reason, u.detail = reasonMiss, missTexts[u.miss]
	}
}

// knownToContain says whether the answer that is about to be fetched is known to contain all that had been applied when the fill was
// begun, so that the server needn't be asked: on the primary, because another fill's probe has shown that to be visible to whatever comes
// later; on a replica, because it had replayed that far. In between writes it is mostly so, and the probe is a third of
// what a miss of a small answer costs the server. The unit's probe says then what would have been asked.
func (s *Session) knownToContain(onReplica bool) bool {
	p := &s.unit.probe
	if !onReplica {
		p.OnReplica, p.Snapshot = false, consistency.Snapshot{} // which by itself sees nothing: the fence goes by p.Visible
		return p.Visible >= p.Began
	}
	reached, replayed := s.fill.Reached(), s.node.Position()
	if s.node.Epoch() != s.conn.Epoch() || reached == 0 || replayed < reached || !rule.FenceReplica {
		return false
	}
	p.OnReplica, p.Replayed = true, replayed
	return true
}

// hasDefaults says whether the server connection in hand began with the settings that a new one would begin with.
func (s *Session) hasDefaults() bool {
	return s.conn.Current() && (s.db.unsettled.Load() == 0 || s.node.Role() != topology.Replica)
}

// dependencies are what the answer to the unit in hand depends on: the plan's, with the values of the text and of Bind. They are the
// shard's scratch.
func (s *Session) dependencies() []consistency.Dependency {
	u := &s.unit
	e := router.Execution{UTF8: !s.opaqueText}
	if u.simple {
		e.Text = queryText(u.buf)
		return s.local.Resolver.Resolve(u.plan, e)
	}
	b, st, ok := s.single(u.buf)
	if !ok {
		return s.local.Resolver.Resolve(u.plan, e) // knows no value, so it says: all rows
	}
	e.Text = []byte(st.text)
	e.Params = s.local.params[:0]
	for v, ok := b.Params.Next(); ok; v, ok = b.Params.Next() {
		e.Params = append(e.Params, router.Param{Value: v, Binary: b.ParamFormats.Of(len(e.Params)) == wire.FormatBinary})
	}
	s.local.params = e.Params
	return s.local.Resolver.Resolve(u.plan, e)
}

// maxJoins is how many flights a unit follows before it goes on alone.
const maxJoins = 3

// endLead ends the flight that the unit leads, if it does. Its followers look in the cache, and go on by the outcome.
func (s *Session) endLead(end func(*cache.Flight)) {
	u := &s.unit
	if u.leading && u.flight != nil {
		end(u.flight)
		u.flight = nil
	}
	u.leading = false
}

// abandonFlight lets followers go on: answers like this one can't be stored.
func (s *Session) abandonFlight() { s.endLead((*cache.Flight).Abandon) }

// loseFlight lets one of the followers lead: it was the unit, not what it asks.
func (s *Session) loseFlight() { s.endLead((*cache.Flight).Lose) }

// dropFill gives up storing the answer of this attempt.
func (s *Session) dropFill() {
	if s.unit.filling {
		s.unit.filling = false
		s.fill.Abandon()
	}
}

// noFill gives up storing the answer.
func (s *Session) noFill() {
	s.dropFill()
	s.abandonFlight()
}

// noFillFor is noFill after an error of the server's.
func (s *Session) noFillFor(code []byte) {
	s.dropFill()
	if s.cancelled || notTheQuery(code) {
		s.loseFlight()
	} else {
		s.abandonFlight()
	}
}

// notTheQuery says whether an error comes from the state of the server or the connection, so that somebody else who asks the same
// needn't get it.
func notTheQuery(code []byte) bool {
	if len(code) < 2 {
		return false
	}
	switch string(code[:2]) {
	case "08", "40", "53", "58":
		return true
	}
	return len(code) == 5 && string(code[:3]) == "57P"
}

// store ends the fill: the answer is complete and its transaction is over.
func (s *Session) store() {
	u := &s.unit
	if !u.filling {
		return
	}
	u.filling = false
	err := cache.ErrIncomplete
	switch {
	case !u.probed: // the server doesn't say what it contains
	case u.sight.until == 0:
		err = consistency.ErrTooOld
	default:
		err = s.fill.Store(u.probe, u.sight.until)
	}
	s.fill.Abandon()
	switch {
	case err == nil, errors.Is(err, cache.ErrRefused): // a newer one is there
		s.endLead((*cache.Flight).Done)
	case errors.Is(err, cache.ErrIncomplete), errors.Is(err, cache.ErrUncovered), errors.Is(err, cache.ErrTooBig):
		s.abandonFlight()
	default:
		s.loseFlight()
	}
}

// endFlight gives up the unit's place in a flight, when its client is gone or it has failed.
func (s *Session) endFlight() {
	if s.unit.filling {
		s.unit.filling = false
		s.fill.Abandon()
	}
	if f := s.unit.flight; f != nil {
		s.unit.flight = nil
		s.unit.number++ // a wake that is already under way is late
		f.Leave()
	}
	s.unit.leading = false
}

// takeProbe reads what the server said about its position, just before the fill's query.
func (s *Session) takeProbe(row []byte) {
	u := &s.unit
	values, err := wire.DecodeDataRow(wire.Body(row))
	if err != nil {
		return
	}
	v, ok := values.Next()
	if !ok || v == nil {
		return
	}
	if isolation, ok := values.Next(); !ok || string(isolation) != "read committed" {
		s.conn.ProbeApart = true // from now on
		if !u.probeApart {
			return
		}
	}
	if !rule.FenceReplica {
		u.probe.OnReplica = false
	}
	if u.probe.OnReplica {
		lsn, err := parseLSN(v)
		if err != nil {
			return
		}
		u.probe.Replayed = lsn
		s.node.AdvanceIn(s.conn.Epoch(), u.sight.sent, lsn)
	} else {
		snap, err := parseSnapshot(v)
		if err != nil {
			return
		}
		u.probe.Snapshot = snap
	}
	u.probed = true
}
