package proxy

import (
	"strings"

	"github.com/freshet/freshet/proxy/wire"
)

// dateStyle is the setting that is made of two: setting one of them leaves the other as it was. So what was said isn't
// enough to make it again elsewhere; what it became is.
const dateStyle = "datestyle"

// mergeDateStyle is what DateStyle becomes when it is set to value (variable.c, check_datestyle). Where the value isn't
// understood it is returned as it is.
func mergeDateStyle(old, value, byDefault string) string {
	style, order, _ := strings.Cut(old, ", ")
	styled, ordered := false, false
	for _, w := range strings.Split(value, ",") {
		switch u := strings.ToUpper(strings.Trim(w, " \t\n\r\f\v\"")); {
		case u == "ISO", u == "SQL":
			style, styled = u, true
		case strings.HasPrefix(u, "POSTGRES"):
			style, styled = "Postgres", true
		case u == "GERMAN":
			style, styled = "German", true
			if !ordered {
				order = "DMY"
			}
		case u == "YMD":
			order, ordered = u, true
		case u == "DMY", strings.HasPrefix(u, "EURO"):
			order, ordered = "DMY", true
		case u == "MDY", u == "US", strings.HasPrefix(u, "NONEURO"):
			order, ordered = "MDY", true
		case u == "DEFAULT":
			defaultStyle, defaultOrder, _ := strings.Cut(byDefault, ", ")
			if !styled {
				style = defaultStyle
			}
			if !ordered {
				order = defaultOrder
			}
		default:
			return value
		}
	}
	if style == "" || order == "" {
		return value
	}
	return style + ", " + order
}

// dateStyleOf is the whole of DateStyle under the settings.
func (s *Session) dateStyleOf(set *settings) string {
	if v, ok := set.value(dateStyle); ok {
		return v
	}
	return reportedValue(s.reported, dateStyle)
}

// reportedValue is what a server said about a setting; "" if nothing.
func reportedValue(reported []wire.ParamStatus, name string) string {
	for _, p := range reported {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return ""
}
