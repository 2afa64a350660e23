// pgx: its pool, its statement cache in every mode, batches, COPY, LISTEN, cancel by context.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		fmt.Println("unexpected:", err)
		os.Exit(1)
	}
}

// code is an error's SQLSTATE.
func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return fmt.Sprint(err)
}

func connect(params string) *pgx.Conn {
	conn, err := pgx.Connect(ctx, params)
	must(err)
	return conn
}

type querier interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}

func one[T any](q querier, sql string, args ...any) (v T) {
	must(q.QueryRow(ctx, sql, args...).Scan(&v))
	return v
}

func main() {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		conn := connect("default_query_exec_mode=" + mode)
		fmt.Println("== mode", mode)
		queries(conn)
		transactions(conn)
		state(conn)
		must(conn.Close(ctx))
	}
	conn := connect("")
	fmt.Println("== types")
	types(conn)
	fmt.Println("== batches")
	batches(conn)
	fmt.Println("== pipeline")
	pipeline(conn)
	fmt.Println("== copy")
	copies(conn)
	fmt.Println("== cancel")
	cancel(conn)
	fmt.Println("== notify")
	notify(conn)
	fmt.Println("== big")
	big(conn)
	must(conn.Close(ctx))
	fmt.Println("== concurrent")
	concurrent()
}

func queries(conn *pgx.Conn) {
	fmt.Println(one[string](conn, "SELECT 'plain'"))
	for i := range 5 {
		fmt.Print(one[string](conn, "SELECT owner FROM accounts WHERE id = $1", i+1), " ")
	}
	fmt.Println()
	for i := range 20 {
		tag, err := conn.Exec(ctx, "UPDATE accounts SET balance = $2 WHERE id = $1", 50, i)
		must(err)
		if got := one[int64](conn, "SELECT balance FROM accounts WHERE id = $1", 50); got != int64(i) || tag.RowsAffected() != 1 {
			fmt.Println("own write not read:", got, "instead of", i)
		}
	}
	rows, err := conn.Query(ctx, "SELECT id, owner, balance FROM accounts WHERE id = ANY($1) ORDER BY id", []int32{3, 1, 2})
	must(err)
	list, err := pgx.CollectRows(rows, pgx.RowToMap)
	must(err)
	fmt.Println(list)
	for _, sql := range []string{"SELECT nothing", "SELECT 1/0", "INSERT INTO accounts VALUES (1, 'x', 1)", "SELEC", "SELECT * FROM nowhere"} {
		_, err := conn.Exec(ctx, sql)
		fmt.Print(code(err), " ")
	}
	fmt.Println(one[int32](conn, "SELECT 2"))
}

