package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// setupDatabase is a database with tables that can be covered and tables that can't.
func setupDatabase(t *testing.T, c *cluster.Cluster) (name string, conn *pgx.Conn) {
	t.Helper()
	name = c.NewDatabase(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := c.Primary().Connect(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := conn.Exec(ctx, `CREATE TABLE good (id int PRIMARY KEY); CREATE TABLE "Full" (a int); ALTER TABLE "Full" REPLICA IDENTITY FULL;
		CREATE TABLE keyless (a int); CREATE UNLOGGED TABLE hasty (id int PRIMARY KEY)`); err != nil {
		t.Fatal(err)
	}
	return name, conn
}

func published(t *testing.T, conn *pgx.Conn, publication string) string {
	t.Helper()
	var tables string
	if err := conn.QueryRow(context.Background(), "SELECT coalesce(string_agg(tablename, ' ' ORDER BY tablename), '') FROM pg_publication_tables WHERE pubname = $1", publication).Scan(&tables); err != nil {
		t.Fatal(err)
	}
	return tables
}

// runSetup runs the subcommand and wants this exit status.
func runSetup(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	withoutVariables(t)
	var out, errs bytes.Buffer
	if got := run(append([]string{"setup"}, args...), &out, &errs); got != status {
		t.Fatalf("setup %v: exit status %d, want %d\n%s%s", args, got, status, &out, &errs)
	}
	return out.String(), errs.String()
}

// TestSetup: it publishes what can be covered, names what can't be and why, finds nothing to do the second time, and undoes it.
func TestSetup(t *testing.T) {
	c := shared.Get(t)
	name, conn := setupDatabase(t, c)
	url := c.Primary().URL(name)
	publication := "setup_" + name

	dry, _ := runSetup(t, exitOK, "--primary", url, "--publication", publication, "--dry-run")
	if published(t, conn, publication) != "" || !strings.Contains(dry, "-- Nothing was changed (--dry-run).") {
		t.Errorf("--dry-run has changed something, or doesn't say that it hasn't:\n%s", dry)
	}
	out, _ := runSetup(t, exitOK, "--primary", url, "--publication", publication)
	if got := published(t, conn, publication); got != "Full good" {
		t.Errorf("published: %s", got)
	}
	for _, want := range []string{"CREATE PUBLICATION", "-- Done.", "-- Not covered by the cache: \"public\".\"keyless\": it has no replica identity", "\"hasty\": it is unlogged"} {
		if !strings.Contains(out, want) {
			t.Errorf("doesn't say %q:\n%s", want, out)
		}
	}
	if again, _ := runSetup(t, exitOK, "--primary", url, "--publication", publication); !strings.Contains(again, "-- Nothing to do.") || strings.Contains(again, "PUBLICATION") {
		t.Errorf("the second time:\n%s", again)
	}
	runSetup(t, exitOK, "--primary", url, "--publication", publication, "--remove")
	if got := published(t, conn, publication); got != "" {
		t.Errorf("published after --remove: %s", got)
	}
	// What --dry-run prints can be given to psql.
	if _, err := conn.Exec(context.Background(), dry); err != nil {
		t.Fatal(err)
	}
	if again, _ := runSetup(t, exitOK, "--primary", url, "--publication", publication); !strings.Contains(again, "-- Nothing to do.") {
		t.Errorf("after the SQL of --dry-run:\n%s", again)
	}
}

// TestSetupByAnOrdinaryRole: it does what the role may do and says what is left.
func TestSetupByAnOrdinaryRole(t *testing.T) {
	c := shared.Get(t)
	name, conn := setupDatabase(t, c)
	if _, err := conn.Exec(context.Background(), "ALTER TABLE good OWNER TO app"); err != nil {
		t.Fatal(err)
	}
	url := c.Primary().UserURL(cluster.App, c.AppPassword(), name)
	out, _ := runSetup(t, exitOK, "--primary", url)
	if got := published(t, conn, "freshet"); got != "good" {
		t.Errorf("published: %s", got)
	}
	for _, want := range []string{"role app doesn't own it", "can only be made by a superuser"} {
		if !strings.Contains(out, want) {
			t.Errorf("doesn't say %q:\n%s", want, out)
		}
	}
}

// TestSetupFails: with one line that says what to do, without the password, and exit status 1 or 2.
func TestSetupFails(t *testing.T) {
	c := shared.Get(t)
	name, conn := setupDatabase(t, c)
	if _, err := conn.Exec(context.Background(), fmt.Sprintf("ALTER TABLE good OWNER TO app; REVOKE CREATE ON DATABASE %[1]s FROM PUBLIC, app; ALTER DATABASE %[1]s OWNER TO postgres", name)); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitCaughtUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name, want string
		status     int
		args       []string
	}{
		{"no URL", "--primary is needed", exitUsage, nil},
		{"nobody there", "connection refused", exitFailure, []string{"--primary", "postgres://svc:hunter2@127.0.0.1:1/app"}},
		{"wrong password", "password authentication failed", exitFailure, []string{"--primary", c.Primary().UserURL("postgres", "hunter2", name)}},
		{"a replica", "--primary leads to a replica", exitFailure, []string{"--primary", c.Replicas()[0].URL(name)}},
		{"not allowed", "have a superuser run what --dry-run prints", exitFailure, []string{"--primary", c.Primary().UserURL(cluster.App, c.AppPassword(), name)}},
	} {
		t.Run(f.name, func(t *testing.T) {
			_, stderr := runSetup(t, f.status, f.args...)
			if !strings.Contains(stderr, f.want) || leaks(stderr) || strings.Contains(stderr, c.AppPassword()) || strings.Count(stderr, "\n") != 1 {
				t.Error(stderr)
			}
		})
	}
}
