package feed

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maintenance keeps the publication as Plan would have it, so that a table which was made after setup is covered by itself,
// and one that has lost its primary key doesn't make the application's UPDATEs fail any longer.
type maintenance struct {
	feed   *Feed
	logged map[string]bool // reasons
}

// lockTimeout is short: adding a table waits for a VACUUM or DDL on it, and would have others wait behind it.
const lockTimeout = "50ms"

// run does it once, and says whether there is no need to try again. What fails is logged once per reason.
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
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &pg) && (pg.Code == "42710" || pg.Code == "42704" || pg.Code == "XX000"):
		// Another Freshet was faster: duplicate_object, undefined_object, or "tuple concurrently updated".
	default:
		key := err.Error()
		if pg != nil {
			key = pg.Code
		}
		if !m.logged[key] {
			if m.logged == nil {
				m.logged = map[string]bool{}
			}
			m.logged[key] = true
			m.feed.cfg.Logger.Warn("WAL feed: the publication can't be brought up to date", "error", err)
		}
	}
	return err == nil
}

func (m *maintenance) plan(ctx context.Context, conn *pgx.Conn) (r Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.feed.cfg.ConnectTimeout)
	defer cancel()
	o := Options{Publication: m.feed.cfg.Publication}
	p, err := readPlan(ctx, conn, o)
	if err != nil || !p.exists || !p.owned || p.allTables {
		return r, err
	}
	p.publish(o, &r)
	return r, nil
}
