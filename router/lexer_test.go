package router

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	pgquery "github.com/pganalyze/pg_query_go/v6"
	"pgregory.net/rapid"

	"github.com/freshet/freshet/consistency"
)

// sameStatement are texts that differ in what a fingerprint leaves out.
var sameStatement = [][]string{
	{"SELECT 1", "select 2", " SELECT\n\t3 ", "SELECT/* x */4", "SELECT 5 -- end", "sElEcT 0x1F", "SELECT 1_000", "SELECT 2147483647", "SELECT 0b101", "SELECT 0o17", "SELECT 007"},
	{"SELECT 2147483649", "SELECT 9223372036854775807", "SELECT 0xFFFFFFFFF"},
	{"SELECT 9223372036854775809", "SELECT 1.5", "SELECT 1.", "SELECT .5", "SELECT 1e10", "SELECT 1.e-5", "SELECT 123456789012345678901234567890"},
	{"SELECT 'a'", "SELECT ''", "SELECT 'it''s'", "SELECT $$x$$", "SELECT $tag$ $$ ' $tag$", "SELECT E'a\\n\\'b'", "SELECT 'a' \n 'b'", "SELECT 'ä'"},
	{"SELECT b'01'", "SELECT X'1f'", "SELECT B''"},
	{"SELECT a FROM t WHERE b = 'x' AND c IN (1, 2)", "select A from T where B='y' and C in(3,4)"},
	{"SELECT * FROM t LIMIT 10", "SELECT*FROM t LIMIT 20"},
	{"SELECT -1", "SELECT - 2"},
	{"SELECT a<-1", "SELECT a <-2"},
	{"BEGIN", "begin /* x */"},
	{"INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')"},
	{"SELECT numeric(5,2) '1'", "SELECT numeric(6,1) '2'"},
}

// otherStatements are texts of which no two may share a fingerprint.
var otherStatements = []string{
	"SELECT 1", "SELECT 2147483648", "SELECT 2147483649", "SELECT 9223372036854775808", "SELECT 1.5", "SELECT '1'", "SELECT b'1'",
	"SELECT NULL", "SELECT TRUE", "SELECT FALSE", "SELECT $1", "SELECT $2", "SELECT a", "SELECT \"a\"", "SELECT \"A\"", "SELECT A b", "SELECT a.b", "SELECT a,b", "SELECT ab",
	"SELECT 1, 2", "SELECT (1)", "SELECT 1;", "SELECT 1; SELECT 2", "SELECT 1 + 1", "SELECT 1 - 1", "SELECT 1 -1 -1", "SELECT - 1", "SELECT -(-1)",
	"SELECT N'x'", "SELECT n 'x'", "SELECT nchar 'x'", "SELECT U&'x'", "SELECT u & 'x'", "SELECT E'\\x41'", "SELECT E'\\u0041'", "SELECT E'\\u0042'",
	"SELECT a < b", "SELECT a <= b", "SELECT a < = b", "SELECT a <> b", "SELECT a != b", "SELECT a::b", "SELECT a : : b", "SELECT a := b",
	"SELECT float(1) '1'", "SELECT float(2) '1'", "SELECT float(25) '1'", "SELECT float '1'",
	"SELECT * FROM t WHERE a IN (1)", "SELECT * FROM t WHERE a IN (1, 2)", "SELECT * FROM t WHERE a IN (1, 'x')",
	"SET a = 1", "SET a = 2", "set a = 1", "RESET a", "SHOW a", "CREATE TABLE t (a int)", "EXPLAIN SELECT 1", "EXPLAIN SELECT 2",
	"SELECT 'a", "SELECT 'b", "SELECT /* a", "SELECT \"", "SELECT $x", "SELECT 1a", "SELECT 2a", "SELECT 0x", "SELECT 1__0", "SELECT '\x00'", "SELECT '\x00\x00'",
	"SELECT 'a' 'b'", "SELECT 'a', 'b'", "SELECT 'a' -- c\n 'b'",
	"COMMIT PREPARED 'a'", "COMMIT PREPARED 'b'", "ROLLBACK PREPARED 'a'", "COMMIT", "ROLLBACK", "ROLLBACK TO a", "ROLLBACK TO b",
	"SELECT 1 /* freshet: route=primary */", "SELECT 1 /* freshet: route=replica */", "SELECT 1 /* freshet: cache=off */", "/* freshet: */ SELECT 1",
	"SELECT 1; SET a = 1", "SELECT 1; SET a = 2", "SELECT '\xff'", "SELECT '\xfe'", "SELECT ä", "SELECT Ä", "", " ;", ";;",
}

