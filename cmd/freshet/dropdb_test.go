package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

// database makes a database for a test, past Freshet, with a table and what freshet setup makes, and drops it at the end.
func database(t *testing.T, c *cluster.Cluster, name string) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	direct, err := pgx.Connect(ctx, c.Primary().URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	must(t, direct, "CREATE DATABASE "+name)
	t.Cleanup(func() {
		for _, n := range []string{name, name + "_2"} {
			await(t, "the server has noticed that Freshet is gone", func() bool {
				_, err := direct.Exec(ctx, "DROP DATABASE IF EXISTS "+n+" WITH (FORCE)")
				return err == nil
			})
		}
		direct.Close(ctx)
	})
	in, err := pgx.Connect(ctx, c.Primary().URL(name))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close(ctx)
	must(t, in, "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'one'); CREATE PUBLICATION freshet FOR TABLE t")
	return direct
}

func must(t testing.TB, c *pgx.Conn, sql string) {
	t.Helper()
	if _, err := c.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// await waits until fn is true.
func await(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !fn(); time.Sleep(10 * time.Millisecond) { // it is asked again and again
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// warm connects to a database through Freshet and reads until the answer is cached: then Freshet holds whatever it ever holds there.
func warm(t *testing.T, c *cluster.Cluster, in *instance, name, want string) *pgx.Conn {
	t.Helper()
	conn := in.connect(t, c, name, "&freshet.consistency=strong") // what was written past Freshet, or by others, is there
	var source, reason string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s: source %q, reason %q, databases %+v", name, source, reason, in.databases.Status())
		}
	})
	await(t, "the answer is cached", func() bool {
		var got string
		if err := conn.QueryRow(context.Background(), "SELECT name FROM t WHERE id = 1").Scan(&got); err != nil || got != want {
			t.Fatalf("%q, %v", got, err)
		}
		if err := conn.QueryRow(context.Background(), "SHOW freshet.source").Scan(&source); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(context.Background(), "SHOW freshet.reason").Scan(&reason); err != nil {
			t.Fatal(err)
		}
		return source == "l1"
	})
	return conn
}

func hangUp(t testing.TB, c *pgx.Conn) {
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// vacatings are the statements that need a database for themselves.
var vacatings = []struct{ name, sql, back string }{
	{"drop", "DROP DATABASE %s", ""},
	{"rename", "ALTER DATABASE %s RENAME TO %[1]s_2", "ALTER DATABASE %s_2 RENAME TO %[1]s"},
	{"roll a renaming back", "BEGIN; ALTER DATABASE %s RENAME TO %[1]s_2; ROLLBACK", ""},
	{"copy", "CREATE DATABASE %s_2 TEMPLATE %[1]s", "DROP DATABASE %s_2"},
	{"copy by a string", "CREATE DATABASE %s_2 TEMPLATE '%[1]s'", "DROP DATABASE %s_2"},
	{"move", "ALTER DATABASE %s SET TABLESPACE pg_default", ""},
	{"fail", "ALTER DATABASE %s SET TABLESPACE nowhere", ""},
}

func TestDatabaseIsGivenUpForStatementsThatNeedIt(t *testing.T) {
	c := shared.Get(t)
	const name = "vacant"
	database(t, c, name)
	in := startTestServer(t, c, nil)
	admin := in.connect(t, c, "postgres", "")
	for i, v := range vacatings[1:] {
		t.Run(v.name, func(t *testing.T) {
			hangUp(t, warm(t, c, in, name, "one"))
			way := []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeDescribeExec}[i%2]
			if v.sql[0] == 'B' {
				way = pgx.QueryExecModeSimpleProtocol
			}
			if _, err := admin.Exec(context.Background(), fmt.Sprintf(v.sql, name), way); (err != nil) != (v.name == "fail") {
				t.Fatal(err)
			}
			if v.back != "" {
				must(t, admin, fmt.Sprintf(v.back, name))
			}
		})
	}
	hangUp(t, warm(t, c, in, name, "one"))
	must(t, admin, fmt.Sprintf(vacatings[0].sql, name))
	_, err := pgx.Connect(context.Background(), "postgres://postgres:"+c.Password()+"@"+in.Addrs()[0]+"/"+name+"?sslmode=disable")
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "3D000" {
		t.Fatalf("connecting to a dropped database: %v", err)
	}
}

