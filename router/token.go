package router

// tokenKind is the kind of a token, as the lexer of Postgres tells them apart.
type tokenKind uint8

const (
	tokenEOF     tokenKind = iota
	tokenIdent             // identifier or keyword, not quoted
	tokenQuoted            // "identifier"
	tokenString            // '…', E'…', $$…$$, with its continuations
	tokenBits              // B'…', X'…'
	tokenInt4              // a number of the class that make_const() gives it
	tokenInt4Min           // 2147483648: int8, but int4 after a minus
	tokenInt8
	tokenInt8Min // 9223372036854775808: numeric, but int8 after a minus
	tokenNumeric
	tokenParam    // $1
	tokenNChar    // the N of N'…', which stands for the keyword NCHAR
	tokenOperator // one or more characters
	tokenSelf     // one of , ( ) [ ] ; : .
	tokenHint     // /* freshet: … */; for Postgres it doesn't exist
	tokenOdd      // a literal or identifier that isn't what it looks like: U&'…' (which depends on a UESCAPE that may follow), coded escapes
	tokenBad      // Postgres wouldn't take it, or it is unterminated
)

// token is a piece of text from start up to end.
type token struct {
	kind tokenKind
	// hidden: a string whose value isn't its text: it has backslash escapes that matter or continues on another line.
	hidden     bool
	start, end int
}

// scanner splits a text into tokens by the rules of scan.l (with standard_conforming_strings on, as of Postgres 17).
// Older servers differ for some number formats only: what is junk there is an error, or on 14 an alias.
type scanner struct {
	text []byte
	pos  int
}

// Character classes.
const (
	classSpace  = 1 << iota // [ \t\n\r\f\v]
	classIdent              // starts an identifier
	classDigit              // 0-9
	classOp                 // part of an operator
	classSelf               // a token of its own (and not part of an operator)
	classDollar             // $
)

const classCont = classIdent | classDigit | classDollar // goes on with an identifier

var classes, lower = func() (c [256]uint8, l [256]uint8) {
	for i := range 256 {
		b := byte(i)
		l[i] = b
		switch {
		case b >= 'A' && b <= 'Z':
			c[i], l[i] = classIdent, b+'a'-'A'
		case b >= 'a' && b <= 'z', b == '_', b >= 0x80:
			c[i] = classIdent
		case b >= '0' && b <= '9':
			c[i] = classDigit
		case b == '$':
			c[i] = classDollar
		}
	}
	for _, b := range []byte(" \t\n\r\f\v") {
		c[b] = classSpace
	}
	for _, b := range []byte("~!@#^&|`?+-*/%<>=") {
		c[b] = classOp
	}
	for _, b := range []byte(",()[].;:") {
		c[b] = classSelf
	}
	return c, l
}()

// folded is the lower-case form of a byte that goes on with an identifier; 0 for others.
var folded = func() (f [256]uint8) {
	for i := range f {
		if classes[i]&classCont != 0 {
			f[i] = lower[i]
		}
	}
	return f
}()

// next returns the next token. After tokenBad or tokenEOF there is none.
func (s *scanner) next() token {
	text := s.text
	i := s.pos
	for i < len(text) {
		c := text[i]
		class := classes[c]
		switch {
		case class == classSpace:
			i++
			continue
		case class == classIdent:
			if i+1 < len(text) && text[i+1] == '\'' || c|0x20 == 'u' && i+1 < len(text) && text[i+1] == '&' {
				if t, ok := s.prefixed(i); ok {
					return t
				}
			}
			j := i + 1
			for j < len(text) && classes[text[j]]&classCont != 0 {
				j++
			}
			s.pos = j
			return token{kind: tokenIdent, start: i, end: j}
		case class == classDigit:
			return s.number(i)
		case class == classSelf:
			return s.self(i)
		case class == classOp:
			if c == '-' && i+1 < len(text) && text[i+1] == '-' {
				i = lineEnd(text, i)
				continue
			}
			if c == '/' && i+1 < len(text) && text[i+1] == '*' {
				end, ok := commentEnd(text, i)
				if !ok {
					return s.bad(i)
				}
				if _, is := hintBody(text[i:end]); is {
					s.pos = end
					return token{kind: tokenHint, start: i, end: end}
				}
				i = end
				continue
			}
			return s.operator(i)
		case c == '\'':
			return s.quote(i, i+1, tokenString, false)
		case c == '"':
			return s.quotedIdent(i, i+1, tokenQuoted)
		case class == classDollar:
			return s.dollar(i)
		default:
			return s.bad(i)
		}
	}
	s.pos = len(text)
	return token{kind: tokenEOF, start: len(text), end: len(text)}
}

