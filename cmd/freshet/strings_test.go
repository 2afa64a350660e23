package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/proxy/wire"
)

// stringsOfReads are texts of several statements. Those of reads alone may be answered by a replica.
var stringsOfReads = []string{
	"SELECT v FROM t WHERE id = 1; SELECT v FROM t WHERE id = 2",
	"SELECT v FROM t ORDER BY id; SELECT count(*) FROM t;; VALUES (1), (2);",
	"SELECT 1; SELECT 1/(id-1) FROM t; SELECT 2",
	"SELECT v FROM t WHERE id = 1; SELECT nosuch FROM t; SELECT 3",
	"TABLE t; SELECT now() = now()",
	"SELECT date '2020-02-01'; SELECT now() = statement_timestamp()",
	"SELECT generate_series(1, 300); SELECT repeat('x', 100000)",
	"SELECT v FROM t WHERE id = 1; SELECT v::int FROM t",
}

var otherStrings = []string{
	"SELECT 1; SELEC 2; SELECT 3",
	"SELECT v FROM t WHERE id = 1; UPDATE t SET v = v || '.' WHERE id = 1; SELECT v FROM t WHERE id = 1",
	"INSERT INTO t VALUES (9, 'nine'); SELECT v FROM t WHERE id = 9; SELECT 1/0",
	"SELECT count(*) FROM t; DELETE FROM t WHERE id = 9; SELECT count(*) FROM t",
	"BEGIN; SELECT v FROM t WHERE id = 2; COMMIT",
	"BEGIN; UPDATE t SET v = 'two' WHERE id = 2; SELECT v FROM t WHERE id = 2; ROLLBACK; SELECT v FROM t WHERE id = 2",
	"UPDATE t SET v = 'zwei' WHERE id = 2; COMMIT; SELECT 1/0",
	"SELECT v FROM t WHERE id = 2; BEGIN; SELECT 1/0; SELECT 2",
	"SELECT 1; ROLLBACK; SELECT v FROM t WHERE id = 2",
	"BEGIN READ ONLY; SELECT v FROM t WHERE id = 2; UPDATE t SET v = ''; SELECT 4",
	"ROLLBACK",
	"SET DateStyle = 'German'; SELECT date '2020-02-01'; SHOW DateStyle",
	"SET DateStyle = 'SQL'; SELECT 1/0; SET TimeZone = 'UTC'",
	"SHOW DateStyle; SELECT date '2020-02-01'",
	"SET LOCAL DateStyle = 'SQL'; SELECT date '2020-02-01'",
	"SELECT set_config('DateStyle', 'ISO, MDY', false); SELECT date '2020-02-01'",
	"RESET ALL; SELECT date '2020-02-01'; SHOW DateStyle",
	"SELECT nextval('s'); SELECT currval('s'); SELECT v FROM t WHERE id = 1",
	"CREATE TEMP TABLE w (a int); INSERT INTO w VALUES (1); SELECT * FROM w; DROP TABLE w",
	"COPY t TO STDOUT; SELECT 1",
	"PREPARE p AS SELECT 5; EXECUTE p; DEALLOCATE p",
	"SELECT pg_advisory_lock(7); SELECT pg_advisory_unlock(7)",
	"SAVEPOINT x; SELECT 1",
	"SELECT v FROM t WHERE id = 1 FOR UPDATE; SELECT 1",
	";;", "",
}

// HAZARD 14: a string that writes counts as a write, wherever in it that is.
func TestHazard14StringsOfStatementsGiveWhatPostgresGives(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Shards = 1 })
	direct, through := c.NewDatabase(t), c.NewDatabase(t)
	for _, db := range []string{direct, through} {
		if err := c.Primary().ExecIn(context.Background(), db, "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, 'two'); CREATE SEQUENCE s"); err != nil {
			t.Fatal(err)
		}
	}
	covered(t, c, in, through)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	a := dialWire(t, ctx, c.Primary().Addr(), direct, c.Password())
	defer a.conn.Close()
	b := dialWire(t, ctx, in.Addrs()[0], through, c.Password())
	defer b.conn.Close()
	same := func(text string) {
		t.Helper()
		a.send(t, wire.AppendQuery(nil, text))
		b.send(t, wire.AppendQuery(nil, text))
		if want, got := a.replies(t, 1), b.replies(t, 1); want != got {
			t.Fatalf("%s\nPostgres:\n%s\nthrough Freshet:\n%s", text, want, got)
		}
	}
	source := func() string {
		b.send(t, wire.AppendQuery(nil, "SHOW freshet.source"))
		return b.replies(t, 1)
	}
	for _, text := range otherStrings {
		for range 2 {
			same(text)
			if s := source(); strings.Contains(s, "replica") || strings.Contains(s, "l1") {
				t.Fatalf("%s: answered by %s", text, s)
			}
		}
		same("ROLLBACK; SELECT v FROM t ORDER BY id") // what was written is seen, and nothing is cached that isn't so
		same("SELECT v FROM t ORDER BY id")
	}
	// Others, since these may be bound to their server connection by now.
	a = dialWire(t, ctx, c.Primary().Addr(), direct, c.Password())
	defer a.conn.Close()
	b = dialWire(t, ctx, in.Addrs()[0], through, c.Password())
	defer b.conn.Close()
	eventually(t, "a replica answers strings of reads", func() bool {
		same(stringsOfReads[0])
		return strings.Contains(source(), "replica")
	})
	for _, text := range stringsOfReads {
		before := in.server.Stats().Shards[0].Replica.Load()
		for range 3 {
			same(text)
		}
		if after := in.server.Stats().Shards[0].Replica.Load(); after == before && !strings.Contains(text, "nosuch") && !strings.Contains(text, "1/") {
			t.Errorf("%s: never answered by a replica: %s", text, source())
		}
	}
	// A write in a string, and at once a string of reads: it has to be there.
	for i := range 50 {
		same(fmt.Sprintf("SELECT 1; UPDATE t SET v = 'write %d' WHERE id = 1", i))
		same("SELECT v FROM t WHERE id = 1; SELECT v FROM t WHERE id = 2")
		same("SELECT v FROM t WHERE id = 1")
	}
}
