package proxy

import (
	"encoding/binary"
	"sort"
	"strings"
)

// settings are the tracked settings of a session, or of a server connection: what was SET over what
// the server has after login. They are immutable; every change makes new ones. nil: none.
//
// Two settings with equal canon have the same effect, so canon is what goes into cache keys.
type settings struct {
	list  []trackedSetting // sorted by name
	canon string
}

type trackedSetting struct {
	name string // lower case
	sql  string // a statement that sets it, without a semicolon
}

func newSettings(list []trackedSetting) *settings {
	if len(list) == 0 {
		return nil
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].name < list[j].name })
	var b []byte
	for _, t := range list {
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.name)))
		b = append(b, t.name...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(t.sql)))
		b = append(b, t.sql...)
	}
	return &settings{list: list, canon: string(b)}
}

// with returns s with name set by sql; an empty sql takes name out.
func (s *settings) with(name, sql string) *settings {
	var list []trackedSetting
	if s != nil {
		for _, t := range s.list {
			if t.name != name {
				list = append(list, t)
			}
		}
	}
	if sql != "" {
		list = append(list, trackedSetting{name, sql})
	}
	return newSettings(list)
}

func (s *settings) get(name string) string {
	if s != nil {
		for _, t := range s.list {
			if t.name == name {
				return t.sql
			}
		}
	}
	return ""
}

func (s *settings) key() string {
	if s == nil {
		return ""
	}
	return s.canon
}

// sameSettings says whether a and b have the same effect.
func sameSettings(a, b *settings) bool { return a == b || a.key() == b.key() }

// transition returns the statements that bring a connection from one state to another.
func transition(from, to *settings) string {
	var b strings.Builder
	if from != nil {
		for _, t := range from.list {
			if to.get(t.name) == "" {
				b.WriteString("RESET ")
				b.WriteString(quoteSettingName(t.name))
				b.WriteByte(';')
			}
		}
	}
	if to != nil {
		for _, t := range to.list {
			if from.get(t.name) != t.sql {
				b.WriteString(t.sql)
				b.WriteByte(';')
			}
		}
	}
	return b.String()
}

// setConfigSQL is a statement that sets a setting to a value as set_config() takes it, which for lists
// such as search_path differs from what SET takes.
func setConfigSQL(name, value string) string {
	return "SELECT pg_catalog.set_config(" + quoteLiteral(name) + "," + quoteLiteral(value) + ",false)"
}

// quoteLiteral makes a string constant that means the same under every standard_conforming_strings.
func quoteLiteral(s string) string {
	q := strings.ReplaceAll(s, "'", "''")
	if strings.Contains(q, `\`) {
		return " E'" + strings.ReplaceAll(q, `\`, `\\`) + "'"
	}
	return "'" + q + "'"
}

// quoteSettingName quotes the parts of a setting's name, which is an identifier, or two with a dot.
func quoteSettingName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}
