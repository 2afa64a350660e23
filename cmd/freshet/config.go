package main

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/freshet/freshet/proxy/admin"
)

// ServeConfig is the configuration of a proxy: the flags of serve. The tags
// hold the defaults and the help. It is made by parse, or by
// DefaultServeConfig, judged once by Validate, and not changed afterwards.
//
// It prints without passwords.
type ServeConfig struct {
	Listen        []string `default:"127.0.0.1:6432" sep:"none" placeholder:"HOST:PORT" help:"Address for clients (repeatable). Default: ${default}."`
	UnixSocketDir string   `placeholder:"DIR" help:"Folder for a Unix socket beside each port of --listen. Default: none."`

	HTTP string `name:"http" default:"127.0.0.1:6480" placeholder:"HOST:PORT" help:"Address of metrics and health; empty: none. Default: ${default}."`

	Primary string   `placeholder:"URL" help:"Service URL of the primary: postgres://user:password@host:port/database?sslmode=…"`
	Replica []string `sep:"none" placeholder:"URL" help:"The same of a replica (repeatable). Roles are discovered: these are where to look."`

	AuthType   string `default:"scram-sha-256" placeholder:"TYPE" help:"How clients prove who they are: scram-sha-256, cert (by their TLS certificate) or trust. Default: ${default}."`
	AuthFile   string `placeholder:"FILE" help:"Users and their SCRAM secrets or passwords, in the format of PgBouncer's auth_file. Default: they are read from the primary."`
	MaxClients int    `default:"10000" placeholder:"N" help:"More clients than this get SQLSTATE 53300. Default: ${default}."`

	AdminUsers []string `sep:"none" placeholder:"USER" help:"Who may use the console, the database 'freshet' (repeatable). Default: the user of --primary."`
	StatsUsers []string `sep:"none" placeholder:"USER" help:"Who may use its SHOW commands only (repeatable). Default: nobody."`

	TLSMode     string `name:"tls-mode" default:"off" placeholder:"MODE" help:"TLS for clients: off, allow, require, or verify-client (and they show a certificate). Default: ${default}."`
	TLSCert     string `name:"tls-cert" placeholder:"FILE" help:"Our certificate for clients, and its chain (PEM). SIGHUP re-reads it, and the next two."`
	TLSKey      string `name:"tls-key" placeholder:"FILE" help:"Its key (PEM)."`
	TLSClientCA string `name:"tls-client-ca" placeholder:"FILE" help:"Who vouches for clients' certificates (PEM)."`

	PoolSize              int           `default:"20" placeholder:"N" help:"Server connections for each node, database and user. Default: ${default}."`
	PoolWait              time.Duration `default:"5s" placeholder:"TIME" help:"How long a query waits for a server connection; then SQLSTATE 53300. Default: ${default}."`
	MaxPreparedStatements int           `default:"1000" placeholder:"N" help:"Prepared statements kept on one server connection; beyond it, the one that wasn't used for longest is closed. Default: ${default}."`

	PoolMode string `default:"transaction" placeholder:"MODE" help:"How long a client has a server connection: transaction, or session (one on the primary as long as it is connected, and known to it by the server's process id). Default: ${default}."`

	QueryTimeout           time.Duration `default:"0" placeholder:"TIME" help:"A query that takes longer, waiting included, is cancelled: SQLSTATE 57014; 0: none. Default: ${default}."`
	IdleTransactionTimeout time.Duration `default:"0" placeholder:"TIME" help:"A client that does nothing for this long in a transaction is disconnected: SQLSTATE 25P03; 0: none. Default: ${default}."`
	ClientIdleTimeout      time.Duration `default:"0" placeholder:"TIME" help:"The same outside of a transaction: SQLSTATE 57P05; 0: none. Default: ${default}."`

	ConnectTimeout    time.Duration `default:"5s" placeholder:"TIME" help:"For each attempt to connect to a server. Default: ${default}."`
	ServerLifetime    time.Duration `default:"1h" placeholder:"TIME" help:"A server connection older than this is replaced; 0: never. Default: ${default}."`
	ServerIdleTimeout time.Duration `default:"10m" placeholder:"TIME" help:"A server connection idle for this long is closed; 0: never. Default: ${default}."`

	DatabaseIdleTimeout time.Duration `default:"1m" placeholder:"TIME" help:"A database that no client has been connected to for this long is left alone: no connection to it is held, so that it can be dropped past Freshet; 0: never. Not that of --primary. Default: ${default}."`

	Consistency  string        `default:"session" placeholder:"LEVEL" help:"Where a session doesn't say (freshet.consistency): eventual (within --max-staleness), session (reads its own writes, never goes back in time) or strong (sees every write acknowledged before). Default: ${default}."`
	RYWWindow    time.Duration `name:"ryw-window" default:"10s" placeholder:"TIME" help:"Read-your-writes: how long a session's own write is remembered. Default: ${default}."`
	RYWRelease   string        `name:"ryw-release" default:"caught-up" placeholder:"RULE" help:"What lets its reads leave the primary: caught-up (a replica or the cache has the write) or window (the time is over, too). Default: ${default}."`
	MaxStaleness time.Duration `default:"2s" placeholder:"TIME" help:"No replica or cache that is staler answers a read. Default: ${default}."`
	Balance      string        `default:"least-outstanding" placeholder:"RULE" help:"Which replica: least-outstanding, round-robin or random. Default: ${default}."`

	Cache                string        `default:"auto" placeholder:"MODE" help:"auto: whatever is proven safe, kept right by the WAL; off. Default: ${default}."`
	L1Size               Size          `name:"l1-size" default:"256MiB" placeholder:"SIZE" help:"Memory for cached answers, everything counted. Default: ${default}."`
	CacheMaxEntry        Size          `default:"1MiB" placeholder:"SIZE" help:"Larger answers aren't cached. Default: ${default}."`
	RowCells             Size          `default:"64MiB" placeholder:"SIZE" help:"Memory for each database to tell by which rows a write makes which answers stale; 0: by whole tables. Default: ${default}."`
	CacheTTL             time.Duration `name:"cache-ttl" default:"0" placeholder:"TIME" help:"A cached answer expires after it at the latest; 0: only when the WAL says so. Default: ${default}."`
	StaleIfError         time.Duration `default:"5m" placeholder:"TIME" help:"When no server can give an answer, a cached one is given that is staler by no more than this, except to strong reads; 0: never. Default: ${default}."`
	StaleWhileRevalidate time.Duration `default:"0" placeholder:"TIME" help:"For eventual sessions: a cached answer that has gone stale within this time is given while one query fetches another; 0: never. Default: ${default}."`
	Slot                 string        `placeholder:"NAME" help:"Permanent replication slot of the WAL feed. Default: a temporary one."`
	Publication          string        `default:"freshet" placeholder:"NAME" help:"Publication that the WAL feed reads; 'freshet setup' makes it. Default: ${default}."`

	LogFormat    string        `default:"text" placeholder:"FORMAT" help:"text or json. Default: ${default}."`
	LogLevel     string        `default:"info" placeholder:"LEVEL" help:"debug, info, warn or error. Default: ${default}."`
	DrainTimeout time.Duration `default:"30s" placeholder:"TIME" help:"How long transactions may go on after SIGTERM. Default: ${default}."`
	Shards       int           `default:"0" hidden:"" help:"Event loops; 0: one for each core."`
}

