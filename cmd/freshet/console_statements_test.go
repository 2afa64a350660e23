package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// statementsOf are the rows of SHOW STATEMENTS of a database, by their texts.
func statementsOf(t testing.TB, console *pgx.Conn, database string) map[string]map[string]any {
	t.Helper()
	list := map[string]map[string]any{}
	for _, row := range rowsOf(t, console, "SHOW STATEMENTS") {
		if row["database"] == database {
			text := row["statement"].(string)
			if list[text] != nil {
				t.Errorf("two rows of %s", text)
			}
			list[text] = row
		}
	}
	return list
}

// TestConsoleShowsStatements: each statement has one row, whatever its literals, the protocol and the shard; the row tells where its answers came
// from; and no literal is to be seen, be it a secret or not.
func TestConsoleShowsStatements(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Shards = 2 })
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE k (a int PRIMARY KEY, v text); INSERT INTO k SELECT i, 'hunter2' FROM generate_series(1, 10) i"); err != nil {
		t.Fatal(err)
	}
	covered(t, c, in, db)
	console := in.consoleOf(t, c)
	simple, extended := in.connect(t, c, db, "&default_query_exec_mode=simple_protocol"), in.connect(t, c, db, "")

	const byKey = "SELECT v FROM k WHERE a = "
	for i := range 3 {
		cachedBy(t, simple, byKey+fmt.Sprint(i+1))
	}
	for range 5 {
		one(t, simple, byKey+"1")
	}
	cachedBy(t, extended, "select v from k where a = $1", 4)
	do(t, simple, "INSERT INTO k VALUES (11, 'hunter2')")
	do(t, simple, "UPDATE k SET v = 'hunter2' WHERE a = 11")
	one(t, simple, "SELECT now() > '2001-01-01'")
	if _, err := simple.Exec(ctx, "SELECT 'hunter2'::int"); sqlstate(err) != "22P02" {
		t.Error(err)
	}
	for _, secret := range []string{"hunter2", "hunter2hunter2"} {
		do(t, simple, "CREATE ROLE console_secret PASSWORD '"+secret+"'; DROP ROLE console_secret")
		do(t, simple, "SET freshet_test.x = "+secret)
		do(t, simple, "DO $$ BEGIN PERFORM 'hunter2'; END $$")
	}
	if _, err := simple.Exec(ctx, "SELECT 'hunter2"); sqlstate(err) != "42601" {
		t.Error(err)
	}
	// Nor is a literal to be seen of sessions that write them otherwise.
	if _, err := simple.PgConn().Exec(ctx, "SET standard_conforming_strings = off").ReadAll(); err != nil {
		t.Error(err)
	}
	if _, err := simple.PgConn().Exec(ctx, `SELECT 'a\'hunter2 '`).ReadAll(); err != nil {
		t.Error(err)
	}
	batch := &pgx.Batch{}
	for i := range 4 {
		batch.Queue("DELETE FROM k WHERE a = $1", 100+i)
	}
	if err := extended.SendBatch(ctx, batch).Close(); err != nil {
		t.Error(err)
	}

	list := statementsOf(t, console, db)
	check := func(text string, want map[string]any) {
		t.Helper()
		row := list[text]
		if row == nil {
			t.Errorf("no row of %s", text)
			return
		}
		for column, value := range want {
			if got := row[column]; got != value {
				t.Errorf("%s: %s is %v, not %v", text, column, got, value)
			}
		}
		if row["calls"].(int64) > 0 && (row["mean_ms"] == nil || row["mean_ms"].(float64) > row["max_ms"].(float64)) {
			t.Errorf("%s: times %v, %v, %v", text, row["total_ms"], row["mean_ms"], row["max_ms"])
		}
	}
	hits := list["SELECT v FROM k WHERE a = ?"]
	check("SELECT v FROM k WHERE a = ?", map[string]any{"cacheable": true, "errors": int64(0)})
	if hits == nil || hits["hits_l1"].(int64) < 8 || hits["misses"].(int64) < 3 || hits["hit_ratio"].(float64) <= 0.5 || hits["bytes"].(int64) < 8*20 ||
		hits["calls"].(int64) != hits["hits_l1"].(int64)+hits["hits_flight"].(int64)+hits["replica"].(int64)+hits["primary"].(int64) {
		t.Errorf("%v", hits)
	}
	id, _ := hits["id"].(string)
	if out, _ := runCommand(t, 0, "explain", "--primary", c.Primary().URL(db), byKey+"77"); id == "" || !strings.Contains(out, id) {
		t.Errorf("freshet explain doesn't show %q as its fingerprint: %s", id, out)
	}
	check("select v from k where a = $1", map[string]any{"cacheable": true})
	check("INSERT INTO k VALUES (?, ?)", map[string]any{"calls": int64(1), "primary": int64(1), "cacheable": false, "hit_ratio": nil})
	check("SELECT now() > ?", map[string]any{"cacheable": false, "reason": "function now() is stable and reads the clock"})
	check("SELECT ?::int", map[string]any{"calls": int64(1), "errors": int64(1)})
	check("CREATE ROLE console_secret PASSWORD ?; DROP ROLE console_secret", map[string]any{"calls": int64(2)})
	check("SET freshet_test.x = ?", map[string]any{"calls": int64(2)})
	check("DO ?", map[string]any{"calls": int64(2)})
	check("SELECT …", map[string]any{"errors": int64(1), "reason": "it can't be understood"})
	check("DELETE FROM k WHERE a = $1", map[string]any{"calls": int64(4), "primary": int64(4)})
	for text, row := range list {
		if strings.Contains(fmt.Sprint(row), "hunter2") {
			t.Errorf("%s shows a literal: %v", text, row)
		}
	}
}

