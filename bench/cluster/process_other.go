//go:build unix && !linux

package cluster

import (
	"bytes"
	"os/exec"
	"strconv"
)

// children lists the children of a process. Postgres' processes are all
// children of the postmaster, each in a process group of its own.
func children(pid int) ([]int, error) {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		return nil, err
	}
	var kids []int
	for line := range bytes.Lines(out) {
		f := bytes.Fields(line)
		if len(f) != 2 || string(f[1]) != strconv.Itoa(pid) {
			continue
		}
		kid, err := strconv.Atoi(string(f[0]))
		if err != nil {
			return nil, err
		}
		kids = append(kids, kid)
	}
	return kids, nil
}

// alive tells whether a process still does anything: one that only waits to
// be waited for doesn't.
func alive(pid int) bool {
	s := state(pid)
	return s != 0 && s != 'Z'
}

// stopped tells whether a process has obeyed SIGSTOP.
func stopped(pid int) bool {
	s := state(pid)
	return s == 0 || s == 'T' || s == 'Z'
}

// state is the letter that ps has for a process, 0 if there is none.
func state(pid int) byte {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	out = bytes.TrimSpace(out)
	if err != nil || len(out) == 0 {
		return 0
	}
	return out[0]
}
