package router

import (
	"reflect"
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router/catalog"
)

// rowDeps finds, for each place where a query reads a relation, which of its rows can influence the answer.
//
// It is a look of its own at a query that has been found cacheable, and isn't trusted to have seen everything: it counts the places
// that it has seen (counts), and a relation that the analysis has found to be read in more (by a policy, by a function) counts as read
// as a whole.
type rowDeps struct {
	a     *analysis
	views map[*pg.RangeVar]*pg.SelectStmt

	levels int
	lost   bool // too much to look at

	places map[*pg.RangeVar]bool
	counts map[uint32]int
	whole  map[uint32]bool // relations of which all rows matter
	rows   []Dependency

	pending  []pendingUse
	uses     map[*pg.ParamRef]use
	doubtful map[int]bool
}

// dependencies returns what the answer to a cacheable query depends on. text is the one that its literals are in.
func (a *analysis) dependencies(n *pg.Node, text string) []Dependency {
	if len(a.rels) == 0 {
		return nil
	}
	src := &source{path: a.path, tokens: literals(nil, []byte(text)), text: text}
	d := &rowDeps{a: a, views: map[*pg.RangeVar]*pg.SelectStmt{}, uses: map[*pg.ParamRef]use{}}
	d.look(n, src)
	if d.doubtful = d.doubt(n); len(d.doubtful) > 0 {
		d.look(n, src)
	}
	return d.result()
}

func (d *rowDeps) look(n *pg.Node, src *source) {
	d.levels, d.rows = 0, nil
	d.places, d.counts, d.whole = map[*pg.RangeVar]bool{}, map[uint32]int{}, map[uint32]bool{}
	d.solve(d.build(n.GetSelectStmt(), &naming{source: src}), nil)
}

// maxPlaces bounds the dependencies on rows of one answer; each costs two comparisons at every hit.
const maxPlaces = 32

func (d *rowDeps) result() []Dependency {
	var whole []uint32
	for _, oid := range d.a.relations() {
		if d.lost || d.a.cyclic || len(d.rows) > maxPlaces || d.whole[oid] || d.counts[oid] < d.a.rels[oid] {
			whole = append(whole, oid)
		}
	}
	var out []Dependency
	if len(whole) > 0 {
		out = append(out, d.a.allRows(whole))
	}
	for _, dep := range d.rows {
		if !slices.ContainsFunc(dep.Relations, func(oid uint32) bool { return !slices.Contains(whole, oid) }) {
			continue // nothing that isn't in the other
		}
		if !slices.ContainsFunc(out, func(o Dependency) bool { return reflect.DeepEqual(o, dep) }) {
			out = append(out, dep)
		}
	}
	return out
}

// found takes note of a place where a table is read.
func (d *rowDeps) found(it *item) {
	var members []uint32
	read := []uint32{it.rel.OID}
	if it.place.Inh {
		read = append(read, d.a.s.Descendants(it.rel.OID)...)
	}
	for _, oid := range read {
		if r := d.a.s.Relation(oid); r != nil && r.Kind == catalog.KindTable {
			members = append(members, oid)
		}
	}
	slices.Sort(members)
	if !d.places[it.place] {
		d.places[it.place] = true
		for _, oid := range members {
			d.counts[oid]++
		}
	}
	if dep, ok := d.choose(it, members); ok {
		d.rows = append(d.rows, dep)
		return
	}
	for _, oid := range members {
		d.whole[oid] = true
	}
}

// choose makes a dependency of the columns whose values are fixed. Any of them would do. Those are chosen whose old values the feed is
// told: the primary key, if it is among them, else what of the replica identity is; and only if there are none, all others.
func (d *rowDeps) choose(it *item, members []uint32) (Dependency, bool) {
	var all, told []string
	for i := range it.fixed {
		if c := it.columns[i]; d.usable(it.rel.Columns[i].Name, c.kind, members) {
			all = append(all, it.rel.Columns[i].Name)
		}
	}
	for _, name := range all {
		if !slices.ContainsFunc(members, func(oid uint32) bool { return !toldOf(d.a.s.Relation(oid), name) }) {
			told = append(told, name)
		}
	}
	chosen, exact := told, true
	key := it.rel.PrimaryKey
	switch {
	case len(key) > 0 && containsAll(told, key):
		chosen = key
	case len(told) > 0:
	case len(key) > 0 && containsAll(all, key):
		chosen, exact = key, false
	default:
		chosen, exact = all, false
	}
	chosen = slices.Clone(chosen)
	slices.Sort(chosen)
	dep := Dependency{Name: d.a.relationName(it.rel.OID), Relations: members, Exact: exact}
	var columns []consistency.Column
	product := 1
	for _, name := range chosen {
		i := slices.IndexFunc(it.rel.Columns, func(c catalog.Column) bool { return c.Name == name })
		if n := len(it.fixed[i]); n == 0 || product*n > maxRows || len(columns) == maxColumns {
			continue // fewer columns are as right
		}
		product *= len(it.fixed[i])
		columns = append(columns, consistency.Column{Name: name, Kind: it.columns[i].kind})
		dep.Values = append(dep.Values, it.fixed[i])
	}
	if len(columns) == 0 {
		return dep, false
	}
	rows := int64(0)
	for _, oid := range members {
		n := d.a.s.Relation(oid).Rows
		if n < 0 {
			rows = -1
			break
		}
		rows += n
	}
	dep.Set = consistency.NewColumnSet(it.rel.OID, members, columns, rows)
	return dep, true
}

// maxColumns bounds a column set.
const maxColumns = 8

// usable tells whether rows can be picked by a column in all members.
func (d *rowDeps) usable(name string, kind consistency.ValueKind, members []uint32) bool {
	if kind == 0 {
		return false
	}
	for _, oid := range members {
		r := d.a.s.Relation(oid)
		if c, ok := r.Column(name); !ok || d.a.j.kindOf(c.Type) != kind || slices.Contains(r.Unkeyed, name) {
			return false
		}
	}
	return true
}

// toldOf tells whether the old value of a column comes with an UPDATE or DELETE.
func toldOf(r *catalog.Relation, name string) bool {
	return r.ReplicaIdentity == 'f' || slices.Contains(r.Identity, name)
}

func containsAll(list, all []string) bool {
	return !slices.ContainsFunc(all, func(s string) bool { return !slices.Contains(list, s) })
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
