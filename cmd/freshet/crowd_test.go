package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/proxy/wire"
)

// crowdSize clients share crowdPool server connections.
const (
	crowdSize = 64
	crowdPool = 3
)

// crowdFailed are seeds of rounds that have failed once.
var crowdFailed = []int{}

// TestManyClientsSeeWhatTheySeeDirectly has many clients, each with a program made by rapid and a schema of its own, use everything that
// binds a session or doesn't, at the same time, over a pool that is far too small. Each sees what it sees direct, byte by byte.
//
// Nobody is refused: a program ends in finite time and waits for no other client, so that whoever is bound goes on, and
// whoever waits for a server connection gets one in the end. FRESHET_CROWD says how many statements there are to be.
func TestManyClientsSeeWhatTheySeeDirectly(t *testing.T) {
	c := shared.Get(t)
	direct, through := c.NewDatabase(t), c.NewDatabase(t)
	var schema strings.Builder
	for i := range crowdSize {
		fmt.Fprintf(&schema, "CREATE SCHEMA c%d; CREATE TABLE c%d.r(a int PRIMARY KEY, b text); CREATE TABLE c%d.s(a int PRIMARY KEY, d date);", i, i, i)
	}
	for _, db := range []string{direct, through} {
		if err := c.Primary().ExecIn(context.Background(), db, schema.String()); err != nil {
			t.Fatal(err)
		}
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Replica = nil // so that the pool is as small as it says
		cfg.PoolSize = crowdPool
		cfg.PoolWait = 5 * time.Minute
	})
	covered(t, c, in, through)
	atLeast, _ := strconv.Atoi(os.Getenv("FRESHET_CROWD"))
	// The same programs each time, unless others are looked for.
	seeds := append([]int{3444740}, crowdFailed...)
	if atLeast > 0 {
		seeds[0] = int(time.Now().UnixNano() & 0xffffff)
	}
	var statements atomic.Int64
	for round := 0; round < len(seeds) || int(statements.Load()) < atLeast; round++ {
		seed := seeds[0] + round
		if round > 0 && round < len(seeds) {
			seed = seeds[round]
		}
		var wg sync.WaitGroup
		for i := range crowdSize {
			wg.Go(func() {
				p := crowdPrograms(i).Example(seed*crowdSize + i)
				client := &crowdClient{t: t, name: fmt.Sprintf("seed %d, client %d", seed, i)}
				statements.Add(int64(client.run(c.Primary().Addr(), in.Addrs()[0], direct, through, c.Password(), i, p)))
			})
		}
		wg.Wait()
		if t.Failed() && atLeast == 0 {
			return
		}
	}
	t.Logf("%d statements", statements.Load())
}

// crowdClient is the testing.T of one client, which ends the client's goroutine only.
type crowdClient struct {
	t    *testing.T
	name string
}

func (c *crowdClient) Fatalf(format string, args ...any) {
	c.t.Errorf(c.name+": "+format, args...)
	runtime.Goexit()
}

func (c *crowdClient) run(primary, freshet, direct, through, password string, i int, program []wireUnit) (statements int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	params := []wire.Param{{Name: "search_path", Value: "c" + strconv.Itoa(i)}}
	a := dialStartup(c, ctx, primary, direct, "postgres", password, params)
	defer a.conn.Close()
	b := dialStartup(c, ctx, freshet, through, "postgres", password, params)
	defer b.conn.Close()
	a.patience, b.patience = time.Minute, time.Minute
	reset := wireUnit{syncs: 1, text: []string{"(begin)"}, bytes: wire.AppendQuery(nil,
		"TRUNCATE r, s; INSERT INTO r SELECT i, 'row ' || i FROM generate_series(1, 20) i; INSERT INTO s SELECT i, '2020-03-01' FROM generate_series(1, 3) i")}
	failed := false
	var log []string
	for _, u := range append([]wireUnit{reset}, program...) {
		log = append(log, u.String())
		statements += len(u.text)
		sent := sparePortal(u.bytes, failed)
		a.send(c, sent)
		b.send(c, sent)
		want, got := a.replies(c, u.syncs), b.replies(c, u.syncs)
		failed = strings.HasSuffix(want, "Z E\n")
		if want != got {
			c.Fatalf("program:\n%s\n\nPostgres:\n%s\nthrough Freshet:\n%s", strings.Join(log, "\n"), want, got)
		}
	}
	return statements
}