// TestMissesHaveReasons: why a read that could have come from the cache didn't is counted, and told by SHOW freshet.reason.
func TestMissesHaveReasons(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE k (a int PRIMARY KEY, v text); INSERT INTO k SELECT i, repeat('x', 100) FROM generate_series(1, 100) i; CREATE TABLE other (a int PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.CacheMaxEntry = 2 << 10 })
	covered(t, c, in, db)
	conn, writer := in.connect(t, c, db, "&default_query_exec_mode=simple_protocol"), in.connect(t, c, db, "&default_query_exec_mode=simple_protocol")
	misses := func() map[string]uint64 { return in.Snapshot().Misses }
	const row, table = "SELECT v FROM k WHERE a = 1", "SELECT count(*) FROM k"
	// applied waits until the feed has applied what was written: then the cache may answer again.
	applied := func() {
		t.Helper()
		do(t, writer, "INSERT INTO other SELECT coalesce(max(a), 0) + 1 FROM other")
		one(t, writer, "SELECT 1")
		eventually(t, "the cache has caught up", func() bool {
			cachedBy(t, conn, "SELECT 1")
			one(t, writer, "SELECT 1")
			return strings.HasPrefix(source(t, writer), "l1")
		})
	}
	for _, tc := range []struct {
		name    string
		before  func()
		read    string
		counted string
		reason  string
	}{
		{"nothing there", func() {}, "SELECT v FROM k WHERE a = 77", "absent", "cache miss"},
		{"a row", func() { cachedBy(t, conn, row); do(t, writer, "UPDATE k SET v = 'y' WHERE a = 1"); applied() }, row, "stale_row", "cache miss: rows that it reads have been written"},
		{"a table", func() { cachedBy(t, conn, table); do(t, writer, "UPDATE k SET v = 'y' WHERE a = 2"); applied() }, table, "stale_table", "cache miss: a table that it reads has been written"},
		{"flushed", func() { cachedBy(t, conn, row); in.databases.Get(db).Table.FlushAll() }, row, "catalog_changed", "cache miss: the catalog has changed, or the cache was flushed"},
		{"too large", func() {}, "SELECT v FROM k", "too_big", "not stored: the answer is larger than --cache-max-entry"},
		{"cache off", func() { cachedBy(t, conn, row) }, "/* freshet: cache=off */ " + row, "bypass_off", "the cache is off"},
		{"route", func() { cachedBy(t, conn, row) }, "/* freshet: route=primary */ " + row, "bypass_route", "freshet.route asks for it"},
		{"clock", func() {}, "SELECT count(*) FROM k WHERE v = 'now'", "bypass_clock", "not cacheable: a literal or parameter may read the clock ('now', 'today', …)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.before()
			was := misses()
			one(t, conn, tc.read)
			if got := reason(t, conn); got != tc.reason {
				t.Errorf("it says %q, not %q", got, tc.reason)
			}
			now := misses()
			for name, n := range now {
				d := n - was[name]
				if want := map[bool]uint64{true: 1}[name == tc.counted]; d != want {
					t.Errorf("%s: %d more, not %d", name, d, want)
				}
			}
		})
	}
	t.Run("in a transaction", func(t *testing.T) {
		do(t, conn, "BEGIN; LOCK TABLE other IN SHARE MODE")
		was := misses()
		one(t, conn, row)
		if got := misses()["bypass_transaction"] - was["bypass_transaction"]; got != 1 {
			t.Errorf("%d", got)
		}
		do(t, conn, "ROLLBACK")
	})
}
