package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet/freshet/proxy/backend"
)

var urlSchemes = []string{"postgres", "postgresql"}

// Bounds that are ours, not anybody else's.
const (
	minL1Size = 1 << 20
	minEntry  = 1 << 10
	maxShards = 1024
)

// Validate says what is wrong, all of it: an error for each flag, which says
// what is allowed and doesn't show a password.
func (c ServeConfig) Validate() error {
	v := validation{}
	if len(c.Listen) == 0 {
		v.add("--listen: at least one address is needed, as in 127.0.0.1:6432")
	}
	for _, addr := range c.Listen {
		v.address("listen", addr)
	}
	if c.UnixSocketDir != "" && !filepath.IsAbs(c.UnixSocketDir) {
		v.add("--unix-socket-dir: %q isn't an absolute path", c.UnixSocketDir)
	}
	if c.HTTP != "" {
		v.address("http", c.HTTP)
	}
	if c.Primary == "" {
		v.add("--primary is needed: the service URL of the primary, as in postgres://user:password@host:5432/database")
	} else {
		v.url("primary", c.Primary)
	}
	for _, text := range c.Replica {
		v.url("replica", text)
	}
	v.oneOf("auth-type", c.AuthType, "scram-sha-256", "cert", "trust")
	v.tls(c)
	v.atLeast("max-clients", c.MaxClients, 1)
	v.atLeast("pool-size", c.PoolSize, 1)
	v.positive("pool-wait", c.PoolWait)
	v.oneOf("pool-mode", c.PoolMode, "transaction", "session")
	v.atLeast("max-prepared-statements", c.MaxPreparedStatements, 1)
	v.notNegative("query-timeout", c.QueryTimeout)
	v.notNegative("idle-transaction-timeout", c.IdleTransactionTimeout)
	v.notNegative("client-idle-timeout", c.ClientIdleTimeout)
	v.positive("connect-timeout", c.ConnectTimeout)
	v.notNegative("server-lifetime", c.ServerLifetime)
	v.notNegative("server-idle-timeout", c.ServerIdleTimeout)
	v.notNegative("database-idle-timeout", c.DatabaseIdleTimeout)
	v.oneOf("consistency", c.Consistency, "eventual", "session", "strong")
	v.positive("ryw-window", c.RYWWindow)
	v.oneOf("ryw-release", c.RYWRelease, "caught-up", "window")
	v.positive("max-staleness", c.MaxStaleness)
	v.oneOf("balance", c.Balance, "least-outstanding", "round-robin", "random")
	v.oneOf("cache", c.Cache, "auto", "off")
	if c.L1Size < minL1Size {
		v.add("--l1-size: %s is too little: at least %s (--cache=off does without)", c.L1Size, Size(minL1Size))
	} else if c.CacheMaxEntry < minEntry || c.CacheMaxEntry > c.L1Size {
		v.add("--cache-max-entry: %s is out of range: from %s to --l1-size", c.CacheMaxEntry, Size(minEntry))
	}
	v.notNegative("cache-ttl", c.CacheTTL)
	v.notNegative("stale-if-error", c.StaleIfError)
	v.notNegative("stale-while-revalidate", c.StaleWhileRevalidate)
	if c.Slot != "" && !slotName.MatchString(c.Slot) {
		v.add("--slot: %q can't be a slot's name: up to 63 lower-case letters, digits and underscores", c.Slot)
	}
	v.publication(c.Publication)
	v.oneOf("log-format", c.LogFormat, "text", "json")
	v.oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error")
	v.notNegative("drain-timeout", c.DrainTimeout)
	if c.Shards < 0 || c.Shards > maxShards {
		v.add("--shards: %d is out of range: from 0 to %d", c.Shards, maxShards)
	}
	return errors.Join(v.wrong...)
}

