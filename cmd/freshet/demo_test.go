package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestReachable(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:5": "127.0.0.1:5", "[::]:5": "127.0.0.1:5", "0.0.0.0:5": "127.0.0.1:5", ":5": "127.0.0.1:5", "10.1.2.3:5": "10.1.2.3:5", "host:5": "host:5",
	} {
		if got := reachable(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestParsePgbench(t *testing.T) {
	m, err := parsePgbench("pgbench (15.5)\nlatency average = 0.412 ms\ninitial connection time = 9.1 ms\ntps = 19417.475728 (without initial connection time)\n")
	if err != nil || m.tps != 19417.475728 || m.latency != 0.412 {
		t.Error(m, err)
	}
	if _, err := parsePgbench("something else"); err == nil {
		t.Error("no error")
	}
}

func TestShares(t *testing.T) {
	got := sharesOf(map[string]uint64{"l1": 10, "replica": 5, "primary": 3}, map[string]uint64{"l1": 20, "flight": 5, "replica": 90, "primary": 3})
	if want := "replicas 85.0 %, cache 10.0 %, another session's query 5.0 %"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := sharesOf(nil, map[string]uint64{"l1": 0}); got != "" {
		t.Error(got)
	}
}

func gone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}

const dirLine = `(?m)^  Postgres \d+ in (\S+)$`

func TestDemo(t *testing.T) {
	// Whether somebody has the default port or not, the demo must get by: here, somebody has.
	if ln, err := net.Listen("tcp", DefaultServeConfig().Listen[0]); err == nil {
		defer ln.Close()
	}
	parent, err := os.MkdirTemp("", "freshet-demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil { // the account that runs Postgres has to get through
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "demo")
	p := startFreshet(t, nil, "demo", "--for", "1s", "--replicas", "1", "--dir", dir, "--scale", "1", "--bench-time", "1s", "--clients", "2", "--http", "127.0.0.1:0")
	url := p.find(&p.stdout, `(?m)^  psql '(\S+)'$`, 90*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pgbench_accounts").Scan(&n); err != nil || n != 100000 {
		t.Errorf("%d accounts, %v", n, err)
	}
	if got := p.find(&p.stdout, dirLine, 0); got != dir {
		t.Errorf("it is in %s", got)
	}
	status := p.find(&p.stdout, `(?m)^Status: +(http://\S+)$`, 0)
	if code, body := fetch(t, status+"readyz"); code != http.StatusOK {
		t.Errorf("readyz: %d %s", code, body)
	}
	p.wait(exitOK, 30*time.Second)
	gone(t, dir)
	for _, pattern := range []string{`is taken: a free port instead`, `(?m)^  directly on the primary +\d+ queries/s +\d+\.\d+ ms$`, `(?m)^  through Freshet +\d+ queries/s +\d+\.\d+ ms   × \d+\.\d+$`, `answered by: .* %`} {
		if !regexp.MustCompile(pattern).MatchString(p.stdout.String()) {
			t.Errorf("no line with %s", pattern)
		}
	}
	if strings.Contains(p.stdout.String(), "The cache isn't in use") {
		t.Error("the cache isn't in use")
	}
}

func TestDemoInterrupted(t *testing.T) {
	p := startFreshet(t, nil, "demo", "--replicas", "1")
	dir := p.find(&p.stdout, dirLine, 60*time.Second)
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGINT)
	p.wait(exitFailure, 20*time.Second)
	gone(t, dir)
	if !strings.Contains(p.stderr.String(), "interrupted") {
		t.Error("it doesn't say why")
	}
}
