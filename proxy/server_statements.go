package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/proxy/shard"
)

// onShards runs a function on each shard, one after the other on each and all shards at once, and waits. The functions share what they
// share at their own risk.
func (s *Server) onShards(ctx context.Context, fn func(i int)) error {
	var wg sync.WaitGroup
	for i, l := range s.loops {
		wg.Add(1)
		if !l.Post(func() { defer wg.Done(); fn(i) }) {
			wg.Done()
			return shard.ErrLoopClosed
		}
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }() // ends: a loop runs what was posted, also at its end
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("the event loops are busy"), context.Cause(ctx))
	}
}

// Statements are all statements that are remembered, those that took most time first, and how many have been forgotten. Safe for concurrent
// use.
func (s *Server) Statements(ctx context.Context) (list []admin.StatementStats, dropped uint64, err error) {
	perShard := make([][]admin.StatementStats, len(s.loops))
	drops := make([]uint64, len(s.loops))
	err = s.onShards(ctx, func(i int) {
		l := s.locals[i]
		out := make([]admin.StatementStats, 0, len(l.tallies.list)+len(l.exactTallies.list))
		for _, t := range l.tallies.list {
			out = append(out, t.stats())
		}
		for _, t := range l.exactTallies.list {
			out = append(out, t.stats())
		}
		perShard[i], drops[i] = out, l.tallies.dropped+l.exactTallies.dropped
	})
	if err != nil {
		return nil, 0, err
	}
	type key struct{ database, id, text string }
	at := map[key]int{}
	for i := range perShard {
		dropped += drops[i]
		for _, st := range perShard[i] {
			k := key{st.Database, st.ID, ""}
			if st.ID == "" {
				k.text = st.Text
			}
			if j, ok := at[k]; ok {
				list[j].Add(st)
				continue
			}
			at[k] = len(list)
			list = append(list, st)
		}
	}
	slices.SortFunc(list, func(a, b admin.StatementStats) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Text, b.Text))
	})
	return list, dropped, nil
}

// stats is a copy. On the tally's shard.
func (t *tally) stats() admin.StatementStats {
	st := admin.StatementStats{
		ID: t.id, Database: t.db.Name, Text: t.text, Calls: t.calls, Errors: t.errors, L1: t.l1, Shared: t.shared, Stale: t.stale,
		Misses: t.misses, Replica: t.replica, Primary: t.primary, Bytes: t.bytes, Time: t.time, Slowest: t.slowest, Cacheable: t.cacheable,
		Reason: t.refusal,
	}
	if t.cacheable {
		st.Reason = strings.ReplaceAll(lastAnswer{reason: t.reason, detail: t.detail}.reasonText(), "%s", "a time")
	}
	return st
}