func fingerprint(text string) Fingerprint {
	fp, _ := NewLexer().Scan([]byte(text))
	return fp
}

func TestFingerprintLeavesOutLiteralsAndSpace(t *testing.T) {
	for _, group := range sameStatement {
		for _, text := range group[1:] {
			if fingerprint(text) != fingerprint(group[0]) {
				t.Errorf("%q and %q have different fingerprints", group[0], text)
			}
		}
	}
}

func TestFingerprintTellsStatementsApart(t *testing.T) {
	seen := map[Fingerprint]string{}
	id := map[string]string{}
	for _, text := range otherStatements {
		fp := fingerprint(text)
		if other, ok := seen[fp]; ok {
			t.Errorf("%q and %q have one fingerprint", other, text)
		}
		seen[fp] = text
		name := NewLexer().StatementID([]byte(text))
		if other, ok := id[name]; ok {
			t.Errorf("%q and %q have one ID", other, text)
		}
		id[name] = text
	}
}

func TestScanOfOddTextsIsExact(t *testing.T) {
	for _, text := range []string{
		"SELECT 'a", "SELECT E'a\\", "SELECT \"a", "SELECT \"\"", "SELECT $$a", "SELECT $a$ $b$", "SELECT /* /* */", "SELECT 1a", "SELECT 1e", "SELECT 1.5e+", "SELECT 0x", "SELECT 0b2", "SELECT 1__0", "SELECT 1_",
		"SELECT $1a", "SELECT $", "SELECT \x01", "SELECT \\", "SELECT '\x00'", "SELECT U&'a'", "SELECT U&\"a\"", "SELECT E'\\101'", "SELECT E'\\x4'",
		"SELECT a " + strings.Repeat("@", 64) + " b", "SELECT '\xc3'", "SELECT 'a' -- c\n 'b'",
		"SET a = 1", "CREATE TABLE t ()", "EXECUTE x (1)", "COMMIT PREPARED 'x'", "SELECT 1; SET a = 1",
		"SELECT " + strings.Repeat(" ", maxLexed),
	} {
		if _, scan := NewLexer().Scan([]byte(text)); !scan.Exact {
			t.Errorf("%.40q isn't exact", text)
		}
	}
	for _, text := range []string{"SELECT 1", "", ";", "BEGIN", "(SELECT 1)", "VALUES (1)", "WITH a AS (SELECT 1) TABLE a"} {
		if _, scan := NewLexer().Scan([]byte(text)); scan.Exact {
			t.Errorf("%q is exact", text)
		}
	}
}

func TestScanFindsClockWords(t *testing.T) {
	for text, want := range map[string]bool{
		"SELECT 'now'": true, "SELECT 'NOW'": true, "SELECT ' today '": true, "SELECT '[yesterday,tomorrow]'": true, "SELECT $$now$$": true, "SELECT $x$now$x$": true, "SELECT '{n\\ow}'": true,
		"SELECT '[\"n\"ow,)'": true, "SELECT E'n\\ow'": true, "SELECT E'\\156ow'": true, "SELECT U&'n\\006fw'": true, "SELECT 'n'\n'ow'": true, "SELECT 'x', 'now'": true, "SELECT 'now1'": true, "SELECT N'now'": true,
		"SELECT 'nowhere'": false, "SELECT now": false, "SELECT 'snow'": false, "SELECT 'n ow'": false, "SELECT ''": false, "SELECT 'n''ow'": false, "SELECT /* 'now' */ 1": false, "SELECT \"now\"": false,
	} {
		if _, scan := NewLexer().Scan([]byte(text)); scan.ClockWord != want {
			t.Errorf("%q: ClockWord is %v", text, scan.ClockWord)
		}
	}
}

func TestClockWordOfParameters(t *testing.T) {
	for value, want := range map[string]bool{
		"now": true, "Tomorrow": true, "2020-01-01 today": true, "{\"now\"}": true, "yesterday\x00": true,
		"": false, "nowt": false, "to day": false, "yesterdays": false, "tomorrows": false, strings.Repeat("now", 100): false,
	} {
		if got := ClockWord([]byte(value)); got != want {
			t.Errorf("ClockWord(%q) is %v", value, got)
		}
	}
}

