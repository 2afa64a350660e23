package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/consistency/feed"
)

type setupCommand struct {
	Primary     string `placeholder:"URL" help:"URL of the database to set up, on the primary, as a role that owns the tables; a superuser can do all of it."`
	Publication string `default:"freshet" placeholder:"NAME" help:"As in serve. Default: ${default}."`
	ServiceUser string `env:"-" placeholder:"ROLE" help:"Role that Freshet logs in as. Default: the one in --primary."`
	DryRun      bool   `env:"-" help:"Print the SQL, change nothing."`
	Remove      bool   `env:"-" help:"Undo it."`
	Config      string `placeholder:"FILE" help:"As in serve."`
}

// setupTimeout bounds the whole of it; waiting for locks has a bound of its
// own in package feed.
const setupTimeout = time.Minute

// Run sets the database up, and says what it did and what it couldn't do.
func (c *setupCommand) Run(env *environment) error {
	if err := validateDatabase(c.Primary, c.Publication); err != nil {
		return usageError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // a second one ends us at once
	options := feed.Options{Publication: c.Publication, ServiceUser: c.ServiceUser, Remove: c.Remove}
	return setUp(ctx, c.Primary, options, c.DryRun, env.stdout)
}

// setUp connects to the database of the URL, works out what there is to do,
// does it unless dryRun, and tells w. What it tells can be given to psql: SQL,
// and the rest as comments.
func setUp(ctx context.Context, primary string, options feed.Options, dryRun bool, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, primary)
	if err != nil {
		return fmt.Errorf("setup: connecting to --primary: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var replica bool
	var database, level string
	err = conn.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_database()::text, pg_catalog.current_setting('wal_level')").
		Scan(&replica, &database, &level)
	if err != nil {
		return fmt.Errorf("setup: %w", err)
	}
	if replica {
		return errors.New("setup: --primary leads to a replica; give the URL of the primary")
	}
	report, err := feed.Plan(ctx, conn, options)
	if err != nil {
		return fmt.Errorf("setup: looking at database %s: %w", database, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "-- Database %s:\n", database)
	for _, s := range report.Statements {
		fmt.Fprintf(&b, "%s;\n", s)
	}
	if !dryRun {
		if err := feed.Apply(ctx, conn, report); err != nil {
			return applyError(err)
		}
	}
	switch {
	case len(report.Statements) == 0:
		fmt.Fprintf(&b, "-- Nothing to do.\n")
	case dryRun:
		fmt.Fprintf(&b, "-- Nothing was changed (--dry-run).\n")
	default:
		fmt.Fprintf(&b, "-- Done.\n")
	}
	for _, n := range report.Notes {
		what := "Not covered by the cache: "
		if n.Relation == "" {
			what = "Note: "
		}
		fmt.Fprintf(&b, "-- %s%s.\n", what, strings.TrimSuffix(oneLine(n.String()), "."))
	}
	if level != "logical" && !options.Remove {
		fmt.Fprintf(&b, "-- Note: wal_level is %s, and the cache needs logical: ALTER SYSTEM SET wal_level = logical, then restart the server.\n", level)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// applyError adds to a failure what is to be done about it.
func applyError(err error) error {
	hint := ""
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "42501":
			hint = "; use a role that may, or have a superuser run what --dry-run prints"
		case "55P03":
			hint = "; a long transaction is in the way: try again when it has ended"
		}
	}
	return fmt.Errorf("setup: nothing was changed: %w%s", err, hint)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
