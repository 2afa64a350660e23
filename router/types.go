package router

import (
	"fmt"

	"github.com/freshet/freshet/router/catalog"
)

// OIDs of types that the planner has to know (pg_type.dat).
const (
	oidBool        = 16
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidJSON        = 114
	oidXML         = 142
	oidUnknown     = 705
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidTimetz      = 1266
	oidBit         = 1560
	oidNumeric     = 1700
	oidRecord      = 2249
	oidUUID        = 2950
	oidAny         = 2276
	oidJSONB       = 3802
)

// What functions give that give no value.
const (
	oidVoid         = 2278
	oidTrigger      = 2279
	oidEventTrigger = 3838
)

// typ is the type of an expression as far as the planner knows it.
type typ struct {
	oid uint32 // 0: not known. oidUnknown: an untyped literal, whose type Postgres takes from its surroundings
	// solid: whatever it is, it isn't a string or something that is cast through one.
	solid bool
	// literal: a string literal or parameter itself, whose value Scan.ClockWord or ClockWord has been asked about.
	literal bool
}

var (
	hidden  = typ{}
	untyped = typ{oid: oidUnknown, literal: true}
)

func (j *judge) typeName(oid uint32) string {
	t := j.s.Type(oid)
	switch {
	case t == nil:
		return fmt.Sprintf("type %d", oid)
	case t.Schema == "pg_catalog":
		return t.Name
	}
	return t.Schema + "." + t.Name
}

// inner calls visit for a type and all that its values consist of, until it returns false.
func (j *judge) inner(oid uint32, visit func(*catalog.Type) bool) bool {
	return j.innerOf(oid, visit, map[uint32]bool{})
}

func (j *judge) innerOf(oid uint32, visit func(*catalog.Type) bool, seen map[uint32]bool) bool {
	if seen[oid] {
		return true
	}
	seen[oid] = true
	t := j.s.Type(oid)
	if !visit(t) {
		return false
	}
	if t == nil {
		return true
	}
	for _, part := range []uint32{t.Elem, t.Base, t.Subtype} {
		if part != 0 && !j.innerOf(part, visit, seen) {
			return false
		}
	}
	if t.Kind == catalog.TypeComposite {
		if r := j.s.Relation(t.Relation); r != nil {
			for _, c := range r.Columns {
				if !j.innerOf(c.Type, visit, seen) {
					return false
				}
			}
		}
	}
	return true
}

// typeProblem says why values of a type can't be in a cached answer; "" if they can.
func (j *judge) typeProblem(oid uint32) string {
	j.mu.Lock()
	p, ok := j.mu.types[oid]
	j.mu.Unlock()
	if ok {
		return p
	}
	j.inner(oid, func(t *catalog.Type) bool {
		p = j.ownProblem(oid, t)
		return p == ""
	})
	j.mu.Lock()
	j.mu.types[oid] = p
	j.mu.Unlock()
	return p
}

func (j *judge) ownProblem(oid uint32, t *catalog.Type) string {
	switch {
	case t == nil:
		return fmt.Sprintf("type %d isn't known", oid)
	case t.OID == oidTimetz:
		// timetz_in and time_timetz take today's offset where none is given.
		return "type time with time zone reads the clock"
	// Not refused are regclass and its like: their text form depends on names in catalogs whose every change invalidates
	// all answers, and on the search path, which is in the key.
	case t.Builtin() && t.Kind == catalog.TypeComposite:
		return fmt.Sprintf("type %s is the row of a system catalog", t.Name)
	case !t.Builtin() && t.Kind == catalog.TypeBase && t.Elem == 0:
		for _, oid := range []uint32{t.Input, t.Output, t.Receive, t.Send} {
			if oid != 0 && !j.pureIO(j.s.Function(oid)) {
				return fmt.Sprintf("type %s is user-defined and not known to be immutable", j.typeName(t.OID))
			}
		}
	}
	return ""
}

// pureIO tells whether a type's input or output function may be relied on: C code (which only a superuser can
// install) that is declared immutable, or a function of the server by another name, or one of a trusted extension
// (citext's send is called stable, since text's is: it depends on client_encoding).
func (j *judge) pureIO(f *catalog.Function) bool {
	if f == nil {
		return false
	}
	if f.Builtin() || f.Language == "internal" {
		return true
	}
	return f.Language == "c" && (f.Volatility == catalog.Immutable || f.Volatility == catalog.Stable && trustedExtensions[f.Extension] != "")
}

// readsClock tells whether the input of a type can read the clock.
func (j *judge) readsClock(oid uint32) bool {
	return !j.inner(oid, func(t *catalog.Type) bool {
		if t == nil {
			return false
		}
		switch t.OID {
		case oidDate, oidTime, oidTimestamp, oidTimestamptz, oidTimetz:
			return false
		}
		return true
	})
}

// stringLike tells whether values of a type can be cast to any type through their text.
func (j *judge) stringLike(oid uint32) bool {
	oid = j.base(oid)
	t := j.s.Type(oid)
	return t == nil || t.Category == 'S' || t.Category == 'X' || t.Kind == catalog.TypePseudo || t.Kind == catalog.TypeComposite ||
		t.Elem != 0 && j.stringLike(t.Elem)
}

// base follows domains to what they are over.
func (j *judge) base(oid uint32) uint32 {
	for range 32 {
		t := j.s.Type(oid)
		if t == nil || t.Kind != catalog.TypeDomain {
			break
		}
		oid = t.Base
	}
	return oid
}

// pseudo tells whether a parameter of this type takes arguments of many types.
func (j *judge) pseudo(oid uint32) bool {
	t := j.s.Type(oid)
	return t == nil || t.Kind == catalog.TypePseudo
}

// excluded tells whether an argument of type t surely can't go to a parameter of type param, so that Postgres
// wouldn't choose that function. It answers only where it is certain: for user-defined types without a cast that is
// implicit, and for the pseudo-types of arrays and ranges.
func (j *judge) excluded(t typ, param uint32) bool {
	if t.oid == 0 || t.oid == oidUnknown || t.literal || t.oid == param {
		return false
	}
	have, want := j.s.Type(j.base(t.oid)), j.s.Type(param)
	if have == nil || want == nil || !have.Builtin() || have.Kind != catalog.TypeBase {
		return false
	}
	if have.Elem != 0 {
		return false
	}
	switch want.Name {
	case "anyarray", "anyrange", "anymultirange", "anyenum", "anycompatiblearray", "anycompatiblerange", "anycompatiblemultirange":
		return want.Builtin() && want.Kind == catalog.TypePseudo
	}
	if want.Builtin() || want.Kind == catalog.TypeDomain || want.Elem != 0 {
		return false
	}
	for _, source := range []uint32{t.oid, have.OID} {
		if c := j.s.Cast(source, param); c != nil && c.Context == 'i' {
			return false
		}
	}
	return true
}
