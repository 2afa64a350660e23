package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// testURL is a primary that is never connected to.

const testURL = "postgres://svc:hunter2@db1:5432/app"

// withoutVariables takes the FRESHET_ variables of the machine out of the way of a test.

func withoutVariables(t *testing.T) {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "FRESHET_") {
			t.Setenv(name, "") // so that it comes back
			os.Unsetenv(name)
		}
	}
}

func writeFile(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "freshet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// parseServe is what serve makes of flags, variables and file.

func parseServe(t *testing.T, args []string, variables map[string]string, file string) (ServeConfig, error) {
	t.Helper()
	withoutVariables(t)
	for name, value := range variables {
		t.Setenv(name, value)
	}
	args = append([]string{"serve"}, args...)
	if file != "" {
		args = append(args, "--config", writeFile(t, file))
	}
	_, commands, err := parse(args, t.Output(), t.Output())
	if err != nil {
		return ServeConfig{}, err
	}
	return commands.Serve.Flags.config(), nil
}

// TestDefaults: they are those of INTERFACE, and complete but for the primary.

func TestDefaults(t *testing.T) {
	got := DefaultServeConfig()
	want := ServeConfig{
		Listen: []string{"127.0.0.1:6432"}, HTTP: "127.0.0.1:6480",
		AuthType: "scram-sha-256", MaxClients: 10000, TLSMode: "off", Consistency: "session",
		PoolSize: 20, PoolWait: 5 * time.Second, PoolMode: "transaction", MaxPreparedStatements: 1000, ConnectTimeout: 5 * time.Second,
		ServerLifetime: time.Hour, ServerIdleTimeout: 10 * time.Minute, DatabaseIdleTimeout: time.Minute,
		RYWWindow: 10 * time.Second, RYWRelease: "caught-up", MaxStaleness: 2 * time.Second, Balance: "least-outstanding",
		Cache: "auto", L1Size: 256 << 20, CacheMaxEntry: 1 << 20, RowCells: 64 << 20, StaleIfError: 5 * time.Minute, Publication: "freshet",
		LogFormat: "text", LogLevel: "info", DrainTimeout: 30 * time.Second,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if err := got.Validate(); err == nil || !strings.HasPrefix(err.Error(), "--primary is needed") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without a primary: %v", err)
	}
	got.Primary = testURL
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	parsed, err := parseServe(t, nil, nil, "")
	if err != nil || !reflect.DeepEqual(parsed, want) {
		t.Errorf("serve without flags: %v %v", parsed, err)
	}
}

// TestEveryFlagHasThreeNames: each field is a flag, a variable and a key, all of the same name and of the same effect.

func TestEveryFlagHasThreeNames(t *testing.T) {
	other := map[string]string{ // a value that isn't the default
		"listen": "127.0.0.1:7001", "http": ":7002", "primary": testURL, "replica": "postgres://svc@db2/app",
		"auth-type": "trust", "admin-users": "ann", "stats-users": "ben", "max-clients": "7", "pool-size": "8", "pool-wait": "7ms", "max-prepared-statements": "9", "connect-timeout": "8ms",
		"pool-mode": "session", "query-timeout": "1s", "idle-transaction-timeout": "2s", "client-idle-timeout": "3s",
		"server-lifetime": "2h", "server-idle-timeout": "3h", "database-idle-timeout": "4m", "consistency": "strong", "ryw-window": "9s", "ryw-release": "window", "max-staleness": "3s",
		"balance": "random", "cache": "off", "l1-size": "3MiB", "cache-max-entry": "4KiB", "row-cells": "5MiB", "cache-ttl": "5s", "stale-if-error": "6s", "stale-while-revalidate": "7s", "slot": "s", "publication": "p",
		"unix-socket-dir": "/d", "auth-file": "f", "tls-mode": "allow", "tls-cert": "c", "tls-key": "k", "tls-client-ca": "a",
		"log-format": "json", "log-level": "debug", "drain-timeout": "4s", "shards": "3",
	}
	typ := reflect.TypeFor[ServeConfig]()
	if typ.NumField() != len(other) {
		t.Errorf("%d fields, %d values here", typ.NumField(), len(other))
	}
	for i := range typ.NumField() {
		flag := flagName(typ.Field(i))
		t.Run(flag, func(t *testing.T) {
			byFlag, err := parseServe(t, []string{"--" + flag + "=" + other[flag]}, nil, "")
			if err != nil {
				t.Fatal(err)
			}
			if reflect.DeepEqual(reflect.ValueOf(byFlag).Field(i).Interface(), reflect.ValueOf(DefaultServeConfig()).Field(i).Interface()) {
				t.Error("the flag has no effect")
			}
			byVariable, err := parseServe(t, nil, map[string]string{variable(flag): other[flag]}, "")
			if err != nil || !reflect.DeepEqual(byVariable, byFlag) {
				t.Errorf("%s: %v, %v; want %v", variable(flag), byVariable, err, byFlag)
			}
			byFile, err := parseServe(t, nil, nil, flag+": "+fmt.Sprintf("%q", other[flag]))
			if err != nil || !reflect.DeepEqual(byFile, byFlag) {
				t.Errorf("file: %v, %v; want %v", byFile, err, byFlag)
			}
		})
	}
	if variable("l1-size") != "FRESHET_L1_SIZE" {
		t.Error("INTERFACE names it FRESHET_L1_SIZE")
	}
}

// TestPrecedence: flag beats environment beats file beats default.

func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		name, flag, variable, file string
		want                       int
	}{
		{"default", "", "", "", 20},
		{"file", "", "", "3", 3},
		{"variable", "", "2", "", 2},
		{"variable and file", "", "2", "3", 2},
		{"flag", "1", "", "", 1},
		{"flag and file", "1", "", "3", 1},
		{"flag and variable", "1", "2", "", 1},
		{"all", "1", "2", "3", 1},
		{"a wrong variable doesn't matter where there is a flag", "1", "x", "3", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args []string
			variables := map[string]string{}
			file := ""
			if c.flag != "" {
				args = []string{"--pool-size", c.flag}
			}
			if c.variable != "" {
				variables["FRESHET_POOL_SIZE"] = c.variable
			}
			if c.file != "" {
				file = "pool-size: " + c.file
			}
			cfg, err := parseServe(t, args, variables, file)
			if err != nil || cfg.PoolSize != c.want {
				t.Errorf("%d, %v; want %d", cfg.PoolSize, err, c.want)
			}
		})
	}
	t.Run("lists are replaced, not added to", func(t *testing.T) {
		cfg, err := parseServe(t, []string{"--listen", ":1", "--listen", ":2"}, map[string]string{"FRESHET_LISTEN": ":3"}, "listen: [':4', ':5']")
		if want := []string{":1", ":2"}; err != nil || !reflect.DeepEqual(cfg.Listen, want) {
			t.Error(cfg.Listen, err)
		}
		cfg, err = parseServe(t, nil, map[string]string{"FRESHET_LISTEN": ":3, :6"}, "listen: [':4', ':5']")
		if want := []string{":3", ":6"}; err != nil || !reflect.DeepEqual(cfg.Listen, want) {
			t.Error(cfg.Listen, err)
		}
		cfg, err = parseServe(t, nil, nil, "listen: [':4', ':5']")
		if want := []string{":4", ":5"}; err != nil || !reflect.DeepEqual(cfg.Listen, want) {
			t.Error(cfg.Listen, err)
		}
	})
	t.Run("an empty variable is a value", func(t *testing.T) {
		cfg, err := parseServe(t, nil, map[string]string{"FRESHET_HTTP": ""}, "http: ':9'")
		if err != nil || cfg.HTTP != "" {
			t.Error(cfg.HTTP, err)
		}
	})
	t.Run("the file may be named by a variable", func(t *testing.T) {
		cfg, err := parseServe(t, nil, map[string]string{"FRESHET_CONFIG": writeFile(t, "pool-size: 9")}, "")
		if err != nil || cfg.PoolSize != 9 {
			t.Error(cfg.PoolSize, err)
		}
	})
}

