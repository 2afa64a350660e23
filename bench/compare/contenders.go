package main

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

// contenderKeys, in the order of their turns. The last one is the proxy of the one before it.
var contenderKeys = []string{"direct", "pgbouncer", "floor", "freshet", "freshet-misses", "freshet-off", "freshet-primary"}

// starters start contenders that take part.
var starters = map[string]func(*lab, context.Context) (*contender, error){
	"direct":          (*lab).startDirect,
	"pgbouncer":       (*lab).startPgBouncer,
	"floor":           (*lab).startFloor,
	"freshet":         (*lab).startFreshet,
	"freshet-misses":  (*lab).startFreshetMisses,
	"freshet-off":     (*lab).startFreshetOff,
	"freshet-primary": (*lab).startFreshetPrimary,
}

// poolSize of every pooler: enough for each client, so that nobody waits.
const poolSize = 20

// contender is one of those that are compared.
type contender struct {
	key, label, setup string
	// target is where pgbench goes in a protocol mode; note says what is then different from the other modes.
	target func(mode string) (e endpoint, note string)
	// pid is the proxy's process; 0: there is none.
	pid int
	// http is the address of its metrics; empty: it has none.
	http string
	// canned: it answers without a database.
	canned bool
}

// always is the same target in every mode.
func always(e endpoint) func(string) (endpoint, string) {
	return func(string) (endpoint, string) { return e, "" }
}

func (l *lab) startDirect(context.Context) (*contender, error) {
	return &contender{
		label: "direct", setup: "pgbench connects to the primary",
		target: always(l.at(l.cluster.Primary(), "")),
	}, nil
}

// app is the application's end of a proxy on one of our ports.
func (l *lab) app(port string) endpoint {
	return endpoint{host: "127.0.0.1", port: port, user: cluster.App, password: l.cluster.AppPassword(), database: cluster.App}
}

func (l *lab) startFloor(ctx context.Context) (*contender, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	p, err := l.start("floor", false, l.floor, "--listen", "127.0.0.1:"+port)
	if err != nil {
		return nil, err
	}
	e := l.app(port)
	if err := p.wait(ctx, 10*time.Second, e.answers); err != nil {
		return nil, err
	}
	return &contender{
		label: "floor", setup: "bench/floor: Freshet's event loops with canned answers, no logic, no database",
		target: always(e), pid: p.pid(), canned: true,
	}, nil
}

// answers tells whether a query is answered.
func (e endpoint) answers(ctx context.Context) error {
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.PgConn().Exec(ctx, "SELECT 1").ReadAll()
	return err
}

// connect connects as pgbench does, with the simple protocol.
func (e endpoint) connect(ctx context.Context) (*pgx.Conn, error) {
	conf, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(e.port, 10, 16)
	if err != nil {
		return nil, err
	}
	conf.Host, conf.Port, conf.User, conf.Password, conf.Database = e.host, uint16(port), e.user, e.password, e.database
	conf.Fallbacks = nil
	conf.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	if e.options != "" {
		conf.RuntimeParams["options"] = e.options
	}
	return pgx.ConnectConfig(ctx, conf)
}

// value is the only value of a result; empty: it has none.
func value(r []*pgconn.Result) string {
	if len(r) == 1 && len(r[0].Rows) == 1 && len(r[0].Rows[0]) == 1 {
		return string(r[0].Rows[0][0])
	}
	return ""
}
