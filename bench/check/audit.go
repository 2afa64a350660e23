package check

import (
	"context"
	"fmt"
	"time"
)

// audit compares what was acknowledged with the journal on the primary, after everything is over.
func (r *run) audit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	conn, err := r.lab.cluster.Primary().Connect(ctx, "app")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, "SELECT kind, id, n, v FROM journal")
	if err != nil {
		return err
	}
	type key struct {
		k     kind
		id, n int64
	}
	versions := map[key]int64{}
	values := map[int64]key{}
	for rows.Next() {
		var k key
		var kindNumber int16
		var v int64
		if err := rows.Scan(&kindNumber, &k.id, &k.n, &v); err != nil {
			return err
		}
		k.k = kind(kindNumber)
		if other, ok := values[v]; ok {
			r.violated(&Violation{Rule: ruleTwice, Object: fmt.Sprintf("%v %d", k.k, k.id), Detail: fmt.Sprintf("%s is version %d and version %d", name(v), other.n, k.n)}, nil)
		}
		values[v] = k
		versions[k] = v
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, o := range r.objects() {
		o.mu.Lock()
		if o.strong.active {
			o.strong.flush(o)
		}
		for n, v := range o.versions {
			if n == 0 || v.value == 0 {
				continue
			}
			if got := versions[key{o.kind, o.id, int64(n)}]; got != v.value {
				r.violated(o.violationLocked(ruleLost, fmt.Sprintf("version %d was %s, acknowledged at %v; the journal has %s", n, name(v.value), v.acked, name(got))), nil)
			}
		}
		for _, w := range o.writes {
			if k, ok := values[w.value]; ok && w.outcome == rolledBack {
				r.violated(o.violationLocked(ruleRolledBack, fmt.Sprintf("%s was rolled back at %v, and is version %d", name(w.value), w.ended, k.n)), nil)
			}
		}
		o.mu.Unlock()
	}
	r.beside.Wait()
	return nil
}
