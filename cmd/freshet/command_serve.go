package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type serveCommand struct {
	Flags  serveFlags `embed:""`
	Config string     `placeholder:"FILE" help:"YAML file with any of these flags as keys. A flag beats its variable (FRESHET_…), and that the file. SIGHUP re-reads it."`
}

// Run serves until a signal, or until the proxy can't go on.
func (c *serveCommand) Run(env *environment) error {
	cfg := c.Flags.config()
	if err := cfg.Validate(); err != nil {
		return usageError{err}
	}
	level := &slog.LevelVar{}
	level.Set(logLevel(cfg.LogLevel))
	log := newLogger(env.stderr, cfg.LogFormat, level)

	// From before the start on, so that no signal falls in between.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
	defer signal.Stop(signals)

	log.Info("freshet starts", "version", buildVersion(), "config", cfg)
	given, err := inherit()
	if err != nil {
		return err
	}
	server, err := startServerOn(given, cfg, log)
	if err != nil {
		return err
	}
	given.done()
	notify(fmt.Sprintf("READY=1\nMAINPID=%d", os.Getpid()))
	log.Info("freshet accepts clients", "addresses", server.Addrs(), "http", server.HTTPAddr())
	reloader := &reloader{env: env, path: c.Config, level: level, log: log, server: server, running: cfg}
	server.OnReload(reloader.reload)
	var handed chan error // of a hand-over that is under way
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case err := <-server.Done():
			// What still runs is given the chance to end in order.
			return errors.Join(err, shutdown(server, reloader.drainTimeout(), false, nil, log, signals))
		case <-server.Stopped():
			notify("STOPPING=1")
			log.Info("freshet stops", "command", "SHUTDOWN", "drain_timeout", reloader.drainTimeout())
			return shutdown(server, reloader.drainTimeout(), false, nil, log, signals)
		case err := <-handed:
			handed = nil
			if err != nil {
				log.Error("SIGUSR2: no other process could take over, this one goes on", "error", err)
				continue
			}
			log.Info("freshet leaves: another process has taken over", "drain_timeout", reloader.drainTimeout())
			return shutdown(server, reloader.drainTimeout(), true, nil, log, signals)
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				_ = reloader.reload() // it has said so in the log
				continue
			case syscall.SIGUSR2:
				if handed == nil { // else it is being done
					handed = make(chan error, 1)
					go func() { handed <- server.handOver(ctx, log) }()
				}
				continue
			}
			notify("STOPPING=1")
			log.Info("freshet stops", "signal", s.String(), "drain_timeout", reloader.drainTimeout())
			return shutdown(server, reloader.drainTimeout(), false, s, log, signals)
		}
	}
}

// leavePatience is how long clients may go on as they like after another process has taken over, or half of --drain-timeout if that is less:
// those that have just come, and come for a short time, aren't disturbed at all.
const leavePatience = 5 * time.Second

// sameSignal is for how long the same signal again is no second one: some send it to the process, and then to all of its group (as coreutils' timeout does).
const sameSignal = time.Second

// shutdown stops the server: in order, for as long as --drain-timeout; at once
// after another signal. That clients had to be cut off is in the log and no
// failure. leave: another process has taken over. by is the signal that it is
// stopped by, if it is.
func shutdown(server *instance, drain time.Duration, leave bool, by os.Signal, log *slog.Logger, signals <-chan os.Signal) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		if leave {
			server.Leave(ctx, min(leavePatience, drain/2))
		}
		ended <- server.Shutdown(ctx)
	}()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.DeadlineExceeded) {
				log.Warn("clients were cut off: their transactions took longer than --drain-timeout", "drain_timeout", drain)
				err = nil
			}
			if err == nil {
				log.Info("freshet has stopped")
			}
			return err
		case s := <-signals:
			if s == syscall.SIGHUP || s == syscall.SIGUSR2 || s == by && time.Since(begun) < sameSignal {
				continue
			}
			// The process ends with this error, and with it everything that Shutdown was still waiting for.
			return fmt.Errorf("stopped at once by a second signal (%v)", s)
		}
	}
}
