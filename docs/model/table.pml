/*
 * The version table (consistency/table.go, apply.go) with its ring of recent commits (ring.go). What is an inline here is done in the code while Table.mu is held. Fields that
 * the code reads without the lock are read here in steps of their own.
 *
 * The ring's maxima, which are there to find by bisection, are left out: here everything is looked at.
 */
#ifndef RING
#define RING 2
#endif
#define PSEUDO 255 /* the xid of a pseudo-commit */
#define NEVER 254
#define ENDS(x) ((x) == PSEUDO -> pseudoLSN : lsn[x])

byte applied;     /* Table.applied; it is ring.last, too */
byte position;    /* Source.position */
byte visibleSeq;  /* Table.visible */
byte epoch;       /* Source.epoch */
bool serving;     /* Table.serving */
byte global;      /* Table.global; the cells of relations are in the models */

byte ring[RING];  /* ring.entries: xids, at their number modulo RING */
byte first = 1;   /* ring.first: the oldest that is remembered */
byte dropped;     /* ring.dropped, droppedXID and droppedEnd: what may be missing without the ring being able to tell */
byte droppedXID = NEVER; /* that is: xids below it; in the code, up to it */
byte droppedEnd = NEVER;
byte pseudos;     /* ring.pseudos: bit n is for the n-th of those remembered, counted from `first` */
byte droppedPseudo;
byte pseudoLSN;   /* the position that a pseudo-commit stands for */

hidden byte i_, s_; /* scratch */

/* ring.begin */
inline ring_begin(nextXID, from) {
	first = applied + 1;
	dropped = applied; droppedXID = nextXID; droppedEnd = from;
	pseudos = 0; droppedPseudo = applied;
	i_ = 0;
	do :: i_ < RING -> ring[i_] = 0; i_++ :: else -> break od; i_ = 0
}

/* ring.push, with ring.drop */
inline ring_push(xid) {
	if
	:: applied + 1 - first == RING ->
		i_ = ring[first % RING];
		dropped = first;
		if :: i_ != PSEUDO && i_ + 1 > droppedXID -> droppedXID = i_ + 1 :: else fi;
		if :: ENDS(i_) > droppedEnd -> droppedEnd = ENDS(i_) :: else fi;
		if :: pseudos & 1 -> droppedPseudo = first :: else fi;
		pseudos = pseudos >> 1;
		first++;
		i_ = 0
	:: else
	fi;
	applied++;
	ring[applied % RING] = xid;
	if :: xid == PSEUDO -> ring_fence() :: else fi
}

/* ring.fence: the newest counts as contained only in what was begun after it. */
inline ring_fence() { pseudos = pseudos | BIT(applied - first) }

/* ring.seenBy: the prefix that a snapshot of the primary contains. */
inline seen_by(snap, vis, prefix, ok) {
	ok = !(dropped > vis && droppedXID > XMIN(snap));
	prefix = applied;
	s_ = (vis + 1 > first -> vis + 1 : first);
	do
	:: s_ <= applied && ring[s_ % RING] != PSEUDO && !(snap & BIT(ring[s_ % RING])) -> prefix = s_ - 1; break
	:: s_ > applied -> break
	:: else -> s_++
	od;
#ifdef NEWEST_ONLY
	if :: first <= applied && ring[applied % RING] != PSEUDO && (snap & BIT(ring[applied % RING])) -> prefix = applied :: else fi;
#endif
	s_ = 0
}

/* ring.replayedAt: the prefix that a replica contains which has replayed so far. */
inline replayed_at(at, prefix, ok) {
	ok = !(droppedEnd > at);
	prefix = applied;
	s_ = first;
	do
	:: s_ <= applied && ENDS(ring[s_ % RING]) > at -> prefix = s_ - 1; break
	:: s_ > applied -> break
	:: else -> s_++
	od;
	s_ = 0
}

/* ring.pseudosUntil, as Table.Contains uses it */
inline pseudos_until(began, prefix, ok) {
	if :: droppedPseudo > began -> ok = false :: else fi;
	s_ = first;
	do
	:: s_ <= applied && s_ > began && (pseudos & BIT(s_ - first)) -> prefix = (prefix < s_ - 1 -> prefix : s_ - 1); break
	:: s_ > applied -> break
	:: else -> s_++
	od;
	s_ = 0
}

/* Table.seenLocked: seenBy, remembered for later fills */
inline seen_locked(snap, vis, prefix, ok) {
	seen_by(snap, vis, prefix, ok);
	if :: ok && prefix > visibleSeq -> visibleSeq = prefix :: else fi
}

/* Table.gapLocked */
inline gap() {
#ifndef CONNECTED_IS_CAUGHT_UP
	serving = false;
	global = applied + 1;
#endif
	applied++;
	ring_begin(NEVER, NEVER);
	position = 0;
	epoch++
}

/* Table.Start */
inline start(from, nextXID) {
	gap();
#ifdef START_WITHOUT_XID
	ring_begin(0, from);
#else
	ring_begin(nextXID, from);
#endif
	position = from
}

/* Where a fill is answered. */
mtype = { nowhere, primary, replica };

/* How far a replica has replayed that sees these commits. */
#define COUNT(s) (((s) & 1) + (((s) >> 1) & 1) + (((s) >> 2) & 1) + (((s) >> 3) & 1))

/* Table.Contains. What the probe says is in `has`: the commits that its node sees. */
inline contains(node, p_epoch, p_began, p_visible, has, p_end, prefix, ok) {
	prefix = 0;
	ok = (p_epoch == epoch && serving);
	if
	:: ok ->
#ifdef NO_FENCE
		prefix = applied
#else
		if
		:: node == replica ->
#ifdef SNAPSHOT_ON_REPLICA
			seen_by(REPLICA_SEES(has), p_visible, prefix, ok)
#else
			replayed_at(COUNT(has), prefix, ok)
#endif
		:: else ->
#ifdef LSN_ON_PRIMARY
			replayed_at(p_end, prefix, ok)
#else
			seen_locked(has, p_visible, prefix, ok)
#endif
		fi;
		pseudos_until(p_began, prefix, ok)
#endif
	:: else
	fi
}
