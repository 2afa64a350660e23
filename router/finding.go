package router

import (
	"strings"
	"unicode/utf8"
)

// finding is what reading a view, calling a function or the like amounts to.
type finding struct {
	effect effect
	rels   map[uint32]int
	// cyclic: it leads back to itself, and what is read there isn't counted in rels.
	cyclic bool
}

// findingKey is what a finding depends on besides the snapshot: who runs the statement, and the search path: where every name is
// qualified, functions that are called may still go by it.
type findingKey struct {
	kind       findingKind
	oid        uint32
	role, path string
}

// findingKind says of what: OIDs are unique within their catalog only.
type findingKind uint8

const (
	ofView findingKind = iota
	ofFunction
	ofDomain
)

// maxFindings bounds what a judge remembers: there can be as many as there are roles and search paths.
const maxFindings = 1 << 14

// remember returns what has been found under a key, or finds it. What is still being looked at, and so leads back to itself,
// adds nothing. Only the outermost finding is remembered beyond this analysis: within it, one may lack what is found for
// another that it leads back to.
func (a *analysis) remember(key findingKey, find func() *finding) *finding {
	a.j.mu.Lock()
	f := a.j.mu.findings[key]
	a.j.mu.Unlock()
	if f != nil {
		return f
	}
	if f, ok := a.nested[key]; ok {
		return f
	}
	outermost := len(a.nested) == 0
	a.nested[key] = &finding{cyclic: true}
	f = find()
	if !outermost {
		a.nested[key] = f
		return f
	}
	clear(a.nested)
	a.j.mu.Lock()
	if len(a.j.mu.findings) >= maxFindings {
		clear(a.j.mu.findings)
	}
	a.j.mu.findings[key] = f
	a.j.mu.Unlock()
	return f
}

// calling is the search path for functions that are called, as a part of a key.
func (a *analysis) calling() string { return strings.Join(a.calls, "\x00") }

// merge adds a finding.
func (a *analysis) merge(f *finding) {
	a.add(f.effect)
	for oid, n := range f.rels {
		a.rels[oid] += n
	}
	a.cyclic = a.cyclic || f.cyclic
}

// within returns an analysis for a text of the catalog that the statement leads to: one that doesn't change from one call
// to the next, so that its literals may be looked at, and that has no parameters. Every name outside of pg_catalog is
// qualified in it, and it is run by whoever runs the statement, unless that is changed.
func (a *analysis) within() *analysis {
	b := newAnalysis(a.j, []string{"pg_catalog"}, nil, a.role)
	b.stored, b.nested, b.calls = true, a.nested, a.calls
	return b
}

// found is what an analysis has found, with reasons that say where.
func (a *analysis) found(where string) *finding {
	e := a.effect
	for _, reason := range []*string{&e.uncacheable, &e.primary, &e.write} {
		if *reason != "" {
			*reason = where + ": " + *reason
		}
	}
	return &finding{e, a.rels, a.cyclic}
}

// deparsed looks at an expression, or several, as the server gives them; of one it returns the type.
func (a *analysis) deparsed(expr string, sc *scope) typ {
	if expr == "" {
		return hidden
	}
	a.clockWords(expr)
	t := a.text("SELECT "+expr, sc)
	if len(t.columns) == 1 && !t.partial {
		return t.columns[0].typ
	}
	return hidden
}

// text looks at a SELECT that is given as text.
func (a *analysis) text(sql string, sc *scope) *table {
	tree, err := parse(sql)
	switch {
	case err != nil || len(tree.Stmts) != 1:
		a.add(writes("something in it isn't understood"))
		return &table{partial: true}
	case tree.Stmts[0].Stmt.GetSelectStmt() == nil:
		a.add(writes(strings.TrimSuffix(nodeName(tree.Stmts[0].Stmt), "Stmt") + " in it isn't a SELECT"))
		return &table{partial: true}
	}
	return a.query(tree.Stmts[0].Stmt, sc)
}

// clockWords looks for literals that may read the clock in a stored text. Those of a session's statement are looked for
// each time that it runs.
func (a *analysis) clockWords(text string) {
	if a.s.Encoding != "UTF8" && strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		// libpg_query folds and cuts identifiers as in UTF-8.
		a.add(writes("it has characters beyond ASCII, and the server's encoding is " + a.s.Encoding))
	}
	if _, scan := NewLexer().Scan([]byte(text)); scan.ClockWord {
		a.add(notCacheable("a literal like 'now' or 'today' reads the clock"))
	}
}
