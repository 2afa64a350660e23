package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// The differential test sends the same messages to Postgres and through Freshet and wants the same replies, byte by
// byte. Each side has a database of its own that begins the same. Programs are made by rapid; `-rapid.checks` sets how many.
func TestWhatAClientSeesIsWhatPostgresSays(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.MaxPreparedStatements, cfg.PoolWait = 2, time.Minute })
	direct, through := c.NewDatabase(t), c.NewDatabase(t)
	for _, db := range []string{direct, through} {
		if err := c.Primary().ExecIn(context.Background(), db, "CREATE TABLE r(a int PRIMARY KEY, b text); CREATE TABLE s(a int, d date); ALTER TABLE s REPLICA IDENTITY FULL"); err != nil {
			t.Fatal(err)
		}
	}
	covered(t, c, in, through)
	defer func() {
		for _, counters := range in.server.Stats().Shards {
			t.Logf("answered from the cache: %d", counters.HitL1.Load())
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
		reset := wire.AppendQuery(nil, "TRUNCATE r, s; INSERT INTO r SELECT i, 'row ' || i FROM generate_series(1, 20) i")
		a.send(rt, reset)
		b.send(rt, reset)
		a.replies(rt, 1)
		b.replies(rt, 1)
		n := rapid.IntRange(1, 25).Draw(rt, "units")
		var log []string
		failed := false
		var u wireUnit
		for i := 0; i < n; i++ {
			if i == 0 || rapid.IntRange(0, 2).Draw(rt, "again") == 0 {
				u = drawUnit(rt) // else the same once more, which may find it in the cache
			}
			log = append(log, u.String())
			sent := sparePortal(u.bytes, failed)
			a.send(rt, sent)
			b.send(rt, sent)
			want, got := a.replies(rt, u.syncs), b.replies(rt, u.syncs)
			failed = strings.HasSuffix(want, "Z E\n")
			if want != got {
				rt.Fatalf("program:\n%s\n\nPostgres:\n%s\nthrough Freshet:\n%s", strings.Join(log, "\n"), want, got)
			}
		}
	})
}

// wireUnit is what is sent at once.
type wireUnit struct {
	bytes []byte
	syncs int // ReadyForQuery that follow
	text  []string
}

func (u wireUnit) String() string { return strings.Join(u.text, " | ") }

var simpleTexts = []string{
	"SELECT 1", "SELECT a, b FROM r WHERE a = %d", "SELECT count(*) FROM r", "SELECT * FROM r ORDER BY a LIMIT %d", "", ";", "-- nothing",
	"INSERT INTO r VALUES (%d, 'new') ON CONFLICT (a) DO UPDATE SET b = 'again'", "UPDATE r SET b = b || '.' WHERE a = %d", "DELETE FROM r WHERE a = %d",
	"INSERT INTO r VALUES (1, 'duplicate')", "SELECT nosuch FROM r", "SELECT 1/0", "selct", "SELECT '%d'::date",
	"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT x", "ROLLBACK TO x", "RELEASE x", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL SERIALIZABLE",
	"SET TimeZone = 'Asia/Tokyo'", "SET TimeZone TO DEFAULT", "SHOW TimeZone", "SET search_path = public, pg_catalog", "SHOW search_path", "RESET ALL",
	"SET DateStyle = 'German'", "SET DateStyle = 'ISO'", "SET DateStyle = 'DMY'", "SHOW DateStyle", "SELECT '2020-02-%d'::date", "SET LOCAL DateStyle = 'SQL'", "SELECT d FROM s", "INSERT INTO s VALUES (%d, '2020-03-01')",
	"SELECT 1; SELECT 2", "BEGIN; SELECT a FROM r WHERE a = 2; COMMIT", "INSERT INTO r VALUES (100, 'x'); SELECT 1/0", "SELECT count(*) FROM r; DELETE FROM r WHERE a = %d; SELECT count(*) FROM r",
	"CREATE TEMP TABLE tt(a int)", "SELECT * FROM tt", "DROP TABLE tt", "DISCARD ALL", "PREPARE q AS SELECT a FROM r WHERE a = $1", "EXECUTE q(%d)", "DEALLOCATE q", "PREPARE a AS SELECT b FROM r WHERE a = $1", "PREPARE b(int) AS INSERT INTO r VALUES ($1, 'prepared') ON CONFLICT DO NOTHING", "EXECUTE a(%d)", "EXECUTE b(%d)", "EXPLAIN (COSTS OFF) EXECUTE q(%d)", "CREATE TEMP TABLE ctas AS EXECUTE q(%d)", "DEALLOCATE b", "DEALLOCATE PREPARE a", "PREPARE q AS SELECT count(*) FROM r", "PREPARE q AS SELECT nosuch FROM r", "PREPARE q AS UPDATE r SET b = b || '?' WHERE a = $1; EXECUTE q(%d)", "PREPARE nothing AS SELECT pg_advisory_lock(9)", "EXECUTE nothing", "EXECUTE z(%d)", "DEALLOCATE z", "SELECT 1; DEALLOCATE q; SELECT 2", "BEGIN; EXECUTE q(%d); COMMIT", "SELECT name FROM pg_prepared_statements WHERE name IN ('q', 'nothing') AND from_sql", "DEALLOCATE ALL", "DEALLOCATE a",
	"COPY (SELECT a, b FROM r ORDER BY a LIMIT %d) TO STDOUT", "DECLARE c CURSOR FOR SELECT a FROM r ORDER BY a", "FETCH %d FROM c", "CLOSE c", "DECLARE h CURSOR WITH HOLD FOR SELECT a FROM r ORDER BY a", "FETCH 2 FROM h",
	"SELECT set_config('DateStyle', 'ISO, YMD', false)", "SELECT pg_advisory_lock(%d)", "SELECT pg_advisory_unlock_all()", "EXPLAIN (COSTS OFF) SELECT 1 WHERE %d = 1", "SHOW nosuch.setting", "SET nosuch TO 1",
	"VALUES (1, 'a'), (2, 'b')", "TABLE s", "WITH w AS (DELETE FROM s RETURNING a) SELECT count(*) FROM w", "SELECT b FROM r WHERE a IN (%d, 3, 4) ORDER BY a", "SELECT * FROM r FOR UPDATE", "LOCK TABLE r", "TRUNCATE s", "SELECT now() = now()", "DO $$ BEGIN RAISE NOTICE 'hello'; END $$",
	"SELECT repeat('x', %d00)", "CREATE TABLE IF NOT EXISTS r(a int)", "SELECT * FROM generate_series(1, %d)", "SET application_name = 'app %d'", "SHOW application_name", "SET standard_conforming_strings = on",
}

