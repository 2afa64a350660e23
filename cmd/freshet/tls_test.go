package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/backend"
)

// certificates are the files of TLS for clients.
type certificates struct {
	t         testing.TB
	dir       string
	authority *cluster.Authority
}

func newCertificates(t testing.TB) *certificates {
	t.Helper()
	authority, err := cluster.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	c := &certificates{t, t.TempDir(), authority}
	c.write("ca.crt", authority.PEM())
	c.renew()
	return c
}

func (c *certificates) path(name string) string { return filepath.Join(c.dir, name) }

func (c *certificates) write(name string, text []byte) {
	c.t.Helper()
	if err := os.WriteFile(c.path(name), text, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *certificates) renew() {
	c.t.Helper()
	cert, key, err := c.authority.Server()
	if err != nil {
		c.t.Fatal(err)
	}
	c.write("server.crt", cert)
	c.write("server.key", key)
}

// user makes a client's certificate and returns the parameters that show it.
func (c *certificates) user(name string) string {
	c.t.Helper()
	cert, key, err := c.authority.Client(name)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(name+".crt", cert)
	c.write(name+".key", key)
	return "&sslcert=" + c.path(name+".crt") + "&sslkey=" + c.path(name+".key")
}

func (c *certificates) config(mode string) func(*ServeConfig) {
	return func(cfg *ServeConfig) {
		cfg.TLSMode, cfg.TLSCert, cfg.TLSKey, cfg.TLSClientCA = mode, c.path("server.crt"), c.path("server.key"), c.path("ca.crt")
	}
}

// verified is what a careful client says.
func (c *certificates) verified() string {
	return "sslmode=verify-full&channel_binding=require&sslrootcert=" + c.path("ca.crt")
}

func connectTo(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // who it is connected to may be gone
		defer cancel()
		conn.Close(ctx)
	})
	return conn
}

// What runs on epoll for others runs on goroutines for clients with TLS: the same session, so the same answers.
func TestSessionsThroughTLS(t *testing.T) {
	c := shared.Get(t)
	papers := newCertificates(t)
	in := startTestServer(t, c, papers.config("require"))
	database := c.NewDatabase(t)
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, database, "CREATE TABLE r(a int PRIMARY KEY, b text); CREATE TABLE s(a int, d date);"+
		"CREATE TABLE big(a text); INSERT INTO r SELECT i, 'row ' || i FROM generate_series(1, 100) i"); err != nil {
		t.Fatal(err)
	}
	covered(t, c, in, database)
	url := "postgres://postgres:" + c.Password() + "@" + in.Addrs()[0] + "/" + database + "?" + papers.verified()

	t.Run("what Postgres says", func(t *testing.T) {
		through, err := backend.ParseTarget(url)
		if err != nil {
			t.Fatal(err)
		}
		l, err := backend.Connect(ctx, backend.ConnectConfig{Target: through, Database: database, Identity: through.Service(), Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Conn.Close()
		if _, ok := l.Conn.(*tls.Conn); !ok {
			t.Fatal("not encrypted")
		}
		a, b := dialWire(t, ctx, c.Primary().Addr(), database, c.Password()), &wireConn{conn: l.Conn, buf: l.Leftover}
		defer a.conn.Close()
		for _, sql := range []string{
			"SELECT 1", "SELECT a, b FROM r WHERE a = 7", "SELECT a, b FROM r WHERE a = 7", "", "SELECT 1/0", "SELECT 1; SELECT 2",
			"BEGIN; SELECT a FROM r WHERE a = 2; ROLLBACK", "SET TimeZone = 'Asia/Tokyo'", "SHOW TimeZone", "COPY (SELECT * FROM r ORDER BY a) TO STDOUT",
			"SELECT repeat('x', 300000)", "selct", "CREATE TEMP TABLE tt(a int)", "SELECT * FROM tt", "DISCARD ALL",
		} {
			var u wireUnit
			u.add("Q", sql)
			a.send(t, u.bytes)
			b.send(t, u.bytes)
			if want, got := a.replies(t, 1), b.replies(t, 1); want != got {
				t.Errorf("%q:\n%s\ndirectly:\n%s", sql, got, want)
			}
		}
	})

	t.Run("a lot at once, in both directions", func(t *testing.T) {
		conn := connectTo(t, url)
		const lines = 300_000
		text := bytes.Repeat([]byte(strings.Repeat("x", 49)+"\n"), lines)
		n, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(text), "COPY big FROM STDIN")
		if err != nil || n.RowsAffected() != lines {
			t.Fatal(n, err)
		}
		var out bytes.Buffer
		if _, err := conn.PgConn().CopyTo(ctx, &out, "COPY big TO STDOUT"); err != nil || !bytes.Equal(out.Bytes(), text) {
			t.Errorf("%d bytes of %d came back: %v", out.Len(), len(text), err)
		}
		// More than any buffer holds is asked for before anything is read (HAZARDS 16).
		var batch pgx.Batch
		for i := range 3000 {
			batch.Queue("SELECT repeat('y', 3000) || $1", fmt.Sprint(i))
		}
		results := conn.SendBatch(ctx, &batch)
		for i := range batch.Len() {
			var s string
			if err := results.QueryRow().Scan(&s); err != nil || !strings.HasSuffix(s, "y"+fmt.Sprint(i)) {
				t.Fatalf("%d: %.10q… %v", i, s, err)
			}
		}
		if err := results.Close(); err != nil {
			t.Error(err)
		}
	})

	t.Run("from the cache", func(t *testing.T) {
		conn := connectTo(t, url)
		eventually(t, "a cached answer", func() bool {
			return one(t, conn, "SELECT b FROM r WHERE a = $1", 42) == "row 42" && one(t, conn, "SHOW freshet.source") == "l1"
		})
	})

	t.Run("cancel", func(t *testing.T) {
		conn := connectTo(t, url)
		go func() {
			time.Sleep(100 * time.Millisecond) // the query has to be there before it can be cancelled
			conn.PgConn().CancelRequest(ctx)
		}()
		_, err := conn.Exec(ctx, "SELECT pg_sleep(30)")
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "57014" {
			t.Error(err)
		}
		if got := one(t, conn, "SELECT 5"); got != "5" {
			t.Error(got)
		}
	})

	t.Run("many, who come and go in any way", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				conn, err := pgx.Connect(ctx, url)
				if err != nil {
					t.Error(err)
					return
				}
				var b string
				if err := conn.QueryRow(ctx, "SELECT b FROM r WHERE a = $1", i+1).Scan(&b); err != nil || b != fmt.Sprintf("row %d", i+1) {
					t.Error(b, err)
				}
				switch i % 3 {
				case 0:
					conn.Close(ctx)
				case 1: // without a goodbye, be it of Postgres or TLS
					conn.PgConn().Conn().(*tls.Conn).NetConn().Close()
				default: // in the middle of an answer
					conn.PgConn().Conn().Write([]byte("Q\x00\x00\x00\x20SELECT generate_series(1,1"))
					conn.PgConn().Conn().(*tls.Conn).NetConn().Close()
				}
			})
		}
		wg.Wait()
		eventually(t, "nobody is left behind", func() bool { return in.server.Stats().Clients <= 0 })
	})
}

