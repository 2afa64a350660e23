package check

import (
	"fmt"
	"sort"
	"sync"
	"time"
)

// instant is nanoseconds since the run began, by the monotonic clock.
type instant int64

func (i instant) String() string { return fmt.Sprintf("%.3f ms", float64(i)/1e6) }

// Kinds of objects.
type kind uint8

const (
	register kind = iota
	pair          // two rows of two tables, written together
	list          // rows, one for each version
	view          // a view's definition: written by DDL
	bulk          // many rows, all written by each write
	seat          // a row that each write moves: it is looked for in places where it may be
)

func (k kind) String() string {
	return [...]string{"register", "pair", "list", "view", "bulk", "seat"}[k]
}

// object is something with versions. Version 0 is there from the start, its value is 0.
type object struct {
	kind  kind
	id    int64
	table int // of a register or seat

	mu       sync.Mutex
	base     int64            // versions before it have been audited, and are forgotten
	versions []version        // by number, less base
	acks     []ack            // ascending in both
	writes   map[int64]*write // by value: those of which it isn't known for sure that they are committed, and the rolled back
	open     int              // writes under way, or of unknown outcome: each may be a version that isn't known yet
	strong   strongHistory
	recent   [64]event // a ring, for the history around a violation
	events   int
}

// version is what is known about one of an object's versions.
type version struct {
	value int64   // 0: not known yet
	began instant // when its write did
	acked instant // 0: not (yet) acknowledged
	by    string
}

// ack says that from an instant on version n is acknowledged, and so are those before it.
type ack struct {
	at instant
	n  int64
}

// event is something that happened to an object.
type event struct {
	began, ended instant // ended 0: not over
	what         string  // "read", "write"
	who          string
	n, value     int64
	note         string
}

type outcome uint8

const (
	underWay outcome = iota
	committed
	rolledBack
	unknown // the connection was lost before the answer came
)

// write is one write to one object.
type write struct {
	o       *object
	value   int64
	by      string
	began   instant
	ended   instant
	outcome outcome
	n       int64 // the version that it is known to be
	seenBy  string
	seenAt  instant
}

func newObject(k kind, id int64) *object {
	return &object{kind: k, id: id, versions: []version{{}}, writes: map[int64]*write{}}
}

func (o *object) String() string { return fmt.Sprintf("%v %d", o.kind, o.id) }

