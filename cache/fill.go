package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/freshet/freshet/consistency"
)

// Why a fill came to nothing. Besides these: what consistency.Table.Contains
// says when the fill can't be judged (ErrNotServing, ErrGap, ErrTimeline,
// ErrTooOld), wrapped.
var (
	// ErrTooBig: the answer is bigger than the limit.
	ErrTooBig = errors.New("cache: answer larger than the limit of an entry")
	// ErrUncovered: the feed doesn't cover, or no longer covers, one of the
	// relations.
	ErrUncovered = errors.New("cache: a relation is not covered by the feed")
	// ErrIncomplete: Store was called before the answer was complete, or
	// without Begin.
	ErrIncomplete = errors.New("cache: answer incomplete")
	// ErrRefused: the cache didn't take the entry: it holds one that has seen
	// more.
	ErrRefused = errors.New("cache: a newer answer is there already")
)

// Fills begins fills for one L1. Safe for concurrent use.
type Fills struct {
	l1    *L1
	limit int
	// Scratch memory, lent to fills while they capture. A pool, because a
	// session that fills now and then shouldn't own a buffer in between.
	scratch sync.Pool
}

// scratchKept is the biggest scratch that is kept for the next fill; bigger
// ones go back to the heap at once.
const scratchKept = 64 << 10

// NewFills makes Fills that store into l1 and capture answers of at most
// `limit` bytes (--cache-max-entry), key included.
func NewFills(l1 *L1, limit int64) *Fills {
	if m := l1.MaxEntry(); limit <= 0 || limit > m {
		limit = m
	}
	return &Fills{l1: l1, limit: int(limit)}
}

// Fill captures one answer on its way to the client, and stores it if the
// fence lets it through. In this order:
//
//	Begin      the cells are looked up and the table's side of the probe is
//	           noted; only then is the probe's question sent, and the query
//	           after it, on the same connection
//	AddRowDesc, AddRows, AddComplete
//	           the answer's bytes, as they pass by
//	Store      with what the probe said
//
// or, from anywhere, Abandon. The zero value is idle. A Fill can be used again
// and again, by one goroutine at a time. It holds memory only between Begin
// and Store, Abandon or the limit.
type Fill struct {
	fills   *Fills
	table   *consistency.Table
	deps    []*consistency.Cell // global first
	whole   uint64              // Entry.Whole
	rels    []*consistency.Relation
	probe   consistency.Probe
	reached consistency.LSN // the table's position, at Begin or before
	forTime bool            // see BeginForATime
	watched bool            // the feed was caught up at Begin
	buf     *[]byte         // key, then the answer
	key     int             // length of the key
	rows    int             // where the rows begin in buf
	end     int             // where CommandComplete begins
	stage   stage
}

type stage uint8

const (
	idle stage = iota
	inRowDesc
	inRows
	inComplete
	over // abandoned, or beyond the limit
)

// Begin starts the capture of an answer that depends on this and will be found
// under key (both are copied). It has to be called before the probe's question
// is sent. An error (consistency.ErrNotServing, ErrUncovered, ErrTooBig) says
// that nothing can be stored now; the Fill is idle then.
func (f *Fill) Begin(fills *Fills, t *consistency.Table, key []byte, deps []consistency.Dependency) error {
	return f.begin(fills, t, key, deps, false)
}

// BeginForATime is Begin for an answer that is to be stored for a time, though not all that it depends on is watched. What is
// watched makes it stale all the same: relations that the feed covers, if it is caught up, and changes of the catalog in any case.
func (f *Fill) BeginForATime(fills *Fills, t *consistency.Table, key []byte, deps []consistency.Dependency) error {
	return f.begin(fills, t, key, deps, true)
}

func (f *Fill) begin(fills *Fills, t *consistency.Table, key []byte, deps []consistency.Dependency, forTime bool) error {
	f.Abandon()
	f.forTime, f.watched = forTime, t.Serving()
	if !f.watched {
		if !forTime {
			return consistency.ErrNotServing
		}
		deps = nil
	}
	if len(key) > fills.limit {
		return ErrTooBig
	}
	// Before the probe: a cell that is made here begins at 0, and must count
	// every commit that the probe might not contain.
	f.deps, f.rels, f.whole = append(f.deps[:0], t.Global()), f.rels[:0], 0
	for _, d := range deps {
		for _, oid := range d.Relations {
			r := t.Relation(oid)
			if forTime {
				continue
			}
			if !r.Covered() {
				return ErrUncovered
			}
			f.rels = append(f.rels, r)
		}
		first := len(f.deps)
		f.deps = t.Cells(f.deps, d)
		last := first + 1 // of the cells of rows the first stands for all
		if d.Set == nil || len(d.Relations) > 0 && f.deps[first] == &t.Relation(d.Relations[0]).Cell {
			last = len(f.deps)
		}
		for i := first; i < min(last, 64); i++ {
			f.whole |= 1 << i
		}
	}
	// Position before Applied, which Begin reads: the feed publishes them in
	// the other order, so that whatever ended at or before `reached` is among
	// the commits up to probe.Began.
	epoch := t.Epoch()
	f.reached = t.Position()
	f.probe = t.Begin()
	if f.probe.Epoch != epoch { // a gap just now: it was the old stream's
		f.reached = 0
	}
	f.fills, f.table = fills, t
	f.buf = fills.lend()
	*f.buf = append((*f.buf)[:0], key...)
	f.key, f.rows, f.end = len(key), len(key), len(key)
	f.stage = inRowDesc
	return nil
}

// Probe is the table's side of the probe, as of Begin. The caller adds what
// the server said and hands it to Store.
func (f *Fill) Probe() consistency.Probe { return f.probe }

