package proxy

import (
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router/topology"
)

// What the session has been shown, so that it never goes back in time: see consistency/sighting.go.

// sight is what is known about where a unit's answer comes from.
type sight struct {
	source  *consistency.Source
	epoch   uint64
	replica bool
	sent    int64           // when the unit was sent, at the earliest
	least   consistency.LSN // what the answer is known to contain
	asks    bool            // the server is asked, after the query, how far it is
	until   consistency.LSN // what it said: the answer contains nothing beyond it; 0: not known
	at      int64           // when the last of the answer came that the session has noted
}

// lookAt begins to note what a unit shows. It is called before the unit is sent.
func (s *Session) lookAt() {
	u := &s.unit
	g := &u.sight
	*g = sight{sent: s.env.Now(), replica: s.node.Role() == topology.Replica}
	if !u.shows() {
		return
	}
	if g.replica {
		g.source, g.epoch = &s.node.Source, s.conn.Epoch()
		g.least = s.node.Position()
	} else {
		g.source = s.shared.Nodes.PrimarySource()
		g.epoch = g.source.Epoch()
		g.least = s.cons.Floor()
	}
	if !u.simple && !u.streaming && u.executes == 0 {
		g.source = nil // to prepare and describe shows nothing
		return
	}
	g.asks = (u.read || u.filling) && (u.leaves || !s.held.on) && (u.filling || s.settling > 0)
	if g.asks && s.settling > 0 {
		s.settling--
	}
}

// shows says whether the unit executes something: otherwise the client is shown no data.
func (u *unit) shows() bool { return u.simple || u.streaming || u.executes > 0 }

// settleSoon makes the next reads ask how far their server is, after the query: the session would have been answered by another
// one if it had been known what it has seen.
func (s *Session) settleSoon() { s.settling = settleReads }

// settleReads is for how many reads it pays to ask after one has missed it. Asking costs the server some 5 µs; not knowing costs a
// query that the cache could have answered.
const settleReads = 4

// seen notes that something of the unit's answer has come, before the client gets it.
func (s *Session) seen() {
	if g := &s.unit.sight; g.source != nil {
		g.at = s.env.Now()
		s.cons.See(g.source, g.epoch, g.at)
		s.seenOnReplica()
	}
}

func (s *Session) seenOnReplica() {
	if g := &s.unit.sight; g.replica {
		s.cons.ReplicaShowed(g.at)
	}
}

// seenAll notes that the whole answer has come.
func (s *Session) seenAll() {
	switch g := &s.unit.sight; {
	case g.source == nil:
	case g.until == 0:
		s.seen()
	default:
		s.cons.SeenUntil(g.source, g.epoch, g.at, g.until)
		g.at = s.env.Now()
		s.seenOnReplica()
	}
}

// The questions after a query are those of the probes, and where the primary is.
const (
	afterPrimary     = probeName + "_position"
	afterPrimarySQL  = consistency.PositionPartsSQL
	afterPrimaryID   = probeIDs + 2
	probeReplicaID   = probeIDs + 1
	probeReplicaName = probeName + "_replica"
)

// queueAfter appends the question how far the server is, behind the query and before its Sync.
func (s *Session) queueAfter(out []byte) []byte {
	id, sql, name := uint64(afterPrimaryID), afterPrimarySQL, afterPrimary
	if s.unit.sight.replica {
		id, sql, name = probeReplicaID, probeReplica, probeReplicaName
	}
	return s.ask(out, id, name, sql, true)
}

// preparedBefore says whether the server will know one of our own statements when it gets to the messages that are queued next.
func (s *Session) preparedBefore(id uint64) bool {
	for i := s.qHead; i < len(s.q); i++ {
		if s.q[i].kind == exParse && s.q[i].prepared == id {
			return true
		}
	}
	return s.conn.Prepared.Has(id)
}

// takeAfter reads the answer to the question after the query.
func (s *Session) takeAfter(row []byte) {
	values, err := wire.DecodeDataRow(wire.Body(row))
	if err != nil {
		return
	}
	v, ok := values.Next()
	if !ok || v == nil {
		return
	}
	lsn, err := parseLSN(v)
	if err != nil {
		return
	}
	g := &s.unit.sight
	if !g.replica {
		segment, _ := values.Next()
		block, _ := values.Next()
		lsn = consistency.PositionOf(lsn, segment, block)
	}
	g.until = lsn
	g.source.AdvanceIn(g.epoch, g.sent, lsn)
}

// afterFailed: the server doesn't say how far it is. The answer is there all the same.
func (s *Session) afterFailed() {
	s.conn.Prepared.Remove(probeReplicaID)
	s.conn.Prepared.Remove(afterPrimaryID)
	s.settling = 0
	s.dropFill()
	s.loseFlight()
	s.skipToSync()
}
