package cluster

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Redis is a Redis server without persistence: it comes back empty. Its
// methods are safe for concurrent use.
type Redis struct {
	server
	path, dir string
	password  string
}

func (c *Cluster) startRedis(ctx context.Context) (*Redis, error) {
	path, err := findRedis(c.opts.RedisServer)
	if err != nil {
		return nil, err
	}
	r := &Redis{path: path, dir: filepath.Join(c.dir, "redis"), password: rand.Text()}
	r.c, r.name, r.logPath = c, "redis", filepath.Join(c.dir, "redis.log")
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return nil, err
	}
	if err := c.account.own(r.dir); err != nil {
		return nil, err
	}
	r.op.Lock()
	defer r.op.Unlock()
	return r, r.runFirst(ctx, func() error { return r.start(ctx) })
}

// URL is how to connect.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("default", r.password), Host: r.Addr(), Path: "/0"}
	return u.String()
}

// Start starts Redis with the port that it had, empty, and returns when it
// answers. Nothing happens if it is up.
func (r *Redis) Start(ctx context.Context) error {
	r.op.Lock()
	defer r.op.Unlock()
	if r.Running() {
		return nil
	}
	r.c.logf("start redis")
	return r.start(ctx)
}

func (r *Redis) start(ctx context.Context) error {
	// The configuration is a file, since arguments can be seen by everybody.
	conf := filepath.Join(r.dir, "redis.conf")
	text := fmt.Sprintf("bind %s\nport %d\ndir %s\nrequirepass %s\nsave \"\"\nappendonly no\ndaemonize no\n",
		r.Host(), r.Port(), r.dir, r.password)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	if err := r.c.account.own(conf); err != nil {
		return err
	}
	return r.run(ctx, r.ready, "KILL", r.path, conf)
}

func (r *Redis) ready() (bool, error) {
	conn, err := net.DialTimeout("tcp", r.Addr(), time.Second)
	if err != nil {
		return false, nil
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false, err
	}
	fmt.Fprintf(conn, "AUTH %s\r\n", r.password)
	line, _ := bufio.NewReader(conn).ReadString('\n')
	return strings.HasPrefix(line, "+OK"), nil
}

// Stop shuts Redis down.
func (r *Redis) Stop() error { return r.end(syscall.SIGTERM, 10*time.Second) }
