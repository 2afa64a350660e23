package feed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/freshet/freshet/consistency"
)

// The messages within the replication stream (protocol manual, "Streaming Replication Protocol").
const (
	streamData      = 'w'
	streamKeepalive = 'k'
	streamStatus    = 'r'
)

// How often the server is told how far we are: so that a permanent slot lets go of its WAL, so that the walsender knows that
// we live, and so that commits don't wait long for us where synchronous_standby_names is '*'.
const (
	statusSoonest = 10 * time.Millisecond
	statusLatest  = 10 * time.Second
	askSoonest    = 100 * time.Millisecond // when it is asked to answer
)

// stream is the replication connection, from when the server has begun to send.
//
// run reads; report may be called from elsewhere meanwhile. Closing the connection ends run.
type stream struct {
	conn      net.Conn
	frontend  *pgproto3.Frontend
	table     *consistency.Table
	decoder   decoder
	commits   *atomic.Uint64
	onCatalog func()
	catalog   atomic.Bool  // a commit has changed the catalog
	looks     chan look    // for the watch
	heard     atomic.Int64 // when the last message came, by consistency.Now

	mu struct { // of those who write to the connection
		sync.Mutex
		sent   consistency.LSN
		sentAt time.Time
		buf    [39]byte
	}
}

func newStream(conn *pgconn.PgConn, table *consistency.Table, commits *atomic.Uint64, onCatalog func()) *stream {
	s := &stream{conn: conn.Conn(), frontend: conn.Frontend(), table: table, decoder: newDecoder(table), commits: commits, onCatalog: onCatalog, looks: make(chan look)}
	s.heard.Store(consistency.Now())
	return s
}

// look asks the watch to look at the publication again.
type look struct {
	xid  uint32 // such that it sees what this transaction has changed
	done chan struct{}
}

// run applies what comes until the connection ends or says something that isn't understood.
func (s *stream) run(ctx context.Context) error {
	for {
		m, err := s.frontend.Receive()
		if err != nil {
			return fmt.Errorf("replication connection: %w", err)
		}
		s.heard.Store(consistency.Now())
		switch m := m.(type) {
		case *pgproto3.CopyData:
			if err := s.data(ctx, m.Data); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone:
			return errors.New("the server ended the replication stream")
		case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		default:
			return fmt.Errorf("replication connection: unexpected %T", m)
		}
	}
}

func (s *stream) data(ctx context.Context, d []byte) error {
	if len(d) == 0 {
		return errShort
	}
	body := d[1:]
	demanded := false
	switch d[0] {
	case streamData: // start, end, time, message. (Start and end are no positions of ours: they are those of a change.)
		if len(body) < 24 {
			return errShort
		}
		commit, err := s.decoder.message(body[24:])
		if err != nil {
			return err
		}
		if commit == nil {
			return nil
		}
		if s.decoder.publication {
			// From this commit on, changes may be left out. So it isn't passed before it is known of which relations: nobody is
			// answered from the cache who has to see more than what is before it.
			l := look{commit.XID, make(chan struct{})}
			select {
			case s.looks <- l:
				select {
				case <-l.done:
				case <-ctx.Done():
					return ctx.Err()
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.table.Apply(*commit)
		s.commits.Add(1)
		if commit.Catalog {
			s.catalog.Store(true)
			s.onCatalog()
		}
	case streamKeepalive: // end, time, whether a reply is wanted
		if len(body) < 17 {
			return errShort
		}
		// All that committed up to there has been sent before it: the walsender puts a transaction on its way when it
		// comes to the commit record. This is how the position advances when nothing of what is published changes.
		if !s.decoder.open {
			s.table.KeepAlive(consistency.LSN(binary.BigEndian.Uint64(body)))
		}
		demanded = body[16] != 0
	default:
		return fmt.Errorf("replication stream: message of unknown type %q", d[0])
	}
	if demanded || s.frontend.ReadBufferLen() == 0 {
		return s.report(demanded, false)
	}
	return nil
}

// report tells the server how far we are, if that is news and the last time is not too recent; at once with now. ask wants a
// keepalive in return, likewise.
func (s *stream) report(now, ask bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	position := s.table.Position()
	since := time.Since(s.mu.sentAt)
	ask = ask && since >= askSoonest
	if !now && !ask && since < statusLatest && (position == s.mu.sent || since < statusSoonest) {
		return nil
	}
	s.mu.sent, s.mu.sentAt = position, time.Now()
	b := s.mu.buf[:0]
	b = append(b, 'd', 0, 0, 0, byte(len(s.mu.buf)-1), streamStatus)
	for range 3 { // written, flushed, applied
		b = binary.BigEndian.AppendUint64(b, uint64(position))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(s.mu.sentAt.Sub(postgresEpoch).Microseconds()))
	if ask {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	if err := s.conn.SetWriteDeadline(s.mu.sentAt.Add(statusLatest)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// postgresEpoch is where Postgres' timestamps begin.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
