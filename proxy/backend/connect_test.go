package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

func mustTarget(t *testing.T, url string) Target {
	t.Helper()
	target, err := ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// noLeaks fails the test if a goroutine is left over when all else has been cleaned up.
func noLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// connect logs in, and closes the connection when the test ends.
func connect(t *testing.T, cfg ConnectConfig) (*Login, error) {
	t.Helper()
	cfg.Timeout = 20 * time.Second
	login, err := Connect(t.Context(), cfg)
	if err == nil {
		t.Cleanup(func() { login.Conn.Close() })
	}
	return login, err
}

// ask runs a query and returns its only value.
func ask(t *testing.T, login *Login, sql string) (string, error) {
	t.Helper()
	if _, err := login.Conn.Write(wire.AppendQuery(nil, sql)); err != nil {
		return "", err
	}
	r := wire.NewReader(login.Conn)
	var value string
	var failed error
	for {
		typ, body, err := r.Message(1 << 20)
		if err != nil {
			return "", err
		}
		switch typ {
		case wire.MsgDataRow:
			row, err := wire.DecodeDataRow(body)
			if err != nil {
				return "", err
			}
			v, _ := row.Next()
			value = string(v)
		case wire.MsgErrorResponse:
			e, err := wire.DecodeError(body)
			if err != nil {
				return "", err
			}
			failed = e
		case wire.MsgReadyForQuery:
			return value, failed
		}
	}
}

func wantCode(t *testing.T, err error, code, text string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		t.Errorf("got %v, want %s %q", err, code, text)
	}
}