// reads notes a read that is about to be sent.
func (o *object) reads(level Level) {
	if level != Strong {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strong.begin()
}

// readFailed notes that there was no answer.
func (o *object) readFailed(level Level) {
	if level != Strong {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strong.gone(o)
}

// begin notes a write that is about to be sent.
func (o *object) begin(value int64, by string, now instant) *write {
	w := &write{o: o, value: value, by: by, began: now}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes[value] = w
	o.open++
	o.strong.begin()
	return w
}

// committed notes that the write was acknowledged as version n.
func (w *write) committed(n int64, now instant) *Violation {
	o := w.o
	o.mu.Lock()
	defer o.mu.Unlock()
	w.outcome, w.ended = committed, now
	o.open--
	o.eventLocked(event{w.began, now, "write", w.by, n, w.value, "acknowledged"})
	if w.n != 0 && w.n != n {
		return o.violationLocked(ruleVersions, fmt.Sprintf("%s was acknowledged as version %d, and read by %s as version %d", name(w.value), n, w.seenBy, w.n))
	}
	if v := o.establishLocked(w, n); v != nil {
		return v
	}
	o.versionLocked(n).acked = now
	delete(o.writes, w.value)
	// A mark that is later than the truth demands less.
	if len(o.acks) > 0 {
		now = max(now, o.acks[len(o.acks)-1].at)
	}
	if len(o.acks) == 0 || o.acks[len(o.acks)-1].n < n {
		o.acks = append(o.acks, ack{now, n})
	}
	o.strong.wrote(o, n, w.began, now)
	return nil
}

// establishLocked notes that version n is this write.
func (o *object) establishLocked(w *write, n int64) *Violation {
	if n < o.base {
		return o.violationLocked(ruleVersions, fmt.Sprintf("%s is version %d, which had been another long before", name(w.value), n))
	}
	for o.newestLocked() < n {
		o.versions = append(o.versions, version{})
	}
	w.n = n
	switch v := o.versionLocked(n); v.value {
	case 0:
		*v = version{value: w.value, began: w.began, by: w.by}
	case w.value:
	default:
		return o.violationLocked(ruleVersions, fmt.Sprintf("version %d is both %s and %s", n, name(v.value), name(w.value)))
	}
	return nil
}

// rolledBack notes that the write was undone or refused.
func (w *write) rolledBack(now instant) *Violation {
	o := w.o
	o.mu.Lock()
	defer o.mu.Unlock()
	w.outcome, w.ended = rolledBack, now
	o.open--
	o.eventLocked(event{w.began, now, "write", w.by, w.n, w.value, "rolled back"})
	o.strong.gone(o)
	if w.n != 0 {
		return o.violationLocked(ruleRolledBack, fmt.Sprintf("%s was rolled back, but %s read it as version %d at %v", name(w.value), w.seenBy, w.n, w.seenAt))
	}
	return nil
}

// lost notes that the connection broke before the answer came: committed or not, perhaps later.
func (w *write) lost(now instant) {
	o := w.o
	o.mu.Lock()
	defer o.mu.Unlock()
	w.outcome, w.ended = unknown, now
	o.eventLocked(event{w.began, now, "write", w.by, 0, w.value, "outcome unknown"})
	o.strong.gone(o)
}

// ackedBefore is the newest version that was acknowledged at or before an instant.
func (o *object) ackedBeforeLocked(at instant) int64 {
	i := sort.Search(len(o.acks), func(i int) bool { return o.acks[i].at > at })
	if i == 0 {
		return 0
	}
	return o.acks[i-1].n
}

// upperLocked is a number that no version is above.
func (o *object) upperLocked() int64 { return o.newestLocked() + int64(o.open) }

// reading is one object as one statement's answer has it.
type reading struct {
	o            *object
	by           string
	level        Level
	began, ended instant
	own          int64 // the value that the transaction in which this was read has written itself
	had          low   // what the session has written and seen before the read began
	current      bool  // nothing but the present state will do, whatever the level: a statement on the primary in a transaction
	burst        bool  // its object doesn't know that it was under way
	n, value     int64
}

// observe judges a reading. stale is how long ago the first version was acknowledged that it lacks; 0: it lacks none.
func (r *reading) observe(bound time.Duration) (stale time.Duration, v *Violation) {
	o := r.o
	o.mu.Lock()
	defer o.mu.Unlock()
	o.eventLocked(event{r.began, r.ended, "read", r.by, r.n, r.value, ""})
	if r.own != 0 && r.value != r.own {
		return 0, o.violationLocked(ruleOwnWrites, fmt.Sprintf("the transaction wrote %s and then read version %d, %s", name(r.own), r.n, name(r.value))).of(r)
	}
	if r.own != 0 {
		if r.level == Strong && !r.burst {
			o.strong.gone(o) // nobody else can see this
		}
		return 0, nil
	}
	if v := o.attributeLocked(r); v != nil {
		return 0, v.of(r)
	}
	if need := r.had.written; r.n < need {
		return 0, o.violationLocked(ruleOwnWrites, fmt.Sprintf("read version %d; the session had itself written version %d", r.n, need)).of(r).need(need)
	}
	if need := r.had.seen; r.n < need {
		rule := ruleMonotonic
		if r.n >= min(need, o.ackedBeforeLocked(r.began)) {
			rule = ruleUnacknowledged
		}
		return 0, o.violationLocked(rule, fmt.Sprintf("read version %d; the session had already seen version %d", r.n, need)).of(r).need(need)
	}
	if need := o.ackedBeforeLocked(r.began - instant(bound)); r.n < need {
		return 0, o.violationLocked(ruleStaleness, fmt.Sprintf("read version %d; version %d had been acknowledged %v before the read began, the bound is %v",
			r.n, need, time.Duration(r.began-o.ackedAtLocked(r.n+1)), bound)).of(r).need(r.n + 1)
	}
	if r.level == Strong || r.current {
		if need := o.ackedBeforeLocked(r.began); r.n < need {
			return 0, o.violationLocked(ruleLinearizable, fmt.Sprintf("read version %d; version %d had been acknowledged %v before the read began",
				r.n, need, time.Duration(r.began-o.ackedAtLocked(need)))).of(r).need(need)
		}
		if r.level == Strong {
			if v := o.strong.read(o, r); v != nil {
				return 0, v.of(r)
			}
		}
	}
	if at := o.ackedAtLocked(r.n + 1); at != 0 && at < r.began {
		stale = time.Duration(r.began - at)
	}
	return stale, nil
}

// ackedAtLocked is when version n, or a later one, was first acknowledged; 0: not yet.
func (o *object) ackedAtLocked(n int64) instant {
	i := sort.Search(len(o.acks), func(i int) bool { return o.acks[i].n >= n })
	if i == len(o.acks) {
		return 0
	}
	return o.acks[i].at
}

// valueLocked is a version's value; 0: it isn't known (any more).
func (o *object) valueLocked(n int64) int64 {
	if v := o.versionLocked(n); v != nil {
		return v.value
	}
	return 0
}

// versionLocked is what is kept about a version; nil: nothing.
func (o *object) versionLocked(n int64) *version {
	if n < o.base || n > o.newestLocked() {
		return nil
	}
	return &o.versions[n-o.base]
}

// newestLocked is the highest version that is known.
func (o *object) newestLocked() int64 { return o.base + int64(len(o.versions)) - 1 }

// attributeLocked finds the write that a value comes from.
func (o *object) attributeLocked(r *reading) *Violation {
	if r.n == 0 && r.value == 0 {
		return nil
	}
	if r.n < 0 || r.value == 0 {
		return o.violationLocked(ruleUnwritten, fmt.Sprintf("read version %d with the value %d", r.n, r.value))
	}
	if r.n < o.base || o.valueLocked(r.n) == r.value {
		return nil // of the forgotten ones, there is nobody's business but the bound's
	}
	w := o.writes[r.value]
	switch {
	case w == nil:
		known := "which nobody has written"
		if v := o.valueLocked(r.n); v != 0 {
			known = "which is " + name(v)
		}
		return o.violationLocked(ruleUnwritten, fmt.Sprintf("read %s as version %d, %s", name(r.value), r.n, known))
	case w.outcome == rolledBack:
		return o.violationLocked(ruleRolledBack, fmt.Sprintf("read %s as version %d, which was rolled back at %v", name(r.value), r.n, w.ended))
	case w.n != 0 && w.n != r.n:
		return o.violationLocked(ruleVersions, fmt.Sprintf("%s was read as version %d, and by %s as version %d", name(r.value), r.n, w.seenBy, w.n))
	}
	w.seenBy, w.seenAt = r.by, r.ended
	return o.establishLocked(w, r.n)
}

func (o *object) eventLocked(e event) {
	o.recent[o.events%len(o.recent)] = e
	o.events++
}

// Values are numbers that say who wrote: writer and the writer's count.
const perWriter = 1 << 32

func value(writer int, count int64) int64 { return int64(writer+1)*perWriter + count }

// name is a value as a person reads it.
func name(value int64) string {
	if value == 0 {
		return "the first value"
	}
	return fmt.Sprintf("w%d.%d", value/perWriter-1, value%perWriter)
}