// TestURLLists: several URLs in one variable are told apart, and a comma in a password isn't taken for one between URLs.

func TestURLLists(t *testing.T) {
	for _, c := range []struct {
		in   []string
		want []string
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{"postgres://u:a,b@h/d"}, []string{"postgres://u:a,b@h/d"}},
		{[]string{"postgres://a,postgresql://b", "postgres://c postgres://d,\npostgres://e,"}, []string{"postgres://a", "postgresql://b", "postgres://c", "postgres://d", "postgres://e"}},
	} {
		if got := splitURLs(c.in); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// TestConfigFile: what a file may hold, and what is said about the rest.

// TestValidate: each wrong value is named with what is allowed, all of them at once.

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*ServeConfig)
		want   string
	}{
		{func(c *ServeConfig) { c.Listen = nil }, "--listen: at least one address"},
		{func(c *ServeConfig) { c.Listen = []string{"localhost"} }, `--listen: "localhost" isn't an address`},
		{func(c *ServeConfig) { c.Listen = []string{":70000"} }, `--listen: ":70000" isn't an address`},
		{func(c *ServeConfig) { c.UnixSocketDir = "x" }, `--unix-socket-dir: "x" isn't an absolute path`},
		{func(c *ServeConfig) { c.HTTP = "x:y" }, `--http: "x:y" isn't an address`},
		{func(c *ServeConfig) { c.Primary = "db1:5432" }, "--primary isn't a URL of the form"},
		{func(c *ServeConfig) { c.Primary = "host=db1 password=hunter2" }, "--primary isn't a URL of the form"},
		{func(c *ServeConfig) { c.Primary = "mysql://db1/x" }, "--primary isn't a URL of the form"},
		{func(c *ServeConfig) { c.Primary = "postgres://svc:hun/ter2@db1/x" }, "--primary isn't a URL of the form"},
		{func(c *ServeConfig) { c.Primary = "postgres:///app" }, "--primary: the URL has no host"},
		{func(c *ServeConfig) { c.Primary = "postgres://svc:hunter2@a,b/x" }, "--primary: one server to a URL"},
		{func(c *ServeConfig) { c.Replica = []string{testURL, "nonsense"} }, "--replica isn't a URL of the form"},
		{func(c *ServeConfig) { c.Primary = "postgres://svc:hunter2@db1:99999/x" }, "--primary: 99999 isn't a port: 1 to 65535"},
		{func(c *ServeConfig) { c.Replica = []string{testURL + "?sslmode=sure"} }, "--replica: service URL: sslmode is invalid"},
		{func(c *ServeConfig) { c.Primary = testURL + "?sslmode=verify-full&sslrootcert=/no/such/file" }, "--primary: service URL: unable to read CA file: open /no/such/file"},
		{func(c *ServeConfig) { c.AuthType = "md5" }, `--auth-type: "md5" isn't one of scram-sha-256, cert and trust`},
		{func(c *ServeConfig) { c.AuthType = "cert" }, "--auth-type=cert needs --tls-client-ca"},
		{func(c *ServeConfig) { c.TLSMode = "on" }, `--tls-mode: "on" isn't one of off, allow, require and verify-client`},
		{func(c *ServeConfig) { c.TLSMode = "allow" }, "--tls-mode=allow needs --tls-cert and --tls-key"},
		{func(c *ServeConfig) { c.TLSMode, c.TLSCert = "require", "x" }, "--tls-mode=require needs --tls-cert and --tls-key"},
		{func(c *ServeConfig) { c.TLSMode, c.TLSCert, c.TLSKey = "verify-client", "x", "x" }, "--tls-mode=verify-client needs --tls-client-ca"},
		{func(c *ServeConfig) { c.TLSCert, c.TLSKey = "x", "x" }, "--tls-cert has no effect with --tls-mode=off"},
		{func(c *ServeConfig) { c.MaxClients = 0 }, "--max-clients: 0 is too little: at least 1"},
		{func(c *ServeConfig) { c.PoolSize = -1 }, "--pool-size: -1 is too little: at least 1"},
		{func(c *ServeConfig) { c.PoolWait = 0 }, "--pool-wait: 0s isn't possible: it has to be more than 0"},
		{func(c *ServeConfig) { c.MaxPreparedStatements = 0 }, "--max-prepared-statements: 0 is too little: at least 1"},
		{func(c *ServeConfig) { c.ConnectTimeout = -1 }, "--connect-timeout: -1ns isn't possible"},
		{func(c *ServeConfig) { c.PoolMode = "statement" }, `--pool-mode: "statement" isn't one of transaction and session`},
		{func(c *ServeConfig) { c.QueryTimeout = -1 }, "--query-timeout: -1ns isn't possible: 0 or more"},
		{func(c *ServeConfig) { c.IdleTransactionTimeout = -1 }, "--idle-transaction-timeout: "},
		{func(c *ServeConfig) { c.ClientIdleTimeout = -1 }, "--client-idle-timeout: "},
		{func(c *ServeConfig) { c.ServerLifetime = -1 }, "--server-lifetime: -1ns isn't possible: 0 or more"},
		{func(c *ServeConfig) { c.ServerIdleTimeout = -1 }, "--server-idle-timeout: "},
		{func(c *ServeConfig) { c.DatabaseIdleTimeout = -1 }, "--database-idle-timeout: "},
		{func(c *ServeConfig) { c.Consistency = "strict" }, `--consistency: "strict" isn't one of eventual, session and strong`},
		{func(c *ServeConfig) { c.RYWWindow = 0 }, "--ryw-window: "},
		{func(c *ServeConfig) { c.RYWRelease = "" }, `--ryw-release: "" isn't one of caught-up and window`},
		{func(c *ServeConfig) { c.MaxStaleness = 0 }, "--max-staleness: "},
		{func(c *ServeConfig) { c.Balance = "x" }, `--balance: "x" isn't one of least-outstanding, round-robin and random`},
		{func(c *ServeConfig) { c.Cache = "on" }, `--cache: "on" isn't one of auto and off`},
		{func(c *ServeConfig) { c.L1Size = 100 }, "--l1-size: 100 is too little: at least 1MiB"},
		{func(c *ServeConfig) { c.CacheMaxEntry = 1 << 40 }, "--cache-max-entry: 1TiB is out of range: from 1KiB to --l1-size"},
		{func(c *ServeConfig) { c.CacheTTL = -1 }, "--cache-ttl: -1ns isn't possible: 0 or more"},
		{func(c *ServeConfig) { c.StaleIfError = -1 }, "--stale-if-error: -1ns isn't possible: 0 or more"},
		{func(c *ServeConfig) { c.StaleWhileRevalidate = -1 }, "--stale-while-revalidate: -1ns isn't possible: 0 or more"},
		{func(c *ServeConfig) { c.Slot = "A-b" }, `--slot: "A-b" can't be a slot's name`},
		{func(c *ServeConfig) { c.Publication = "" }, `--publication: "" can't be`},
		{func(c *ServeConfig) { c.LogFormat = "xml" }, `--log-format: "xml" isn't one of text and json`},
		{func(c *ServeConfig) { c.LogLevel = "loud" }, `--log-level: "loud" isn't one of debug, info, warn and error`},
		{func(c *ServeConfig) { c.DrainTimeout = -1 }, "--drain-timeout: "},
		{func(c *ServeConfig) { c.Shards = 5000 }, "--shards: 5000 is out of range"},
	} {
		cfg := DefaultServeConfig()
		cfg.Primary = testURL
		c.change(&cfg)
		err := cfg.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %s", err, c.want)
			continue
		}
		if leaks(err.Error()) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	cfg := DefaultServeConfig()
	cfg.PoolSize, cfg.Cache = 0, "x"
	if err := cfg.Validate(); strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three errors: %v", err)
	}
}

// leaks says whether a text holds a part of the tests' password.

// TestConfigPrintsNoPasswords: however it is printed.

// TestLogRedacts: what a library puts into an error doesn't get into the log.

// TestErrorsRedact: nor does it get on the terminal, whatever was mistyped; and each error is a line.

// TestReload: the log's level changes; what can't is named; a wrong file changes nothing.
