package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// TestTheLogSaysWhyAClientWasRefused: at the level info, and no more than a line a second for those who try again and again.
func TestTheLogSaysWhyAClientWasRefused(t *testing.T) {
	refusal := func(told *wire.Error, err error) error {
		return &Refusal{User: "app", Database: "app", Told: told, Err: err}
	}
	hidden := wire.Fatal("57P03", "password verifiers can't be read from the server at the moment")
	wrong := wire.Fatal("28P01", "password authentication failed")
	var out bytes.Buffer
	at := time.Now()
	logOf := func(level slog.Level, fn func(r *refusals)) string {
		out.Reset()
		fn(newRefusals(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))))
		return out.String()
	}
	for _, c := range []struct {
		err   error
		level string // empty: not at info
	}{
		{refusal(hidden, fmt.Errorf("%w (no such schema)", hidden)), "WARN"},
		{refusal(wire.Fatal("XX000", "the proxy can't log you in"), errors.New("no such schema")), "WARN"},
		{refusal(wrong, fmt.Errorf("%w (no such schema)", wrong)), "INFO"},
		{refusal(nil, ErrClientGone), ""},
		{refusal(wire.Fatal("57P03", "the proxy is shutting down"), context.Canceled), ""},
		{io.EOF, ""},
	} {
		got := logOf(slog.LevelInfo, func(r *refusals) { r.note("1.2.3.4:5", c.err, at) })
		if c.level == "" && got != "" || c.level != "" && (!strings.Contains(got, "level="+c.level) || !strings.Contains(got, "no such schema") || !strings.Contains(got, "1.2.3.4:5")) {
			t.Errorf("%v: want %q, got %s", c.err, c.level, got)
		}
	}
	again := func(r *refusals) {
		for i := range 50 {
			r.note("1.2.3.4:5", refusal(wrong, wrong), at.Add(time.Duration(i)*refusalPause/49))
		}
		r.note("1.2.3.4:5", refusal(hidden, hidden), at)
	}
	if got := logOf(slog.LevelInfo, again); strings.Count(got, "level=INFO") != 2 || !strings.Contains(got, "others_before=48") || strings.Count(got, "level=WARN") != 1 {
		t.Errorf("50 refusals in a second: %s", got)
	}
	if got := logOf(slog.LevelDebug, again); strings.Count(got, "\n") != 51 {
		t.Errorf("not all are there with the level debug: %d", strings.Count(got, "\n"))
	}
}