var extendedTexts = []string{
	"SELECT a, b FROM r WHERE a = $1", "SELECT count(*) FROM r", "INSERT INTO r VALUES ($1, 'ext') ON CONFLICT DO NOTHING", "UPDATE r SET b = b || '!' WHERE a = $1", "SELECT $1::int + 1", "SELECT b FROM r ORDER BY a", "selct", "SELECT 1/($1::int)", "BEGIN", "COMMIT", "ROLLBACK", "", "SET DateStyle = 'German'", "SELECT d FROM s WHERE a = $1", "SHOW DateStyle", "SELECT '2021-01-0' || ($1::int % 9 + 1)::text", "DELETE FROM r WHERE a = $1 RETURNING *", "SELECT * FROM nosuch", "COPY (SELECT 1) TO STDOUT",
}

// moreExtendedTexts take part where other programs are asked for than the same each time. There is no EXECUTE among them: one by SQL of a name that the
// protocol has given to an EXECUTE takes Postgres 15 down.
var moreExtendedTexts = []string{
	"BEGIN READ ONLY", "SAVEPOINT x", "ROLLBACK TO x", "SHOW TimeZone", "SET TimeZone = 'Asia/Tokyo'", "SET LOCAL TimeZone = 'UTC'", "RESET ALL", "DEALLOCATE ALL", "PREPARE q AS SELECT a FROM r WHERE a = $1",
	"DECLARE c CURSOR FOR SELECT a FROM r WHERE a > $1 ORDER BY a", "FETCH 2 FROM c", "CREATE TEMP TABLE tt(a int)", "DROP TABLE tt", "SELECT set_config('DateStyle', 'ISO, YMD', $1::int > 12)", "VALUES ($1::int), (2)", "SELECT 1; SELECT 2", "TRUNCATE s",
	"DEALLOCATE z", "PREPARE z AS SELECT a, b FROM r WHERE a = $1",
}

func init() {
	if os.Getenv("FRESHET_RANDOM") != "" {
		extendedTexts = append(extendedTexts, moreExtendedTexts...)
	}
}

func drawUnit(rt *rapid.T) wireUnit {
	var u wireUnit
	switch rapid.IntRange(0, 9).Draw(rt, "kind") {
	case 0, 1, 2, 3:
		u.addSimple(rt)
	case 4: // several at once
		for range rapid.IntRange(2, 4).Draw(rt, "pipelined") {
			if rapid.Bool().Draw(rt, "simple") {
				u.addSimple(rt)
			} else {
				u.addExtended(rt)
			}
		}
	case 5:
		u.addCopyIn(rt)
	default:
		u.addExtended(rt)
	}
	return u
}