// add adds a simple query.
func (u *wireUnit) add(kind, sql string) {
	body := append([]byte(sql), 0)
	u.bytes = append(append(append(u.bytes, kind...), 0, 0, byte((len(body)+4)>>8), byte(len(body)+4)), body...)
	u.syncs++
}

// Who shows a certificate is let in by it, and Freshet goes to the server as that user: there by trust, or by a certificate of
// its own for which the server's pg_ident.conf says whose part it may play.
func TestClientCertificatesToTheServer(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{HBA: []string{"host all app 127.0.0.1/32 trust"}})
	papers := newCertificates(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		papers.config("verify-client")(cfg)
		cfg.AuthType = "cert"
	})
	base := "@" + in.Addrs()[0] + "/app?sslmode=verify-full&sslrootcert=" + papers.path("ca.crt")
	conn := connectTo(t, "postgres://app"+base+papers.user("app"))
	if got := one(t, conn, "SELECT current_user"); got != "app" {
		t.Error(got)
	}
	if err := c.Primary().Exec(context.Background(), "CREATE ROLE somebody LOGIN"); err != nil {
		t.Fatal(err)
	}
	_, err := pgx.Connect(context.Background(), "postgres://somebody"+base+papers.user("somebody"))
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "28000" || !strings.Contains(pg.Message, `Freshet can't log in to the server as user "somebody"`) {
		t.Errorf("the server doesn't trust us for somebody: %v", err)
	}
}

func TestCertificatesAreReadAgainOnSIGHUP(t *testing.T) {
	c := shared.Get(t)
	papers := newCertificates(t)
	p := startFreshet(t, []string{"FRESHET_PRIMARY=" + c.Primary().URL("app")}, "serve", "--listen", "127.0.0.1:0", "--http", "",
		"--tls-mode", "require", "--tls-cert", papers.path("server.crt"), "--tls-key", papers.path("server.key"))
	addr := p.find(&p.stderr, `accepts clients" addresses=\[(\S+)\]`, 20*time.Second)
	url := "postgres://app:" + c.AppPassword() + "@" + addr + "/app?" + papers.verified()
	serial := func(conn *pgx.Conn) string {
		return conn.PgConn().Conn().(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := connectTo(t, url)

	papers.renew()
	p.signal(syscall.SIGHUP)
	p.find(&p.stderr, `reload: done`, 10*time.Second)
	second := connectTo(t, url)
	if serial(first) == serial(second) {
		t.Error("the new certificate isn't used")
	}

	good, err := os.ReadFile(papers.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	papers.write("server.key", []byte("nonsense"))
	p.signal(syscall.SIGHUP)
	p.find(&p.stderr, `level=ERROR msg="reload: .*nothing has changed" error="TLS for clients: `, 10*time.Second)
	third := connectTo(t, url)
	if serial(third) != serial(second) {
		t.Error("another certificate than the last good one")
	}
	papers.write("server.key", good)
	for i, conn := range []*pgx.Conn{first, second, third} {
		if got := one(t, conn, "SELECT 1"); got != "1" {
			t.Errorf("connection %d is lost", i)
		}
	}
	_, err = pgx.Connect(context.Background(), "postgres://app:"+c.AppPassword()+"@"+addr+"/app?sslmode=disable")
	if err == nil || !strings.Contains(err.Error(), "connection requires TLS") {
		t.Error(err)
	}

	p.signal(syscall.SIGTERM)
	// Idle clients are told, through TLS as well.
	p.find(&p.stderr, "freshet stops", 10*time.Second)
	eventually(t, "the end of the connection", func() bool {
		_, err = first.Exec(context.Background(), "SELECT 1")
		return err != nil
	})
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "57P01" {
		t.Error(err)
	}
	p.wait(exitOK, 20*time.Second)
}

// A server that isn't configured well is said to be so at once.
func TestBadTLSFilesEndTheStart(t *testing.T) {
	p := startFreshet(t, nil, "serve", "--primary", testURL, "--tls-mode", "allow", "--tls-cert", "/nowhere/x", "--tls-key", "/nowhere/x")
	p.wait(exitUsage, 10*time.Second)
	if !strings.Contains(p.stderr.String(), "--tls-cert /nowhere/x") {
		t.Error("it doesn't say which")
	}
}
