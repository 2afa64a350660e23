package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// server is what Node and Redis have in common: one process with children at
// most, one port, one log. Its methods are safe for concurrent use.
type server struct {
	c       *Cluster
	name    string
	port    atomic.Int32
	logPath string

	proc   atomic.Pointer[process] // the last one started, perhaps ended
	frozen atomic.Bool

	op sync.Mutex // held while it is started, stopped, killed, frozen or thawed
}

// Name is the server's name in the cluster: primary, replica1, redis. It
// stays the same when roles change.
func (s *server) Name() string { return s.name }

// Host is the address that the server listens on.
func (s *server) Host() string { return "127.0.0.1" }

// Port stays the same over restarts.
func (s *server) Port() int { return int(s.port.Load()) }

// Addr is host:port.
func (s *server) Addr() string { return net.JoinHostPort(s.Host(), strconv.Itoa(s.Port())) }

// Pid is that of the server's first process (the postmaster), 0 when it is down.
func (s *server) Pid() int {
	if p := s.proc.Load(); p != nil && p.running() {
		return p.pid()
	}
	return 0
}

// Running tells whether the server's process lives, be it frozen or not.
func (s *server) Running() bool { return s.Pid() != 0 }

// Kill ends the server like a power cut ends a machine: SIGKILL to all its
// processes. It returns when they are gone. Nothing happens if it is down.
func (s *server) Kill() error {
	s.op.Lock()
	defer s.op.Unlock()
	p := s.proc.Load()
	if p == nil || !p.running() {
		return nil
	}
	s.c.logf("kill %s", s.name)
	err := p.kill()
	s.frozen.Store(false)
	return err
}

// Freeze stops all processes of the server with SIGSTOP: connections stay
// open, and new ones are accepted by the kernel, but nobody answers. Like a
// machine that hangs, or a network that swallows everything.
func (s *server) Freeze() error {
	s.op.Lock()
	defer s.op.Unlock()
	p := s.proc.Load()
	if p == nil || !p.running() {
		return fmt.Errorf("freeze %s: it is down", s.name)
	}
	s.c.logf("freeze %s", s.name)
	s.frozen.Store(true)
	return p.freeze()
}

// Thaw ends Freeze.
func (s *server) Thaw() error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.thaw()
}

func (s *server) thaw() error {
	p := s.proc.Load()
	if p == nil || !p.running() || !s.frozen.Swap(false) {
		return nil
	}
	s.c.logf("thaw %s", s.name)
	return p.thaw()
}

// LogTail is the end of what the server has logged, at most n bytes, from the
// beginning of a line.
func (s *server) LogTail(n int) string {
	f, err := os.Open(s.logPath)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	from := max(0, st.Size()-int64(n))
	b, err := io.ReadAll(io.NewSectionReader(f, from, st.Size()-from))
	if err != nil {
		return err.Error()
	}
	if i := bytes.IndexByte(b, '\n'); from > 0 && i >= 0 {
		b = b[i+1:]
	}
	return string(b)
}

// LogPath is the file of the server's log.
func (s *server) LogPath() string { return s.logPath }

// run starts the process and returns when ready says that it is. The caller
// holds op. A process that isn't ready when ctx ends is killed.
func (s *server) run(ctx context.Context, ready func() (bool, error), sig, path string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var logged int64 // what is in the log already is not about this start
	if st, err := os.Stat(s.logPath); err == nil {
		logged = st.Size()
	}
	p, err := s.c.spawn(sig, s.logPath, path, args...)
	if err != nil {
		return err
	}
	s.proc.Store(p)
	s.frozen.Store(false)
	fail := func(err error) error {
		st, serr := os.Stat(s.logPath)
		if serr != nil {
			return errors.Join(err, serr)
		}
		tail := s.LogTail(int(min(st.Size()-logged, 4096)))
		if strings.Contains(tail, "Address already in use") {
			err = fmt.Errorf("%w: %w", err, errPortTaken)
		}
		return fmt.Errorf("%s: %w; its log ends with:\n%s", s.name, err, tail)
	}
	err = poll(ctx, func() (bool, error) {
		if !p.running() {
			return false, fmt.Errorf("ended while starting (%v)", p.cmd.ProcessState)
		}
		return ready()
	})
	if err != nil {
		return errors.Join(fail(err), p.kill())
	}
	return nil
}

// runFirst is run with a new port, and with another one when somebody took it
// between our look and the server's bind.
func (s *server) runFirst(ctx context.Context, start func() error) error {
	for try := 0; ; try++ {
		port, err := FreePort(ctx)
		if err != nil {
			return err
		}
		s.port.Store(int32(port))
		if err = start(); err == nil || try == 5 || !errors.Is(err, errPortTaken) {
			return err
		}
	}
}

// end sends sig, and SIGKILL when the server hasn't ended in time.
func (s *server) end(sig syscall.Signal, within time.Duration) error {
	s.op.Lock()
	defer s.op.Unlock()
	p := s.proc.Load()
	if p == nil || !p.running() {
		return nil
	}
	s.c.logf("stop %s", s.name)
	err := s.thaw()
	p.signal(sig)
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		err = errors.Join(err, fmt.Errorf("%s didn't stop within %v and was killed", s.name, within), p.kill())
	}
	return err
}

var errPortTaken = errors.New("port is taken")

// FreePort finds a port that nobody listens on; somebody may before the caller
// does. Not one of the kernel's choice: those are handed to outgoing
// connections as well, and a server that is down must find its port free when
// it comes back.
func FreePort(ctx context.Context) (int, error) {
	const low, high = 20000, 32000 // below Linux' ephemeral ports, and macOS'
	var lc net.ListenConfig
	for range 100 {
		port := low + rand.IntN(high-low)
		l, err := lc.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port found between 20000 and 32000")
}

// poll calls ask until it says true or fails, or ctx ends.
func poll(ctx context.Context, ask func() (bool, error)) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ok, err := ask()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
