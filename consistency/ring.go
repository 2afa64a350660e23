package consistency

import (
	"slices"
	"sort"

	"github.com/freshet/freshet/consistency/rule"
)

// ring remembers the recent commits in the order in which the feed applied them, and enough about those that it has
// forgotten, or that went by before the feed began, to refuse what can't be judged any more. Not safe for concurrent use.
//
// Real commits have an xid. Pseudo-commits have none: gaps, changes seen by looking at the catalog, the begin of a
// relation's coverage. They are in the order, so that what was filled before them is older.
type ring struct {
	entries []ringEntry // seq is at entries[seq % len]
	first   Seq         // the oldest remembered; first > last: none
	last    Seq         // the newest applied, remembered or not
	maxXID  uint64      // of all up to last, and of those that were never seen
	maxEnd  LSN         // likewise
	pseudos []Seq       // the remembered pseudo-commits and fenced commits, ascending

	// What may be missing from a fill without the ring being able to tell.
	dropped       Seq    // the newest that is not remembered
	droppedXID    uint64 // the highest xid among all that are not remembered
	droppedEnd    LSN    // the highest end
	droppedPseudo Seq    // the newest pseudo-commit or fenced commit among them
}

// ringEntry is one commit. The maxima run over all commits up to and including this one, which is what makes it possible
// to look for the first that is missing by bisection.
type ringEntry struct {
	xid    uint64 // 0: pseudo-commit
	maxXID uint64
	maxEnd LSN
}

func newRing(size int) ring { return ring{entries: make([]ringEntry, max(size, 1)), first: 1} }

// begin forgets everything. The ring goes on after seq; commits that it never sees have xids below nextXID and ends up to from.
func (r *ring) begin(seq Seq, nextXID uint64, from LSN) {
	r.first, r.last = seq+1, seq
	r.maxXID, r.maxEnd = nextXID-1, from
	r.pseudos = r.pseudos[:0]
	r.dropped, r.droppedXID, r.droppedEnd, r.droppedPseudo = seq, r.maxXID, r.maxEnd, seq
}

// push adds the next commit; xid 0 makes it a pseudo-commit.
func (r *ring) push(xid uint64, end LSN) Seq {
	if n := r.last + 1 - r.first; int(n) == len(r.entries) {
		r.drop()
	}
	r.last++
	r.maxXID = max(r.maxXID, xid)
	r.maxEnd = max(r.maxEnd, end)
	if xid == 0 {
		r.pseudos = append(r.pseudos, r.last)
	}
	*r.at(r.last) = ringEntry{xid, r.maxXID, r.maxEnd}
	return r.last
}

// fence has the newest commit count as contained only in what was begun after it: a change of the catalog, since what was begun
// before was planned without it, even if the server answered with it.
func (r *ring) fence() { r.pseudos = append(r.pseudos, r.last) }

func (r *ring) drop() {
	e := r.at(r.first)
	r.dropped, r.droppedXID, r.droppedEnd = r.first, e.maxXID, e.maxEnd
	if len(r.pseudos) > 0 && r.pseudos[0] == r.first {
		r.droppedPseudo = r.first
		r.pseudos = slices.Delete(r.pseudos, 0, 1)
	}
	r.first++
}

func (r *ring) at(seq Seq) *ringEntry { return &r.entries[uint64(seq)%uint64(len(r.entries))] }

// firstFrom is the first remembered commit at or after seq for which found holds, given that it holds for all after it;
// last + 1 when there is none.
func (r *ring) firstFrom(seq Seq, found func(*ringEntry) bool) Seq {
	seq = max(seq, r.first)
	if seq > r.last {
		return r.last + 1
	}
	n := sort.Search(int(r.last+1-seq), func(i int) bool { return found(r.at(seq + Seq(i))) })
	return seq + Seq(n)
}

// seenBy is the longest prefix of the commits that a snapshot of the primary contains, pseudo-commits counted as contained.
// visible: up to there, all were visible to an earlier snapshot, and so are to this one. ok is false when a commit that
// isn't remembered might be missing.
func (r *ring) seenBy(s Snapshot, visible Seq) (prefix Seq, ok bool) {
	if r.dropped > visible && r.droppedXID >= s.Xmin {
		return 0, false
	}
	if e := r.at(r.last); !rule.Prefix && r.first <= r.last && s.Sees(e.xid) {
		return r.last, true
	}
	// It isn't enough to look at the newest commit: commits need not become visible in the order of the WAL.
	for seq := r.firstFrom(visible+1, func(e *ringEntry) bool { return e.maxXID >= s.Xmin }); seq <= r.last; seq++ {
		if e := r.at(seq); e.xid != 0 && !s.Sees(e.xid) {
			return seq - 1, true
		}
	}
	return r.last, true
}

// replayedAt is the longest prefix of the commits that end at or before lsn: what a replica contains that has replayed so far.
func (r *ring) replayedAt(lsn LSN) (prefix Seq, ok bool) {
	if r.droppedEnd > lsn {
		return 0, false
	}
	return r.firstFrom(0, func(e *ringEntry) bool { return e.maxEnd > lsn }) - 1, true
}

// pseudosUntil is the longest prefix in which every pseudo-commit and fenced commit is at or before seq.
func (r *ring) pseudosUntil(seq Seq) (prefix Seq, ok bool) {
	if r.droppedPseudo > seq {
		return 0, false
	}
	if i, _ := slices.BinarySearch(r.pseudos, seq+1); i < len(r.pseudos) {
		return r.pseudos[i] - 1, true
	}
	return r.last, true
}
