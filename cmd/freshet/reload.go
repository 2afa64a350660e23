package main

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/freshet/freshet/proxy"
	"github.com/freshet/freshet/proxy/auth"
)

// changeable are the flags that can change while running. Those of files are
// read again, too, when their names are the same.
var changeable = []string{"log-level", "drain-timeout", "admin-users", "stats-users", "max-clients", "tls-mode", "tls-cert", "tls-key", "tls-client-ca", "auth-file",
	"query-timeout", "idle-transaction-timeout", "client-idle-timeout"}

// reloader reads the configuration again, on SIGHUP and for RELOAD.
type reloader struct {
	env    *environment
	path   string // of --config; empty: none
	level  *slog.LevelVar
	log    *slog.Logger
	server *instance

	mu      sync.Mutex
	running ServeConfig // what is in force
}

// reload reads the configuration and the files that it names. When anything is
// wrong, nothing changes: that is logged, and returned. What can't change while
// running is named in the log.
func (r *reloader) reload() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.read()
	whole := next // with what can't change
	if (next.AuthFile == "") != (r.running.AuthFile == "") {
		next.AuthFile = r.running.AuthFile // that decides where verifiers come from; another file is another matter
	}
	if err == nil {
		err = r.server.reconfigure(next, r.log)
	}
	if err != nil {
		r.log.Error("reload: the configuration is wrong, nothing has changed", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
		return err
	}
	r.level.Set(logLevel(next.LogLevel))
	inForce := merge(r.running, next, changeable)
	changed, fixed := changes(r.running, inForce), changes(inForce, whole)
	if len(fixed) > 0 {
		r.log.Warn("reload: these can't change while running, and keep their values until a restart", "flags", fixed)
	}
	r.running = inForce
	r.server.config.Store(&inForce)
	r.log.Info("reload: done", "config", r.path, "changed", changed, "log_level", next.LogLevel)
	return nil
}

// read parses the command line, the environment and the file once more.
func (r *reloader) read() (ServeConfig, error) {
	if r.path == "" { // a flag can't change, but the files that it names can
		return r.running, nil
	}
	_, commands, err := parse(r.env.args, r.env.stdout, r.env.stderr)
	if err != nil {
		return ServeConfig{}, err
	}
	cfg := commands.Serve.Flags.config()
	return cfg, cfg.Validate()
}

func (r *reloader) drainTimeout() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running.DrainTimeout
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

// merge is a with the named flags as in b.
func merge(a, b ServeConfig, flags []string) ServeConfig {
	va, vb := reflect.ValueOf(&a).Elem(), reflect.ValueOf(b)
	for i := range va.NumField() {
		if slices.Contains(flags, flagName(va.Type().Field(i))) {
			va.Field(i).Set(vb.Field(i))
		}
	}
	return a
}

// OnReload says what Reload does.
func (i *instance) OnReload(reload func() error) { i.reload.Store(&reload) }

// Reload reads the configuration again, as SIGHUP does. The error says why
// nothing has changed.
func (i *instance) Reload() error {
	if reload := i.reload.Load(); reload != nil {
		return (*reload)()
	}
	return errors.New("there is no configuration to read again")
}

// reconfigure puts the changeable flags of cfg into force: all of them, or none
// with an error.
func (i *instance) reconfigure(cfg ServeConfig, log *slog.Logger) error {
	state, err := loadTLS(cfg, log)
	if err != nil {
		return err
	}
	var users *auth.Userlist
	if cfg.AuthFile != "" {
		var warnings []string
		if users, warnings, err = auth.LoadUserlist(cfg.AuthFile, i.users.Load()); err != nil {
			return err
		}
		for _, w := range warnings {
			log.Warn(w)
		}
		log.Info("users of --auth-file", "file", cfg.AuthFile, "users", users.Len())
	}
	// Nothing can fail from here on.
	i.tls.Store(state)
	i.users.Store(users)
	if i.console != nil {
		i.console.SetUsers(cfg.adminUsers(), cfg.StatsUsers)
	}
	if i.server != nil {
		i.server.SetMaxClients(cfg.MaxClients)
		i.server.SetLimits(cfg.limits())
	}
	return nil
}

// limits are the times after which something of a session ends.
func (c ServeConfig) limits() proxy.Limits {
	return proxy.Limits{Query: c.QueryTimeout, IdleTransaction: c.IdleTransactionTimeout, ClientIdle: c.ClientIdleTimeout}
}

func (c ServeConfig) tlsFiles() auth.TLSFiles {
	return auth.TLSFiles{Mode: auth.TLSMode(c.TLSMode), Cert: c.TLSCert, Key: c.TLSKey, ClientCA: c.TLSClientCA}
}

// loadTLS reads the files of TLS for clients.
func loadTLS(cfg ServeConfig, log *slog.Logger) (*auth.TLSState, error) {
	state, warnings, err := auth.LoadTLS(cfg.tlsFiles())
	if err != nil {
		return nil, fmt.Errorf("TLS for clients: %w", err)
	}
	for _, w := range warnings {
		log.Warn("TLS for clients: " + w)
	}
	if state != nil {
		log.Info("TLS for clients", "mode", cfg.TLSMode, "certificate", cfg.TLSCert, "expires", state.NotAfter())
	}
	return state, nil
}
