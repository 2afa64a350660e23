package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/freshet/freshet/proxy/shard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server and returns its address.
func serve(t *testing.T) net.Addr {
	t.Helper()
	l, err := shard.New(shard.Options{})
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { accept(ln, []*shard.Loop{l}); close(done) }()
	t.Cleanup(func() { ln.Close(); <-done; l.Close() })
	return ln.Addr()
}

func TestDriverGetsTheCannedRow(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, sslmode := range []string{"disable", "prefer"} {
		c, err := pgconn.Connect(ctx, "postgres://anybody@"+serve(t).String()+"/anything?sslmode="+sslmode)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(ctx)
		for range 3 {
			simple, err := c.Exec(ctx, "select 1").ReadAll()
			if err != nil || len(simple) != 1 || string(simple[0].Rows[0][0]) != "1" {
				t.Errorf("simple: %v, %v", simple, err)
			}
			extended := c.ExecParams(ctx, "select $1", [][]byte{[]byte("x")}, nil, nil, nil).Read()
			if extended.Err != nil || string(extended.Rows[0][0]) != "1" || extended.CommandTag.String() != "SELECT 1" {
				t.Errorf("extended: %v", extended)
			}
		}
		if _, err := c.Prepare(ctx, "s", "select 1", nil); err != nil {
			t.Error(err)
		}
		if prepared := c.ExecPrepared(ctx, "s", nil, nil, nil).Read(); prepared.Err != nil || string(prepared.Rows[0][0]) != "1" {
			t.Errorf("prepared: %v", prepared)
		}
	}
}

// Messages may be cut anywhere.
func TestAnswersDoNotDependOnHowBytesArrive(t *testing.T) {
	startup := []byte{0, 0, 0, 15, 0, 3, 0, 0, 'u', 's', 'e', 'r', 0, 'x', 0}
	question := append(append([]byte{}, startup...), message('Q', []byte("select 1\x00")...)...)
	question = append(question, message('Q', []byte("select 2\x00")...)...)
	question = append(question, message('X')...)
	answer := func(wrap func(io.Reader) io.Reader) string {
		nc, err := net.Dial("tcp", serve(t).String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		go io.Copy(struct{ io.Writer }{nc}, wrap(bytes.NewReader(question)))
		got, err := io.ReadAll(nc)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	want := string(welcome) + string(simpleAnswer) + string(simpleAnswer)
	if got := answer(func(r io.Reader) io.Reader { return struct{ io.Reader }{r} }); got != want {
		t.Errorf("at once: %q", got)
	}
	if got := answer(iotest.OneByteReader); got != want {
		t.Errorf("byte by byte: %q", got)
	}
}

func TestNonsenseLengthsAreRefused(t *testing.T) {
	for _, p := range [][]byte{
		{0, 0, 0, 7, 0, 3, 0, 0},
		{0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0},
		{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0},
	} {
		nc, err := net.Dial("tcp", serve(t).String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetDeadline(time.Now().Add(20 * time.Second))
		nc.Write(p)
		if got, err := io.ReadAll(nc); len(got) != 0 || err != nil {
			t.Errorf("%v: %q, %v", p, got, err)
		}
	}
}
