package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// children lists the children of a process. Postgres' processes are all
// children of the postmaster, each in a process group of its own.
func children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var kids []int
	for _, s := range stats {
		kid, err := strconv.Atoi(filepath.Base(filepath.Dir(s)))
		if err != nil {
			return nil, err
		}
		if _, parent, ok := procStat(kid); ok && parent == pid {
			kids = append(kids, kid)
		}
	}
	return kids, nil
}

// alive tells whether a process still does anything: one that only waits to
// be waited for doesn't (in a container, perhaps nobody ever does).
func alive(pid int) bool {
	state, _, ok := procStat(pid)
	return ok && state != 'Z' && state != 'X'
}

// stopped tells whether a process has obeyed SIGSTOP.
func stopped(pid int) bool {
	state, _, ok := procStat(pid)
	return !ok || state == 'T' || state == 't' || state == 'Z'
}

func procStat(pid int) (state byte, parent int, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, false
	}
	// pid (name) state parent …; the name may hold anything.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 2 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(string(f[1]))
	return f[0][0], parent, err == nil
}
