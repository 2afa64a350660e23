package catalog

import (
	"slices"
	"strings"
)

// EffectiveSearchPath returns the schemas in which names are looked up, in order, for a session that logged in as
// sessionUser and whose effective role is role (namespace.c, recomputeNamespacePath): schemas that don't exist or
// that the role may not use are left out, $user is replaced, and pg_catalog comes first unless it is listed.
// Temporary schemas are left out: a session that has one is bound.
//
// If set, the session has a setting of its own, given as the text of search_path (which may be empty); otherwise the
// defaults of role and database hold, and then that of the server. Where the latter isn't known (Load says when),
// only pg_catalog is returned, with which next to nothing can be planned; ask the server (SHOW search_path) and give
// what it says.
func (s *Snapshot) EffectiveSearchPath(sessionUser, role, setting string, set bool) []string {
	if !set {
		var ok bool
		if setting, ok = s.DefaultSetting(sessionUser, "search_path"); !ok {
			if !s.serverPathOK {
				return []string{"pg_catalog"}
			}
			setting = s.serverPath
		}
	}
	names, ok := SplitIdentifiers(setting)
	r := s.roles[role]
	if !ok || r == nil {
		return []string{"pg_catalog"}
	}
	var path []string
	for _, name := range names {
		if name == "$user" {
			name = role
		}
		schema := s.schemas[name]
		if schema == nil || name == "pg_temp" || slices.Contains(path, name) || !s.mayUse(r, schema) {
			continue
		}
		path = append(path, name)
	}
	if !slices.Contains(path, "pg_catalog") {
		path = slices.Insert(path, 0, "pg_catalog")
	}
	return path
}

// SplitIdentifiers parses a list of identifiers as the server does for settings such as search_path
// (SplitIdentifierString): separated by commas, unquoted ones in lower case and cut to 63 bytes, quoted ones as they
// are. ok is false for a list that the server wouldn't take.
func SplitIdentifiers(list string) (names []string, ok bool) {
	rest := strings.TrimLeft(list, listSpace)
	if rest == "" {
		return nil, true
	}
	for {
		var name string
		if rest[0] == '"' {
			var b strings.Builder
			i := 1
			for {
				end := strings.IndexByte(rest[i:], '"')
				if end < 0 {
					return nil, false
				}
				b.WriteString(rest[i : i+end])
				i += end + 1
				if i >= len(rest) || rest[i] != '"' {
					break
				}
				b.WriteByte('"')
				i++
			}
			name, rest = b.String(), rest[i:]
		} else {
			end := strings.IndexAny(rest, listSpace+",")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, false
			}
			name, rest = lowerASCII(rest[:end]), rest[end:]
		}
		names = append(names, truncateIdentifier(name))
		rest = strings.TrimLeft(rest, listSpace)
		if rest == "" {
			return names, true
		}
		if rest[0] != ',' {
			return nil, false
		}
		if rest = strings.TrimLeft(rest[1:], listSpace); rest == "" {
			return nil, false
		}
	}
}

const listSpace = " \t\n\r\f\v"

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// truncateIdentifier cuts a name to NAMEDATALEN - 1 bytes without cutting a character in two.
func truncateIdentifier(s string) string {
	const limit = 63
	if len(s) <= limit {
		return s
	}
	n := limit
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
