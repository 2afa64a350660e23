package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// template is a fresh data directory: initdb takes seconds, a copy
// takes a tenth of one. It holds the roles and the database that every
// cluster has. With Options.Cache it is kept in the user's cache folder, where
// that can be written, for the next process.
type template struct {
	data                  string
	password, appPassword string
}

// initdbArgs: the C locale is there on every system, and nothing that is in a
// template depends on the one who made it.
var initdbArgs = []string{
	"--username=" + Superuser, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync",
}

// setupSQL runs in single-user mode, which takes a statement a line.
const setupSQL = `CREATE ROLE ` + App + ` LOGIN PASSWORD '%s'
CREATE DATABASE ` + App + ` OWNER ` + App + `
`

func (c *Cluster) template(ctx context.Context) (*template, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(c.bin, "postgres"), "--version").Output()
	if err != nil {
		return nil, err
	}
	// initdb finds its files from where it is, hence the folder.
	key := fmt.Sprintf("%s\n%s\n%s\n%s", out, c.bin, initdbArgs, setupSQL)
	cached := ""
	if dir, err := os.UserCacheDir(); err == nil && c.opts.Cache {
		cached = filepath.Join(dir, "freshet", fmt.Sprintf("postgres-%d-%x", c.version, sha256.Sum256([]byte(key)))[:40])
		if t, err := openTemplate(cached); err == nil {
			return t, nil
		}
	}
	made := filepath.Join(c.dir, "template")
	if err := c.makeTemplate(ctx, made); err != nil {
		return nil, err
	}
	if cached != "" {
		if err := keepTemplate(made, cached); err != nil {
			c.logf("template isn't kept: %v", err)
		}
	}
	return openTemplate(made)
}

func openTemplate(dir string) (*template, error) {
	b, err := os.ReadFile(filepath.Join(dir, "passwords"))
	if err != nil {
		return nil, err
	}
	f := bytes.Fields(b)
	if len(f) != 2 {
		return nil, fmt.Errorf("%s/passwords: broken", dir)
	}
	return &template{data: filepath.Join(dir, "data"), password: string(f[0]), appPassword: string(f[1])}, nil
}

// makeTemplate runs initdb.
func (c *Cluster) makeTemplate(ctx context.Context, dir string) error {
	c.logf("initdb")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	pwfile := filepath.Join(dir, "superuser")
	password, appPassword := rand.Text(), rand.Text()
	if err := os.WriteFile(pwfile, []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	for _, f := range []string{dir, pwfile} {
		if err := c.account.own(f); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, "data")
	err := c.runTool(ctx, "", "initdb", append(initdbArgs, "--pgdata="+data, "--pwfile="+pwfile)...)
	if err != nil {
		return err
	}
	err = c.runTool(ctx, fmt.Sprintf(setupSQL, appPassword), "postgres", "--single", "-D", data,
		"-c", "fsync=off", "-c", "exit_on_error=on", "-c", "dynamic_shared_memory_type=mmap", "postgres")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "passwords"), []byte(password+" "+appPassword+"\n"), 0o600)
}

// runTool runs one of Postgres' programs, as the account, to its end.
func (c *Cluster) runTool(ctx context.Context, stdin, name string, args ...string) error {
	// SIGTERM lets it, and what it has started, remove its shared memory.
	cmd := c.command(ctx, "TERM", filepath.Join(c.bin, name), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState != nil {
		c.watchdog.forget(cmd.ProcessState.Pid())
	}
	if err != nil {
		return fmt.Errorf("%s: %w:\n%s", name, err, out)
	}
	return nil
}

// keepTemplate copies a template into the cache. Whoever is first wins; a
// template is complete from the moment it has its name.
func keepTemplate(made, cached string) error {
	parent := filepath.Dir(cached)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := copyTree(made, tmp, account{}, nil); err != nil {
		return err
	}
	err = os.Rename(tmp, cached)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (t *template) copyTo(data string, a account) error {
	return copyTree(t.data, data, a, nil)
}

// copyTree copies a folder's files and folders, private to the account. It
// leaves out the paths, relative to the folder, that skip says, and files
// that vanish meanwhile.
func copyTree(from, to string, a account, skip func(rel string, dir bool) bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		gone := errors.Is(err, fs.ErrNotExist)
		if gone {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if skip != nil && skip(rel, d.IsDir()) {
			return nil
		}
		dst := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			if err := os.MkdirAll(dst, 0o700); err != nil {
				return err
			}
		case d.Type().IsRegular():
			if err := copyFile(path, dst); errors.Is(err, fs.ErrNotExist) {
				return nil
			} else if err != nil {
				return err
			}
		default:
			return fmt.Errorf("copy %s: a %v", path, d.Type())
		}
		return a.own(dst)
	})
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}
