package proxy

import (
	"strconv"
	"strings"
	"time"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// options are the freshet.* settings of a session.
type options struct {
	route        router.Route
	cacheOff     bool
	sessionKey   string
	consistency  consistency.Level
	maxStaleness time.Duration
	cacheTTL     time.Duration
}

// optionNames are the freshet.* settings that can be set.
var optionNames = []string{"freshet.route", "freshet.cache", "freshet.session_key", "freshet.consistency", "freshet.max_staleness", "freshet.cache_ttl"}

// isFreshet says whether a setting is one of ours.
func isFreshet(name string) bool { return strings.HasPrefix(name, "freshet.") }

// with returns the options with one set, or an error that tells the user what is allowed.
func (o options) with(name, value string) (options, error) {
	invalid := func(allowed string) error {
		return wire.Errorf("22023", "invalid value for parameter %q: %q", name, value).WithHint("Available values: %s.", allowed)
	}
	v := strings.ToLower(strings.TrimSpace(value))
	setTime := func(to *time.Duration) error {
		d, ok := router.ParseTime(v)
		if !ok {
			return wire.Errorf("22023", "invalid value for parameter %q: %q", name, value).
				WithHint("A time is a number with one of the units us, ms, s, min, h and d, as in 500ms.")
		}
		*to = d
		return nil
	}
	switch name {
	case "freshet.route":
		switch v {
		case "auto":
			o.route = router.RouteAuto
		case "primary":
			o.route = router.RoutePrimary
		case "replica":
			o.route = router.RouteReplica
		default:
			return o, invalid("auto, primary, replica")
		}
	case "freshet.cache":
		switch v {
		case "on", "true", "yes", "1":
			o.cacheOff = false
		case "off", "false", "no", "0":
			o.cacheOff = true
		default:
			return o, invalid("on, off")
		}
	case "freshet.session_key":
		if len(value) > 256 {
			return o, wire.Errorf("22023", "parameter %q is longer than 256 bytes", name)
		}
		o.sessionKey = value
	case "freshet.consistency":
		l, ok := consistency.ParseLevel(v)
		if !ok {
			return o, invalid("eventual, session, strong")
		}
		o.consistency = l
	case "freshet.max_staleness":
		err := setTime(&o.maxStaleness)
		return o, err
	case "freshet.cache_ttl":
		err := setTime(&o.cacheTTL)
		return o, err
	default:
		return o, wire.Errorf("42704", "unrecognized configuration parameter %q", name).
			WithHint("Freshet knows %s.", strings.Join(optionNames, ", "))
	}
	return o, nil
}

// changed returns the options after a SET or, if t is nil, RESET.
func (o options) changed(name string, t *trackedSetting, defaults options) (options, error) {
	if t == nil {
		return o.reset(name, defaults)
	}
	return o.with(name, t.value)
}

// reset returns the options with one, or with name "" all, as in defaults.
func (o options) reset(name string, defaults options) (options, error) {
	switch name {
	case "":
		return defaults, nil
	case "freshet.route":
		o.route = defaults.route
	case "freshet.cache":
		o.cacheOff = defaults.cacheOff
	case "freshet.session_key":
		o.sessionKey = defaults.sessionKey
	case "freshet.consistency":
		o.consistency = defaults.consistency
	case "freshet.max_staleness":
		o.maxStaleness = defaults.maxStaleness
	case "freshet.cache_ttl":
		o.cacheTTL = defaults.cacheTTL
	default:
		return o.with(name, "")
	}
	return o, nil
}

func (o options) show(name string) (string, bool) {
	switch name {
	case "freshet.route":
		switch o.route {
		case router.RoutePrimary:
			return "primary", true
		case router.RouteReplica:
			return "replica", true
		}
		return "auto", true
	case "freshet.cache":
		if o.cacheOff {
			return "off", true
		}
		return "on", true
	case "freshet.session_key":
		return o.sessionKey, true
	case "freshet.consistency":
		return o.consistency.String(), true
	case "freshet.max_staleness":
		return formatTime(o.maxStaleness), true
	case "freshet.cache_ttl":
		return formatTime(o.cacheTTL), true
	}
	return "", false
}

// formatTime writes a time as Postgres shows one: in the largest unit of which it is a whole number.
func formatTime(d time.Duration) string {
	for _, u := range [...]struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d != 0 && d%u.d == 0 {
			return strconv.FormatInt(int64(d/u.d), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Microsecond), 10) + "us"
}
