package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/admin"
	"github.com/freshet/freshet/proxy/wire"
)

// console connects the service user to the console. It speaks the simple protocol; params say otherwise.
func (i *instance) consoleOf(t testing.TB, c *cluster.Cluster) *pgx.Conn {
	return i.connect(t, c, admin.ConsoleDatabase, "&default_query_exec_mode=simple_protocol")
}

// sqlstate is the error's, or "" without one.
func sqlstate(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// rowsOf are the rows of a SHOW, each by the names of its columns.
func rowsOf(t testing.TB, conn *pgx.Conn, sql string) []map[string]any {
	t.Helper()
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToMap)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return list
}

// HAZARDS 28: who isn't named may not even be there, who may look may not act, and who may act is asked each time.
func TestHazard28ConsoleOnlyForThoseWhoMay(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	ctx := context.Background()
	for _, user := range []string{"console_ann", "console_ben", "console_cat"} {
		if err := c.CreateUser(ctx, user, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.AdminUsers, cfg.StatsUsers = []string{"console_ann"}, []string{"console_ben"}
	})
	url := func(user, password string) string {
		return "postgres://" + user + ":" + password + "@" + in.Addrs()[0] + "/freshet?sslmode=disable"
	}
	if pg := refused(t, url("console_cat", "secret")); pg == nil || pg.Code != "28000" || !strings.Contains(pg.Hint, "--admin-users") {
		t.Errorf("who isn't named: %+v", pg)
	}
	if pg := refused(t, url("postgres", c.Password())); pg == nil || pg.Code != "28000" {
		t.Errorf("the service user isn't named, either: %+v", pg)
	}
	for _, user := range []string{"console_ann", "console_cat", "console_dan"} {
		if pg := refused(t, url(user, "wrong")); pg == nil || pg.Code != "28P01" {
			t.Errorf("%s with a wrong password: %+v", user, pg)
		}
	}

	ann, ben := connectAs(t, in.Addrs()[0], "console_ann", "secret", "freshet"), connectAs(t, in.Addrs()[0], "console_ben", "secret", "freshet")
	for _, conn := range []*pgx.Conn{ann, ben} {
		if got := one(t, conn, "SHOW VERSION"); got != "Freshet "+buildVersion() {
			t.Error(got)
		}
	}
	do(t, ann, "FLUSH CACHE")
	for _, command := range commandsOf(t, ben) {
		_, err := ben.Exec(ctx, command)
		if sqlstate(err) != "42501" {
			t.Errorf("%s by one of --stats-users: %v", command, err)
		}
	}
	// RELOAD may have taken the right away.
	in.console.SetUsers([]string{"console_ben"}, nil)
	if _, err := ann.Exec(ctx, "SHOW VERSION"); sqlstate(err) != "42501" {
		t.Errorf("who isn't named any more: %v", err)
	}
	do(t, ben, "FLUSH CACHE")
}

// commandsOf are the commands that SHOW HELP lists for --admin-users, with something in the place of what can be left out.
func commandsOf(t *testing.T, conn *pgx.Conn) (list []string) {
	for _, row := range rowsOf(t, conn, "SHOW HELP") {
		if row["right"] == "--admin-users" {
			words := strings.Fields(strings.NewReplacer("[", "", "]", "", "database.schema.table", "a.b.c", "pid", "1").Replace(row["command"].(string)))
			list = append(list, strings.Join(words, " "))
		}
	}
	if len(list) < 2 {
		t.Fatalf("SHOW HELP lists %q", list)
	}
	return list
}

