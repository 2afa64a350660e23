package main

import (
	"io"
	"log/slog"

	"github.com/freshet/freshet/proxy/admin"
)

// newLogger makes the log. level can be changed while it is in use. Whoever
// puts an error of a library in the log doesn't know whether that quotes a
// connection string: passwords are taken out here, of everything.
func newLogger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func redactAttr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(admin.Redact(v.String()))
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error:
			a.Value = slog.StringValue(admin.Redact(x.Error()))
		case []string:
			list := make([]string, len(x))
			for i := range x {
				list[i] = admin.Redact(x[i])
			}
			a.Value = slog.AnyValue(list)
		}
	}
	return a
}

// logLevel reads the value of --log-level, which Validate has seen.
func logLevel(name string) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(name)); err != nil {
		return slog.LevelInfo
	}
	return l
}
