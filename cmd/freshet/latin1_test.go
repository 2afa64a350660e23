package main

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// HAZARDS 8, 9: in a database whose encoding isn't UTF8 the WAL feed's texts are other bytes than those of clients. What is asked for by text that is
// told apart by it must become stale all the same, for clients of either encoding, and none may be given another's bytes.
func TestHazard09TextOfAnotherEncoding(t *testing.T) {
	c := shared.Get(t)
	l := newRowsLabIn(t, c, c.NewDatabase(t, "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"), `
		CREATE TABLE person(name text PRIMARY KEY, town varchar(20) NOT NULL, n int NOT NULL);
		ALTER TABLE person REPLICA IDENTITY FULL`)
	if got := one(t, l.direct, "SHOW server_encoding"); got != "LATIN1" {
		t.Fatal(got)
	}
	do(t, l.direct, "SET client_encoding = 'UTF8'")
	do(t, l.direct, "INSERT INTO person VALUES ('Müller', 'Köln', 0), ('Maier', 'Ulm', 0), ('Groß', 'Zürich', 0)")
	for _, conn := range l.conns {
		do(t, conn, "SET client_encoding = 'UTF8'")
	}
	// A client that speaks LATIN1, with the bytes that it sends.
	latin := l.in.connect(t, c, l.db, "&client_encoding=LATIN1&default_query_exec_mode=simple_protocol").PgConn()
	ask := func(where string) string {
		t.Helper()
		answer, err := latin.Exec(t.Context(), "SELECT name, town, n FROM person WHERE "+where).ReadAll()
		if err != nil || len(answer) != 1 {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, row := range answer[0].Rows {
			for _, v := range row {
				b.Write(v)
				b.WriteByte('|')
			}
		}
		return b.String()
	}
	questions := append(by("person", "name", "Müller", "Maier", "Groß"), by("person", "town", "Köln", "Ulm")...)
	simple := l.conns["simple"] // its texts have such characters in them, which binds it
	delete(l.conns, "simple")
	l.cached(questions)
	for round := range 3 {
		// Both kinds of clients ask again and again, so that whatever can be cached is.
		for _, q := range []string{"name = 'M\xfcller'", "name = 'Maier'", "town = 'K\xf6ln'"} {
			for range 3 {
				ask(q)
			}
		}
		if _, err := l.direct.PgConn().Exec(t.Context(), "UPDATE person SET n = n + 1; UPDATE person SET name = 'Müller2' WHERE name = 'Müller'; UPDATE person SET name = 'Müller' WHERE name = 'Müller2'").ReadAll(); err != nil {
			t.Fatal(err)
		}
		l.applied()
		if err := c.WaitCaughtUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		for mode, conn := range map[string]*pgx.Conn{"simple": simple, "extended": l.conns["extended"], "text": l.conns["text"]} {
			for _, q := range questions {
				q = q.by(mode)
				if got, want := l.ask(conn, q), l.ask(l.direct, q); got != want || want == "" {
					t.Errorf("round %d, %s %v (%s) from %s: %q, want %q", round, q.sql, q.args, mode, source(t, conn), got, want)
				}
			}
		}
		n := string(rune('1' + round))
		for q, want := range map[string]string{"name = 'M\xfcller'": "M\xfcller|K\xf6ln|" + n + "|", "name = 'Maier'": "Maier|Ulm|" + n + "|", "town = 'K\xf6ln'": "M\xfcller|K\xf6ln|" + n + "|"} {
			if got := ask(q); got != want {
				t.Errorf("round %d, in LATIN1, %q: %q, want %q", round, q, got, want)
			}
		}
		l.cached(questions)
	}
	// What is plain ASCII is the same bytes in both, and is told apart.
	l.change(by("person", "name", "Maier"), "UPDATE person SET n = n + 1 WHERE name = 'Müller'")
}
