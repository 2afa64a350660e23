package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// sources are Postgres' tests, as their authors publish them, and the C
// functions that they call, built for the server on this machine.
type sources struct {
	dir     string // holds regress, isolation and lib
	version string // of the package that the tests are from
}

// library is the folder of the C functions.
func (s *sources) library() string { return filepath.Join(s.dir, "lib") }

// suite is the folder of a suite's tests: its schedule, sql or specs, expected.
func (s *sources) suite(name string) string { return filepath.Join(s.dir, name) }

// openSources takes the tests from the cache folder, or else has apt fetch
// them: the Debian source package of the server that is installed, at its very
// version where that is still to be had. Nothing of the system is changed: apt
// gets lists and caches of its own.
func openSources(ctx context.Context, major int, say func(string, ...any)) (*sources, error) {
	installed, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", fmt.Sprintf("postgresql-%d", major)).Output()
	if err != nil {
		return nil, fmt.Errorf("postgresql-%d isn't installed as a package of Debian or Ubuntu, whose sources the tests come from: %w", major, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	version := string(installed)
	dir := filepath.Join(cache, "freshet", "regress-"+strings.ReplaceAll(version, "/", "_"))
	s := &sources{dir: dir}
	if b, err := os.ReadFile(filepath.Join(dir, "version")); err == nil {
		s.version = strings.TrimSpace(string(b))
		return s, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	// Complete from the moment on at which it has its name.
	made, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(made)
	a := &apt{dir: filepath.Join(made, "apt")}
	if err := a.fetch(ctx, major, version, made, say); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(a.dir); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(made, "version"), []byte(a.version+"\n"), 0o600); err != nil {
		return nil, err
	}
	if err := os.Rename(made, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	s.version = a.version
	return s, nil
}

// apt is apt-get with a folder of its own for everything that it writes.
type apt struct {
	dir     string
	version string // of the sources that were fetched
}

// fetch leaves the suites and their library in dir.
func (a *apt) fetch(ctx context.Context, major int, version, dir string, say func(string, ...any)) error {
	say("fetching the sources of postgresql-%d %s through apt", major, version)
	for _, d := range []string{"lists/partial", "cache/archives/partial", "src", "dev"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := a.writeSourceList(ctx); err != nil {
		return err
	}
	if _, err := a.get(ctx, a.dir, "update"); err != nil {
		return err
	}
	name := fmt.Sprintf("postgresql-%d", major)
	if _, err := a.get(ctx, filepath.Join(a.dir, "src"), "source", "--download-only", name+"="+version); err == nil {
		a.version = version
	} else {
		// It has been superseded. The tests of a neighbouring minor version expect a little else, direct and through Freshet alike.
		say("%s %s isn't there any more: the newest is taken", name, version)
		out, err := a.get(ctx, filepath.Join(a.dir, "src"), "source", "--download-only", name)
		if err != nil {
			return err
		}
		m := regexp.MustCompile(regexp.QuoteMeta(name) + ` (\S+) \(`).FindStringSubmatch(out)
		if m == nil {
			return fmt.Errorf("apt-get source doesn't say which version it got:\n%s", out)
		}
		a.version = m[1]
	}
	tars, err := filepath.Glob(filepath.Join(a.dir, "src", "*.orig.tar.*"))
	if err != nil || len(tars) != 1 {
		return fmt.Errorf("apt-get source has left %d archives: %v", len(tars), err)
	}
	src := filepath.Join(a.dir, "src")
	if _, err := command(ctx, src, "tar", "-xf", tars[0], "--strip-components=1", "--wildcards",
		"*/src/test/regress", "*/src/test/isolation", "*/contrib/spi"); err != nil {
		return err
	}
	for _, suite := range []string{"regress", "isolation"} {
		if err := os.Rename(filepath.Join(src, "src", "test", suite), filepath.Join(dir, suite)); err != nil {
			return err
		}
	}
	return a.buildLibrary(ctx, major, version, src, dir)
}

// writeSourceList names the system's own archives, for sources instead of
// binaries.
func (a *apt) writeSourceList(ctx context.Context) error {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return err
	}
	codename := regexp.MustCompile(`(?m)^VERSION_CODENAME=(\S+)`).FindSubmatch(release)
	if codename == nil {
		return errors.New("/etc/os-release names no VERSION_CODENAME: is this Debian or Ubuntu?")
	}
	out, err := command(ctx, a.dir, "apt-get", "indextargets", "Created-By: Packages", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)")
	if err != nil {
		return err
	}
	var list strings.Builder
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		// Others' archives have names of their own, or no sources.
		if len(f) != 3 || seen[line] || f[1] != string(codename[1]) && !strings.HasPrefix(f[1], string(codename[1])+"-") {
			continue
		}
		seen[line] = true
		signed := ""
		if _, err := os.Stat("/usr/share/keyrings/debian-archive-keyring.gpg"); err == nil && strings.Contains(f[0], "debian") {
			signed = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
		}
		fmt.Fprintf(&list, "deb-src %s%s %s %s\n", signed, f[0], f[1], f[2])
	}
	if list.Len() == 0 {
		return errors.New("apt-get knows no archives of this system: run apt-get update")
	}
	return os.WriteFile(filepath.Join(a.dir, "sources.list"), []byte(list.String()), 0o644)
}

// get is apt-get, in a folder, with our own lists.
func (a *apt) get(ctx context.Context, dir string, args ...string) (string, error) {
	own := []string{
		"-q", "-o", "Dir::Etc::sourcelist=" + filepath.Join(a.dir, "sources.list"), "-o", "Dir::Etc::sourceparts=/dev/null",
		"-o", "Dir::State::lists=" + filepath.Join(a.dir, "lists"), "-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"-o", "APT::Sandbox::User=root", // its other user can't reach our folder
	}
	return command(ctx, dir, "apt-get", append(own, args...)...)
}

// buildLibrary compiles regress.so, refint.so and autoinc.so with the headers
// of the installed server, which are taken out of their package without
// installing it: it would bring two compilers along.
func (a *apt) buildLibrary(ctx context.Context, major int, version, src, dir string) error {
	dev := filepath.Join(a.dir, "dev")
	name := fmt.Sprintf("postgresql-server-dev-%d", major)
	headers := fmt.Sprintf("/usr/include/postgresql/%d/server", major)
	if _, err := os.Stat(filepath.Join(headers, "postgres.h")); err != nil {
		download := func(what string) error {
			_, err := command(ctx, dev, "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", what)
			return err
		}
		if err := download(name + "=" + version); err != nil {
			if err := download(name); err != nil { // the same within a major version
				return err
			}
		}
		debs, err := filepath.Glob(filepath.Join(dev, "*.deb"))
		if err != nil || len(debs) != 1 {
			return fmt.Errorf("apt-get download has left %d packages: %v", len(debs), err)
		}
		if _, err := command(ctx, dev, "dpkg-deb", "-x", debs[0], "."); err != nil {
			return err
		}
		headers = filepath.Join(dev, headers)
	}
	lib := filepath.Join(dir, "lib")
	if err := os.Mkdir(lib, 0o755); err != nil {
		return err
	}
	for _, c := range []string{filepath.Join(dir, "regress", "regress.c"), filepath.Join(src, "contrib/spi/refint.c"), filepath.Join(src, "contrib/spi/autoinc.c")} {
		so := filepath.Join(lib, strings.TrimSuffix(filepath.Base(c), ".c")+".so")
		if _, err := command(ctx, dev, "cc", "-O2", "-fPIC", "-shared", "-fno-strict-aliasing", "-fwrapv",
			"-DREFINT_VERBOSE", // as contrib/spi's Makefile has it: the tests expect its notices
			"-I", headers, "-o", so, c); err != nil {
			return err
		}
	}
	return nil
}

// command runs a program to its end and returns what it printed.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// copyTree copies files and folders, and gives them to somebody.
func copyTree(from, to string, uid, gid int) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		if d.IsDir() {
			if err := os.MkdirAll(dst, 0o755); err != nil {
				return err
			}
		} else if err := copyFile(path, dst); err != nil {
			return err
		}
		return os.Chown(dst, uid, gid)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
