package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/wire"
)

func TestBadInputGetsAPreciseErrorAndHarmsNobody(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, nil)
	bystander := in.connect(t, c, cluster.App, "")
	raw := func(send []byte) string {
		t.Helper()
		conn, err := net.DialTimeout("tcp", in.Addrs()[0], 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		conn.Write(send)
		var out bytes.Buffer
		p := make([]byte, 4096)
		for {
			n, err := conn.Read(p)
			out.Write(p[:n])
			if err != nil {
				if ne, ok := err.(net.Error); ok && ne.Timeout() {
					t.Errorf("%q: neither an answer nor the end", send)
				}
				return out.String()
			}
		}
	}
	huge := binary.BigEndian.AppendUint32(nil, 2<<30-1)
	for name, tc := range map[string]struct {
		send []byte
		want string
	}{
		"garbage":                   {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "08P01"},
		"a startup packet of 2 GB":  {append(huge, 0, 3, 0, 0), "08P01"},
		"an empty startup packet":   {[]byte{0, 0, 0, 4}, "08P01"},
		"protocol 2":                {[]byte{0, 0, 0, 8, 0, 2, 0, 0}, "0A000"},
		"no user":                   {[]byte{0, 0, 0, 9, 0, 3, 0, 0, 0}, "28000"},
		"a replication connection":  {startup("user", "postgres", "database", "app", "replication", "true"), "0A000"},
		"an unterminated parameter": {[]byte{0, 0, 0, 12, 0, 3, 0, 0, 'u', 's', 'e', 'r'}, "08P01"},
	} {
		if got := raw(tc.send); !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want SQLSTATE %s", name, got, tc.want)
		}
	}

	login := func(user, password, database string) *pgconn.PgError {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, "postgres://"+user+":"+password+"@"+in.Addrs()[0]+"/"+database+"?sslmode=disable")
		if err == nil {
			conn.Close(ctx)
			t.Fatalf("%s was let in", user)
		}
		var pg *pgconn.PgError
		if !errors.As(err, &pg) {
			t.Fatalf("%s: %v", user, err)
		}
		return pg
	}
	if pg := login("nobody_such", "x", cluster.App); pg.Code != "28P01" {
		t.Errorf("an unknown user: %v", pg)
	}
	if pg := login("postgres", "wrong", cluster.App); pg.Code != "28P01" {
		t.Errorf("a wrong password: %v", pg)
	}
	if pg := login("postgres", c.Password(), "nosuchdb"); pg.Code != "3D000" {
		t.Errorf("a database that doesn't exist: %v", pg)
	}

	// After the startup.
	for name, send := range map[string][]byte{
		"a message of 2 GB":             append([]byte{'Q'}, huge...),
		"a message of length 0":         {'Q', 0, 0, 0, 0},
		"an unknown message":            {'~', 0, 0, 0, 4},
		"a Query without terminator":    {'Q', 0, 0, 0, 5, 'x'},
		"a Parse without anything":      {'P', 0, 0, 0, 4},
		"a Bind that ends in the midst": {'B', 0, 0, 0, 8, 0, 0, 0, 9},
	} {
		w := dialWire(t, context.Background(), in.Addrs()[0], cluster.App, c.Password())
		w.send(t, send)
		if got := w.replies(t, 1); !strings.Contains(got, "FATAL 08P01") {
			t.Errorf("%s: %q", name, got)
		}
		w.conn.Close()
	}
	// A client that vanishes in the middle of everything.
	for _, send := range [][]byte{
		wire.AppendQuery(nil, "SELECT pg_sleep(0.2)"),
		wire.AppendQuery(nil, "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT"),
		wire.AppendParse(nil, "", "SELECT 1"),
		wire.AppendQuery(nil, "BEGIN; SELECT 1"),
		append(wire.AppendQuery(nil, "SELECT 1"), 'Q', 0, 0),
	} {
		w := dialWire(t, context.Background(), in.Addrs()[0], cluster.App, c.Password())
		w.send(t, send)
		w.conn.Close()
	}
	if got := one(t, bystander, "SELECT 42"); got != "42" {
		t.Errorf("the bystander reads %s", got)
	}
	bystander.Close(context.Background())
	eventually(t, "nobody is left behind", func() bool {
		st := in.server.Stats()
		for _, p := range st.Pools {
			if p.Total != p.Idle {
				return false
			}
		}
		return st.Clients == 0
	})
}

func startup(kv ...string) []byte {
	body := []byte{0, 3, 0, 0}
	for _, s := range kv {
		body = append(append(body, s...), 0)
	}
	body = append(body, 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

func TestFreshetStartsWithoutAPrimaryAndFindsItLater(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	ctx := context.Background()
	if err := c.Primary().Stop(cluster.Fast); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	url := "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/app?sslmode=disable"
	conn, err := pgx.Connect(ctx, url)
	if err == nil {
		conn.Close(ctx)
		t.Fatal("somebody was let in without a server")
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Severity != "FATAL" || !strings.HasPrefix(pg.Code, "57P") && !strings.HasPrefix(pg.Code, "08") {
		t.Errorf("without a primary: %v", err)
	}
	if err := c.Primary().Start(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a login", func() bool {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return false
		}
		defer conn.Close(ctx)
		return one(t, conn, "SELECT 1") == "1"
	})
}
