package shapes

import (
	"strings"
)

// A class is a letter for values that can be put in each other's place in an expression.
//
//	i integers      s text           n numeric       f double precision  b boolean
//	d date          t timestamp      z timestamptz   v interval          u uuid
//	e enum          I integer[]      S text[]        j json              k jsonb
//	y bytea         r int4range      c composite     w inet
//	h hstore
//	q text of which different bytes may be equal: bpchar, citext, a collation that isn't deterministic
type class byte

// kind is a type that a column can have.
type kind struct {
	sql    string
	class  class
	values []string // as text
	key    bool     // may be part of a primary key
}

func list(s string) []string { return strings.Split(s, "|") }

var (
	small  = list("0|1|2|3")
	words  = list("a|b|A|ab||a b|ä")
	faces  = list("sad|ok|happy")
	uuids  = list("00000000-0000-0000-0000-000000000001|00000000-0000-0000-0000-00000000000a|0a000000-0000-0000-0000-000000000003")
	dates  = list("2020-01-01|2020-02-29|2021-07-05|1999-12-31")
	stamps = list("2020-01-01 00:00:00|2020-02-29 12:30:00|2021-07-05 23:59:59.5|1999-12-31 06:00:00")
	zoned  = list("2020-01-01 00:00:00+00|2020-02-29 12:30:00+02|2021-07-05 23:59:59.5-05|1999-12-31 06:00:00+00")
	docs   = list(`{"n": 1, "tags": ["a", "b"]}|{"n": 2, "s": "b", "o": {"x": 1}}|{"n": 3, "tags": []}|{}|{"n": null, "s": "a"}`)
)

// kinds are of the server, and of the schema of a world.
var kinds = []kind{
	{"integer", 'i', small, true}, {"bigint", 'i', small, true}, {"smallint", 'i', small, true}, {"posint", 'i', small, true},
	{"text", 's', words, true}, {"varchar(8)", 's', words, true}, {`text COLLATE "C"`, 's', words, true}, {"word", 's', words, true}, {"varchar", 's', words, true},
	{"numeric(8,2)", 'n', list("0.00|1.50|2.00|-3.25"), true}, {"numeric", 'n', list("0|1.5|2.0|2.00|NaN"), false},
	{"double precision", 'f', list("0|0.5|1.25|-3"), false}, {"real", 'f', list("0|0.5|1.25|-3"), false},
	{"boolean", 'b', list("t|f"), false}, {"boolean", 'b', list("t|f"), false},
	{"date", 'd', dates, true}, {"timestamp", 't', stamps, false}, {"timestamptz", 'z', zoned, false}, {"timestamptz(0)", 'z', zoned, false},
	{"interval", 'v', list("1 day|02:00:00|1 mon 3 days|-01:30:00"), false}, {"uuid", 'u', uuids, true}, {"mood", 'e', faces, true},
	{"integer[]", 'I', list("{}|{1}|{1,2,3}|{3,NULL}"), false}, {"text[]", 'S', list("{}|{a}|{a,b}|{\"a b\",NULL}"), false},
	{"json", 'j', docs, false}, {"jsonb", 'k', docs, false}, {"bytea", 'y', list(`\x|\x00ff|\x6162`), false},
	{"int4range", 'r', list("empty|[1,3)|[2,)|(,5)"), false}, {"pair", 'c', list(`(1,a)|(2,b)|(,)`), false},
	{"inet", 'w', list("10.0.0.1|10.0.0.0/8|::1"), false},
	{"char(4)", 'q', list("a|b|A|ab|"), true}, {"text COLLATE ci", 'q', list("a|b|A|ab|"), true}, {"bpchar", 'q', list("a|a |A|b"), false},
	{"citext", 'q', list("a|b|A|ab|"), false},
	{"hstore", 'h', list(`|a=>1|a=>2, b=>NULL|"a b"=>"x, y"`), false},
}

// canon is the type of a class that set operations, parameters and literals are cast to.
var canon = map[class]string{'i': "int", 's': "text", 'n': "numeric", 'f': "float8", 'b': "bool", 'd': "date", 't': "timestamp", 'z': "timestamptz",
	'v': "interval", 'u': "uuid", 'e': "mood", 'I': "int[]", 'S': "text[]", 'j': "json", 'k': "jsonb", 'y': "bytea", 'r': "int4range", 'c': "pair", 'w': "inet", 'q': "bpchar", 'h': "hstore"}

var classValues = map[class][]string{}

func init() {
	for _, k := range kinds {
		if classValues[k.class] == nil {
			classValues[k.class] = k.values
		}
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
