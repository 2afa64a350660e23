package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/proxy/wire"
)

// Two clients prepare, execute and deallocate by SQL and by the protocol, under the same few names, on so few server connections that these go from
// one to the other all the time. Each has a table of its own, so that they don't wait for each other.
func TestHazard06Hazard07NamesOfPreparedStatementsAreTheirSessions(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.MaxPreparedStatements, cfg.PoolSize = 5, 2 })
	direct, through := c.NewDatabase(t), c.NewDatabase(t)
	for _, db := range []string{direct, through} {
		if err := c.Primary().ExecIn(context.Background(), db, "CREATE TABLE r0(a int PRIMARY KEY, b text); CREATE TABLE r1(a int PRIMARY KEY, b text)"); err != nil {
			t.Fatal(err)
		}
	}
	covered(t, c, in, through)
	rapid.Check(t, func(rt *rapid.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		type client struct {
			a, b   *wireConn
			failed bool
		}
		var clients [2]client
		for i := range clients {
			a := dialWire(rt, ctx, c.Primary().Addr(), direct, c.Password())
			defer a.conn.Close()
			b := dialWire(rt, ctx, in.Addrs()[0], through, c.Password())
			defer b.conn.Close()
			reset := wire.AppendQuery(nil, fmt.Sprintf("TRUNCATE r%d; INSERT INTO r%d SELECT i, 'row ' || i FROM generate_series(1, 5) i", i, i))
			for _, conn := range []*wireConn{a, b} {
				conn.send(rt, reset)
				conn.replies(rt, 1)
			}
			clients[i] = client{a: a, b: b}
		}
		var log []string
		for range rapid.IntRange(1, 40).Draw(rt, "units") {
			i := rapid.IntRange(0, 1).Draw(rt, "client")
			cl := &clients[i]
			u := wireUnit{bytes: wire.AppendQuery(nil, "ROLLBACK"), syncs: 1, text: []string{"Q ROLLBACK"}}
			if !cl.failed { // else what is refused first isn't the same, see TestWhatAClientSeesIsWhatPostgresSays
				u = drawPreparing(rt, i)
			}
			log = append(log, fmt.Sprintf("%d: %s", i, u))
			sent := sparePortal(u.bytes, cl.failed)
			cl.a.send(rt, sent)
			cl.b.send(rt, sent)
			want, got := cl.a.replies(rt, u.syncs), cl.b.replies(rt, u.syncs)
			cl.failed = strings.HasSuffix(want, "Z E\n")
			if want != got {
				rt.Fatalf("program:\n%s\n\nPostgres:\n%s\nthrough Freshet:\n%s", strings.Join(log, "\n"), want, got)
			}
		}
	})
}

var preparingTexts = []string{
	"PREPARE q AS SELECT a, b FROM r WHERE a = $1", "PREPARE q(int) AS UPDATE r SET b = b || '.' WHERE a = $1 RETURNING b", "PREPARE a AS SELECT count(*) FROM r",
	"PREPARE a(text) AS SELECT $1 || '!'", "PREPARE \"q\" AS SELECT nosuch FROM r", "PREPARE b AS INSERT INTO r VALUES ($1, 'new') ON CONFLICT (a) DO NOTHING",
	"PREPARE b AS SELECT '01.02.2020'::date", "EXECUTE q(%d)", "EXECUTE q", "EXECUTE a", "EXECUTE a(%d)", "EXECUTE b", "EXECUTE b(%d)", "EXECUTE \"a\"", "EXECUTE q(%d + 1)", "EXECUTE q((SELECT 1))", "EXECUTE q('x')",
	"EXPLAIN (COSTS OFF) EXECUTE q(%d)", "EXPLAIN (COSTS OFF) EXECUTE a", "DEALLOCATE q", "DEALLOCATE PREPARE a", "DEALLOCATE b", "DEALLOCATE ALL", "DISCARD ALL", "DISCARD PLANS",
	"SELECT count(*) FROM r", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT x", "ROLLBACK TO x", "SET DateStyle = 'German'", "SET DateStyle = 'ISO, DMY'", "RESET DateStyle", "SET LOCAL DateStyle = 'SQL, MDY'",
	"SELECT name, from_sql, parameter_types FROM pg_prepared_statements ORDER BY name",
}

