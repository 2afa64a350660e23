package topology

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/consistency"
)

// startedSQL tells one run of one server from all others: nobody else started
// in the same microsecond.
const startedSQL = `(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint`

// systemSQL is the cluster's identity. It can be forbidden (REVOKE), which
// isn't worth refusing a node for.
const systemSQL = `SELECT system_identifier FROM pg_catalog.pg_control_system()`

// pollSQL is the question that is asked all the time. In this order, because
// the columns are computed from left to right:
//
//   - whether the server is in recovery. It can leave it while the question
//     is being answered, never enter it; so where the third column has a
//     value it was a primary by then, whatever the first one says.
//   - what it has replayed. Before the timeline: if it changes timelines in
//     between, the pair is one that is not believed, rather than a position
//     on the new timeline under the name of the old.
//   - a primary's position, and what is flushed of it.
//   - the timeline. A primary's is in the name of its WAL file
//     (pg_control_checkpoint() would give the old one until the first
//     checkpoint after a promotion). A replica's is the one it streams: the
//     server that sends makes sure that what was replayed belongs to its
//     history. Where that isn't visible (pg_monitor is needed), or nothing is
//     streamed, it is that of the last restart point: true, but perhaps
//     out of date.
const pollSQL = `SELECT pg_catalog.pg_is_in_recovery(),
	pg_catalog.pg_last_wal_replay_lsn(),
	CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE (` + consistency.PositionSQL + `) END,
	CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.pg_current_wal_flush_lsn() END,
	CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END,
	CASE WHEN pg_catalog.pg_is_in_recovery() THEN coalesce(
		(SELECT received_tli FROM pg_catalog.pg_stat_get_wal_receiver()),
		(SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())) END`

// identity is which server a connection leads to.
type identity struct {
	system  uint64 // 0: not visible
	started int64  // microseconds since 1970
}

// same says whether both are the same run of the same server.
func (a identity) same(b identity) bool {
	return a.started != 0 && a.started == b.started && (a.system == b.system || a.system == 0 || b.system == 0)
}

// answer is what a node said.
type answer struct {
	at       int64           // consistency.Now() before the question was sent
	got      int64           // and when the answer was there
	before   consistency.LSN // where a replica was known to be before that
	role     Role
	lsn      consistency.LSN // a primary's position; what a replica has replayed
	flushed  consistency.LSN // of a primary
	timeline uint32          // 0: not known
}

const (
	pollName     = "freshet_poll"
	positionName = "freshet_position"
)

// identify asks which server this is.
func (l *link) identify(ctx context.Context, limit time.Duration) (identity, error) {
	var id identity
	err := l.query(ctx, "SELECT "+startedSQL, limit, func(v [][]byte) (err error) {
		id.started, err = strconv.ParseInt(text(v, 0), 10, 64)
		return err
	})
	if err != nil {
		return id, err
	}
	err = l.query(ctx, systemSQL, limit, func(v [][]byte) (err error) {
		// A bigint in SQL, but unsigned by nature.
		n, err := strconv.ParseInt(text(v, 0), 10, 64)
		id.system = uint64(n)
		return err
	})
	if pgErr := (*pgconn.PgError)(nil); errors.As(err, &pgErr) && !broken(err) {
		err = nil
	}
	return id, err
}

// poll asks a node how it is.
func (l *link) poll(ctx context.Context, limit time.Duration) (a answer, err error) {
	a.at = consistency.Now()
	rows := 0
	err = l.ask(ctx, pollName, limit, func(v [][]byte) error {
		rows++
		return a.read(v)
	})
	if err == nil && rows != 1 {
		err = fmt.Errorf("topology: %d rows for one question", rows)
	}
	a.got = consistency.Now()
	return a, err
}

