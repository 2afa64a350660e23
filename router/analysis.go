package router

import (
	"fmt"
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/freshet/freshet/router/catalog"
)

// analysis is the look at one query (a SELECT with all that is in it) with the types of its expressions as far as
// they can be known. It collects effects and relations; what it doesn't understand makes the query a write.
type analysis struct {
	j    *judge
	s    *catalog.Snapshot
	path []string // where names are looked up: the effective search path, or pg_catalog alone where the others are qualified
	// calls is the effective search path while it runs, with which the functions that it calls look up names; nil: it isn't known.
	calls  []string
	params []uint32 // declared parameter types, or those of a function's arguments
	role   string   // who runs it
	as     string   // with whose rights relations are read
	// stored: the text is one of the catalog. Its literals are always the same, and its parameters are arguments.
	stored bool
	// variables are the names of PL/pgSQL's, by which a column may be meant as well.
	variables map[string]typ

	effect   effect
	rels     map[uint32]int // relations with storage: how many times each is read, see reads
	visited  map[*pg.Node]bool
	rowTypes map[*pg.Node]typ        // of what is in ROW(…)
	nested   map[findingKey]*finding // what was and is being looked at, see remember
	cyclic   bool                    // rels may count too little
}

func newAnalysis(j *judge, path []string, params []uint32, role string) *analysis {
	return &analysis{j: j, s: j.s, path: path, calls: path, params: params, role: role, as: role,
		rels: map[uint32]int{}, visited: map[*pg.Node]bool{}, rowTypes: map[*pg.Node]typ{}, nested: map[findingKey]*finding{}}
}

// query looks at a SELECT's whole tree, and returns what its columns are.
func (a *analysis) query(n *pg.Node, outer *scope) *table {
	a.visit(n)
	out := a.selectStmt(n.GetSelectStmt(), outer)
	a.effect.add(a.j.implicit)
	a.checkComplete(n.ProtoReflect())
	return out
}

func (a *analysis) add(e effect) { a.effect.add(e) }

// notUnderstood is the effect of a node that the planner doesn't know. What may leave state behind in it is still
// looked for.
func (a *analysis) notUnderstood(n *pg.Node) {
	a.add(writes(nodeName(n) + " isn't understood"))
	a.skip(n)
}

// skip looks only for what leaves state behind in a node and all below it.
func (a *analysis) skip(n *pg.Node) {
	g := generic{j: a.j, path: a.path}
	g.node(n)
	a.effect.add(g.effect)
	each(n.ProtoReflect(), func(n *pg.Node) bool { a.visit(n); return true })
}

func (a *analysis) visit(n *pg.Node) { a.visited[n] = true }

// checkComplete makes sure that no node was overlooked: a field of a message that nobody looked at (of a newer
// grammar, or forgotten) makes the statement a write.
func (a *analysis) checkComplete(m protoreflect.Message) {
	each(m, func(n *pg.Node) bool {
		if !a.visited[n] {
			a.notUnderstood(n)
			return false
		}
		return true
	})
}

// each calls visit for every node in a message, in the order of the tree, until it returns false.
func each(m protoreflect.Message, visit func(*pg.Node) bool) bool {
	if n, ok := m.Interface().(*pg.Node); ok && !visit(n) {
		return false
	}
	ok := true
	children(m, func(child protoreflect.Message) {
		ok = ok && each(child, visit)
	})
	return ok
}

// nodeName is the name of a node's type, for reasons.
func nodeName(n *pg.Node) string {
	if n == nil || n.Node == nil {
		return "an empty node"
	}
	m := n.ProtoReflect()
	name := "a node"
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name = string(fd.Message().Name())
		return false
	})
	return name
}

// strings returns the values of a list of String nodes.
func (a *analysis) strings(list []*pg.Node) []string {
	out := make([]string, 0, len(list))
	for _, n := range list {
		a.visit(n)
		if s, ok := n.Node.(*pg.Node_String_); ok {
			out = append(out, s.String_.Sval)
		} else {
			a.notUnderstood(n)
		}
	}
	return out
}

// qualified splits a name into schema (empty if there is none) and name. The database may stand before the schema.
func (a *analysis) qualified(list []*pg.Node) (schema, name string) {
	parts := a.strings(list)
	switch len(parts) {
	case 1:
		return "", parts[0]
	case 2:
		return parts[0], parts[1]
	case 3:
		if parts[0] == a.s.Database {
			return parts[1], parts[2]
		}
	}
	a.add(writes("a name isn't understood"))
	return "", ""
}

// in returns the schemas in which a name is looked up.
func (a *analysis) in(schema string) []string {
	if schema != "" {
		return []string{schema}
	}
	return a.path
}

// reads notes that the answer depends on a relation, once for each place where it is read, by whatever way. The places for which
// rowDeps finds no more than this makes it depend on all rows.
func (a *analysis) reads(oid uint32) { a.rels[oid]++ }

// relations returns the relations that were found, sorted.
func (a *analysis) relations() []uint32 {
	out := make([]uint32, 0, len(a.rels))
	for oid := range a.rels {
		out = append(out, oid)
	}
	slices.Sort(out)
	return out
}

// resolveType returns the type that a TypeName stands for, or 0 with an effect.
func (a *analysis) resolveType(t *pg.TypeName) uint32 {
	if t == nil {
		a.add(writes("a type isn't given"))
		return 0
	}
	for _, n := range t.Typmods {
		a.expr(n, nil)
	}
	for _, n := range t.ArrayBounds {
		a.visit(n) // Integer; Postgres ignores it
		if _, ok := n.Node.(*pg.Node_Integer); !ok {
			a.notUnderstood(n)
		}
	}
	schema, name := a.qualified(t.Names)
	if t.Setof || t.PctType {
		a.add(writes("a type isn't understood"))
		return 0
	}
	found := a.s.FindType(a.in(schema), name)
	if found == nil {
		a.add(writes(fmt.Sprintf("type %s isn't known", name)))
		return 0
	}
	if len(t.ArrayBounds) == 0 {
		return found.OID
	}
	if found.Array == 0 {
		a.add(writes(fmt.Sprintf("type %s[] isn't known", name)))
	}
	return found.Array
}
