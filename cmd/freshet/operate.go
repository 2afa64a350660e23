package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/proxy/admin"
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
