package admin

import "context"

// StatementStats is what is known of a statement.
type StatementStats struct {
	ID       string // as freshet explain shows it; empty: texts that can't be shown
	Database string
	Text     string // without literals

	Calls, Errors     uint64
	L1, Shared, Stale uint64 // answers from the cache; from there after another's query; stale ones among both
	Misses            uint64 // might have come from the cache, and didn't
	Replica, Primary  uint64
	Bytes             uint64
	Time, Slowest     int64 // nanoseconds

	Cacheable bool
	Reason    string // why it isn't cached; if it may be, why the last call that wasn't answered from the cache wasn't
}

// Add adds what has been counted of the same statement elsewhere.
func (st *StatementStats) Add(o StatementStats) {
	st.Calls += o.Calls
	st.Errors += o.Errors
	st.L1 += o.L1
	st.Shared += o.Shared
	st.Stale += o.Stale
	st.Misses += o.Misses
	st.Replica += o.Replica
	st.Primary += o.Primary
	st.Bytes += o.Bytes
	st.Time += o.Time
	st.Slowest = max(st.Slowest, o.Slowest)
	if st.Reason == "" {
		st.Reason = o.Reason
	}
}

var statementColumns = []Column{{"id", Text}, {"database", Text}, {"calls", Int}, {"total_ms", Float}, {"mean_ms", Float}, {"max_ms", Float},
	{"hit_ratio", Float}, {"hits_l1", Int}, {"hits_flight", Int}, {"hits_stale", Int}, {"misses", Int}, {"replica", Int}, {"primary", Int},
	{"errors", Int}, {"bytes", Int}, {"cacheable", Bool}, {"reason", Text}, {"statement", Text}}

func showStatements(ctx context.Context, c *Console) ([][]any, []string, error) {
	list, dropped, err := c.cfg.Operator.Statements(ctx)
	if err != nil {
		return nil, nil, err
	}
	var rows [][]any
	for _, st := range list {
		ms := func(ns int64) float64 { return float64(ns/1000) / 1000 }
		var mean, ratio any
		if st.Calls > 0 {
			mean = ms(st.Time / int64(st.Calls))
		}
		if hits := st.L1 + st.Shared; hits+st.Misses > 0 {
			ratio = float64(hits*10000/(hits+st.Misses)) / 10000
		}
		var id any
		if st.ID != "" {
			id = st.ID
		}
		rows = append(rows, []any{id, st.Database, st.Calls, ms(st.Time), mean, ms(st.Slowest), ratio, st.L1, st.Shared, st.Stale, st.Misses,
			st.Replica, st.Primary, st.Errors, st.Bytes, st.Cacheable, st.Reason, st.Text})
	}
	var notices []string
	if dropped > 0 {
		notices = []string{plural(int(dropped), "statement that hadn't been used for longest was", "statements that hadn't been used for longest were") +
			" dropped to make room for others since the start"}
	}
	return rows, notices, nil
}