// sparePortal closes the unnamed portal before anything else is done with it after a simple query. A query that fails inside a
// transaction leaves it behind in Postgres (to 18), and its text points to memory that has been given back: to execute it
// then takes the whole server down. That is no behaviour to compare with.
func sparePortal(unit []byte, failed bool) []byte {
	var out []byte
	suspect := failed
	for len(unit) >= 5 {
		size := min(1+int(binary.BigEndian.Uint32(unit[1:])), len(unit))
		typ, body := unit[0], unit[5:size]
		if suspect && (typ == wire.MsgExecute && body[0] == 0 || typ == wire.MsgDescribe && body[0] == 'P' && body[1] == 0) {
			out = wire.AppendClose(out, 'P', "")
		}
		switch {
		case typ == wire.MsgQuery, typ == wire.MsgSync: // a Bind before the Sync may have failed
			suspect = true
		case typ == wire.MsgBind && body[0] == 0:
			suspect = false
		}
		out, unit = append(out, unit[:size]...), unit[size:]
	}
	return out
}

func (u *wireUnit) addSimple(rt *rapid.T) {
	sql := rapid.SampledFrom(simpleTexts).Draw(rt, "sql")
	sql = strings.Replace(sql, "%d", strconv.Itoa(rapid.IntRange(1, 25).Draw(rt, "n")), 1)
	u.bytes = wire.AppendQuery(u.bytes, sql)
	u.syncs++
	u.text = append(u.text, "Q "+sql)
}

func (u *wireUnit) addCopyIn(rt *rapid.T) {
	data := rapid.SampledFrom([]string{"1001\tcopied\n1002\tcopied\n", "1\tduplicate\n", "nonsense\n", ""}).Draw(rt, "data")
	u.bytes = wire.AppendQuery(u.bytes, "DELETE FROM r WHERE a > 1000")
	u.bytes = wire.AppendQuery(u.bytes, "COPY r FROM STDIN")
	if data != "" {
		u.bytes = wire.AppendCopyData(u.bytes, []byte(data))
	}
	if rapid.Bool().Draw(rt, "fail") {
		u.bytes = wire.AppendCopyFail(u.bytes, "changed my mind")
	} else {
		u.bytes = wire.AppendCopyDone(u.bytes)
	}
	u.syncs += 2
	u.text = append(u.text, "COPY r FROM STDIN: "+strconv.Quote(data))
}

func (u *wireUnit) addExtended(rt *rapid.T) {
	names := []string{"", "a", "b", "q"}
	portals := []string{"", "p"}
	for range rapid.IntRange(1, 6).Draw(rt, "messages") {
		name := rapid.SampledFrom(names).Draw(rt, "name")
		portal := rapid.SampledFrom(portals).Draw(rt, "portal")
		arg := []byte(strconv.Itoa(rapid.IntRange(0, 25).Draw(rt, "arg")))
		sql := rapid.SampledFrom(extendedTexts).Draw(rt, "text")
		params := [][]byte{arg}
		if !strings.Contains(sql, "$1") && rapid.IntRange(0, 9).Draw(rt, "wrong") > 0 {
			params = nil
		}
		switch rapid.IntRange(0, 9).Draw(rt, "message") {
		case 0:
			u.bytes = wire.AppendParse(u.bytes, name, sql)
			u.text = append(u.text, fmt.Sprintf("Parse %q %q", name, sql))
		case 1:
			u.bytes = wire.AppendBind(u.bytes, portal, name, nil, params, nil)
			u.text = append(u.text, fmt.Sprintf("Bind %q %q %q", portal, name, params))
		case 2:
			o := rapid.SampledFrom([]byte{'S', 'P'}).Draw(rt, "object")
			n := name
			if o == 'P' {
				n = portal
			}
			u.bytes = wire.AppendDescribe(u.bytes, o, n)
			u.text = append(u.text, fmt.Sprintf("Describe %c %q", o, n))
		case 3:
			rows := rapid.SampledFrom([]uint32{0, 0, 1, 3}).Draw(rt, "rows")
			u.bytes = wire.AppendExecute(u.bytes, portal, rows)
			u.text = append(u.text, fmt.Sprintf("Execute %q %d", portal, rows))
		case 4:
			o := rapid.SampledFrom([]byte{'S', 'P'}).Draw(rt, "object")
			n := name
			if o == 'P' {
				n = portal
			}
			u.bytes = wire.AppendClose(u.bytes, o, n)
			u.text = append(u.text, fmt.Sprintf("Close %c %q", o, n))
		case 5:
			u.bytes = wire.AppendFlush(u.bytes)
			u.text = append(u.text, "Flush")
		default: // what drivers do
			if rapid.Bool().Draw(rt, "parse") {
				u.bytes = wire.AppendParse(u.bytes, name, sql)
				u.text = append(u.text, fmt.Sprintf("Parse %q %q", name, sql))
			}
			format := rapid.SampledFrom([][]int16{nil, {0}, {1}}).Draw(rt, "format")
			u.bytes = wire.AppendBind(u.bytes, portal, name, nil, params, format)
			u.text = append(u.text, fmt.Sprintf("Bind %q %q %q %v", portal, name, params, format))
			if rapid.Bool().Draw(rt, "describe") {
				u.bytes = wire.AppendDescribe(u.bytes, 'P', portal)
				u.text = append(u.text, "Describe P")
			}
			u.bytes = wire.AppendExecute(u.bytes, portal, 0)
			u.text = append(u.text, "Execute "+strconv.Quote(portal))
		}
	}
	u.bytes = wire.AppendSync(u.bytes)
	u.text = append(u.text, "Sync")
	u.syncs++
}