// tls judges what belongs together. Whether the files are good is found out when they are read.
func (v *validation) tls(c ServeConfig) {
	before := len(v.wrong)
	if v.oneOf("tls-mode", c.TLSMode, "off", "allow", "require", "verify-client"); len(v.wrong) > before {
		return
	}
	files := []string{"tls-cert", c.TLSCert, "tls-key", c.TLSKey, "tls-client-ca", c.TLSClientCA}
	off := c.TLSMode == "off"
	for i := 0; i < len(files); i += 2 {
		if off && files[i+1] != "" {
			v.add("--%s has no effect with --tls-mode=off: say allow, require or verify-client", files[i])
			return
		}
	}
	if !off && (c.TLSCert == "" || c.TLSKey == "") {
		v.add("--tls-mode=%s needs --tls-cert and --tls-key", c.TLSMode)
	}
	if c.TLSMode == "verify-client" && c.TLSClientCA == "" {
		v.add("--tls-mode=verify-client needs --tls-client-ca: who vouches for clients?")
	}
	if c.AuthType == "cert" && c.TLSClientCA == "" {
		v.add("--auth-type=cert needs --tls-client-ca, and with it --tls-mode: who vouches for clients?")
	}
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// validation gathers what is wrong.
type validation struct{ wrong []error }

// validateDatabase judges what setup and explain are told about a database.
func validateDatabase(primary, publication string) error {
	v := validation{}
	if primary == "" {
		v.add("--primary is needed: the URL of the database on the primary, as in postgres://postgres:password@host:5432/database")
	} else {
		v.url("primary", primary)
	}
	v.publication(publication)
	return errors.Join(v.wrong...)
}

func (v *validation) add(format string, args ...any) {
	v.wrong = append(v.wrong, fmt.Errorf(format, args...))
}

func (v *validation) oneOf(flag, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		last := len(allowed) - 1
		v.add("--%s: %q isn't one of %s and %s", flag, value, strings.Join(allowed[:last], ", "), allowed[last])
	}
}

func (v *validation) atLeast(flag string, value, least int) {
	if value < least {
		v.add("--%s: %d is too little: at least %d", flag, value, least)
	}
}

func (v *validation) positive(flag string, d time.Duration) {
	if d <= 0 {
		v.add("--%s: %v isn't possible: it has to be more than 0", flag, d)
	}
}

func (v *validation) notNegative(flag string, d time.Duration) {
	if d < 0 {
		v.add("--%s: %v isn't possible: 0 or more", flag, d)
	}
}

func (v *validation) address(flag, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && n >= 0 && n <= 65535 {
			return
		}
	}
	v.add("--%s: %q isn't an address: HOST:PORT, as in 127.0.0.1:6432, or :PORT for all of the machine's addresses", flag, addr)
}

func (v *validation) publication(name string) {
	if name == "" || len(name) > 63 {
		v.add("--publication: %q can't be a publication's name: 1 to 63 bytes", name)
	}
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// url judges a service URL. What url.Parse says isn't shown: it quotes what it
// couldn't understand, which may be a part of the password.
func (v *validation) url(flag, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || !slices.Contains(urlSchemes, u.Scheme) || u.Opaque != "":
		v.add("--%s isn't a URL of the form postgres://user:password@host:port/database (in user and password, characters such as @ : / ? # %% have to be written as %%40 and so on)", flag)
	case strings.Contains(u.Host, ","):
		v.add("--%s: one server to a URL: name others with --replica", flag)
	case u.Hostname() == "" && u.Query().Get("host") == "":
		v.add("--%s: the URL has no host: postgres://user:password@host:port/database", flag)
	case u.Port() != "" && !isPort(u.Port()):
		v.add("--%s: %s isn't a port: 1 to 65535", flag, u.Port())
	default:
		// The rest is libpq's: sslmode, files of certificates. What it says doesn't quote the URL.
		if _, err := backend.ParseTarget(text); err != nil {
			v.add("--%s: %w", flag, err)
		}
	}
}
