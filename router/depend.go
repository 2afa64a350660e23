package router

import (
	"fmt"
	"strings"

	"github.com/freshet/freshet/consistency"
)

// Dependency is what an answer depends on in a place where a statement reads a relation: all of its rows, or those whose
// columns have certain values. It is a function of the fingerprint; a Resolver works out the values of one execution.
type Dependency struct {
	// Name is the relation as users call it; for all rows, those of several relations.
	Name string
	// Relations are the OIDs in whose names the feed reports changes, sorted: of the table, of its partitions, of its
	// inheritance children.
	Relations []uint32
	// Set are the columns; nil: all rows.
	Set *consistency.ColumnSet
	// Values are, for each column of Set, the values of which it has one.
	Values [][]Value
	// Exact: an UPDATE or DELETE of a row is seen to touch only what depended on that row. Else, since its replica identity
	// doesn't tell the columns' old values, it counts for all rows.
	Exact bool
}

// Value says where a value comes from.
type Value struct {
	from valueSource
	// index of the literal in the text, or of the parameter; from 0.
	index int
	// negative: there is an odd number of minus signs before a literal.
	negative bool
	// array: the values are the elements of the one meant.
	array bool
	// fixed is the value's text form.
	fixed string
}

type valueSource uint8

const (
	fromLiteral valueSource = iota
	fromParam
	fromFixed // part of the fingerprint, or of a view's definition
)

// maxRows is how many combinations of values a dependency may be of. A list that is longer makes it one on all rows.
const maxRows = 64

// DependsOn says in words what the answer depends on, for users: one line for each place where a relation is read. Empty for a plan
// that isn't cacheable.
func (p *Plan) DependsOn() []string {
	var lines []string
	for i := range p.Deps {
		lines = append(lines, p.Deps[i].String())
	}
	return lines
}

