package router

import (
	"fmt"

	"github.com/freshet/freshet/router/catalog"
)

// cast looks at an explicit cast to a type.
func (a *analysis) cast(from typ, target uint32) {
	t := a.s.Type(target)
	if t == nil {
		a.add(writes("a type isn't known"))
		return
	}
	if p := a.j.typeProblem(target); p != "" {
		a.add(notCacheable("cast: " + p))
	}
	for _, check := range t.Checks {
		a.add(notCacheable(fmt.Sprintf("cast to domain %s, which has a CHECK constraint", a.j.typeName(target))))
		c := closure{j: a.j}
		c.body(check, "a CHECK of domain "+t.Name, true)
		a.add(c.effect)
	}
	if !from.literal && (from.oid == 0 || a.j.stringLike(from.oid)) && a.j.readsClock(target) {
		a.add(notCacheable(fmt.Sprintf("cast to %s of something that may be a string like 'now' reads the clock", a.j.typeName(target))))
	}
	a.castFunctions(from, target)
	switch {
	case t.Kind == catalog.TypeDomain:
		a.cast(from, t.Base)
	case t.Elem != 0:
		elem := hidden
		if source := a.s.Type(a.j.base(from.oid)); source != nil && source.Elem != 0 {
			elem.oid = source.Elem
		}
		elem.literal = from.literal
		if from.oid == oidUnknown {
			elem = untyped
		}
		a.cast(elem, t.Elem)
	}
}

// castFunctions looks at the functions in pg_cast.
func (a *analysis) castFunctions(from typ, target uint32) {
	if from.oid == oidUnknown {
		return // the type's input function reads it
	}
	if from.oid != 0 {
		found := false
		for _, source := range []uint32{from.oid, a.j.base(from.oid)} {
			if c := a.s.Cast(source, target); c != nil {
				found = true
				if c.Function != 0 {
					a.add(a.j.function(a.s.Function(c.Function)))
				}
			}
		}
		if found || a.s.Type(from.oid) != nil && a.s.Type(from.oid).Builtin() && a.s.Type(from.oid).Kind == catalog.TypeBase {
			return
		}
	}
	for _, c := range a.s.CastsTo(target) {
		if c.Function != 0 {
			a.add(a.j.function(a.s.Function(c.Function)))
		}
	}
}
