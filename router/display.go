package router

import "strings"

// Display is a statement's text for people, without anything that may be a secret: each literal is a question mark, the value of a setting
// too, and there are no comments but hints. What can't be read with certainty isn't shown. It is cut after about most bytes. Like Scan, it is
// for texts of sessions with standard_conforming_strings = on.
func Display(text []byte, most int) string {
	var b strings.Builder
	s := scanner{text: text}
	fresh, sets, value := true, false, false // at the beginning of a statement; in one that may set something; in what it sets it to
	for last := 0; ; {
		t := s.next()
		if t.kind == tokenEOF {
			return b.String()
		}
		end := t.kind == tokenSelf && text[t.start] == ';'
		if value && !end {
			continue
		}
		if b.Len() > 0 && t.start > last && !end {
			b.WriteByte(' ')
		}
		if b.Len() >= most || t.kind == tokenBad {
			b.WriteString("…")
			return b.String()
		}
		last = t.end
		word := ""
		switch t.kind {
		case tokenIdent:
			word = strings.ToLower(string(text[t.start:t.end]))
			b.WriteString(strings.ToValidUTF8(string(text[t.start:t.end]), "\uFFFD"))
		case tokenQuoted, tokenParam, tokenOperator, tokenSelf:
			b.WriteString(strings.ToValidUTF8(string(text[t.start:t.end]), "\uFFFD"))
		case tokenHint:
			var hint Hint
			body, _ := hintBody(text[t.start:t.end])
			if hint.parse(body); !hint.Bad { // else it may say anything
				b.Write(text[t.start:t.end])
			}
		case tokenNChar: // a string follows
		default:
			b.WriteByte('?')
		}
		switch {
		case end:
			fresh, sets, value = true, false, false
		case t.kind == tokenHint:
		case fresh:
			fresh, sets = false, word == "set" || word == "alter"
		case sets && (word == "to" || t.kind == tokenOperator && text[t.start] == '='):
			value = true
			b.WriteString(" ?")
		}
	}
}
