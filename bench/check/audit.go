package check

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"
)

// The journal, which triggers keep on the primary, says what was done. What is old is compared with it and forgotten, here and there, while
// the run goes on, so that it may go on for as long as one likes; the rest, after everything is over.
const (
	auditEvery = 20 * time.Second
	auditAfter = 100 * time.Second // by then what was sent is over (opTimeout), and nobody reads it any more (Config.Bound)
	auditKeeps = 64                // versions of each object stay
)

// entry is a line of the journal: version n of an object.
type entry struct {
	k     kind
	id, n int64
}

type journal struct {
	versions map[entry]int64
	values   map[int64]entry
}

// readJournal also finds what was done twice.
func (r *run) readJournal(ctx context.Context) (*journal, error) {
	conn, err := r.lab.cluster.Primary().Connect(ctx, "app")
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT kind, id, n, v FROM journal")
	if err != nil {
		return nil, err
	}
	j := &journal{map[entry]int64{}, map[int64]entry{}}
	for rows.Next() {
		var e entry
		var number int16
		var v int64
		if err := rows.Scan(&number, &e.id, &e.n, &v); err != nil {
			return nil, err
		}
		e.k = kind(number)
		if other, ok := j.values[v]; ok {
			r.violated(&Violation{Rule: ruleTwice, Object: fmt.Sprintf("%v %d", e.k, e.id), Detail: fmt.Sprintf("%s is version %d and version %d", name(v), other.n, e.n)}, nil)
		}
		j.values[v] = e
		j.versions[e] = v
	}
	return j, rows.Err()
}

// auditWhile audits what is old, until ctx ends.
func (r *run) auditWhile(ctx context.Context) {
	for {
		sleep(ctx, auditEvery)
		if ctx.Err() != nil {
			return
		}
		while, cancel := context.WithTimeout(ctx, auditEvery)
		if err := r.auditOld(while, r.now()-instant(auditAfter)); err != nil && ctx.Err() == nil {
			r.counts.error(err) // the primary may be away; there is a next time
		}
		cancel()
	}
}

// auditOld audits what was over by an instant, and forgets it.
func (r *run) auditOld(ctx context.Context, by instant) error {
	j, err := r.readJournal(ctx)
	if err != nil {
		return err
	}
	var old []string
	for _, o := range r.objects() {
		o.mu.Lock()
		if v := o.auditLocked(j, by); v != nil {
			r.violated(v, nil)
		}
		if o.base > 0 {
			old = append(old, fmt.Sprintf("(%d, %d::bigint, %d::bigint)", o.kind, o.id, o.base))
		}
		o.mu.Unlock()
	}
	r.counts.audits.Add(1)
	if len(old) == 0 {
		return nil
	}
	conn, err := r.lab.cluster.Primary().Connect(ctx, "app")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// If this fails, the next one does it.
	_, err = conn.Exec(ctx, "SET synchronous_commit = off; DELETE FROM journal j USING (VALUES "+strings.Join(old, ", ")+") o(kind, id, n) WHERE j.kind = o.kind AND j.id = o.id AND j.n < o.n")
	if err == nil {
		_, err = conn.Exec(ctx, "VACUUM journal")
	}
	return err
}

// auditLocked compares what was over by an instant with the journal, which was read later, and forgets it.
func (o *object) auditLocked(j *journal, by instant) *Violation {
	for value, w := range o.writes {
		e, done := j.values[value]
		switch {
		case w.outcome == underWay || w.ended > by:
			continue
		case w.outcome == rolledBack && done:
			return o.undoneLocked(w, e)
		case w.outcome == unknown && done:
			if v := o.establishLocked(w, e.n); v != nil {
				return v
			}
			o.open--
		case w.outcome == unknown && w.n != 0:
			return o.lostLocked(w.n, w.value, 0, 0)
		case w.outcome == unknown:
			o.open-- // it was never done
		}
		delete(o.writes, value)
	}
	i := sort.Search(len(o.acks), func(i int) bool { return o.acks[i].at > by }) - 1 // the last one
	if i < 0 {
		return nil
	}
	cut := min(o.acks[i].n, o.newestLocked()-auditKeeps)
	if cut <= o.base {
		return nil
	}
	if v := o.compareLocked(j, cut); v != nil {
		return v
	}
	o.versions = append([]version(nil), o.versions[cut-o.base:]...)
	o.acks = append([]ack(nil), o.acks[i:]...)
	o.base = cut
	return nil
}

// compareLocked compares the versions before one with the journal.
func (o *object) compareLocked(j *journal, before int64) *Violation {
	for n := max(o.base, 1); n < before; n++ {
		v := o.versionLocked(n)
		if got := j.versions[entry{o.kind, o.id, n}]; v.value != 0 && got != v.value {
			return o.lostLocked(n, v.value, v.acked, got)
		}
	}
	return nil
}

func (o *object) lostLocked(n, value int64, acked instant, got int64) *Violation {
	return o.violationLocked(ruleLost, fmt.Sprintf("version %d was %s, acknowledged at %v; the journal has %s", n, name(value), acked, name(got)))
}

func (o *object) undoneLocked(w *write, e entry) *Violation {
	return o.violationLocked(ruleRolledBack, fmt.Sprintf("%s was rolled back at %v, and is version %d", name(w.value), w.ended, e.n))
}

// audit compares the rest with the journal, after everything is over.
func (r *run) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	j, err := r.readJournal(ctx)
	if err != nil {
		return err
	}
	for _, o := range r.objects() {
		o.mu.Lock()
		if o.strong.active {
			o.strong.flush(o)
		}
		r.violated(o.compareLocked(j, o.newestLocked()+1), nil)
		for _, w := range o.writes {
			if e, ok := j.values[w.value]; ok && w.outcome == rolledBack {
				r.violated(o.undoneLocked(w, e), nil)
			}
		}
		o.mu.Unlock()
	}
	r.beside.Wait()
	return nil
}
