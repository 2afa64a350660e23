package router

// Route says where a statement or session wants its reads answered.
type Route uint8

// Routes, as in `SET freshet.route` and the hint comment.
const (
	RouteUnset Route = iota
	RouteAuto
	RoutePrimary
	RouteReplica
)

// CacheMode says whether a statement or session wants the cache.
type CacheMode uint8

// Cache modes, as in `SET freshet.cache` and the hint comment.
const (
	CacheUnset CacheMode = iota
	CacheOn
	CacheOff
)

// Hint is what the comments `/* freshet: key=value … */` of a text ask for. The zero Hint asks for nothing.
type Hint struct {
	Route Route
	Cache CacheMode
	// Bad: some part of a hint comment wasn't understood or isn't supported; HintProblem says which.
	Bad bool
}

// HintProblem describes, for a NOTICE, the first part of the text's hint comments that isn't understood; "" if none.
func HintProblem(text []byte) string { return "" }
