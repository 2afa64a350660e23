package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/proxy"
	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/router/topology"
)

// What the console's commands do (admin.Operator).

// adminUsers are those who may run the console's commands.
func (c ServeConfig) adminUsers() []string {
	if len(c.AdminUsers) > 0 {
		return c.AdminUsers
	}
	service, err := pgconn.ParseConfig(c.Primary)
	if err != nil {
		return nil // which nothing else works with, either
	}
	return []string{service.User}
}

// FlushCache makes what is cached stale, so that it isn't stored either if it is on its way, and then drops it.
func (i *instance) FlushCache(_ context.Context, table *admin.TableName) (int, error) {
	if table == nil {
		for _, d := range i.databases.All() {
			d.Table.FlushAll()
		}
		return i.l1.Purge(), nil
	}
	var names []string
	found, dropped := false, 0
	for _, d := range i.databases.All() {
		names = append(names, d.Name)
		if table.Database != "" && table.Database != d.Name {
			continue
		}
		n, err := d.FlushTable(i.l1, table.Schema, table.Table)
		if err != nil {
			return 0, err
		}
		found = found || n >= 0
		dropped += max(n, 0)
	}
	if !found {
		return 0, &admin.Error{Code: "42P01", Message: fmt.Sprintf("table %s does not exist", table),
			Detail: "Looked for in the databases that clients have used: " + strings.Join(names, ", ") + ".",
			Hint:   "The name is [[database.]schema.]table; without a schema it is looked for in public."}
	}
	return dropped, nil
}

// Statements are what SHOW STATEMENTS shows.
func (i *instance) Statements(ctx context.Context) ([]admin.StatementStats, uint64, error) {
	return i.server.Statements(ctx)
}

// Clients, Servers and Databases are what the server tells.

func (i *instance) Clients(ctx context.Context) ([]admin.ClientInfo, error) {
	return i.server.Clients(ctx)
}
func (i *instance) Servers(ctx context.Context) ([]admin.ServerInfo, error) {
	return i.server.Servers(ctx)
}
func (i *instance) Databases(ctx context.Context) ([]admin.DatabaseInfo, error) {
	return i.server.DatabaseTotals(ctx)
}

// Config is the configuration in force.
func (i *instance) Config() []admin.ConfigEntry {
	defaults := defaultEntries()
	var list []admin.ConfigEntry
	for n, e := range i.config.Load().entries() {
		list = append(list, admin.ConfigEntry{Name: e[0], Value: e[1], Default: defaults[n][1], Changeable: slices.Contains(changeable, e[0])})
	}
	return list
}

var defaultEntries = sync.OnceValue(func() [][2]string { return DefaultServeConfig().entries() })

// node is the server of an address.
func (i *instance) node(addr string) (*topology.Node, error) {
	var addrs []string
	for _, n := range i.topo.Nodes() {
		if n.Addr() == addr {
			return n, nil
		}
		addrs = append(addrs, n.Addr())
	}
	return nil, &admin.Error{Code: "42704", Message: fmt.Sprintf("there is no server %q", addr), Hint: "There are: " + strings.Join(addrs, ", ") + "."}
}

// Drain takes a replica out of rotation.
func (i *instance) Drain(addr string) error {
	n, err := i.node(addr)
	if err != nil {
		return err
	}
	if n == i.topo.Primary() || n.Role() == topology.Primary {
		return &admin.Error{Code: "55000", Message: fmt.Sprintf("%s is the primary, which can't be drained: nobody else could do what it does", addr),
			Hint: "PAUSE has statements wait that need a server."}
	}
	n.Drain(true)
	i.server.Sweep()
	return nil
}

// Enable takes it back.
func (i *instance) Enable(addr string) error {
	n, err := i.node(addr)
	if err != nil {
		return err
	}
	if !n.Drained() {
		return &admin.Error{Code: "55000", Message: fmt.Sprintf("%s isn't drained", addr)}
	}
	n.Drain(false)
	return nil
}

// Kill ends a client.
func (i *instance) Kill(pid uint32) bool { return i.server.Kill(pid) }

// Stop has whoever runs the proxy end it.
func (i *instance) Stop() error {
	select {
	case i.stop <- struct{}{}:
	default: // it is about to
	}
	return nil
}

// Stopped tells that somebody has asked for the proxy's end on the console.
func (i *instance) Stopped() <-chan struct{} { return i.stop }

// named are the databases of a name; empty: all.
func (i *instance) named(database string) ([]*proxy.Database, error) {
	all := i.databases.All()
	if database == "" {
		return all, nil
	}
	var names []string
	for _, d := range all {
		if d.Name == database {
			return []*proxy.Database{d}, nil
		}
		names = append(names, d.Name)
	}
	return nil, &admin.Error{Code: "3D000", Message: fmt.Sprintf("no client has used a database %q", database), Hint: "There are: " + strings.Join(names, ", ") + "."}
}

// Pause has statements wait that need a server.
func (i *instance) Pause(ctx context.Context, database string) error {
	list, err := i.named(database)
	if err != nil {
		return err
	}
	return i.server.Pause(ctx, list)
}

// Resume lets them go.
func (i *instance) Resume(database string) error {
	list, err := i.named(database)
	if err != nil {
		return err
	}
	resumed := false
	for _, d := range list {
		resumed = d.Resume() || resumed
	}
	if !resumed {
		return &admin.Error{Code: "55000", Message: "nothing is paused"}
	}
	return nil
}
