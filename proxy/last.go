package proxy

import (
	"fmt"
	"time"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router/topology"
)

const admitted = consistency.Admitted

func parseLSN(v []byte) (consistency.LSN, error) { return consistency.ParseLSN(string(v)) }
func parseSnapshot(v []byte) (consistency.Snapshot, error) {
	return consistency.ParseSnapshot(string(v))
}

// source is where an answer came from.
type source uint8

const (
	sourceNone source = iota
	sourceL1
	sourceFlight
	sourceReplica
	sourcePrimary
	sourceFreshet // made by Freshet itself
	sourceKinds
)

// reason is why an answer came from there.
type reason uint8

const (
	reasonNone reason = iota
	reasonCached
	reasonShared
	reasonMiss
	reasonWrite
	reasonPinned
	reasonBehindFloor
	reasonUnsettled
	reasonStrong
	reasonTooStale
	reasonTransaction
	reasonBound
	reasonRoute
	reasonCacheOff
	reasonNotCacheable
	reasonFeedBehind
	reasonUncovered
	reasonOnPrimary
	reasonError
	reasonStreamed
	reasonLocal
	reasonHeld
	reasonForATime
	reasonMissForATime
	reasonRevalidates
	reasonNoNode
)

var reasonTexts = [...]string{
	reasonNone:         "",
	reasonCached:       "cached",
	reasonShared:       "cached by an identical query that was under way",
	reasonMiss:         "cache miss",
	reasonWrite:        "a write",
	reasonPinned:       "read-your-writes pin",
	reasonBehindFloor:  "not yet where the session's last write is, or what it has seen",
	reasonUnsettled:    "not known yet to contain what the session has seen",
	reasonStrong:       "strong: not yet where the primary was when the read arrived",
	reasonTooStale:     "staler than the bound",
	reasonTransaction:  "in a transaction",
	reasonBound:        "session is bound to its server connection",
	reasonRoute:        "freshet.route asks for it",
	reasonCacheOff:     "the cache is off",
	reasonNotCacheable: "not cacheable",
	reasonFeedBehind:   "the WAL feed isn't caught up",
	reasonUncovered:    "not stored",
	reasonOnPrimary:    "only the primary can answer",
	reasonError:        "failed before it reached a server",
	reasonStreamed:     "a pipeline with Flush, or too large to look through first",
	reasonLocal:        "answered by Freshet",
	reasonForATime:     "cached for %s by freshet.cache_ttl",
	reasonMissForATime: "stored for %s by freshet.cache_ttl",
	reasonRevalidates:  "cached, stale, while it is fetched anew (--stale-while-revalidate)",
	reasonNoNode:       "cached, stale, since no server can answer (--stale-if-error)",
	reasonHeld:         "answered by Freshet: a transaction begins on a server when a statement needs one",
}

func reasonOf(v consistency.Verdict) reason {
	switch v {
	case consistency.Writing, consistency.Pinned:
		return reasonPinned
	case consistency.BehindFloor:
		return reasonBehindFloor
	case consistency.Unsettled:
		return reasonUnsettled
	case consistency.BehindPrimary:
		return reasonStrong
	}
	return reasonTooStale
}

// lastAnswer is what SHOW freshet.source, reason and position tell about the session's last statement.
type lastAnswer struct {
	source   source
	node     *topology.Node
	reason   reason
	detail   string
	position consistency.LSN
	stale    bool          // it was, or that it isn't can't be told
	ttl      time.Duration // of reasonForATime and reasonMissForATime
}

func (l lastAnswer) sourceText() string {
	switch l.source {
	case sourceL1:
		if l.stale {
			return "l1 stale"
		}
		return "l1"
	case sourceFlight:
		return "flight"
	case sourceReplica:
		return "replica " + l.node.Addr()
	case sourcePrimary:
		return "primary " + l.node.Addr()
	case sourceFreshet:
		return "freshet"
	}
	return "none"
}

func (l lastAnswer) reasonText() string {
	t := reasonTexts[l.reason]
	if l.ttl != 0 {
		t = fmt.Sprintf(t, formatTime(l.ttl))
	}
	if l.detail != "" {
		t += ": " + l.detail
	}
	return t
}