// read takes a row of pollSQL.
func (a *answer) read(v [][]byte) (err error) {
	if len(v) != 6 {
		return fmt.Errorf("topology: %d columns for 6", len(v))
	}
	if v[2] != nil {
		a.role = Primary
		if a.lsn, err = consistency.ParseLSN(text(v, 2)); err != nil {
			return err
		}
		if a.flushed, err = consistency.ParseLSN(text(v, 3)); err != nil {
			return err
		}
		// 000000010000000000000003: timeline, then the file's number.
		name := text(v, 4)
		tli, err := strconv.ParseUint(name[:min(8, len(name))], 16, 32)
		if err != nil {
			return fmt.Errorf("topology: name of WAL file %q: %w", name, err)
		}
		a.timeline = uint32(tli)
		return nil
	}
	a.role = Replica
	if v[1] != nil { // NULL before anything has been replayed
		if a.lsn, err = consistency.ParseLSN(text(v, 1)); err != nil {
			return err
		}
	}
	if v[5] != nil {
		tli, err := strconv.ParseUint(text(v, 5), 10, 32)
		if err != nil {
			return err
		}
		a.timeline = uint32(tli)
	}
	return nil
}

// position asks the position question.
func (l *link) position(ctx context.Context, limit time.Duration) (lsn consistency.LSN, err error) {
	rows := 0
	err = l.ask(ctx, positionName, limit, func(v [][]byte) (err error) {
		rows++
		if len(v) != 3 {
			return fmt.Errorf("topology: %d columns for 3", len(v))
		}
		if lsn, err = consistency.ParseLSN(text(v, 0)); err == nil {
			lsn = consistency.PositionOf(lsn, v[1], v[2])
		}
		return err
	})
	if err == nil && rows != 1 {
		err = fmt.Errorf("topology: %d rows for one question", rows)
	}
	return lsn, err
}

func text(v [][]byte, i int) string {
	if i >= len(v) {
		return ""
	}
	return string(v[i])
}

// VouchSQL is the question for Vouch, one row of one text.
const VouchSQL = `SELECT pg_catalog.concat(` + startedSQL + `, ' ',
	CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() END)`

// ErrElsewhere: a connection leads to another server than the one that is
// watched under this name, or to another run of it. What is known about the
// node doesn't hold for the connection.
var ErrElsewhere = errors.New("topology: the connection leads to another server, or another run of it, than is watched under this address")

// Vouch ties a new data connection to what is known about the node. The name
// may have been resolved to another server since the monitor connected, or
// the server may have come back from a crash with less replayed than it had:
// then the node's position isn't true of the connection, and a session could
// miss its own write through it.
//
// In this order: BeginVouch, then VouchSQL on the connection, then Check on
// its answer. From then on the connection is good for as long as the node's
// Epoch is the one of the Vouch.
type Vouch struct {
	node    *Node
	Epoch   uint64
	started int64
	replica bool
	reached consistency.LSN
}

// BeginVouch notes what is known about the node, before VouchSQL is sent.
func (n *Node) BeginVouch() Vouch {
	// The epoch first: what is read after it is at least as new.
	v := Vouch{node: n, Epoch: n.Epoch()}
	v.started = n.started.Load()
	v.replica = n.Role() == Replica
	v.reached = n.Position()
	return v
}

// Check takes the answer to VouchSQL. ErrElsewhere: close the connection; the
// monitor connects anew, to wherever the name leads now. Another error: the
// answer can't be read.
func (v Vouch) Check(answer string) error {
	head, tail, ok := strings.Cut(answer, " ")
	started, err := strconv.ParseInt(head, 10, 64)
	if !ok || err != nil {
		return fmt.Errorf("topology: not an answer to VouchSQL: %q", answer)
	}
	var replayed consistency.LSN
	if tail != "" {
		if replayed, err = consistency.ParseLSN(tail); err != nil {
			return err
		}
	}
	if started != v.started || v.Epoch != v.node.Epoch() ||
		// A replica that was promoted since has replayed nothing, by its own
		// account, and is ahead of what it had.
		v.replica && tail != "" && replayed < v.reached {
		v.node.again.Store(true)
		v.node.look()
		return ErrElsewhere
	}
	return nil
}
