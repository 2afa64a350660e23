package router

import (
	"fmt"

	pg "github.com/pganalyze/pg_query_go/v6"

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
	a.domain(target)
	if !from.literal && !from.solid && (from.oid == 0 || a.j.stringLike(from.oid)) && a.j.readsClock(target) {
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

// castRow looks at the cast of a ROW(…) to a composite type: each field is cast by itself (coerce_record_to_complex).
func (a *analysis) castRow(row *pg.RowExpr, target uint32) bool {
	t := a.s.Type(a.j.base(target))
	if t == nil || t.Builtin() || t.Kind != catalog.TypeComposite {
		return false
	}
	r := a.s.Relation(t.Relation)
	if r == nil || len(r.Columns) != len(row.Args) {
		return false
	}
	for i, n := range row.Args {
		from := a.rowTypes[n]
		if from.oid == oidUnknown {
			from = untyped
		}
		a.cast(from, r.Columns[i].Type)
	}
	if p := a.j.typeProblem(target); p != "" {
		a.add(notCacheable("cast: " + p))
	}
	a.domain(target)
	return true
}

// domain looks at the CHECK constraints that a value must pass to be of a type, if that is a domain, or made of some.
func (a *analysis) domain(oid uint32) {
	if t := a.s.Type(oid); t == nil || t.Builtin() {
		return
	}
	a.j.inner(oid, func(t *catalog.Type) bool {
		if t != nil && len(t.Checks) > 0 {
			a.merge(a.remember(findingKey{ofDomain, t.OID, a.role, a.calling()}, func() *finding { return a.checks(t) }))
		}
		return true
	})
}

func (a *analysis) checks(t *catalog.Type) *finding {
	b := a.within()
	sc := &scope{tables: []*table{{columns: []column{{"value", typ{oid: t.Base}}}}}}
	for _, check := range t.Checks {
		b.deparsed(check, sc)
	}
	name := fmt.Sprintf("a CHECK of domain %s", a.j.typeName(t.OID))
	if b.effect.write != "" {
		c := closure{j: a.j}
		for _, check := range t.Checks {
			c.body(check, name, true)
		}
		c.effect.add(notCacheable(name + ": " + b.effect.uncacheable))
		return &finding{effect: c.effect}
	}
	return b.found(name)
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
					a.function(a.s.Function(c.Function))
				}
			}
		}
		if found || a.s.Type(from.oid) != nil && a.s.Type(from.oid).Builtin() && a.s.Type(from.oid).Kind == catalog.TypeBase {
			return
		}
	}
	for _, c := range a.s.CastsTo(target) {
		if c.Function != 0 {
			a.function(a.s.Function(c.Function))
		}
	}
}
