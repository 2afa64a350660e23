package cluster

import "golang.org/x/sys/unix"

// removeSegment removes a System V shared memory segment. It may be gone.
func removeSegment(id int) { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }
