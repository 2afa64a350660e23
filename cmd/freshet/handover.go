package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// SIGUSR2: another process of the same program, with the same arguments, takes over the sockets that this one listens on. It gets them as descriptors,
// and says through a pipe when it accepts clients; until then this one does, and goes on if the other fails. A connection attempt finds one of them at
// any moment: what waits in a socket's queue is taken by whoever listens on it.

// Variables by which a process gives another its sockets: a list of socket as JSON, whose descriptors begin with firstFD; and the descriptor of the
// pipe for the word that it is ready.
const (
	socketsVariable = "_FRESHET_SOCKETS"
	readyVariable   = "_FRESHET_READY"
	firstFD         = 3
)

// startTimeout is how long the new process may take until it accepts clients.
const startTimeout = time.Minute

// socket is a descriptor that is handed over: what it is (tcp, http, unix, lock), and the address as it was configured or the path.
type socket struct {
	Kind, Name string
	file       *os.File
}

// sockets are those that a process was given. The zero value is none.
type sockets struct {
	list  []socket
	ready *os.File        // to say so; nil: to nobody
	unix  []*unixListener // taken over; they stay the other process's until done
}

// inherit takes what the process was given, and the variables that say so out of its environment.
func inherit() (*sockets, error) {
	s := &sockets{}
	list, ready := os.Getenv(socketsVariable), os.Getenv(readyVariable)
	os.Unsetenv(socketsVariable)
	os.Unsetenv(readyVariable)
	if list == "" {
		return s, nil
	}
	if err := json.Unmarshal([]byte(list), &s.list); err != nil {
		return nil, fmt.Errorf("%s: %w", socketsVariable, err)
	}
	for i := range s.list {
		syscall.CloseOnExec(firstFD + i)
		s.list[i].file = os.NewFile(uintptr(firstFD+i), s.list[i].Name)
	}
	if fd, err := strconv.Atoi(ready); err == nil {
		syscall.CloseOnExec(fd)
		s.ready = os.NewFile(uintptr(fd), "ready")
	}
	return s, nil
}

// take returns one that was given, which is the caller's then; nil: there is none.
func (s *sockets) take(kind, name string) *os.File {
	for i := range s.list {
		if e := &s.list[i]; e.Kind == kind && e.Name == name && e.file != nil {
			f := e.file
			e.file = nil
			return f
		}
	}
	return nil
}

// listen is net.Listen("tcp", addr), on the socket that was given if there is one.
func (s *sockets) listen(kind, addr string) (net.Listener, error) {
	f := s.take(kind, addr)
	if f == nil {
		return net.Listen("tcp", addr)
	}
	defer f.Close()
	return net.FileListener(f)
}

// listenUnix is listenUnix, on the socket that was given if there is one.
func (s *sockets) listenUnix(dir string, port int) (*unixListener, error) {
	path := socketPath(dir, port)
	f, lock := s.take("unix", path), s.take("lock", path+".lock")
	if f == nil || lock == nil {
		return listenUnix(dir, port)
	}
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	l := &unixListener{UnixListener: ln.(*net.UnixListener), path: path, lock: lock}
	l.left.Store(true)
	l.SetUnlinkOnClose(false)
	s.unix = append(s.unix, l)
	return l, l.sign(dir, port)
}

// done closes what nobody has taken (an address that isn't configured any more), and says that clients are accepted.
func (s *sockets) done() {
	for i := range s.list {
		if f := s.list[i].file; f != nil {
			f.Close()
		}
	}
	for _, l := range s.unix {
		l.left.Store(false)
	}
	if s.ready != nil {
		_, _ = s.ready.WriteString("\n") // who isn't there any more needn't know
		s.ready.Close()
	}
}

// filer is a listener that gives a copy of its descriptor.
type filer interface{ File() (*os.File, error) }

// open are the sockets of a running instance, as copies for another process. The caller closes them.
func (i *instance) open() (list []socket, err error) {
	add := func(kind, name string, l filer) {
		if err != nil {
			return
		}
		var f *os.File
		if f, err = l.File(); err == nil {
			list = append(list, socket{kind, name, f})
		}
	}
	for n, ln := range i.listeners {
		switch l := ln.(type) {
		case *unixListener:
			add("unix", l.path, l.UnixListener)
			if err == nil {
				var fd int
				if fd, err = syscall.Dup(int(l.lock.Fd())); err == nil {
					list = append(list, socket{"lock", l.lock.Name(), os.NewFile(uintptr(fd), l.lock.Name())})
				}
			}
		case filer:
			add("tcp", i.listenOn[n], l)
		}
	}
	if l, ok := i.httpListener.(filer); ok {
		add("http", i.httpOn, l)
	}
	if err != nil {
		closeSockets(list)
		return nil, err
	}
	return list, nil
}

func closeSockets(list []socket) {
	for _, s := range list {
		s.file.Close()
	}
}

// program is what a new process runs: what this one was started as, by its path, at which there may be another version by now.
func program() (string, error) {
	path, err := exec.LookPath(os.Args[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return os.Executable()
	}
	return path, nil
}

// handOver starts another process and returns when it accepts clients, or with an error: then it has been ended, and nothing has changed.
func (i *instance) handOver(ctx context.Context, log *slog.Logger) error {
	list, err := i.open()
	if err != nil {
		return fmt.Errorf("the sockets can't be copied: %w", err)
	}
	defer closeSockets(list)
	path, err := program()
	if err != nil {
		return err
	}
	ready, say, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	names, err := json.Marshal(list)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	for _, s := range list {
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, say)
	cmd.Env = append(os.Environ(), socketsVariable+"="+string(names), readyVariable+"="+strconv.Itoa(firstFD+len(list)))
	err = cmd.Start()
	say.Close()
	for _, s := range list {
		// To pass a descriptor on may have made it block, for all who have it.
		_ = syscall.SetNonblock(int(s.file.Fd()), true)
	}
	if err != nil {
		return err
	}
	log.Info("another process has been started, to take the sockets over", "pid", cmd.Process.Pid, "program", path)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // until it ends, or this process does
	said := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(ready, make([]byte, 1))
		said <- err
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case err = <-said:
		if err == nil {
			log.Info("the new process accepts clients", "pid", cmd.Process.Pid)
			i.leaveSockets()
			return nil
		}
		select {
		case state := <-ended:
			if state == nil {
				state = errors.New("exit status 0")
			}
			return fmt.Errorf("it has ended (%w): see what it has logged", state)
		case <-time.After(time.Second):
			err = errors.New("it has closed its pipe")
		}
	case <-timeout.C:
		err = fmt.Errorf("it didn't accept clients within %s", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = cmd.Process.Kill()
	return err
}

// leaveSockets has the paths of Unix sockets stay when they are closed: they are the other process's.
func (i *instance) leaveSockets() {
	for _, ln := range i.listeners {
		if l, ok := ln.(*unixListener); ok {
			l.left.Store(true)
		}
	}
}

// notify tells the service manager (systemd's sd_notify protocol), if there is one that wants to know.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	conn, err := net.Dial("unixgram", path) // a leading @ is an abstract address, for Go as for systemd
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(state))
}
