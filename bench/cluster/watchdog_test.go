package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// Environment variables that make the test binary a victim, with its cluster
// in that folder, and with Options.Cache if the other one is set.
const (
	victimDir   = "FRESHET_TEST_VICTIM_DIR"
	victimCache = "FRESHET_TEST_VICTIM_CACHE"
)

// victim starts a cluster, prints its pids and its folder, and waits to be killed.
func victim(dir string) {
	ctx := context.Background()
	c, err := cluster.Start(ctx, cluster.Options{Dir: dir, Replicas: 2, Redis: true, Cache: os.Getenv(victimCache) != ""})
	if err != nil {
		fmt.Println("victim:", err)
		os.Exit(1)
	}
	// Frozen, killed, killed and started again: the watchdog knows.
	if err := c.Replicas()[0].Freeze(); err != nil {
		panic(err)
	}
	if err := c.Primary().Kill(); err != nil {
		panic(err)
	}
	if err := c.Primary().Start(ctx); err != nil {
		panic(err)
	}
	if err := c.Redis().Kill(); err != nil {
		panic(err)
	}
	for _, n := range c.Nodes() {
		fmt.Println("pid", n.Pid())
	}
	fmt.Println("dir", c.Dir())
	select {}
}

func startVictim(t *testing.T, dir string, env ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(append(os.Environ(), victimDir+"="+dir), env...)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = t.Output()
	must(t, cmd.Start())
	return cmd, bufio.NewScanner(out)
}

// running lists the processes whose command line or working directory has the
// folder in it.
func running(dir string) []string {
	var found []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		line, _ := os.ReadFile(p + "/cmdline") // it may end meanwhile
		cwd, _ := os.Readlink(p + "/cwd")
		if strings.Contains(string(line), dir) || strings.Contains(cwd, dir) {
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// segmentsOf lists the System V shared memory segments that processes have made.
func segmentsOf(pids []int) []string {
	var found []string
	b, _ := os.ReadFile("/proc/sysvipc/shm") // Linux only
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 {
			if pid, err := strconv.Atoi(f[4]); err == nil && slices.Contains(pids, pid) { // cpid
				found = append(found, line)
			}
		}
	}
	return found
}

// TestNothingIsLeftWhenTheOwnerIsKilled: servers and folder go after SIGKILL.
func TestNothingIsLeftWhenTheOwnerIsKilled(t *testing.T) {
	existing, err := os.MkdirTemp("", "freshet-test-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(existing)) })
	for name, dir := range map[string]string{"folder of its own": "", "folder that was there": existing} {
		t.Run(name, func(t *testing.T) {
			cmd, out := startVictim(t, dir, victimCache+"=1")
			var pids []int
			used := ""
			for used == "" && out.Scan() {
				switch word, rest, _ := strings.Cut(out.Text(), " "); word {
				case "pid":
					pid, err := strconv.Atoi(rest)
					must(t, err)
					pids = append(pids, pid)
				case "dir":
					used = rest
				default:
					t.Error(out.Text())
				}
			}
			if len(pids) != 3 || used == "" {
				t.Fatalf("pids %v, dir %q", pids, used)
			}
			for _, pid := range pids {
				if err := syscall.Kill(pid, 0); err != nil {
					t.Fatalf("server %d: %v", pid, err)
				}
			}
			must(t, cmd.Process.Kill())
			_ = cmd.Wait() // it was killed

			eventually(t, "folder is gone", func() bool {
				left, err := os.ReadDir(used)
				if dir == "" {
					return os.IsNotExist(err)
				}
				return err == nil && len(left) == 0
			})
			eventually(t, "servers have ended", func() bool { return len(running(used)) == 0 })
			if left := segmentsOf(pids); len(left) > 0 {
				t.Errorf("shared memory is left: %q", left)
			}
		})
	}
}

// TestNothingIsLeftWhenTheOwnerIsKilledAtAnyMoment: also in the middle of a
// start, initdb included.
func TestNothingIsLeftWhenTheOwnerIsKilledAtAnyMoment(t *testing.T) {
	for range 6 {
		root, err := os.MkdirTemp("", "freshet-test-")
		must(t, err)
		must(t, os.Chmod(root, 0o755))
		dir := filepath.Join(root, "cluster")
		cmd, _ := startVictim(t, dir)
		// Any moment is a good one, early ones more so.
		early := rand.Float64() * rand.Float64()
		time.Sleep(time.Duration(early * float64(2*time.Second)))
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		eventually(t, "folder is gone and servers have ended", func() bool {
			_, err := os.Stat(dir)
			return os.IsNotExist(err) && len(running(dir)) == 0
		})
		must(t, os.RemoveAll(root))
	}
}