func (s *scanner) bad(start int) token {
	s.pos = len(s.text)
	return token{kind: tokenBad, start: start, end: len(s.text)}
}

// self scans a token that starts with one of ,()[].;:
func (s *scanner) self(i int) token {
	text := s.text
	s.pos = i + 1
	if i+1 < len(text) {
		switch d := text[i+1]; {
		case text[i] == '.' && classes[d] == classDigit:
			return s.number(i)
		case text[i] == '.' && d == '.', text[i] == ':' && (d == ':' || d == '='):
			s.pos = i + 2
			return token{kind: tokenOperator, start: i, end: i + 2}
		}
	}
	return token{kind: tokenSelf, start: i, end: i + 1}
}

// operator scans an operator: the longest run of operator characters, cut where a comment begins in it, and, unless it
// holds a character that no operator of the SQL standard has, without + and - at its end.
func (s *scanner) operator(i int) token {
	text := s.text
	j := i + 1
	for j < len(text) && classes[text[j]] == classOp {
		if text[j] == '*' && text[j-1] == '/' && j-1 > i || text[j] == '-' && text[j-1] == '-' && j-1 > i {
			j--
			break
		}
		j++
	}
	if j-i > 1 && (text[j-1] == '+' || text[j-1] == '-') {
		special := false
		for _, c := range text[i : j-1] {
			switch c {
			case '~', '!', '@', '#', '^', '&', '|', '`', '?', '%':
				special = true
			}
		}
		for !special && j-i > 1 && (text[j-1] == '+' || text[j-1] == '-') {
			j--
		}
	}
	if j-i >= 64 { // NAMEDATALEN: "operator too long"
		return s.bad(i)
	}
	s.pos = j
	return token{kind: tokenOperator, start: i, end: j}
}

// lineEnd returns where the comment that begins at i with -- ends.
func lineEnd(text []byte, i int) int {
	for i < len(text) && text[i] != '\n' && text[i] != '\r' {
		i++
	}
	return i
}

// commentEnd returns where the comment that begins at i ends. Comments nest.
func commentEnd(text []byte, i int) (int, bool) {
	depth := 0
	for i+1 < len(text) {
		switch {
		case text[i] == '/' && text[i+1] == '*':
			depth++
			i += 2
		case text[i] == '*' && text[i+1] == '/':
			depth--
			i += 2
			if depth == 0 {
				return i, true
			}
		default:
			i++
		}
	}
	return len(text), false
}

// prefixed scans a literal with a letter before its quote.
func (s *scanner) prefixed(i int) (token, bool) {
	text := s.text
	switch text[i] | 0x20 {
	case 'e':
		return s.quote(i, i+2, tokenString, true), true
	case 'b', 'x':
		return s.quote(i, i+2, tokenBits, false), true
	case 'n':
		s.pos = i + 1
		return token{kind: tokenNChar, start: i, end: i + 1}, true
	case 'u':
		if i+2 >= len(text) || text[i+1] != '&' {
			return token{}, false
		}
		switch text[i+2] {
		case '\'':
			return s.quote(i, i+3, tokenOdd, false), true
		case '"':
			return s.quotedIdent(i, i+3, tokenOdd), true
		}
	}
	return token{}, false
}