// wireConn speaks the protocol without a driver in between.
type wireConn struct {
	conn     net.Conn
	buf      []byte
	patience time.Duration // for an answer; 0: 15 s
}

func dialWire(t interface{ Fatalf(string, ...any) }, ctx context.Context, addr, database, password string) *wireConn {
	return dialStartup(t, ctx, addr, database, "postgres", password, nil)
}

func dialStartup(t interface{ Fatalf(string, ...any) }, ctx context.Context, addr, database, user, password string, params []wire.Param) *wireConn {
	target, err := backend.ParseTarget(fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", user, password, addr, database))
	if err != nil {
		t.Fatalf("%v", err)
	}
	l, err := backend.Connect(ctx, backend.ConnectConfig{Target: target, Database: database, Identity: target.Service(), Params: params})
	if err != nil {
		t.Fatalf("connecting to %s: %v", addr, err)
	}
	return &wireConn{conn: l.Conn, buf: l.Leftover}
}

func (c *wireConn) send(t interface{ Fatalf(string, ...any) }, p []byte) {
	patience := c.patience
	if patience == 0 {
		patience = 15 * time.Second
	}
	c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(p); err != nil {
		t.Fatalf("writing: %v", err)
	}
}

// replies reads until n ReadyForQuery have come, and returns everything in a form that can be read.
func (c *wireConn) replies(t interface{ Fatalf(string, ...any) }, n int) string {
	var out strings.Builder
	var params []string
	for n > 0 {
		msg := c.next(t, &out)
		if msg == nil {
			return out.String() + "closed\n"
		}
		body := msg[5:]
		switch msg[0] {
		case wire.MsgParameterStatus:
			// When it is reported is not part of the protocol.
			name, value, _ := bytes.Cut(body, []byte{0})
			params = append(params, fmt.Sprintf("%s=%s", name, bytes.TrimRight(value, "\x00")))
			continue
		case wire.MsgNotificationResponse: // without the process number
			fmt.Fprintf(&out, "A %q\n", body[4:])
		case wire.MsgNoticeResponse, wire.MsgErrorResponse:
			e, _ := wire.DecodeError(body)
			fmt.Fprintf(&out, "%c %s %s %s detail=%q hint=%q position=%v\n", msg[0], e.Severity, e.Code, e.Message, e.Detail, e.Hint, e.Position)
		case wire.MsgReadyForQuery:
			n--
			for _, p := range params {
				fmt.Fprintf(&out, "parameter %s\n", p)
			}
			params = nil
			fmt.Fprintf(&out, "Z %c\n", body[0])
		default:
			fmt.Fprintf(&out, "%c %q\n", msg[0], tableless(msg))
		}
	}
	return out.String()
}

// tableless takes the OIDs of tables out of a RowDescription: the two databases have different ones.
func tableless(msg []byte) []byte {
	if msg[0] != wire.MsgRowDescription {
		return msg[5:]
	}
	out := bytes.Clone(msg[5:])
	n, p := int(binary.BigEndian.Uint16(out)), 2
	for range n {
		p += bytes.IndexByte(out[p:], 0) + 1
		clear(out[p : p+4])
		p += 18
	}
	return out
}

func (c *wireConn) next(t interface{ Fatalf(string, ...any) }, so fmt.Stringer) []byte {
	for {
		if _, n, err := wire.Frame(c.buf); err != nil {
			t.Fatalf("malformed: %v after\n%s", err, so)
		} else if n > 0 && n <= len(c.buf) {
			msg := c.buf[:n]
			c.buf = c.buf[n:]
			return msg
		}
		p := make([]byte, 64<<10)
		n, err := c.conn.Read(p)
		if n > 0 {
			c.buf = append(bytes.Clone(c.buf), p[:n]...)
			continue
		}
		if os.IsTimeout(err) {
			t.Fatalf("no answer in time; so far:\n%s", so)
		}
		return nil
	}
}
