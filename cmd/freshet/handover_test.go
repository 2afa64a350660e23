package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// handing is a freshet whose log is in a file, which those that take over from it write on.
type handing struct {
	t    *testing.T
	log  string
	done chan struct{}
	cmd  *exec.Cmd
}

func startHanding(t *testing.T, env []string, args ...string) *handing {
	t.Helper()
	h := &handing{t: t, log: filepath.Join(t.TempDir(), "log"), done: make(chan struct{})}
	log, err := os.Create(h.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	h.cmd = exec.Command(os.Args[0], args...)
	h.cmd.Env = append(append(os.Environ(), asFreshet+"=1"), env...)
	h.cmd.Stdout, h.cmd.Stderr = log, log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.done)
		_ = h.cmd.Wait()
	}()
	t.Cleanup(func() {
		pids := []int{h.cmd.Process.Pid}
		for _, m := range regexp.MustCompile(`another process has been started.* pid=(\d+)`).FindAllStringSubmatch(h.text(), -1) {
			pid, _ := strconv.Atoi(m[1])
			pids = append(pids, pid)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-h.done
		if t.Failed() {
			t.Logf("log:\n%s", h.text())
		}
	})
	return h
}

func (h *handing) text() string {
	text, _ := os.ReadFile(h.log)
	return string(text)
}

// find waits until a pattern is in the log n times, and returns the last group of the last.
func (h *handing) find(pattern string, n int) string {
	h.t.Helper()
	re := regexp.MustCompile(pattern)
	var found [][]string
	eventually(h.t, pattern+" in the log", func() bool {
		found = re.FindAllStringSubmatch(h.text(), -1)
		return len(found) >= n
	})
	return found[n-1][len(found[n-1])-1]
}

func TestAnotherProcessTakesTheSocketsOver(t *testing.T) {
	c := shared.Get(t)
	dir := socketDir(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	told := make(chan string, 10)
	go func() {
		defer close(told)
		for buf := make([]byte, 1000); ; {
			n, err := manager.Read(buf)
			if err != nil {
				return
			}
			told <- string(buf[:n])
		}
	}()
	h := startHanding(t, []string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify")}, "serve", "--primary", c.Primary().URL("postgres"), "--listen", "127.0.0.1:0", "--unix-socket-dir", dir, "--http", "127.0.0.1:0")
	addr := h.find(`accepts clients.* addresses="\[(\S+) `, 1)
	httpAddr := h.find(`accepts clients.* http=(\S+)`, 1)
	if got, want := <-told, fmt.Sprintf("READY=1\nMAINPID=%d", h.cmd.Process.Pid); got != want {
		t.Errorf("the service manager was told %q, want %q", got, want)
	}
	_, port, _ := net.SplitHostPort(addr)
	ways := []string{
		fmt.Sprintf("postgres://postgres:%s@%s/postgres?sslmode=disable", c.Password(), addr),
		fmt.Sprintf("postgres://postgres:%s@/postgres?host=%s&port=%s", c.Password(), dir, port),
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var attempts atomic.Int64
	var all sync.WaitGroup
	for _, url := range ways {
		for range 2 {
			all.Go(func() {
				for ctx.Err() == nil {
					if err := visit(url); err != nil {
						t.Errorf("attempt %d: %v", attempts.Load(), err)
						return
					}
					attempts.Add(1)
				}
			})
		}
	}
	all.Go(func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
		for ctx.Err() == nil {
			r, err := client.Get("http://" + httpAddr + "/healthz")
			if err != nil {
				t.Errorf("HTTP: %v", err)
				return
			}
			r.Body.Close()
		}
	})
	more := func(n int64) {
		t.Helper()
		from := attempts.Load()
		eventually(t, "clients connect", func() bool { return attempts.Load() >= from+n || t.Failed() })
	}
	// One in a transaction is let finish, one that does nothing is told to go.
	busy, err := pgx.Connect(context.Background(), ways[0])
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close(context.Background())
	must(t, busy, "BEGIN; CREATE TABLE handed (a int)")
	more(10)
	if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	next, _ := strconv.Atoi(h.find(`the new process accepts clients.* pid=(\d+)`, 1))
	if got, want := <-told, fmt.Sprintf("READY=1\nMAINPID=%d", next); got != want {
		t.Errorf("the service manager was told %q, want %q", got, want)
	}
	h.find(`freshet leaves`, 1)
	more(20)
	must(t, busy, "INSERT INTO handed VALUES (1); COMMIT")
	<-h.done
	if !h.cmd.ProcessState.Success() {
		t.Errorf("the old process: %v", h.cmd.ProcessState)
	}
	more(20)
	cancel()
	all.Wait()
	lock, err := os.ReadFile(filepath.Join(dir, ".s.PGSQL."+port+".lock"))
	if err != nil || !strings.HasPrefix(string(lock), fmt.Sprintf("%d\n", next)) {
		t.Errorf("the lock file: %q, %v", lock, err)
	}
	conn := connectTo(t, ways[0])
	if got := one(t, conn, "SELECT count(*)::text FROM handed"); got != "1" {
		t.Error(got)
	}
	do(t, conn, "DROP TABLE handed")
	if err := syscall.Kill(next, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.find("freshet has stopped", 2)
	eventually(t, "the socket is removed", func() bool {
		_, err := os.Stat(filepath.Join(dir, ".s.PGSQL."+port))
		return errors.Is(err, os.ErrNotExist)
	})
}

// visit connects, asks something, and goes.
func visit(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var one int
	return conn.QueryRow(ctx, "SELECT 1").Scan(&one)
}

// When the new process can't start, the old one goes on.
func TestNobodyTakesOverWhenTheNewProcessFails(t *testing.T) {
	c := shared.Get(t)
	file := filepath.Join(t.TempDir(), "freshet.yaml")
	if err := os.WriteFile(file, []byte("primary: "+c.Primary().URL("postgres")+"\nlisten: ['127.0.0.1:0']\nhttp: ''\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := socketDir(t)
	h := startHanding(t, nil, "serve", "--config", file, "--unix-socket-dir", dir)
	addr := h.find(`accepts clients.* addresses="\[(\S+) `, 1)
	_, port, _ := net.SplitHostPort(addr)
	if err := os.WriteFile(file, []byte("primary: "+c.Primary().URL("postgres")+"\nlisten: ['127.0.0.1:0']\nhttp: ''\nauth-file: /nonexistent\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		h.find(`no other process could take over, this one goes on.*(it has ended)`, i+1)
	}
	for _, url := range []string{
		fmt.Sprintf("postgres://postgres:%s@%s/postgres?sslmode=disable", c.Password(), addr),
		fmt.Sprintf("postgres://postgres:%s@/postgres?host=%s&port=%s", c.Password(), dir, port),
	} {
		if err := visit(url); err != nil {
			t.Error(err)
		}
	}
}
