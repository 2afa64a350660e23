package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/proxy/wire"
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

// HAZARDS 4: when the request to cancel is over for the client, it is over: it doesn't hit what the client asks for next, on
// the same server connection.
func TestHazard04ACancelIsOverWhenItsConnectionEnds(t *testing.T) {
	c := shared.Get(t)
	// A way to the server on which requests to cancel take long.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const late = 700 * time.Millisecond
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				first := make([]byte, 4096)
				n, err := conn.Read(first)
				if err != nil {
					return
				}
				if n >= 8 && binary.BigEndian.Uint32(first[4:]) == wire.CodeCancelRequest {
					time.Sleep(late) // the delay that is tested for
				}
				server, err := net.Dial("tcp", c.Primary().Addr())
				if err != nil {
					return
				}
				server.Write(first[:n])
				go func() {
					io.Copy(server, conn)
					server.Close()
				}()
				io.Copy(conn, server)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Primary = strings.Replace(cfg.Primary, c.Primary().Addr(), l.Addr().String(), 1)
		cfg.Replica = nil
	})
	conn := connectTo(t, "postgres://app:"+c.AppPassword()+"@"+in.Addrs()[0]+"/app?sslmode=disable")
	ctx := context.Background()
	do(t, conn, "BEGIN")
	do(t, conn, "SELECT txid_current()")
	started := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		close(started)
		_, err := conn.Exec(ctx, "SELECT pg_sleep(0.3)")
		done <- err
	}()
	<-started
	time.Sleep(100 * time.Millisecond) // the query has to be there before it can be cancelled
	if err := conn.PgConn().CancelRequest(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("it came too early for this test: %v", err)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_sleep(1)"); err != nil {
		t.Errorf("what came after the cancel is hit by it: %v", err)
	}
}
