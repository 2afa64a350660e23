package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// settings of the servers, beyond the cluster's own: the table and its index in memory, and nothing that starts of itself in
// the middle of somebody's turn. (fsync is off, which reads don't notice.)
var settings = map[string]string{
	"shared_buffers":     "256MB",
	"autovacuum":         "off",
	"checkpoint_timeout": "1h",
	"max_wal_size":       "4GB",
}

// replicas of the cluster. Only Freshet makes use of them.
const replicas = 2

// lab is all that is needed for a run: servers, proxies, and where they are.
type lab struct {
	options
	cluster     *cluster.Cluster
	dir         string // for logs and configuration; it goes with the cluster's
	pgbenchPath string
	selectOnly  string // file of the script
	contenders  []*contender
	processes   []*process
	versions    map[string]string
	stdout      io.Writer
}

// openLab starts everything. When it fails, it has stopped everything.
func openLab(ctx context.Context, o options, stdout io.Writer) (_ *lab, err error) {
	l := &lab{options: o, stdout: stdout, versions: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w%s", err, l.logs()), l.close())
		}
	}()
	l.say("a primary and %d replicas", replicas)
	var log io.Writer
	if o.verbose {
		log = stdout
	}
	if l.cluster, err = cluster.Start(ctx, cluster.Options{Replicas: replicas, Settings: settings, Log: log}); err != nil {
		return nil, err
	}
	l.dir = filepath.Join(l.cluster.Dir(), "compare")
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return nil, err
	}
	if uid, gid, err := owner(l.cluster.Dir()); err != nil {
		return nil, err
	} else if err := os.Chown(l.dir, int(uid), int(gid)); err != nil {
		return nil, err
	}
	if l.pgbenchPath, err = l.cluster.Program("pgbench"); err != nil {
		return nil, err
	}
	if l.selectOnly, err = l.scriptFile("select-only.sql", selectOnly); err != nil {
		return nil, err
	}
	if err := l.load(ctx); err != nil {
		return nil, err
	}
	if err := l.findVersions(ctx); err != nil {
		return nil, err
	}
	for _, key := range contenderKeys {
		if !l.takesPart(key) {
			continue
		}
		c, err := starters[key](l, ctx)
		if err != nil {
			return nil, err
		}
		c.key = key
		l.contenders = append(l.contenders, c)
	}
	return l, nil
}

func (l *lab) takesPart(key string) bool {
	for _, k := range l.options.contenders {
		if k == key {
			return true
		}
	}
	return false
}

func (l *lab) contender(key string) *contender {
	for _, c := range l.contenders {
		if c.key == key {
			return c
		}
	}
	return nil
}

// close stops the proxies, then the servers.
func (l *lab) close() error {
	for i := len(l.processes) - 1; i >= 0; i-- {
		l.processes[i].stop()
	}
	if l.cluster == nil {
		return nil
	}
	return l.cluster.Stop()
}

// logs is the end of what each proxy has printed, for errors.
func (l *lab) logs() string {
	var b strings.Builder
	for _, p := range l.processes {
		b.WriteString(p.logTail())
	}
	return b.String()
}

func (l *lab) say(format string, args ...any) {
	fmt.Fprintf(l.stdout, "compare: "+format+"\n", args...)
}

// load fills the database, and has it in memory on every node.
func (l *lab) load(ctx context.Context) error {
	l.say("pgbench -i, scale %d", l.scale)
	began := time.Now()
	cmd := exec.CommandContext(ctx, l.pgbenchPath, "-i", "-q", "-s", fmt.Sprint(l.scale))
	cmd.Env = l.at(l.cluster.Primary(), "").environment()
	cmd.SysProcAttr = dieWithUs()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench -i: %w\n%s", err, out)
	}
	// Frozen rows carry their state with them; otherwise each node's first readers would work it out, and write it.
	if err := l.cluster.Primary().Exec(ctx, "VACUUM (FREEZE, ANALYZE)"); err != nil {
		return err
	}
	if err := l.setup(ctx); err != nil {
		return err
	}
	if err := l.cluster.Primary().Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	if err := l.cluster.WaitCaughtUp(ctx); err != nil {
		return err
	}
	if err := l.prewarm(ctx); err != nil {
		return err
	}
	l.say("loaded after %v", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// prewarm reads table and index into each node's buffers. Where the extension isn't installed, the warm-up of each workload has to do.
func (l *lab) prewarm(ctx context.Context) error {
	if err := l.cluster.Primary().Exec(ctx, "CREATE EXTENSION IF NOT EXISTS pg_prewarm"); err != nil {
		l.say("without pg_prewarm: %v", err)
		return nil
	}
	if err := l.cluster.WaitCaughtUp(ctx); err != nil {
		return err
	}
	for _, n := range l.cluster.Nodes() {
		if err := n.Exec(ctx, "SELECT pg_prewarm('pgbench_accounts'), pg_prewarm('pgbench_accounts_pkey')"); err != nil {
			return err
		}
	}
	return nil
}

// setup prepares the database for Freshet's cache: by Freshet's own command, or, as long as it has none, by hand.
func (l *lab) setup(ctx context.Context) error {
	primary := l.cluster.Primary()
	_, err := os.Stat(l.freshet)
	if err == nil && exec.CommandContext(ctx, l.freshet, "setup", "--help").Run() == nil {
		if out, err := exec.CommandContext(ctx, l.freshet, "setup", "--primary", primary.URL(cluster.App)).CombinedOutput(); err != nil {
			return fmt.Errorf("freshet setup: %w\n%s", err, out)
		}
	}
	there, err := primary.Value(ctx, "SELECT count(*) FROM pg_publication WHERE pubname = 'freshet'")
	if err != nil || there != "0" {
		return err
	}
	// Without pgbench_history, which has no replica identity.
	return primary.Exec(ctx, "CREATE PUBLICATION freshet FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers")
}

// at is how the application connects to a node.
func (l *lab) at(n *cluster.Node, options string) endpoint {
	return endpoint{
		host: n.Host(), port: fmt.Sprint(n.Port()), user: cluster.App, password: l.cluster.AppPassword(), database: cluster.App,
		options: options,
	}
}

// findVersions asks those who have one. PgBouncer's is found when it is started.
func (l *lab) findVersions(ctx context.Context) error {
	v, err := l.cluster.Primary().Value(ctx, "SHOW server_version")
	if err != nil {
		return err
	}
	l.versions["Postgres"] = v
	l.versions["Go"] = strings.TrimPrefix(runtime.Version(), "go")
	out, err := exec.CommandContext(ctx, l.pgbenchPath, "--version").Output()
	if err != nil {
		return err
	}
	l.versions["pgbench"] = strings.TrimSpace(strings.TrimPrefix(string(out), "pgbench (PostgreSQL) "))
	if out, err := exec.CommandContext(ctx, l.freshet, "version").Output(); err == nil {
		first, _, _ := strings.Cut(string(out), "\n")
		l.versions["Freshet"] = strings.TrimSpace(strings.TrimPrefix(first, "freshet "))
	}
	return nil
}
