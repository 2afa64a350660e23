package proxy

import (
	"strings"

	"github.com/freshet/freshet/proxy/wire"
	"github.com/freshet/freshet/router"
)

// options are the freshet.* settings of a session.
type options struct {
	route      router.Route
	cacheOff   bool
	sessionKey string
}

// optionNames are the freshet.* settings that can be set.
var optionNames = []string{"freshet.route", "freshet.cache", "freshet.session_key"}

// isFreshet says whether a setting is one of ours.
func isFreshet(name string) bool { return strings.HasPrefix(name, "freshet.") }

// with returns the options with one set, or an error that tells the user what is allowed.
func (o options) with(name, value string) (options, error) {
	invalid := func(allowed string) error {
		return wire.Errorf("22023", "invalid value for parameter %q: %q", name, value).WithHint("Available values: %s.", allowed)
	}
	v := strings.ToLower(strings.TrimSpace(value))
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
	default:
		return o, wire.Errorf("42704", "unrecognized configuration parameter %q", name).
			WithHint("Freshet knows freshet.route, freshet.cache and freshet.session_key.")
	}
	return o, nil
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
	}
	return "", false
}
