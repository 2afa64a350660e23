package router

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"unicode/utf8"
)

// Scan is what the lexer learns about a text besides its fingerprint.
type Scan struct {
	// Statements is the number of non-empty statements, at most 255. It is a hint where Exact is set.
	Statements uint8
	// Keyword is the first keyword of the text, as far as it is one that matters for routing.
	Keyword Keyword
	// Exact: the fingerprint is that of the exact text, since its literals matter for the plan (SET and other utility
	// statements) or since it can't be lexed with certainty (unterminated, NUL bytes, coded escapes, too long).
	Exact bool
	// ClockWord: a string literal holds now, today, tomorrow or yesterday, or might hide one behind escapes. The answer
	// must then be neither stored nor served from the cache, whatever the plan says.
	ClockWord bool
	// NonASCII: there are bytes ≥ 0x80 in the text. Where the session's client_encoding isn't UTF8, such a text can't
	// be understood by the planner (identifiers are other ones; in SJIS, BIG5, GBK, GB18030, UHC and JOHAB even an
	// ASCII byte can be part of a character) and must be treated by UnknownPlan.
	NonASCII bool
	// Hint is what the text's hint comments ask for together.
	Hint Hint
}

// Keyword is the first keyword of a statement.
type Keyword uint8

// First keywords that matter for routing.
const (
	KeywordNone  Keyword = iota // there is no statement
	KeywordOther                // any other
	KeywordParen                // a parenthesis: a SELECT
	KeywordSelect
	KeywordWith
	KeywordValues
	KeywordTable
	KeywordInsert
	KeywordUpdate
	KeywordDelete
	KeywordMerge
	KeywordBegin
	KeywordStart
	KeywordCommit
	KeywordEnd
	KeywordRollback
	KeywordAbort
	KeywordSavepoint
	KeywordRelease
	KeywordSet
	KeywordReset
	KeywordShow
	KeywordDiscard
)

// liftable: of statements that begin so, literals are lifted out.
func (k Keyword) liftable() bool { return k >= KeywordParen && k <= KeywordMerge }

// control: transaction control. It has literals only in PREPARE TRANSACTION and its like, where they matter.
func (k Keyword) control() bool { return k >= KeywordBegin && k <= KeywordRelease }

func keywordOf(word []byte) Keyword {
	switch string(word) {
	case "select":
		return KeywordSelect
	case "with":
		return KeywordWith
	case "values":
		return KeywordValues
	case "table":
		return KeywordTable
	case "insert":
		return KeywordInsert
	case "update":
		return KeywordUpdate
	case "delete":
		return KeywordDelete
	case "merge":
		return KeywordMerge
	case "begin":
		return KeywordBegin
	case "start":
		return KeywordStart
	case "commit":
		return KeywordCommit
	case "end":
		return KeywordEnd
	case "rollback":
		return KeywordRollback
	case "abort":
		return KeywordAbort
	case "savepoint":
		return KeywordSavepoint
	case "release":
		return KeywordRelease
	case "set":
		return KeywordSet
	case "reset":
		return KeywordReset
	case "show":
		return KeywordShow
	case "discard":
		return KeywordDiscard
	}
	return KeywordOther
}

// maxLexed is the length above which a text isn't lexed. Such a text is most likely a bulk INSERT and comes once.
const maxLexed = 1 << 20

// keepScratch is how much scratch a lexer keeps between texts.
const keepScratch = 64 << 10

var exactKey = newSipKey()

// Lexer scans statement texts. It holds scratch memory, so it isn't safe for concurrent use: one per shard.
type Lexer struct {
	norm []byte
}

// NewLexer returns a lexer.
func NewLexer() *Lexer { return &Lexer{norm: make([]byte, 4096)} }

