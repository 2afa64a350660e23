package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
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
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)

	log.Info("freshet starts", "version", buildVersion(), "config", cfg)
	server, err := startServer(context.Background(), cfg, log)
	if err != nil {
		return err
	}
	log.Info("freshet accepts clients", "addresses", server.Addrs(), "http", server.HTTPAddr())
	for {
		select {
		case err := <-server.Done():
			// What still runs is given the chance to end in order.
			return errors.Join(err, shutdown(server, cfg, log, signals))
		case s := <-signals:
			if s == syscall.SIGHUP {
				reload(env, c.Config, cfg, level, log)
				continue
			}
			log.Info("freshet stops", "signal", s.String(), "drain_timeout", cfg.DrainTimeout)
			return shutdown(server, cfg, log, signals)
		}
	}
}

// shutdown stops the server: in order, for as long as --drain-timeout; at once
// after another signal. That clients had to be cut off is in the log and no
// failure.
func shutdown(server *instance, cfg ServeConfig, log *slog.Logger, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.DrainTimeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- server.Shutdown(ctx) }()
	for {
		select {
		case err := <-ended:
			if errors.Is(err, context.DeadlineExceeded) {
				log.Warn("clients were cut off: their transactions took longer than --drain-timeout", "drain_timeout", cfg.DrainTimeout)
				err = nil
			}
			if err == nil {
				log.Info("freshet has stopped")
			}
			return err
		case s := <-signals:
			if s == syscall.SIGHUP {
				continue
			}
			// The process ends with this error, and with it everything that Shutdown was still waiting for.
			return fmt.Errorf("stopped at once by a second signal (%v)", s)
		}
	}
}

// reload reads the configuration again, after SIGHUP. The level of the log is
// what can change while running; the rest is named.
func reload(env *environment, path string, running ServeConfig, level *slog.LevelVar, log *slog.Logger) {
	if path == "" {
		log.Info("reload: there is nothing to read again without --config")
		return
	}
	_, commands, err := parse(env.args, env.stdout, env.stderr)
	var again ServeConfig
	if err == nil {
		again = commands.Serve.Flags.config()
		err = again.Validate()
	}
	if err != nil {
		log.Error("reload: the configuration is wrong, nothing has changed", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	level.Set(logLevel(again.LogLevel))
	if fixed := slices.DeleteFunc(changes(running, again), func(flag string) bool { return flag == "log-level" }); len(fixed) > 0 {
		log.Warn("reload: these can't change while running, and keep their values until a restart", "flags", fixed)
	}
	log.Info("reload: done", "config", path, "log_level", again.LogLevel)
}

// changes are the flags that differ.
func changes(a, b ServeConfig) []string {
	var list []string
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range va.NumField() {
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			list = append(list, flagName(va.Type().Field(i)))
		}
	}
	return list
}
