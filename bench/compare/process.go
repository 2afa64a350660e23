package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// process is a proxy that we have started.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string // file of what it prints
	done chan struct{}
	err  error // how it ended; valid after done
}

// start starts a program, as the user of the cluster's servers if asServers. It must be called on the main goroutine (dieWithUs).
// Its output goes to a file in the lab's folder.
func (l *lab) start(name string, asServers bool, path string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(l.dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = dieWithUs()
	if asServers && os.Geteuid() == 0 {
		uid, gid, err := owner(l.cluster.Dir())
		if err != nil {
			return nil, err
		}
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	l.processes = append(l.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends it: first kindly, then not.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return
	case <-time.After(5 * time.Second):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// wait returns when ready says so, or when the process or ctx has ended, or the deadline is over. ready is asked again and again; it
// says why it isn't.
func (p *process) wait(ctx context.Context, deadline time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for {
		try, stop := context.WithTimeout(ctx, 5*time.Second)
		err := ready(try)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %v", p.name, p.err)
		case <-ctx.Done():
			return fmt.Errorf("%s isn't ready: %w", p.name, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// logTail is the end of what it has printed.
func (p *process) logTail() string {
	b, err := os.ReadFile(p.log)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return ""
	}
	return fmt.Sprintf("\n--- %s:\n%s", p.name, bytes.TrimSpace(tail(b, 3000)))
}

// owner is whom a file belongs to.
func owner(path string) (uid, gid uint32, err error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, fmt.Errorf("%s: the owner isn't known", path)
	}
	return st.Uid, st.Gid, nil
}

// freePort is cluster.FreePort, as text.
func freePort(ctx context.Context) (string, error) {
	port, err := cluster.FreePort(ctx)
	return strconv.Itoa(port), err
}
