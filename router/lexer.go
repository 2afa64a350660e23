package router

// Scan is what the lexer learns about a text besides its fingerprint.
type Scan struct {
	// Statements is the number of non-empty statements, at most 255. It is a hint where Exact is set.
	Statements uint8
	// Keyword is the first keyword of the text, as far as it is one that matters for routing.
	Keyword Keyword
	// Exact: the fingerprint is that of the exact text, since its literals matter for the plan (SET and other utility
	// statements) or since it can't be lexed with certainty (unterminated, NUL bytes, too long).
	Exact bool
	// ClockWord: a string literal holds now, today, tomorrow or yesterday, or might hide one behind escapes. The answer
	// must then be neither stored nor served from the cache, whatever the plan says.
	ClockWord bool
	// NonASCII: there are bytes ≥ 0x80 in the text. Where the session's client_encoding isn't UTF8, such a text can't be
	// understood by the planner (identifiers are other ones; in SJIS, BIG5, GBK, GB18030, UHC and JOHAB even an ASCII byte can be
	// part of a character) and must be treated by UnknownPlan.
	NonASCII bool
	// Hint is the effective hint comment, if any.
	Hint Hint
}

// Keyword is the first keyword of a statement.
type Keyword uint8

// First keywords that matter for routing.
const (
	KeywordNone Keyword = iota
	KeywordOther
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
	KeywordParen
)

// Lexer scans statement texts. It holds scratch memory, so it isn't safe for concurrent use: one per shard.
type Lexer struct {
	norm []byte
}

// NewLexer returns a lexer.
func NewLexer() *Lexer { return &Lexer{} }

// Scan returns the text's fingerprint and what else there is to know without parsing it. It doesn't keep text, and doesn't
// allocate. It follows the lexer of Postgres with standard_conforming_strings = on; sessions that turn it off
// must not rely on it.
func (l *Lexer) Scan(text []byte) (Fingerprint, Scan) { return Fingerprint{}, Scan{Exact: true} }

// ClockWord tells whether a value, read as date or time input, might read the clock: it holds now, today, tomorrow or
// yesterday as a run of letters. It is meant for parameter values of every type in either format.
func ClockWord(value []byte) bool { return true }
