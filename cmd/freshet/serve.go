package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/cache"
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/proxy"
	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/router/topology"
)

// instance is a running proxy.
type instance struct {
	topo      *topology.Topology
	clock     *consistency.Clock
	visible   *consistency.Clock
	databases *proxy.Databases
	verifiers *auth.CatalogSource
	admitter  *proxy.Admitter
	server    *proxy.Server
	running   atomic.Pointer[proxy.Server] // server, for goroutines that begin before it
	listeners []net.Listener
	tls       auth.TLS        // for clients
	users     auth.FileSource // of --auth-file
	reload    atomic.Pointer[func() error]
	l1        *cache.L1
	flights   *cache.Flights
	console   *admin.Console
	config    atomic.Pointer[ServeConfig] // in force
	cacheOff  bool
	failovers atomic.Int64
	listenOn  []string // the first of listeners, as configured; those of Unix sockets follow
	http      *admin.Server
	httpAddr  string
	httpOn    string // as configured

	httpListener net.Listener
	draining     atomic.Bool
	cancel       context.CancelFunc
	wg           sync.WaitGroup
	done         chan error
	stop         chan struct{} // SHUTDOWN
	once         sync.Once
	err          error
}

// startServer starts the proxy as cfg says and returns when it accepts clients. That servers are missing isn't an error: they are looked for
// as long as the proxy runs.
func startServer(_ context.Context, cfg ServeConfig, log *slog.Logger) (_ *instance, err error) {
	return startServerOn(&sockets{}, cfg, log)
}

