package proxy

import (
	"encoding/binary"
	"slices"
	"sort"
	"strings"

	"github.com/freshet/freshet/proxy/backend"
)

// settings are the tracked settings of a session, or of a server connection: what differs from what
// the server has after login. They are immutable; every change makes new ones. nil: none.
//
// Two settings with equal canon have the same effect, so canon is what goes into cache keys.
type settings struct {
	list  []trackedSetting // sorted by name, each name once
	canon string
	scope string // canon of those that decide what a statement means when it is prepared
}

// unscoped are settings that don't matter when a statement is prepared. (Others do: literals are read then, a date by DateStyle.)
func unscoped(name string) bool {
	switch name {
	case "application_name", "client_min_messages", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
		"idle_session_timeout", "transaction_timeout", "synchronous_commit":
		return true
	}
	return isCustom(name)
}

// trackedSetting is one setting, and how it is made.
type trackedSetting struct {
	name  string // lower case
	how   settingKind
	value string
}

type settingKind uint8

const (
	settingValue settingKind = iota // to value, as set_config() takes it
	settingSQL                      // by the statement in value
	// A custom setting that was made and reset, or rolled back. It isn't what it was before: current_setting() now
	// gives the empty string, where it gave NULL or an error.
	settingReset
)

// isCustom says whether a setting is one that exists only once it has been set (or an extension's).
func isCustom(name string) bool { return strings.Contains(name, ".") }

// newSettings takes over list, which is in no order; of two with the same name the last counts.
func newSettings(list []trackedSetting) *settings {
	if len(list) == 0 {
		return nil
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].name < list[j].name })
	kept := list[:0]
	for i, t := range list {
		if i+1 < len(list) && list[i+1].name == t.name {
			continue
		}
		kept = append(kept, t)
	}
	var canon, scope []byte
	for i := range kept {
		canon = kept[i].appendTo(canon)
		if !unscoped(kept[i].name) {
			scope = kept[i].appendTo(scope)
		}
	}
	return &settings{list: kept, canon: string(canon), scope: string(scope)}
}

func (t *trackedSetting) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.name)))
	b = append(b, t.name...)
	b = append(b, byte(t.how))
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.value)))
	return append(b, t.value...)
}

// with returns s with t in it.
func (s *settings) with(t trackedSetting) *settings {
	if old := s.get(t.name); old != nil && *old == t {
		return s
	}
	var list []trackedSetting
	if s != nil {
		list = append(list, s.list...)
	}
	return newSettings(append(list, t))
}

// reset returns s with a setting as it was in base.
func (s *settings) reset(name string, base *settings) *settings {
	switch b := base.get(name); {
	case b != nil:
		return s.with(*b)
	case isCustom(name):
		return s.with(trackedSetting{name: name, how: settingReset})
	case s.get(name) == nil:
		return s
	}
	var list []trackedSetting
	for _, t := range s.list {
		if t.name != name {
			list = append(list, t)
		}
	}
	return newSettings(list)
}

// without returns s as if the setting had never been made.
func (s *settings) without(name string) *settings {
	if s.get(name) == nil {
		return s
	}
	list := slices.Clone(s.list)
	return newSettings(slices.DeleteFunc(list, func(t trackedSetting) bool { return t.name == name }))
}

// resetAll returns what RESET ALL makes of s. It leaves the role as it is.
func (s *settings) resetAll(base *settings) *settings {
	out := s
	for _, from := range []*settings{s, base} {
		if from == nil {
			continue
		}
		for _, t := range from.list {
			if !isIdentity(t.name) {
				out = out.reset(t.name, base)
			}
		}
	}
	return out
}

// undone returns the settings of before, to which a transaction that has had s goes back: custom settings that it has made don't
// vanish.
func (s *settings) undone(before *settings) *settings {
	if s == nil || s == before {
		return before
	}
	out := before
	for _, t := range s.list {
		if isCustom(t.name) && before.get(t.name) == nil {
			out = out.with(trackedSetting{name: t.name, how: settingReset})
		}
	}
	return out
}

// isIdentity says whether a setting says who the session is.
func isIdentity(name string) bool { return name == "role" || name == "session_authorization" }

func (s *settings) get(name string) *trackedSetting {
	if s != nil {
		for i := range s.list {
			if s.list[i].name == name {
				return &s.list[i]
			}
		}
	}
	return nil
}

// value is the value of a setting, if it is set to one.
func (s *settings) value(name string) (string, bool) {
	if t := s.get(name); t != nil && t.how == settingValue {
		return t.value, true
	}
	return "", false
}

func (s *settings) key() string {
	if s == nil {
		return ""
	}
	return s.canon
}

// serverSettings are the settings of a server connection.
func serverSettings(c *backend.Conn) *settings {
	s, _ := c.Settings.(*settings)
	return s
}

// noteSettings notes what is now in force on a server connection.
func noteSettings(c *backend.Conn, s *settings) {
	if have := serverSettings(c); have == s {
		return
	}
	c.Settings = s
	if s == nil {
		return
	}
	for _, t := range s.list {
		if isCustom(t.name) {
			if c.Customs == nil {
				c.Customs = map[string]struct{}{}
			}
			c.Customs[t.name] = struct{}{}
		}
	}
}
