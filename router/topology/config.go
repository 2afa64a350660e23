package topology

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Config says where to look for servers and how often. The zero value of a
// field that has a default means the default.
type Config struct {
	// Primary is the service URL of a server; Replicas are those of others.
	// Which is which is found out. Of servers that belong to different
	// clusters, the ones of the first URL's cluster are taken. Each URL must
	// lead to one server, not to a balancer before several: positions learned
	// on one connection would be believed of another server.
	Primary  string
	Replicas []string

	// Interval is the time between two questions to a node; default 50 ms.
	Interval time.Duration
	// HurryInterval is the time between two questions to a replica after
	// Hurry; default 5 ms.
	HurryInterval time.Duration
	// ConnectTimeout bounds each attempt to connect; default 5 s.
	ConnectTimeout time.Duration
	// DownAfter is how long a node may be silent before it counts as down;
	// default 1 s. It bounds each question too.
	DownAfter time.Duration
	// MaxLag takes a replica out of rotation while its staleness is above
	// this, whatever bound the reader allows: --ryw-window, so that no floor
	// is forgotten while it matters. 0: no such bound.
	MaxLag time.Duration
	// Balance chooses among the replicas that may answer.
	Balance Balance
	// Logger takes changes of state; default: nowhere.
	Logger *slog.Logger
	// OnPrimaryChange is called when another node has become the primary, and
	// for the first one. At that moment the replicas' sources have been reset,
	// no sample of the new primary's position has reached any Source, and
	// Topology.Primary is nil, so that nobody is sent to the new one before
	// this has returned: here is where what belongs to the old timeline (feed,
	// cache, floors) is invalidated. Calls don't overlap. It must be quick,
	// and neither call Ask nor wait for something that does.
	OnPrimaryChange func(*Node)
}

// Balance is a rule to choose one of several replicas that may answer.
type Balance uint8

const (
	// LeastOutstanding: the fewest queries under way, at random among equals.
	LeastOutstanding Balance = iota
	// RoundRobin: one after the other.
	RoundRobin
	// Random: any.
	Random
)

// ParseBalance reads the value of --balance.
func ParseBalance(s string) (Balance, error) {
	switch s {
	case "least-outstanding":
		return LeastOutstanding, nil
	case "round-robin":
		return RoundRobin, nil
	case "random":
		return Random, nil
	}
	return 0, fmt.Errorf("balance %q: want least-outstanding, round-robin or random", s)
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.Interval <= 0 {
		c.Interval = 50 * time.Millisecond
	}
	if c.HurryInterval <= 0 {
		c.HurryInterval = 5 * time.Millisecond
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.DownAfter <= 0 {
		c.DownAfter = time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// errNoNodes: neither --primary nor --replica was given.
var errNoNodes = errors.New("topology: no server to look at: give --primary")

// parseURL reads a service URL. Its errors don't show the URL, which may hold
// a password: pgconn.ParseConfigError redacts it.
func parseURL(url string, cfg Config) (*pgconn.Config, error) {
	pc, err := pgconn.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("topology: service URL: %w", err)
	}
	// Fallbacks are the same host without TLS (sslmode=prefer) or further
	// hosts; a node is one server.
	for _, f := range pc.Fallbacks {
		if f.Host != pc.Host || f.Port != pc.Port {
			return nil, fmt.Errorf("topology: service URL names several servers (%s and %s); give each its own --replica",
				addrOf(pc.Host, pc.Port), addrOf(f.Host, f.Port))
		}
	}
	pc.ConnectTimeout = cfg.ConnectTimeout
	// The dialer gets the name. Of its addresses it tries each for a part of
	// the time that there is, IPv6 and IPv4 side by side. pgconn would give all
	// of the time to the first.
	pc.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	if pc.RuntimeParams == nil {
		pc.RuntimeParams = map[string]string{}
	}
	pc.RuntimeParams["application_name"] = "freshet"
	// No question of ours is to live on in the server when we have given it up.
	pc.RuntimeParams["statement_timeout"] = strconv.FormatInt(cfg.DownAfter.Milliseconds(), 10)
	// target_session_attrs: which role the server has is what we want to find
	// out.
	pc.ValidateConnect = nil
	return pc, nil
}
