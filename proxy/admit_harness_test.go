package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

// door is an Admitter behind a listener. Whoever is let in is welcomed, and gets one row with its name for each query.
type door struct {
	addr string
	mu   struct {
		sync.Mutex
		admitted []*Admitted
		refused  []error
	}
	news chan struct{} // has something in it after each admission or refusal
}

func open(t *testing.T, a *Admitter) *door {
	t.Helper()
	before := goleak.IgnoreCurrent()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{addr: l.Addr().String(), news: make(chan struct{}, 10000)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { d.serve(ctx, a, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
		a.Close()
		a.Close()
		goleak.VerifyNone(t, before)
	})
	return d
}

func (d *door) serve(ctx context.Context, a *Admitter, conn net.Conn) {
	admitted, err := a.Admit(ctx, conn)
	d.mu.Lock()
	if err != nil {
		d.mu.refused = append(d.mu.refused, err)
	} else {
		d.mu.admitted = append(d.mu.admitted, admitted)
	}
	d.mu.Unlock()
	d.news <- struct{}{}
	if err != nil {
		return
	}
	conn = admitted.Conn // through TLS, if the client wanted that
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if admitted.Cancel != nil {
		return
	}
	var out []byte
	for _, p := range admitted.Welcome {
		out = wire.AppendParameterStatus(out, p.Name, p.Value)
	}
	out = wire.AppendReadyForQuery(wire.AppendBackendKeyData(out, 1, []byte("abcd")), wire.TxIdle)
	if _, err := conn.Write(out); err != nil {
		return
	}
	r := wire.NewReader(io.MultiReader(strings.NewReader(string(admitted.Leftover)), conn))
	for {
		typ, _, err := r.Message(1 << 20)
		if err != nil || typ == wire.MsgTerminate {
			return
		}
		if typ == wire.MsgQuery {
			out := wire.AppendTextRow(wire.AppendTextRowDescription(nil, "user"), admitted.User)
			conn.Write(wire.AppendReadyForQuery(wire.AppendCommandComplete(out, "SELECT 1"), wire.TxIdle))
		}
	}
}

// last waits for the next client to be dealt with, and returns what became of it.
func (d *door) last(t *testing.T) (*Admitted, error) {
	t.Helper()
	select {
	case <-d.news:
	case <-time.After(10 * time.Second):
		t.Fatal("the client is neither admitted nor refused")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	admitted, refused := d.mu.admitted, d.mu.refused
	d.mu.admitted, d.mu.refused = nil, nil
	switch {
	case len(admitted) == 1 && len(refused) == 0:
		return admitted[0], nil
	case len(admitted) == 0 && len(refused) == 1:
		return nil, refused[0]
	}
	t.Fatalf("%d admitted, %d refused: %v", len(admitted), len(refused), refused)
	return nil, nil
}

// client is a pgx client: keyword=value pairs are added to what is common.
func (d *door) client(ctx context.Context, more string) (*pgconn.PgConn, error) {
	host, port, _ := net.SplitHostPort(d.addr)
	cfg, err := pgconn.ParseConfig("host=" + host + " port=" + port + " sslmode=disable " + more)
	if err != nil {
		return nil, err
	}
	return pgconn.ConnectConfig(ctx, cfg)
}

// login connects, disconnects, and returns what the Admitter made of it and what the client was told.
func (d *door) login(t *testing.T, more string) (*Admitted, *pgconn.PgError, error) {
	t.Helper()
	conn, err := d.client(t.Context(), more)
	admitted, refused := d.last(t)
	if err == nil {
		conn.Close(t.Context())
		if refused != nil {
			t.Fatalf("the client is in, and was refused: %v", refused)
		}
		return admitted, nil, nil
	}
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		return admitted, nil, err
	}
	var r *Refusal
	if !errors.As(refused, &r) || r.Told == nil || r.Told.Message != told.Message {
		t.Errorf("the client was told %v, and the log %v", told, refused)
	}
	return admitted, told, refused
}

func target(t *testing.T, url string) backend.Target {
	t.Helper()
	target, err := backend.ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// admitter is one for the given service URLs.
func admitter(t *testing.T, cfg AdmitConfig, urls ...string) *Admitter {
	t.Helper()
	var targets []backend.Target
	var configs []*pgconn.Config
	for _, u := range urls {
		n := target(t, u)
		targets, configs = append(targets, n), append(configs, n.Config())
	}
	if cfg.Nodes == nil {
		cfg.Nodes = func() []backend.Target { return targets }
	}
	if cfg.Verifiers == nil && cfg.AuthType != AuthTrust {
		s := auth.NewCatalogSource(auth.CatalogConfig{Nodes: func() []*pgconn.Config { return configs }})
		t.Cleanup(s.Close)
		cfg.Verifiers = s
	}
	return NewAdmitter(cfg)
}

func execute(t *testing.T, c *cluster.Cluster, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		if err := c.Primary().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// psql runs psql against the door.
func (d *door) psql(t *testing.T, c *cluster.Cluster, password string, args ...string) (string, error) {
	t.Helper()
	program, err := c.Program("psql")
	if err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(d.addr)
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-X", "-w", "-A", "-t", "-h", host, "-p", port}, args...)...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password, "PGSSLMODE=prefer")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// noone is a Source of no role.
type noone struct{}

func (noone) Verifier(context.Context, string) (auth.Role, error) { return auth.Role{}, nil }