// serveFlags is ServeConfig without its methods: kong would call Validate
// itself, also for demo, which completes the configuration later.
type serveFlags ServeConfig

// config is the configuration that the flags say.
func (f serveFlags) config() ServeConfig {
	cfg := ServeConfig(f)
	cfg.Listen = splitList(f.Listen)
	cfg.Replica = splitURLs(f.Replica)
	cfg.AdminUsers, cfg.StatsUsers = splitList(f.AdminUsers), splitList(f.StatsUsers)
	return cfg
}

// DefaultServeConfig is the configuration without any flag, variable or file.
// It isn't complete: there is no primary.
func DefaultServeConfig() ServeConfig {
	var flags serveFlags
	parser, err := kong.New(&flags, kong.TypeMapper(reflect.TypeFor[time.Duration](), decodeDuration),
		kong.TypeMapper(reflect.TypeFor[Size](), decodeSize))
	if err == nil {
		_, err = parser.Parse(nil)
	}
	if err != nil {
		panic(fmt.Sprintf("the tags of ServeConfig are wrong: %v", err)) // seen by the first test
	}
	return flags.config()
}

// splitList takes lists apart: a variable has only one text for several
// addresses, with commas or spaces between them.
func splitList(texts []string) []string {
	var list []string
	for _, text := range texts {
		list = append(list, strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })...)
	}
	return list
}

// splitURLs is splitList for URLs. A password may hold a comma, so one that
// isn't followed by another URL stays.
func splitURLs(texts []string) []string {
	var list []string
	for _, text := range texts {
		for _, word := range strings.Fields(text) {
			for {
				end := nextURL(word)
				if end < 0 {
					break
				}
				list = append(list, word[:end])
				word = word[end+1:]
			}
			if word = strings.TrimSuffix(word, ","); word != "" {
				list = append(list, word)
			}
		}
	}
	return list
}

// nextURL is the place of a comma that another URL follows; -1: there is none.
func nextURL(text string) int {
	end := -1
	for _, scheme := range urlSchemes {
		if i := strings.Index(text, ","+scheme+"://"); i >= 0 && (end < 0 || i < end) {
			end = i
		}
	}
	return end
}

// entries are the flags and their values, as text without passwords, in order.
func (c ServeConfig) entries() [][2]string {
	var list [][2]string
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		text := fmt.Sprint(v.Field(i).Interface())
		list = append(list, [2]string{flagName(v.Type().Field(i)), admin.Redact(text)})
	}
	return list
}

// flagName is the flag of a field, as kong would call it.
func flagName(f reflect.StructField) string {
	if name := f.Tag.Get("name"); name != "" {
		return name
	}
	var b strings.Builder
	for i, r := range f.Name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}

// String is the flags, without passwords.
func (c ServeConfig) String() string {
	var b strings.Builder
	for _, e := range c.entries() {
		fmt.Fprintf(&b, "--%s=%s ", e[0], e[1])
	}
	return strings.TrimSuffix(b.String(), " ")
}

// GoString is String, for %#v.
func (c ServeConfig) GoString() string { return c.String() }

// LogValue is the flags, without passwords.
func (c ServeConfig) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, e := range c.entries() {
		attrs = append(attrs, slog.String(e[0], e[1]))
	}
	return slog.GroupValue(attrs...)
}
