package proxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/router"
)

// settled says whether a server connection has the settings, without allocating.
func settled(c *backend.Conn, want *settings) bool {
	have := serverSettings(c)
	if have == want || have.key() == want.key() {
		return true
	}
	return eachDifference(c, want, func(string, *trackedSetting) bool { return false })
}

// eachDifference calls visit for every setting in which a server connection isn't as wanted, until it returns false; then it
// returns false, too. to is nil where a setting is to be reset.
func eachDifference(c *backend.Conn, want *settings, visit func(name string, to *trackedSetting) bool) bool {
	var a, b []trackedSetting
	if have := serverSettings(c); have != nil {
		a = have.list
	}
	if want != nil {
		b = want.list
	}
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].name < b[0].name:
			if a[0].how != settingReset && !visit(a[0].name, nil) { // what has been reset can't be undone further
				return false
			}
			a = a[1:]
		case len(a) == 0 || b[0].name < a[0].name:
			_, defined := c.Customs[b[0].name]
			if !(defined && b[0].how == settingReset) && !visit(b[0].name, &b[0]) {
				return false
			}
			b = b[1:]
		default:
			if a[0] != b[0] && !visit(b[0].name, &b[0]) {
				return false
			}
			a, b = a[1:], b[1:]
		}
	}
	return true
}

// transition returns the statements that give a server connection the settings, each with a semicolon; "" if it has them. Whoever
// was set to be somebody else becomes the login role first: it is the one whose rights sufficed for all of the settings.
func transition(c *backend.Conn, want *settings) string {
	if settled(c, want) {
		return ""
	}
	have := serverSettings(c)
	var b strings.Builder
	if someoneElse(have) {
		b.WriteString("RESET SESSION AUTHORIZATION;RESET ROLE;")
	}
	eachDifference(c, want, func(name string, to *trackedSetting) bool {
		if isIdentity(name) {
			return true
		}
		if to == nil {
			to = &trackedSetting{name: name, how: settingReset}
		}
		b.WriteString(to.statement(false) + ";")
		return true
	})
	for _, name := range []string{"session_authorization", "role"} {
		if t := want.get(name); t != nil {
			b.WriteString(t.statement(false) + ";")
		}
	}
	return b.String()
}

func someoneElse(s *settings) bool {
	return s.get("role") != nil || s.get("session_authorization") != nil
}

// statement is one that makes the setting.
func (t *trackedSetting) statement(local bool) string {
	switch {
	case t.how == settingSQL:
		return t.value
	case t.how == settingReset:
		return "RESET " + quoteSettingName(t.name)
	case slices.Contains(identifierLists, t.name):
		// SET would take the value for one identifier.
		return "SELECT pg_catalog.set_config(" + quoteLiteral(t.name) + "," + quoteLiteral(t.value) + "," + strconv.FormatBool(local) + ")"
	case local:
		return "SET LOCAL " + quoteSettingName(t.name) + " TO " + quoteLiteral(t.value)
	}
	return "SET " + quoteSettingName(t.name) + " TO " + quoteLiteral(t.value)
}

// identifierLists are the settings whose value is a list of identifiers (GUC_LIST_QUOTE).
var identifierLists = []string{"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries",
	"shared_preload_libraries", "unix_socket_directories"}

// resetting is what a statement resets.
type resetting struct {
	name       string
	all, local bool
}

// resets lists what a statement resets.
func resets(p *router.Plan, args []router.Assignment) []resetting {
	switch {
	case p == nil:
	case p.Assigns != nil:
		var out []resetting
		for _, a := range args {
			if a.Value.Null && a.Value.Param == 0 {
				local, _ := router.ParseBool(a.Local.Text)
				out = append(out, resetting{name: lowerASCII(a.Name.Text), local: local})
			}
		}
		return out
	case p.Set == nil || isFreshet(p.Set.Name):
	case p.Set.Default || p.Set.All:
		return []resetting{{p.Set.Name, p.Set.All, p.Set.IsLocal}}
	}
	return nil
}

// corrections returns the statements that have to follow one that resets settings, on a server that doesn't know with which the
// session began: its own defaults aren't the session's.
func corrections(base *settings, set resetting) []string {
	var out []string
	add := func(t *trackedSetting) {
		if t != nil {
			out = append(out, t.statement(set.local))
		}
	}
	switch {
	case base == nil:
	case set.all:
		for i := range base.list {
			if t := &base.list[i]; !isIdentity(t.name) {
				add(t)
			}
		}
	case set.name == "session_authorization": // which resets the role, too
		add(base.get("session_authorization"))
		add(base.get("role"))
	default:
		add(base.get(set.name))
	}
	return out
}

// quoteLiteral makes a string constant that means the same under every standard_conforming_strings and client_encoding. s is in
// the server's encoding.
func quoteLiteral(s string) string {
	var b strings.Builder
	coded := false
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'':
			b.WriteString("''")
		case c == '\\':
			b.WriteString(`\\`)
			coded = true
		case c >= 0x80:
			fmt.Fprintf(&b, `\x%02x`, c)
			coded = true
		default:
			b.WriteByte(c)
		}
	}
	if coded {
		return " E'" + b.String() + "'"
	}
	return "'" + b.String() + "'"
}

// quoteSettingName quotes the parts of a setting's name, which is an identifier, or several with dots.
func quoteSettingName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = quoteIdentifier(p)
	}
	return strings.Join(parts, ".")
}

func quoteIdentifier(p string) string { return `"` + strings.ReplaceAll(p, `"`, `""`) + `"` }
