package router

import (
	"errors"
	"strings"
	"sync/atomic"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// Planner makes plans. It is safe for concurrent use.
type Planner struct {
	src   func() *catalog.Snapshot
	judge atomic.Pointer[judge] // of the newest snapshot seen
}

// NewPlanner returns a planner that judges by the snapshot that src returns at the time of planning; src may return
// nil as long as there is none: then what a statement is can be told, but nothing is cacheable and every SELECT
// counts as a write.
func NewPlanner(src func() *catalog.Snapshot) *Planner { return &Planner{src: src} }

// judgeOf returns what is known by a snapshot.
func (p *Planner) judgeOf(s *catalog.Snapshot) *judge {
	for {
		j := p.judge.Load()
		if j != nil && j.s == s {
			return j
		}
		fresh := newJudge(s)
		if j != nil && j.s.Generation > s.Generation {
			return fresh // somebody saw a newer one meanwhile
		}
		if p.judge.CompareAndSwap(j, fresh) {
			return fresh
		}
	}
}

// Plan makes the plan of a text (one statement or several). It blocks (libpg_query: tens of microseconds and up), so it
// runs beside the shard. It never returns nil. Plan.Generation is for the Key under which it may be remembered.
//
// The text is taken to be in UTF-8; see Scan.NonASCII for sessions with another client_encoding.
func (p *Planner) Plan(text string, ctx Context) *Plan {
	_, scan := NewLexer().Scan([]byte(text))
	st := &statement{path: ctx.SearchPath, params: ctx.ParamTypes, role: ctx.Role, exact: scan.Exact}
	if s := p.src(); s != nil {
		st.j, st.generation = p.judgeOf(s), s.Generation
		if s.Encoding != "UTF8" && scan.NonASCII {
			// libpg_query folds and cuts identifiers as in UTF-8.
			return st.finish(UnknownPlan("the text has characters beyond ASCII, and the server's encoding is "+s.Encoding), scan)
		}
	}
	return st.finish(st.plan(text), scan)
}

// statement plans one statement.
type statement struct {
	j          *judge // nil: there is no snapshot
	path       []string
	params     []uint32
	role       string
	generation uint64
	exact      bool   // the plan is for this text alone: what its literals say may be part of it
	text       string // that the trees' locations are in
}

// finish adds what all plans have.
func (st *statement) finish(p *Plan, scan Scan) *Plan {
	p.Generation = st.generation
	p.Lasting = p.Lasting || lasting(p.Binds)
	p.Frees = p.Frees || p.frees()
	p.Notifies = p.Notifies || p.notifies()
	p.Hint = scan.Hint
	p.ReplicaToo = p.replicaToo()
	for _, part := range p.Parts {
		part.Lasting = part.Lasting || lasting(part.Binds)
		part.Frees = part.Frees || part.frees()
		part.Notifies = part.Notifies || part.notifies()
		part.Generation, part.Hint = st.generation, scan.Hint
	}
	return p
}

func (st *statement) plan(text string) *Plan {
	st.text = text
	tree, err := parse(text)
	if err != nil {
		return st.unparsed(text, err)
	}
	switch len(tree.Stmts) {
	case 0:
		return &Plan{Kind: KindEmpty, Reason: "the statement is empty"}
	case 1:
		return st.raw(text, tree.Stmts[0])
	}
	multi := &Plan{Kind: KindMulti, Reason: "more than one statement in a text"}
	for _, raw := range tree.Stmts {
		part := st.raw(text, raw)
		multi.Parts = append(multi.Parts, part)
		multi.include(part)
	}
	return multi
}

// frees tells whether after a statement of this kind, or after its transaction, something may be gone from the connection that it or an
// earlier one has left there.
func (p *Plan) frees() bool {
	switch p.Kind {
	case KindUtility, KindDiscard, KindCursor, KindDeallocate:
		return true
	}
	return p.Binds != "" // and is undone, or dropped by a function at its end, or ON COMMIT
}

// notifies tells whether a statement of this kind has to be taken for one that may NOTIFY, whatever is known of what it calls.
func (p *Plan) notifies() bool {
	switch p.Kind {
	case KindRead, KindWrite, KindCopy, KindMulti:
		return p.Binds != ""
	}
	return p.Writes
}

// include adds a part's properties to those of a multi-statement text.
func (p *Plan) include(part *Plan) {
	p.Writes = p.Writes || part.Writes
	if p.WriteReason == "" {
		p.WriteReason = part.WriteReason
	}
	if part.OnPrimary && !p.OnPrimary {
		p.OnPrimary, p.PrimaryReason = true, part.PrimaryReason
	}
	if p.Binds == "" {
		p.Binds = part.Binds
	}
	p.Lasting = p.Lasting || part.Lasting || lasting(part.Binds)
	p.Frees = p.Frees || part.Frees || part.frees()
	p.Notifies = p.Notifies || part.Notifies || part.notifies()
	p.Unbinds = p.Unbinds || part.Unbinds
	p.DDL = p.DDL || part.DDL
	p.Mentions = append(p.Mentions, part.Mentions...)
	p.ShowsPrepared = p.ShowsPrepared || part.ShowsPrepared
	p.ReadsSequenceState = p.ReadsSequenceState || part.ReadsSequenceState
	p.LeavesSequenceState = p.LeavesSequenceState || part.LeavesSequenceState
}

// raw plans one statement of a text.
func (st *statement) raw(text string, raw *pg.RawStmt) *Plan {
	start, end := int(raw.StmtLocation), len(text)
	if raw.StmtLen > 0 {
		end = start + int(raw.StmtLen)
	}
	if start < 0 || start > end || end > len(text) {
		start, end = 0, len(text)
	}
	p := st.one(raw.Stmt, text[start:end])
	if st.exact {
		p.Start, p.End = start, end
	}
	return p
}

// UnknownPlan is the plan of a statement that can't be understood: it goes to the primary, counts as a write and
// binds the session.
func UnknownPlan(reason string) *Plan {
	return &Plan{Kind: KindInvalid, Reason: reason, Writes: true, WriteReason: reason, OnPrimary: true, PrimaryReason: reason, Binds: reason}
}

// unparsed is the plan of a text that libpg_query doesn't parse, or isn't given. Most often Postgres won't parse it
// either. A newer one may, so that nothing can be said about what it leaves behind. What is only too long is looked
// at word by word.
func (st *statement) unparsed(text string, err error) *Plan {
	if !errors.Is(err, errTooComplex) {
		return UnknownPlan("the statement can't be parsed")
	}
	p := UnknownPlan(err.Error())
	switch firstKeyword([]byte(text)) {
	case KeywordInsert, KeywordUpdate, KeywordDelete, KeywordSelect, KeywordWith, KeywordValues:
	default:
		return p
	}
	if s := strings.TrimRight(text, " \t\r\n;"); st.j == nil || hasSemicolon(s) {
		return p
	}
	c := closure{j: st.j}
	c.body(text, "a very long statement", false)
	p.Kind, p.Binds, p.Lasting = KindWrite, c.effect.binds, c.effect.leavesLasting()
	p.Notifies = c.effect.notifies
	return p
}

// hasSemicolon tells whether a text may hold more than one statement.
func hasSemicolon(text string) bool {
	s := scanner{text: []byte(text)}
	for {
		switch t := s.next(); {
		case t.kind == tokenEOF:
			return false
		case t.kind == tokenBad, t.kind == tokenSelf && text[t.start] == ';':
			return true
		}
	}
}
