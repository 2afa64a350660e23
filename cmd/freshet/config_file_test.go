package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestConfigFile(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"empty", "\n", ""},
		{"only comments", "# nothing\n", ""},
		{"numbers and words without quotes", "pool-size: 5\npool-wait: 5s\ncache: off\nl1-size: 1048576\nserver-lifetime: 0\n", ""},
		{"anchors", "pool-wait: &t 5s\nconnect-timeout: *t\n", ""},
		{"unknown key", "pool-size: 5\npool-sizes: 6\n", `line 2: unknown key "pool-sizes": did you mean "pool-size"?`},
		{"unknown key, near to none", "colour: red\n", `line 1: unknown key "colour": the keys are the names of serve's flags`},
		{"flag of another command", "dry-run: true\n", `unknown key "dry-run"`},
		{"config in config", "config: other.yaml\n", `unknown key "config"`},
		{"underscores", "pool_size: 5\n", `did you mean "pool-size"?`},
		{"all that is unknown is named", "one: 1\ntwo: 2\n", `"two"`},
		{"twice", "pool-size: 5\npool-size: 6\n", "line 2: pool-size: the key is here twice"},
		{"no value", "http:\n", `line 1: http: no value; "" is an empty one`},
		{"list for one value", "http: [a, b]\n", "http: expected one value"},
		{"mapping", "serve:\n  http: a\n", `unknown key "serve"`},
		{"mapping as a value", "listen: {a: b}\n", "listen: expected a text, or a list of texts"},
		{"list of lists", "listen: [[a]]\n", "listen: expected a list of texts"},
		{"list at the top", "- a\n", "expected lines of the form `key: value`"},
		{"not YAML", "a: b: c\n", "not YAML"},
		{"two documents", "pool-size: 5\n---\npool-size: 6\n", "only one YAML document"},
		{"time without unit", "\npool-wait: 5\n", `"5" isn't a time`},
		{"wrong value has its line", "\npool-wait: 5\n", `freshet.yaml, line 2`},
		{"not a number", "max-clients: many\n", `got "many"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parseServe(t, nil, nil, c.file)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, new(usageError)) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	_, _, err := parse([]string{"serve", "--config", "/nowhere/x.yaml"}, t.Output(), t.Output())
	if err == nil || !strings.Contains(err.Error(), "--config: open /nowhere/x.yaml: no such file") {
		t.Error(err)
	}
	t.Run("version doesn't mind", func(t *testing.T) {
		t.Setenv("FRESHET_CONFIG", "/nowhere/x.yaml")
		if _, _, err := parse([]string{"version"}, t.Output(), t.Output()); err != nil {
			t.Error(err)
		}
	})
}

func TestReload(t *testing.T) {
	withoutVariables(t)
	path := writeFile(t, "primary: "+testURL+"\nlog-level: info\n")
	args := []string{"serve", "--config", path, "--pool-size", "5"}
	_, commands, err := parse(args, t.Output(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	running := commands.Serve.Flags.config()
	for _, c := range []struct {
		name, file, want string
		level            slog.Level
	}{
		{"nothing new", "primary: " + testURL, "reload: done", slog.LevelInfo},
		{"level", "primary: " + testURL + "\nlog-level: debug", "log_level=debug", slog.LevelDebug},
		{"what can't change", "primary: postgres://svc:hunter2@db9/app\nl1-size: 1GiB", `keep their values until a restart" flags="[primary l1-size]"`, slog.LevelInfo},
		{"what a flag has set isn't changed by the file", "primary: " + testURL + "\npool-size: 7", "reload: done", slog.LevelInfo},
		{"what can", "primary: " + testURL + "\nmax-clients: 7\ndrain-timeout: 1s", `changed="[max-clients drain-timeout]"`, slog.LevelInfo},
		{"another source of users", "primary: " + testURL + "\nauth-file: /nowhere/x", `keep their values until a restart" flags=[auth-file]`, slog.LevelInfo},
		{"files that aren't there", "primary: " + testURL + "\nlog-level: debug\ntls-mode: allow\ntls-cert: /nowhere/x\ntls-key: /nowhere/x", "nothing has changed", slog.LevelInfo},
		{"wrong", "primary: " + testURL + "\nlog-level: debug\npool-wait: 5", "nothing has changed", slog.LevelInfo},
		{"invalid", "primary: svc:hunter2@db1\nlog-level: debug", "nothing has changed", slog.LevelInfo},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			var level slog.LevelVar
			r := &reloader{env: &environment{args: args, stdout: t.Output(), stderr: t.Output()}, path: path, level: &level,
				log: newLogger(&b, "text", new(slog.LevelVar)), server: new(instance), running: running}
			if err := r.reload(); (err != nil) != strings.Contains(c.want, "nothing has changed") {
				t.Error(err)
			}
			if !strings.Contains(b.String(), c.want) || level.Level() != c.level || leaks(b.String()) {
				t.Errorf("level %v:\n%s", level.Level(), &b)
			}
			if strings.Contains(c.name, "flag has set") && strings.Contains(b.String(), "restart") {
				t.Errorf("pool-size is set by a flag:\n%s", &b)
			}
		})
	}
}
