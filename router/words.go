package router

import (
	"strings"
)

// word is a token of a text that is looked at without being parsed.
type word struct {
	kind tokenKind
	text string // in lower case unless quoted; without quotes; empty for strings, whose values don't matter
	// first: it may begin a statement.
	first bool
}

// words splits a text into its tokens, as far as Postgres' lexer would go.
func words(text string) []word {
	raw := []byte(text)
	s := scanner{text: raw}
	var out []word
	first := true
	for {
		t := s.next()
		switch t.kind {
		case tokenEOF:
			return out
		case tokenHint:
			continue
		case tokenBad:
			return append(out, word{kind: tokenBad})
		}
		w := word{kind: t.kind, text: text[t.start:t.end], first: first}
		switch t.kind {
		case tokenIdent:
			w.text = lowerASCII(w.text)
		case tokenQuoted:
			w.text = strings.ReplaceAll(w.text[1:len(w.text)-1], `""`, `"`)
		case tokenString:
			w.text = ""
		}
		out = append(out, w)
		first = false
		switch {
		case t.kind == tokenSelf && w.text == ";", t.kind == tokenOperator && w.text == ">>":
			first = true // after a statement, after a label
		case t.kind == tokenIdent:
			switch w.text {
			case "begin", "then", "else", "loop", "do", "as", "instead", "also", "atomic":
				// In PL/pgSQL, in rules, after AS in PREPARE, in SQL-standard bodies.
				first = true
			}
		case t.kind == tokenSelf && w.text == "(":
			first = true // CREATE RULE … DO (…; …)
		}
	}
}

// lowerASCII folds an identifier as Postgres does in UTF-8.
func lowerASCII(s string) string {
	for i := range len(s) {
		if lower[s[i]] != s[i] {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lower[b[j]]
			}
			return string(b)
		}
	}
	return s
}

// stateWord says what kind of state the i-th word of a text may leave on a connection; "" if none. It errs on the
// side of finding some.
func stateWord(words []word, i int) string {
	w := words[i]
	if w.kind == tokenBad || w.kind == tokenOdd {
		return "something that can't be read"
	}
	if w.kind != tokenIdent && w.kind != tokenQuoted {
		return ""
	}
	if strings.HasPrefix(w.text, "pg_temp") {
		return "temporary table"
	}
	if w.kind == tokenQuoted {
		return ""
	}
	is := func(k int, texts ...string) bool {
		if i+k < 0 || i+k >= len(words) {
			return false
		}
		for _, t := range texts {
			if words[i+k].kind == tokenIdent && words[i+k].text == t {
				return true
			}
		}
		return false
	}
	switch w.text {
	case "temp", "temporary":
		return "temporary table"
	case "listen":
		if w.first {
			return "LISTEN"
		}
	case "load":
		if w.first {
			return "LOAD"
		}
	case "prepare":
		if w.first && !is(1, "transaction") {
			return "SQL PREPARE"
		}
	case "discard":
		if w.first {
			return "DISCARD"
		}
	case "reset":
		if w.first {
			return "RESET"
		}
	case "set":
		if w.first && !is(1, "local", "constraints", "transaction") {
			return "SET"
		}
	case "hold":
		if is(-1, "with") {
			return "WITH HOLD cursor"
		}
	case "execute":
		// EXECUTE FUNCTION of triggers and GRANT EXECUTE are no dynamic SQL.
		if !is(1, "function", "procedure", "on") && !is(-1, "grant", "revoke") {
			return "dynamic SQL"
		}
	}
	return ""
}

// localSetConfig tells whether words begin with a call set_config(…, …, true).
func localSetConfig(words []word) bool {
	if len(words) < 2 || words[1].text != "(" || words[1].kind != tokenSelf {
		return false
	}
	depth, commas, last := 0, 0, -1
	for i, w := range words[1:] {
		if w.kind != tokenSelf {
			continue
		}
		switch w.text {
		case "(", "[":
			depth++
		case ")", "]":
			depth--
		case ",":
			if depth == 1 {
				commas++
				last = i + 1
			}
		}
		if depth == 0 {
			// The third argument, and nothing but TRUE in it.
			return commas == 2 && i+1 == last+2 && words[last+1].kind == tokenIdent && words[last+1].text == "true"
		}
	}
	return false
}
