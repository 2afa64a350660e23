package cluster

import (
	"bufio"
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// defaultParent is where a cluster's folder is made: in memory (/dev/shm)
// where there is plenty, unless $TMPDIR says otherwise. A cluster is a few
// thousand small files, and some file systems take seconds to make them:
// ext4, for one, when as many were deleted in the minute before, as a test
// run does. Measured there, with two replicas: 3.2 s on ext4, 0.3 s here.
func defaultParent() string {
	const (
		shm        = "/dev/shm"
		enoughRoom = 2 << 30 // each node can hold max_wal_size (1 GB) of WAL, but hardly any does
		enoughRAM  = 4 << 30
	)
	if os.Getenv("TMPDIR") != "" {
		return os.TempDir()
	}
	var st unix.Statfs_t
	if unix.Statfs(shm, &st) != nil || st.Type != unix.TMPFS_MAGIC ||
		st.Bavail*uint64(st.Bsize) < enoughRoom || availableMemory() < enoughRAM || unix.Access(shm, unix.W_OK) != nil {
		return os.TempDir()
	}
	return shm
}

// availableMemory is in bytes, 0 when it isn't known.
func availableMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if w := bytes.Fields(sc.Bytes()); len(w) == 3 && string(w[0]) == "MemAvailable:" {
			kB, _ := strconv.ParseInt(string(w[1]), 10, 64)
			return kB << 10
		}
	}
	return 0
}
