package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Names that every cluster has.
const (
	// Superuser is the role that owns the cluster.
	Superuser = "postgres"
	// App is an ordinary role, and the database that it owns.
	App = "app"
)

// startTimeout bounds the start of one server when the context has no
// earlier deadline: long enough for a loaded machine, short enough to fail
// before `go test` does.
const startTimeout = 60 * time.Second

// Options say what to start. The zero value is one primary.
type Options struct {
	// Dir is where everything is kept: it is made if need be, and must be
	// empty. Default: a new folder in $TMPDIR, or else in memory where there
	// is plenty (/dev/shm), or else in /tmp. When we are root, the
	// account that runs the servers must be able to reach it.
	Dir string
	// Keep leaves the folder in place after Stop (and after a crash).
	Keep bool

	// Replicas is the number of streaming replicas: replica1, replica2, …
	Replicas int
	// Redis starts a Redis too.
	Redis bool
	// TLS has Postgres accept TLS, with a certificate for 127.0.0.1 and
	// localhost that CAFile verifies. Connections without TLS still work.
	TLS bool
	// Synchronous names replicas that every commit waits for. Shorthand
	// for SetSynchronous after the start.
	Synchronous []string

	// Settings are added to every node's configuration, and win over the
	// defaults (defaultSettings). Values are as in SHOW, without quotes.
	Settings map[string]string
	// HBA lines are put before the default ones of pg_hba.conf, which want
	// SCRAM over TCP and over the Unix socket.
	HBA []string
	// Password of the superuser. Default: random, see Cluster.Password.
	Password string

	// Bin is the folder of Postgres' programs. Default: see FindPostgres.
	Bin string
	// RedisServer is Redis' program. Default: $FRESHET_REDIS_SERVER, then
	// redis-server or valkey-server in PATH.
	RedisServer string
	// Cache keeps what initdb has made in the user's cache folder, 45 MB that
	// stay, and takes it from there: a start takes a third of a second then,
	// instead of two or three. ForTest and Shared have it on. All clusters made
	// so have the same system identifier, and the same passwords.
	Cache bool
	// Account runs the servers when we are root, which Postgres refuses to
	// be. Default: postgres, else nobody. Without root it must be empty.
	Account string

	// Log hears what is being done, a line at a time, and never two at once.
	// Default: nobody.
	// What the servers say is in files, see Node.LogTail.
	Log io.Writer
}

// Cluster is a running set of servers. Its methods are safe for concurrent use.
type Cluster struct {
	opts     Options
	dir      string
	madeDir  bool
	bin      string
	version  int // server_version_num / 10000
	account  account
	password string
	appPass  string
	sockets  string // Unix socket folder; empty when its path would be too long
	caFile   string
	watchdog *watchdog
	redis    *Redis

	authority *Authority // nil without Options.TLS

	primary   atomic.Pointer[Node]
	databases atomic.Int32 // made by NewDatabase

	logMu sync.Mutex // held while something is written to opts.Log

	stopOnce sync.Once
	stopErr  error

	mu struct {
		sync.Mutex
		nodes []*Node
	}
}

// Start starts a cluster and returns when the primary takes writes, every
// replica answers and streams, and Redis answers. ctx bounds the start only:
// the cluster lives until Stop, or until this process ends.
// When Start fails, it has cleaned up.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	c := &Cluster{opts: o}
	if err := c.start(ctx); err != nil {
		// The folder goes, so the servers' own words must come along.
		err = fmt.Errorf("cluster: %w", err)
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) (err error) {
	began := time.Now()
	if c.bin, c.version, err = FindPostgres(c.opts.Bin); err != nil {
		return err
	}
	if c.account, err = lookupAccount(c.opts.Account); err != nil {
		return err
	}
	if err := c.chooseDir(); err != nil {
		return err
	}
	// Before there is anything to be left over.
	if c.watchdog, err = startWatchdog(c.dir, c.madeDir, c.opts.Keep); err != nil {
		return err
	}
	if err := c.makeDir(); err != nil {
		return err
	}
	if c.opts.TLS {
		if err := c.makeCertificates(); err != nil {
			return err
		}
	}
	tmpl, err := c.template(ctx)
	if err != nil {
		return err
	}
	c.password, c.appPass = tmpl.password, tmpl.appPassword
	c.logf("postgres %d from %s in %s", c.version, c.bin, c.dir)

	// A copy of the template taken while nothing runs on it is a base backup:
	// the replicas start from the same checkpoint as the primary, and stream.
	p := c.newNode()
	if err := tmpl.copyTo(p.data, c.account); err != nil {
		return err
	}
	replicas := make([]*Node, c.opts.Replicas)
	for i := range replicas {
		replicas[i] = c.newNode()
		if err := tmpl.copyTo(replicas[i].data, c.account); err != nil {
			return err
		}
	}
	if err := p.startFirst(ctx); err != nil {
		return err
	}
	c.primary.Store(p)
	if c.opts.Password != "" {
		if err := p.Exec(ctx, "ALTER ROLE "+Superuser+" PASSWORD "+quoteLiteral(c.opts.Password)); err != nil {
			return err
		}
		c.password = c.opts.Password
	}
	if err := c.startReplicas(ctx, p, replicas); err != nil {
		return err
	}
	if c.opts.Redis {
		if c.redis, err = c.startRedis(ctx); err != nil {
			return err
		}
	}
	if len(c.opts.Synchronous) > 0 {
		if err := c.SetSynchronous(ctx, c.opts.Synchronous...); err != nil {
			return err
		}
	}
	c.logf("up after %v", time.Since(began).Round(time.Millisecond))
	return nil
}

