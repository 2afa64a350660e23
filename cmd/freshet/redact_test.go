package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func leaks(text string) bool {
	return strings.Contains(text, "hunter") || strings.Contains(text, "ter2")
}

func TestConfigPrintsNoPasswords(t *testing.T) {
	cfg := DefaultServeConfig()
	cfg.Primary, cfg.Replica = testURL, []string{"postgres://svc:hunter2@db2/app?sslpassword=hunter2", "postgres://svc:hun@ter2@db3/app"}
	var text, json bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("x", "config", cfg)
	slog.New(slog.NewJSONHandler(&json, nil)).Info("x", "config", cfg)
	for name, out := range map[string]string{
		"%v": fmt.Sprintf("%v", cfg), "%+v": fmt.Sprintf("%+v", cfg), "%#v": fmt.Sprintf("%#v", cfg), "pointer": fmt.Sprintf("%v", &cfg),
		"Sprint": fmt.Sprint(cfg), "text log": text.String(), "JSON log": json.String(),
	} {
		if leaks(out) || !strings.Contains(out, "svc:***@db1") || !strings.Contains(out, "db2") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

func TestLogRedacts(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		log := newLogger(&b, format, new(slog.LevelVar))
		log.With("url", testURL).WithGroup("g").Error("can't connect to "+testURL, "error", errors.New("parse "+testURL),
			"list", []string{testURL}, slog.Group("h", "dsn", "host=db1 password=hunter2"), "config", ServeConfig{Primary: testURL})
		if leaks(b.String()) || strings.Count(b.String(), "***") < 6 {
			t.Errorf("%s: %s", format, &b)
		}
	}
}

func TestErrorsRedact(t *testing.T) {
	withoutVariables(t)
	for _, args := range [][]string{
		{"serve", testURL},
		{"serve", "--primry", testURL},
		{"serve", "--primary", "postgres://svc:hun/ter2@db1/x"},
		{"serve", "--primary", "svc:hunter2@db1"},
		{"serve", "--primary", "postgres://svc:hun%zzter2@db1/x"},
		{"serve", "--pool-size", testURL},
		{"serve", "--listen", testURL, "--primary", testURL},
		{"serve", "--balance", testURL, "--primary", testURL},
		{"setup", "--primary", "postgres://svc:hun%zzter2@db1/x"},
		{"demo", "--primary", testURL, "--balance", testURL},
		{testURL},
	} {
		var stdout, stderr bytes.Buffer
		status := run(args, &stdout, &stderr)
		if status != exitUsage || leaks(stderr.String()) || stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "freshet: ") || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%v: exit status %d\n%s%s", args, status, &stdout, &stderr)
		}
	}
	t.Setenv("FRESHET_POOL_WAIT", testURL)
	var stderr bytes.Buffer
	if status := run([]string{"serve"}, t.Output(), &stderr); status != exitUsage || leaks(stderr.String()) {
		t.Errorf("exit status %d\n%s", status, &stderr)
	}
}
