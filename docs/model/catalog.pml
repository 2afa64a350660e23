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
byte entryUntil;

#define FRESH (global <= entrySeq && cell[entryDep] <= entrySeq)
/* Entry.Reached: the feed has applied all that the answer contains, or the answer contains all that has been applied, whatever it depends on. */
#ifdef NOT_REACHED
#define REACHED true
#else
#define REACHED (entrySeq >= applied || position >= entryUntil)
#endif
inline forget_stale() { if :: entryThere && !FRESH -> entryThere = false; entryDep = 0; entrySeq = 0; entryHas = 0; entryUntil = 0 :: else fi }

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
	byte p_epoch, p_began, p_visible, probed, has, until, prefix;
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
			until = (node == primary -> end : replayed); /* where the server is, asked after it */
			contains(node, p_epoch, p_began, p_visible, probed, 0, prefix, ok);
			if :: ok -> entryThere = true; entryDep = plan; entrySeq = prefix; entryHas = has; entryUntil = until; forget_stale() :: else fi
		}
no:		atomic { node = nowhere; plan = 0; p_epoch = 0; p_began = 0; p_visible = 0; probed = 0; has = 0; until = 0; prefix = 0; ok = false }
	od
}

/*
 * A session with a floor: where the primary was, asked for after some commits had been acknowledged, which are then in `must`
 * (Session.Learned, Session.Positioned, Source.AsOf), or all that is visible by then, which is more; or where a replica was
 * that has shown it what is in `must`, which the primary needn't show yet (Session.See). Session.tryCache.
 *
 * The second is why an answer isn't given before it is Reached: it may contain the change, which the feed is still to tell of, and
 * lack a commit before it that the replica has shown and the primary hasn't yet.
 */
active proctype Reader() {
	byte floor_, must, e_seq, e_has;
	bool e_dep;
	do
	:: atomic { must == 0 && replayed > 0 -> floor_ = replayed; must = replayedSet }
	:: atomic { must == 0 && visible != 0 -> floor_ = end; must = visible }
	:: atomic {
		must != 0 && position >= floor_ && serving && entryThere && REACHED -> /* Judge and Reached, … */
		e_dep = entryDep; e_seq = entrySeq; e_has = entryHas
	   }
	   atomic {
		if
		:: global <= e_seq && cell[e_dep] <= e_seq -> /* … then Fresh: a commit stamps its cells before it moves the position. */
			must = must & ~e_has; /* what is missing, … */
			assert(!(must & BIT(CHANGE)));
			must = must & ~BIT(CHANGE);
			/* … must be of the other relation. */
			assert(!(must & BIT(0)) || WRITES(0) != MEANS(e_has));
			assert(!(must & BIT(1)) || WRITES(1) != MEANS(e_has));
			assert(!(must & BIT(2)) || WRITES(2) != MEANS(e_has));
		:: else
		fi;
		must = 0; floor_ = 0; e_dep = 0; e_seq = 0; e_has = 0
	   }
	:: atomic { must != 0 -> floor_ = 0; must = 0 }
	od
}
