package proxy

import (
	"strconv"
	"unicode/utf8"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// rewriting is a Query that a server gets in a form of ours. What the client sees of the answer is as if it were the original.
type rewriting struct {
	from  string // the original's text
	text  []byte
	edits []edit
	// owners says of each statement of text which of the original's it is; -1: it is ours, and the client sees nothing of it.
	owners []int
}

// edit replaces the bytes from start to end of the original.
type edit struct {
	start, end int
	with       string
}

// rewrite returns the text after edits, which are in the order of the text.
func rewrite(from string, edits []edit, owners []int) *rewriting {
	r := &rewriting{from: from, edits: edits, owners: owners}
	at := 0
	for _, e := range edits {
		r.text = append(r.text, from[at:e.start]...)
		r.text = append(r.text, e.with...)
		at = e.end
	}
	r.text = append(r.text, from[at:]...)
	return r
}

// position turns a position in the rewritten text into one in the original. Both count characters from 1.
func (r *rewriting) position(p int) int {
	shift := 0 // from characters of the original to those of the rewritten text
	for _, e := range r.edits {
		start := utf8.RuneCountInString(r.from[:e.start]) + 1
		was, is := utf8.RuneCountInString(r.from[e.start:e.end]), utf8.RuneCountInString(e.with)
		switch {
		case p < start+shift:
			return p - shift
		case p < start+shift+is:
			return start
		}
		shift += is - was
	}
	return p - shift
}

// asOriginal corrects what an error or notice says about the text.
func (r *rewriting) asOriginal(e *wire.Error) *wire.Error {
	p, err := strconv.Atoi(e.Position)
	if err != nil {
		return e
	}
	c := *e
	c.Position = strconv.Itoa(r.position(p))
	return &c
}

// hidden says whether the statement whose reply comes next is one of ours.
func (r *rewriting) hidden(completed int) bool {
	return r != nil && completed < len(r.owners) && r.owners[completed] < 0
}

// rewriteSimple decides whether a server gets the Query in a form of ours.
func (s *Session) rewriteSimple(text []byte, p *router.Plan) *rewriting {
	var edits []edit
	var owners []int
	each := func(i int, part *router.Plan) {
		owners = append(owners, i)
		if s.base == nil {
			return
		}
		for _, set := range resets(part, part.Assigns) {
			for _, sql := range corrections(s.base, set) {
				edits = append(edits, edit{part.End, part.End, ";" + sql})
				owners = append(owners, -1)
			}
		}
	}
	switch {
	case p.Kind == router.KindMulti:
		for i, part := range p.Parts {
			each(i, part)
		}
	case s.base != nil:
		each(0, p)
	}
	if edits == nil {
		return nil
	}
	return rewrite(string(text), edits, owners)
}