// TestConsoleFlushCache: nothing that was cached before is served afterwards; of a table, only what depends on it goes.
func TestConsoleFlushCache(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	db := c.NewDatabase(t)
	for _, ddl := range []string{
		`CREATE TABLE "T" (id int PRIMARY KEY, v int); INSERT INTO "T" VALUES (1, 10), (2, 20)`,
		`CREATE SCHEMA s CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO s.t VALUES (1, 10)`,
		`CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1, 10)`,
		`CREATE VIEW seen AS SELECT * FROM "T"; CREATE INDEX i ON s.t (v)`,
	} {
		if err := c.Primary().ExecIn(context.Background(), db, ddl); err != nil {
			t.Fatal(err)
		}
	}
	covered(t, c, in, db)
	sql := in.connect(t, c, db, "&default_query_exec_mode=simple_protocol")
	reads := map[string]string{ // and the table that each depends on
		`SELECT v FROM "T" WHERE id = 1`: "T", `SELECT count(*) FROM "T"`: "T", `SELECT v FROM seen WHERE id = 2`: "T",
		`SELECT v FROM s.t WHERE id = 1`: "t",
		`SELECT v FROM p WHERE id = 1`:   "p", `SELECT v FROM p1 WHERE id = 1`: "p",
	}
	console := in.consoleOf(t, c)
	flush := func(command string, gone ...string) {
		t.Helper()
		for read := range reads {
			cachedBy(t, sql, read)
		}
		tag, err := console.Exec(context.Background(), command)
		if err != nil || tag.String() != "FLUSH CACHE" {
			t.Errorf("%s: %v %v", command, tag, err)
		}
		for read, table := range reads {
			one(t, sql, read)
			hit := strings.HasPrefix(source(t, sql), "l1")
			if want := !slices.Contains(gone, table); hit != want {
				t.Errorf("after %s, %s is cached: %v; %s", command, read, hit, reason(t, sql))
			}
		}
	}
	flush("flush cache ;", "T", "t", "p")
	flush(`FLUSH CACHE "T"`, "T")
	flush(`FLUSH /* whose? */ CACHE S.T`, "t")
	flush("FLUSH CACHE "+db+".public.p", "p")
	flush("FLUSH CACHE; FLUSH CACHE", "T", "t", "p")
	for command, want := range map[string]string{
		"FLUSH CACHE t": "42P01", "FLUSH CACHE nowhere.s.t": "42P01", "FLUSH CACHE seen": "42809", "FLUSH CACHE s.i": "42809",
		"FLUSH": "42601", "FLUSH CACHE a b": "42601", "FLUSH CACHE a.b.c.d": "42601", "FLUSH CACHE a..b": "42602", `FLUSH CACHE "a`: "42601",
		"FLUSH CACHE; FLUSH CASH": "42601",
	} {
		for read := range reads {
			cachedBy(t, sql, read)
		}
		if _, err := console.Exec(context.Background(), command); sqlstate(err) != want {
			t.Errorf("%s: %v, not %s", command, err, want)
		}
		for read := range reads {
			if one(t, sql, read); !strings.HasPrefix(source(t, sql), "l1") {
				t.Errorf("%s has flushed %s", command, read)
			}
		}
	}
}

