package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// TestHazard14OwnWritesByEveryWayOfWriting: whatever way a write takes, the next read of the session sees it, on the
// same connection and on another one of the same session_key, while both replicas stand still but are within the bound, and
// what was read before is in the cache.
func TestHazard14OwnWritesByEveryWayOfWriting(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 2})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, `CREATE TABLE k(a int PRIMARY KEY, v int); INSERT INTO k VALUES (1, 0);
		CREATE TABLE log(v int PRIMARY KEY);
		CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE k SET v = NEW.v; RETURN NEW; END';
		CREATE TRIGGER bump AFTER INSERT ON log FOR EACH ROW EXECUTE FUNCTION bump();
		CREATE VIEW w AS SELECT * FROM k;
		CREATE TABLE ruled(v int PRIMARY KEY); CREATE RULE r AS ON INSERT TO ruled DO INSTEAD UPDATE k SET v = NEW.v;
		CREATE FUNCTION put(int) RETURNS int LANGUAGE sql VOLATILE AS 'UPDATE k SET v = $1 RETURNING v';
		CREATE PROCEDURE store(int) LANGUAGE plpgsql AS 'BEGIN UPDATE k SET v = $1; COMMIT; RAISE EXCEPTION $m$after the commit$m$; END'`); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.MaxStaleness, cfg.RYWWindow = 5*time.Minute, 10*time.Minute
	})
	covered(t, c, in, cluster.App)
	const keyed = "&freshet.session_key=somebody"
	writer, reader := in.connect(t, c, cluster.App, keyed), in.connect(t, c, cluster.App, keyed)
	stranger := in.connect(t, c, cluster.App, "")
	const read, uncached = "SELECT v FROM k WHERE a = 1", "/* freshet: cache=off */ SELECT v FROM k WHERE a = 1"
	if got := one(t, stranger, uncached); got != "0" {
		t.Fatal(got)
	}
	for _, r := range c.Replicas() {
		if err := r.PauseReplay(ctx); err != nil {
			t.Fatal(err)
		}
	}
	simple := func(conn *pgx.Conn, sql string) error {
		_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		return err
	}
	must := func(conn *pgx.Conn, sql string, args ...any) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	fails := func(conn *pgx.Conn, sql string) {
		t.Helper()
		if err := simple(conn, sql); err == nil {
			t.Fatalf("%s: no error", sql)
		}
	}
	last := 0
	for _, way := range []struct {
		name  string
		write func(v int)
	}{
		{"simple", func(v int) { must(writer, fmt.Sprintf("UPDATE k SET v = %d", v), pgx.QueryExecModeSimpleProtocol) }},
		{"extended", func(v int) { must(writer, "UPDATE k SET v = $1", v) }},
		{"prepared by name", func(v int) {
			if _, err := writer.Prepare(ctx, "put", "UPDATE k SET v = $1"); err != nil {
				t.Fatal(err)
			}
			must(writer, "put", v)
		}},
		{"PREPARE and EXECUTE", func(v int) {
			must(writer, fmt.Sprintf("PREPARE p%d(int) AS UPDATE k SET v = $1", v))
			must(writer, fmt.Sprintf("EXECUTE p%d(%d)", v, v))
			must(writer, fmt.Sprintf("DEALLOCATE p%d", v))
		}},
		{"a transaction", func(v int) {
			must(writer, "BEGIN")
			must(writer, "UPDATE k SET v = -1")
			must(writer, "UPDATE k SET v = $1", v)
			must(writer, "COMMIT")
		}},
		{"a transaction that goes back to a savepoint", func(v int) {
			must(writer, "BEGIN")
			must(writer, "UPDATE k SET v = $1", v)
			must(writer, "SAVEPOINT s")
			must(writer, "UPDATE k SET v = -1")
			must(writer, "ROLLBACK TO s")
			must(writer, "COMMIT")
		}},
		{"a transaction that has read first", func(v int) {
			must(writer, "BEGIN")
			one(t, writer, read)
			must(writer, "UPDATE k SET v = $1", v)
			must(writer, "COMMIT AND CHAIN")
			one(t, writer, read)
			must(writer, "ROLLBACK")
		}},
		{"a function", func(v int) { one(t, writer, "SELECT put($1)", v) }},
		{"a CTE", func(v int) { one(t, writer, "WITH u AS (UPDATE k SET v = $1 RETURNING v) SELECT max(v) FROM u", v) }},
		{"a view", func(v int) { must(writer, "UPDATE w SET v = $1", v) }},
		{"a rule", func(v int) { must(writer, "INSERT INTO ruled VALUES ($1)", v) }},
		{"a trigger", func(v int) { must(writer, "INSERT INTO log VALUES ($1)", v) }},
		{"COPY", func(v int) {
			if _, err := writer.PgConn().CopyFrom(ctx, strings.NewReader(fmt.Sprintf("%d\n", v)), "COPY log FROM STDIN"); err != nil {
				t.Fatal(err)
			}
		}},
		{"DO", func(v int) { must(writer, fmt.Sprintf("DO 'BEGIN UPDATE k SET v = %d; END'", v)) }},
		{"several statements", func(v int) {
			if err := simple(writer, fmt.Sprintf("SELECT 1; UPDATE k SET v = %d; SELECT 2", v)); err != nil {
				t.Fatal(err)
			}
		}},
		{"several statements that fail after a commit", func(v int) {
			fails(writer, fmt.Sprintf("BEGIN; UPDATE k SET v = %d; COMMIT; SELECT 1/0", v))
		}},
		{"a procedure that fails after a commit", func(v int) { fails(writer, fmt.Sprintf("CALL store(%d)", v)) }},
		{"a pipeline", func(v int) {
			b := &pgx.Batch{}
			b.Queue("SELECT 1")
			b.Queue("UPDATE k SET v = $1", v)
			b.Queue("SELECT 2")
			if err := writer.SendBatch(ctx, b).Close(); err != nil {
				t.Fatal(err)
			}
		}},
		{"two-phase commit", func(v int) {
			must(writer, "BEGIN")
			must(writer, "UPDATE k SET v = $1", v)
			must(writer, fmt.Sprintf("PREPARE TRANSACTION 'x%d'", v))
			one(t, writer, read)
			one(t, reader, read)
			must(writer, fmt.Sprintf("COMMIT PREPARED 'x%d'", v))
		}},
		{"on a session that is bound", func(v int) {
			bound := in.connect(t, c, cluster.App, keyed)
			must(bound, "CREATE TEMP TABLE mine(a int)")
			must(bound, "UPDATE k SET v = $1", v)
			must(bound, "DISCARD ALL")
		}},
		{"with a notification for the reader", func(v int) {
			must(reader, "LISTEN news")
			must(writer, "BEGIN")
			must(writer, "UPDATE k SET v = $1", v)
			must(writer, "NOTIFY news")
			committed := make(chan error, 1)
			go func() {
				_, err := writer.Exec(ctx, "COMMIT")
				committed <- err
			}()
			if _, err := reader.WaitForNotification(ctx); err != nil {
				t.Fatal(err)
			}
			if got := one(t, reader, read); got != fmt.Sprint(v) {
				t.Errorf("after the notification of %d: %s", v, got)
			}
			if err := <-committed; err != nil {
				t.Fatal(err)
			}
			must(reader, "UNLISTEN *")
		}},
		{"by a connection that is lost with its server's", func(v int) {
			lost := in.connect(t, c, cluster.App, keyed)
			fails(lost, fmt.Sprintf("BEGIN; UPDATE k SET v = %d; COMMIT; SELECT pg_terminate_backend(pg_backend_pid())", v))
		}},
		{"by a connection that has gone", func(v int) {
			gone := in.connect(t, c, cluster.App, keyed)
			must(gone, "UPDATE k SET v = $1", v)
			gone.Close(ctx)
		}},
		{"by DDL", func(v int) {
			must(writer, fmt.Sprintf("DROP VIEW w; DROP TABLE ruled; ALTER TABLE k ALTER v TYPE int USING %d", v), pgx.QueryExecModeSimpleProtocol)
		}},
	} {
		last++
		// What is to be found wrong must be there to be found.
		one(t, stranger, read)
		way.write(last)
		for _, sql := range []string{read, uncached, read} {
			for name, conn := range map[string]*pgx.Conn{"the same connection": writer, "another of the same key": reader} {
				for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
					if got := one(t, conn, sql, mode); got != fmt.Sprint(last) {
						t.Errorf("%s: %s reads %s from %s after %d was written: %s", way.name, name, got, source(t, conn), last, sql)
					}
				}
			}
		}
		if got := one(t, stranger, uncached); got != "0" {
			t.Fatalf("the replicas have moved: %s", got)
		}
	}
}