func TestScanCountsStatementsAndFindsTheKeyword(t *testing.T) {
	for text, want := range map[string]Scan{
		"": {}, " ; ;": {}, "SELECT 1": {Statements: 1, Keyword: KeywordSelect}, "select 1;": {Statements: 1, Keyword: KeywordSelect},
		"SELECT 1; INSERT INTO t VALUES (1)": {Statements: 2, Keyword: KeywordSelect}, "(SELECT 1)": {Statements: 1, Keyword: KeywordParen},
		"/* x */ -- y\n WITH a AS (SELECT 1) SELECT 1": {Statements: 1, Keyword: KeywordWith}, "ROLLBACK": {Statements: 1, Keyword: KeywordRollback},
		"SET a = 1": {Statements: 1, Keyword: KeywordSet, Exact: true}, "\"select\" 1": {Statements: 1, Keyword: KeywordOther, Exact: true},
		"SELECT ä": {Statements: 1, Keyword: KeywordSelect, NonASCII: true}, "SELECT 'äöüßäöüß'": {Statements: 1, Keyword: KeywordSelect, NonASCII: true},
	} {
		if _, got := NewLexer().Scan([]byte(text)); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

func TestHints(t *testing.T) {
	for text, want := range map[string]Hint{
		"/* freshet: route=primary cache=off */ SELECT 1":                 {Route: RoutePrimary, Cache: CacheOff},
		"SELECT 1 /*freshet:route=replica,cache=on*/":                     {Route: RouteReplica, Cache: CacheOn},
		"SELECT /* freshet: route=auto */ 1 /* freshet: cache=off":        {Route: RouteAuto}, // unterminated
		"/* freshet: route=auto */ SELECT 1 /* freshet: route=primary */": {Route: RoutePrimary},
		"SELECT 1 /* freshet: route=nowhere */":                           {Bad: true},
		"SELECT 1 /* freshet: speed=high route=primary */":                {Route: RoutePrimary, Bad: true},
		"SELECT 1 /* freshet: consistency=strong */":                      {Consistency: consistency.Strong},
		"SELECT 1 /* freshet: consistency=sometimes */":                   {Bad: true},
		"SELECT 1 /* freshet: max_staleness=250ms cache_ttl=0 */":         {MaxStaleness: 250 * time.Millisecond, CacheTTL: -1},
		"SELECT 1 /* freshet: max_staleness=5 */":                         {Bad: true},
		"SELECT 1 /* freshet: cache_ttl=soon */":                          {Bad: true},
		"SELECT 1 /* freshet: hello */":                                   {Bad: true},
		"SELECT 1 /* freshet: */":                                         {},
		"SELECT 1 /* see freshet: route=primary */":                       {},
		"SELECT 1 -- freshet: route=primary":                              {},
		"SELECT '/* freshet: route=primary */'":                           {},
		"SET x = 1 /* freshet: route=primary */":                          {Route: RoutePrimary},
	} {
		_, scan := NewLexer().Scan([]byte(text))
		if scan.Hint != want {
			t.Errorf("%q: %+v, want %+v", text, scan.Hint, want)
		}
		if problem := HintProblem([]byte(text)); (problem != "") != want.Bad {
			t.Errorf("%q: problem %q", text, problem)
		}
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	l := NewLexer()
	for name, text := range benchTexts {
		p := []byte(text)
		if n := testing.AllocsPerRun(100, func() { l.Scan(p) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	p := []byte("SET x = 'now' /* freshet: route=primary consistency=eventual cache_ttl=1.5s nonsense */")
	if n := testing.AllocsPerRun(100, func() { l.Scan(p) }); n != 0 {
		t.Errorf("exact: %v allocations", n)
	}
}

// checkTokens compares our tokens with those of Postgres' own lexer.
func checkTokens(t interface{ Errorf(string, ...any) }, text string) {
	if strings.Contains(text, "\x00") || !utf8.ValidString(text) {
		return // such a text is taken as it stands
	}
	theirs, err := pgquery.Scan(text)
	i := 0
	s := scanner{text: []byte(text)}
	for {
		tok := s.next()
		if tok.kind == tokenHint {
			continue
		}
		if tok.kind == tokenBad || tok.kind == tokenOdd {
			return // it is taken as it stands
		}
		if err != nil {
			if tok.kind == tokenEOF {
				t.Errorf("%q: Postgres says %v, and we see nothing wrong", text, err)
				return
			}
			continue
		}
		for i < len(theirs.Tokens) && (theirs.Tokens[i].Token == pgquery.Token_SQL_COMMENT || theirs.Tokens[i].Token == pgquery.Token_C_COMMENT) {
			i++
		}
		if tok.kind == tokenEOF {
			if i < len(theirs.Tokens) {
				t.Errorf("%q: Postgres sees %v after the end", text, theirs.Tokens[i])
			}
			return
		}
		if i >= len(theirs.Tokens) {
			t.Errorf("%q: Postgres ends before %q", text, text[tok.start:tok.end])
			return
		}
		if th := theirs.Tokens[i]; int(th.Start) != tok.start || int(th.End) != tok.end || !sameKind(tok.kind, th.Token) {
			t.Errorf("%q: token %d is %d-%d %q (kind %d), for Postgres %v", text, i, tok.start, tok.end, text[tok.start:tok.end], tok.kind, th)
			return
		}
		i++
	}
}

// sameKind tells whether Postgres puts a token in the class that we do.
func sameKind(ours tokenKind, theirs pgquery.Token) bool {
	switch theirs {
	case pgquery.Token_SCONST:
		return ours == tokenString
	case pgquery.Token_ICONST:
		return ours == tokenInt4
	case pgquery.Token_FCONST:
		return ours == tokenInt4Min || ours == tokenInt8 || ours == tokenInt8Min || ours == tokenNumeric
	case pgquery.Token_BCONST, pgquery.Token_XCONST:
		return ours == tokenBits
	case pgquery.Token_PARAM:
		return ours == tokenParam
	}
	return ours != tokenString && (ours < tokenInt4 || ours > tokenParam)
}

func TestTokensAreThoseOfPostgres(t *testing.T) {
	for _, group := range sameStatement {
		for _, text := range group {
			checkTokens(t, text)
		}
	}
	for _, text := range otherStatements {
		checkTokens(t, text)
	}
	for _, text := range tokenCorpus {
		checkTokens(t, text)
	}
}

var tokenCorpus = []string{
	"a+-b", "a -+ b", "a*-b", "a<--b\nc", "a+/*x*/b", "a@-b", "a @+- b", "a=-1", "a<>-1", "a!=-1", "a=>b", "a>=b", "x:=1", "a..b", "1..10", "1.", ".5", "1.5.5", "a.1", "1.e5", "1e+5x",
	"'a' 'b'", "'a'\n'b'", "'a'--x\n'b'", "'a' /* x */\n'b'", "'a'\n--x\n'b'", "'a'--x", "'a'\n--x", "E'a'\n'b\\'c'", "b'0'\n'1'", "b'0''1'", "x'1'\n\n'f'",
	"$1", "$12a", "$a$x$a$", "$a$ $b$ $a$", "a$b$c", "$$a$$$$b$$", "$ä$x$ä$", "$1$", "$a", "$a$b$a$c$a$",
	"u&'a'", "U&\"a\" UESCAPE '!'", "n'x'", "N 'x'", "xe'a'", "e 'a'", "\"a\"\"b\"", "\"a\"\"", "ä", "aä$1_", "/* a /* b */ c */ d", "/*/*/", "/**/a", "/* * / */a", "--a\rb", "--a", "a/*", "*/*a*/b", "-/*a*/-b", "-/**/-",
	"0x1F", "0X_1f", "0x1_f", "0b1_0", "0o_7", "0_1", "1_000.5_5e1_0", "0x1F.5", "10$1", "1_0$1", "0x1$1", "1e5$1", "1e+5$1", "1.5$1", "1_0.5$1", "1.5_0$1", "1_.5", "1._5", "1.5_", "0xg", "0b12", "2147483648", "9223372036854775808", "18446744073709551616", "0xFFFFFFFFFFFFFFFFF", "0x7fffffff", "0x80000000",
	"\v a \f b", "a\\b", "a;b", "a[1:2]", "a::b:c", "~~*", "@-@", "?|", "#>>", "<->", "||/", "!!", "`", "=-+", "+-", "@-+", "/=-", "a ? b", "%%-",
}

func FuzzTokens(f *testing.F) {
	for _, group := range sameStatement {
		for _, text := range group {
			f.Add(text)
		}
	}
	for _, text := range append(otherStatements, tokenCorpus...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		checkTokens(t, text)
		l := NewLexer()
		fp, scan := l.Scan([]byte(text))
		// The same text always has the same fingerprint, also with scratch that was used before.
		if again, s := l.Scan([]byte(text)); again != fp || s != scan {
			t.Errorf("%q: scanned twice, %v %v", text, fp, again)
		}
		if problem := HintProblem([]byte(text)); problem != "" && !scan.Hint.Bad && !scan.Exact {
			t.Errorf("%q: %s", text, problem)
		}
		tooComplex([]byte(text))
		words(text)
	})
}

// piece is a token that the property test builds texts of.
type piece struct {
	class string // literals of one class are interchangeable
	text  string
}

func drawPiece(t *rapid.T, label string) piece {
	class := rapid.SampledFrom([]string{"word", "word", "quoted", "int4", "int8", "numeric", "string", "bits", "op", "self", "param"}).Draw(t, label)
	return piece{class, drawText(t, class, label)}
}

func drawText(t *rapid.T, class, label string) string {
	switch class {
	case "word":
		return rapid.SampledFrom([]string{"a", "b", "from", "where", "tab", "null", "true", "and", "x1", "e", "n", "u", "ä"}).Draw(t, label+" word")
	case "quoted":
		return rapid.SampledFrom([]string{`"a"`, `"B"`, `"a""b"`, `"from"`, `" "`}).Draw(t, label+" quoted")
	case "int4":
		return fmt.Sprint(rapid.IntRange(0, 1<<31-1).Draw(t, label+" int4"))
	case "int8":
		return fmt.Sprint(rapid.Int64Range(1<<31+1, 1<<62).Draw(t, label+" int8"))
	case "numeric":
		return fmt.Sprintf("%d.%d", rapid.IntRange(0, 99).Draw(t, label+" n"), rapid.IntRange(0, 99).Draw(t, label+" m"))
	case "string":
		s := rapid.StringMatching(`[a-z '\-/*"$\\;]{0,8}`).Draw(t, label+" string")
		if rapid.Bool().Draw(t, label+" dollars") && strings.Index(s+"$q$", "$q$") == len(s) {
			return "$q$" + s + "$q$"
		}
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	case "bits":
		return rapid.SampledFrom([]string{"b'0'", "B'101'", "x'f'"}).Draw(t, label+" bits")
	case "op":
		return rapid.SampledFrom([]string{"+", "-", "<", "<=", "<>", "||", "::", "~~", "@>", "->>"}).Draw(t, label+" op")
	case "self":
		return rapid.SampledFrom([]string{"(", ")", ",", ".", "[", "]"}).Draw(t, label+" self")
	}
	return fmt.Sprintf("$%d", rapid.IntRange(1, 99).Draw(t, label+" param"))
}

func joinPieces(t *rapid.T, pieces []piece, label string) string {
	var b strings.Builder
	b.WriteString("SELECT ")
	for i, p := range pieces {
		b.WriteString(p.text)
		// A comment right after an operator would become part of it; newlines would join strings.
		b.WriteString(rapid.SampledFrom([]string{" ", "  ", "\t", " /* c */ "}).Draw(t, fmt.Sprint(label, " space ", i)))
	}
	return b.String()
}

func TestOnlyLiteralsMayChangeUnderOneFingerprint(t *testing.T) {
	literal := map[string]bool{"int4": true, "int8": true, "numeric": true, "string": true, "bits": true}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "n")
		pieces := make([]piece, n)
		for i := range pieces {
			pieces[i] = drawPiece(t, fmt.Sprint("piece ", i))
		}
		first := joinPieces(t, pieces, "first")
		changed := append([]piece(nil), pieces...)
		for i, p := range changed {
			if literal[p.class] {
				changed[i].text = drawText(t, p.class, fmt.Sprint("other ", i))
			}
		}
		second := joinPieces(t, changed, "second")
		if fingerprint(first) != fingerprint(second) {
			t.Fatalf("%q and %q differ in literals and space only", first, second)
		}
		i := rapid.IntRange(0, n-1).Draw(t, "which")
		other := drawPiece(t, "replacement")
		if other.class == pieces[i].class && (literal[other.class] || other.text == pieces[i].text) {
			return
		}
		changed[i] = other
		third := joinPieces(t, changed, "third")
		if fingerprint(third) == fingerprint(first) {
			t.Fatalf("%q and %q have one fingerprint", first, third)
		}
	})
}
