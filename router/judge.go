package router

import (
	"fmt"
	"strings"
	"sync"

	"github.com/freshet/freshet/router/catalog"
)

// judge knows the effects of a snapshot's functions, types and relations. It is safe for concurrent use, and
// remembers what it has found out.
type judge struct {
	s  *catalog.Snapshot
	mu struct {
		sync.Mutex
		functions map[uint32]effect
		relations map[uint32]effect // of writing to them
		types     map[uint32]string
		findings  map[findingKey]*finding
	}
	implicit effect // of casts that can happen anywhere, unseen
	toJSON   string // why functions that make JSON aren't cacheable
}

func newJudge(s *catalog.Snapshot) *judge {
	j := &judge{s: s}
	j.mu.functions = map[uint32]effect{}
	j.mu.relations = map[uint32]effect{}
	j.mu.types = map[uint32]string{}
	j.mu.findings = map[findingKey]*finding{}
	for c := range s.UserCasts {
		if c.Function == 0 {
			if c.Method == 'i' && c.Context == 'i' && j.readsClock(c.Target) && j.stringLike(c.Source) {
				j.implicit.add(notCacheable(fmt.Sprintf("there is an implicit cast from %s to %s, which can read the clock",
					j.typeName(c.Source), j.typeName(c.Target))))
			}
			continue
		}
		e := j.function(s.Function(c.Function))
		if c.Context == 'i' && e != (effect{}) {
			// Rare, and there is no telling where it applies without all of Postgres' type resolution.
			reason := fmt.Sprintf("there is an implicit cast from %s to %s by a function that isn't known to be safe",
				j.typeName(c.Source), j.typeName(c.Target))
			e.uncacheable = reason
			j.implicit.add(e)
		}
		if (c.Target == oidJSON || c.Target == oidJSONB) && e.uncacheable != "" {
			j.toJSON = fmt.Sprintf("there is a cast from %s to %s by a function that isn't known to be safe",
				j.typeName(c.Source), j.typeName(c.Target))
		}
	}
	return j
}

// function is the effect of calling a function.
func (j *judge) function(f *catalog.Function) effect {
	if f == nil {
		return writes("a function isn't known")
	}
	if f.Builtin() {
		return j.builtin(f)
	}
	j.mu.Lock()
	e, ok := j.mu.functions[f.OID]
	j.mu.Unlock()
	if ok {
		return e
	}
	c := closure{j: j}
	c.function(f)
	j.mu.Lock()
	j.mu.functions[f.OID] = c.effect
	j.mu.Unlock()
	return c.effect
}

// builtin is the effect of a function of the server. Names that aren't on a list are judged by their volatility
// alone, pessimistically.
func (j *judge) builtin(f *catalog.Function) effect {
	called := "function " + f.Name + "()"
	if why, ok := runSQL[f.Name]; ok && !(f.Name == "ts_rewrite" && f.Volatility == catalog.Immutable) {
		e := writes(called + " " + why)
		e.binds = called + ", which " + why
		return e
	}
	switch f.Volatility {
	case catalog.Immutable:
		if why, ok := immutableUncacheable[f.Name]; ok {
			return onPrimary(called + " " + why).forATime()
		}
		if strings.HasPrefix(f.Name, "_pg_") { // of information_schema
			return onPrimary(called + " depends on the catalog").forATime()
		}
		return effect{}
	case catalog.Stable:
		if _, ok := stableCacheable[f.Name]; ok {
			if j.toJSON != "" && strings.Contains(f.Name, "json") {
				return notCacheable(called + ": " + j.toJSON)
			}
			return effect{}
		}
		if why, ok := stableOnReplica[f.Name]; ok {
			e := notCacheable(called + " is stable and " + why)
			e.untimed = why == ownSchemas
			return e
		}
		if why, ok := writingStable[f.Name]; ok {
			return writes(called + " " + why)
		}
		e := onPrimary(called + " is stable and depends on more than its arguments")
		e.untimed = !serverWide(f.Name)
		return e
	}
	if why, ok := volatileOnReplica[f.Name]; ok {
		return notCacheable(called + " " + why)
	}
	e := writes(called + " is volatile")
	if why, ok := volatileReads[f.Name]; ok {
		e = onPrimary(called + " " + why)
		e.untimed = !serverWide(f.Name)
	}
	switch f.Name {
	case "currval", "lastval":
		e.readsSeq = true
	case "nextval", "setval":
		e.leavesSeq = true
	case "pg_notify":
		e.notifies = true
	}
	e.binds = binding[f.Name]
	e.frees = volatileReads[f.Name] == releasesLock
	return e
}

const volatileFunction = " is user-defined and volatile"

// direct is the effect of a user-defined function apart from what it calls.
func (j *judge) direct(f *catalog.Function) effect {
	called := fmt.Sprintf("function %s.%s()", f.Schema, f.Name)
	volatile := f.Volatility == catalog.Volatile
	switch {
	case f.Kind == catalog.KindAggregate && trustedExtensions[f.Extension] != "":
		return effect{} // its parts are judged
	case f.Kind == catalog.KindAggregate:
		return notCacheable(called + " is a user-defined aggregate")
	case f.Language == "sql" || f.Language == "plpgsql":
		if volatile {
			return writes(called + volatileFunction)
		}
		// Postgres itself sees to it that such a function doesn't write: "… is not allowed in a non-volatile function".
		return notCacheable(called + " is user-defined")
	case f.Language == "c" || f.Language == "internal":
		if !volatile {
			if j.trusted(f) {
				return effect{}
			}
			return notCacheable(called + " is user-defined").neverForATime() // it may look at the session
		}
		if extensionReads[f.Name] == f.Extension && f.Extension != "" {
			return onPrimary(called + " is volatile")
		}
		e := writes(called + " is user-defined and volatile")
		if f.Extension == "" || extensionTriggers[f.Name] != f.Extension {
			e.binds = called + ", whose code can't be looked at"
		}
		return e
	}
	// Procedural languages keep state of their own for each connection (GD in PL/Python, %_SHARED in PL/Perl …).
	e := effect{uncacheable: called + " is user-defined", primary: called + " is in " + f.Language, untimed: true}
	if volatile {
		e = writes(called + " is user-defined and volatile")
	}
	if f.Volatility != catalog.Immutable {
		e.binds = called + " in " + f.Language + ", which can keep state on the connection"
	}
	return e
}

// trusted tells whether an immutable C function may be taken at its word.
func (j *judge) trusted(f *catalog.Function) bool {
	library, ok := trustedExtensions[f.Extension]
	switch {
	case f.Volatility == catalog.Stable && f.Extension != "" && extensionStable[f.Name] == f.Extension:
		library, ok = f.Extension, true
	case f.Volatility != catalog.Immutable:
		return false
	}
	// A member that was added by hand has its code elsewhere.
	return ok && (f.Language == "internal" || strings.TrimPrefix(f.Library, "$libdir/") == library)
}
