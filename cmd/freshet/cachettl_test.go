package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func reason(t testing.TB, conn *pgx.Conn) string {
	t.Helper()
	return one(t, conn, "SHOW freshet.reason")
}

// TestCacheTTLCachesWhatTheWALCannotWatch: for who asks for it, and nobody else; and for no longer than it is right that a session
// knows of: what it writes itself, what the feed sees, and what it may read.
func TestCacheTTLCachesWhatTheWALCannotWatch(t *testing.T) {
	d := newCatalogDatabase(t, `CREATE TABLE covered (id int PRIMARY KEY, v int); INSERT INTO covered VALUES (1, 1);
		CREATE TABLE keyless (v int); CREATE UNLOGGED TABLE unlogged (v int); CREATE SEQUENCE s;
		INSERT INTO keyless VALUES (1); INSERT INTO unlogged VALUES (1);
		GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON SEQUENCE s TO app`)
	asks := connectAs(t, d.in.Addrs()[0], "app", d.c.AppPassword(), d.name)
	do(t, asks, "SET freshet.cache_ttl = '1h'")
	other := connectAs(t, d.in.Addrs()[0], "app", d.c.AppPassword(), d.name)
	// cached reads until the answer comes from the cache.
	cached := func(sql string) (answer string) {
		t.Helper()
		missed := ""
		eventually(t, "cached: "+sql, func() bool {
			answer = said(asks, sql)
			if source(t, asks) == "l1" {
				return true
			}
			missed = reason(t, asks)
			return false
		})
		if missed != "" && !strings.HasPrefix(missed, "stored for 1h by freshet.cache_ttl: ") {
			t.Errorf("%s: %s", sql, missed)
		}
		if why := reason(t, asks); why != "cached for 1h by freshet.cache_ttl" {
			t.Errorf("%s: %s", sql, why)
		}
		return answer
	}
	for _, sql := range []string{
		"SELECT * FROM keyless",
		"SELECT * FROM unlogged",
		"SELECT count(*) FROM pg_class",
		"SELECT now()",
		"SELECT 'now'::text::timestamptz",
		"SELECT last_value FROM s",
		"SELECT pg_relation_size('keyless')",
		"SELECT count(*) > 0 FROM pg_stat_activity",
		"SELECT k.v + c.v FROM keyless k, covered c",
	} {
		said(d.through, sql)
		said(d.through, sql)
		if from := source(t, d.through); from == "l1" {
			t.Errorf("%s: cached for who didn't ask for it", sql)
		}
		cached(sql)
		said(d.through, sql)
		if from := source(t, d.through); from == "l1" {
			t.Errorf("%s: given to who didn't ask for it", sql)
		}
		d.cached(t, "/* freshet: cache_ttl=1h */ "+sql)
		do(t, other, "SET freshet.cache_ttl = '2h'")
		eventually(t, "shared with another who asks for it: "+sql, func() bool {
			answer := cached(sql)
			return said(other, sql) == answer && source(t, other) == "l1"
		})
		do(t, other, "SET freshet.cache_ttl = '1us'")
		if said(other, sql); source(t, other) == "l1" {
			t.Errorf("%s: older than it may be", sql)
		}
		do(t, other, "RESET freshet.cache_ttl")
		if said(other, sql); source(t, other) == "l1" {
			t.Errorf("%s: given to who doesn't ask for it any more", sql)
		}
		do(t, asks, "SET freshet.consistency = strong")
		if said(asks, sql); source(t, asks) == "l1" {
			t.Errorf("%s: a strong read is cached for a time", sql)
		}
		do(t, asks, "RESET freshet.consistency")
	}

	// Nothing tells of a change of what isn't watched.
	before := cached("SELECT * FROM keyless")
	d.exec(t, "INSERT INTO keyless VALUES (2)")
	if got := said(asks, "SELECT * FROM keyless"); source(t, asks) == "l1" && got != before {
		t.Errorf("after a change past Freshet: %s, before %s", got, before)
	}
	// But a session sees what it has written itself, whatever that was.
	for range 10 {
		do(t, asks, "UPDATE keyless SET v = v + 1")
		if got, want := said(asks, "SELECT * FROM keyless"), said(d.direct, "SELECT * FROM keyless"); got != want {
			t.Fatalf("after its own write: %s from %s, not %s", got, source(t, asks), want)
		}
		cached("SELECT * FROM keyless")
	}
	// What is watched counts as ever.
	joined := "SELECT k.v + c.v FROM keyless k, covered c WHERE k.v > 5"
	for i := range 5 {
		cached(joined)
		d.exec(t, "UPDATE covered SET v = v + 100")
		d.seen(t)
		if got, want := said(asks, joined), said(d.direct, joined); got != want {
			t.Fatalf("%d: after a change of a table that is covered: %s from %s, not %s", i, got, source(t, asks), want)
		}
	}

	// Never: what isn't merely read.
	for _, sql := range []string{"SELECT nextval('s')", "SELECT random()", "SELECT gen_random_uuid()", "SELECT clock_timestamp()"} {
		if a, b := said(asks, sql), said(asks, sql); a == b || source(t, asks) == "l1" {
			t.Errorf("%s: %s, then %s from %s", sql, a, b, source(t, asks))
		}
	}
	do(t, asks, "BEGIN")
	if said(asks, "SELECT * FROM unlogged"); source(t, asks) == "l1" {
		t.Error("cached for a time inside of a transaction")
	}
	do(t, asks, "ROLLBACK")

	// What may no longer be read isn't given from the cache.
	cached("SELECT * FROM unlogged")
	d.exec(t, "REVOKE SELECT ON unlogged FROM app")
	d.seen(t)
	if got := said(asks, "SELECT * FROM unlogged"); got != "error 42501" {
		t.Errorf("after REVOKE: %s", got)
	}
}