// Reached is a position up to which the table had applied everything by
// Began, the number that Probe gives; 0: none is known.
func (f *Fill) Reached() consistency.LSN { return f.reached }

// Begun is what the answer depends on, and what the table had applied when the
// fill was begun: for Flight.Began. The cells are the caller's to keep.
func (f *Fill) Begun() ([]*consistency.Cell, consistency.Seq) {
	return append([]*consistency.Cell(nil), f.deps...), f.probe.Began
}

// Active says whether the answer is being captured: begun, and neither
// stored, abandoned nor beyond the limit.
func (f *Fill) Active() bool { return f.stage > idle && f.stage < over }

// AddRowDesc takes bytes of the framed RowDescription, whole or in pieces. It
// says whether the fill is still on; false: it was abandoned (now, if this
// went beyond the limit), and holds no memory.
func (f *Fill) AddRowDesc(p []byte) bool { return f.add(inRowDesc, p) }

// AddRows takes bytes of framed DataRow messages: one, several, or pieces of
// them, in the order in which they came. For the result see AddRowDesc.
func (f *Fill) AddRows(p []byte) bool { return f.add(inRows, p) }

// AddComplete takes bytes of the framed CommandComplete. For the result see
// AddRowDesc.
func (f *Fill) AddComplete(p []byte) bool { return f.add(inComplete, p) }

func (f *Fill) add(s stage, p []byte) bool {
	if !f.Active() {
		return false
	}
	if s < f.stage || len(*f.buf)+len(p) > f.fills.limit {
		// Out of order is a mistake of the caller; never a reason to store it.
		f.Abandon()
		f.stage = over
		return false
	}
	for f.stage < s {
		f.stage++
		switch f.stage {
		case inRows:
			f.rows = len(*f.buf)
		case inComplete:
			f.end = len(*f.buf)
		}
	}
	*f.buf = append(*f.buf, p...)
	return true
}

// Abandon gives the fill up and lets go of its memory. It may be called at
// any time and more than once.
func (f *Fill) Abandon() {
	if f.buf != nil {
		f.fills.take(f.buf)
		f.buf = nil
	}
	f.fills, f.table = nil, nil
	f.stage = idle
}

// Store applies the fence (DESIGN 4) and, if the answer passes, puts it into
// the cache. p is Probe() with the server's side filled in; until is where the
// server was after the query (where it had replayed to, or where the primary
// was), beyond which the answer contains nothing. nil: it is there,
// though it may be stale already, if a commit that it doesn't contain has
// touched what it read. Whatever the result, the fill is idle afterwards.
func (f *Fill) Store(p consistency.Probe, until consistency.LSN) error {
	defer f.Abandon()
	if f.stage != inComplete {
		return ErrIncomplete
	}
	b := *f.buf
	rowDesc, rows, complete := b[f.key:f.rows], b[f.rows:f.end], b[f.end:]
	if !wholeAnswer(rowDesc, rows, complete) {
		return ErrIncomplete
	}
	// What Begin noted can't be told otherwise by the caller.
	p.Began, p.Visible, p.Epoch = f.probe.Began, f.probe.Visible, f.probe.Epoch
	seq, err := p.Began, error(nil)
	if f.watched {
		seq, err = f.table.Contains(p)
	} else if p.Epoch != f.table.Epoch() {
		err = consistency.ErrGap
	}
	if err != nil {
		return fmt.Errorf("cache: answer not stored: %w", err)
	}
	// Contains has also refused what a gap in the feed, or its being behind,
	// makes impossible to judge. Whatever happens from here on stamps a cell
	// with a number above seq. The end of coverage has done so already; this
	// only keeps out what could never be served.
	for _, r := range f.rels {
		if !r.Covered() {
			return ErrUncovered
		}
	}
	e := &Entry{
		Seq:      seq,
		Deps:     append([]*consistency.Cell(nil), f.deps...),
		Whole:    f.whole,
		Epoch:    p.Epoch,
		FilledAt: consistency.Now(),
		AsOf:     p.AsOf,
		ForATime: f.forTime,
		Until:    until,
	}
	switch {
	case !f.watched:
	case p.OnReplica:
		e.Position, e.Shown = p.Replayed, e.FilledAt
	case seq >= p.Began:
		e.Position = f.reached
	}
	e.SetBytes(b[:f.key], rowDesc, rows, complete)
	if !f.fills.l1.Put(e) {
		return ErrRefused
	}
	return nil
}

// wholeAnswer says whether these are whole messages of the right kinds: at
// most one RowDescription, DataRows, one CommandComplete. Everything in the
// cache will be sent to many; a slip in the cutting would be, too.
func wholeAnswer(rowDesc, rows, complete []byte) bool {
	if len(rowDesc) > 0 && frames('T', rowDesc) != 1 {
		return false
	}
	if frames('D', rows) < 0 {
		return false
	}
	return frames('C', complete) == 1
}

// frames counts the messages in p; -1: not all of them are whole and of this
// type.
func frames(typ byte, p []byte) int {
	n := 0
	for len(p) > 0 {
		if len(p) < 5 || p[0] != typ {
			return -1
		}
		size := uint64(binary.BigEndian.Uint32(p[1:])) + 1
		if size < 5 || size > uint64(len(p)) {
			return -1
		}
		p = p[size:]
		n++
	}
	return n
}

func (fs *Fills) lend() *[]byte {
	if b, ok := fs.scratch.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func (fs *Fills) take(b *[]byte) {
	if cap(*b) > scratchKept {
		return
	}
	fs.scratch.Put(b)
}
