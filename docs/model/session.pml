/*
 * A session that reads from a replica, the cache and the primary, and writes: it reads its own writes and never goes back in time.
 * docs/CONSISTENCY.md, steps 3, 10 and 11.
 *
 * The fence is fence.pml's matter. Here a cached answer is one that contains what the feed has applied, and perhaps more, up to
 * the position `until` that was asked for after its query. All transactions change what is read.
 *
 * Instants aren't counted. A question for a source's position tells about the answers that had come before it was sent: what matters
 * of an instant is only whether a question was sent since.
 *
 * Bounds: TXS transactions, OWN among them the session's; one replica, whose position is asked for again and again; one entry,
 * filled again and again. Within them all states are looked at.
 */
#include "postgres.pml"

#ifndef OWN
#define OWN 0
#endif

byte position;   /* of the feed */
byte known;      /* Source.position of the replica */
byte floor_;     /* Session.floor */
byte seen;       /* set: what the session has been shown, or has written and been told so. This is what must stay. */
bool sighted;    /* there is a sighting of the replica: Session.See */
bool sightedPrimary;
bool asking;     /* a question to the replica is under way that was sent after the sighting */
bool askingPrimary;
bool shown;      /* Session.ShownByReplica is later than Topology.VisibleAsOf */
bool pinned;     /* Session.WriteEnded, before Learned */
bool written;

bool entryThere;
byte entryHas;
byte entryUntil;
bool entryShown; /* cache.Entry.Shown: a replica gave it */

inline prefix_set(n, s) {
	s = 0;
	j_ = 0;
	do :: j_ < n -> s = s | BIT(wal[j_]); j_++ :: else -> break od;
	j_ = 0
}
hidden byte j_;

active proctype Feed() {
	byte has;
	go = true;
	do
	:: atomic { position < end ->
		position++;
		prefix_set(position, has);
		if :: entryThere && (has & ~entryHas) -> entryThere = false; entryHas = 0; entryUntil = 0; entryShown = false :: else fi;
		has = 0
	   }
	od
}

/* topology's monitor: it asks the replica how far it is, and the primary where it is; Source.AdvanceIn. */
active proctype Monitor() {
	byte at;
	do
	:: asking = sighted; /* sent; what is seen from now on isn't meant */
		at = replayed;
		atomic {
			if :: at > known -> known = at :: else fi;
#ifndef NO_SIGHTINGS
			/* Session.settle, with Source.Until */
			if :: asking && sighted -> sighted = false; floor_ = (known > floor_ -> known : floor_) :: else fi;
#endif
			asking = false; at = 0
		}
	:: askingPrimary = sightedPrimary;
		at = end;
		atomic {
#ifndef NO_SIGHTINGS
			if :: askingPrimary && sightedPrimary -> sightedPrimary = false; floor_ = (at > floor_ -> at : floor_) :: else fi;
#endif
			askingPrimary = false; at = 0
		}
	od
}

/* Somebody fills the entry; fence.pml says that it contains what had been applied when it is served. */
active proctype Filler() {
	byte has, all;
	do
	:: atomic { !entryThere -> has = visible; prefix_set(position, all);
		if :: !(all & ~has) -> entryThere = true; entryHas = has; entryUntil = end; entryShown = false :: else fi;
		has = 0; all = 0 }
	:: atomic { !entryThere -> has = replayedSet; prefix_set(position, all);
		if :: !(all & ~has) -> entryThere = true; entryHas = has; entryUntil = replayed; entryShown = true :: else fi;
		has = 0; all = 0 }
	od
}

inline saw(has) {
	assert(!(seen & ~has));
	seen = seen | has
}

active proctype Session() {
	byte need, old;
	do
	/* A read from the replica: Session.Judge, the query, Session.See. */
	:: atomic { !pinned && !sightedPrimary && known >= floor_ -> old = known }
		atomic {
			saw(replayedSet);
#ifdef LOWER_BOUND_ONLY
			/* The floor is where the replica was known to be before the answer. */
			floor_ = (old > floor_ -> old : floor_);
#else
#ifndef NO_SIGHTINGS
			sighted = true; asking = false;
#endif
#endif
			shown = true; old = 0
		}
	/* A read from the cache: the gate, then Session.hit. */
	:: atomic { !pinned && !sighted && !sightedPrimary && position >= floor_ && entryThere -> 
			saw(entryHas);
#ifndef NO_SIGHTINGS
			floor_ = (entryUntil > floor_ -> entryUntil : floor_);
#endif
			shown = shown || entryShown
	   }
	/* A read from the primary: Session.awaitVisible, in it Topology.ConfirmVisible: whatever any replica shows by now is waited for. */
	:: atomic {
#ifndef NO_CONFIRM
		if
		:: shown -> need = replayedSet
		:: else
		fi
	   }
	   atomic { !(need & ~visible) -> need = 0; shown = false;
#else
		skip
	   }
	   atomic {
#endif
			saw(visible);
#ifndef NO_SIGHTINGS
			sightedPrimary = true; askingPrimary = false
#endif
	   }
	/* A write: it is acknowledged when it is visible. */
	:: atomic { !written && (visible & BIT(OWN)) ->
			written = true; seen = seen | BIT(OWN);
#ifndef NO_PIN
			pinned = true
#endif
	   }
	/* The position clock's answer: Session.Learned. */
	:: atomic { pinned -> floor_ = (end > floor_ -> end : floor_); pinned = false }
	od
}
