package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// process is a freshet that runs.

type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout lines
	stderr lines
	exited chan struct{}
}

// lines gathers what a process prints, and can be waited on.

type lines struct {
	mu struct {
		sync.Mutex
		b bytes.Buffer
	}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.b.String()
}

// startFreshet runs the command until the test ends.

func startFreshet(t *testing.T, variables []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), exited: make(chan struct{})}
	for _, v := range os.Environ() {
		// Variables of the machine that say where programs are stay.
		if !strings.HasPrefix(v, "FRESHET_") || strings.HasPrefix(v, "FRESHET_PG_BIN=") || strings.HasPrefix(v, "FRESHET_REDIS_SERVER=") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	p.cmd.Env = append(append(p.cmd.Env, asFreshet+"=1"), variables...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // its status is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("freshet %v\nstdout:\n%s\nstderr:\n%s", args, &p.stdout, &p.stderr)
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%v: %v", s, err)
	}
}

// wait waits for the end, and wants this exit status.

func (p *process) wait(status int, limit time.Duration) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.t.Fatalf("still running after %v", limit)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		p.t.Fatalf("%v, want exit status %d", p.cmd.ProcessState, status)
	}
}

// find waits until a pattern is in what was printed, and returns its group.

func (p *process) find(out *lines, pattern string, limit time.Duration) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(limit)
	for {
		if m := re.FindStringSubmatch(out.String()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-p.exited:
			if m := re.FindStringSubmatch(out.String()); m != nil {
				return m[len(m)-1]
			}
			p.t.Fatalf("it has ended (%v) without %s", p.cmd.ProcessState, pattern)
		case <-deadline:
			p.t.Fatalf("no %s after %v", pattern, limit)
		case <-time.After(10 * time.Millisecond): // a poll
		}
	}
}

// TestBinary: what `make build` makes runs by itself and knows its version.

func TestBinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "freshet")
	build := exec.Command("go", "build", "-ldflags", "-X main.version=v9.9.9-test", "-o", path, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(path, "version").Output()
	if err != nil || !strings.Contains(string(out), "freshet v9.9.9-test\n") || !strings.Contains(string(out), "commit ") || !strings.Contains(string(out), runtime.Version()) {
		t.Errorf("version: %v\n%s", err, out)
	}
	for _, args := range [][]string{nil, {"--help"}, {"serve", "--help"}, {"demo", "--help"}, {"setup", "--help"}} {
		out, err := exec.Command(path, args...).Output()
		if err != nil || !strings.HasPrefix(string(out), "Usage: freshet") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

// TestExitStatus: 2 for what is wrong with the command or its configuration, 1 for what goes wrong.

func TestExitStatus(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		name, want string
		status     int
		variables  []string
		args       []string
	}{
		{"unknown command", "unexpected argument", exitUsage, nil, []string{"sing"}},
		{"unknown flag", "unknown flag --nonsense", exitUsage, nil, []string{"serve", "--nonsense"}},
		{"bad flag", "--pool-size", exitUsage, nil, []string{"serve", "--primary", testURL, "--pool-size", "0"}},
		{"bad variable", "FRESHET_MAX_CLIENTS", exitUsage, []string{"FRESHET_MAX_CLIENTS=x"}, []string{"serve", "--primary", testURL}},
		{"bad file", "no such file", exitUsage, []string{"FRESHET_CONFIG=/nowhere"}, []string{"serve", "--primary", testURL}},
		{"no primary", "--primary is needed", exitUsage, nil, []string{"serve"}},
		{"address in use", "address already in use", exitFailure, nil, []string{"serve", "--primary", testURL, "--http", "", "--listen", taken.Addr().String()}},
		{"HTTP address in use", "address already in use", exitFailure, nil, []string{"serve", "--primary", testURL, "--listen", "127.0.0.1:0", "--http", taken.Addr().String()}},
		{"bad demo", "--clients: 0 is too little", exitUsage, nil, []string{"demo", "--clients", "0"}},
		{"demo without Postgres", "no Postgres server in /nowhere", exitFailure, []string{"FRESHET_PG_BIN=/nowhere"}, []string{"demo"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startFreshet(t, c.variables, c.args...)
			p.wait(c.status, 20*time.Second)
			if !strings.Contains(p.stderr.String(), c.want) || leaks(p.stderr.String()) {
				t.Errorf("want %q:\n%s", c.want, &p.stderr)
			}
		})
	}
}

// TestServeWithoutServers: it starts, lives, isn't ready and says why; reloads; and ends with 0 on SIGTERM. The log never

// holds the password.

func TestServeWithoutServers(t *testing.T) {
	config := writeFile(t, "primary: postgres://svc:hunter2@127.0.0.1:1/app\nlisten: 127.0.0.1:0\nhttp: 127.0.0.1:0\nlog-level: debug\n")
	p := startFreshet(t, nil, "serve", "--config", config)
	addr := p.find(&p.stderr, `accepts clients" .*http=(\S+)`, 20*time.Second)
	if status, body := fetch(t, "http://"+addr+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d %s", status, body)
	}
	status, body := fetch(t, "http://"+addr+"/readyz")
	var ready struct {
		Ready   bool
		Primary struct{ Status, Reason string }
	}
	if err := json.Unmarshal([]byte(body), &ready); err != nil || status != http.StatusServiceUnavailable || ready.Ready || ready.Primary.Status != "down" || ready.Primary.Reason == "" {
		t.Errorf("/readyz: %v %d %s", err, status, body)
	}
	if status, body := fetch(t, "http://"+addr+"/metrics"); status != http.StatusOK || !strings.Contains(body, `freshet_node_up{node="127.0.0.1:1",role="unknown"} 0`) {
		t.Errorf("/metrics: %d %s", status, body)
	}
	if err := os.WriteFile(config, []byte("primary: postgres://svc:hunter2@127.0.0.1:1/app\npool-size: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.find(&p.stderr, `until a restart.*pool-size`, 10*time.Second)
	p.signal(syscall.SIGTERM)
	p.wait(exitOK, 20*time.Second)
	if out := p.stdout.String() + p.stderr.String(); leaks(out) || !strings.Contains(out, "has stopped") {
		t.Error("the password is in the log, or the end isn't")
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// serveInTransaction runs serve before the shared cluster's primary and connects a client that is in a transaction.

func serveInTransaction(t *testing.T, args ...string) (*process, *pgx.Conn) {
	t.Helper()
	c := shared.Get(t)
	p := startFreshet(t, []string{"FRESHET_PRIMARY=" + c.Primary().URL("app")}, append([]string{"serve", "--listen", "127.0.0.1:0", "--http", ""}, args...)...)
	addr := p.find(&p.stderr, `accepts clients" addresses=\[(\S+)\]`, 20*time.Second)
	conn := connectTo(t, "postgres://app:"+c.AppPassword()+"@"+addr+"/app?sslmode=disable")
	if _, err := conn.Exec(context.Background(), "BEGIN; CREATE TABLE never (a int)"); err != nil {
		t.Fatal(err)
	}
	return p, conn
}

// TestDrain: after SIGTERM a transaction may finish, no longer than --drain-timeout; a second signal ends it all at once.

func TestDrain(t *testing.T) {
	t.Run("a transaction finishes", func(t *testing.T) {
		p, conn := serveInTransaction(t)
		p.signal(syscall.SIGTERM)
		p.find(&p.stderr, "freshet stops", 10*time.Second)
		if _, err := conn.Exec(context.Background(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		p.wait(exitOK, 10*time.Second)
	})
	t.Run("the same signal twice at once", func(t *testing.T) {
		p, conn := serveInTransaction(t)
		p.signal(syscall.SIGTERM)
		time.Sleep(5 * time.Millisecond) // or the kernel makes one of them
		p.signal(syscall.SIGTERM)
		p.find(&p.stderr, "freshet stops", 10*time.Second)
		if _, err := conn.Exec(context.Background(), "SELECT pg_sleep(0.3)"); err != nil {
			t.Error(err)
		}
		if _, err := conn.Exec(context.Background(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		p.wait(exitOK, 10*time.Second)
	})
	t.Run("it takes too long", func(t *testing.T) {
		p, _ := serveInTransaction(t, "--drain-timeout", "200ms")
		p.signal(syscall.SIGTERM)
		p.wait(exitOK, 10*time.Second)
		if !strings.Contains(p.stderr.String(), "cut off") {
			t.Error("nothing in the log")
		}
	})
	t.Run("a second signal", func(t *testing.T) {
		p, _ := serveInTransaction(t)
		p.signal(syscall.SIGTERM)
		p.find(&p.stderr, "freshet stops", 10*time.Second)
		p.signal(syscall.SIGINT)
		p.wait(exitFailure, 5*time.Second)
		if !strings.Contains(p.stderr.String(), "second signal") {
			t.Error("it doesn't say why")
		}
	})
}

// gone wants a folder not to be there: the demo has removed it itself, not left it to the cluster's watchdog.

// TestDemo: it runs on its own, compares, can be connected to as it says, and leaves nothing behind.

// TestDemoInterrupted: Ctrl-C in the middle removes everything, and isn't taken for success.
