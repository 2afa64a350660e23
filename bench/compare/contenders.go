package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

// contenderKeys, in the order of their turns. The last one is the proxy of the one before it.
var contenderKeys = []string{"direct", "pgbouncer", "floor", "freshet", "freshet-off", "freshet-primary"}

// starters start contenders that take part.
var starters = map[string]func(*lab, context.Context) (*contender, error){
	"direct":          (*lab).startDirect,
	"pgbouncer":       (*lab).startPgBouncer,
	"floor":           (*lab).startFloor,
	"freshet":         (*lab).startFreshet,
	"freshet-off":     (*lab).startFreshetOff,
	"freshet-primary": (*lab).startFreshetPrimary,
}

// poolSize of every pooler: enough for each client, so that nobody waits.
const poolSize = 20

// contender is one of those that are compared.
type contender struct {
	key, label, setup string
	// target is where pgbench goes in a protocol mode; note says what is then different from the other modes.
	target func(mode string) (e endpoint, note string)
	// pid is the proxy's process; 0: there is none.
	pid int
	// http is the address of its metrics; empty: it has none.
	http string
	// canned: it answers without a database.
	canned bool
}

// always is the same target in every mode.
func always(e endpoint) func(string) (endpoint, string) {
	return func(string) (endpoint, string) { return e, "" }
}

func (l *lab) startDirect(context.Context) (*contender, error) {
	return &contender{
		label: "direct", setup: "pgbench connects to the primary",
		target: always(l.at(l.cluster.Primary(), "")),
	}, nil
}

// app is the application's end of a proxy on one of our ports.
func (l *lab) app(port string) endpoint {
	return endpoint{host: "127.0.0.1", port: port, user: cluster.App, password: l.cluster.AppPassword(), database: cluster.App}
}

func (l *lab) startFloor(ctx context.Context) (*contender, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := l.start("floor", false, l.floor, "--listen", "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	e := l.app(port)
	if err := p.wait(ctx, 10*time.Second, e.answers); err != nil {
		return nil, err
	}
	return &contender{
		label: "floor", setup: "bench/floor: Freshet's event loops with canned answers, no logic, no database",
		target: always(e), pid: p.pid(), canned: true,
	}, nil
}

// answers tells whether a query is answered.
func (e endpoint) answers(ctx context.Context) error {
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, "SELECT 1").ReadAll()
	return err
}

// connect connects as pgbench does, with the simple protocol.
func (e endpoint) connect(ctx context.Context) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(e.port, 10, 16)
	if err != nil {
		return nil, err
	}
	conf.Host, conf.Port, conf.User, conf.Password, conf.Database = e.host, uint16(port), e.user, e.password, e.database
	conf.Fallbacks = nil
	conf.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	if e.options != "" {
		conf.RuntimeParams["options"] = e.options
	}
	return pgx.ConnectConfig(ctx, conf)
}

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
	return "", version, errors.New("PgBouncer isn't installed: make deps ARGS=--bench, or leave it out with --contenders")
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
	port, err := freePort()
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

func (l *lab) startFreshet(ctx context.Context) (*contender, error) {
	c, err := l.serve(ctx, "freshet")
	if err != nil {
		return nil, err
	}
	c.label, c.setup = "Freshet, cached", "cache on, primary and two replicas"
	e, _ := c.target("simple")
	p := l.processes[len(l.processes)-1]
	if err := p.wait(ctx, 30*time.Second, e.servesFromCache); err != nil {
		return nil, err
	}
	return c, nil
}

func (l *lab) startFreshetOff(ctx context.Context) (*contender, error) {
	c, err := l.serve(ctx, "freshet-off", "--cache", "off")
	if err != nil {
		return nil, err
	}
	c.label, c.setup = "Freshet, uncached", "--cache off, reads on two replicas"
	return c, nil
}

// startFreshetPrimary starts nothing: it is another way to use the one without a cache.
func (l *lab) startFreshetPrimary(context.Context) (*contender, error) {
	off := l.contender("freshet-off")
	if off == nil {
		return nil, errors.New("--contenders: freshet-primary is nobody without freshet-off")
	}
	c := *off
	c.label, c.setup = "Freshet, primary", "the same process, but freshet.route=primary: the servers that PgBouncer uses"
	e, _ := off.target("simple")
	e.options = "-c freshet.route=primary"
	c.target = always(e)
	return &c, nil
}

// serve starts a Freshet and returns when it says that it is ready.
func (l *lab) serve(ctx context.Context, name string, flags ...string) (*contender, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	httpPort, err := freePort()
	if err != nil {
		return nil, err
	}
	args := []string{
		"serve", "--listen", "127.0.0.1:" + port, "--http", "127.0.0.1:" + httpPort, "--log-level", "warn",
		"--pool-size", fmt.Sprint(poolSize), "--primary", l.cluster.Primary().URL(cluster.App),
	}
	for _, r := range l.cluster.Replicas() {
		args = append(args, "--replica", r.URL(cluster.App))
	}
	p, err := l.start(name, false, l.freshet, append(args, flags...)...)
	if err != nil {
		return nil, err
	}
	c := &contender{target: always(l.app(port)), pid: p.pid(), http: net.JoinHostPort("127.0.0.1", httpPort)}
	e, _ := c.target("simple")
	if err := p.wait(ctx, 30*time.Second, c.ready); err != nil {
		return nil, err
	}
	return c, p.wait(ctx, 10*time.Second, e.answers)
}

// servesFromCache tells whether a read that may come from the cache does.
func (e endpoint) servesFromCache(ctx context.Context) error {
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	const read, where, why = "SELECT abalance FROM pgbench_accounts WHERE aid = 1", "SHOW freshet.source", "SHOW freshet.reason"
	for range 2 { // the first one fills it
		if _, err := conn.PgConn().Exec(ctx, read).ReadAll(); err != nil {
			return err
		}
	}
	source, err := conn.PgConn().Exec(ctx, where).ReadAll()
	if err != nil {
		return err
	}
	if strings.HasPrefix(value(source), "l1") {
		return nil
	}
	reason, err := conn.PgConn().Exec(ctx, why).ReadAll()
	if err != nil {
		return err
	}
	return fmt.Errorf("nothing comes from the cache yet: %s, %s", value(source), value(reason))
}

// value is the only value of a result; empty: it has none.
func value(r []*pgconn.Result) string {
	if len(r) == 1 && len(r[0].Rows) == 1 && len(r[0].Rows[0]) == 1 {
		return string(r[0].Rows[0][0])
	}
	return ""
}
