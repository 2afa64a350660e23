package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// socketDir is a folder with a path short enough for sockets.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestUnixSocketFiles(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, ".s.PGSQL.6432")
	first, err := listenUnix(dir, 6432)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o777 {
		t.Error(info, err)
	}
	if lock, err := os.ReadFile(path + ".lock"); err != nil || !strings.HasPrefix(string(lock), fmt.Sprintf("%d\n", os.Getpid())) {
		t.Errorf("%q %v", lock, err)
	}
	if _, err := listenUnix(dir, 6432); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("locked by another Freshet (process %d)", os.Getpid())) {
		t.Errorf("a live socket is taken: %v", err)
	}
	if conn, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first doesn't listen any more: %v", err)
	} else {
		conn.Close()
	}
	if err := first.Close(); err != nil || first.Close() != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	// What a process leaves that was killed.
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if _, err := listenUnix(dir, 6432); err == nil || !strings.Contains(err.Error(), "somebody listens on "+path) {
		t.Errorf("a live socket without a lock, as a Postgres has it: %v", err)
	}
	stale.Close()
	if err := os.WriteFile(path+".lock", []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := listenUnix(dir, 6432)
	if err != nil {
		t.Fatalf("a stale socket isn't removed: %v", err)
	}
	second.Close()

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(dir, 6432); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file of somebody's: %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "precious" {
		t.Error("somebody's file is gone")
	}
	if _, err := listenUnix(filepath.Join(dir, strings.Repeat("x", 100)), 6432); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a long path: %v", err)
	}
	if _, err := listenUnix(filepath.Join(dir, "missing"), 6432); err == nil {
		t.Error("a folder that there isn't")
	}
}

// Clients come through Unix sockets, and Freshet goes to its servers through theirs.
func TestUnixSocketsOnBothSides(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1, TLS: true})
	ctx := context.Background()
	server, err := c.Primary().Value(ctx, "SHOW unix_socket_directories")
	if err != nil || server == "" {
		t.Fatal(server, err)
	}
	dir := socketDir(t)
	papers := newCertificates(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		papers.config("require")(cfg) // which Unix sockets don't need
		cfg.UnixSocketDir = dir
		cfg.Primary = fmt.Sprintf("postgres://postgres:%s@/app?host=%s&port=%d", c.Password(), server, c.Primary().Port())
		cfg.Replica = []string{fmt.Sprintf("postgres://postgres:%s@/app?host=%s&port=%d", c.Password(), server, c.Replicas()[0].Port())}
	})
	_, port, _ := net.SplitHostPort(in.Addrs()[0])
	if want := filepath.Join(dir, ".s.PGSQL."+port); len(in.Addrs()) != 2 || in.Addrs()[1] != want {
		t.Errorf("%v, want %s", in.Addrs(), want)
	}
	conn := connectTo(t, fmt.Sprintf("postgres://app:%s@/app?host=%s&port=%s", c.AppPassword(), dir, port))
	if got := one(t, conn, "SELECT current_user || ' ' || coalesce(inet_server_addr()::text, 'local')"); got != "app local" {
		t.Error(got)
	}
	do(t, conn, "SET freshet.route = 'replica'")
	eventually(t, "a read from the replica", func() bool {
		one(t, conn, "SELECT 1")
		return one(t, conn, "SHOW freshet.source") == fmt.Sprintf("replica %s/.s.PGSQL.%d", server, c.Replicas()[0].Port())
	})
	if pg := refused(t, fmt.Sprintf("postgres://app:wrong@/app?host=%s&port=%s", dir, port)); pg == nil || pg.Code != "28P01" {
		t.Error(pg)
	}
	// A cancel finds its way, too.
	go func() {
		time.Sleep(100 * time.Millisecond) // the query has to be there before it can be cancelled
		conn.PgConn().CancelRequest(ctx)
	}()
	if _, err := conn.Exec(ctx, "SELECT pg_sleep(30)"); err == nil || !strings.Contains(err.Error(), "57014") {
		t.Error(err)
	}
}

func TestUnixSocketIsGoneAfterwards(t *testing.T) {
	dir := socketDir(t)
	args := []string{"serve", "--primary", testURL, "--listen", "127.0.0.1:0", "--http", "", "--unix-socket-dir", dir}
	p := startFreshet(t, nil, args...)
	p.find(&p.stderr, `accepts clients" addresses="\[\S+ (\S+)\]`, 20*time.Second)
	p.signal(syscall.SIGTERM)
	p.wait(exitOK, 20*time.Second)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
