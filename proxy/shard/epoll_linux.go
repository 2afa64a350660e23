package shard

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	readable  = unix.EPOLLIN
	writable  = unix.EPOLLOUT
	gone      = unix.EPOLLERR | unix.EPOLLHUP // reported whether asked for or not
	unwatched = 1 << 27                       // in Conn.interest: not in epoll at all
)

// epoll waits for the sockets of one loop. An event carries the connection's slot and generation.
//
// System calls that can't block are made raw: without telling the Go scheduler, which saves about what a small one
// of them costs.
type epoll struct {
	fd     int
	bell   int // eventfd, edge-triggered: each write is an event, and it need never be read
	events [256]unix.EpollEvent
}

const bellSlot = -1

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	ep := &epoll{fd: fd, bell: bell}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: bellSlot}); err != nil {
		ep.close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return ep, nil
}

func (ep *epoll) close() {
	unix.Close(ep.bell)
	unix.Close(ep.fd)
}

// wake ends a wait. Safe from any goroutine; the mailbox's lock keeps it away from close.
func (ep *epoll) wake() {
	one := uint64(1)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(ep.bell), uintptr(unsafe.Pointer(&one)), 8)
}

// poll looks for events without waiting and returns how many there are.
func (ep *epoll) poll() int {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep.fd), uintptr(unsafe.Pointer(&ep.events[0])), uintptr(len(ep.events)), 0, 0, 0)
	if errno != 0 {
		return 0 // EINTR
	}
	return int(n)
}

// wait waits for events (negative: for ever) and returns how many there are. Meanwhile the scheduler lets others run.
//
// Two other ways were tried (bench/floor, two loops, everything on two cores that others used too, so take the figures as rough). To
// yield to other threads and look again before sleeping saves up to 40% of CPU, and to wait in Go's own poller 5 to 25%; but with two
// more threads that want the cores, as database servers on the same machine do, both made the slowest answers much slower (one run
// each; 99th percentile at one client: 0.2 ms like this, 2 ms with the yield, 3 ms with Go's poller), and lost a third or more
// of the throughput at 16 clients.
func (ep *epoll) wait(timeout time.Duration) int {
	ms := -1
	if timeout >= 0 {
		ms = int((min(timeout, time.Hour) + time.Millisecond - 1) / time.Millisecond) // up, or we would spin for the last millisecond
	}
	// A short wait holds on to the processor: while there is work, the next event is microseconds away, and handing the processor over and
	// taking it back costs more than that (uncached pgbench -S through Freshet, 16 clients, 2 cores shared with Postgres: 38 µs of CPU
	// per query without, 23 µs with, half again the throughput). The scheduler can still stop this thread: its signal ends the
	// call. Headroom is what others run on meanwhile.
	if brief := min(uint(ms), briefWait); brief > 0 {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep.fd), uintptr(unsafe.Pointer(&ep.events[0])), uintptr(len(ep.events)), uintptr(brief), 0, 0)
		if errno != 0 {
			n = 0 // EINTR: the scheduler wants this thread, and gets it now
		}
		if n > 0 || errno == 0 && ms >= 0 && uint(ms) <= briefWait {
			return int(n)
		}
		if ms > 0 {
			ms = max(0, ms-briefWait)
		}
	}
	n, err := unix.EpollWait(ep.fd, ep.events[:], ms)
	if err != nil {
		return 0 // EINTR
	}
	return n
}

// briefWait is how long, in milliseconds, a wait holds on to its processor.
const briefWait = 3

// dispatch serves the events that wait has found.
func (ep *epoll) dispatch(l *Loop, n int) {
	for i := range n {
		ev := &ep.events[i]
		if ev.Fd == bellSlot {
			continue
		}
		s := &l.slots[ev.Fd]
		if s.c == nil || s.gen != uint32(ev.Pad) {
			continue
		}
		c := s.c
		if c.blocked && ev.Events&(writable|gone) != 0 {
			c.flush()
		}
		if ev.Events&(readable|gone) != 0 && c.state != dead {
			ep.arrived(c, ev.Events)
		}
	}
}

// arrived serves a connection that has bytes for us, or has ended.
func (ep *epoll) arrived(c *Conn, events uint32) {
	switch {
	case c.paused && events&gone != 0:
		ep.forget(c) // it can't be asked not to report this
	case c.paused:
		c.watch(c.interest &^ readable)
	case len(c.waiting) > 0: // these come first, in the next turn
	default:
		ep.receive(c)
	}
}

// receive reads once. False: there was nothing, or the end.
func (ep *epoll) receive(c *Conn) bool {
	l := c.loop
	n, errno := sysRead(c.fd, l.read)
	switch {
	case n > 0 && c.state == open:
		c.data(l.read[:n])
	case n > 0: // closing: discarded
	case errno == 0:
		c.peerClosed()
		return false
	case errno == unix.EAGAIN, errno == unix.EINTR:
		return errno == unix.EINTR
	default:
		c.failed(os.NewSyscallError("read", errno))
		return false
	}
	return true
}

// watch changes what epoll watches for.
func (c *Conn) watch(want uint32) {
	op := unix.EPOLL_CTL_MOD
	if c.interest&unwatched != 0 {
		op = unix.EPOLL_CTL_ADD
		want &^= unwatched
		if c.blocked && !c.broken {
			want |= writable
		}
	} else if want == c.interest {
		return
	}
	ev := unix.EpollEvent{Events: want, Fd: c.slot, Pad: int32(c.loop.slots[c.slot].gen)}
	if _, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(c.loop.ep.fd), uintptr(op), uintptr(c.fd), uintptr(unsafe.Pointer(&ev)), 0, 0); errno != 0 {
		c.die(os.NewSyscallError("epoll_ctl", errno))
		return
	}
	c.interest = want
}

// forget takes the connection out of epoll.
func (ep *epoll) forget(c *Conn) {
	if c.interest&unwatched != 0 {
		return
	}
	c.interest = unwatched
	syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep.fd), unix.EPOLL_CTL_DEL, uintptr(c.fd), 0, 0, 0)
}

// takeDescriptor takes the descriptor out of a plain socket, away from Go's own poller; nc is closed then. False: nc is something
// else, and was left alone.
func takeDescriptor(nc net.Conn) (int32, bool, error) {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		nc.SetNoDelay(true)
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return -1, false, nil
	}
	defer nc.Close()
	rc, err := sc.SyscallConn()
	if err != nil {
		return -1, true, err
	}
	var fd int
	var dupErr error
	err = rc.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, os.NewSyscallError("dup", dupErr)); err != nil {
		return -1, true, err
	}
	unix.SetNonblock(fd, true) // it is already; if it weren't, it would stop everybody
	return int32(fd), true, nil
}

func sysRead(fd int32, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sysWrite sends; MSG_NOSIGNAL, because a SIGPIPE costs more than the error that says the same.
func sysWrite(fd int32, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func sysShutdownWrite(fd int32) { unix.Shutdown(int(fd), unix.SHUT_WR) }

func sysClose(fd int32) { unix.Close(int(fd)) }