func transactions(conn *pgx.Conn) {
	balance := func(q querier) int64 { return one[int64](q, "SELECT balance FROM accounts WHERE id = 60") }
	before := balance(conn)
	tx, err := conn.Begin(ctx)
	must(err)
	_, err = tx.Exec(ctx, "UPDATE accounts SET balance = balance + 1 WHERE id = 60")
	must(err)
	inner, err := tx.Begin(ctx) // a savepoint
	must(err)
	_, err = inner.Exec(ctx, "UPDATE accounts SET balance = 0 WHERE id = 60")
	must(err)
	_, err = inner.Exec(ctx, "SELECT 1/0")
	fmt.Print(code(err), " ")
	must(inner.Rollback(ctx))
	fmt.Print(balance(tx)-before, " ")
	must(tx.Rollback(ctx))
	fmt.Print(balance(conn)-before, " ")
	for _, o := range []pgx.TxOptions{{IsoLevel: pgx.Serializable}, {IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, {AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable}} {
		tx, err := conn.BeginTx(ctx, o)
		must(err)
		_ = balance(tx)
		_, err = tx.Exec(ctx, "UPDATE accounts SET balance = balance + 1 WHERE id = 60")
		if err != nil {
			fmt.Print(code(err), " ")
			must(tx.Rollback(ctx))
			continue
		}
		must(tx.Commit(ctx))
	}
	fmt.Println(balance(conn) - before)
}

func state(conn *pgx.Conn) {
	exec := func(sql string) {
		_, err := conn.Exec(ctx, sql)
		must(err)
	}
	exec("SET TimeZone = 'Asia/Tokyo'")
	exec("SET search_path = pg_catalog, public")
	fmt.Println(one[string](conn, "SELECT current_setting('TimeZone') || current_setting('search_path') || ('2024-01-01 00:00+00'::timestamptz)::text"))
	exec("RESET search_path")
	exec("CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i")
	fmt.Println(one[int64](conn, "SELECT sum(i) FROM t"))
	exec("DROP TABLE t")
	fmt.Println(one[bool](conn, "SELECT pg_try_advisory_lock(42)"), one[bool](conn, "SELECT pg_advisory_unlock(42)"), one[bool](conn, "SELECT pg_advisory_unlock(42)"))
	fmt.Println(one[string](conn, "SELECT set_config('app.tenant', 'seven', false)"), one[string](conn, "SELECT current_setting('app.tenant')"))
}

func types(conn *pgx.Conn) {
	_, err := conn.Exec(ctx, `CREATE TABLE types(id int PRIMARY KEY, b bool, i2 smallint, i8 bigint, f4 real, f8 double precision, n numeric, t text, v varchar(10), y bytea,
		d date, ts timestamp, tz timestamptz, iv interval, u uuid, j json, jb jsonb, a int[], ta text[], r int4range, ip inet, e point)`)
	must(err)
	_, err = conn.Exec(ctx, `INSERT INTO types VALUES ($1, true, -2, 9007199254740993, 1.5, 0.1, 123456789012345678901234567890.123456789, 'täxt', 'v', '\xdeadbeef',
		'2024-02-29', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56+02', '1 year 2 mons 3 days 04:05:06', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
		'{"a": [1, 2]}', '{"b": null}', '{1,2,NULL}', '{"x y","z"}', '[1,10)', '10.0.0.1/8', '(1,2)')`, 1)
	must(err)
	_, err = conn.Exec(ctx, "INSERT INTO types(id) VALUES ($1)", 2)
	must(err)
	for _, format := range []int16{pgtype.TextFormatCode, pgtype.BinaryFormatCode} {
		for range 3 { // perhaps from the cache
			res := conn.PgConn().ExecParams(ctx, "SELECT * FROM types ORDER BY id", nil, nil, nil, []int16{format}).Read()
			must(res.Err)
			for _, row := range res.Rows {
				fmt.Printf("%x\n", row)
			}
		}
	}
	var t time.Time
	var n pgtype.Numeric
	must(conn.QueryRow(ctx, "SELECT tz, n FROM types WHERE id = $1", 1).Scan(&t, &n))
	fmt.Println(t.UTC(), n.Int, n.Exp)
}

func batches(conn *pgx.Conn) {
	b := &pgx.Batch{}
	b.Queue("CREATE TABLE batch(i int PRIMARY KEY)")
	for i := range 20 {
		b.Queue("INSERT INTO accounts VALUES ($1, 'batch', 0)", 1000+i)
	}
	b.Queue("SELECT count(*) FROM accounts WHERE owner = 'batch'")
	res := conn.SendBatch(ctx, b)
	for range 21 {
		_, err := res.Exec()
		must(err)
	}
	fmt.Println(one[int64](batchRow{res}, ""))
	must(res.Close())

	b = &pgx.Batch{} // one that fails in the middle: all of it is undone
	b.Queue("INSERT INTO batch VALUES (1)")
	b.Queue("INSERT INTO batch VALUES (1)")
	b.Queue("INSERT INTO batch VALUES (2)")
	fmt.Println(code(conn.SendBatch(ctx, b).Close()), one[int64](conn, "SELECT count(*) FROM batch"))
}

type batchRow struct{ pgx.BatchResults }

func (b batchRow) QueryRow(context.Context, string, ...any) pgx.Row { return b.BatchResults.QueryRow() }

func pipeline(conn *pgx.Conn) {
	p := conn.PgConn().StartPipeline(ctx)
	for i := range 10 {
		p.SendQueryParams("SELECT owner FROM accounts WHERE id = $1", [][]byte{fmt.Append(nil, i+1)}, nil, nil, nil)
		if i == 4 {
			p.SendQueryParams("SELECT 1/0", nil, nil, nil, nil)
			p.SendQueryParams("SELECT 'skipped'", nil, nil, nil, nil)
		}
		if i%2 == 0 {
			must(p.Sync())
		}
	}
	p.SendPrepare("named", "SELECT $1::int + 1", nil)
	p.SendQueryPrepared("named", [][]byte{[]byte("41")}, nil, nil)
	must(p.Sync())
	for {
		r, err := p.GetResults()
		if err != nil {
			fmt.Print("error ", code(err), " ")
			continue
		}
		switch r := r.(type) {
		case *pgconn.ResultReader:
			res := r.Read()
			if res.Err != nil {
				fmt.Print("error ", code(res.Err), " ")
				continue
			}
			fmt.Printf("%s ", res.Rows[0][0])
		case *pgconn.PipelineSync:
			fmt.Print("sync ")
		case *pgconn.StatementDescription:
			fmt.Print("prepared ", r.ParamOIDs, " ")
		case nil:
			fmt.Println()
			must(p.Close())
			return
		}
	}
}

func copies(conn *pgx.Conn) {
	_, err := conn.Exec(ctx, "CREATE TABLE copied(i int PRIMARY KEY, t text)")
	must(err)
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"i", "t"}, pgx.CopyFromSlice(50000, func(i int) ([]any, error) {
		return []any{i, fmt.Sprintf("row %d", i)}, nil
	}))
	must(err)
	fmt.Println(n, one[int64](conn, "SELECT count(*) FROM copied"))
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"i", "t"}, pgx.CopyFromSlice(10, func(i int) ([]any, error) {
		if i == 5 {
			return nil, errors.New("the client gives up")
		}
		return []any{100000 + i, ""}, nil
	}))
	fmt.Println(err != nil, one[int64](conn, "SELECT count(*) FROM copied"))
	_, err = conn.PgConn().CopyFrom(ctx, strings.NewReader("1\tagain\n"), "COPY copied FROM STDIN")
	fmt.Println(code(err))
	var out strings.Builder
	tag, err := conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT * FROM copied ORDER BY i) TO STDOUT")
	must(err)
	fmt.Println(tag, len(out.String()))
}