func TestDatabaseWithClientsIsInUseAsOnPostgres(t *testing.T) {
	c := shared.Get(t)
	const name = "peopled"
	database(t, c, name)
	in := startTestServer(t, c, nil)
	client := warm(t, c, in, name, "one")
	other, err := pgx.Connect(context.Background(), c.Primary().URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	admin := in.connect(t, c, "postgres", "")
	stay, err := pgx.Connect(context.Background(), c.Primary().URL(name))
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin.Exec(context.Background(), "ALTER DATABASE peopled RENAME TO peopled_2")
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "55006" || pg.Detail != "There are 2 other sessions using the database." {
		t.Fatalf("%v %+v", err, pg)
	}
	hangUp(t, stay)
	// One that goes while Postgres waits.
	done := make(chan error, 1)
	go func() {
		_, err := admin.Exec(context.Background(), "DROP DATABASE peopled")
		done <- err
	}()
	await(t, "the statement waits", func() bool {
		var n int
		err := other.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE query = 'DROP DATABASE peopled' AND state = 'active'").Scan(&n)
		return err == nil && n == 1
	})
	hangUp(t, client)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Statements that came before anything was known of the catalog bind their session to its server connection only until it is.
func TestHazard06WhatWasPlannedWithoutTheCatalogIsJudgedWithIt(t *testing.T) {
	c := shared.Get(t)
	const name = "unknown_yet"
	database(t, c, name)
	in := startTestServer(t, c, nil)
	ctx := context.Background()
	reader, keeper := warm(t, c, in, name, "one"), warm(t, c, in, name, "one")
	in.databases.Vacate(ctx, name)
	in.databases.Made(name)
	for conn, sql := range map[*pgx.Conn]string{reader: "SELECT name AS n FROM t WHERE id = 1", keeper: "CREATE TEMP TABLE kept AS SELECT 1 AS one"} {
		must(t, conn, sql)
		var reason string
		if err := conn.QueryRow(ctx, "SHOW freshet.reason").Scan(&reason); err != nil || !strings.HasPrefix(reason, "session is bound") {
			t.Fatalf("%s, %v: it was planned by a catalog that isn't there", reason, err)
		}
	}
	in.databases.Return(name, false)
	await(t, "the session isn't bound any more", func() bool {
		var reason string
		must(t, reader, "SELECT name FROM t WHERE id = 1")
		if err := reader.QueryRow(ctx, "SHOW freshet.reason").Scan(&reason); err != nil {
			t.Fatal(err)
		}
		return reason == "cached"
	})
	for range 3 {
		must(t, keeper, "SELECT one FROM kept")
	}
}

// A database that is made by the name of one that there was must not be answered for from what was cached of that.
func TestHazard09ADatabaseOfTheSameNameIsAnother(t *testing.T) {
	c := shared.Get(t)
	const name = "again"
	database(t, c, name)
	in := startTestServer(t, c, nil)
	for round := range 2 {
		want := fmt.Sprint("round ", round)
		admin := in.connect(t, c, "postgres", "")
		client := in.connect(t, c, name, "")
		must(t, client, "UPDATE t SET name = '"+want+"'")
		hangUp(t, client)
		hangUp(t, warm(t, c, in, name, want))
		must(t, admin, "CREATE DATABASE again_2 TEMPLATE again")
		must(t, admin, "DROP DATABASE again")
		must(t, admin, "ALTER DATABASE again_2 RENAME TO again")
		past, err := pgx.Connect(context.Background(), c.Primary().URL(name))
		if err != nil {
			t.Fatal(err)
		}
		must(t, past, "UPDATE t SET name = 'another'")
		hangUp(t, past)
		hangUp(t, warm(t, c, in, name, "another"))
		hangUp(t, admin)
	}
}

func TestDatabaseDroppedByForceDisconnectsItsClients(t *testing.T) {
	c := shared.Get(t)
	const name = "forced"
	database(t, c, name)
	in := startTestServer(t, c, nil)
	idle := warm(t, c, in, name, "one")
	busy := warm(t, c, in, name, "one")
	must(t, busy, "BEGIN")
	must(t, busy, "UPDATE t SET name = 'two'")
	admin := in.connect(t, c, "postgres", "")
	must(t, admin, "DROP DATABASE forced WITH (FORCE)")
	for what, conn := range map[string]*pgx.Conn{"idle": idle, "busy": busy} {
		_, err := conn.Exec(context.Background(), "SELECT name FROM t WHERE id = 1", pgx.QueryExecModeSimpleProtocol)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "57P01" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDatabaseThatNobodyUsesIsLeftAlone(t *testing.T) {
	c := shared.Get(t)
	const name = "lonely"
	direct := database(t, c, name)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.DatabaseIdleTimeout = 50 * time.Millisecond })
	hangUp(t, warm(t, c, in, name, "one"))
	await(t, "nobody is connected to it", func() bool {
		var n int
		err := direct.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name).Scan(&n)
		return err == nil && n == 0
	})
	must(t, direct, "DROP DATABASE lonely")
	must(t, direct, "CREATE DATABASE lonely")
}
