package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/proxy/wire"
)

// A server connection keeps so many prepared statements, and gives up the one that wasn't used for longest.
func TestHazard07PreparedStatementsOfAServerConnectionAreBounded(t *testing.T) {
	c := shared.Get(t)
	const most = 3
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Replica, cfg.Cache, cfg.PoolSize, cfg.MaxPreparedStatements = nil, "off", 1, most
	})
	ctx := context.Background()
	db := c.NewDatabase(t)
	// What it shows is what there is: for pg_prepared_statements itself Freshet would clear the connection first.
	if err := c.Primary().ExecIn(ctx, db, "CREATE VIEW prepared AS SELECT * FROM pg_prepared_statement()"); err != nil {
		t.Fatal(err)
	}
	conn := in.connect(t, c, db, "").PgConn()
	text := func(i int) string { return fmt.Sprintf("SELECT %d + $1::int", i) }
	run := func(i int) {
		t.Helper()
		r := conn.ExecPrepared(ctx, "s"+strconv.Itoa(i), [][]byte{[]byte("1")}, nil, nil).Read()
		if r.Err != nil || string(r.Rows[0][0]) != strconv.Itoa(i+1) {
			t.Fatalf("statement %d: %v", i, r)
		}
	}
	// kept are the statements on the server, by the time at which they were prepared.
	kept := func() (list []string) {
		t.Helper()
		r, err := conn.Exec(ctx, "SELECT statement, prepare_time FROM prepared WHERE name LIKE 'freshet_s%' ORDER BY prepare_time").ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range r[0].Rows {
			list = append(list, string(row[0])+" "+string(row[1]))
		}
		return list
	}
	var first string
	for i := range 10 {
		if _, err := conn.Prepare(ctx, "s"+strconv.Itoa(i), text(i), nil); err != nil {
			t.Fatal(err)
		}
		run(0) // which so is never the oldest
		now := kept()
		if len(now) > most || len(now) < min(i+1, most) {
			t.Fatalf("after %d statements the server has %q", i+1, now)
		}
		if first == "" {
			first = now[0]
		}
		if now[0] != first {
			t.Errorf("the statement that is used all the time was given up: %q", now)
		}
	}
	for i := range 10 {
		run(9 - i)
	}
	if now := kept(); len(now) != most {
		t.Errorf("the server has %q", now)
	}
	// All of them in one pipeline, each with a portal that is still open when the others are used.
	var msgs []byte
	for i := range 10 {
		n := strconv.Itoa(i)
		msgs = wire.AppendBind(msgs, "p"+n, "s"+n, nil, [][]byte{[]byte("1")}, nil)
	}
	for i := range 10 {
		msgs = wire.AppendExecute(msgs, "p"+strconv.Itoa(i), 0)
	}
	for i := range 10 { // new ones, which need room that there isn't
		msgs = wire.AppendParse(msgs, "new"+strconv.Itoa(i), text(100+i))
	}
	msgs = wire.AppendSync(msgs)
	replies := rawly(t, conn, msgs)
	for i := range 10 {
		value := strconv.Itoa(i + 1)
		if want := fmt.Sprintf("D %q\n", "\x00\x01\x00\x00\x00"+string(rune(len(value)))+value); !strings.Contains(replies, want) {
			t.Errorf("no %s in\n%s", want, replies)
		}
	}
	run(5)
	if now := kept(); len(now) > most {
		t.Errorf("after the pipeline the server has %q", now)
	}
}

// An error in front of the place where a statement makes room for another leaves both sides with the same idea of what is there.
func TestHazard07AnErrorBeforeAStatementIsGivenUp(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Replica, cfg.Cache, cfg.PoolSize, cfg.MaxPreparedStatements = nil, "off", 1, 2
	})
	ctx := context.Background()
	conn := in.connect(t, c, c.NewDatabase(t), "").PgConn()
	for i := range 3 {
		if _, err := conn.Prepare(ctx, "s"+strconv.Itoa(i), fmt.Sprintf("SELECT %d / $1::int", 10*i), nil); err != nil {
			t.Fatal(err)
		}
	}
	run := func(msgs []byte, i int, arg string) []byte {
		msgs = wire.AppendBind(msgs, "", "s"+strconv.Itoa(i), nil, [][]byte{[]byte(arg)}, nil)
		return wire.AppendExecute(msgs, "", 0)
	}
	for round := range 6 {
		i := round % 3
		replies := rawly(t, conn, wire.AppendSync(run(run(run(nil, i, "0"), (i+1)%3, "1"), (i+2)%3, "1")))
		if !strings.Contains(replies, "22012") {
			t.Fatalf("no division by zero:\n%s", replies)
		}
		replies = rawly(t, conn, wire.AppendSync(run(run(run(nil, 0, "1"), 1, "1"), 2, "1")))
		if strings.Contains(replies, "E ") || strings.Count(replies, "SELECT 1") != 3 {
			t.Fatalf("round %d:\n%s", round, replies)
		}
	}
}

// rawly sends messages on a connection of pgx's, and returns the replies up to ReadyForQuery.
func rawly(t *testing.T, conn *pgconn.PgConn, msgs []byte) string {
	t.Helper()
	w := &wireConn{conn: conn.Conn()}
	w.send(t, msgs)
	return w.replies(t, 1)
}

// Who looks at pg_prepared_statements doesn't see Freshet's statements, nor those of other sessions; what it has prepared by SQL is there.
func TestHazard06PreparedStatementsOfOthersDontShow(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolSize = 1 })
	db := c.NewDatabase(t)
	other, conn := in.connect(t, c, db, ""), in.connect(t, c, db, simpleProtocol)
	const names = "SELECT coalesce(string_agg(name, ','), 'none') FROM pg_prepared_statements"
	leave := func() {
		t.Helper()
		one(t, other, "SELECT $1::int", 1)
		do(t, other, "BEGIN")
		one(t, other, "SELECT txid_current()")
		do(t, other, "COMMIT")
	}
	leave()
	if got := one(t, conn, names); got != "none" {
		t.Errorf("outside of a transaction: %s", got)
	}
	leave()
	do(t, conn, "BEGIN")
	do(t, conn, "PREPARE mine AS SELECT 4711")
	if got := one(t, conn, names); got != "mine" {
		t.Errorf("in a transaction: %s", got)
	}
	do(t, conn, "COMMIT")
	if got := one(t, conn, names); got != "mine" {
		t.Errorf("bound: %s", got)
	}
	do(t, conn, "CREATE TABLE t(a int)") // from here on what was prepared is out of date
	eventually(t, "the catalog is read again", func() bool { return one(t, conn, "EXECUTE mine") == "4711" && one(t, conn, names) == "mine" })
	do(t, conn, "DEALLOCATE mine")
	leave()
	one(t, other, "SELECT $1::int", 2)
}
