package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// Who connects to a database that is paused is welcomed as the last one of its kind was, by the same database, user and parameters, so that only
// its statements wait. Who needs a server for that, waits for it without end, as statements do; so do all with --pool-mode session.

// paused is the database of that name, if it is paused; else nil.
func (a *Admitter) paused(database string) *Database {
	s := a.server.Load()
	if s == nil {
		return nil
	}
	if d := s.cfg.Databases.Known(database); d != nil && d.Paused() {
		return d
	}
	return nil
}

// awaitResume waits until the client's database isn't paused, if the client can't be let in before. AdmitConfig.Timeout doesn't count
// meanwhile. That the client goes is noticed.
func (a *Admitter) awaitResume(ctx context.Context, h *handshake) error {
	d := a.paused(h.req.database)
	if d == nil || a.welcomes.kept.Contains(keyOf(&h.req)) && a.server.Load().cfg.PoolMode != PoolSession {
		return nil
	}
	if !h.clock.Stop() {
		return context.Cause(ctx)
	}
	resumed := make(chan struct{})
	cancel := d.AwaitResume(func() { close(resumed) })
	defer cancel()
	gone := make(chan error, 1)
	go func() { // ends with the client, or below
		for {
			if err := h.r.More(); err != nil || len(h.r.Leftover()) > maxEarly {
				gone <- err
				return
			}
		}
	}()
	var why error
	left := false
	select {
	case <-resumed:
	case <-ctx.Done():
	case why = <-gone:
		left = true
	}
	if !left {
		h.conn.SetReadDeadline(time.Unix(1, 0))
		if err := <-gone; !isTimeout(err) {
			why = err // it went just now
		}
		h.conn.SetReadDeadline(time.Time{})
	}
	switch {
	case ctx.Err() != nil:
		h.conn.SetDeadline(time.Unix(1, 0)) // as it was
		return context.Cause(ctx)
	case isTimeout(why): // Shutdown has no patience with those who aren't in
		return errWelcomesClosed
	case why != nil:
		return errors.Join(ErrClientGone, why)
	case left: // it has said more than is to be held
		return wire.Fatal("08P01", "the client sent too much before it was welcomed")
	}
	h.clock.Reset(a.cfg.Timeout)
	return nil
}

// maxEarly is how much a client may say before it is welcomed.
const maxEarly = 64 << 10

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