// learn has Freshet's side of authentication learn the keys of a user who knows the password.
func learn(t *testing.T, c *cluster.Cluster, user, password string) auth.Identity {
	t.Helper()
	stored, err := c.Primary().Value(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = $1", user)
	if err != nil {
		t.Fatal(err)
	}
	v, err := auth.ParseVerifier(stored)
	if err != nil {
		t.Fatal(err)
	}
	client, err := auth.NewClient(auth.WithPassword(user, password), []string{auth.MechanismSCRAM}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := auth.NewServer(user, v)
	first, err := server.First(client.First())
	if err != nil {
		t.Fatal(err)
	}
	final, err := client.Final(first)
	if err != nil {
		t.Fatal(err)
	}
	_, id, err := server.Final(final)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// url is how somebody connects to the primary with an sslmode.
func url(c *cluster.Cluster, user, password, mode string) string {
	u := fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=%s", user, password, c.Primary().Addr(), cluster.App, mode)
	if strings.HasPrefix(mode, "verify") {
		u += "&sslrootcert=" + c.CAFile()
	}
	return u
}

func TestConnect(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{
		TLS: true,
		HBA: []string{
			"host      all login_md5   all md5",
			"host      all login_clear all password",
			"host      all login_trust all trust",
			"hostssl   all login_tls   all scram-sha-256",
			"host      all login_tls   all reject",
			"hostnossl all login_clear2 all scram-sha-256",
			"host      all login_clear2 all reject",
		},
	})
	p := c.Primary()
	for _, sql := range []string{
		`SET password_encryption = 'md5'; CREATE ROLE login_md5 LOGIN PASSWORD 'secret'`,
		`CREATE ROLE login_clear LOGIN PASSWORD 'secret'`,
		`CREATE ROLE login_trust LOGIN`,
		`CREATE ROLE login_tls LOGIN PASSWORD 'secret'`,
		`CREATE ROLE login_clear2 LOGIN PASSWORD 'secret'`,
		`CREATE ROLE "Löwe, der" LOGIN PASSWORD 'pässwörd'`,
		`CREATE ROLE login_changed LOGIN PASSWORD 'secret'`,
		`CREATE ROLE login_group NOLOGIN PASSWORD 'secret'`,
		`CREATE ROLE login_limited LOGIN PASSWORD 'secret' CONNECTION LIMIT 0`,
		`CREATE DATABASE login_closed`,
		`REVOKE CONNECT ON DATABASE login_closed FROM public`,
	} {
		if err := p.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	noLeaks(t)
	service := func(mode string) Target {
		return mustTarget(t, url(c, cluster.Superuser, c.Password(), mode))
	}
	who := `SELECT session_user || ' ' || (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())`

	t.Run("as the service user", func(t *testing.T) {
		target := service("disable")
		login, err := connect(t, ConnectConfig{Target: target, Database: cluster.App, Identity: target.Service()})
		if err != nil {
			t.Fatal(err)
		}
		if login.PID == 0 || len(login.Secret) != 4 || login.TxStatus != wire.TxIdle || len(login.Leftover) != 0 ||
			login.Protocol != wire.Protocol30 {
			t.Errorf("%+v", login)
		}
		status := map[string]string{}
		for _, p := range login.Params {
			status[p.Name] = p.Value
		}
		if status["server_encoding"] != "UTF8" || status["server_version"] == "" || status["session_authorization"] != cluster.Superuser {
			t.Errorf("%v", login.Params)
		}
		if pid, err := ask(t, login, "SELECT pg_backend_pid()"); pid != fmt.Sprint(login.PID) || err != nil {
			t.Error(pid, err)
		}
	})

	t.Run("with keys that were learned, and no password", func(t *testing.T) {
		for user, password := range map[string]string{"Löwe, der": "pässwörd", cluster.App: c.AppPassword()} {
			id := learn(t, c, user, password)
			for mode, ssl := range map[string]string{"disable": "false", "require": "true", "verify-full": "true"} {
				login, err := connect(t, ConnectConfig{Target: service(mode), Database: cluster.App, Identity: id})
				if err != nil {
					t.Errorf("%s: %v", mode, err)
					continue
				}
				if got, err := ask(t, login, who); got != user+" "+ssl || err != nil {
					t.Errorf("%s: %q %v", mode, got, err)
				}
			}
		}
	})

	t.Run("with startup parameters, and without the service URL's", func(t *testing.T) {
		target := mustTarget(t, url(c, cluster.Superuser, c.Password(), "disable")+"&search_path=service&application_name=service&work_mem=1MB")
		login, err := connect(t, ConnectConfig{
			Target: target, Database: cluster.App, Identity: learn(t, c, cluster.App, c.AppPassword()),
			Params: []wire.Param{
				{Name: "application_name", Value: "client"},
				{Name: "options", Value: `-c statement_timeout=7s -c DateStyle=German`},
				{Name: "freshet.consistency", Value: "strong"},
				{Name: "user", Value: cluster.Superuser},
				{Name: "database", Value: "postgres"},
				{Name: "replication", Value: "database"},
				{Name: "_pq_.x", Value: "y"},
				{Name: "", Value: "x"},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := ask(t, login, `SELECT concat_ws('|', current_setting('application_name'), current_setting('statement_timeout'),
			current_setting('datestyle'), current_setting('freshet.consistency'), current_setting('search_path'),
			current_setting('work_mem'), session_user, current_database())`)
		if want := `client|7s|German, DMY|strong|"$user", public|4MB|app|app`; got != want || err != nil {
			t.Errorf("%q %v", got, err)
		}
	})

	t.Run("by other ways of authentication", func(t *testing.T) {
		for _, tt := range []struct {
			user string
			id   auth.Identity
			ok   bool
		}{
			{"login_md5", auth.WithPassword("login_md5", "secret"), true},
			{"login_clear", auth.WithPassword("login_clear", "secret"), true},
			{"login_trust", auth.Trusted("login_trust"), true},
			{"login_trust", auth.WithPassword("login_trust", "anything"), true},
			{"login_md5", auth.Trusted("login_md5"), false},
			{"login_clear", auth.Trusted("login_clear"), false},
			{"login_clear", learn(t, c, "login_clear", "secret"), false}, // keys are no password
			{cluster.App, auth.Trusted(cluster.App), false},
		} {
			login, err := connect(t, ConnectConfig{Target: service("disable"), Database: cluster.App, Identity: tt.id})
			if tt.ok {
				if err != nil {
					t.Errorf("%s: %v", tt.user, err)
				} else if got, _ := ask(t, login, who); got != tt.user+" false" {
					t.Errorf("%s: %q", tt.user, got)
				}
			} else if !errors.Is(err, auth.ErrNoSecret) {
				t.Errorf("%s: %v", tt.user, err)
			}
		}
		// The service user has the service URL's password, and nobody else has.
		if _, err := connect(t, ConnectConfig{Target: service("disable"), Identity: auth.Trusted(cluster.Superuser)}); err != nil {
			t.Error(err)
		}
	})

	t.Run("refused, in the server's words", func(t *testing.T) {
		app := learn(t, c, cluster.App, c.AppPassword())
		for _, tt := range []struct {
			database   string
			id         auth.Identity
			params     []wire.Param
			code, text string
		}{
			{"nowhere", app, nil, "3D000", `database "nowhere" does not exist`},
			{"login_closed", app, nil, "42501", `permission denied for database "login_closed"`},
			{cluster.App, auth.WithPassword(cluster.App, "wrong"), nil, "28P01", `password authentication failed for user "app"`},
			{cluster.App, auth.WithPassword("nobody", "wrong"), nil, "28P01", `password authentication failed for user "nobody"`},
			{cluster.App, learn(t, c, "login_group", "secret"), nil, "28000", `role "login_group" is not permitted to log in`},
			{cluster.App, learn(t, c, "login_limited", "secret"), nil, "53300", `too many connections for role "login_limited"`},
			{cluster.App, app, []wire.Param{{Name: "client_encoding", Value: "klingon"}}, "22023", `invalid value for parameter "client_encoding"`},
			{cluster.App, app, []wire.Param{{Name: "no_such_thing", Value: "1"}}, "42704", `unrecognized configuration parameter "no_such_thing"`},
			{cluster.App, app, []wire.Param{{Name: "log_statement", Value: "none"}}, "42501", `permission denied to set parameter "log_statement"`},
		} {
			_, err := connect(t, ConnectConfig{Target: service("disable"), Database: tt.database, Identity: tt.id, Params: tt.params})
			wantCode(t, err, tt.code, tt.text)
		}
	})

	t.Run("with keys of a password that was changed", func(t *testing.T) {
		id := learn(t, c, "login_changed", "secret")
		if err := p.Exec(t.Context(), "ALTER ROLE login_changed PASSWORD 'secret'"); err != nil {
			t.Fatal(err)
		}
		_, err := connect(t, ConnectConfig{Target: service("disable"), Database: cluster.App, Identity: id})
		wantCode(t, err, "28P01", "login_changed")
	})

	t.Run("by sslmode", func(t *testing.T) {
		for _, tt := range []struct {
			user, mode string
			ssl        string // "": refused
		}{
			{cluster.App, "disable", "false"},
			{cluster.App, "allow", "false"},
			{cluster.App, "prefer", "true"},
			{cluster.App, "require", "true"},
			{cluster.App, "verify-ca", "true"},
			{cluster.App, "verify-full", "true"},
			{"login_tls", "disable", ""},
			{"login_tls", "allow", "true"},
			{"login_tls", "prefer", "true"},
			{"login_clear2", "prefer", "false"},
			{"login_clear2", "allow", "false"},
			{"login_clear2", "require", ""},
		} {
			password := "secret"
			if tt.user == cluster.App {
				password = c.AppPassword()
			}
			target := mustTarget(t, url(c, tt.user, password, tt.mode))
			login, err := connect(t, ConnectConfig{Target: target, Database: cluster.App, Identity: target.Service()})
			if tt.ssl == "" {
				wantCode(t, err, "28000", "pg_hba.conf rejects connection")
				continue
			}
			if err != nil {
				t.Errorf("%s %s: %v", tt.user, tt.mode, err)
				continue
			}
			if got, err := ask(t, login, who); got != tt.user+" "+tt.ssl || err != nil {
				t.Errorf("%s %s: %q %v", tt.user, tt.mode, got, err)
			}
		}
	})

	t.Run("to a certificate that can't be verified", func(t *testing.T) {
		for _, tail := range []string{"verify-full", "verify-ca"} {
			u := fmt.Sprintf("postgres://%s:%s@%s/app?sslmode=%s", cluster.App, c.AppPassword(), p.Addr(), tail)
			target := mustTarget(t, u) // and no sslrootcert
			if _, err := connect(t, ConnectConfig{Target: target, Identity: target.Service()}); err == nil || !strings.Contains(err.Error(), "TLS") {
				t.Errorf("%s: %v", tail, err)
			}
		}
	})

	t.Run("bound to the channel", func(t *testing.T) {
		id := learn(t, c, cluster.App, c.AppPassword())
		for tail, ok := range map[string]bool{
			"require&channel_binding=require": true,
			"require&channel_binding=disable": true,
			"disable&channel_binding=require": false,
		} {
			_, err := connect(t, ConnectConfig{Target: service(tail), Database: cluster.App, Identity: id})
			if (err == nil) != ok {
				t.Errorf("%s: %v", tail, err)
			}
		}
	})

	t.Run("by the ways that require_auth allows", func(t *testing.T) {
		for _, tt := range []struct {
			user, rule string
			ok         bool
		}{
			{"login_clear", "scram-sha-256", false},
			{"login_clear", "password,md5", true},
			{"login_clear", "!password", false},
			{"login_md5", "!password", true},
			{"login_md5", "!md5,!password", false},
			{"login_trust", "scram-sha-256", false},
			{"login_trust", "none", true},
			{"login_tls", "scram-sha-256", true},
		} {
			target := mustTarget(t, url(c, tt.user, "secret", "prefer")+"&require_auth="+tt.rule)
			_, err := connect(t, ConnectConfig{Target: target, Identity: target.Service(), Database: cluster.App})
			if (err == nil) != tt.ok {
				t.Errorf("%s %s: %v", tt.user, tt.rule, err)
			}
		}
	})

	t.Run("by a Unix socket", func(t *testing.T) {
		if p.SocketDir() == "" {
			t.Skip("the cluster has none: its folder's name is too long")
		}
		target := mustTarget(t, fmt.Sprintf("host=%s port=%d user=%s password=%s", p.SocketDir(), p.Port(), cluster.App, c.AppPassword()))
		login, err := connect(t, ConnectConfig{Target: target, Database: cluster.App, Identity: target.Service()})
		if err != nil {
			t.Fatal(err)
		}
		if err := SendCancel(t.Context(), target, login.PID, login.Secret); err != nil {
			t.Error(err)
		}
	})

	// HAZARDS 4: when SendCancel returns, the signal has been sent.
	t.Run("and cancel", func(t *testing.T) {
		for _, mode := range []string{"disable", "allow", "prefer", "require", "verify-full"} {
			target := service(mode)
			login, err := connect(t, ConnectConfig{Target: target, Database: cluster.App, Identity: target.Service()})
			if err != nil {
				t.Fatal(err)
			}
			failed := make(chan error, 1)
			go func() {
				_, err := ask(t, login, "SELECT pg_sleep(60)")
				failed <- err
			}()
			for {
				v, err := p.Value(t.Context(), "SELECT wait_event FROM pg_stat_activity WHERE pid = $1", int(login.PID))
				if err != nil {
					t.Fatal(err)
				}
				if v == "PgSleep" {
					break
				}
			}
			if err := SendCancel(t.Context(), target, login.PID, append([]byte{}, 0, 0, 0, 0)); err != nil {
				t.Errorf("%s: a wrong secret is nothing that one is told: %v", mode, err)
			}
			select {
			case err := <-failed:
				t.Errorf("%s: cancelled by a wrong secret: %v", mode, err)
			default:
			}
			if err := SendCancel(t.Context(), target, login.PID, login.Secret); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			wantCode(t, <-failed, "57014", "canceling statement")
		}
	})
}

// server is one that says what a test has it say.
func server(t *testing.T, serve func(conn net.Conn)) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return mustTarget(t, "postgres://u:p@"+l.Addr().String()+"/d?sslmode=disable")
}

// says is a server that reads the startup packet, says something, and waits for the client to go.
func says(t *testing.T, messages []byte) Target {
	return server(t, func(conn net.Conn) {
		if _, err := wire.NewReader(conn).Startup(); err != nil {
			return
		}
		conn.Write(messages)
		io.Copy(io.Discard, conn)
	})
}

func TestConnectToServersThatMisbehave(t *testing.T) {
	noLeaks(t)
	ok := wire.AppendAuthenticationOk(nil)
	ready := wire.AppendReadyForQuery(nil, wire.TxIdle)
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		messages []byte
		ok       bool
	}{
		{"right", cat(ok, wire.AppendBackendKeyData(nil, 1, []byte("abcd")), ready), true},
		{"no key", cat(ok, ready), true},
		{"more after it", cat(ok, ready, wire.AppendNoticeResponse(nil, wire.Errorf("01000", "hi"))), true},
		{"ready before authentication", ready, false},
		{"key before authentication", cat(wire.AppendBackendKeyData(nil, 1, []byte("abcd")), ok, ready), false},
		{"authentication twice", cat(ok, ok, ready), false},
		{"in a transaction", cat(ok, wire.AppendReadyForQuery(nil, wire.TxActive)), false},
		{"another protocol", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false},
		{"2 GB", []byte("R\x7f\xff\xff\xff"), false},
		{"a long message", []byte("S\x00\x02\x00\x00"), false},
		{"endless messages", bytesRepeat(wire.AppendNoticeResponse(nil, wire.Errorf("01000", "x")), 2000), false},
		{"half a message", cat(ok, []byte("S\x00\x00\x00\x09a\x00")), false},
		{"an error that can't be read", []byte("E\x00\x00\x00\x05X"), false},
		{"a method that isn't supported", wire.AppendAuthentication(nil, wire.AuthGSS, nil), false},
		{"a signature without an exchange", cat(wire.AppendAuthentication(nil, wire.AuthSASLFinal, []byte("v=AAAA")), ok, ready), false},
		{"SCRAM cut short", cat(wire.AppendAuthenticationSASL(nil, auth.MechanismSCRAM), ok, ready), false},
		{"two methods", cat(wire.AppendAuthentication(nil, wire.AuthCleartextPassword, nil), wire.AppendAuthentication(nil, wire.AuthMD5Password, []byte("salt")), ok, ready), false},
		{"a newer protocol than asked for", cat(wire.AppendNegotiateProtocolVersion(nil, wire.Protocol32), ok, ready), false},
		{"the minor version alone", cat(wire.AppendNegotiateProtocolVersion(nil, 0), ok, ready), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := says(t, tt.messages)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			login, err := Connect(ctx, ConnectConfig{Target: target, Identity: target.Service()})
			if (err == nil) != tt.ok {
				t.Fatal(err)
			}
			if err == nil {
				if tt.name == "more after it" && len(login.Leftover) == 0 {
					t.Error("what came after ReadyForQuery is lost")
				}
				login.Conn.Close()
			}
		})
	}
}

func bytesRepeat(b []byte, n int) []byte { return []byte(strings.Repeat(string(b), n)) }

// HAZARDS 23: what comes in clear after the server's 'S' must not be taken for something that came through TLS.
func TestHazard23BytesBeforeTheHandshake(t *testing.T) {
	noLeaks(t)
	injected := append(wire.AppendAuthenticationOk(nil), wire.AppendReadyForQuery(nil, wire.TxIdle)...)
	plain := server(t, func(conn net.Conn) {
		if _, err := wire.NewReader(conn).Startup(); err != nil {
			return
		}
		conn.Write(append([]byte{'S'}, injected...))
		io.Copy(io.Discard, conn)
	})
	for _, mode := range []string{"require", "verify-full"} {
		target := mustTarget(t, "postgres://u:p@"+plain.Addr()+"/d?sslmode="+mode)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := Connect(ctx, ConnectConfig{Target: target, Identity: target.Service()}); err == nil {
			t.Errorf("%s: logged in by injected bytes", mode)
		}
		if err := SendCancel(ctx, target, 1, []byte("abcd")); err == nil {
			t.Errorf("%s: cancelled by injected bytes", mode)
		}
		cancel()
	}
}

func TestTLSThatIsRefused(t *testing.T) {
	noLeaks(t)
	startup := make(chan bool, 10)
	plain := server(t, func(conn net.Conn) {
		r := wire.NewReader(conn)
		if _, err := r.Startup(); err != nil {
			return
		}
		conn.Write([]byte{'N'})
		_, err := r.Startup()
		startup <- err == nil
		if err == nil {
			conn.Write(wire.AppendReadyForQuery(wire.AppendAuthenticationOk(nil), wire.TxIdle))
			io.Copy(io.Discard, conn)
		}
	})
	at := func(mode string) Target { return mustTarget(t, "postgres://u:p@"+plain.Addr()+"/d?sslmode="+mode) }
	if _, err := connect(t, ConnectConfig{Target: at("require"), Identity: auth.Trusted("x")}); err == nil || <-startup {
		t.Error("sslmode=require went on in clear", err)
	}
	login, err := connect(t, ConnectConfig{Target: at("prefer"), Identity: auth.Trusted("x")})
	if err != nil || !<-startup {
		t.Error(err)
	} else {
		login.Conn.Close()
	}
}

func TestConnectEnds(t *testing.T) {
	noLeaks(t)
	gone := make(chan struct{}, 10)
	silent := server(t, func(conn net.Conn) {
		io.Copy(io.Discard, conn)
		gone <- struct{}{}
	})
	begun := time.Now()
	_, err := Connect(t.Context(), ConnectConfig{Target: silent, Identity: auth.Trusted("x"), Timeout: 20 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-gone
	ctx, cancel := context.WithCancel(t.Context())
	cause := time.AfterFunc(20*time.Millisecond, cancel)
	defer cause.Stop()
	if _, err = Connect(ctx, ConnectConfig{Target: silent, Identity: auth.Trusted("x")}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-gone
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := SendCancel(ctx, silent, 1, []byte("abcd")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-gone
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if _, err := Connect(t.Context(), ConnectConfig{}); err == nil {
		t.Error("logged in nowhere")
	}
}

func TestParseTarget(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	for url, addr := range map[string]string{
		"postgres://u:p@h:1/d":                     "h:1",
		"postgres://u:p@[::1]/d":                   "[::1]:5432",
		"postgres:///d?host=/run/pg&port=7&user=u": "/run/pg/.s.PGSQL.7",
		"postgres://u:p@h/d?sslmode=verify-full":   "h:5432",
	} {
		if got := mustTarget(t, url).Addr(); got != addr {
			t.Errorf("%s: %s", url, got)
		}
	}
	if target := mustTarget(t, "postgres://u:p@h"); target.User() != "u" || target.Database() != "u" {
		t.Error(target.User(), target.Database())
	}
	for _, url := range []string{
		"postgres://u:hunter2@a,b/d",
		"postgres://u:hunter2@a:1,a:2/d?sslmode=disable",
		"postgres://u:hunter2@h/d?sslmode=maybe",
		"postgres://u:hunter2@h:x/d",
		"postgres://u:hunter2@h:1:2/d",
		"postgres://u:hunter2@h/%zz",
		"postgres://u:hunt%er2@h/d",
		"postgres://u:hunter2@h/d?sslcertmode=require",
		"postgres://u:hunter2@h/d?require_auth=md5,!password",
		"host=h password=hunter2 port=x",
		"host=h password='hunter2",
	} {
		_, err := ParseTarget(url)
		if err == nil {
			t.Errorf("%s: no error", url)
		} else if strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}

// HAZARDS 28: whatever is printed, no secret is in it.
func TestHazard28TargetsPrintAsAddresses(t *testing.T) {
	target := mustTarget(t, "postgres://u:hunter2@h/d")
	type holder struct{ t Target }
	for _, x := range []any{target, &target, holder{target}, &holder{target}, []Target{target}, []holder{{target}}, map[Target]holder{target: {target}},
		ConnectConfig{Target: target, Identity: target.Service()}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if out := fmt.Sprintf(verb, x); strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T shows the password: %s", verb, x, out)
			}
		}
	}
}