// startServerOn is startServer on the sockets that another process has given.
func startServerOn(given *sockets, cfg ServeConfig, log *slog.Logger) (_ *instance, err error) {
	i := &instance{done: make(chan error, 1), stop: make(chan struct{}, 1), cacheOff: cfg.Cache == "off", listenOn: cfg.Listen, httpOn: cfg.HTTP}
	i.console = admin.NewConsole(admin.ConsoleConfig{Source: i, Operator: i, Version: buildVersion()})
	i.config.Store(&cfg)
	ctx, cancel := context.WithCancel(context.Background()) // ended by Shutdown, which has to be orderly
	i.cancel = cancel
	defer func() {
		if err != nil {
			i.Shutdown(context.Background())
		}
	}()
	if err := i.reconfigure(cfg, log); err != nil {
		return nil, usageError{err}
	}
	var httpListener net.Listener
	if cfg.HTTP != "" {
		httpListener, err = given.listen("http", cfg.HTTP)
		if err != nil {
			return nil, fmt.Errorf("--http %s: %w", cfg.HTTP, err)
		}
		i.httpAddr = httpListener.Addr().String()
		i.httpListener = httpListener
		defer func() {
			if err != nil {
				httpListener.Close()
			}
		}()
	}
	if i.listeners, err = listen(cfg, given); err != nil {
		return nil, err
	}
	balance, err := topology.ParseBalance(cfg.Balance)
	if err != nil {
		return nil, err
	}
	release := consistency.CaughtUp
	if cfg.RYWRelease == "window" {
		release = consistency.Window
	}
	level, _ := consistency.ParseLevel(cfg.Consistency) // Validate has seen to it
	registry := consistency.NewRegistry(cfg.RYWWindow, release)
	i.topo, err = topology.New(topology.Config{
		Primary: cfg.Primary, Replicas: cfg.Replica, ConnectTimeout: cfg.ConnectTimeout, MaxLag: cfg.RYWWindow,
		Balance: balance, Logger: log,
		OnPrimaryChange: func(*topology.Node) {
			i.failovers.Add(1)
			i.databases.PrimaryChanged()
			i.wg.Add(1)
			go func() {
				defer i.wg.Done()
				i.lowerFloors(ctx, registry)
			}()
		},
	})
	if err != nil {
		return nil, err
	}
	i.clock = consistency.NewClock(i.topo.Ask, cfg.ConnectTimeout)
	i.visible = consistency.NewClock(i.topo.ConfirmVisible, time.Second)
	i.databases = proxy.NewDatabases(proxy.DatabasesConfig{
		Topology: i.topo, Clock: i.clock, Publication: cfg.Publication, Slot: cfg.Slot,
		NoFeed: cfg.Cache == "off", ReplayGrace: cfg.RYWWindow, RowCells: cmp.Or(int64(cfg.RowCells), -1), Logger: log,
	})
	i.wg.Add(1)
	go func() {
		defer i.wg.Done()
		i.topo.Run(ctx)
	}()
	i.awaitPrimary(ctx)
	// From the start on, so that the cache is warm to be filled when the first client comes.
	if t, err := backend.ParseTarget(cfg.Primary); err == nil {
		i.databases.Keep(t.Database())
	}
	var verifiers auth.Source
	switch {
	case cfg.AuthFile != "":
		verifiers = &i.users
	case cfg.AuthType == string(proxy.AuthSCRAM):
		i.verifiers = auth.NewCatalogSource(auth.CatalogConfig{Nodes: i.serviceConfigs, Timeout: cfg.ConnectTimeout, Logger: log})
		verifiers = i.verifiers
	}
	i.admitter = proxy.NewAdmitter(proxy.AdmitConfig{
		AuthType: proxy.AuthType(cfg.AuthType), Verifiers: verifiers, Nodes: i.targets, TLS: &i.tls, Console: admin.ConsoleDatabase,
		ConnectTimeout: cfg.ConnectTimeout, Logger: log,
	})
	i.l1 = cache.NewL1(int64(cfg.L1Size), cache.PartsFor(int64(cfg.L1Size), int64(cfg.CacheMaxEntry)))
	shared := proxy.NewShared(proxy.SharedConfig{
		Nodes: i.topo, L1: i.l1, MaxEntry: int64(cfg.CacheMaxEntry), Registry: registry,
		NewConsistency: func() *consistency.Session { return consistency.NewSession(cfg.RYWWindow, release) },
		Consistency:    level, MaxStaleness: cfg.MaxStaleness, PoolWait: cfg.PoolWait, CacheOff: cfg.Cache == "off",
		MaxPrepared: cfg.MaxPreparedStatements, CancelWait: cfg.ConnectTimeout,
		CacheTTL: cfg.CacheTTL, StaleWhileRevalidate: cfg.StaleWhileRevalidate, StaleIfError: cfg.StaleIfError,
	})
	shared.SetLimits(cfg.limits())
	i.flights = shared.Flights
	i.server, err = proxy.NewServer(proxy.Config{
		Shards:    cfg.Shards,
		Shared:    shared,
		Databases: i.databases, Clock: i.clock, Visible: i.visible, Admitter: i.admitter, Topology: i.topo, Console: i.console,
		MaxClients: cfg.MaxClients, PoolSize: cfg.PoolSize, PoolWait: cfg.PoolWait, PoolMode: proxy.PoolMode(cfg.PoolMode), ConnectTimeout: cfg.ConnectTimeout,
		ServerLifetime: cfg.ServerLifetime, ServerIdleTimeout: cfg.ServerIdleTimeout,
		DatabaseIdleTimeout: cfg.DatabaseIdleTimeout, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	i.wg.Go(func() { i.console.RunStats(ctx) })
	if httpListener != nil {
		i.http = admin.New(admin.Config{Source: i, Version: buildVersion(), Commit: buildCommit(), Logger: log})
		i.wg.Add(1)
		go func() {
			defer i.wg.Done()
			if err := i.http.Serve(httpListener); err != nil && !i.draining.Load() {
				log.Error("metrics and health aren't served any more", "error", err)
			}
		}()
	}
	i.running.Store(i.server)
	for _, ln := range i.listeners {
		i.wg.Add(1)
		go func() {
			defer i.wg.Done()
			if err := i.server.Serve(ln); err != nil {
				select {
				case i.done <- fmt.Errorf("accepting clients on %s: %w", ln.Addr(), err):
				default:
				}
			}
		}()
	}
	return i, nil
}

// lowerFloors brings all floors back to where the new primary is. What the old one acknowledged beyond that is lost, and a
// floor that nobody can reach would keep its session from replicas and cache for ever.
func (i *instance) lowerFloors(ctx context.Context, registry *consistency.Registry) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		lsn, err := i.topo.Ask(ctx)
		if err == nil {
			registry.LowerFloors(lsn)
			if s := i.running.Load(); s != nil {
				s.LowerFloors(lsn)
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// awaitPrimary gives the topology a moment to find the primary, so that the first client needn't wait. Freshet starts without
// one, too.
func (i *instance) awaitPrimary(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i.topo.Primary() == nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ordered are all nodes, the primary first.
func (i *instance) ordered() []*topology.Node {
	var list []*topology.Node
	p := i.topo.Primary()
	if p != nil {
		list = append(list, p)
	}
	for _, n := range i.topo.Nodes() {
		if n != p && n.Up() {
			list = append(list, n)
		}
	}
	if len(list) == 0 {
		// Nobody is known to be up: perhaps nobody has been asked yet.
		list = i.topo.Nodes()
	}
	return list
}

func (i *instance) serviceConfigs() []*pgconn.Config {
	var list []*pgconn.Config
	for _, n := range i.ordered() {
		list = append(list, n.ConnConfig())
	}
	return list
}

func (i *instance) targets() []backend.Target {
	var list []backend.Target
	for _, n := range i.ordered() {
		if t, err := backend.NewTarget(n.ConnConfig()); err == nil {
			list = append(list, t)
		}
	}
	return list
}

// Addrs are the addresses that clients connect to.
func (i *instance) Addrs() []string {
	var list []string
	for _, ln := range i.listeners {
		list = append(list, ln.Addr().String())
	}
	return list
}

// HTTPAddr is the address of dashboard and metrics; empty: none.
func (i *instance) HTTPAddr() string { return i.httpAddr }

// Done gives the error that ended the proxy of itself.
func (i *instance) Done() <-chan error { return i.done }

// Leave stops listening, since another process does, and waits for clients to go by themselves, as long as patience and ctx last. Shutdown ends it.
func (i *instance) Leave(ctx context.Context, patience time.Duration) {
	i.draining.Store(true)
	if i.httpListener != nil {
		i.httpListener.Close() // no more than that: http.Server.Shutdown closes connections whose request hasn't come yet
	}
	i.server.Leave(ctx, patience)
}

// Shutdown stops the proxy; transactions may finish as long as ctx lasts. It may be called twice.
func (i *instance) Shutdown(ctx context.Context) error {
	i.once.Do(func() {
		i.draining.Store(true)
		if i.server != nil {
			i.err = i.server.Shutdown(ctx)
		} else {
			for _, ln := range i.listeners {
				ln.Close()
			}
		}
		if i.http != nil {
			// Metrics and health are there until the last client is gone.
			brief, cancel := context.WithTimeout(context.Background(), time.Second)
			i.http.Shutdown(brief)
			cancel()
		}
		if i.admitter != nil {
			i.admitter.Close()
		}
		if i.verifiers != nil {
			i.verifiers.Close()
		}
		if i.databases != nil {
			i.databases.Close()
		}
		if i.clock != nil {
			i.clock.Close()
		}
		if i.visible != nil {
			i.visible.Close()
		}
		i.cancel()
		i.wg.Wait()
	})
	return i.err
}
