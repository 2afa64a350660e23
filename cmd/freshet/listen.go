package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// listen opens the addresses for clients: those of --listen, and in
// --unix-socket-dir a socket for each of their ports. On an error none is open.
func listen(cfg ServeConfig, given *sockets) (list []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, ln := range list {
				ln.Close()
			}
			list = nil
		}
	}()
	for _, addr := range cfg.Listen {
		ln, err := given.listen("tcp", addr)
		if err != nil {
			return list, fmt.Errorf("--listen %s: %w", addr, err)
		}
		list = append(list, ln)
	}
	if cfg.UnixSocketDir == "" {
		return list, nil
	}
	ports := map[int]bool{}
	for _, ln := range list {
		port := ln.Addr().(*net.TCPAddr).Port
		if ports[port] {
			continue
		}
		ports[port] = true
		ln, err := given.listenUnix(cfg.UnixSocketDir, port)
		if err != nil {
			return list, fmt.Errorf("--unix-socket-dir %s: %w", cfg.UnixSocketDir, err)
		}
		list = append(list, ln)
	}
	return list, nil
}

// maxSocketPath is what fits into a sockaddr_un, on the narrowest system.
const maxSocketPath = 103

// unixListener is a socket where Postgres' clients look for it, with a lock
// file beside it as Postgres makes one. The lock is held by flock, so that it
// goes with its process; the process id in it is what Postgres looks at.
type unixListener struct {
	*net.UnixListener
	path string
	lock *os.File
	left atomic.Bool // another process has it, too: socket and lock stay at their place
	once sync.Once
	err  error
}

func socketPath(dir string, port int) string {
	return filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port))
}

// listenUnix makes DIR/.s.PGSQL.PORT. One that nobody listens on any more is
// removed; one that somebody does, or that is no socket, is not.
func listenUnix(dir string, port int) (*unixListener, error) {
	path := socketPath(dir, port)
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path %s is longer than the %d bytes that a socket's may have", path, maxSocketPath)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	l := &unixListener{path: path, lock: lock}
	if err = removeStale(path); err == nil {
		l.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	}
	if err == nil {
		l.SetUnlinkOnClose(false)                    // Close does, under the lock
		if err = os.Chmod(path, 0o777); err == nil { // who may connect is decided by authentication, as in Postgres
			err = l.sign(dir, port)
		}
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// sign writes into the lock file whose it is.
func (l *unixListener) sign(dir string, port int) error {
	text := fmt.Sprintf("%d\n\n%d\n%d\n%s\n", os.Getpid(), time.Now().Unix(), port, dir)
	if err := l.lock.Truncate(0); err != nil {
		return err
	}
	_, err := l.lock.WriteAt([]byte(text), 0)
	return err
}

// lockFile creates a lock file, or takes over one whose process is gone.
func lockFile(path string) (*os.File, error) {
	for range 10 {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			owner, _ := os.ReadFile(path)
			f.Close()
			pid, _, _ := strings.Cut(string(owner), "\n")
			return nil, fmt.Errorf("%s is locked by another Freshet (process %s)", path, pid)
		}
		// Whoever had it may have removed it between our opening and locking: then this file is nobody's.
		mine, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return f, f.Truncate(0)
		}
		f.Close()
	}
	return nil, fmt.Errorf("%s can't be locked", path)
}

// removeStale removes a socket on which nobody listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there, and is no socket: it isn't ours to remove", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("somebody listens on %s already: a Postgres server, or another program", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // else it may live: it is busy, or not ours to ask
		return fmt.Errorf("%s is there, and whether somebody listens can't be found out: %w", path, err)
	}
	return os.Remove(path)
}

// Close ends listening and removes socket and lock. It may be called twice.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if l.left.Load() {
			l.err = errors.Join(l.UnixListener.Close(), l.lock.Close())
			return
		}
		if l.UnixListener != nil {
			l.err = errors.Join(os.Remove(l.path), l.UnixListener.Close())
		}
		l.err = errors.Join(l.err, os.Remove(l.lock.Name()), l.lock.Close())
	})
	return l.err
}