// startReplicas starts all of them at once, and waits until the primary sees them stream.
func (c *Cluster) startReplicas(ctx context.Context, primary *Node, replicas []*Node) error {
	if len(replicas) == 0 {
		return nil
	}
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, r := range replicas {
		if err := primary.createSlot(ctx, r.slot()); err != nil {
			return err
		}
		wg.Go(func() {
			if errs[i] = r.writeStandby(primary); errs[i] == nil {
				errs[i] = r.startFirst(ctx)
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, r := range replicas {
		if err := r.waitStreaming(ctx, primary); err != nil {
			return err
		}
	}
	return nil
}

// chooseDir decides where the folder is going to be, and checks what is there.
func (c *Cluster) chooseDir() error {
	dir := c.opts.Dir
	if dir == "" {
		// Not os.MkdirTemp, which would make it before the watchdog knows.
		dir = filepath.Join(defaultParent(), "freshet-"+rand.Text()[:10])
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	found, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		c.madeDir = true
		err = os.MkdirAll(filepath.Dir(dir), 0o755)
	}
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("folder %s is not empty", dir)
	}
	// Through symbolic links, since Postgres compares and prints real paths.
	existing, rest := dir, ""
	if c.madeDir {
		existing, rest = filepath.Split(dir)
	}
	if existing, err = filepath.EvalSymlinks(existing); err != nil {
		return err
	}
	c.dir = filepath.Join(existing, rest)
	return nil
}

// makeDir makes the folder, and gives it to the account.
func (c *Cluster) makeDir() error {
	if c.madeDir {
		if err := os.Mkdir(c.dir, 0o700); err != nil {
			// Somebody else did: nothing in it is ours to remove.
			err = errors.Join(err, c.watchdog.dismiss())
			c.watchdog = nil
			return err
		}
	}
	if err := c.account.own(c.dir); err != nil {
		return err
	}
	if err := c.account.canReach(c.dir); err != nil {
		return err
	}
	// sun_path holds 104 bytes on macOS, 108 on Linux.
	if s := filepath.Join(c.dir, "s"); len(s)+len("/.s.PGSQL.65535.lock") < 100 {
		if err := os.Mkdir(s, 0o700); err != nil {
			return err
		}
		if err := c.account.own(s); err != nil {
			return err
		}
		c.sockets = s
	}
	return nil
}

// Stop ends every server of the cluster at once, without a checkpoint, and
// removes the folder unless Options.Keep. It may be called more than once,
// and on a cluster whose start failed.
func (c *Cluster) Stop() error {
	c.stopOnce.Do(func() { c.stopErr = c.stop() })
	return c.stopErr
}

func (c *Cluster) stop() error {
	nodes := c.Nodes()
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		// What is kept is worth a clean end.
		mode := Immediate
		if c.opts.Keep {
			mode = Fast
		}
		wg.Go(func() { errs[i] = n.Stop(mode); n.removeSharedMemory() })
	}
	if c.redis != nil {
		wg.Go(func() { _ = c.redis.Kill() })
	}
	wg.Wait()
	err := errors.Join(errs...)
	if c.watchdog != nil && !c.opts.Keep {
		err = errors.Join(err, c.removeDir())
	}
	if c.watchdog != nil {
		err = errors.Join(err, c.watchdog.dismiss())
	}
	return err
}

func (c *Cluster) removeDir() error {
	if c.madeDir {
		return os.RemoveAll(c.dir)
	}
	found, err := os.ReadDir(c.dir)
	for _, f := range found {
		err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, f.Name())))
	}
	return err
}

// Dir is the cluster's folder.
func (c *Cluster) Dir() string { return c.dir }

// Version is Postgres' major version.
func (c *Cluster) Version() int { return c.version }

// Password is the superuser's.
func (c *Cluster) Password() string { return c.password }

// AppPassword is that of the role App.
func (c *Cluster) AppPassword() string { return c.appPass }

// CAFile verifies the servers' certificates; empty without Options.TLS.
func (c *Cluster) CAFile() string { return c.caFile }

// Primary is the node that was made primary last: the first one, or the one
// that was promoted since. It may be down.
func (c *Cluster) Primary() *Node { return c.primary.Load() }

// Nodes are all nodes, up or down, in the order in which they were made.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.mu.nodes...)
}

// Replicas are the nodes that follow another, up or down. A former primary
// isn't one until it was made one again (Node.Rejoin).
func (c *Cluster) Replicas() []*Node {
	var rs []*Node
	for _, n := range c.Nodes() {
		if n.upstream.Load() != nil {
			rs = append(rs, n)
		}
	}
	return rs
}

// Redis is the Redis, nil without Options.Redis.
func (c *Cluster) Redis() *Redis { return c.redis }

// Program is the path of one of Postgres' programs (psql, pgbench, …), looked
// for beside the server and then in PATH.
func (c *Cluster) Program(name string) (string, error) { return findProgram(c.bin, name) }

func (c *Cluster) logf(format string, args ...any) {
	if c.opts.Log == nil {
		return
	}
	c.logMu.Lock()
	defer c.logMu.Unlock()
	fmt.Fprintf(c.opts.Log, "cluster: "+format+"\n", args...)
}
