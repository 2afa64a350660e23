package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// findPgBouncer is its path and version. Debian has it where ordinary users don't look.
func (l *lab) findPgBouncer(ctx context.Context) (path string, version [2]int, err error) {
	for _, path := range []string{l.pgbouncer, "pgbouncer", "/usr/sbin/pgbouncer"} {
		if path == "" {
			continue
		}
		found, err := exec.LookPath(path)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, found, "--version").Output()
		if err != nil {
			return "", version, fmt.Errorf("%s --version: %w", found, err)
		}
		version, err := parsePgBouncerVersion(string(out))
		return found, version, err
	}
	return "", version, errors.New("PgBouncer isn't installed: run .ci/deps --bench, or leave it out with --contenders")
}

var pgbouncerVersion = regexp.MustCompile(`(?m)^PgBouncer (\d+)\.(\d+)`)

func parsePgBouncerVersion(out string) (v [2]int, err error) {
	m := pgbouncerVersion.FindStringSubmatch(out)
	if m == nil {
		return v, fmt.Errorf("PgBouncer's version isn't in %q", out)
	}
	for i := range v {
		if v[i], err = strconv.Atoi(m[i+1]); err != nil {
			return v, err
		}
	}
	return v, nil
}

// preparesInTransactions: since 1.21 PgBouncer knows about prepared statements.
func preparesInTransactions(v [2]int) bool { return v[0] > 1 || v[0] == 1 && v[1] >= 21 }

// pgbouncerINI has the database twice, the second time in session mode. Everything that isn't here is PgBouncer's default.
const pgbouncerINI = `[databases]
app = host=%[1]s port=%[2]d dbname=app
app_session = host=%[1]s port=%[2]d dbname=app pool_mode=session

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[3]s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %[4]s
pool_mode = transaction
default_pool_size = %[5]d
max_client_conn = 200
log_connections = 0
log_disconnections = 0
log_stats = 0
%[6]s`

// startPgBouncer starts it in transaction mode.
func (l *lab) startPgBouncer(ctx context.Context) (*contender, error) {
	path, version, err := l.findPgBouncer(ctx)
	if err != nil {
		return nil, err
	}
	l.versions["PgBouncer"] = fmt.Sprintf("%d.%d", version[0], version[1])
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	// With the verifier, it learns the client's key from the client's proof and logs in to the server with that, as Freshet does.
	// With a password it would derive keys from it at each login, which is slow on purpose and isn't what is compared here.
	verifier, err := l.cluster.Primary().Value(ctx, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", cluster.App)
	if err != nil {
		return nil, err
	}
	users, ini := filepath.Join(l.dir, "userlist.txt"), filepath.Join(l.dir, "pgbouncer.ini")
	extra := ""
	if preparesInTransactions(version) {
		extra = "max_prepared_statements = 200\n" // 1.21 has it off, 1.24 has this
	}
	primary := l.cluster.Primary()
	for file, text := range map[string]string{
		users: fmt.Sprintf("%q %q\n", cluster.App, verifier),
		ini:   fmt.Sprintf(pgbouncerINI, primary.Host(), primary.Port(), port, users, poolSize, extra),
	} {
		if err := l.writeForServers(file, text); err != nil {
			return nil, err
		}
	}
	p, err := l.start("pgbouncer", true, path, ini)
	if err != nil {
		return nil, err
	}
	pooled := l.app(port)
	if err := p.wait(ctx, 10*time.Second, pooled.answers); err != nil {
		return nil, err
	}
	session := pooled
	session.database = "app_session"
	return &contender{
		label: "PgBouncer", setup: "transaction mode, one thread, to the primary",
		target: func(mode string) (endpoint, string) {
			if mode == "prepared" && !preparesInTransactions(version) {
				return session, "session mode"
			}
			return pooled, ""
		},
		pid: p.pid(),
	}, nil
}

// writeForServers writes a file that the account of the servers, and only that, can read.
func (l *lab) writeForServers(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	uid, gid, err := owner(l.cluster.Dir())
	if err != nil {
		return err
	}
	return os.Chown(path, int(uid), int(gid))
}
