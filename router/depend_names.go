package router

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router/catalog"
)

// The names of a query, for finding out which rows it reads. It is like scope, which is after types, but the other way round: where
// scope may leave several possibilities open, here a column is one certain column of one certain place in a FROM clause, or isn't known.

// naming is what column names and the names of common table expressions can mean at one level of a query.
type naming struct {
	parent *naming
	source *source
	items  []*item
	using  map[string]ref // what JOIN … USING has merged, and which column stands for it; a zero ref: not one of them
	loose  bool           // NATURAL JOIN: any column may be merged
	ctes   map[string]*cte
}

// source is the text that a piece of a query comes from.
type source struct {
	path   []string // where names are looked up
	tokens []token  // the literals of the statement's text
	text   string   // "": the text is one of the catalog, whose literals are always the same
}

func (s *source) stored() bool { return s.text == "" }

// item is what stands at one place in a FROM clause.
type item struct {
	name    string // by which columns can be qualified; "": not known
	schema  string // … and of a relation without alias, with the schema before it
	columns []itemColumn
	opaque  bool // there may be more columns, or others

	rel   *catalog.Relation // with rows of its own, or nil
	place *pg.RangeVar
	sub   *level // a subquery, view or common table expression, or nil

	// fixed are the values of columns: a row that has others can't influence the answer.
	fixed map[int][]Value
}

type itemColumn struct {
	name string
	typ  uint32                // 0: not known
	kind consistency.ValueKind // 0: none by which rows can be picked
}

// ref is a column of an item.
type ref struct {
	it  *item
	col int
}

func (r ref) column() itemColumn { return r.it.columns[r.col] }

type cte struct {
	name     string
	query    *pg.SelectStmt // nil: it modifies data
	columns  []*pg.Node
	names    *naming // what it sees
	whole    bool    // SEARCH or CYCLE add columns, or it may be recursive
	building bool
}

func (sc *naming) cte(name string) *cte {
	for ; sc != nil; sc = sc.parent {
		if c := sc.ctes[name]; c != nil {
			return c
		}
	}
	return nil
}

// resolve finds what a column reference means.
func (sc *naming) resolve(x *pg.ColumnRef) (ref, bool) {
	var parts []string
	for _, f := range x.Fields {
		s := f.GetString_()
		if s == nil {
			return ref{}, false
		}
		parts = append(parts, s.Sval)
	}
	switch len(parts) {
	case 1:
		return sc.column(parts[0])
	case 2:
		it := sc.item("", parts[0])
		return it.column(parts[1])
	case 3:
		it := sc.item(parts[0], parts[1])
		return it.column(parts[2])
	}
	return ref{}, false
}

// column finds an unqualified column (colNameToVar).
func (sc *naming) column(name string) (ref, bool) {
	for ; sc != nil; sc = sc.parent {
		if r, ok := sc.using[name]; ok {
			return r, r.it != nil
		}
		var found ref
		n := 0
		for _, it := range sc.items {
			if it.opaque {
				return ref{}, false
			}
			for i, c := range it.columns {
				if c.name == name {
					found = ref{it, i}
					n++
				}
			}
		}
		if n == 1 && !sc.loose {
			return found, true
		}
		if n > 0 {
			return ref{}, false
		}
	}
	return ref{}, false
}

// item finds an item by the name that it is known under (refnameNamespaceItem); nil if it isn't certain.
func (sc *naming) item(schema, name string) *item {
	for ; sc != nil; sc = sc.parent {
		var found *item
		for _, it := range sc.items {
			if it.name == "" || it.name == name && found != nil {
				return nil
			}
			if it.name == name {
				found = it
			}
		}
		switch {
		case found == nil:
		case schema == "" || schema == found.schema:
			return found
		default:
			return nil
		}
	}
	return nil
}

func (it *item) column(name string) (ref, bool) {
	if it == nil {
		return ref{}, false
	}
	var found ref
	n := 0
	for i, c := range it.columns {
		if c.name == name {
			found = ref{it, i}
			n++
		}
	}
	return found, n == 1
}

// kindOf is how values of a type are told apart; 0: no such way is known.
func (j *judge) kindOf(oid uint32) consistency.ValueKind {
	switch j.base(oid) {
	case oidInt2, oidInt4, oidInt8:
		return consistency.KindInt
	case oidText, oidVarchar:
		return consistency.KindText
	case oidUUID:
		return consistency.KindUUID
	case oidBool:
		return consistency.KindBool
	}
	return 0
}
