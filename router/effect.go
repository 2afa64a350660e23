package router

import (
	"cmp"
	"iter"
	"strings"
)

func fieldsOf(list string) iter.Seq[string] { return strings.FieldsSeq(list) }

// effect is what is known of a piece of a statement. Each text is a reason, and empty where there is none. The zero
// effect is that of something that is cacheable.
type effect struct {
	uncacheable string // not cacheable, because
	primary     string // only the primary may answer, because
	write       string // not proven to be a read, because
	binds       string // leaves state behind, namely
	lasting     bool   // … or something else that a server can't be asked about
	frees       bool   // may take away what was left behind
	readsSeq    bool   // currval, lastval
	leavesSeq   bool   // nextval, setval
	catalogs    bool   // reads what is in system catalogs
	prepared    bool   // shows the connection's prepared statements
	notifies    bool   // may NOTIFY
	untimed     bool   // not cacheable for a time either (freshet.cache_ttl): see forATime
}

// add merges another effect. The first reason of each kind is kept.
func (e *effect) add(o effect) {
	e.uncacheable = cmp.Or(e.uncacheable, o.uncacheable)
	e.primary = cmp.Or(e.primary, o.primary)
	e.write = cmp.Or(e.write, o.write)
	e.binds = cmp.Or(e.binds, o.binds)
	e.lasting = e.lasting || o.leavesLasting()
	e.frees = e.frees || o.frees
	e.readsSeq = e.readsSeq || o.readsSeq
	e.leavesSeq = e.leavesSeq || o.leavesSeq
	e.catalogs = e.catalogs || o.catalogs
	e.prepared = e.prepared || o.prepared
	e.notifies = e.notifies || o.notifies
	e.untimed = e.untimed || o.untimed
}

// leavesLasting tells whether what is left behind can't be asked for.
func (e effect) leavesLasting() bool { return e.lasting || lasting(e.binds) }

// checkable are the kinds of state that a server can be asked about. They begin the reasons of Plan.Binds.
var checkable = []string{"temporary table", "LISTEN", "advisory lock", "WITH HOLD cursor", "SQL PREPARE"}

// lasting tells whether a reason of Plan.Binds is of another kind.
func lasting(binds string) bool {
	if binds == "" {
		return false
	}
	for _, c := range checkable {
		if strings.HasPrefix(binds, c) {
			return false
		}
	}
	return true
}

// notCacheable is the effect of something that is a read, on any node.
func notCacheable(reason string) effect { return effect{uncacheable: reason} }

// onPrimary is the effect of something that is a read, on the primary. Unless something else is known of it, it is taken to depend
// on the session or transaction that asks, or to be asked for what it does.
func onPrimary(reason string) effect {
	return effect{uncacheable: reason, primary: reason, untimed: true}
}

// forATime lifts what an application may ask to be cached for a time all the same: it is a read whose result was once right for
// everybody with the same key, though nothing tells when it no longer is.
func (e effect) forATime() effect {
	e.untimed = false
	return e
}

// neverForATime is the opposite.
func (e effect) neverForATime() effect {
	e.untimed = true
	return e
}

// writes is the effect of something that isn't proven to be a read.
func writes(reason string) effect {
	return effect{uncacheable: reason, primary: reason, write: reason, untimed: true}
}

// because adds to the reasons.
func (e effect) because(why string) effect {
	for _, reason := range []*string{&e.uncacheable, &e.primary, &e.write} {
		if *reason != "" {
			*reason += ": " + why
		}
	}
	return e
}
