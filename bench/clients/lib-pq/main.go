// lib/pq through database/sql: its pool, prepared statements, transactions, COPY, LISTEN, cancel by context.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/lib/pq"
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		fmt.Println("unexpected:", err)
		os.Exit(1)
	}
}

func code(err error) string {
	var pg *pq.Error
	if errors.As(err, &pg) {
		return string(pg.Code)
	}
	return fmt.Sprint(err)
}

type querier interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

func one[T any](q querier, text string, args ...any) (v T) {
	must(q.QueryRowContext(ctx, text, args...).Scan(&v))
	return v
}

func open(params string) *sql.DB {
	db, err := sql.Open("postgres", params)
	must(err)
	return db
}

func exec(db interface {
	Exec(string, ...any) (sql.Result, error)
}, text string, args ...any) int64 {
	r, err := db.Exec(text, args...)
	must(err)
	n, err := r.RowsAffected()
	must(err)
	return n
}

func main() {
	for _, params := range []string{"", "binary_parameters=yes"} {
		db := open(params)
		fmt.Println("== parameters", params)
		queries(db)
		must(db.Close())
	}
	db := open("")
	db.SetMaxOpenConns(20)
	defer db.Close()
	fmt.Println("== transactions")
	transactions(db)
	fmt.Println("== one connection")
	session(db)
	fmt.Println("== copy")
	copies(db)
	fmt.Println("== cancel")
	cancel(db)
	fmt.Println("== notify")
	notify(db)
	fmt.Println("== big and concurrent")
	concurrent(db)
}

func queries(db *sql.DB) {
	fmt.Println(one[string](db, "SELECT 'plain'"))
	stmt, err := db.Prepare("SELECT owner, balance FROM accounts WHERE id = $1")
	must(err)
	for i := range 10 {
		var owner string
		var balance int64
		must(stmt.QueryRow(i+1).Scan(&owner, &balance))
		fmt.Print(owner, " ", balance, ", ")
	}
	fmt.Println(stmt.Close())

	row := db.QueryRow("SELECT i, b, n, t, y, d, tz, a FROM (VALUES (1, true, 1.5, 'täxt', '\\xdead'::bytea, '2024-02-29'::date, '2024-02-29 12:00+00'::timestamptz, '{1,2}'::int[])) v(i, b, n, t, y, d, tz, a)")
	var i int
	var b bool
	var n, t string
	var y []byte
	var d, tz time.Time
	var a pq.Int64Array
	must(row.Scan(&i, &b, &n, &t, &y, &d, &tz, &a))
	fmt.Println(i, b, n, t, y, d.Format(time.RFC3339), tz.UTC().Format(time.RFC3339), a)
	for _, text := range []string{"SELECT nothing", "SELECT 1/0", "INSERT INTO accounts VALUES (1, 'x', 1)", "SELEC", "SELECT * FROM nowhere"} {
		_, err := db.Exec(text)
		fmt.Print(code(err), " ")
	}
	fmt.Println(one[int](db, "SELECT $1::int", 2))
	rows, err := db.Query("SELECT 1; SELECT 2, 3")
	must(err)
	for more := true; more; more = rows.NextResultSet() {
		columns, err := rows.Columns()
		must(err)
		fmt.Print(len(columns), " ")
		for rows.Next() {
		}
	}
	fmt.Println(rows.Close())
}

func transactions(db *sql.DB) {
	balance := func(q querier) int64 { return one[int64](q, "SELECT balance FROM accounts WHERE id = $1", 60) }
	before := balance(db)
	tx, err := db.Begin()
	must(err)
	exec(tx, "UPDATE accounts SET balance = balance + 1 WHERE id = $1", 60)
	exec(tx, "SAVEPOINT a")
	_, err = tx.Exec("INSERT INTO accounts VALUES (1, 'x', 1)")
	fmt.Println(code(err))
	_, err = tx.Exec("SELECT 1")
	fmt.Println(code(err))
	exec(tx, "ROLLBACK TO a")
	fmt.Println(balance(tx) - before)
	must(tx.Rollback())
	fmt.Println(balance(db) - before)
	tx, err = db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	must(err)
	fmt.Println(balance(tx) - before)
	_, err = tx.Exec("DELETE FROM accounts")
	fmt.Println(code(err))
	fmt.Println(tx.Commit())
	tx, err = db.Begin()
	must(err)
	st, err := tx.Prepare("UPDATE accounts SET balance = balance + $1 WHERE id = 60 RETURNING balance")
	must(err)
	for range 3 {
		var b int64
		must(st.QueryRow(2).Scan(&b))
		fmt.Print(b-before, " ")
	}
	must(tx.Commit())
	fmt.Println()
}

