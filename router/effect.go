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
	readsSeq    bool   // currval, lastval
	leavesSeq   bool   // nextval, setval
}

// add merges another effect. The first reason of each kind is kept.
func (e *effect) add(o effect) {
	e.uncacheable = cmp.Or(e.uncacheable, o.uncacheable)
	e.primary = cmp.Or(e.primary, o.primary)
	e.write = cmp.Or(e.write, o.write)
	e.binds = cmp.Or(e.binds, o.binds)
	e.readsSeq = e.readsSeq || o.readsSeq
	e.leavesSeq = e.leavesSeq || o.leavesSeq
}

// notCacheable is the effect of something that is a read, on any node.
func notCacheable(reason string) effect { return effect{uncacheable: reason} }

// onPrimary is the effect of something that is a read, on the primary.
func onPrimary(reason string) effect { return effect{uncacheable: reason, primary: reason} }

// writes is the effect of something that isn't proven to be a read.
func writes(reason string) effect {
	return effect{uncacheable: reason, primary: reason, write: reason}
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
