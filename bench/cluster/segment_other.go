//go:build unix && !linux

package cluster

import (
	"os/exec"
	"strconv"
)

// removeSegment removes a System V shared memory segment. It may be gone.
func removeSegment(id int) { _ = exec.Command("ipcrm", "-m", strconv.Itoa(id)).Run() }
