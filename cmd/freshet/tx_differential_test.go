package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/proxy/wire"
)

// Transactions, as drivers and as nobody writes them, whose BEGIN is held back and whose reads go elsewhere: what the client
// sees is what Postgres says.
func TestTransactionsAreAsInPostgres(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolWait = time.Minute }) // also for the primary to show what replicas have shown
	direct, through := c.NewDatabase(t), c.NewDatabase(t)
	for _, db := range []string{direct, through} {
		if err := c.Primary().ExecIn(context.Background(), db, "CREATE TABLE r(a int PRIMARY KEY, b text); CREATE TABLE d(a int PRIMARY KEY, b int REFERENCES r DEFERRABLE INITIALLY DEFERRED)"); err != nil {
			t.Fatal(err)
		}
	}
	covered(t, c, in, through)
	defer func() {
		for _, counters := range in.server.Stats().Shards {
			t.Logf("answered from the cache: %d, by replicas: %d, by the primary: %d", counters.HitL1.Load(), counters.Replica.Load(), counters.Primary.Load())
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		a := dialWire(rt, ctx, c.Primary().Addr(), direct, c.Password())
		defer a.conn.Close()
		b := dialWire(rt, ctx, in.Addrs()[0], through, c.Password())
		defer b.conn.Close()
		a.patience, b.patience = 2*time.Minute, 2*time.Minute
		setUp := wire.AppendQuery(nil, "ROLLBACK PREPARED 'gid_X'")
		setUp = wire.AppendQuery(setUp, "TRUNCATE r, d; INSERT INTO r SELECT i, 'row ' || i FROM generate_series(1, 20) i")
		// The names of prepared transactions are the whole cluster's.
		named := func(p []byte, as string) []byte { return bytes.ReplaceAll(p, []byte("gid_X"), []byte(as)) }
		a.send(rt, named(setUp, "gid_A"))
		b.send(rt, named(setUp, "gid_B"))
		a.replies(rt, 2)
		b.replies(rt, 2)
		defer b.send(rt, named(wire.AppendQuery(nil, "ROLLBACK PREPARED 'gid_X'"), "gid_B"))
		defer a.send(rt, named(wire.AppendQuery(nil, "ROLLBACK PREPARED 'gid_X'"), "gid_A"))
		var log []string
		failed := false
		var u wireUnit
		for i := range rapid.IntRange(1, 20).Draw(rt, "units") {
			if i == 0 || rapid.IntRange(0, 2).Draw(rt, "again") > 0 {
				u = drawTxUnit(rt) // else the same once more, which may find it in the cache
			}
			log = append(log, u.String())
			sent := sparePortal(u.bytes, failed)
			a.send(rt, named(sent, "gid_A"))
			b.send(rt, named(sent, "gid_B"))
			want, got := a.replies(rt, u.syncs), strings.ReplaceAll(b.replies(rt, u.syncs), "gid_B", "gid_A")
			failed = strings.HasSuffix(want, "Z E\n")
			if strings.Contains(got, "was begun on a replica") {
				return // a transaction that Freshet asks to have run again
			}
			if want != got {
				rt.Fatalf("program:\n%s\n\nPostgres:\n%s\nthrough Freshet:\n%s", strings.Join(log, "\n"), want, got)
			}
		}
	})
}

var txTexts = []string{
	"BEGIN", "BEGIN", "BEGIN", "START TRANSACTION", "BEGIN READ ONLY", "BEGIN READ WRITE", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
	"BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", "START TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, NOT DEFERRABLE",
	"COMMIT", "COMMIT", "END", "ROLLBACK", "ABORT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "COMMIT AND NO CHAIN",
	"SET TRANSACTION READ ONLY", "SET TRANSACTION READ WRITE", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY", "SET TRANSACTION NOT DEFERRABLE",
	"SET LOCAL DateStyle = 'German'", "SHOW DateStyle", "SHOW transaction_isolation", "SHOW transaction_read_only", "SHOW transaction_deferrable", "SET LOCAL transaction_read_only = on",
	"SAVEPOINT x", "SAVEPOINT y", "ROLLBACK TO x", "RELEASE x", "RELEASE y",
	"PREPARE TRANSACTION 'gid_X'", "COMMIT PREPARED 'gid_X'", "ROLLBACK PREPARED 'gid_X'",
	"SELECT b FROM r WHERE a = %d", "SELECT b FROM r WHERE a = %d", "SELECT count(*) FROM r", "SELECT count(*) FROM d", "SELECT 1/(a-a) FROM r WHERE a = %d", "SELECT nosuch FROM r",
	"SELECT now() = statement_timestamp()", "SELECT now() = now()", "SELECT pg_current_xact_id_if_assigned() IS NULL", "SELECT '%d'::date", "SELECT current_setting('transaction_isolation')",
	"INSERT INTO r VALUES (%d, 'new') ON CONFLICT (a) DO UPDATE SET b = 'again'", "UPDATE r SET b = b || '.' WHERE a = %d", "DELETE FROM r WHERE a = %d", "INSERT INTO d VALUES (%d, 99)", "INSERT INTO r VALUES (1, 'duplicate')",
	"SELECT b FROM r WHERE a = %d FOR UPDATE", "LOCK TABLE r IN ACCESS SHARE MODE", "DECLARE c CURSOR FOR SELECT a FROM r ORDER BY a", "FETCH 2 FROM c", "CLOSE c", "selct", "", "COPY (SELECT a FROM r ORDER BY a LIMIT 2) TO STDOUT",
	"SELECT 1; SELECT b FROM r WHERE a = %d", "SELECT b FROM r WHERE a = 1; COMMIT", "BEGIN; SELECT b FROM r WHERE a = 3", "COMMIT; BEGIN; DELETE FROM r WHERE a = %d", "INSERT INTO r VALUES (%d, 'multi') ON CONFLICT DO NOTHING; ROLLBACK; SELECT count(*) FROM r",
	"CREATE TEMP TABLE IF NOT EXISTS tt(a int)", "DISCARD ALL", "SET default_transaction_isolation = 'serializable'", "SET default_transaction_read_only = on", "RESET ALL",
}

