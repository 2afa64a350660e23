package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/wire"
)

// withholding is a way to a server on which no reply to a message that contains hold comes through before one that contains until has
// been sent.
type withholding struct {
	net.Listener
	server      string
	hold, until []byte
	wg          sync.WaitGroup
}

func newWithholding(t *testing.T, server, hold, until string) *withholding {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &withholding{Listener: ln, server: server, hold: []byte(hold), until: []byte(until)}
	w.wg.Add(1)
	go w.accept()
	t.Cleanup(func() {
		ln.Close()
		w.wg.Wait()
	})
	return w
}

func (w *withholding) accept() {
	defer w.wg.Done()
	for {
		client, err := w.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.server)
		if err != nil {
			client.Close()
			continue
		}
		w.wg.Add(2)
		gate := &sync.Mutex{} // held while replies are withheld
		go func() {
			defer w.wg.Done()
			defer server.Close()
			defer client.Close()
			var seen []byte
			held := false
			defer func() {
				if held {
					gate.Unlock()
				}
			}()
			buf := make([]byte, 64<<10)
			for {
				n, err := client.Read(buf)
				if err != nil {
					return
				}
				seen = append(seen, buf[:n]...)
				if i := bytes.Index(seen, w.hold); i >= 0 && !held {
					gate.Lock()
					held = true
					seen = seen[i+len(w.hold):]
				}
				if held && bytes.Contains(seen, w.until) {
					gate.Unlock()
					held, seen = false, nil
				}
				if _, err := server.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
		go func() {
			defer w.wg.Done()
			defer server.Close()
			defer client.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := server.Read(buf)
				gate.Lock()
				//lint:ignore SA2001 it is only waited for
				gate.Unlock()
				if err == nil {
					_, err = client.Write(buf[:n])
				}
				if err != nil {
					return
				}
			}
		}()
	}
}

var _ io.Closer = (*withholding)(nil)

// A session that meets a server connection in another state makes its settings there and asks its query in one go: the query
// doesn't wait until the server has said that the settings are made.
func TestSettingsAreMadeInTheSameWriteAsTheQuery(t *testing.T) {
	c := shared.Get(t)
	in, through := primaryBehind(t, c, newWithholding(t, c.Primary().Addr(), "Asia/Tokyo", "the query"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a := dialStartup(t, ctx, in.Addrs()[0], through, "postgres", c.Password(), nil)
	b := dialStartup(t, ctx, in.Addrs()[0], through, "postgres", c.Password(), nil)
	defer a.conn.Close()
	defer b.conn.Close()
	query := func(c *wireConn, sql string) string {
		c.send(t, wire.AppendQuery(nil, sql))
		return c.replies(t, 1)
	}
	query(a, "SET application_name = 'Asia/Tokyo' /* the query */")
	for _, sql := range []string{"SELECT 'the query', current_setting('application_name')", "CREATE TABLE x AS SELECT 'the query', current_setting('application_name'); DROP TABLE x",
		"DELETE FROM pg_class WHERE relname = 'the query'", "BEGIN; SELECT 'the query'"} {
		if got := query(b, "SHOW application_name"); !strings.Contains(got, `D "\x00\x01\x00\x00\x00\x00"`) {
			t.Fatalf("another session has the settings: %s", got)
		}
		if got := query(a, sql); strings.Contains(got, "E ERROR") {
			t.Errorf("%s: %s", sql, got)
		}
		query(a, "ROLLBACK /* the query */")
	}
	query(b, "SELECT 1")
	a.send(t, wire.AppendSync(wire.AppendExecute(wire.AppendBind(wire.AppendParse(nil, "", "SELECT 'the query'"), "", "", nil, nil, nil), "", 0)))
	if got := a.replies(t, 1); !strings.Contains(got, "the query") {
		t.Error(got)
	}
}

// primaryBehind starts Freshet with a pool of one, before a cluster's primary at another address.
func primaryBehind(t *testing.T, c *cluster.Cluster, w net.Listener) (*instance, string) {
	db := c.NewDatabase(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Replica = nil
		cfg.PoolSize = 1
		cfg.Cache = "off"
		cfg.Primary = strings.Replace(cfg.Primary, c.Primary().Addr(), w.Addr().String(), 1)
	})
	return in, db
}

// If a setting can't be made any more, nothing is done under another one, and there is a way out.
func TestHazard05NothingRunsWithoutTheSettings(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.Replica = nil
		cfg.PoolSize = 1
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	exec := func(sql string) {
		if err := c.Primary().ExecIn(ctx, db, sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE t(a int); GRANT ALL ON t TO PUBLIC; CREATE ROLE state_short")
	t.Cleanup(func() { c.Primary().ExecIn(context.Background(), db, "DROP ROLE IF EXISTS state_short") })
	a, b := dialWire(t, ctx, in.Addrs()[0], db, c.Password()), dialWire(t, ctx, in.Addrs()[0], db, c.Password())
	defer a.conn.Close()
	defer b.conn.Close()
	unit := func(c *wireConn, msgs []byte) string {
		c.send(t, msgs)
		return c.replies(t, 1)
	}
	query := func(c *wireConn, sql string) string { return unit(c, wire.AppendQuery(nil, sql)) }
	extended := func(texts ...string) []byte {
		var out []byte
		for _, sql := range texts {
			out = wire.AppendExecute(wire.AppendBind(wire.AppendParse(out, "", sql), "", "", nil, nil, nil), "", 0)
		}
		return wire.AppendSync(out)
	}
	if got := query(a, "SET ROLE state_short"); strings.Contains(got, "ERROR") {
		t.Fatal(got)
	}
	query(b, "SELECT 1")
	exec("DROP ROLE state_short")
	for _, msgs := range [][]byte{
		wire.AppendQuery(nil, "INSERT INTO t VALUES (1)"), wire.AppendQuery(nil, "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)"),
		wire.AppendQuery(nil, "ROLLBACK; INSERT INTO t VALUES (1)"), wire.AppendQuery(nil, "COMMIT; INSERT INTO t VALUES (1); COMMIT"), extended("INSERT INTO t VALUES (1)"),
		extended("ROLLBACK", "INSERT INTO t VALUES (1)"), extended("COMMIT", "INSERT INTO t VALUES (1)", "COMMIT"), wire.AppendQuery(nil, "SELECT 1"), wire.AppendQuery(nil, "DO $$BEGIN INSERT INTO t VALUES (1); END$$"),
	} {
		if got := unit(a, msgs); !strings.HasPrefix(got, "E ERROR 22023 role \"state_short\" does not exist") || !strings.HasSuffix(got, "Z I\n") || strings.Count(got, "\n") != 2 {
			t.Errorf("%q: %s", msgs, got)
		}
	}
	if got := query(b, "SELECT count(*) FROM t"); !strings.Contains(got, `\x010"`) {
		t.Errorf("something was done: %s", got)
	}
	if got := query(a, "RESET ROLE"); got != "C \"RESET\\x00\"\nZ I\n" {
		t.Errorf("the way out: %s", got)
	}
	if got := query(a, "INSERT INTO t VALUES (1)"); !strings.Contains(got, "INSERT 0 1") {
		t.Error(got)
	}
	if got := query(b, "INSERT INTO t VALUES (1)"); !strings.Contains(got, "INSERT 0 1") {
		t.Error(got)
	}
}
