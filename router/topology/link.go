package topology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// link is a kept service connection. pgconn makes it (name resolution, TLS,
// authentication) and hands the socket over: pgconn itself would end a
// question that takes too long by a cancel request from a goroutine of its
// own, which against a server that hangs lives for 15 s after we have
// forgotten it. Here a question has a deadline, and a link that missed one is
// closed on the spot.
//
// For one goroutine at a time.
type link struct {
	conn     net.Conn
	frontend *pgproto3.Frontend
}

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// dial connects within cfg.ConnectTimeout, resolving the name anew.
func dial(ctx context.Context, cfg *pgconn.Config) (*link, error) {
	// Over all addresses of the name and both with and without TLS.
	dctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	pc, err := pgconn.ConnectConfig(dctx, cfg)
	if err != nil {
		return nil, err
	}
	h, err := pc.Hijack()
	if err != nil {
		return nil, err
	}
	return &link{conn: h.Conn, frontend: h.Frontend}, nil
}

// close ends the connection without a wait. The goodbye (Terminate) goes out
// if there is room for it; the server tidies up either way.
func (l *link) close() {
	_ = l.conn.SetDeadline(time.Now().Add(10 * time.Millisecond))
	l.frontend.Send(&pgproto3.Terminate{})
	_ = l.frontend.Flush()
	_ = l.conn.Close()
}

// prepare gives a question a name on the server, so that it is parsed once.
func (l *link) prepare(ctx context.Context, name, sql string, limit time.Duration) error {
	l.frontend.Send(&pgproto3.Parse{Name: name, Query: sql})
	l.frontend.Send(&pgproto3.Sync{})
	return l.receive(ctx, limit, nil)
}

// ask runs a prepared question. row gets the values of each row as text (nil:
// NULL), valid during the call.
func (l *link) ask(ctx context.Context, name string, limit time.Duration, row func([][]byte) error) error {
	l.frontend.Send(&pgproto3.Bind{PreparedStatement: name})
	l.frontend.Send(&pgproto3.Execute{})
	l.frontend.Send(&pgproto3.Sync{})
	return l.receive(ctx, limit, row)
}

// askWith is ask for a question with one parameter.
func (l *link) askWith(ctx context.Context, name, value string, limit time.Duration, row func([][]byte) error) error {
	l.frontend.Send(&pgproto3.Bind{PreparedStatement: name, Parameters: [][]byte{[]byte(value)}})
	l.frontend.Send(&pgproto3.Execute{})
	l.frontend.Send(&pgproto3.Sync{})
	return l.receive(ctx, limit, row)
}

// query runs a statement, or several, by the simple protocol.
func (l *link) query(ctx context.Context, sql string, limit time.Duration, row func([][]byte) error) error {
	l.frontend.Send(&pgproto3.Query{String: sql})
	return l.receive(ctx, limit, row)
}

// receive sends what is waiting and reads until ReadyForQuery, for as long as
// limit and ctx allow. An error the server reported leaves the link usable
// (broken says whether it is).
func (l *link) receive(ctx context.Context, limit time.Duration, row func([][]byte) error) error {
	if err := l.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	// After the limit was set, so as not to be overwritten by it. If ctx ends
	// just as the answer arrives, the next question may find the deadline
	// passed: then the link is made anew.
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(aLongTimeAgo) })
	defer stop()
	if err := l.frontend.Flush(); err != nil {
		return err
	}
	var failed error
	for {
		msg, err := l.frontend.Receive()
		if err != nil {
			if failed != nil { // FATAL: the reason, then the end
				return fmt.Errorf("%w (%w)", failed, errBroken)
			}
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.ReadyForQuery:
			return failed
		case *pgproto3.ErrorResponse:
			failed = pgconn.ErrorResponseToPgError(msg)
		case *pgproto3.DataRow:
			if row != nil && failed == nil {
				failed = row(msg.Values)
			}
		}
	}
}

// errBroken marks a server's error after which the connection is gone.
var errBroken = errors.New("connection closed")

// broken says whether err leaves the link unusable: anything but an error that
// the server reported and went on from.
func broken(err error) bool {
	var pgErr *pgconn.PgError
	return err != nil && (!errors.As(err, &pgErr) || errors.Is(err, errBroken))
}
