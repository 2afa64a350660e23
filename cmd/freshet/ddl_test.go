package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// What a session makes and uses at once, before the catalog has been read again, is as safe as what is long known: nothing of it gets to
// other sessions, and nothing is lost for its own.
func TestHazard05WhatIsNewInTheCatalogLeaksNothing(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.PoolSize = 3 })
	db := c.NewDatabase(t)
	ctx := context.Background()
	others := []*pgx.Conn{in.connect(t, c, db, ""), in.connect(t, c, db, "")}
	conn := in.connect(t, c, db, "&default_query_exec_mode=exec")
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	undisturbed := func() {
		t.Helper()
		for range 3 {
			for _, o := range others {
				if got := one(t, o, "SELECT coalesce(current_setting('app.leak', true), '') || coalesce(to_regclass('pg_temp.hidden')::text, '')"); got != "" {
					t.Fatalf("another session sees %q", got)
				}
			}
		}
	}
	reason := func() string {
		one(t, conn, "SELECT 'where?'")
		return one(t, conn, "SHOW freshet.reason")
	}

	// Something that leaves nothing behind: the connection goes back.
	for _, begin := range []string{"", "BEGIN"} {
		name := "plain" + begin
		exec(begin)
		exec("CREATE TABLE " + name + "(id serial PRIMARY KEY, v int)")
		exec("INSERT INTO " + name + "(v) VALUES (1)")
		if got := one(t, conn, "SELECT currval('"+name+"_id_seq')::text"); got != "1" {
			t.Errorf("currval() is %s", got)
		}
		if begin != "" {
			exec("COMMIT")
		}
		if begin == "" {
			eventually(t, "the session isn't bound any more", func() bool { return !strings.Contains(reason(), "DDL") })
		}
	}
	exec("DISCARD ALL") // currval() outside of a transaction has bound it

	exec("CREATE TABLE again(id int)")
	exec("INSERT INTO again VALUES (1)")
	if r := reason(); !strings.Contains(r, boundByDDLText) {
		t.Errorf("right after DDL the session isn't bound: %s", r)
	}
	// However many there are, if they are the same but for literals and parameters.
	for i := range 150 {
		exec(fmt.Sprintf("INSERT INTO again VALUES (%d)", i))
		if _, err := conn.Exec(ctx, "INSERT INTO again VALUES ($1)", i); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the session isn't bound any more", func() bool { return !strings.Contains(reason(), "bound") })

	// And something that does: the session keeps it.
	exec("CREATE FUNCTION leak() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('app.leak', 'leaked', false); CREATE TEMP TABLE hidden(i int); END $$")
	exec("SELECT leak()")
	undisturbed()
	eventually(t, "it is known what the function has left", func() bool { return !strings.Contains(reason(), boundByDDLText) })
	undisturbed()
	if got := one(t, conn, "SELECT current_setting('app.leak') || to_regclass('pg_temp.hidden')::text"); got != "leakedhidden" {
		t.Errorf("the session itself sees %q", got)
	}
	if r := reason(); !strings.Contains(r, "bound") {
		t.Errorf("the session isn't bound: %s", r)
	}
}

const boundByDDLText = "until the catalog has been read again"
