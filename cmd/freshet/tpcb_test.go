package main

import (
	"fmt"
	"testing"
)

// Transactions like those of TPC-B, which update an account, a teller and a branch and insert a line of history, leave answers about other rows cached.
func TestRowsOfOthersStayCachedUnderTPCB(t *testing.T) {
	l := newRowsLab(t, `
		CREATE TABLE branch(bid int PRIMARY KEY, bbalance int NOT NULL);
		CREATE TABLE teller(tid int PRIMARY KEY, bid int NOT NULL, tbalance int NOT NULL);
		CREATE TABLE account(aid int PRIMARY KEY, bid int NOT NULL, abalance int NOT NULL, filler char(84));
		CREATE TABLE history(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
		ALTER TABLE history REPLICA IDENTITY FULL;
		INSERT INTO branch SELECT i, 0 FROM generate_series(1, 4) i;
		INSERT INTO teller SELECT i, 1 + i % 4, 0 FROM generate_series(1, 40) i;
		INSERT INTO account SELECT i, 1 + i % 4, 0, '' FROM generate_series(1, 1000) i`)
	joined := func(aid int) question {
		return question{fmt.Sprintf("joined%d", aid), "SELECT abalance, bbalance FROM account JOIN branch USING (bid) WHERE aid = $1 AND bid = $2", []any{aid, 1 + aid%4}}
	}
	questions := append(by("account", "aid", 1, 2, 3, 500), joined(1), joined(2))
	for _, bid := range []int{1, 2, 3} {
		questions = append(questions, question{fmt.Sprintf("b%d", bid), "SELECT bbalance FROM branch WHERE bid = $1", []any{bid}},
			question{fmt.Sprintf("h%d", bid), "SELECT count(*), sum(delta) FROM history WHERE bid = $1", []any{bid}})
	}
	for i, c := range []struct {
		aid   int
		stale []string
	}{
		{1, []string{"1", "b2", "h2", "joined1"}},
		{2, []string{"2", "b3", "h3", "joined2"}},
		{5, []string{"b2", "h2", "joined1"}}, // another account of the same branch
		{7, nil},                             // of branch 4
	} {
		bid := 1 + c.aid%4
		l.change(questions, fmt.Sprintf(`BEGIN;
			UPDATE account SET abalance = abalance + 5 WHERE aid = %[1]d;
			SELECT abalance FROM account WHERE aid = %[1]d;
			UPDATE teller SET tbalance = tbalance + 5 WHERE tid = %[3]d;
			UPDATE branch SET bbalance = bbalance + 5 WHERE bid = %[2]d;
			INSERT INTO history (tid, bid, aid, delta, mtime) VALUES (%[3]d, %[2]d, %[1]d, 5, CURRENT_TIMESTAMP);
			END`, c.aid, bid, 1+i), c.stale...)
	}
}