func cancel(conn *pgx.Conn) {
	// Of the statement by a message of its own, as pgconn does.
	done := make(chan error)
	other := connect("")
	go func() {
		_, err := other.Exec(ctx, "SELECT pg_sleep(60)")
		done <- err
	}()
	// A cancel that comes too early hits nothing.
	for {
		must(other.PgConn().CancelRequest(ctx))
		select {
		case err := <-done:
			fmt.Println(code(err))
		case <-time.After(100 * time.Millisecond):
			continue
		}
		break
	}
	fmt.Println(one[string](other, "SELECT 'goes on'"))
	must(other.Close(ctx))
	// By a context: pgx hangs up.
	limited, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	third := connect("")
	_, err := third.Exec(limited, "SELECT pg_sleep(60)")
	fmt.Println(errors.Is(err, context.DeadlineExceeded), third.IsClosed())
	_, err = conn.Exec(ctx, "SET statement_timeout = 50")
	must(err)
	_, err = conn.Exec(ctx, "SELECT pg_sleep(60)")
	fmt.Println(code(err))
	_, err = conn.Exec(ctx, "RESET statement_timeout")
	must(err)
}

func notify(conn *pgx.Conn) {
	listener := connect("")
	_, err := listener.Exec(ctx, "LISTEN news")
	must(err)
	for i := range 3 {
		_, err = conn.Exec(ctx, "SELECT pg_notify('news', $1)", fmt.Sprint("number ", i))
		must(err)
	}
	for range 3 {
		limited, stop := context.WithTimeout(ctx, 20*time.Second)
		n, err := listener.WaitForNotification(limited)
		stop()
		must(err)
		fmt.Println(n.Channel, n.Payload)
	}
	_, err = listener.Exec(ctx, "NOTIFY news, 'to myself'")
	must(err)
	n, err := listener.WaitForNotification(ctx)
	must(err)
	fmt.Println(n.Payload, n.PID == listener.PgConn().PID())
	must(listener.Close(ctx))
}

func big(conn *pgx.Conn) {
	rows, err := conn.Query(ctx, "SELECT i, repeat('x', 100) FROM generate_series(1, 100000) i")
	must(err)
	n, bytes := 0, 0
	for rows.Next() {
		var i int
		var s string
		must(rows.Scan(&i, &s))
		n, bytes = n+1, bytes+len(s)
	}
	must(rows.Err())
	fmt.Println(n, bytes, len(one[string](conn, "SELECT repeat('y', 20000000)")), one[int](conn, "SELECT length($1::text)", strings.Repeat("z", 10<<20)))
	rows, err = conn.Query(ctx, "SELECT generate_series(1, 1000000)")
	must(err)
	rows.Next()
	rows.Close() // in the middle
	fmt.Println(one[string](conn, "SELECT 'goes on'"))
}

func concurrent() {
	pool, err := pgxpool.New(ctx, "pool_max_conns=16")
	must(err)
	defer pool.Close()
	_, err = pool.Exec(ctx, "CREATE TABLE counter(i int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)")
	must(err)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 25 {
				must(pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
					n := one[int](tx, "SELECT n FROM counter WHERE i = 1 FOR UPDATE")
					_, err := tx.Exec(ctx, "UPDATE counter SET n = $1 WHERE i = 1", n+1)
					return err
				}))
				_ = one[string](pool, "SELECT owner FROM accounts WHERE id = $1", 5)
			}
		})
	}
	wg.Wait()
	fmt.Println(one[int](pool, "SELECT n FROM counter"))
}
