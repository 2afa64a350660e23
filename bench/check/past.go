package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// past is a client that writes directly to the primary, where Freshet can't see it.
type past struct{ client }

func newPast(r *run, id int) *past {
	return &past{client: client{r: r, id: id, past: true, level: Eventual, rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(id)))}}
}

func (p *past) run(ctx context.Context) {
	if !p.hasty {
		defer p.close()
	}
	for ctx.Err() == nil {
		if p.conn == nil {
			if err := p.connect(ctx); err != nil {
				p.r.counts.error(err)
				sleep(ctx, 20*time.Millisecond)
				continue
			}
			if p.hasty {
				// It gives way to locks of those who wait. If this fails, it waits like the others.
				_, _ = p.send(simple, "SET synchronous_commit = 'local'; SET lock_timeout = '20ms'")
			}
		}
		if !p.hasty && p.r.quiet.Load() && !p.oneIn(8) {
			sleep(ctx, time.Duration(p.rng.IntN(20))*time.Millisecond)
			continue
		}
		var err error
		switch n := p.rng.IntN(100); {
		case n < 50:
			err = p.writeRegister()
		case n < 65:
			err = p.writePair()
		case n < 75:
			err = p.appendList()
		case n < 80:
			err = p.moveSeat()
		case n < 88:
			err = p.transaction()
		case n < 92:
			err = p.writeView()
		case n < 94:
			err = p.writeBulk()
		case n < 97:
			err = p.failHalfway()
		default:
			err = p.twoPhase()
		}
		_ = err // counted
		// Now and then as fast as it goes, and now and then not at all.
		if p.oneIn(3) {
			sleep(ctx, time.Duration(p.rng.IntN(40))*time.Millisecond)
		}
	}
}

// journaled is the version that a write made, by the journal; 0: none.
func (r *run) journaled(value int64) (n int64, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	r.asks.Lock()
	defer r.asks.Unlock()
	url := r.lab.cluster.Primary().AppURL()
	if r.asks.conn != nil && (r.asks.conn.IsClosed() || r.asks.url != url) {
		_ = r.asks.conn.Close(ctx)
		r.asks.conn = nil
	}
	if r.asks.conn == nil {
		if r.asks.conn, err = pgx.Connect(ctx, url); err != nil {
			r.asks.conn = nil
			return 0, err
		}
		r.asks.url = url
	}
	err = r.asks.conn.QueryRow(ctx, "SELECT coalesce(max(n), 0) FROM journal WHERE v = $1", value).Scan(&n)
	return n, err
}

// orphan ends a prepared transaction that its client could not end: its locks would stay, and no logical slot could be made, which the feed
// needs. The primary may be away for a while.
func (r *run) orphan(value int64) {
	r.beside.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*opTimeout)
		defer cancel()
		for absent := 0; absent < 5 && ctx.Err() == nil; sleep(ctx, 500*time.Millisecond) {
			err := r.lab.cluster.Primary().Exec(ctx, fmt.Sprintf("ROLLBACK PREPARED 't%d'", value))
			if err == nil {
				return
			}
			if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42704" {
				absent++ // it was never prepared, or is still about to be
			}
		}
	})
}
