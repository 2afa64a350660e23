/*
 * What the models take Postgres to be: a primary with its log, and a replica that replays it. Nothing of Freshet's is in here.
 *
 * Transactions are numbered by their xids, in the order in which those were given out. A set of transactions is a bit set. A position
 * is a number of commit records: up to position p the log has the commits wal[0] … wal[p-1].
 *
 * Guaranteed by Postgres, and relied on:
 *  - a commit's record is written to the log before the commit becomes visible on the primary (CommitTransaction:
 *    RecordTransactionCommit, in it SyncRepWaitForLSN, then ProcArrayEndTransaction), and it is acknowledged after that;
 *  - a replica replays the log in its order, and shows a commit when it has replayed its record;
 *  - logical decoding sends the commits in the order of their records, each whole.
 * NOT guaranteed: that commits become visible in the order of their records, or soon.
 */
#ifndef TXS
#define TXS 3
#endif
#define BIT(x) (1 << (x))

bool go;          /* nothing happens before */
byte begun;       /* xids that were given out: 0 … begun-1 */
byte running;     /* set: no commit record yet */
byte unshown;      /* set: in the log, but not visible on the primary yet */
byte visible;     /* set: what a snapshot of the primary sees */
byte wal[TXS];    /* commit records, by xid */
byte end;         /* how many there are: the primary's position */
byte lsn[TXS];    /* where the record of each ends; 0: there is none */
byte replayed;    /* the replica's position (pg_last_wal_replay_lsn()) */
byte replayedSet; /* set: what a snapshot of the replica sees */

inline begin_tx() { running = running | BIT(begun); begun++ }

inline write_commit(x) {
	running = running & ~BIT(x);
	unshown = unshown | BIT(x);
	wal[end] = x;
	end++;
	lsn[x] = end
}

inline appear(x) { unshown = unshown & ~BIT(x); visible = visible | BIT(x) }

inline replay() { replayedSet = replayedSet | BIT(wal[replayed]); replayed++ }

/* The xmin of a snapshot: every transaction below it has ended. (None is rolled back here, so it is the lowest that isn't seen.) */
#define XMIN(s) (!((s) & 1) -> 0 : (!((s) & 2) -> 1 : (!((s) & 4) -> 2 : (!((s) & 8) -> 3 : 4))))

/* What pg_current_snapshot() says on a replica that has replayed these: everything below its xmax, whatever is in progress. (It lists nothing.) */
#define REPLICA_SEES(s) (((s) & 8) -> 15 : (((s) & 4) -> 7 : (((s) & 2) -> 3 : ((s) & 1))))

active proctype Postgres() {
	do
	:: atomic { go && begun < TXS -> begin_tx() }
	:: atomic { running & BIT(0) -> write_commit(0) }
	:: atomic { running & BIT(1) -> write_commit(1) }
	:: atomic { running & BIT(2) -> write_commit(2) }
	:: atomic { running & BIT(3) -> write_commit(3) }
	:: atomic { unshown & BIT(0) -> appear(0) }
	:: atomic { unshown & BIT(1) -> appear(1) }
	:: atomic { unshown & BIT(2) -> appear(2) }
	:: atomic { unshown & BIT(3) -> appear(3) }
	:: atomic { replayed < end -> replay() }
	od
}