// TestConsoleSpeaksBothProtocols: what drivers, pools and tools say to a server of their own accord is answered, whichever way they say it.
func TestConsoleSpeaksBothProtocols(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	ctx := context.Background()
	for _, mode := range []string{"simple_protocol", "cache_statement", "cache_describe", "describe_exec", "exec"} {
		t.Run(mode, func(t *testing.T) {
			conn := in.connect(t, c, admin.ConsoleDatabase, "&default_query_exec_mode="+mode+"&application_name=tool")
			if err := conn.Ping(ctx); err != nil {
				t.Errorf("ping: %v", err)
			}
			for sql, want := range map[string]string{
				"SELECT 1": "1", "select  version()": "Freshet " + buildVersion() + " (console; PostgreSQL 14.0 protocol)", "SELECT pg_catalog.pg_is_in_recovery()": "false",
				"SELECT current_database()": "freshet", "select current_catalog": "freshet", "SELECT current_user": "postgres", "SELECT current_schema()": "<nil>",
				"SHOW TRANSACTION ISOLATION LEVEL": "read committed", "show transaction_isolation": "read committed", "SHOW client_encoding": "UTF8",
				"SHOW standard_conforming_strings": "on", "SHOW server_version_num": "140000", "SHOW TIME ZONE": "UTC",
				"SHOW VERSION;": "Freshet " + buildVersion(), "/* c */ show -- x\n version": "Freshet " + buildVersion(),
			} {
				if got := one(t, conn, sql); got != want {
					t.Errorf("%s: %s, not %s", sql, got, want)
				}
			}
			for sql, tag := range map[string]string{
				"SET extra_float_digits = 3": "SET", "SET client_encoding TO 'UTF8'": "SET", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE": "SET",
				"RESET ALL": "RESET", "CLOSE ALL": "CLOSE CURSOR ALL", "UNLISTEN *": "UNLISTEN", "": "", ";": "", "-- ping": "",
			} {
				if got, err := conn.Exec(ctx, sql); err != nil || got.String() != tag {
					t.Errorf("%s: %v, %v", sql, got, err)
				}
			}
			tx, err := conn.Begin(ctx)
			if err != nil || conn.PgConn().TxStatus() != 'T' {
				t.Fatal(err, conn.PgConn().TxStatus())
			}
			if _, err := tx.Exec(ctx, "SELECT * FROM pg_class"); sqlstate(err) != "42601" || conn.PgConn().TxStatus() != 'E' {
				t.Error(err, conn.PgConn().TxStatus())
			}
			if _, err := tx.Exec(ctx, "SHOW VERSION"); sqlstate(err) != "25P02" {
				t.Error(err)
			}
			if err := tx.Rollback(ctx); err != nil || conn.PgConn().TxStatus() != 'I' {
				t.Error(err, conn.PgConn().TxStatus())
			}
			// What drivers make savepoints for.
			for _, step := range []struct {
				sql, code string
				status    byte
			}{
				{"SAVEPOINT s", "25P01", 'I'}, {"ROLLBACK TO s", "25P01", 'I'}, {"BEGIN", "", 'T'}, {"SAVEPOINT s", "", 'T'}, {"nonsense", "42601", 'E'},
				{"SAVEPOINT t", "25P02", 'E'}, {"ROLLBACK TO SAVEPOINT s", "", 'T'}, {"RELEASE SAVEPOINT s", "", 'T'}, {"nonsense", "42601", 'E'},
				{"ROLLBACK TO s", "", 'T'}, {"SHOW VERSION", "", 'T'}, {"COMMIT", "", 'I'},
			} {
				if _, err := conn.Exec(ctx, step.sql); err != nil && sqlstate(err) != step.code || err == nil && step.code != "" || conn.PgConn().TxStatus() != step.status {
					t.Errorf("%s: %v, then %c", step.sql, err, conn.PgConn().TxStatus())
				}
			}
			// A failed transaction isn't committed.
			do(t, conn, "BEGIN")
			conn.Exec(ctx, "nonsense")
			if tag, err := conn.Exec(ctx, "COMMIT"); err != nil || tag.String() != "ROLLBACK" {
				t.Error(tag, err)
			}
			for sql, want := range map[string]string{
				"SELEC 1": `unknown command "SELEC"`, "SELECT c.relname FROM pg_catalog.pg_class c": "the console doesn't run SQL",
				"SHOW": "syntax error at end of command", "SHOW VERSION 1": `syntax error at or near "1"`, "SHOW NOTHING": "there is no SHOW NOTHING",
				"/* open": "unterminated /* comment", "SAVEPOINT": `unknown command "SAVEPOINT"`,
			} {
				_, err := conn.Exec(ctx, sql)
				var pg *pgconn.PgError
				if !errors.As(err, &pg) || pg.Code != "42601" || pg.Message != want || pg.Position == 0 || pg.Hint == "" && !strings.HasPrefix(sql, "/*") {
					t.Errorf("%s: %+v", sql, pg)
				}
			}
			if _, err := conn.Exec(ctx, "SHOW VERSION", pgx.QueryExecModeExec, 1); err == nil {
				t.Error("a parameter of a command that has none")
			}
			if r := conn.PgConn().ExecParams(ctx, "SHOW VERSION", [][]byte{[]byte("1")}, nil, nil, nil).Read(); sqlstate(r.Err) != "08P01" || conn.PgConn().IsClosed() {
				t.Errorf("a parameter of a command that has none: %v, closed: %v", r.Err, conn.PgConn().IsClosed())
			}
		})
	}
	t.Run("a string of several", func(t *testing.T) {
		conn := in.consoleOf(t, c).PgConn()
		results, err := conn.Exec(ctx, "BEGIN; SHOW VERSION; SELECT 1; COMMIT").ReadAll()
		if err != nil || len(results) != 4 || results[2].CommandTag.String() != "SELECT 1" {
			t.Errorf("%v, %v", results, err)
		}
		results, err = conn.Exec(ctx, "SHOW VERSION; nonsense").ReadAll()
		if sqlstate(err) != "42601" || len(results) != 0 {
			t.Errorf("of a string that can't be understood something was run: %v, %v", results, err)
		}
	})
	t.Run("reset of a pool", func(t *testing.T) {
		conn := in.connect(t, c, admin.ConsoleDatabase, "")
		one(t, conn, "SHOW VERSION") // prepared
		do(t, conn, "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;", pgx.QueryExecModeSimpleProtocol)
		do(t, conn, "DISCARD ALL", pgx.QueryExecModeSimpleProtocol)
		if err := conn.DeallocateAll(ctx); err != nil {
			t.Error(err)
		}
		one(t, conn, "SHOW VERSION")
	})
	t.Run("rows by and by", func(t *testing.T) {
		w := dialWire(t, ctx, in.Addrs()[0], admin.ConsoleDatabase, c.Password())
		help := len(rowsOf(t, in.consoleOf(t, c), "SHOW HELP"))
		msgs := wire.AppendBind(wire.AppendParse(nil, "s", "SHOW HELP"), "", "s", nil, nil, nil)
		msgs = wire.AppendExecute(msgs, "", uint32(help-1))
		w.send(t, wire.AppendSync(wire.AppendExecute(wire.AppendExecute(msgs, "", 0), "", 0)))
		got := w.replies(t, 1)
		if n := strings.Count(got, "D \""); n != help || !strings.Contains(got, "\ns \"\"\nD") || strings.Count(got, "C \"SHOW") != 2 {
			t.Errorf("%d rows of %d: %s", n, help, got)
		}
	})
	t.Run("psql", func(t *testing.T) {
		psql, err := c.Program("psql")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(psql, "-X", "-A", "-d", "postgres://postgres@"+in.Addrs()[0]+"/freshet?sslmode=disable", "-c", `\conninfo`, "-c", "show version;", "-c", `\d`)
		cmd.Env = append(os.Environ(), "PGPASSWORD="+c.Password(), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		for _, want := range []string{"Freshet " + buildVersion(), "(1 row)", "ERROR:  the console doesn't run SQL", "SHOW HELP lists the commands"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("no %q in %s (%v)", want, out, err)
			}
		}
	})
}

