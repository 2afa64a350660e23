package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// minVersion is the oldest Postgres that Freshet supports.
const minVersion = 14

// FindPostgres returns the folder of Postgres' programs and the major version
// of the server in it. It looks in bin if that isn't empty, and nowhere else;
// else in $FRESHET_PG_BIN, where pg_config says, in the newest of Debian's and
// Homebrew's folders, and in PATH. Only postgres and initdb need to be there.
func FindPostgres(bin string) (dir string, version int, err error) {
	if bin == "" {
		bin = os.Getenv("FRESHET_PG_BIN")
	}
	if bin != "" {
		v, err := serverVersion(bin)
		if err != nil {
			return "", 0, fmt.Errorf("no Postgres server in %s: %w", bin, err)
		}
		return bin, v, nil
	}
	var tooOld error
	for _, dir := range candidates() {
		v, err := serverVersion(dir)
		if err == nil {
			return dir, v, nil
		}
		if errors.Is(err, errTooOld) {
			tooOld = err
		}
	}
	if tooOld != nil {
		return "", 0, tooOld
	}
	return "", 0, errors.New("no Postgres server found: run `make deps`, or say where its programs are in $FRESHET_PG_BIN")
}

var errTooOld = fmt.Errorf("older than Postgres %d", minVersion)

func candidates() []string {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	patterns := []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"}
	if runtime.GOOS == "darwin" {
		patterns = []string{"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"}
	}
	for _, p := range patterns {
		found, _ := filepath.Glob(p)
		slices.SortFunc(found, func(a, b string) int { return digits(b) - digits(a) })
		dirs = append(dirs, found...)
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		// The real place, since initdb looks for its files from there.
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real
		}
		dirs = append(dirs, filepath.Dir(p))
	}
	return dirs
}

// digits is the number in a path, e.g. 15 of /usr/lib/postgresql/15/bin.
func digits(path string) int {
	n, _ := strconv.Atoi(strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, path))
	return n
}

func serverVersion(dir string) (int, error) {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0, err
	}
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0, err
	}
	// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "… 18beta1"
	_, after, _ := strings.Cut(string(out), ") ")
	end := strings.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(after)
	}
	v, err := strconv.Atoi(after[:end])
	if err != nil {
		return 0, fmt.Errorf("unknown version %q", out)
	}
	if v < minVersion {
		return 0, fmt.Errorf("%s has Postgres %d: %w", dir, v, errTooOld)
	}
	return v, nil
}

func findProgram(bin, name string) (string, error) {
	p := filepath.Join(bin, name)
	if _, err := os.Stat(p); err == nil {
		return p, nil
	}
	return exec.LookPath(name)
}

func findRedis(path string) (string, error) {
	if path == "" {
		path = os.Getenv("FRESHET_REDIS_SERVER")
	}
	if path != "" {
		return exec.LookPath(path)
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", errors.New("no redis-server found: run `make deps`, or say where it is in $FRESHET_REDIS_SERVER")
}
