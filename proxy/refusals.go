package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// refusals puts into the log why clients weren't let in: a client is told little, and that the log says more. What is no fault of the
// client's is a warning. Whoever can reach the port can cause such lines, so there is at most one of a kind in refusalPause, which
// says how many came before it; with the level debug there are all. Safe for concurrent use.
type refusals struct {
	log *slog.Logger
	mu  struct {
		sync.Mutex
		kinds map[slog.Level]*refusalKind
	}
}

type refusalKind struct {
	last    time.Time
	leftOut int
}

const refusalPause = time.Second

func newRefusals(log *slog.Logger) *refusals {
	r := &refusals{log: log}
	r.mu.kinds = map[slog.Level]*refusalKind{}
	return r
}

// note logs what Admit has returned for a client.
func (r *refusals) note(client string, err error, now time.Time) {
	level := refusalLevel(err)
	args := []any{"client", client, "error", err}
	if level != slog.LevelDebug && !r.log.Enabled(context.Background(), slog.LevelDebug) {
		leftOut, ok := r.turn(level, now)
		if !ok {
			return
		}
		if leftOut > 0 {
			args = append(args, "others_before", leftOut)
		}
	}
	r.log.Log(context.Background(), level, "a client wasn't let in", args...)
}

// turn says whether it is time for another line of that level, and how many have been left out since the last one.
func (r *refusals) turn(level slog.Level, now time.Time) (leftOut int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.mu.kinds[level]
	if k == nil {
		k = &refusalKind{}
		r.mu.kinds[level] = k
	}
	if !k.last.IsZero() && now.Sub(k.last) < refusalPause {
		k.leftOut++
		return 0, false
	}
	leftOut, k.leftOut, k.last = k.leftOut, 0, now
	return leftOut, true
}

// refusalLevel: who is told nothing has gone by itself, or didn't speak Postgres' protocol; we are stopping; something is wrong with us or the
// servers; or with the client.
func refusalLevel(err error) slog.Level {
	var r *Refusal
	switch {
	case !errors.As(err, &r), r.Told == nil, errors.Is(r.Err, context.Canceled), errors.Is(r.Err, errWelcomesClosed):
		return slog.LevelDebug
	case r.Told.Code == "57P03", r.Told.Code == "XX000":
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