// quote scans a literal whose first quote is just before i, with its continuations on further lines. With escapes, a
// backslash takes the next character with it.
func (s *scanner) quote(start, i int, kind tokenKind, escapes bool) token {
	text := s.text
	t := token{kind: kind, start: start}
	for {
		for i < len(text) && text[i] != '\'' {
			if escapes && text[i] == '\\' {
				if i+1 >= len(text) {
					return s.bad(start)
				}
				i++
				switch c := text[i]; {
				case c == 'x', c == 'u', c == 'U', c >= '0' && c <= '7':
					// A character by its code. What the code has to be like is checked by Postgres' lexer.
					t.kind, t.hidden = tokenOdd, true
				}
			}
			i++
		}
		if i >= len(text) {
			return s.bad(start)
		}
		i++ // the quote
		if i < len(text) && text[i] == '\'' && kind != tokenBits {
			i++ // a doubled one
			continue
		}
		next, comment, ok := continuation(text, i)
		if !ok {
			s.pos = i
			t.end = i
			return t
		}
		if comment {
			// For Postgres it goes on, for libpg_query it doesn't.
			t.kind = tokenOdd
		}
		t.hidden = true
		i = next
	}
}

// continuation tells whether at i there is whitespace with a newline in it and then a quote, so that 'a' <newline>
// 'b' is one literal; and where what follows the quote is. Comments up to the end of a line may stand between.
func continuation(text []byte, i int) (next int, comment, ok bool) {
	newline := false
	for i < len(text) {
		switch c := text[i]; {
		case c == '\n' || c == '\r':
			newline = true
			i++
		case classes[c] == classSpace:
			i++
		case c == '-' && i+1 < len(text) && text[i+1] == '-':
			comment = true
			i = lineEnd(text, i)
		case c == '\'' && newline:
			return i + 1, comment, true
		default:
			return 0, false, false
		}
	}
	return 0, false, false
}

// quotedIdent scans a quoted identifier whose first quote is just before i.
func (s *scanner) quotedIdent(start, i int, kind tokenKind) token {
	text := s.text
	first := i
	for i < len(text) {
		if text[i] == '"' {
			if i+1 >= len(text) || text[i+1] != '"' {
				if i == first { // "zero-length delimited identifier"
					return s.bad(start)
				}
				s.pos = i + 1
				return token{kind: kind, start: start, end: i + 1}
			}
			i++
		}
		i++
	}
	return s.bad(start)
}

// dollar scans a parameter or a dollar-quoted string.
func (s *scanner) dollar(i int) token {
	text := s.text
	j := i + 1
	if j < len(text) && classes[text[j]] == classDigit {
		for j < len(text) && classes[text[j]] == classDigit {
			j++
		}
		if j < len(text) && classes[text[j]] == classIdent { // "trailing junk after parameter"
			return s.bad(i)
		}
		s.pos = j
		return token{kind: tokenParam, start: i, end: j}
	}
	if j < len(text) && classes[text[j]] == classIdent {
		for j < len(text) && classes[text[j]]&(classIdent|classDigit) != 0 {
			j++
		}
	}
	if j >= len(text) || text[j] != '$' {
		return s.bad(i)
	}
	j++
	tag := text[i:j]
	// The tag can't overlap itself but at its dollar, so the first place where it stands again is the end.
	for k := j; k+len(tag) <= len(text); k++ {
		if text[k] == '$' && string(text[k:k+len(tag)]) == string(tag) {
			s.pos = k + len(tag)
			return token{kind: tokenString, start: i, end: s.pos}
		}
	}
	return s.bad(i)
}

// body returns the text of a string literal between its quotes (and with its prefix cut).
func (t token) body(text []byte) []byte {
	b := text[t.start:t.end]
	if b[0] == '$' {
		n := 1
		for b[n] != '$' {
			n++
		}
		return b[n+1 : len(b)-n-1]
	}
	n := 0
	for b[n] != '\'' && b[n] != '"' {
		n++
	}
	return b[n+1 : len(b)-1]
}