// Scan returns the text's fingerprint and what else there is to know without parsing it. It doesn't keep text, and
// doesn't allocate, but for texts longer than any before. It follows the lexer of Postgres with
// standard_conforming_strings = on; sessions that turn it off must not rely on it.
//
// Two texts have one fingerprint only if they are the same token for token, where a literal stands for all of its
// class (a class is what the grammar and the type resolution of Postgres can tell apart without looking at the
// value). So every property of a plan is the same for both.
func (l *Lexer) Scan(text []byte) (Fingerprint, Scan) {
	if len(text) > maxLexed {
		return exact(text, Scan{Statements: 1, Keyword: firstKeyword(text), ClockWord: true, NonASCII: true})
	}
	norm, scan := l.normalize(text)
	if scan.Exact {
		return exact(text, scan)
	}
	return fingerprintKey.sum(norm), scan
}

func exact(text []byte, scan Scan) (Fingerprint, Scan) {
	scan.Exact = true
	return exactKey.sum(text), scan
}

// StatementID is a name of the statement for users: the same for all texts with one fingerprint, in every process.
func (l *Lexer) StatementID(text []byte) string {
	var sum [sha256.Size]byte
	if norm, scan := l.normalize(text); scan.Exact || len(text) > maxLexed {
		sum = sha256.Sum256(text)
	} else {
		sum = sha256.Sum256(norm)
	}
	return hex.EncodeToString(sum[:8])
}

// Bytes that begin a token in the normalized text, where it isn't the token itself. Since what follows each of them
// ends with a zero byte or has a fixed length, no two different sequences of tokens have the same normalized text.
// (An identifier begins with itself: with a byte that is neither one of these nor an operator's.)
const (
	normEnd      = 0x00
	normQuoted   = 0x01
	normOperator = 0x02
	normHint     = 0x03
	normVerbatim = 0x04
	normNChar    = 0x05
	normClass    = 0x10 // + tokenKind: a literal
)

// normalize returns the text's tokens in a canonical form, in the lexer's scratch.
func (l *Lexer) normalize(text []byte) ([]byte, Scan) {
	var scan Scan
	if need := 2*len(text) + 16; need > len(l.norm) {
		l.norm = make([]byte, need)
	} else if len(l.norm) > keepScratch && need < keepScratch {
		l.norm = make([]byte, keepScratch)
	}
	zero, high := survey(text)
	scan.NonASCII = high
	if zero {
		scan.Exact, scan.ClockWord, scan.Statements = true, true, 1
		return nil, scan
	}
	out := l.norm
	n := 0
	s := scanner{text: text}
	fresh := true          // at the beginning of a statement
	current := KeywordNone // first keyword of the current statement
	float := 0             // how much of "float (" was just seen
	named := false         // after current_setting, up to the next string
	for {
		// Most tokens are words after a space. They are taken here, which saves a fifth of the time; next does the
		// same, more slowly.
		i, word := s.pos, n
		if i < len(text) && text[i] == ' ' {
			i++
		}
		var t token
		if i < len(text) && classes[text[i]] == classIdent && (i+1 == len(text) || text[i+1] != '\'' && text[i+1] != '&') {
			j := i
			for ; j < len(text); j++ {
				c := folded[text[j]]
				if c == 0 {
					break
				}
				out[word] = c
				word++
			}
			t = token{kind: tokenIdent, start: i, end: j}
			s.pos = j
		} else if t = s.next(); t.kind == tokenIdent {
			for _, c := range text[t.start:t.end] {
				out[word] = lower[c]
				word++
			}
		}
		before := float
		float = 0
		if fresh && t.kind != tokenEOF && t.kind != tokenHint && !(t.kind == tokenSelf && text[t.start] == ';') {
			fresh = false
			if scan.Statements < 255 {
				scan.Statements++
			}
			current = KeywordOther
			if t.kind == tokenSelf && text[t.start] == '(' {
				current = KeywordParen
			} else if t.kind == tokenIdent {
				current = keywordOf(out[n:word])
			}
			if scan.Keyword == KeywordNone {
				scan.Keyword = current
			}
			if !current.liftable() && !current.control() {
				scan.Exact = true
			}
		}
		switch t.kind {
		case tokenIdent:
			switch {
			case word-n == 5 && string(out[n:word]) == "float":
				float = 1
			case word-n == 10 && string(out[n:word]) == "set_config":
				scan.Exact = true // which setting it sets, and to what, is part of the plan
			}
			named = named || word-n == len(settingFunction) && string(out[n:word]) == settingFunction
			out[word] = normEnd
			n = word + 1
		case tokenSelf:
			c := text[t.start]
			if c == ';' {
				fresh = true
			}
			if c == '(' && before == 1 {
				float = 2
			}
			out[n] = c
			n++
		case tokenOperator:
			if t.end-t.start == 1 {
				out[n] = text[t.start]
				n++
				break
			}
			n = verbatim(out, n, normOperator, text[t.start:t.end])
		case tokenParam:
			n += copy(out[n:], text[t.start:t.end])
			out[n] = normEnd
			n++
		case tokenString:
			if current.control() {
				scan.Exact = true
			}
			if t.hidden || ClockWord(t.body(text)) {
				scan.ClockWord = true
			}
			if named {
				// What the setting is decides whether it is in the cache key.
				named = false
				n = verbatim(out, n, normVerbatim, text[t.start:t.end])
				break
			}
			out[n] = normClass + byte(tokenString)
			n++
		case tokenInt4, tokenInt4Min, tokenInt8, tokenInt8Min, tokenNumeric, tokenBits:
			if current.control() {
				scan.Exact = true
			}
			if before == 2 {
				// float(24) is another type than float(25), and float(54) none.
				n = verbatim(out, n, normVerbatim, text[t.start:t.end])
				break
			}
			out[n] = normClass + byte(t.kind)
			n++
		case tokenQuoted:
			named = named || string(text[t.start+1:t.end-1]) == settingFunction
			n = verbatim(out, n, normQuoted, text[t.start:t.end])
		case tokenNChar:
			out[n] = normNChar
			n++
		case tokenHint:
			body, _ := hintBody(text[t.start:t.end])
			scan.Hint.parse(body)
			n = verbatim(out, n, normHint, body)
		case tokenEOF:
			if scan.NonASCII && !utf8.Valid(text) {
				// libpg_query's answer can't hold it. It must not stand for those of its class that are valid.
				scan.Exact = true
			}
			return out[:n], scan
		default: // tokenOdd, tokenBad
			scan.Exact, scan.ClockWord = true, true
			if t.kind == tokenBad {
				return nil, scan
			}
		}
	}
}

