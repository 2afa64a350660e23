package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// HAZARDS 4: protocol 3.2's keys to cancel are longer, with clients and with servers from 18 on. An older server is
// asked for it, says that it can't, and is spoken to in 3.0.
func TestHazard04Protocol32OnBothSides(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Primary += "&max_protocol_version=3.2"
		for i := range cfg.Replica {
			cfg.Replica[i] += "&max_protocol_version=3.2"
		}
	})
	ctx := context.Background()
	for version, length := range map[string]int{"3.0": 4, "3.2": 32} {
		url := "postgres://app:" + c.AppPassword() + "@" + in.Addrs()[0] + "/app?sslmode=disable&max_protocol_version=" + version
		conn, bystander := connectTo(t, url), connectTo(t, url)
		if got := len(conn.PgConn().SecretKey()); got != length {
			t.Errorf("%s: a key of %d bytes", version, got)
		}
		running := func(pg *pgconn.PgConn) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := pg.Exec(ctx, "SELECT pg_sleep(1.5)").ReadAll()
				done <- err
			}()
			return done
		}
		other, done := running(bystander.PgConn()), running(conn.PgConn())
		var err error
		eventually(t, "the cancel", func() bool {
			if err := conn.PgConn().CancelRequest(ctx); err != nil {
				t.Error(err)
			}
			select {
			case err = <-done:
				return true
			case <-time.After(20 * time.Millisecond): // a poll: the query has to be there before it can be cancelled
				return false
			}
		})
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "57014" {
			t.Errorf("%s: %v", version, err)
		}
		if err := <-other; err != nil {
			t.Errorf("%s: a bystander was hit: %v", version, err)
		}
	}
}
