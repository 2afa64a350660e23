package main

import (
	"context"
	"strings"
	"testing"
)

// A prepared statement whose result changes fails, as on Postgres; one that is prepared with the same text after that works.
func TestHazard07PreparingAnewAfterDDLHelps(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	db := c.NewDatabase(t)
	ctx := context.Background()
	conn := in.connect(t, c, db, "").PgConn()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE changing(a int); INSERT INTO changing VALUES (1)")
	const text = "SELECT * FROM changing"
	prepare := func(name string) {
		t.Helper()
		if _, err := conn.Prepare(ctx, name, text, nil); err != nil {
			t.Fatal(err)
		}
	}
	columns := func(name string) (int, error) {
		r := conn.ExecPrepared(ctx, name, nil, nil, nil).Read()
		return len(r.FieldDescriptions), r.Err
	}
	for round := range 3 {
		old, fresh := "old"+string(rune('0'+round)), "new"+string(rune('0'+round))
		prepare(old)
		if n, err := columns(old); err != nil || n != 1+round {
			t.Fatalf("%d columns, %v", n, err)
		}
		exec("ALTER TABLE changing ADD COLUMN b" + old + " int")
		if _, err := columns(old); err == nil || !strings.Contains(err.Error(), "cached plan must not change result type") {
			t.Errorf("after DDL: %v", err)
		}
		prepare(fresh)
		if n, err := columns(fresh); err != nil || n != 2+round {
			t.Errorf("prepared anew: %d columns, %v", n, err)
		}
	}
}
