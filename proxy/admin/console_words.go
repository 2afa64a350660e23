package admin

import (
	"net"
	"strconv"
	"strings"
)

// The console's language: commands, separated by semicolons, of words. A word ends at white space; it may hold quoted parts, in which
// anything may be. Comments are Postgres'.

// word is a word of a command, as it was typed.
type word struct {
	text string
	at   int // where it begins, in bytes from 1
}

// keyword is the word in upper case, for comparison.
func (w word) keyword() string { return strings.ToUpper(w.text) }

// split takes a text apart. Commands without words aren't there.
func split(text string) ([][]word, error) {
	var commands [][]word
	var words []word
	start := -1 // of the word in hand
	end := func(i int) {
		if start >= 0 {
			words = append(words, word{text[start:i], start + 1})
			start = -1
		}
	}
	for i := 0; i < len(text); {
		switch ch := text[i]; {
		case ch == ';':
			end(i)
			if words != nil {
				commands = append(commands, words)
				words = nil
			}
			i++
		case isSpace(ch):
			end(i)
			i++
		case strings.HasPrefix(text[i:], "--"):
			end(i)
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				n = len(text) - i
			}
			i += n
		case strings.HasPrefix(text[i:], "/*"):
			end(i)
			n := commentEnd(text[i:])
			if n < 0 {
				return nil, &Error{Code: "42601", Message: "unterminated /* comment", At: i + 1}
			}
			i += n
		case ch == '\'' || ch == '"':
			n := strings.IndexByte(text[i+1:], ch) // a doubled quote ends one part and begins the next
			if n < 0 {
				what := "unterminated quoted string"
				if ch == '"' {
					what = "unterminated quoted identifier"
				}
				return nil, &Error{Code: "42601", Message: what, At: i + 1}
			}
			if start < 0 {
				start = i
			}
			i += n + 2
		default:
			if start < 0 {
				start = i
			}
			i++
		}
	}
	end(len(text))
	if words != nil {
		commands = append(commands, words)
	}
	return commands, nil
}

func isSpace(ch byte) bool { return ch == ' ' || ch >= '\t' && ch <= '\r' }

// commentEnd is the length of the comment that a text begins with; comments nest. -1: it has no end.
func commentEnd(text string) int {
	depth := 0
	for i := 0; i+1 < len(text); {
		switch text[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			i += 2
			if depth--; depth == 0 {
				return i
			}
		default:
			i++
		}
	}
	return -1
}

// names are the identifiers of a word with dots between them, as Postgres reads them: in lower case unless quoted. Single quotes do,
// too.
func (w word) names() ([]string, error) {
	var list []string
	for rest := w.text; ; {
		var name strings.Builder
		for rest != "" && rest[0] != '.' {
			if q := rest[0]; q == '"' || q == '\'' {
				for again := true; again; {
					part, after, _ := strings.Cut(rest[1:], string(q)) // split has seen to it that there is an end
					name.WriteString(part)
					if again = after != "" && after[0] == q; again {
						name.WriteByte(q)
					}
					rest = after
				}
				continue
			}
			n := strings.IndexAny(rest, `."'`)
			if n < 0 {
				n = len(rest)
			}
			name.WriteString(strings.ToLower(rest[:n]))
			rest = rest[n:]
		}
		if name.Len() == 0 {
			return nil, &Error{Code: "42602", Message: "invalid name " + quoted(w.text), At: w.at}
		}
		list = append(list, name.String())
		if rest == "" {
			return list, nil
		}
		rest = rest[1:]
	}
}

// name is the word as one identifier, dots included: a database, or the address of a server.
func (w word) name() (string, error) {
	names, err := w.names()
	return strings.Join(names, "."), err
}

// quoteName is a name as it has to be typed.
func quoteName(name string) string {
	plain := name != "" && !(name[0] >= '0' && name[0] <= '9')
	for i := range len(name) {
		ch := name[i]
		plain = plain && (ch >= 'a' && ch <= 'z' || ch >= '0' && ch <= '9' || ch == '_' || ch >= 0x80)
	}
	if plain {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoted is a piece of a client's text in an error, not too long.
func quoted(text string) string {
	const most = 60
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return `"` + text + `"`
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func atoi(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

// splitNode takes the address of a server apart.
func splitNode(addr string) (string, int) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, 0
	}
	return host, atoi(port)
}
