package router

import (
	"slices"
	"strings"
)

// dependencies returns what the answer to a cacheable query depends on.
func (a *analysis) dependencies() []Dependency {
	if len(a.rels) == 0 {
		return nil
	}
	return []Dependency{a.allRows(a.relations())}
}

// allRows is the dependency on all rows of these relations.
func (a *analysis) allRows(oids []uint32) Dependency {
	names := make([]string, 0, len(oids))
	for _, oid := range oids {
		names = append(names, a.relationName(oid))
	}
	slices.Sort(names)
	return Dependency{Name: strings.Join(names, ", "), Relations: oids}
}

// relationName is a relation's name for users.
func (a *analysis) relationName(oid uint32) string {
	r := a.s.Relation(oid)
	switch {
	case r == nil:
		return "relation " + itoa(int(oid))
	case slices.Contains(a.path, r.Schema):
		return quoteIdentifier(r.Name)
	}
	return quoteIdentifier(r.Schema) + "." + quoteIdentifier(r.Name)
}