// String is the dependency in words. Literals are shown as ?, since the plan is that of every text with other ones.
func (d *Dependency) String() string {
	if d.Set == nil {
		return d.Name + ": all rows"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: rows where ", d.Name)
	for i, c := range d.Set.Columns() {
		if i > 0 {
			b.WriteString(" and ")
		}
		b.WriteString(quoteIdentifier(c.Name))
		list := make([]string, len(d.Values[i]))
		for j, v := range d.Values[i] {
			list[j] = v.String()
		}
		switch {
		case len(list) == 1 && d.Values[i][0].array:
			b.WriteString(" = ANY(" + list[0] + ")")
		case len(list) == 1:
			b.WriteString(" = " + list[0])
		default:
			b.WriteString(" IN (" + strings.Join(list, ", ") + ")")
		}
	}
	if !d.Exact {
		b.WriteString(" (an UPDATE or DELETE of any row counts, as the replica identity doesn't hold these columns' old values)")
	}
	return b.String()
}

func (v Value) String() string {
	switch v.from {
	case fromParam:
		return "$" + itoa(v.index+1)
	case fromFixed:
		return v.fixed
	}
	return "?"
}

// Param is the value of a parameter, as Bind brings it. Null has a nil Value.
type Param struct {
	Value  []byte
	Binary bool
}

// Execution is what the values of a statement come from when it is run.
type Execution struct {
	Text   []byte  // of the statement
	Params []Param // none in the simple protocol
	// UTF8: the session's client_encoding is UTF8. Where it isn't, or the database's encoding isn't, texts beyond ASCII can't be
	// compared with those of the feed.
	UTF8 bool
}

// Resolver works out what executions of statements depend on. It holds scratch memory, so it isn't safe for concurrent use: one
// per shard.
type Resolver struct {
	deps     []consistency.Dependency
	rows     []consistency.RowHash
	next     []consistency.RowHash
	literals []token
	scratch  []byte
}

// Resolve returns what the answer to an execution depends on. It is valid until the next call. It looks at the text again if the
// plan needs its literals, which takes about a microsecond, so it isn't for hits but for fills.
func (r *Resolver) Resolve(p *Plan, e Execution) []consistency.Dependency {
	r.deps, r.rows, r.literals = r.deps[:0], r.rows[:0], r.literals[:0]
	for i := range p.Deps {
		d := &p.Deps[i]
		out := consistency.Dependency{Relations: d.Relations}
		if d.Set != nil {
			if rows, ok := r.resolve(d, &e, p.utf8); ok {
				out.Set, out.Rows = d.Set, rows
			}
		}
		r.deps = append(r.deps, out)
	}
	return r.deps
}

// resolve gives the hashes of all combinations of values. false: a value isn't known, or they are too many.
func (r *Resolver) resolve(d *Dependency, e *Execution, utf8 bool) ([]consistency.RowHash, bool) {
	begin := len(r.rows)
	r.rows = append(r.rows, 0)
	for i, c := range d.Set.Columns() {
		r.next = r.next[:0]
		for _, v := range d.Values[i] {
			if !r.value(v, c.Kind, r.rows[begin:], e, utf8) {
				return nil, false
			}
		}
		r.rows = append(r.rows[:begin], r.next...)
	}
	return r.rows[begin:len(r.rows):len(r.rows)], true
}

// value appends to next each of the hashes with the value, or each of the array's values, added.
// utf8 says whether the database's encoding, in which the feed's values are, is UTF8.
func (r *Resolver) value(v Value, kind consistency.ValueKind, hashes []consistency.RowHash, e *Execution, utf8 bool) bool {
	var text []byte
	comparable := utf8 && e.UTF8
	binary := false
	switch v.from {
	case fromFixed:
		text, comparable = append(r.scratch[:0], v.fixed...), utf8 // the catalog is read in UTF8
		r.scratch = text
	case fromParam:
		if v.index >= len(e.Params) {
			return false
		}
		text, binary = e.Params[v.index].Value, e.Params[v.index].Binary
		if text == nil {
			return false // NULL is equal to nothing; that needs no care to be quick
		}
	default:
		var ok bool
		if text, ok = r.literal(v, e.Text); !ok {
			return false
		}
	}
	add := func(text []byte) bool {
		if kind == consistency.KindText && !comparable && !ascii(text) {
			return false
		}
		for _, h := range hashes {
			var ok bool
			if binary {
				h, ok = h.Binary(kind, text)
			} else {
				h, ok = h.Text(kind, text)
			}
			if !ok || len(r.next) >= maxRows {
				return false
			}
			r.next = append(r.next, h)
		}
		return true
	}
	switch {
	case !v.array:
		return add(text)
	case binary:
		return binaryArray(text, kind, add)
	}
	return textArray(text, add)
}

func ascii(text []byte) bool {
	for _, c := range text {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// literal returns the value of a literal of the text, as far as it can be read off it.
func (r *Resolver) literal(v Value, text []byte) ([]byte, bool) {
	if len(r.literals) == 0 {
		r.literals = literals(r.literals, text)
	}
	if v.index >= len(r.literals) {
		return nil, false
	}
	t := r.literals[v.index]
	switch t.kind {
	case tokenString:
		return r.unquote(t, text)
	case tokenInt4, tokenInt4Min, tokenInt8, tokenInt8Min:
		digits := text[t.start:t.end]
		if !v.negative {
			return digits, true // what isn't decimal is refused by who reads it
		}
		r.scratch = append(append(r.scratch[:0], '-'), digits...)
		return r.scratch, true
	}
	return nil, false
}

// unquote returns the value of a string literal. What has escapes in it, or goes on in another line, isn't read.
func (r *Resolver) unquote(t token, text []byte) ([]byte, bool) {
	body := t.body(text)
	if t.hidden {
		return nil, false
	}
	switch text[t.start] {
	case '$':
		return body, true
	case '\'':
	default: // E'…'
		for _, c := range body {
			if c == '\\' {
				return nil, false
			}
		}
	}
	out := r.scratch[:0]
	for i := 0; i < len(body); i++ {
		out = append(out, body[i])
		if body[i] == '\'' {
			i++ // they are doubled
		}
	}
	r.scratch = out
	return out, true
}

// literals appends the literals of a text, in their order. (The lexer gives every text with one fingerprint the same number of them.)
func literals(list []token, text []byte) []token {
	s := scanner{text: text}
	for {
		switch t := s.next(); t.kind {
		case tokenEOF, tokenBad:
			return list
		case tokenString, tokenBits, tokenInt4, tokenInt4Min, tokenInt8, tokenInt8Min, tokenNumeric, tokenOdd:
			list = append(list, t)
		}
	}
}
