package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// announceScript tells the watchdog about a server, then becomes it: the pid
// stays the same, and there is no moment in which we could die and leave a
// server that the watchdog doesn't know.
const announceScript = `echo "add $$ $0" >&3; exec "$@" 3>&-`

// process is a server process that we started.
type process struct {
	cmd      *exec.Cmd
	watchdog *watchdog
	done     chan struct{} // closed when it has ended and was waited for
}

// spawn starts a server as the cluster's account. What it prints goes to the
// end of logPath. sig is what the watchdog stops it with.
func (c *Cluster) spawn(sig, logPath, path string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// It lives until Stop, whatever becomes of the context of its start.
	cmd := c.command(context.Background(), sig, path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	p := &process{cmd: cmd, watchdog: c.watchdog, done: make(chan struct{})}
	go p.reap()
	return p, nil
}

// command is a program that will run as the cluster's account, known to the
// watchdog, which stops it with sig. It is killed when ctx ends.
func (c *Cluster) command(ctx context.Context, sig, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", announceScript, sig, path}, args...)...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = c.dir, serverEnv(), c.account.attr()
	cmd.ExtraFiles = []*os.File{c.watchdog.pipe}
	return cmd
}

// reap waits for the process; it ends with it. (Tests that look for leaked
// goroutines while a cluster is up can ignore it by name.)
func (p *process) reap() {
	_ = p.cmd.Wait() // how it ended is in its ProcessState
	p.watchdog.forget(p.pid())
	close(p.done)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal does nothing when the process has ended: os.Process knows, so that
// nobody else who got the pid is hit.
func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// stopFamily stops the process and returns its children, which it can neither
// add to nor wait for from now on: their pids stay theirs.
func (p *process) stopFamily() ([]int, error) {
	p.signal(syscall.SIGSTOP)
	// It may be forking just now.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := poll(ctx, func() (bool, error) { return !p.running() || stopped(p.pid()), nil })
	if err != nil {
		return nil, fmt.Errorf("process %d doesn't stop: %w", p.pid(), err)
	}
	return children(p.pid())
}

// freeze stops the process and all its children.
func (p *process) freeze() error {
	kids, err := p.stopFamily()
	for _, kid := range kids {
		_ = syscall.Kill(kid, syscall.SIGSTOP)
		p.watchdog.watch(kid)
	}
	return err
}

// thaw undoes freeze.
func (p *process) thaw() error {
	kids, err := children(p.pid())
	for _, kid := range kids {
		p.watchdog.forget(kid)
		_ = syscall.Kill(kid, syscall.SIGCONT)
	}
	p.signal(syscall.SIGCONT)
	return err
}

// kill ends the process and all its children with SIGKILL, and returns when
// none is left.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	kids, err := p.stopFamily()
	for _, kid := range kids {
		p.watchdog.forget(kid) // perhaps it was frozen
		_ = syscall.Kill(kid, syscall.SIGKILL)
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, kid := range kids {
		gone := poll(ctx, func() (bool, error) { return !alive(kid), nil })
		if gone != nil {
			return errors.Join(err, fmt.Errorf("process %d survives SIGKILL: %w", kid, gone))
		}
	}
	return err
}

// serverEnv is our environment without what would configure Postgres, libpq
// or the locale: a cluster is the same whoever starts it.
func serverEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "PG") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG") || strings.HasPrefix(kv, "TZ=") {
			continue
		}
		env = append(env, kv)
	}
	return append(env, "LC_ALL=C")
}
