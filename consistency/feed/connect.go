package feed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/consistency"
)

// link is a primary that the feed is connected to, twice.
type link struct {
	url      string
	sql      *pgx.Conn // for the watch
	stream   *stream
	coverage coverage
	version  int    // server_version_num
	encoding string // of the database
	close    func()
}

// oldest is the first major version that has what is asked of it (pgoutput's option "messages", arithmetic with pg_lsn).
const oldest = 14

// connect brings the feed to where the stream begins. Each step relies on those before it.
func (f *Feed) connect(ctx context.Context) (_ *link, err error) {
	l := &link{}
	var closers []func()
	l.close = func() {
		for i := len(closers) - 1; i >= 0; i-- {
			closers[i]()
		}
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.url, err = f.cfg.PrimaryURL(); err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(l.url)
	if err != nil {
		return nil, err // pgx leaves out the password
	}
	f.update(func(s *Status) { s.Primary = net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))) })
	cfg.ConnectTimeout = f.cfg.ConnectTimeout
	// The dialer tries all addresses of the name within the timeout; pgconn would give all of it to the first.
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	cfg.RuntimeParams["application_name"] = "freshet feed"
	// What runs on it must mean what it says.
	cfg.RuntimeParams["search_path"] = "pg_catalog, pg_temp"

	if l.sql, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return nil, err
	}
	closers = append(closers, func() { closeConn(l.sql) })
	// As long as no primary could be reached, what was cached stays as it was: the table's AsOf stands still, and the gate
	// sees to it that nothing is served beyond its staleness bound. But now there is a primary, on which commits may have
	// gone by.
	f.table.Gap()
	if err := f.examine(ctx, l); err != nil {
		return nil, err
	}
	// The members first, and with them the xid: making a slot waits for all transactions that run, so that what a member
	// waits for is over by then.
	p, err := f.readPublication(ctx, l)
	if err != nil {
		return nil, err
	}
	l.coverage.update(p.members)
	xid, err := f.drawXID(ctx, l.sql)
	if err != nil {
		return nil, err
	}
	l.coverage.drawn(xid)

	replication := cfg.Config.Copy()
	replication.RuntimeParams["replication"] = "database"
	// Values come as they are stored: those of statements are compared with them byte by byte. (Without this it would be whatever ALTER
	// ROLE, ALTER DATABASE or the service URL says.)
	replication.RuntimeParams["client_encoding"] = l.encoding
	conn, err := pgconn.ConnectConfig(ctx, replication)
	if err != nil {
		return nil, err
	}
	closers = append(closers, func() { closeConn(conn) })
	f.mu.Lock()
	f.mu.pid = conn.PID()
	f.mu.Unlock()
	system, err := pglogrepl.IdentifySystem(ctx, conn)
	if err != nil {
		return nil, err
	}
	f.update(func(s *Status) { s.State = Waiting })
	slot, from, err := f.slot(ctx, l, conn)
	if err != nil {
		return nil, err
	}
	// Drawn after the slot was made: all that committed before its start, or will yet with a record from before it, is lower.
	if xid, err = f.drawXID(ctx, l.sql); err != nil {
		return nil, err
	}
	f.table.Start(consistency.Start{From: from, NextXID: xid, Timeline: uint32(system.Timeline)})
	err = pglogrepl.StartReplication(ctx, conn, quoteIdentifier(slot), 0, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication,
		PluginArgs: []string{
			"proto_version '1'",
			"publication_names " + quoteLiteral(quoteIdentifier(f.cfg.Publication)),
			"messages 'true'",
		},
	})
	if err != nil {
		return nil, err
	}
	l.stream = newStream(conn, f.table, &f.commits, f.cfg.OnCatalog)
	f.update(func(s *Status) { s.State, s.Slot = CatchingUp, slot })
	return l, nil
}

