package shard

import (
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// HAZARDS 21: 10,000 idle clients each holding buffers.
func TestIdleConnectionsHoldNoBuffers(t *testing.T) {
	const n = 5000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*n {
		t.Skipf("only %d descriptors", limit.Cur)
	}
	l := transport{}.loop(t, Options{})
	theirs := make([]int, n)
	h := echo()
	before := heap()
	for i := range theirs {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		theirs[i] = fds[1]
		defer syscall.Close(fds[1])
		f := os.NewFile(uintptr(fds[0]), "")
		ours, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		adopt(t, l, ours, h)
	}
	buf := make([]byte, 3000)
	for _, fd := range theirs { // each has been busy once
		if _, err := syscall.Write(fd, buf); err != nil {
			t.Fatal(err)
		}
		if m, err := syscall.Read(fd, buf); m != len(buf) || err != nil {
			t.Fatal(m, err)
		}
	}
	until(t, l, "all is sent", func() bool { return len(l.dirty) == 0 })
	each := (heap() - before) / n
	t.Logf("%d bytes each", each)
	if each > 1000 {
		t.Errorf("an idle connection costs %d bytes", each)
	}
	runtime.KeepAlive(l)
}

func heap() int {
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
