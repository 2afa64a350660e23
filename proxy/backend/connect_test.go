package backend

import (
	"errors"
	"fmt"
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
