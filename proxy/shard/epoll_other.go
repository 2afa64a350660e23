//go:build !linux

package shard

import (
	"net"
	"syscall"
	"time"
)

// Without epoll every connection is goroutine-driven: newEpoll returns none, and nothing here is ever called on one.

const (
	readable = 1 << iota
	writable
	unwatched
)

type epoll struct{}

func newEpoll() (*epoll, error)                    { return nil, nil }
func (*epoll) close()                              {}
func (*epoll) wake()                               {}
func (*epoll) poll() int                           { return 0 }
func (*epoll) wait(time.Duration) int              { return 0 }
func (*epoll) dispatch(*Loop, int)                 {}
func (*epoll) forget(*Conn)                        {}
func (*Conn) watch(uint32)                         {}
func takeDescriptor(net.Conn) (int32, bool, error) { return -1, false, nil }
func sysWrite(int32, []byte) (int, syscall.Errno)  { return 0, 0 }
func sysShutdownWrite(int32)                       {}
func sysClose(int32)                               {}
