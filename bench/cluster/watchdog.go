package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// watchdogScript ends the servers and removes the folder when its standard
// input ends without "done": the kernel closes our end of the pipe however we
// end. (Linux' PR_SET_PDEATHSIG would do for the servers, but it is tied to
// the thread that forked, which Go may end at any time, and macOS has none.)
//
// It reads "add PID SIGNAL" and "del PID". Servers announce themselves,
// before they become servers (see process.go), so that no moment is left
// in which one could be missed.
//
// $1: folder, $2: what to do with it: keep, empty or remove.
//
// A server that is frozen doesn't hear its signal before SIGCONT. Its children
// are on the list, too, as long as they are frozen.
const watchdogScript = `
set -f
pids=' '
while read -r op pid sig; do
	case $op in
	add) pids="$pids$pid:$sig " ;;
	del) case $pids in *" $pid:"*)
			rest=${pids#* "$pid":}
			pids="${pids%% "$pid":*} ${rest#* }"
		esac ;;
	done) exit 0 ;;
	esac
done
for p in $pids; do
	kill -s "${p#*:}" "${p%:*}"
	kill -s CONT "${p%:*}"
done
for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 \
	20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39; do
	alive=
	for p in $pids; do kill -s 0 "${p%:*}" && alive=1; done
	[ "$alive" ] || break
	sleep 0.2
done
for p in $pids; do kill -s KILL "${p%:*}"; done
set +f
case $2 in
remove) cd / && { rm -rf "$1" || { sleep 1; rm -rf "$1"; }; } ;;
empty) cd "$1" && { rm -rf ./* || { sleep 1; rm -rf ./*; }; } ;;
esac
`

// watchdog is the process that outlives us for as long as it takes to clean up.
type watchdog struct {
	cmd  *exec.Cmd
	pipe *os.File // our end, inherited by servers only until they are exec'ed
}

func startWatchdog(dir string, made, keep bool) (*watchdog, error) {
	todo := "empty"
	if made {
		todo = "remove"
	}
	if keep {
		todo = "keep"
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	// Standard output and error are /dev/null: whoever waits for our output
	// to end (go test does) mustn't wait for the watchdog.
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "freshet-watchdog", dir, todo)
	cmd.Dir = "/"
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // signals from the terminal are not for it
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start watchdog: %w", err), w.Close())
	}
	return &watchdog{cmd: cmd, pipe: w}, nil
}

// forget tells that a server has ended, so that its pid, which the system may
// give to somebody else, isn't signalled.
func (w *watchdog) forget(pid int) {
	// An error means that the watchdog was killed, which is no reason to fail.
	_, _ = fmt.Fprintf(w.pipe, "del %d\n", pid)
}

// watch tells about a process that was frozen. It can't end, so the pid is its
// own until forget.
func (w *watchdog) watch(pid int) { _, _ = fmt.Fprintf(w.pipe, "add %d KILL\n", pid) }

// dismiss ends the watchdog after everything was cleaned up.
func (w *watchdog) dismiss() error {
	_, _ = fmt.Fprintln(w.pipe, "done")
	err := w.pipe.Close()
	if werr := w.cmd.Wait(); werr != nil {
		err = errors.Join(err, fmt.Errorf("watchdog: %w", werr))
	}
	return err
}