// TestCacheTTLByTheWire: the same with the extended protocol, asked for with the connection and by a role's default.
func TestCacheTTLByTheWire(t *testing.T) {
	d := newCatalogDatabase(t, "CREATE TABLE keyless (v int); INSERT INTO keyless VALUES (1)")
	conn := d.in.connect(t, d.c, d.name, "&options=-c%20freshet.cache_ttl%3D1h")
	for _, arg := range []int{0, 5} {
		if got := cachedBy(t, conn, "SELECT count(*) FROM keyless WHERE v > $1", arg); got != map[int]string{0: "1", 5: "0"}[arg] {
			t.Errorf("%d: %s", arg, got)
		}
	}
	d.exec(t, "ALTER ROLE app IN DATABASE "+d.name+" SET freshet.cache_ttl = '1h'")
	eventually(t, "the role's default", func() bool {
		through := connectAs(t, d.in.Addrs()[0], "app", d.c.AppPassword(), d.name)
		defer through.Close(context.Background())
		return one(t, through, "SHOW freshet.cache_ttl") == "1h"
	})
}

// TestCacheTTLOfTheProxy: with --cache-ttl an answer expires that nothing has made stale, and nobody may ask for more.
func TestCacheTTLOfTheProxy(t *testing.T) {
	const ttl = 200 * time.Millisecond
	d := newCatalogDatabase(t, "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1); CREATE TABLE keyless (v int)",
		func(cfg *ServeConfig) { cfg.CacheTTL = ttl })
	do(t, d.through, "SET freshet.cache_ttl = '1h'")
	for _, sql := range []string{"SELECT v FROM t", "SELECT count(*) FROM keyless"} {
		d.cached(t, sql)
		time.Sleep(ttl + time.Millisecond) // it was stored before
		if said(d.through, sql); source(t, d.through) == "l1" {
			t.Errorf("%s: it has not expired", sql)
		}
	}
}
