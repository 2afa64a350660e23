package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// checkWrites runs pgbench's scripts that write through everybody who has a database, and then checks that nothing was lost or done twice: what
// every transaction adds to an account is in its history, and, for TPC-B, in its teller and branch.
func (l *lab) checkWrites(ctx context.Context, r *Result) error {
	var transactions int64
	var tpcb balances
	for _, s := range []struct{ name, flag, mode string }{
		{"TPC-B", "-btpcb-like", "simple"},
		{"simple update (-N)", "-N", "prepared"},
	} {
		l.say("%s -M %s", s.name, s.mode)
		for _, c := range l.contenders {
			if c.canned {
				continue
			}
			e, note := c.target(s.mode)
			p, err := l.pgbench(ctx, e, "-n", s.flag, "-M", s.mode, "-c", fmt.Sprint(l.clients), "-j", fmt.Sprint(l.threads),
				"-T", fmt.Sprint(int(l.writeTime.Seconds())))
			if err != nil {
				return fmt.Errorf("%s: %s: %w", s.name, c.label, err)
			}
			transactions += p.transactions
			r.Writes = append(r.Writes, Write{Script: s.name, Mode: s.mode, Contender: c.key, Note: note, TPS: p.tps})
		}
		b, err := readBalances(ctx, l.at(l.cluster.Primary(), ""))
		if err != nil {
			return err
		}
		if s.flag == "-N" {
			// It leaves tellers and branches alone.
			err = b.check(transactions, tpcb.branches)
		} else {
			tpcb = b
			err = b.check(transactions, b.accounts)
		}
		if err != nil {
			return fmt.Errorf("after %s: %w", s.name, err)
		}
	}
	sums, err := l.compareSums(ctx, transactions)
	r.Sums = sums
	return err
}

// balances are sums over pgbench's tables.
type balances struct {
	accounts, branches, tellers, deltas, rows int64 // rows of the history
}

// check says what is wrong.
func (b balances) check(transactions, branches int64) error {
	switch {
	case b.rows != transactions:
		return fmt.Errorf("the history has %d rows, pgbench has counted %d transactions", b.rows, transactions)
	case b.accounts != b.deltas:
		return fmt.Errorf("accounts add up to %d, the history to %d", b.accounts, b.deltas)
	case b.branches != branches || b.tellers != branches:
		return fmt.Errorf("branches add up to %d, tellers to %d; it should be %d", b.branches, b.tellers, branches)
	}
	return nil
}

const balancesSQL = `SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
(SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)`

// ownWrite changes no sum. A session reads its own writes, and with them every earlier one: after it, there is no excuse for an answer that
// was true before.
const ownWrite = "UPDATE pgbench_branches SET filler = filler WHERE bid = 1"

// readBalances reads them in one statement, after a write of its own.
func readBalances(ctx context.Context, e endpoint) (b balances, err error) {
	conn, err := e.connect(ctx)
	if err != nil {
		return b, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, ownWrite); err != nil {
		return b, err
	}
	err = conn.QueryRow(ctx, balancesSQL).Scan(&b.accounts, &b.branches, &b.tellers, &b.deltas, &b.rows)
	return b, err
}

// compareSums reads the sums through everybody.
func (l *lab) compareSums(ctx context.Context, transactions int64) (*Sums, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	want, err := readBalances(ctx, l.at(l.cluster.Primary(), ""))
	if err != nil {
		return nil, err
	}
	s := &Sums{Transactions: transactions, Accounts: want.accounts, Branches: want.branches, Tellers: want.tellers}
	for _, c := range l.contenders {
		if c.canned {
			continue
		}
		e, _ := c.target("simple")
		got, err := readBalances(ctx, e)
		if err != nil {
			return nil, fmt.Errorf("sums through %s: %w", c.label, err)
		}
		if got != want {
			return nil, fmt.Errorf("sums through %s are %+v, on the primary %+v", c.label, got, want)
		}
		s.Through = append(s.Through, c.key)
	}
	// Rows that were in the cache and have been written since must not come from it as they were.
	if c := l.contender("freshet"); c != nil {
		if err := l.compareRows(ctx, c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// compareRows reads hot accounts that were written, with the text that had put them into the cache.
func (l *lab) compareRows(ctx context.Context, c *contender) error {
	e, _ := c.target("simple")
	conn, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	want, err := l.writtenAccounts(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, ownWrite); err != nil {
		return err
	}
	for aid, balance := range want {
		got, err := conn.PgConn().Exec(ctx, fmt.Sprintf("SELECT abalance FROM pgbench_accounts WHERE aid = %d;", aid)).ReadAll()
		if err != nil {
			return err
		}
		if value(got) != fmt.Sprint(balance) {
			return fmt.Errorf("account %d is %s through %s, %d on the primary", aid, value(got), c.label, balance)
		}
	}
	return nil
}

// writtenAccounts are balances of hot accounts that aren't what they were when the cache was filled.
func (l *lab) writtenAccounts(ctx context.Context) (map[int]int, error) {
	conn, err := l.cluster.Primary().Connect(ctx, cluster.App)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	const sql = "SELECT aid, abalance FROM pgbench_accounts WHERE abalance <> 0 AND aid <= $1 ORDER BY aid LIMIT 1000"
	rows, err := conn.Query(ctx, sql, l.keys*100_000)
	if err != nil {
		return nil, err
	}
	written := map[int]int{}
	var aid, balance int
	_, err = pgx.ForEachRow(rows, []any{&aid, &balance}, func() error {
		written[aid] = balance
		return nil
	})
	return written, err
}
