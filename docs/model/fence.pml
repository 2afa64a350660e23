/*
 * Feed, fence and readers: a cached answer that is served contains every commit that the feed has applied and that changed what the answer
 * reads. docs/CONSISTENCY.md, steps 5 to 8.
 *
 * Bounds: TXS transactions, with commit records in any order and becoming visible in any order, of which those in TOUCHING change what
 * is read; one replica; a feed that connects, is cut CUTS times, and connects again, whenever; a ring of RING commits; one
 * key, whose entry is filled and read again and again. Within them all states are looked at.
 */
#include "postgres.pml"
#include "table.pml"

#ifndef CUTS
#define CUTS 1
#endif
#ifndef TOUCHING
#define TOUCHING 255
#endif

byte cell; /* of what the answer reads */
byte fed;  /* how much of the log the feed has applied, or will never be sent */

/* The entry of the cache: cache.Entry, and what its answer really contains. */
bool entryThere;
byte entrySeq;
byte entryHas; /* set */

/* Entry.Fresh. Cells only grow, so an entry that is stale is so for ever: it is forgotten, to have fewer states. */
#define FRESH (global <= entrySeq && cell <= entrySeq)
inline forget_stale() { if :: entryThere && !FRESH -> entryThere = false; entrySeq = 0; entryHas = 0 :: else fi }

/* consistency/feed: connect.go, stream.go, and watch.go beside it. */
active proctype Feed() {
	byte cuts, target, snap, prefix;
	bool asked, ok;
	go = true;
connect:
	atomic { gap(); forget_stale() } /* Feed.connect: from now on commits may go by */
	atomic { fed = end } /* Feed.slot: the stream begins here */
	atomic { start(fed, begun); forget_stale() } /* Feed.drawXID: higher than any that was given out; Table.Start */
#ifdef CONNECTED_IS_CAUGHT_UP
	serving = true;
#endif
	target = end; /* watch.run: where the primary is after the stream has begun */
	do
	:: atomic { /* stream.data: Table.Apply */
		fed < end ->
#ifdef POSITION_BEFORE_CELLS
		position = fed + 1
	   }
	   atomic {
#endif
		ring_push(wal[fed]);
		if :: TOUCHING & BIT(wal[fed]) -> cell = applied :: else fi;
		fed++;
		forget_stale()
	   }
	   position = fed /* at the end of Apply, without the lock: Source.Advance */
	:: atomic { !serving && position >= target -> serving = true; target = 0 } /* Table.SetServing */
#ifdef OBSERVE
	:: atomic { !asked -> asked = true; snap = visible } /* watch.snapshot asks, … */
	:: atomic { asked -> /* … Table.ObserveSnapshot */
		seen_locked(snap, visibleSeq, prefix, ok);
		asked = false; snap = 0; prefix = 0; ok = false
	   }
#endif
	:: atomic { cuts < CUTS -> cuts++; asked = false; snap = 0; target = 0; goto connect }
	od
}

/*
 * A session that leads a flight: Session.beginFill, cache.Fill.Begin, the probe, the query, Session.store and cache.Fill.Store.
 *
 * The query runs when the probe has run, and can only see more. What sees more can't make a state bad that isn't bad
 * without, since nothing else depends on it; so here the query sees what the probe has seen.
 */
active proctype Filler() {
	mtype node = nowhere;
	byte p_epoch, p_began, p_visible, has, p_end, prefix;
	bool ok;
	do
	:: serving ->
		p_epoch = epoch; /* Table.Begin, which takes no lock */
#ifdef VISIBLE_AFTER_PROBE
		p_began = applied;
#else
		atomic { p_began = applied; p_visible = visibleSeq }
#endif
		/* The probe, before the query and in the same write: Session.takeProbe. */
		if
		:: atomic { node = primary; has = visible; /* pg_current_snapshot() */
#ifdef LSN_ON_PRIMARY
			p_end = end
#endif
		   }
		:: atomic { node = replica; has = replayedSet } /* pg_last_wal_replay_lsn(), which is the number of its members */
		fi;
#ifdef VISIBLE_AFTER_PROBE
		p_visible = visibleSeq;
#endif
		atomic {
			contains(node, p_epoch, p_began, p_visible, has, p_end, prefix, ok);
			if :: ok -> entryThere = true; entrySeq = prefix; entryHas = has; forget_stale() :: else fi;
			node = nowhere; p_epoch = 0; p_began = 0; p_visible = 0; has = 0; p_end = 0; prefix = 0; ok = false
		}
	od
}

/* A session that reads: Session.tryCache. */
active proctype Reader() {
	byte at, i;
	do
	:: serving && entryThere ->
		at = position; /* Session.Judge: whatever the floor is, up to here */
		atomic { /* L1.Get and Entry.Fresh */
			if
			:: entryThere && FRESH ->
				i = 0;
				do
				:: i < at -> assert(!(TOUCHING & BIT(wal[i])) || (entryHas & BIT(wal[i]))); i++
				:: else -> break
				od
			:: else
			fi;
			at = 0; i = 0
		}
	od
}
