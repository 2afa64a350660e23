package consistency

import "fmt"

// PositionSQL asks the primary for its position, as text: the end of the last WAL record that has been inserted. Every
// commit that was acknowledged before the question was sent ends at or before it. For the position clock, Source.Observe
// and the feed. Postgres 14 or later.
//
// Why the insert position: with synchronous_commit = off, which any transaction can choose for itself, a commit is
// acknowledged before it is flushed, so pg_current_wal_flush_lsn() can be below an acknowledged commit. Nothing that is
// asked of the server tells whether some transaction has done so.
//
// Why the arithmetic: pg_current_wal_insert_lsn() is where the next record will begin. When the last one ended exactly at
// the end of a page, that is beyond the header of a page on which there is nothing yet (24 bytes, or 40 at the start of
// a segment: SizeOfXLogShortPHD, SizeOfXLogLongPHD). No replica and no feed gets there before the next record is
// written, which on a quiet server can be minutes; after pg_switch_wal() it is always so.
const PositionSQL = `SELECT (l - CASE
	WHEN (l - '0/0') % pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')) = 40 THEN 40
	WHEN (l - '0/0') % pg_catalog.current_setting('wal_block_size')::numeric = 24 THEN 24
	ELSE 0 END)::text
FROM pg_catalog.pg_current_wal_insert_lsn() AS l`

// PositionPartsSQL asks for the same in parts, from which PositionOf works it out. For where it is asked often: in SQL, the arithmetic
// takes the server longer than all the rest of the question does, since it is done with numerics.
const PositionPartsSQL = `SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.current_setting('wal_segment_size'), pg_catalog.current_setting('wal_block_size')`

// PositionOf is what PositionSQL would give, from a row of PositionPartsSQL. Where a size isn't understood, the position is the next
// record's, which is at or beyond it.
func PositionOf(insert LSN, segment, block []byte) LSN {
	const short, long = 24, 40
	if n := parseSize(segment); n > 0 && insert%n == long {
		return insert - long
	}
	if n := parseSize(block); n > 0 && insert%n == short {
		return insert - short
	}
	return insert
}

// parseSize reads the value of a setting that is a size, such as "16MB" or "8192"; 0: it isn't one.
func parseSize(text []byte) LSN {
	n := LSN(0)
	for i, c := range text {
		if c < '0' || c > '9' {
			switch string(text[i:]) {
			case "B":
				return n
			case "kB":
				return n << 10
			case "MB":
				return n << 20
			case "GB":
				return n << 30
			case "TB":
				return n << 40
			}
			return 0
		}
		if n = 10*n + LSN(c-'0'); n > 1<<40 {
			return 0
		}
	}
	return n
}

// FlushSQL makes the primary flush everything that has been inserted, by a commit of its own that changes nothing (some 60
// bytes of WAL). To be sent as one simple query.
//
// Why it is needed: what has been inserted is flushed with the next commit, or when its page is full, or, after a commit
// with synchronous_commit = off, by the walwriter within moments. But the records of a transaction that is still open
// stay where they are: on an otherwise quiet server the position that PositionSQL gives can't be reached by any replica or
// feed for as long as that transaction lasts (or until a checkpoint or the bgwriter comes by, every 15 s). So whoever
// finds that a source has been Behind by the same position for some tens of milliseconds, while flush_lsn is
// below it, sends this.
const FlushSQL = `BEGIN; SET LOCAL synchronous_commit = local; SELECT pg_catalog.pg_logical_emit_message(true, 'freshet.flush', ''); COMMIT`

// ProbeSQL asks what a fill's answer is sure to contain, as one text for Probe.Read. It is sent on the fill's connection, in
// the same network write, just before the query; it works in any session of any user, whatever the search_path.
//
// pg_current_snapshot() isn't asked on a replica, since its list of transactions in progress is always empty in recovery.
const ProbeSQL = `SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
	THEN pg_catalog.concat('r', pg_catalog.pg_last_wal_replay_lsn())
	ELSE pg_catalog.concat('p', pg_catalog.pg_current_snapshot()) END`

// Read takes the answer to ProbeSQL.
func (p *Probe) Read(answer string) (err error) {
	switch {
	case len(answer) > 1 && answer[0] == 'r':
		p.OnReplica = true
		p.Replayed, err = ParseLSN(answer[1:])
		return err
	case len(answer) > 1 && answer[0] == 'p':
		p.OnReplica = false
		p.Snapshot, err = ParseSnapshot(answer[1:])
		return err
	}
	return fmt.Errorf("not an answer to the probe: %q", answer)
}
