package router

import (
	"bytes"
	"fmt"
	"time"

	"github.com/freshet/freshet/consistency"
)

// Route says where a statement or session wants its reads answered.
type Route uint8

// Routes, as in `SET freshet.route` and the hint comment.
const (
	RouteUnset Route = iota
	RouteAuto
	RoutePrimary
	RouteReplica
)

// ParseRoute reads a value of freshet.route.
func ParseRoute(value string) (Route, bool) { return parseRoute([]byte(value)) }

func parseRoute(value []byte) (Route, bool) {
	switch string(value) {
	case "auto":
		return RouteAuto, true
	case "primary":
		return RoutePrimary, true
	case "replica":
		return RouteReplica, true
	}
	return RouteUnset, false
}

// CacheMode says whether a statement or session wants the cache.
type CacheMode uint8

// Cache modes, as in `SET freshet.cache` and the hint comment.
const (
	CacheUnset CacheMode = iota
	CacheOn
	CacheOff
)

// ParseCacheMode reads a value of freshet.cache.
func ParseCacheMode(value string) (CacheMode, bool) { return parseCacheMode([]byte(value)) }

func parseCacheMode(value []byte) (CacheMode, bool) {
	switch string(value) {
	case "on":
		return CacheOn, true
	case "off":
		return CacheOff, true
	}
	return CacheUnset, false
}

// Hint is what the comments `/* freshet: key=value … */` of a text ask for. The zero Hint asks for nothing. Where a
// key is given twice, the later one holds.
type Hint struct {
	Route       Route
	Cache       CacheMode
	Consistency consistency.Level
	// MaxStaleness and CacheTTL are −1 where the text asks for 0, so that 0 is "doesn't say".
	MaxStaleness time.Duration
	CacheTTL     time.Duration
	// Bad: some part of a hint comment wasn't understood or isn't supported; HintProblem says which. The rest holds.
	Bad bool
}

var hintMark = []byte("freshet:")

// hintBody returns what a comment says to Freshet, if it speaks to it.
func hintBody(comment []byte) ([]byte, bool) {
	body := comment[2 : len(comment)-2]
	for len(body) > 0 && classes[body[0]] == classSpace {
		body = body[1:]
	}
	if !bytes.HasPrefix(body, hintMark) {
		return nil, false
	}
	return body[len(hintMark):], true
}

// parse adds what a hint comment says.
func (h *Hint) parse(body []byte) {
	for len(body) > 0 {
		var part []byte
		part, body = hintPart(body)
		if len(part) > 0 && !h.set(part) {
			h.Bad = true
		}
	}
}

// hintPart cuts the first key=value off; they are separated by whitespace or commas.
func hintPart(body []byte) (part, rest []byte) {
	for i, c := range body {
		if c == ',' || classes[c] == classSpace {
			return body[:i], body[i+1:]
		}
	}
	return body, nil
}

func (h *Hint) set(part []byte) bool {
	eq := bytes.IndexByte(part, '=')
	if eq < 0 {
		return false
	}
	switch string(part[:eq]) {
	case "route":
		if r, ok := parseRoute(part[eq+1:]); ok {
			h.Route = r
			return true
		}
	case "cache":
		if c, ok := parseCacheMode(part[eq+1:]); ok {
			h.Cache = c
			return true
		}
	case "consistency":
		if l, ok := consistency.ParseLevel(part[eq+1:]); ok {
			h.Consistency = l
			return true
		}
	case "max_staleness":
		return setTime(&h.MaxStaleness, part[eq+1:])
	case "cache_ttl":
		return setTime(&h.CacheTTL, part[eq+1:])
	}
	return false
}

func setTime(to *time.Duration, value []byte) bool {
	d, ok := ParseTime(value)
	if !ok {
		return false
	}
	if *to = d; d == 0 {
		*to = -1
	}
	return true
}

// HintProblem describes, for a NOTICE, the first part of the text's hint comments that isn't understood or supported;
// "" if there is none. It is called where Hint.Bad is set.
func HintProblem(text []byte) string {
	s := scanner{text: text}
	for {
		t := s.next()
		if t.kind == tokenEOF || t.kind == tokenBad {
			return ""
		}
		if t.kind != tokenHint {
			continue
		}
		body, _ := hintBody(text[t.start:t.end])
		for len(body) > 0 {
			var part []byte
			part, body = hintPart(body)
			var h Hint
			if len(part) > 0 && !h.set(part) {
				return hintPartProblem(part)
			}
		}
	}
}

func hintPartProblem(part []byte) string {
	key, value, ok := bytes.Cut(part, []byte("="))
	if !ok {
		return fmt.Sprintf("freshet hint %q is ignored: it isn't of the form key=value", part)
	}
	switch string(key) {
	case "route":
		return fmt.Sprintf("freshet hint route=%s is ignored: a route is auto, primary or replica", value)
	case "cache":
		return fmt.Sprintf("freshet hint cache=%s is ignored: it is on or off", value)
	case "consistency":
		return fmt.Sprintf("freshet hint consistency=%s is ignored: it is eventual, session or strong", value)
	case "cache_ttl", "max_staleness":
		return fmt.Sprintf("freshet hint %s=%s is ignored: a time is a number with ms, s, min, h or d, as in 500ms", key, value)
	}
	return fmt.Sprintf("freshet hint %q is ignored: there is no such key (there are route, cache, consistency, max_staleness and cache_ttl)", key)
}
