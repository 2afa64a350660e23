package proxy

import (
	"github.com/freshet/freshet/router"
)

// What is counted of each statement, for SHOW STATEMENTS. Each shard counts by itself, without locks or atomic operations: whoever wants to
// know asks the shards (Server.Statements). Statements are told apart as plans are, by their fingerprints; those of which the literals
// matter, so that each text has one of its own, have a table for themselves, so as not to crowd out the others.

// Bounds of what one shard remembers.
const (
	maxTallies      = 5000
	maxExactTallies = 500
	maxTallyText    = 2 << 10 // bytes of a text that are shown
)

// tally is what one shard has counted of one statement of one database.
type tally struct {
	fp   router.Fingerprint
	db   *Database
	used bool // since the clock's hand was here

	calls, errors     uint64
	l1, shared, stale uint64 // answers from the cache; from there after another's query; of both, stale ones
	misses            uint64 // might have come from the cache, and didn't
	replica, primary  uint64
	bytes             uint64 // sent to clients
	time, slowest     int64  // nanoseconds: of all; of one

	id, text  string
	plan      uint64 // the generation of the plan that says:
	cacheable bool
	refusal   string // why not
	reason    reason // why the last answer that didn't come from the cache didn't
	detail    string
}

// tallies are those of one shard. It is a hash table with the CLOCK algorithm to choose who makes room.
type tallies struct {
	index   []*tally // open addressing; a power of two, at least twice as long as list may be
	list    []*tally
	most    int
	hand    int
	dropped uint64
}

func newTallies(most int) *tallies {
	n := 1
	for n < 2*most {
		n *= 2
	}
	return &tallies{index: make([]*tally, n), most: most}
}

func (t *tallies) slot(fp router.Fingerprint) int { return int(fp.Lo) & (len(t.index) - 1) }

// find returns the statement's tally, or nil. A fingerprint is a keyed hash, so that its bits can be taken as they are, whoever chose the text.
func (t *tallies) find(fp router.Fingerprint, db *Database) *tally {
	for i := t.slot(fp); ; i = (i + 1) & (len(t.index) - 1) {
		e := t.index[i]
		if e == nil {
			return nil
		}
		if e.fp == fp && e.db == db {
			if !e.used {
				e.used = true
			}
			return e
		}
	}
}

// add makes a tally for a statement that has none. One that wasn't used for long makes room for it, or one that never was again.
func (t *tallies) add(e *tally) {
	if len(t.list) < t.most {
		t.list = append(t.list, e)
	} else {
		for t.list[t.hand].used {
			t.list[t.hand].used = false
			t.hand = (t.hand + 1) % t.most
		}
		t.remove(t.list[t.hand])
		t.dropped++
		t.list[t.hand] = e
		t.hand = (t.hand + 1) % t.most
	}
	i := t.slot(e.fp)
	for t.index[i] != nil {
		i = (i + 1) & (len(t.index) - 1)
	}
	t.index[i] = e
}

// remove takes a tally out of the index, and moves up those behind it that would not be found any more.
func (t *tallies) remove(e *tally) {
	mask := len(t.index) - 1
	i := t.slot(e.fp)
	for t.index[i] != e {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		next := t.index[j]
		if next == nil {
			break
		}
		if (j-t.slot(next.fp))&mask >= (j-i)&mask {
			t.index[i] = next
			i = j
		}
	}
	t.index[i] = nil
}

// tally returns what is counted of a statement with this plan; nil: it isn't known, and newTally makes it.
func (s *Session) tally(fp router.Fingerprint, plan *router.Plan, exact bool) *tally {
	if plan == opaquePlan {
		fp = router.Fingerprint{}
	}
	e := s.talliesFor(exact).find(fp, s.db)
	if e != nil && e.plan != plan.Generation {
		e.judge(plan)
	}
	return e
}

func (s *Session) talliesFor(exact bool) *tallies {
	if exact {
		return s.local.exactTallies
	}
	return s.local.tallies
}

func (s *Session) newTally(fp router.Fingerprint, text []byte, plan *router.Plan, exact bool) *tally {
	e := &tally{fp: fp, db: s.db, text: unreadableText}
	if plan == opaquePlan {
		e.fp = router.Fingerprint{}
	} else {
		e.text = router.Display(text, maxTallyText)
		if exact {
			text = []byte(e.text) // a hash of what must not be shown isn't shown, either
		}
		e.id = s.local.Lexer.StatementID(text)
	}
	e.judge(plan)
	s.talliesFor(exact).add(e)
	return e
}

// judge notes what the plan says.
func (e *tally) judge(plan *router.Plan) {
	e.plan, e.cacheable, e.refusal = plan.Generation, plan.Cacheable, plan.Reason
	if plan.Kind == router.KindInvalid && plan != opaquePlan {
		e.refusal = "it can't be understood" // the error may quote it
	}
}

// unreadableText stands for all texts of sessions with other rules for strings, or another encoding.
const unreadableText = "(texts of sessions whose settings change how texts are read)"