// settingFunction is the function whose literal argument is part of the fingerprint.
const settingFunction = "current_setting"

// verbatim writes a token as it is.
func verbatim(out []byte, n int, mark byte, raw []byte) int {
	out[n] = mark
	n++
	n += copy(out[n:], raw)
	out[n] = normEnd
	return n + 1
}

// survey tells whether there are zero bytes, and bytes ≥ 0x80, in a text. It looks at eight at a time: where no byte
// is ≥ 0x80, one is zero exactly if subtracting 1 from each borrows into a high bit. (Where one is, it looks again.)
func survey(text []byte) (zero, high bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	var all, borrowed uint64
	p := text
	for len(p) >= 8 {
		w := binary.LittleEndian.Uint64(p)
		all |= w
		borrowed |= w - ones
		p = p[8:]
	}
	for _, c := range p {
		all |= uint64(c)
		borrowed |= uint64(c) - 1
	}
	if all&highs == 0 {
		return borrowed&highs != 0, false
	}
	return bytes.IndexByte(text, 0) >= 0, true
}

// firstKeyword looks at the beginning of a text only.
func firstKeyword(text []byte) Keyword {
	s := scanner{text: text}
	for {
		switch t := s.next(); {
		case t.kind == tokenHint, t.kind == tokenSelf && text[t.start] == ';':
		case t.kind == tokenSelf && text[t.start] == '(':
			return KeywordParen
		case t.kind == tokenIdent && t.end-t.start < 10:
			return keywordOf(bytes.ToLower(text[t.start:t.end]))
		case t.kind == tokenEOF:
			return KeywordNone
		default:
			return KeywordOther
		}
	}
}