// examine finds what would fail later with less clear words.
func (f *Feed) examine(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.ConnectTimeout)
	defer cancel()
	var standby, publication bool
	var walLevel string
	err := l.sql.QueryRow(ctx, `SELECT pg_is_in_recovery(), current_setting('wal_level'), current_setting('server_version_num')::int,
		current_setting('server_encoding'), EXISTS (SELECT FROM pg_publication WHERE pubname = $1)`, f.cfg.Publication).
		Scan(&standby, &walLevel, &l.version, &l.encoding, &publication)
	switch {
	case err != nil:
		return err
	case standby:
		return errors.New("the server is a standby, not the primary")
	case l.version < oldest*10000:
		return problemf(fmt.Sprintf("the feed needs Postgres %d or later", oldest), "the primary's version is %d", l.version/10000)
	case walLevel != "logical":
		return problemf("ALTER SYSTEM SET wal_level = 'logical', then restart the primary",
			"wal_level is %q, the feed needs \"logical\"", walLevel)
	case !publication:
		return f.noPublication()
	}
	// Whether the role may replicate is for the server to say: on hosted ones that isn't a matter of pg_roles.
	return nil
}

func (f *Feed) noPublication() error {
	return problemf("run freshet setup", "there is no publication %q in this database", f.cfg.Publication)
}

// closeTimeout bounds saying goodbye to a server.
const closeTimeout = time.Second

// slot makes or finds the slot, and says after which position its stream begins.
func (f *Feed) slot(ctx context.Context, l *link, conn *pgconn.PgConn) (name string, from consistency.LSN, err error) {
	name = f.cfg.Slot
	if name != "" {
		var confirmed *string
		var ours, lost bool
		err := l.sql.QueryRow(ctx, `SELECT confirmed_flush_lsn::text, coalesce(database = current_database() AND plugin = 'pgoutput', false),
				coalesce(wal_status = 'lost', false)
			FROM pg_replication_slots WHERE slot_name = $1`, name).Scan(&confirmed, &ours, &lost)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
		case err != nil:
			return "", 0, err
		case ours && lost:
			// The server has removed WAL that it needs. Whatever was cached before is stale by now in any case.
			f.cfg.Logger.Warn("WAL feed: the replication slot was lost, and is made again", "slot", name)
			if _, err := l.sql.Exec(ctx, `SELECT pg_drop_replication_slot($1)`, name); err != nil {
				return "", 0, err
			}
		case !ours || confirmed == nil:
			return "", 0, problemf("give another name as --slot", "the replication slot %q isn't one of this database for pgoutput", name)
		default:
			from, err = consistency.ParseLSN(*confirmed)
			return name, from, err
		}
	} else {
		random := make([]byte, 8)
		_, _ = rand.Read(random) // never fails
		name = "freshet_" + hex.EncodeToString(random)
	}
	made, err := pglogrepl.CreateReplicationSlot(ctx, conn, quoteIdentifier(name), "pgoutput", pglogrepl.CreateReplicationSlotOptions{
		Temporary:      f.cfg.Slot == "",
		SnapshotAction: "NOEXPORT_SNAPSHOT",
		Mode:           pglogrepl.LogicalReplication,
	})
	if err != nil {
		return "", 0, err
	}
	from, err = consistency.ParseLSN(made.ConsistentPoint)
	return name, from, err
}

// drawXID gives an xid that is higher than all that were given out before.
func (f *Feed) drawXID(ctx context.Context, conn *pgx.Conn) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.ConnectTimeout)
	defer cancel()
	var text string
	if err := conn.QueryRow(ctx, `SELECT pg_current_xact_id()::text`).Scan(&text); err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}

// closeConn closes a connection in a way that can't hang.
func closeConn(c interface{ Close(context.Context) error }) {
	// A deadline of its own: this is what runs when the others have passed.
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.Close(ctx)
}

func quoteIdentifier(s string) string { return pgx.Identifier{s}.Sanitize() }

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
