package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Copy data that is sent right behind the COPY, before the server's word that it takes it, and in the middle of an extended unit, isn't lost. (asyncpg
// describes a statement, ended by Flush, and copies.)
func TestHazard02CopyDataThatDoesntWaitIsNotLost(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	db := c.NewDatabase(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Primary().ExecIn(ctx, db, "CREATE TABLE copied(i int PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	conn, err := in.connect(t, c, db, "").PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	data := []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("1\n2\n")}, &pgproto3.CopyData{Data: []byte("3\n")}, &pgproto3.CopyDone{}}
	describe := []pgproto3.FrontendMessage{&pgproto3.Parse{Name: "a", Query: "SELECT 1"}, &pgproto3.Describe{ObjectType: 'S', Name: "a"}, &pgproto3.Flush{}}
	extended := []pgproto3.FrontendMessage{&pgproto3.Parse{Query: "COPY copied FROM STDIN"}, &pgproto3.Bind{}, &pgproto3.Execute{}}
	sync := []pgproto3.FrontendMessage{&pgproto3.Sync{}}
	tests := []struct {
		name  string
		parts [][]pgproto3.FrontendMessage
		want  string
	}{
		{"Query alone", [][]pgproto3.FrontendMessage{{&pgproto3.Query{String: "COPY copied FROM STDIN"}}, data}, "COPY 3 Z"},
		{"again, which fails", [][]pgproto3.FrontendMessage{{&pgproto3.Query{String: "COPY copied FROM STDIN"}}, data}, "23505 Z"},
		{"Query behind a Flush", [][]pgproto3.FrontendMessage{describe, {&pgproto3.Query{String: "TRUNCATE copied"}, &pgproto3.Query{String: "COPY copied FROM STDIN"}}, data}, "TRUNCATE TABLE Z COPY 3 Z"},
		{"again, which fails, in the middle of the same unit", [][]pgproto3.FrontendMessage{{&pgproto3.Query{String: "COPY copied FROM STDIN"}}, data, sync}, "23505 Z Z"},
		{"extended", [][]pgproto3.FrontendMessage{{&pgproto3.Query{String: "TRUNCATE copied"}}, extended, data, sync}, "TRUNCATE TABLE Z COPY 3 Z"},
		{"data without a COPY", [][]pgproto3.FrontendMessage{describe[1:2], {&pgproto3.Parse{Query: "SELECT 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}}, data, sync}, "SELECT 1 Z"},
	}
	for _, tt := range tests {
		var out []byte
		for _, part := range tt.parts {
			for _, m := range part {
				if out, err = m.Encode(out); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := conn.Conn.Write(out); err != nil {
			t.Fatal(err)
		}
		var got []string
		for n := strings.Count(tt.want, "Z"); n > 0; {
			m, err := conn.Frontend.Receive()
			if err != nil {
				t.Fatalf("%s: after %v: %v", tt.name, got, err)
			}
			switch m := m.(type) {
			case *pgproto3.CommandComplete:
				got = append(got, string(m.CommandTag))
			case *pgproto3.ErrorResponse:
				got = append(got, m.Code)
			case *pgproto3.ReadyForQuery:
				got, n = append(got, "Z"), n-1
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}
