package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

// TestLevelsAreChosenInEveryWay: flag, ALTER ROLE, connection, SET, SET LOCAL, hint, each over the one before.
func TestLevelsAreChosenInEveryWay(t *testing.T) {
	c := shared.Get(t)
	ctx := context.Background()
	db := c.NewDatabase(t)
	if err := c.CreateUser(ctx, "strict_"+db, "secret"); err != nil {
		t.Fatal(err)
	}
	if err := c.Primary().ExecIn(ctx, db, `ALTER ROLE "strict_`+db+`" SET freshet.consistency = 'strong';
		ALTER ROLE "strict_`+db+`" SET freshet.max_staleness = '700ms'`); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.Consistency = "eventual"; cfg.MaxStaleness = 3 * time.Second })
	show := func(conn *pgx.Conn, name, want string) {
		t.Helper()
		if got := one(t, conn, "SHOW freshet."+name); got != want {
			t.Errorf("freshet.%s is %s, want %s", name, got, want)
		}
	}
	conn := in.connect(t, c, db, "")
	show(conn, "consistency", "eventual")
	show(conn, "max_staleness", "3s")
	show(conn, "cache_ttl", "0us")
	do(t, conn, "SET freshet.consistency = 'strong'")
	do(t, conn, "SET freshet.max_staleness = '1500 ms'")
	do(t, conn, "SET freshet.cache_ttl TO '2min'")
	show(conn, "consistency", "strong")
	show(conn, "max_staleness", "1500ms")
	show(conn, "cache_ttl", "2min")
	do(t, conn, "SET freshet.max_staleness = '1h'")
	show(conn, "max_staleness", "3s") // no more than --max-staleness
	do(t, conn, "BEGIN")
	do(t, conn, "SET LOCAL freshet.consistency = session")
	show(conn, "consistency", "session")
	do(t, conn, "COMMIT")
	show(conn, "consistency", "strong")
	do(t, conn, "RESET freshet.consistency")
	show(conn, "consistency", "eventual")
	for _, wrong := range []string{"SET freshet.consistency = 'serializable'", "SET freshet.max_staleness = '5'", "SET freshet.cache_ttl = 'soon'"} {
		_, err := conn.Exec(ctx, wrong)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "22023" || pg.Hint == "" {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	show(in.connect(t, c, db, "&freshet.consistency=session"), "consistency", "session")
	show(in.connect(t, c, db, "&options=-c%20freshet.consistency%3Dstrong"), "consistency", "strong")
	role, err := pgx.Connect(ctx, "postgres://strict_"+db+":secret@"+in.Addrs()[0]+"/"+db+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer role.Close(ctx)
	show(role, "consistency", "strong")
	show(role, "max_staleness", "700ms")
}

// TestEventualReadsStayOnReplicasWhateverWasWritten: the bound alone counts; and for one statement a session can ask for more.
func TestEventualReadsStayOnReplicasWhateverWasWritten(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0)"); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Cache = "off"
		cfg.MaxStaleness = 5 * time.Minute
		cfg.RYWWindow = 10 * time.Minute
	})
	conn := in.connect(t, c, cluster.App, simpleProtocol+"&freshet.consistency=eventual")
	const read = "SELECT v FROM k WHERE a = 1"
	eventually(t, "a replica answers", func() bool {
		one(t, conn, read)
		return strings.HasPrefix(source(t, conn), "replica ")
	})
	if err := c.Replicas()[0].PauseReplay(ctx); err != nil {
		t.Fatal(err)
	}
	do(t, conn, "UPDATE k SET v = 1")
	if got := one(t, conn, read); got != "0" || !strings.HasPrefix(source(t, conn), "replica ") {
		t.Errorf("eventual: %s from %s", got, source(t, conn))
	}
	for _, level := range []string{"session", "strong"} {
		if got := one(t, conn, "/* freshet: consistency="+level+" */ "+read); got != "1" {
			t.Errorf("%s: %s from %s, though 1 was written", level, got, source(t, conn))
		}
	}
	// A stricter bound than the flag's.
	do(t, conn, "SET freshet.max_staleness = '100ms'")
	eventually(t, "the replica is too stale", func() bool { return one(t, conn, read) == "1" })
	if got := one(t, conn, "/* freshet: max_staleness=5min */ "+read); got != "0" {
		t.Errorf("a wider bound for one statement: %s from %s", got, source(t, conn))
	}
}
