/*
 * Plans, the watcher of the catalog, and fills: an answer that was fetched with a plan of an old catalog is not served when the feed has
 * applied the change. docs/CONSISTENCY.md, step 9.
 *
 * One transaction, CHANGE, changes the catalog: a name means relation 0 before it and relation 1 after it. A plan says
 * which of the two the answer depends on; which one the server really reads is for the server's catalog to say.
 *
 * Bounds: TXS transactions, CHANGE and writers of relation 1 (or 0, those in OLD); one replica; a feed that connects before all this,
 * and is cut CUTS times; a ring of RING commits; one key. Within them all states are looked at.
 */
#include "postgres.pml"
#include "table.pml"

#ifndef CUTS
#define CUTS 0
#endif
#ifndef CHANGE
#define CHANGE 0
#endif
#ifndef OLD
#define OLD 0
#endif

byte fed;
byte cell[2];    /* of the two relations */
byte catalog;    /* Table.catalog */
byte looked;     /* Table.looked */
bool generation; /* of the snapshot that the watcher has made current: whether it has the change */

#define MEANS(s) (((s) & BIT(CHANGE)) != 0) /* the relation that the name means to who sees these commits */
#define WRITES(x) ((OLD & BIT(x)) == 0)     /* the relation that a transaction writes, if it isn't CHANGE */

/* cache.Entry: what it depends on, and what its answer really contains. */
bool entryThere;
bool entryDep;
byte entrySeq;
byte entryHas;

#define FRESH (global <= entrySeq && cell[entryDep] <= entrySeq)
inline forget_stale() { if :: entryThere && !FRESH -> entryThere = false; entryDep = 0; entrySeq = 0; entryHas = 0 :: else fi }

active proctype Feed() {
	byte cuts, target;
connect:
	atomic { gap(); catalog = applied; forget_stale() }
	atomic { fed = end }
	atomic { start(fed, begun); catalog = applied; forget_stale() }
	target = end;
	do
	:: atomic { /* Table.Apply */
		fed < end ->
		ring_push(wal[fed]);
		if
		:: wal[fed] == CHANGE -> /* the message of the event trigger travels with it */
#ifndef NO_CATALOG_FENCE
			ring_fence();
#endif
			catalog = applied;
			global = applied
		:: else -> cell[WRITES(wal[fed])] = applied
		fi;
		fed++;
		forget_stale()
	   }
	   position = fed
	:: atomic { !serving && position >= target -> serving = true; go = true; target = 0 }
	:: atomic { cuts < CUTS -> cuts++; target = 0; goto connect }
	od
}

/* catalog.Watcher.look, and Databases.looked, which it calls. It looks whenever it likes to. */
active proctype Watcher() {
	byte w_epoch, w_began, w_visible, saw, prefix;
	bool changed, ok;
	do
	:: generation == 0 || looked < catalog ->
		w_epoch = epoch; /* BeforeLook: Table.Begin */
		atomic { w_began = applied; w_visible = visibleSeq }
		saw = visible; /* the snapshot with which the digest, or the new catalog, is read */
		changed = (MEANS(saw) != generation);
		if
		:: changed ->
			generation = 1; /* Watcher.current */
			pseudoLSN = end; /* Databases.catalogChanged: Topology.Ask, … */
			atomic { ring_push(PSEUDO); global = applied; forget_stale() } /* … Table.CatalogChanged */
		:: else
		fi;
		atomic { /* Table.CatalogLooked */
			contains(primary, w_epoch, w_began, w_visible, saw, 0, prefix, ok);
			if :: ok && prefix > looked -> looked = prefix :: else fi;
			w_epoch = 0; w_began = 0; w_visible = 0; saw = 0; prefix = 0; changed = false; ok = false
		}
	od
}

/* A session that leads a flight. */
active proctype Filler() {
	mtype node = nowhere;
	byte p_epoch, p_began, p_visible, probed, has, prefix;
	bool plan, ok;
	do
	:: atomic { serving -> plan = generation } /* some time before */
		p_epoch = epoch; /* Session.beginFill: cache.Fill.Begin, in it Table.Begin, … */
		atomic { p_began = applied; p_visible = visibleSeq }
#ifndef NO_GENERATION
		/* … then whether the plan's catalog is still current, … */
		if :: generation != plan -> goto no :: else fi;
#endif
#ifndef NO_CATALOG_HOLDS
		/* … and contains what the feed knows to have changed: Table.CatalogHolds. */
		if :: looked < catalog -> goto no :: else fi;
#endif
		if
		:: atomic { node = primary; probed = visible }
		:: atomic { node = replica; probed = replayedSet }
		fi;
		has = (node == primary -> visible : replayedSet); /* the query */
		atomic {
			contains(node, p_epoch, p_began, p_visible, probed, 0, prefix, ok);
			if :: ok -> entryThere = true; entryDep = plan; entrySeq = prefix; entryHas = has; forget_stale() :: else fi
		}
no:		atomic { node = nowhere; plan = 0; p_epoch = 0; p_began = 0; p_visible = 0; probed = 0; has = 0; prefix = 0; ok = false }
	od
}

/*
 * A session with a floor: where the primary was, asked for after some commits had been acknowledged, which are then in `must`
 * (Session.Learned, Session.Positioned, Source.AsOf); or all that is visible by then, which is more. Session.tryCache.
 *
 * With SHOWN_BY_REPLICA the floor is where a replica was that has shown something. That isn't promised at the moment of such a
 * change, see "Limits" in docs/CONSISTENCY.md: the answer may contain the change, which the feed is still to tell of, and lack
 * a commit before it that the replica has shown and the primary hasn't yet.
 */
active proctype Reader() {
	byte floor_, must;
	do
#ifdef SHOWN_BY_REPLICA
	:: atomic { must == 0 && replayed > 0 -> floor_ = replayed; must = replayedSet }
#else
	:: atomic { must == 0 && visible != 0 -> floor_ = end; must = visible }
#endif
	:: atomic {
		must != 0 && position >= floor_ && serving && entryThere && FRESH ->
		must = must & ~entryHas; /* what is missing, … */
		assert(!(must & BIT(CHANGE)));
		must = must & ~BIT(CHANGE);
		/* … must be of the other relation. */
		assert(!(must & BIT(0)) || WRITES(0) != MEANS(entryHas));
		assert(!(must & BIT(1)) || WRITES(1) != MEANS(entryHas));
		assert(!(must & BIT(2)) || WRITES(2) != MEANS(entryHas));
		floor_ = 0; must = 0
	   }
	:: atomic { must != 0 -> floor_ = 0; must = 0 }
	od
}