// TestConsoleEndsWithFreshet: a console's client is told when Freshet stops, and holds nothing up. (Before that, it can watch.)
func TestConsoleEndsWithFreshet(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	conn := in.consoleOf(t, c)
	began := time.Now()
	if err := in.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	_, err := conn.Exec(context.Background(), "SHOW VERSION")
	if sqlstate(err) != "57P01" {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestConsoleSurvivesGarbage: whatever a client sends, it gets an error, and nobody else notices.
func TestConsoleSurvivesGarbage(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	ctx := context.Background()
	for name, bytes := range map[string][]byte{
		"an unknown type":            {'!', 0, 0, 0, 4},
		"an impossible length":       {'Q', 0, 0, 0, 1},
		"too large a message":        {'Q', 0x7f, 0xff, 0xff, 0xff},
		"a query without an end":     {'Q', 0, 0, 0, 5, 'x'},
		"a Bind that ends early":     {'B', 0, 0, 0, 5, 0},
		"a Parse that ends early":    {'P', 0, 0, 0, 5, 'x'},
		"a password, out of the way": {'p', 0, 0, 0, 5, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := dialWire(t, ctx, in.Addrs()[0], admin.ConsoleDatabase, c.Password())
			w.send(t, bytes)
			if got := w.until(t, 'E'); !strings.Contains(got, "08P01") {
				t.Error(got)
			}
		})
	}
	if got := one(t, in.consoleOf(t, c), "SHOW VERSION"); got != fmt.Sprint("Freshet ", buildVersion()) {
		t.Error(got)
	}
}