// crowdTexts are simple queries whose answers depend on nothing but what the client has done before: the order of rows on disk, for one, depends on
// when the others' transactions end. $C is the client's number.
var crowdTexts = []string{
	"SELECT 1", "SELECT a, b FROM r WHERE a = %d", "SELECT count(*) FROM r", "SELECT * FROM r ORDER BY a LIMIT %d", "", "SELECT a FROM r WHERE a IN (%d, 3, 4) ORDER BY a",
	"INSERT INTO r VALUES (%d, 'new') ON CONFLICT (a) DO UPDATE SET b = 'again'", "UPDATE r SET b = b || '.' WHERE a = %d", "DELETE FROM r WHERE a = %d", "INSERT INTO r VALUES (1, 'duplicate')",
	"SELECT nosuch FROM r", "SELECT 1/0", "selct", "SELECT '2020-02-%d'::date", "WITH w AS (DELETE FROM s WHERE a = %d RETURNING a) SELECT count(*) FROM w", "SELECT d FROM s ORDER BY a", "INSERT INTO s VALUES (%d, '2020-05-04')",
	"BEGIN", "BEGIN", "COMMIT", "COMMIT", "ROLLBACK", "SAVEPOINT x", "ROLLBACK TO x", "RELEASE x", "BEGIN READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE",
	"SET TimeZone = 'Asia/Tokyo'", "SET TimeZone TO DEFAULT", "SHOW TimeZone", "SELECT '2024-01-01 00:00+00'::timestamptz", "SET DateStyle = 'German'", "SET LOCAL DateStyle = 'SQL'", "SHOW DateStyle", "RESET ALL", "SHOW search_path",
	"SET LOCAL search_path = c$C, public", "SET search_path = pg_catalog, c$C", "SET search_path = pg_catalog", "SET search_path TO DEFAULT", "SET application_name = 'app %d'", "SHOW application_name", "SELECT set_config('IntervalStyle', 'iso_8601', %d > 12)", "SELECT '1 day 2 hours'::interval",
	"SET app.tenant = '$C'", "SELECT current_setting('app.tenant', true) IS NOT DISTINCT FROM '$C'", "SET ROLE pg_read_all_data", "RESET ROLE", "SELECT current_user", "SET extra_float_digits = 0", "SELECT 1.1::float8 / 3",
	"CREATE TEMP TABLE tt(a int)", "CREATE TEMP TABLE tt(a int) ON COMMIT DROP", "INSERT INTO tt VALUES (%d)", "SELECT sum(a) FROM tt", "DROP TABLE tt", "DISCARD ALL", "DISCARD TEMP",
	"PREPARE q AS SELECT a FROM r WHERE a = $1", "PREPARE q AS SELECT b FROM r WHERE a = $1", "EXECUTE q(%d)", "DEALLOCATE q", "DEALLOCATE ALL", "DEALLOCATE a",
	"COPY (SELECT a, b FROM r ORDER BY a LIMIT %d) TO STDOUT", "DECLARE c CURSOR FOR SELECT a FROM r ORDER BY a", "FETCH %d FROM c", "CLOSE c", "DECLARE h CURSOR WITH HOLD FOR SELECT a FROM r ORDER BY a", "FETCH 2 FROM h", "CLOSE ALL",
	"LISTEN c$C", "UNLISTEN *", "NOTIFY c$C, 'note %d'", "SELECT pg_advisory_lock($C, %d)", "SELECT pg_advisory_unlock($C, %d)", "SELECT pg_advisory_unlock_all()", "SELECT pg_try_advisory_xact_lock($C, %d)",
	"BEGIN; SELECT a FROM r WHERE a = 2; COMMIT", "INSERT INTO r VALUES (100, 'x'); SELECT 1/0", "SELECT count(*) FROM r; DELETE FROM r WHERE a = %d; SELECT count(*) FROM r", "SET TimeZone = 'UTC'; SELECT 1; SET TimeZone = 'Asia/Tokyo'",
	"DO $$ BEGIN RAISE NOTICE 'hello'; END $$", "SELECT repeat('x', %d000)", "SELECT a FROM r WHERE a = %d FOR UPDATE", "LOCK TABLE r", "TRUNCATE s", "SET statement_timeout = '1h'", "SHOW statement_timeout",
	"CREATE TEMP SEQUENCE q; SELECT nextval('q'); DROP SEQUENCE q",
}

// crowdPrograms generates a client's programs.
func crowdPrograms(client int) *rapid.Generator[[]wireUnit] {
	number := strconv.Itoa(client)
	simple := func(rt *rapid.T, u *wireUnit) {
		sql := rapid.SampledFrom(crowdTexts).Draw(rt, "sql")
		sql = strings.Replace(sql, "%d", strconv.Itoa(rapid.IntRange(1, 25).Draw(rt, "n")), 1)
		sql = strings.ReplaceAll(sql, "$C", number)
		u.bytes = wire.AppendQuery(u.bytes, sql)
		u.syncs++
		u.text = append(u.text, "Q "+sql)
	}
	unit := rapid.Custom(func(rt *rapid.T) wireUnit {
		var u wireUnit
		switch rapid.IntRange(0, 11).Draw(rt, "kind") {
		case 0, 1, 2, 3, 4, 5:
			simple(rt, &u)
		case 6: // several at once
			for range rapid.IntRange(2, 8).Draw(rt, "pipelined") {
				if rapid.Bool().Draw(rt, "simple") {
					simple(rt, &u)
				} else {
					u.addExtended(rt)
				}
			}
		case 7:
			u.addCopyIn(rt)
		default:
			u.addExtended(rt)
		}
		u.bytes = bytes.Clone(u.bytes)
		return u
	})
	return rapid.SliceOfN(unit, 5, 16)
}