var txExtended = []string{
	"BEGIN", "BEGIN", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", "COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "SET TRANSACTION READ ONLY", "SAVEPOINT x", "ROLLBACK TO x",
	"SELECT a, b FROM r WHERE a = $1", "SELECT a, b FROM r WHERE a = $1", "SELECT count(*) FROM r", "SELECT b FROM r ORDER BY a", "INSERT INTO r VALUES ($1, 'ext') ON CONFLICT DO NOTHING", "UPDATE r SET b = b || '!' WHERE a = $1 RETURNING b",
	"SELECT 1/(a-$1) FROM r WHERE a = $1", "SELECT now() = now()", "SELECT * FROM nosuch", "",
}

// drawTxUnit makes a unit as drivers send them, or, at times, as none does.
func drawTxUnit(rt *rapid.T) wireUnit {
	var u wireUnit
	switch rapid.IntRange(0, 11).Draw(rt, "kind") {
	case 0, 1, 2, 3, 4:
		u.txSimple(rt)
	case 5: // pipelined
		for range rapid.IntRange(2, 4).Draw(rt, "pipelined") {
			if rapid.Bool().Draw(rt, "simple") {
				u.txSimple(rt)
			} else {
				u.txExtended(rt, 1)
			}
		}
	case 6: // several statements up to a Sync, as JDBC does with BEGIN
		u.txExtended(rt, rapid.IntRange(2, 3).Draw(rt, "statements"))
	case 7:
		u.addExtended(rt)
	default:
		u.txExtended(rt, 1)
	}
	return u
}

func (u *wireUnit) txSimple(rt *rapid.T) {
	sql := rapid.SampledFrom(txTexts).Draw(rt, "sql")
	sql = strings.Replace(sql, "%d", strconv.Itoa(rapid.IntRange(1, 25).Draw(rt, "n")), 1)
	u.bytes = wire.AppendQuery(u.bytes, sql)
	u.syncs++
	u.text = append(u.text, "Q "+sql)
}

// txExtended adds statements by the extended protocol, with a Flush here and there, and a Sync.
func (u *wireUnit) txExtended(rt *rapid.T, statements int) {
	flush := func() {
		if rapid.IntRange(0, 3).Draw(rt, "flush") == 0 {
			u.bytes = wire.AppendFlush(u.bytes)
			u.text = append(u.text, "Flush")
		}
	}
	for i := range statements {
		name := rapid.SampledFrom([]string{"", "", "a", "b" + strconv.Itoa(i)}).Draw(rt, "name")
		sql := rapid.SampledFrom(txExtended).Draw(rt, "sql")
		if i == 0 && statements > 1 && rapid.Bool().Draw(rt, "begin") {
			sql = "BEGIN"
		}
		portal := rapid.SampledFrom([]string{"", "", "", "p"}).Draw(rt, "portal")
		if name != "" {
			u.bytes = wire.AppendClose(u.bytes, 'S', name)
		}
		u.bytes = wire.AppendParse(u.bytes, name, sql)
		u.text = append(u.text, fmt.Sprintf("Parse %q %q", name, sql))
		if rapid.IntRange(0, 2).Draw(rt, "describe") == 0 {
			u.bytes = wire.AppendDescribe(u.bytes, 'S', name)
			u.text = append(u.text, fmt.Sprintf("Describe S %q", name))
			flush()
		}
		if rapid.IntRange(0, 9).Draw(rt, "prepare only") == 0 {
			continue
		}
		var params [][]byte
		if strings.Contains(sql, "$1") {
			params = [][]byte{[]byte(strconv.Itoa(rapid.IntRange(1, 25).Draw(rt, "arg")))}
		}
		u.bytes = wire.AppendBind(u.bytes, portal, name, nil, params, nil)
		u.text = append(u.text, fmt.Sprintf("Bind %q %q %q", portal, name, params))
		if rapid.Bool().Draw(rt, "describe portal") {
			u.bytes = wire.AppendDescribe(u.bytes, 'P', portal)
			u.text = append(u.text, "Describe P")
		}
		rows := rapid.SampledFrom([]uint32{0, 0, 0, 2}).Draw(rt, "rows")
		u.bytes = wire.AppendExecute(u.bytes, portal, rows)
		u.text = append(u.text, fmt.Sprintf("Execute %q %d", portal, rows))
		if rapid.IntRange(0, 3).Draw(rt, "close") == 0 {
			u.bytes = wire.AppendClose(u.bytes, 'P', portal)
			u.text = append(u.text, "Close P")
		}
		flush()
	}
	u.bytes = wire.AppendSync(u.bytes)
	u.text = append(u.text, "Sync")
	u.syncs++
}
