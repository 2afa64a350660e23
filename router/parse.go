package router

import (
	"errors"
	"strconv"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// maxDepth bounds how deep a parse tree may get. libpg_query walks trees recursively in C without looking at its
// stack: with the usual 8 MiB for a thread, 1+1+…+1 with 50,000 terms ends the process; with 512 KiB, as threads have
// on macOS, 2,000 terms do, or 500 nested subqueries. (Postgres itself answers "stack depth limit exceeded".) The
// unit is that of tooComplex; it leaves room even there.
const maxDepth = 500

// maxTokens bounds the size of a parse tree, each token of which takes some hundred bytes of memory for a while.
const maxTokens = 400_000

var errTooComplex = errors.New("the statement is too long or too deeply nested to be analysed")

// parse is libpg_query's parser, guarded.
func parse(text string) (*pg.ParseResult, error) {
	if tooComplex([]byte(text)) {
		return nil, errTooComplex
	}
	return pg.Parse(text)
}

// tooComplex tells whether a text's parse tree might get too deep or too big. It estimates the depth from above, by
// the tokens: parentheses, brackets and CASE … END open a level. Within one, a comma, AND, OR, a semicolon, and WHEN,
// THEN and ELSE of a CASE end a run, since lists, and chains of AND and OR, are flat in the tree; every other token
// may deepen it by one. Set operations, joins and BETWEEN nest in spite of what lies between them, so they count for
// the whole level.
func tooComplex(text []byte) bool {
	m := depthMeter{}
	s := scanner{text: text}
	var word [10]byte
	for tokens := 0; tokens < maxTokens; tokens++ {
		t := s.next()
		switch t.kind {
		case tokenEOF, tokenBad:
			return m.total() > maxDepth
		case tokenHint:
			continue
		case tokenSelf:
			switch text[t.start] {
			case '(', '[':
				m.open('(')
			case ')', ']':
				m.close('(')
			case ',':
				m.endRun()
			case ';':
				m.endRun()
				m.cur.deepest += m.cur.chain
				m.cur.chain = 0
			default:
				m.cur.run++
			}
		case tokenIdent:
			if t.end-t.start > len(word) {
				m.cur.run++
				break
			}
			for i, c := range text[t.start:t.end] {
				word[i] = lower[c]
			}
			m.word(word[:t.end-t.start])
		default:
			m.cur.run++
		}
		if len(m.stack) > maxDepth || m.cur.run+m.cur.chain > maxDepth {
			return true
		}
	}
	return true
}

// depthMeter holds what tooComplex has seen.
type depthMeter struct {
	cur   depthLevel
	stack []depthLevel
}

// depthLevel is an open parenthesis or CASE: its depth so far is deepest + chain, or run + inner + chain.
type depthLevel struct {
	opener                     byte
	chain, run, inner, deepest int
}

func (m *depthMeter) endRun() {
	m.cur.deepest = max(m.cur.deepest, m.cur.run+m.cur.inner)
	m.cur.run, m.cur.inner = 0, 0
}

func (m *depthMeter) open(opener byte) {
	m.stack = append(m.stack, m.cur)
	m.cur = depthLevel{opener: opener}
}

// close ends the innermost level with that opener, and what is open within. Words can be names, so that an END need
// not have a CASE.
func (m *depthMeter) close(opener byte) {
	if opener == 'c' && m.cur.opener != 'c' {
		m.cur.run++
		return
	}
	for len(m.stack) > 0 {
		was := m.cur.opener
		m.endRun()
		depth := m.cur.deepest + m.cur.chain + 1
		m.cur, m.stack = m.stack[len(m.stack)-1], m.stack[:len(m.stack)-1]
		m.cur.inner = max(m.cur.inner, depth)
		m.cur.run++
		if was == opener {
			return
		}
	}
}

func (m *depthMeter) word(word []byte) {
	switch string(word) {
	case "and", "or":
		m.endRun()
	case "case":
		m.open('c')
	case "end":
		m.close('c')
	case "when", "then", "else":
		if m.cur.opener == 'c' {
			m.endRun()
		} else {
			m.cur.run++
		}
	case "union", "intersect", "except", "join":
		m.cur.chain++
		m.endRun()
	case "between":
		m.cur.chain++
		m.cur.run++
	default:
		m.cur.run++
	}
}

func (m *depthMeter) total() int {
	for len(m.stack) > 0 {
		m.close(m.cur.opener)
	}
	m.endRun()
	return m.cur.deepest + m.cur.chain
}

func itoa(n int) string { return strconv.Itoa(n) }
