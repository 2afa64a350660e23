package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/rig"
)

func (l *lab) startFreshet(ctx context.Context) (*contender, error) {
	return l.startCaching(ctx, "freshet", "Freshet, cached", "cache on, primary and two replicas")
}

// startFreshetMisses starts one that caches every answer, and has room for so few of them that it has none of those that are asked for.
func (l *lab) startFreshetMisses(ctx context.Context) (*contender, error) {
	return l.startCaching(ctx, "freshet-misses", "Freshet, missing", "cache on, but of 1 MiB, so that every read misses and is a fill", "--l1-size", "1MiB", "--cache-max-entry", "64KiB")
}

func (l *lab) startCaching(ctx context.Context, key, label, setup string, flags ...string) (*contender, error) {
	c, err := l.serve(ctx, key, flags...)
	if err != nil {
		return nil, err
	}
	c.label, c.setup = label, setup
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
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	httpPort, err := freePort(ctx)
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
	ready := func(ctx context.Context) error {
		_, err := rig.Get(ctx, c.http, "/readyz")
		return err
	}
	if err := p.wait(ctx, 30*time.Second, ready); err != nil {
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