var preparingStrings = []string{
	"DEALLOCATE q; PREPARE q AS SELECT b FROM r WHERE a = $1; EXECUTE q(%d)", "PREPARE q AS SELECT 1; SELECT 1/0", "EXECUTE q(%d); EXECUTE b(3); EXECUTE a", "BEGIN; PREPARE q AS SELECT 'in'; ROLLBACK; EXECUTE q",
	"PREPARE a AS SELECT b FROM r WHERE a = $1; DEALLOCATE a", "EXECUTE q(%d); DEALLOCATE q", "SELECT 1; EXECUTE a; SELECT 2", "BEGIN; EXECUTE q(%d); COMMIT", "DEALLOCATE ALL; EXECUTE q(%d)", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ",
	"PREPARE q AS SELECT count(*) FROM r; PREPARE q AS SELECT 1",
}

func drawPreparing(rt *rapid.T, client int) wireUnit {
	var u wireUnit
	fill := func(sql string) string {
		sql = strings.ReplaceAll(sql, " r ", fmt.Sprintf(" r%d ", client)+"")
		if strings.HasSuffix(sql, " r") {
			sql += strconv.Itoa(client)
		}
		sql = strings.ReplaceAll(sql, " r;", fmt.Sprintf(" r%d;", client))
		return strings.Replace(sql, "%d", strconv.Itoa(rapid.IntRange(1, 7).Draw(rt, "n")), 1)
	}
	if rapid.IntRange(0, 2).Draw(rt, "kind") > 0 {
		for range rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(rt, "pipelined") {
			sql := fill(rapid.SampledFrom(append(preparingStrings[:len(preparingStrings):len(preparingStrings)], preparingTexts...)).Draw(rt, "sql"))
			u.bytes = wire.AppendQuery(u.bytes, sql)
			u.text = append(u.text, "Q "+sql)
			u.syncs++
		}
		return u
	}
	for range rapid.IntRange(1, 4).Draw(rt, "messages") {
		name := rapid.SampledFrom([]string{"", "q", "a"}).Draw(rt, "name")
		texts := append([]string{"SELECT a, b FROM r WHERE a = $1", "SELECT count(*) FROM r"}, preparingTexts...)
		sql := fill(rapid.SampledFrom(texts).Draw(rt, "text"))
		called := name
		if !strings.HasPrefix(sql, "SELECT") {
			called = "" // EXECUTE of something else than a query can take the whole server down (EXPLAIN EXECUTE a, where a is EXECUTE a)
		}
		params := [][]byte{[]byte("2")}
		if !strings.Contains(sql, "$1") || strings.HasPrefix(sql, "PREPARE") {
			params = nil
		}
		switch rapid.IntRange(0, 7).Draw(rt, "message") {
		case 0:
			u.bytes = wire.AppendDescribe(u.bytes, 'S', name)
			u.text = append(u.text, fmt.Sprintf("Describe S %q", name))
		case 1:
			u.bytes = wire.AppendClose(u.bytes, 'S', name)
			u.text = append(u.text, fmt.Sprintf("Close S %q", name))
		case 2:
			u.bytes = wire.AppendParse(u.bytes, called, sql)
			u.text = append(u.text, fmt.Sprintf("Parse %q %q", called, sql))
		case 3:
			u.bytes = wire.AppendFlush(u.bytes)
			u.text = append(u.text, "Flush")
		case 4, 5: // what has been prepared
			if rapid.Bool().Draw(rt, "argument") {
				params = [][]byte{[]byte("2")}
			}
			u.bytes = wire.AppendExecute(wire.AppendBind(u.bytes, "", name, nil, params, nil), "", 0)
			u.text = append(u.text, fmt.Sprintf("Bind %q %q, Execute", name, params))
		default:
			u.bytes = wire.AppendParse(u.bytes, called, sql)
			u.text = append(u.text, fmt.Sprintf("Parse %q %q", called, sql))
			if rapid.Bool().Draw(rt, "describe") {
				u.bytes = wire.AppendDescribe(u.bytes, 'S', called)
				u.text = append(u.text, fmt.Sprintf("Describe S %q", called))
			}
			u.bytes = wire.AppendExecute(wire.AppendBind(u.bytes, "", called, nil, params, nil), "", 0)
			u.text = append(u.text, fmt.Sprintf("Bind %q %q, Execute", called, params))
		}
	}
	u.bytes = wire.AppendSync(u.bytes)
	u.text = append(u.text, "Sync")
	u.syncs++
	return u
}