func session(db *sql.DB) {
	conn, err := db.Conn(ctx)
	must(err)
	defer conn.Close()
	run := func(text string) {
		_, err := conn.ExecContext(ctx, text)
		must(err)
	}
	run("SET TimeZone = 'America/Caracas'")
	fmt.Println(one[string](conn, "SELECT ('2024-01-01 00:00+00'::timestamptz)::text"))
	run("CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i")
	fmt.Println(one[int](conn, "SELECT sum(i) FROM t"))
	run("DROP TABLE t")
	run("PREPARE q AS SELECT count(*) FROM accounts WHERE id <= $1")
	fmt.Println(one[int](conn, "EXECUTE q(10)"))
	for i := range 100 {
		_, err := conn.ExecContext(ctx, "UPDATE accounts SET balance = $1 WHERE id = 41", i)
		must(err)
		if got := one[int](conn, "SELECT balance FROM accounts WHERE id = 41"); got != i {
			fmt.Println("own write not read:", got, "instead of", i)
		}
	}
	run("RESET ALL")
	fmt.Println(one[string](conn, "SHOW TimeZone"))
}

func copies(db *sql.DB) {
	exec(db, "CREATE TABLE copied(i int PRIMARY KEY, t text)")
	tx, err := db.Begin()
	must(err)
	st, err := tx.Prepare(pq.CopyIn("copied", "i", "t"))
	must(err)
	for i := range 20000 {
		_, err := st.Exec(i, fmt.Sprint("row ", i))
		must(err)
	}
	_, err = st.Exec()
	must(err)
	must(st.Close())
	must(tx.Commit())
	fmt.Println(one[int](db, "SELECT count(*) FROM copied"))
	tx, err = db.Begin()
	must(err)
	st, err = tx.Prepare(pq.CopyIn("copied", "i", "t"))
	must(err)
	_, err = st.Exec(1, "again")
	must(err)
	_, err = st.Exec()
	fmt.Println(code(err))
	_ = st.Close()
	must(tx.Rollback())
	fmt.Println(one[int](db, "SELECT count(*) FROM copied"))
}

func cancel(db *sql.DB) {
	for range 3 {
		limited, stop := context.WithTimeout(ctx, 500*time.Millisecond)
		_, err := db.ExecContext(limited, "SELECT pg_sleep(60)")
		stop()
		fmt.Println(err != nil, one[string](db, "SELECT 'goes on'"))
	}
}

func notify(db *sql.DB) {
	l := pq.NewListener("", time.Second, time.Second, nil)
	must(l.Listen("news"))
	for i := range 3 {
		exec(db, "SELECT pg_notify('news', $1)", fmt.Sprint("number ", i))
	}
	for range 3 {
		select {
		case n := <-l.Notify:
			fmt.Println(n.Channel, n.Extra)
		case <-time.After(20 * time.Second):
			fmt.Println("no notification")
		}
	}
	must(l.UnlistenAll())
	must(l.Close())
}

func concurrent(db *sql.DB) {
	rows, err := db.Query("SELECT i, repeat('x', 100) FROM generate_series(1, $1::int) i", 100000)
	must(err)
	n := 0
	for rows.Next() {
		n++
	}
	must(rows.Close())
	fmt.Println(n, len(one[string](db, "SELECT repeat('y', 10000000)")))
	exec(db, "CREATE TABLE counter(i int PRIMARY KEY, n int)")
	exec(db, "INSERT INTO counter VALUES (1, 0)")
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 25 {
				tx, err := db.Begin()
				must(err)
				n := one[int](tx, "SELECT n FROM counter WHERE i = $1 FOR UPDATE", 1)
				exec(tx, "UPDATE counter SET n = $1 WHERE i = 1", n+1)
				must(tx.Commit())
				_ = one[string](db, "SELECT owner FROM accounts WHERE id = $1", 5)
			}
		})
	}
	wg.Wait()
	must(db.Close())
	again := open("")
	defer again.Close()
	fmt.Println(one[int](again, "SELECT n FROM counter"))
}
