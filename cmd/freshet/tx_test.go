package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/wire"
)

// txDatabase is a database with a covered table, and Freshet before it.
func txDatabase(t testing.TB, change func(*ServeConfig)) (*cluster.Cluster, *instance, string) {
	t.Helper()
	c := shared.Get(t)
	db := c.NewDatabase(t)
	if err := c.Primary().ExecIn(context.Background(), db, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k SELECT i, i FROM generate_series(1, 100) i; CREATE UNLOGGED TABLE unlogged(a int)"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, change)
	covered(t, c, in, db)
	return c, in, db
}

// backends counts the server connections on the primary that are in a transaction, of clients of a database.
func inTransaction(t testing.TB, c *cluster.Cluster, db string) int {
	t.Helper()
	conn, err := c.Primary().Connect(context.Background(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var n int
	err = conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND state LIKE 'idle in transaction%' AND application_name NOT LIKE 'freshet%'", db).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// replicaReads says whether a plain read is answered by a replica now.
func replicaReads(t testing.TB, conn *pgx.Conn) bool {
	t.Helper()
	one(t, conn, "SELECT /* freshet: cache=off */ v FROM k WHERE a = 2")
	return strings.HasPrefix(source(t, conn), "replica ")
}

// status is the transaction status that the client was told last.
func status(conn *pgx.Conn) byte { return conn.PgConn().TxStatus() }

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

func try(conn *pgx.Conn, sql string) error {
	_, err := conn.Exec(context.Background(), sql)
	return err
}

func TestBeginWaitsForAStatementThatNeedsAServer(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	for _, mode := range []string{"", simpleProtocol} {
		conn := in.connect(t, c, db, mode)
		cachedBy(t, conn, "SELECT v FROM k WHERE a = 1")
		for begin, tag := range map[string]string{"BEGIN": "BEGIN", "begin isolation level read committed;": "BEGIN", "START TRANSACTION READ WRITE": "START TRANSACTION"} {
			got, err := conn.Exec(context.Background(), begin)
			if err != nil || got.String() != tag || status(conn) != 'T' {
				t.Fatalf("%s: %v %q %c", begin, err, got, status(conn))
			}
			eventually(t, "the last write has reached cache and replicas", func() bool {
				return one(t, conn, "SELECT v FROM k WHERE a = 1") == "1" && source(t, conn) == "l1" && replicaReads(t, conn)
			})
			eventually(t, "in a transaction, an answer from the cache, and one from a replica", func() bool {
				return one(t, conn, "SELECT v FROM k WHERE a = 1") == "1" && source(t, conn) == "l1" && replicaReads(t, conn) && status(conn) == 'T'
			})
			if n := inTransaction(t, c, db); n != 0 {
				t.Errorf("%d transactions on the primary", n)
			}
			do(t, conn, "UPDATE k SET v = 100 WHERE a = 1")
			if n := inTransaction(t, c, db); n != 1 {
				t.Errorf("%d transactions on the primary after a write", n)
			}
			if one(t, conn, "SELECT v FROM k WHERE a = 1") != "100" || !strings.HasPrefix(source(t, conn), "primary ") {
				t.Errorf("a transaction that has written doesn't see its write: %s", source(t, conn))
			}
			do(t, conn, "ROLLBACK")
			if status(conn) != 'I' || one(t, conn, "SELECT v FROM k WHERE a = 1") != "1" {
				t.Error("it isn't rolled back")
			}
		}
	}
}

// With no primary at all a transaction that needs none goes on.
func TestATransactionWithoutStatementsNeedsNoServer(t *testing.T) {
	c, in, db := txDatabase(t, func(cfg *ServeConfig) { cfg.PoolSize = 1; cfg.PoolWait = 100 * time.Millisecond })
	taken := in.connect(t, c, db, "")
	do(t, taken, "BEGIN; UPDATE k SET v = v WHERE a = 1")
	conn := in.connect(t, c, db, simpleProtocol)
	for _, end := range []string{"COMMIT", "END", "ROLLBACK", "COMMIT AND CHAIN"} {
		do(t, conn, "BEGIN")
		do(t, conn, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE")
		do(t, conn, end)
	}
	do(t, conn, "COMMIT")
	do(t, conn, "BEGIN")
	if err := try(conn, "UPDATE k SET v = v"); code(err) != "53300" || status(conn) != 'E' {
		t.Errorf("no connection: %v, status %c", err, status(conn))
	}
	do(t, conn, "ROLLBACK")
	do(t, taken, "COMMIT")
	do(t, conn, "BEGIN ISOLATION LEVEL SERIALIZABLE")
	if got := one(t, conn, "SHOW transaction_isolation"); got != "serializable" {
		t.Error(got)
	}
	do(t, conn, "COMMIT")
}

// What an application could notice if its reads went elsewhere stays in the transaction.
func TestReadsThatTellTransactionsApartStayInTheTransaction(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	conn := in.connect(t, c, db, "")
	ctx := context.Background()
	for _, sql := range []string{"SELECT now()", "SELECT 'now'::timestamptz", "SELECT pg_backend_pid()", "SELECT pg_current_snapshot()::text", "SELECT count(*) FROM pg_class", "SHOW transaction_isolation"} {
		do(t, conn, "BEGIN")
		first := one(t, conn, sql)
		if s := source(t, conn); !strings.HasPrefix(s, "primary ") {
			t.Errorf("%s comes from %s", sql, s)
		}
		if second := one(t, conn, sql); second != first && !strings.Contains(sql, "snapshot") {
			t.Errorf("%s changes within a transaction: %s, %s", sql, first, second)
		}
		do(t, conn, "COMMIT")
	}
	// Parameters that read the clock.
	do(t, conn, "BEGIN")
	var ts any
	if err := conn.QueryRow(ctx, "SELECT $1::text::timestamptz = now() FROM k WHERE a = 1", "now").Scan(&ts); err != nil || ts != true {
		t.Error(ts, err)
	}
	do(t, conn, "COMMIT")
	// Other isolation levels, however they come about, have one snapshot.
	for _, setUp := range [][2]string{
		{"", "BEGIN ISOLATION LEVEL REPEATABLE READ"}, {"", "BEGIN ISOLATION LEVEL SERIALIZABLE"}, {"", "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"},
		{"SET default_transaction_isolation = 'repeatable read'", "BEGIN"}, {"ALTER ROLE postgres IN DATABASE " + db + " SET default_transaction_isolation = 'repeatable read'", "BEGIN"},
	} {
		conn := conn
		if strings.HasPrefix(setUp[0], "ALTER") {
			if err := c.Primary().ExecIn(ctx, db, setUp[0]); err != nil {
				t.Fatal(err)
			}
			conn = in.connect(t, c, db, "&application_name=another") // a kind of client that hasn't been welcomed yet
		} else if setUp[0] != "" {
			do(t, conn, setUp[0])
		}
		for _, sql := range strings.Split(setUp[1], "; ") {
			do(t, conn, sql)
		}
		before := one(t, conn, "SELECT v FROM k WHERE a = 50")
		if err := c.Primary().ExecIn(ctx, db, "UPDATE k SET v = v + 1 WHERE a = 50"); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got := one(t, conn, "SELECT v FROM k WHERE a = 50"); got != before {
				t.Fatalf("%q: read %s, then %s from %s", setUp, before, got, source(t, conn))
			}
		}
		if s := source(t, conn); !strings.HasPrefix(s, "primary ") {
			t.Errorf("%q: a read comes from %s", setUp, s)
		}
		do(t, conn, "COMMIT")
		if setUp[0] != "" {
			do(t, conn, "RESET default_transaction_isolation")
		}
	}
}

// A statement that fails anywhere makes the transaction fail.
func TestAnErrorOfAReadElsewhereFailsTheTransaction(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	conn := in.connect(t, c, db, "")
	for _, sql := range []string{"SELECT 1/(a-a) FROM k WHERE a = 3", "SET freshet.route = 'nonsense'", "SHOW freshet.nonsense"} {
		for _, before := range []string{"", "UPDATE k SET v = -1 WHERE a = 9"} {
			for _, protocol := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
				do(t, conn, "BEGIN")
				if before != "" {
					do(t, conn, before)
				}
				if _, err := conn.Exec(context.Background(), sql, protocol); err == nil || status(conn) != 'E' {
					t.Fatalf("%s: %v, status %c", sql, err, status(conn))
				}
				if err := try(conn, "SELECT v FROM k WHERE a = 1"); code(err) != "25P02" || status(conn) != 'E' {
					t.Errorf("after %s: %v", sql, err)
				}
				if err := try(conn, "selct"); code(err) != "42601" {
					t.Errorf("after %s, nonsense: %v", sql, err)
				}
				got, err := conn.Exec(context.Background(), "COMMIT")
				if err != nil || got.String() != "ROLLBACK" || status(conn) != 'I' {
					t.Errorf("after %s, COMMIT: %v %v %c", sql, got, err, status(conn))
				}
				if got := one(t, conn, "SELECT v FROM k WHERE a = 9"); got != "9" {
					t.Errorf("after %s: what was written is there: %s", sql, got)
				}
			}
		}
	}
}

func TestReadOnlyTransactionsAreWholeOnOneReplica(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	ctx := context.Background()
	conn := in.connect(t, c, db, "")
	for _, begin := range []string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN READ ONLY"} {
		do(t, conn, begin)
		now := "SELECT now()::text || v FROM k WHERE a = 1"
		first := one(t, conn, now)
		where := source(t, conn)
		if !strings.HasPrefix(where, "replica ") {
			t.Errorf("%s: %s (%s)", begin, where, one(t, conn, "SHOW freshet.reason"))
		}
		if err := c.Primary().ExecIn(ctx, db, "UPDATE k SET v = v + 1 WHERE a = 20"); err != nil {
			t.Fatal(err)
		}
		repeatable := strings.Contains(begin, "REPEATABLE")
		value := one(t, conn, "SELECT v FROM k WHERE a = 20")
		for range 10 {
			if got := one(t, conn, now); got != first || source(t, conn) != where {
				t.Fatalf("%s: the transaction moved: %s, %s", begin, first, got)
			}
			if err := c.Primary().ExecIn(ctx, db, "UPDATE k SET v = v + 1 WHERE a = 20"); err != nil {
				t.Fatal(err)
			}
			if got := one(t, conn, "SELECT v FROM k WHERE a = 20"); repeatable && got != value {
				t.Fatalf("%s: the snapshot moved: %s, %s", begin, value, got)
			}
		}
		if err := try(conn, "UPDATE k SET v = 0"); code(err) != "25006" || status(conn) != 'E' {
			t.Errorf("%s: a write: %v", begin, err)
		}
		do(t, conn, "ROLLBACK")
	}
	for _, begin := range []string{"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE", "BEGIN ISOLATION LEVEL REPEATABLE READ"} {
		do(t, conn, begin)
		one(t, conn, "SELECT v FROM k WHERE a = 1")
		if s := source(t, conn); !strings.HasPrefix(s, "primary ") {
			t.Errorf("%s: %s", begin, s)
		}
		do(t, conn, "COMMIT")
	}
	// What the replica can't be asked is refused as something to be tried again, which then works.
	eventually(t, "a READ ONLY transaction begins on a replica", func() bool {
		do(t, conn, "COMMIT")
		do(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
		one(t, conn, "SELECT v FROM k WHERE a = 1")
		return strings.HasPrefix(source(t, conn), "replica ")
	})
	if err := try(conn, "SELECT count(*) FROM unlogged"); code(err) != "40001" || status(conn) != 'E' {
		t.Errorf("an unlogged table on a replica: %v", err)
	}
	do(t, conn, "ROLLBACK")
	do(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	one(t, conn, "SELECT v FROM k WHERE a = 1")
	do(t, conn, "SELECT count(*) FROM unlogged")
	do(t, conn, "COMMIT")
}

// A replica can't give SERIALIZABLE, and refuses; the cache doesn't know what it would take.
func TestSerializableByDefaultStaysOnThePrimary(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	conn := in.connect(t, c, db, "&default_transaction_isolation=serializable")
	for range 5 {
		one(t, conn, "SELECT v FROM k WHERE a = 1")
		if s := source(t, conn); !strings.HasPrefix(s, "primary ") {
			t.Fatalf("a serializable read comes from %s", s)
		}
	}
	do(t, conn, "SET default_transaction_isolation = 'read committed'")
	cachedBy(t, conn, "SELECT v FROM k WHERE a = 1")
}

// The units of JDBC (BEGIN and the first query up to one Sync), of asyncpg and postgres.js (a Flush after Describe), of
// tokio-postgres (Parse and Describe on their own) and sqlx (the portal closed) are read by replicas and the cache.
func TestUnitsOfDriversAreReadsLikeAnyOther(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	conn := dialWire(t, context.Background(), in.Addrs()[0], db, c.Password())
	defer conn.conn.Close()
	const sql = "SELECT v FROM k WHERE a = $1"
	source := func() string {
		conn.send(t, wire.AppendQuery(nil, "SHOW freshet.source"))
		return conn.replies(t, 1)
	}
	bound := func(out []byte, name string) []byte {
		out = wire.AppendBind(out, "", name, nil, [][]byte{[]byte("5")}, nil)
		return wire.AppendExecute(out, "", 0)
	}
	parts := func(list ...[]byte) [][]byte { return list }
	parse := func(name string) []byte {
		return wire.AppendDescribe(wire.AppendParse(nil, name, sql), 'S', name)
	}
	closeAll := wire.AppendSync(wire.AppendClose(wire.AppendClose(nil, 'S', "s"), 'S', "b"))
	for name, unit := range map[string]struct {
		parts [][]byte // sent one by one, each after the replies to the one before
		ends  string
	}{
		"asyncpg":        {parts(wire.AppendFlush(parse("s")), wire.AppendSync(bound(nil, "s"))), "Z I\n"},
		"tokio-postgres": {parts(wire.AppendSync(parse("s")), wire.AppendSync(bound(nil, "s"))), "Z I\n"},
		"sqlx":           {parts(wire.AppendSync(parse("s")), wire.AppendSync(wire.AppendClose(bound(nil, "s"), 'P', ""))), "Z I\n"},
		"libpq pipeline": {parts(wire.AppendFlush(bound(wire.AppendParse(nil, "", sql), "")), wire.AppendFlush(bound(wire.AppendParse(nil, "", sql), "")), wire.AppendSync(nil)), "Z I\n"},
		"JDBC": {parts(wire.AppendSync(bound(wire.AppendParse(wire.AppendExecute(wire.AppendBind(wire.AppendParse(nil, "b", "BEGIN"), "", "b", nil, nil, nil), "", 0), "", sql), "")),
			wire.AppendSync(wire.AppendExecute(wire.AppendBind(wire.AppendParse(nil, "", "COMMIT"), "", "", nil, nil, nil), "", 0))), "Z I\n"},
	} {
		hits := 0
		for i := 0; hits < 5; i++ {
			for _, p := range unit.parts {
				conn.send(t, p)
				syncs := 0
				for rest := p; len(rest) > 0; {
					_, n, _ := wire.Frame(rest)
					if rest[0] == wire.MsgSync {
						syncs++
					}
					rest = rest[n:]
				}
				var out string
				if syncs == 0 {
					out = conn.upTo(t, map[bool]byte{true: wire.MsgCommandComplete, false: wire.MsgRowDescription}[strings.Contains(name, "libpq")])
				} else {
					out = conn.replies(t, syncs)
				}
				if strings.Contains(out, "E ERROR") {
					t.Fatalf("%s: %s", name, out)
				}
			}
			from := source()
			switch {
			case name == "JDBC" && i == 20:
				hits = 5 // its last statement is COMMIT
			case strings.Contains(from, "primary"):
				t.Errorf("%s: an answer from %s", name, from)
			case strings.Contains(from, "l1"):
				hits++
			case i > 1000:
				conn.send(t, wire.AppendQuery(nil, "SHOW freshet.reason"))
				t.Fatalf("%s: never cached: %s", name, conn.replies(t, 1))
			}
			conn.send(t, closeAll)
			conn.replies(t, 1)
		}
	}
	if n := inTransaction(t, c, db); n != 0 {
		t.Errorf("%d transactions on the primary", n)
	}
}

// upTo reads until a message of a type.
func (c *wireConn) upTo(t testing.TB, typ byte) string {
	var out strings.Builder
	for {
		msg := c.next(t, &out)
		if msg == nil {
			t.Fatalf("closed after %s", &out)
		}
		out.WriteByte(msg[0])
		out.WriteByte(' ')
		if msg[0] == wire.MsgErrorResponse {
			return out.String() + "E ERROR"
		}
		if msg[0] == typ {
			return out.String()
		}
	}
}

// pg_dump's READ ONLY transaction reads catalogs, and then locks tables, which a replica refuses.
func TestPgDumpThroughFreshetIsWhatItIsDirectly(t *testing.T) {
	c, in, db := txDatabase(t, nil)
	program, err := c.Program("pg_dump")
	if err != nil {
		t.Fatal(err)
	}
	dump := func(addr string) string {
		host, port, _ := net.SplitHostPort(addr)
		cmd := exec.Command(program, "-h", host, "-p", port, "-U", "postgres", "-d", db)
		cmd.Env = append(os.Environ(), "PGPASSWORD="+c.Password())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return regexp.MustCompile(`(?m)^.(un)?restrict .*$`).ReplaceAllString(string(out), "")
	}
	want, got := dump(c.Primary().Addr()), dump(in.Addrs()[0])
	if want != got || !strings.Contains(got, "COPY public.k") {
		t.Errorf("directly:\n%s\nthrough Freshet:\n%s", want, got)
	}
}
