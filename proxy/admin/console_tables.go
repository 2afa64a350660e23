package admin

import (
	"cmp"
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// ClientInfo is a client, for SHOW CLIENTS.
type ClientInfo struct {
	User, Database   string
	State            string // active, idle, waiting
	Addr, Local      net.Addr
	Connected        time.Time
	Requested        time.Time     // when the statement in hand, or the last one, came; zero: none has
	Wait             time.Duration // of one that waits
	PID              uint32
	ServerPID        uint32 // of the server connection that it has; 0: none
	Node             string // of that
	TLS, Application string
	Prepared         int
	Transaction      string // idle, active, failed
	Waits            string // for what
	Bound            string // why it keeps its server connection
	Source, Reason   string // of the last answer
}

// ServerInfo is a server connection, for SHOW SERVERS.
type ServerInfo struct {
	Node, Database, User string
	State                string // active, idle
	Connected            time.Time
	Requested            time.Time
	CloseNeeded          bool
	PID                  uint32
	ClientPID            uint32 // who has it; 0: nobody
	Application          string // of the client that has it
	Prepared             int
}

// DatabaseInfo is a database that clients have used.
type DatabaseInfo struct {
	Name   string
	Paused bool

	Queries, Transactions               uint64
	Received, Sent                      uint64 // bytes, from and to clients
	QueryTime, TransactionTime, Waiting time.Duration
}

// ConfigEntry is a flag.
type ConfigEntry struct {
	Name, Value, Default string
	Changeable           bool // by RELOAD
}

// Inspector tells what only a look at all clients and servers tells. Its methods may take a moment.
type Inspector interface {
	Clients(ctx context.Context) ([]ClientInfo, error)
	Servers(ctx context.Context) ([]ServerInfo, error)
	Databases(ctx context.Context) ([]DatabaseInfo, error)
	// Config is the configuration in force, without secrets.
	Config() []ConfigEntry
}

var (
	connectionColumns = []Column{{"type", Text}, {"user", Text}, {"database", Text}, {"state", Text}, {"addr", Text}, {"port", Int4},
		{"local_addr", Text}, {"local_port", Int4}, {"connect_time", Text}, {"request_time", Text}, {"wait", Int4}, {"wait_us", Int4},
		{"close_needed", Int4}, {"ptr", Text}, {"link", Text}, {"remote_pid", Int4}, {"tls", Text}, {"application_name", Text}, {"prepared_statements", Int4}, {"id", Int}}
	clientColumns = append(slices.Clone(connectionColumns), Column{"pid", Int}, Column{"transaction", Text}, Column{"waits_for", Text}, Column{"node", Text},
		Column{"server_pid", Int}, Column{"bound", Text}, Column{"last_source", Text}, Column{"last_reason", Text})
	serverColumns = append(slices.Clone(connectionColumns), Column{"node", Text}, Column{"client_pid", Int})
	poolColumns   = []Column{{"database", Text}, {"user", Text}, {"cl_active", Int4}, {"cl_waiting", Int4}, {"cl_active_cancel_req", Int4},
		{"cl_waiting_cancel_req", Int4}, {"sv_active", Int4}, {"sv_active_cancel", Int4}, {"sv_being_canceled", Int4}, {"sv_idle", Int4}, {"sv_used", Int4},
		{"sv_tested", Int4}, {"sv_login", Int4}, {"maxwait", Int4}, {"maxwait_us", Int4}, {"pool_mode", Text}, {"nodes", Int4}}
	statsColumns = []Column{{"database", Text}, {"total_xact_count", Int}, {"total_query_count", Int}, {"total_received", Int}, {"total_sent", Int},
		{"total_xact_time", Int}, {"total_query_time", Int}, {"total_wait_time", Int}, {"avg_xact_count", Int}, {"avg_query_count", Int}, {"avg_recv", Int},
		{"avg_sent", Int}, {"avg_xact_time", Int}, {"avg_query_time", Int}, {"avg_wait_time", Int}}
	partialStatsColumns = []Column{{"database", Text}, {"xact_count", Int}, {"query_count", Int}, {"bytes_received", Int}, {"bytes_sent", Int},
		{"xact_time", Int}, {"query_time", Int}, {"wait_time", Int}}
	databaseColumns = []Column{{"name", Text}, {"host", Text}, {"port", Int4}, {"database", Text}, {"force_user", Text}, {"pool_size", Int4},
		{"min_pool_size", Int4}, {"reserve_pool", Int4}, {"pool_mode", Text}, {"max_connections", Int4}, {"current_connections", Int4}, {"paused", Int4},
		{"disabled", Int4}, {"feed", Text}}
	nodeColumns = []Column{{"node", Text}, {"role", Text}, {"primary", Bool}, {"up", Bool}, {"used", Bool}, {"reason", Text}, {"lag_ms", Float},
		{"lag_bytes", Int}, {"outstanding", Int}, {"connections", Int}, {"drained", Bool}, {"breaker_open", Bool}}
	feedColumns = []Column{{"database", Text}, {"serving", Bool}, {"lag_ms", Float}, {"relations", Int}, {"commits", Int}, {"column_sets", Int},
		{"cell_bytes", Int}, {"cell_limit", Int}, {"column_sets_refused", Int}, {"reason", Text}}
)

func init() {
	maps.Copy(shows, map[string]show{
		"CLIENTS":        {"a row for each client; KILL takes its pid", clientColumns, showClients},
		"SERVERS":        {"a row for each server connection", serverColumns, showServers},
		"POOLS":          {"a row for each database and user: clients and server connections", poolColumns, showPools},
		"STATS":          {"a row for each database: what has been done since the start; averages are of the last minute that is over; times in microseconds", statsColumns, showStats},
		"STATS_TOTALS":   {"the totals of SHOW STATS", partialStatsColumns, showStatsTotals},
		"STATS_AVERAGES": {"the averages of SHOW STATS", partialStatsColumns, showStatsAverages},
		"TOTALS":         {"the sums of SHOW STATS over all databases", []Column{{"name", Text}, {"value", Int}}, showTotals},
		"DATABASES":      {"a row for each database that clients have used", databaseColumns, showDatabases},
		"USERS":          {"a row for each user that is connected", []Column{{"name", Text}, {"pool_mode", Text}}, showUsers},
		"LISTS":          {"how many there are of what", []Column{{"list", Text}, {"items", Int}}, showLists},
		"NODES":          {"a row for each server: role, health, lag", nodeColumns, showNodes},
		"FEED":           {"a row for each database: the WAL feed that says what is stale", feedColumns, showFeed},
		"CACHE":          {"what the cache holds and has done; misses by reason", []Column{{"name", Text}, {"value", Int}}, showCache},
		"LIMITS":         {"limits, and how much of each is in use", []Column{{"name", Text}, {"value", Text}, {"in_use", Int}}, showLimits},
		"CONFIG":         {"the configuration in force, without secrets", []Column{{"key", Text}, {"value", Text}, {"default", Text}, {"changeable", Text}}, showConfig},
	})
}

// stamp is an instant as PgBouncer shows it.
func stamp(t time.Time) any {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// hostPort takes an address apart, as PgBouncer shows it.
func hostPort(addr net.Addr) (string, int) {
	switch a := addr.(type) {
	case *net.TCPAddr:
		return a.IP.String(), a.Port
	case *net.UnixAddr:
		return "unix", 0
	}
	return "", 0
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *Console) poolMode() string { return c.configured("pool-mode") }

func (c *Console) configured(name string) string {
	for _, e := range c.cfg.Operator.Config() {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

func showClients(ctx context.Context, c *Console) ([][]any, []string, error) {
	list, err := c.cfg.Operator.Clients(ctx)
	var rows [][]any
	for _, cl := range list {
		addr, port := hostPort(cl.Addr)
		local, localPort := hostPort(cl.Local)
		rows = append(rows, []any{"C", cl.User, cl.Database, cl.State, addr, port, local, localPort, stamp(cl.Connected), stamp(cl.Requested),
			int(cl.Wait / time.Second), int(cl.Wait % time.Second / time.Microsecond), 0, pointer('c', cl.PID), pointer('s', cl.ServerPID), 0, cl.TLS,
			cl.Application, cl.Prepared, cl.PID, cl.PID, cl.Transaction, cl.Waits, cl.Node, orNull(cl.ServerPID), cl.Bound, cl.Source, cl.Reason})
	}
	return rows, nil, err
}

// pointer stands for PgBouncer's address of a connection: by it, clients and servers refer to each other.
func pointer(kind byte, pid uint32) string {
	if pid == 0 {
		return ""
	}
	return string(kind) + itoa(pid)
}

func orNull(pid uint32) any {
	if pid == 0 {
		return nil
	}
	return pid
}

func showServers(ctx context.Context, c *Console) ([][]any, []string, error) {
	list, err := c.cfg.Operator.Servers(ctx)
	var rows [][]any
	for _, sv := range list {
		host, port := splitNode(sv.Node)
		rows = append(rows, []any{"S", sv.User, sv.Database, sv.State, host, port, "", 0, stamp(sv.Connected), stamp(sv.Requested), 0, 0,
			number(sv.CloseNeeded), pointer('s', sv.PID), pointer('c', sv.ClientPID), int(sv.PID), "", sv.Application, sv.Prepared, sv.PID, sv.Node, orNull(sv.ClientPID)})
	}
	return rows, nil, err
}

func showPools(ctx context.Context, c *Console) ([][]any, []string, error) {
	clients, err := c.cfg.Operator.Clients(ctx)
	if err != nil {
		return nil, nil, err
	}
	type key struct{ database, user string }
	type pool struct {
		active, waiting, svActive, svIdle, svLogin, nodes int
		oldest                                            time.Duration
	}
	pools := map[key]*pool{}
	of := func(database, user string) *pool {
		k := key{database, user}
		if pools[k] == nil {
			pools[k] = &pool{}
		}
		return pools[k]
	}
	for _, cl := range clients {
		p := of(cl.Database, cl.User)
		if cl.State == "waiting" {
			p.waiting++
			p.oldest = max(p.oldest, cl.Wait)
		} else {
			p.active++
		}
	}
	for _, s := range c.cfg.Source.Snapshot().Pools {
		p := of(s.Database, s.User)
		p.svActive += s.Busy
		p.svIdle += s.Idle
		p.svLogin += s.Connecting
		p.nodes++
	}
	mode := c.poolMode()
	var rows [][]any
	for k, p := range pools {
		rows = append(rows, []any{k.database, k.user, p.active, p.waiting, 0, 0, p.svActive, 0, 0, p.svIdle, 0, 0, p.svLogin,
			int(p.oldest / time.Second), int(p.oldest % time.Second / time.Microsecond), mode, p.nodes})
	}
	slices.SortFunc(rows, func(a, b []any) int {
		return cmp.Or(cmp.Compare(a[0].(string), b[0].(string)), cmp.Compare(a[1].(string), b[1].(string)))
	})
	return rows, nil, nil
}

// totals are the columns of SHOW STATS_TOTALS behind the database.
func (d *DatabaseInfo) totals() []int64 {
	return []int64{int64(d.Transactions), int64(d.Queries), int64(d.Received), int64(d.Sent), d.TransactionTime.Microseconds(),
		d.QueryTime.Microseconds(), d.Waiting.Microseconds()}
}

func row(first any, numbers ...[]int64) []any {
	r := []any{first}
	for _, list := range numbers {
		for _, n := range list {
			r = append(r, n)
		}
	}
	return r
}

// statRows are a row for each database. of gets its totals and averages.
func (c *Console) statRows(ctx context.Context, of func(d *DatabaseInfo, totals, averages []int64) []any) ([][]any, []string, error) {
	list, err := c.cfg.Operator.Databases(ctx)
	began, ended := c.period.over(workOf(list), c.started)
	var rows [][]any
	for i := range list {
		d := &list[i]
		rows = append(rows, of(d, d.totals(), averages(began, ended, d.Name)))
	}
	return rows, nil, err
}

func showStats(ctx context.Context, c *Console) ([][]any, []string, error) {
	return c.statRows(ctx, func(d *DatabaseInfo, totals, averages []int64) []any { return row(d.Name, totals, averages) })
}

func showStatsTotals(ctx context.Context, c *Console) ([][]any, []string, error) {
	return c.statRows(ctx, func(d *DatabaseInfo, totals, _ []int64) []any { return row(d.Name, totals) })
}

func showStatsAverages(ctx context.Context, c *Console) ([][]any, []string, error) {
	return c.statRows(ctx, func(d *DatabaseInfo, _, averages []int64) []any { return row(d.Name, averages) })
}

func showTotals(ctx context.Context, c *Console) ([][]any, []string, error) {
	list, err := c.cfg.Operator.Databases(ctx)
	now := workOf(list)
	began, ended := c.period.over(now, c.started)
	var names []string
	sum := new(DatabaseInfo).totals()
	for name, totals := range now.totals {
		names = append(names, name)
		for i, n := range totals {
			sum[i] += n
		}
	}
	var rows [][]any
	for i, n := range slices.Concat(sum, averages(began, ended, names...)) {
		rows = append(rows, []any{statsColumns[i+1].Name, n})
	}
	return rows, nil, err
}

func showDatabases(ctx context.Context, c *Console) ([][]any, []string, error) {
	list, err := c.cfg.Operator.Databases(ctx)
	s := c.cfg.Source.Snapshot()
	host, port := "", 0
	for _, n := range s.Nodes {
		if n.Primary {
			host, port = splitNode(n.Name)
		}
	}
	size := atoi(c.configured("pool-size"))
	var rows [][]any
	for _, d := range list {
		connections := 0
		for _, p := range s.Pools {
			if p.Database == d.Name {
				connections += p.Idle + p.Busy + p.Connecting
			}
		}
		feed := "off"
		for _, f := range s.Feeds {
			if f.Database == d.Name {
				feed = "serving"
				if !f.Serving {
					feed = cmp.Or(Redact(f.Reason), "not caught up")
				}
			}
		}
		rows = append(rows, []any{d.Name, host, port, d.Name, nil, size, 0, 0, c.poolMode(), 0, connections, number(d.Paused), 0, feed})
	}
	return rows, nil, err
}

func showUsers(ctx context.Context, c *Console) ([][]any, []string, error) {
	clients, err := c.cfg.Operator.Clients(ctx)
	users := map[string]bool{}
	for _, cl := range clients {
		users[cl.User] = true
	}
	var rows [][]any
	for _, name := range slices.Sorted(maps.Keys(users)) {
		rows = append(rows, []any{name, nil})
	}
	return rows, nil, err
}

func showLists(ctx context.Context, c *Console) ([][]any, []string, error) {
	databases, err := c.cfg.Operator.Databases(ctx)
	if err != nil {
		return nil, nil, err
	}
	pools, _, err := showPools(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	users, _, err := showUsers(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	s := c.cfg.Source.Snapshot()
	servers := 0
	for _, p := range s.Pools {
		servers += p.Idle + p.Busy + p.Connecting
	}
	var rows [][]any
	for _, l := range []struct {
		name string
		n    int64
	}{{"databases", int64(len(databases))}, {"users", int64(len(users))}, {"pools", int64(len(pools))}, {"free_clients", 0}, {"used_clients", s.Clients},
		{"login_clients", 0}, {"free_servers", 0}, {"used_servers", int64(servers)}, {"dns_names", 0}, {"dns_zones", 0}, {"dns_queries", 0}, {"dns_pending", 0},
		{"nodes", int64(len(s.Nodes))}} {
		rows = append(rows, []any{l.name, l.n})
	}
	return rows, nil, nil
}

func milliseconds(d time.Duration) any {
	if d < 0 {
		return nil
	}
	return float64(d.Microseconds()) / 1000
}

func showNodes(_ context.Context, c *Console) ([][]any, []string, error) {
	s := c.cfg.Source.Snapshot()
	var rows [][]any
	for _, n := range s.Nodes {
		connections := 0
		for _, p := range s.Pools {
			if p.Node == n.Name {
				connections += p.Idle + p.Busy + p.Connecting
			}
		}
		var lag, lagBytes any
		if n.Role == "replica" {
			lag = milliseconds(n.Lag)
			if n.LagBytes >= 0 {
				lagBytes = n.LagBytes
			}
		}
		rows = append(rows, []any{n.Name, n.Role, n.Primary, n.Up, n.used(), Redact(n.Reason), lag, lagBytes, n.Outstanding, connections, n.Drained, n.BreakerOpen})
	}
	return rows, nil, nil
}

func showFeed(_ context.Context, c *Console) ([][]any, []string, error) {
	var rows [][]any
	for _, f := range c.cfg.Source.Snapshot().Feeds {
		rows = append(rows, []any{f.Database, f.Serving, milliseconds(f.Lag), f.Relations, f.Commits, f.ColumnSets, f.CellBytes, f.CellLimit,
			f.ColumnSetsRefused, Redact(f.Reason)})
	}
	return rows, nil, nil
}

func showCache(_ context.Context, c *Console) ([][]any, []string, error) {
	s := c.cfg.Source.Snapshot()
	var rows [][]any
	add := func(name string, n any) { rows = append(rows, []any{name, n}) }
	for _, t := range s.Tiers {
		add(t.Name+"_entries", t.Entries)
		add(t.Name+"_bytes", t.Bytes)
		add(t.Name+"_limit_bytes", t.Limit)
		for _, kind := range slices.Sorted(maps.Keys(t.Evictions)) {
			add(t.Name+"_evictions_"+kind, t.Evictions[kind])
		}
		add(t.Name+"_hits", t.Hits)
	}
	add("flight_hits", s.FlightShared)
	add("ttl_hits", s.ForATime)
	for _, cause := range slices.Sorted(maps.Keys(s.Stale)) {
		add("stale_hits_"+cause, s.Stale[cause])
	}
	for _, why := range slices.Sorted(maps.Keys(s.Misses)) {
		add("misses_"+why, s.Misses[why])
	}
	return rows, nil, nil
}

func showLimits(_ context.Context, c *Console) ([][]any, []string, error) {
	s := c.cfg.Source.Snapshot()
	busiest := 0
	for _, p := range s.Pools {
		busiest = max(busiest, p.Idle+p.Busy+p.Connecting)
	}
	inUse := map[string]any{"max-clients": s.Clients, "pool-size": busiest}
	for _, t := range s.Tiers {
		inUse[t.Name+"-size"] = t.Bytes
	}
	cells := int64(0)
	for _, f := range s.Feeds {
		cells = max(cells, f.CellBytes)
	}
	inUse["row-cells"] = cells
	var rows [][]any
	for _, name := range []string{"max-clients", "pool-size", "pool-wait", "max-prepared-statements", "query-timeout", "idle-transaction-timeout",
		"client-idle-timeout", "connect-timeout", "server-lifetime", "server-idle-timeout", "max-staleness", "ryw-window", "stale-if-error", "l1-size",
		"cache-max-entry", "cache-ttl", "row-cells", "drain-timeout"} {
		rows = append(rows, []any{name, c.configured(name), inUse[name]})
	}
	return rows, nil, nil
}

// pgbouncerNames are those under which PgBouncer's exporters look for what they want to know.
var pgbouncerNames = map[string]string{"max-clients": "max_client_conn", "pool-size": "default_pool_size", "pool-mode": "pool_mode"}

func showConfig(_ context.Context, c *Console) ([][]any, []string, error) {
	var rows [][]any
	for _, e := range c.cfg.Operator.Config() {
		changeable := "no"
		if e.Changeable {
			changeable = "yes"
		}
		rows = append(rows, []any{e.Name, Redact(e.Value), e.Default, changeable})
		if name := pgbouncerNames[e.Name]; name != "" {
			rows = append(rows, []any{name, e.Value, e.Default, changeable})
		}
	}
	slices.SortFunc(rows, func(a, b []any) int { return strings.Compare(a[0].(string), b[0].(string)) })
	return rows, nil, nil
}
