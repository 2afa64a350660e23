package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is who runs the servers: ourselves (the zero value), or, when we are
// root, which Postgres refuses to be, somebody else.
type account struct {
	name     string
	uid, gid int
	other    bool
}

func lookupAccount(name string) (account, error) {
	if os.Geteuid() != 0 {
		if name != "" {
			return account{}, fmt.Errorf("account %s: only root can run servers as somebody else", name)
		}
		return account{}, nil
	}
	names := []string{name}
	if name == "" {
		names = []string{"postgres", "_postgres", "nobody"}
	}
	var errs []error
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return account{}, err
		}
		return account{name: n, uid: uid, gid: gid, other: true}, nil
	}
	return account{}, fmt.Errorf("no account to run Postgres, which refuses to be run by root: %w", errors.Join(errs...))
}

// attr are the process attributes of a server: the account, and a session of
// its own, so that Ctrl-C at a terminal reaches only us, who then stop it.
func (a account) attr() *syscall.SysProcAttr {
	at := &syscall.SysProcAttr{Setsid: true}
	if a.other {
		at.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return at
}

// own gives a file to the account.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, a.uid, a.gid)
}

// canReach tells whether the account can enter a folder, which fails when one
// above it is private, in words that say what to do.
func (a account) canReach(dir string) error {
	if !a.other {
		return nil
	}
	cmd := exec.Command("/bin/sh", "-c", `cd "$0"`, dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = a.attr()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("user %s, who runs the servers for root, can't enter %s: choose another folder (Dir or $TMPDIR)", a.name, dir)
	}
	return nil
}
