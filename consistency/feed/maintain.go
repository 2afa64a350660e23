package feed

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maintenance keeps the publication as Plan would have it, so that a table which was made after setup is covered by itself,
// and one that has lost its primary key doesn't make the application's UPDATEs fail any longer.
type maintenance struct {
	feed *Feed
}

// lockTimeout is short: adding a table waits for a VACUUM or DDL on it, and would have others wait behind it.
const lockTimeout = "50ms"

// run does it once, and says whether there is no need to try again soon. What stays undone is in Status.Problem, and logged when that
// changes.
func (m *maintenance) run(ctx context.Context, conn *pgx.Conn) (done bool) {
	r, err := m.plan(ctx, conn)
	if err == nil && len(r.Statements) > 0 {
		asking, cancel := context.WithTimeout(ctx, m.feed.cfg.ConnectTimeout)
		defer cancel()
		if err = apply(asking, conn, r, lockTimeout); err == nil {
			m.feed.cfg.Logger.Info("WAL feed: the publication has been brought up to date", "statements", r.Statements)
		}
	}
	var pg *pgconn.PgError
	switch {
	case ctx.Err() != nil:
	case err == nil:
		m.feed.problem(undone(r))
	case errors.As(err, &pg) && (pg.Code == "42710" || pg.Code == "42704" || pg.Code == "XX000"):
		// Another Freshet was faster: duplicate_object, undefined_object, or "tuple concurrently updated".
	case pg != nil:
		m.feed.problem("the publication can't be brought up to date: " + pg.Message)
	default:
		m.feed.problem("the publication can't be brought up to date: " + err.Error())
	}
	return err == nil
}

// undone says what can't be done by the service role, though it should. That a table has no replica identity is none of it.
func undone(r Report) string {
	var foreign []string
	for _, n := range r.Notes {
		switch {
		case n.Relation == "":
			return n.Text
		case n.Unowned:
			foreign = append(foreign, n.Relation)
		}
	}
	switch len(foreign) {
	case 0:
		return ""
	case 1:
		return foreign[0] + " isn't in the publication, and the service role doesn't own it: freshet setup, as its owner, adds it"
	}
	return fmt.Sprintf("%s and %d more aren't in the publication, and the service role doesn't own them: freshet setup, as their owner, adds them", foreign[0], len(foreign)-1)
}

func (m *maintenance) plan(ctx context.Context, conn *pgx.Conn) (r Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.feed.cfg.ConnectTimeout)
	defer cancel()
	o := Options{Publication: m.feed.cfg.Publication}
	p, err := readPlan(ctx, conn, o)
	if err != nil || !p.exists {
		return r, err
	}
	p.publish(o, &r)
	if !p.owned || p.allTables {
		r.Statements, r.Parts = nil, nil
	}
	return r, nil
}
