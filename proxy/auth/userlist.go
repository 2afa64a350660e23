package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// maxUserlist bounds the size of a file of users.
const maxUserlist = 64 << 20

// maxUser is the length of Postgres' names (NAMEDATALEN - 1).
const maxUser = 63

// user is a line of a file of users. It holds a secret.
type user struct {
	name, password string
}

// parseUserlist reads the format of PgBouncer's auth_file: a line is "user" "password", in double quotes, with "" for one
// within them; what follows on the line is ignored, and so is a line that begins with a semicolon. Errors name the line,
// and never quote it.
func parseUserlist(text []byte) ([]user, error) {
	var list []user
	seen := map[string]bool{}
	for n := 1; len(text) > 0; n++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		line = bytes.TrimLeft(line, " \t\r\v\f")
		if len(line) == 0 || line[0] == ';' {
			continue
		}
		wrong := func(what string) error { return fmt.Errorf("line %d: %s", n, what) }
		name, rest, ok := quoted(line)
		if !ok {
			return nil, wrong(`expected "user" "password", both in double quotes`)
		}
		password, _, ok := quoted(bytes.TrimLeft(rest, " \t"))
		switch {
		case !ok:
			return nil, wrong("expected a password in double quotes after the user's name")
		case name == "":
			return nil, wrong("the user's name is empty")
		case len(name) > maxUser:
			return nil, wrong(fmt.Sprintf("the user's name is longer than %d bytes", maxUser))
		case strings.IndexByte(name, 0) >= 0 || strings.IndexByte(password, 0) >= 0:
			return nil, wrong("there is a null byte in it")
		case seen[name]:
			return nil, wrong(fmt.Sprintf("user %q is here twice", name))
		}
		seen[name] = true
		list = append(list, user{name, password})
	}
	return list, nil
}

// quoted takes a text in double quotes off the front of s.
func quoted(s []byte) (text string, rest []byte, ok bool) {
	if len(s) == 0 || s[0] != '"' {
		return "", nil, false
	}
	var b strings.Builder
	for s = s[1:]; ; {
		i := bytes.IndexByte(s, '"')
		if i < 0 {
			return "", nil, false
		}
		b.Write(s[:i])
		s = s[i+1:]
		if len(s) == 0 || s[0] != '"' {
			return b.String(), s, true
		}
		b.WriteByte('"')
		s = s[1:]
	}
}

// Userlist is what a file of users said when it was read. It is immutable.
type Userlist struct {
	roles      map[string]listed
	iterations int // the count that most have, so that those who aren't in it don't stand out
}

type listed struct {
	Role
	secret *sealed[string] // the line's password, to see whether it has changed
}

// LoadUserlist reads a file of users in PgBouncer's format: a password is a SCRAM secret as in pg_authid, or the password
// itself. An MD5 hash proves nothing to SCRAM: such a user is there, and can't log in. Of before, which may be nil, what
// hasn't changed is taken over. warnings are for the operator. Nothing of what is returned prints a password.
//
// A verifier is made for each password in clear, which takes about a millisecond of one processor. It is done here and
// not at the first login: that would take longer than the login of somebody who isn't in the file (HAZARDS 26).
func LoadUserlist(path string, before *Userlist) (list *Userlist, warnings []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("--auth-file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxUserlist+1))
	if err == nil && len(text) > maxUserlist {
		err = errors.New("it is larger than 64 MiB")
	}
	var users []user
	if err == nil {
		users, err = parseUserlist(text)
	}
	if err == nil {
		list, err = newUserlist(users, before)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("--auth-file %s: %w", path, err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o007 != 0 {
		warnings = append(warnings, fmt.Sprintf("--auth-file %s can be read by everybody on this machine: chmod 0600 or 0640", path))
	}
	var md5 []string
	for _, u := range users {
		if list.roles[u.name].Unusable == ErrMD5 {
			md5 = append(md5, u.name)
		}
	}
	if len(md5) > 0 {
		warnings = append(warnings, fmt.Sprintf("--auth-file %s: %d users have an MD5 hash, by which nobody can log in here; put their SCRAM secrets from pg_authid in its place: %s",
			path, len(md5), strings.Join(md5[:min(len(md5), 10)], ", ")))
	}
	return list, warnings, nil
}

func newUserlist(users []user, before *Userlist) (*Userlist, error) {
	made := make([]listed, len(users))
	failed := make([]error, len(users))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(users); i = int(next.Add(1)) - 1 {
				u := users[i]
				if old, ok := before.get(u.name); ok && *old.secret.open() == u.password {
					made[i] = old
				} else {
					made[i], failed[i] = newListed(u)
				}
			}
		})
	}
	wg.Wait()
	list := &Userlist{roles: make(map[string]listed, len(users))}
	counts := map[int]int{}
	for i, u := range users {
		if failed[i] != nil {
			return nil, fmt.Errorf("user %q: %w", u.name, failed[i])
		}
		list.roles[u.name] = made[i]
		if v := made[i].Verifier; !v.IsZero() {
			n := v.secret.open().iterations
			if counts[n]++; counts[n] > counts[list.iterations] {
				list.iterations = n
			}
		}
	}
	return list, nil
}

func newListed(u user) (listed, error) {
	l := listed{Role: Role{Exists: true, CanLogin: true}, secret: seal(&u.password)}
	var err error
	if l.Verifier, err = ParseVerifier(u.password); err == nil {
		return l, nil
	}
	if !errors.Is(err, ErrVerifier) {
		l.Unusable = err
		return l, nil
	}
	if strings.HasPrefix(u.password, scramPrefix) {
		return l, errors.New("its SCRAM secret is malformed")
	}
	// A password in clear. The server has its own salt, so what a proof against ours teaches is of no use there.
	salt := make([]byte, saltLen)
	rand.Read(salt) // never fails
	if l.Verifier, err = NewVerifier(u.password, salt, defaultIterations); err != nil {
		return l, err
	}
	l.Identity = WithPassword(u.name, u.password)
	return l, nil
}

func (l *Userlist) get(name string) (listed, bool) {
	if l == nil {
		return listed{}, false
	}
	r, ok := l.roles[name]
	return r, ok
}

// Len is the number of users.
func (l *Userlist) Len() int { return len(l.roles) }

// FileSource is the Source of a file of users. The zero FileSource knows nobody.
type FileSource struct {
	list atomic.Pointer[Userlist]
}

// Load returns the current list; nil: there is none yet.
func (s *FileSource) Load() *Userlist { return s.list.Load() }

// Store replaces the list, for those who log in from now on.
func (s *FileSource) Store(l *Userlist) { s.list.Store(l) }

// Verifier implements Source.
func (s *FileSource) Verifier(_ context.Context, role string) (Role, error) {
	l := s.list.Load()
	if l == nil {
		return Role{}, nil
	}
	r := l.roles[role].Role
	r.Iterations = l.iterations
	return r, nil
}
