package main

import (
	"context"
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
)

// refused connects, and wants that not to work.
func refused(t *testing.T, url string) *pgconn.PgError {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err == nil {
		conn.Close(ctx)
		return nil
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Errorf("%v", err)
	}
	return pg
}

// userlist writes a file of users: name, password, name, password …
func userlist(t *testing.T, users ...string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(users); i += 2 {
		fmt.Fprintf(&b, "%q %q\n", users[i], users[i+1])
	}
	path := filepath.Join(t.TempDir(), "userlist.txt")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// HAZARDS 25: wherever Freshet has its users from, it is Postgres that decides who may do what.
func TestHazard25WhatPostgresRefusesIsRefused(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	ctx := context.Background()
	p := c.Primary()
	for _, sql := range []string{
		"CREATE ROLE door_user LOGIN PASSWORD 'secret'",
		"CREATE ROLE door_expired LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01'",
		"CREATE ROLE door_group NOLOGIN PASSWORD 'secret'",
		"CREATE ROLE door_limited LOGIN PASSWORD 'secret' CONNECTION LIMIT 0",
		"CREATE DATABASE door_private", "REVOKE CONNECT ON DATABASE door_private FROM public",
		"CREATE DATABASE door_closed ALLOW_CONNECTIONS false",
		"CREATE DATABASE door_full CONNECTION LIMIT 0",
	} {
		if err := p.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	secrets := []string{"door_nobody", "secret"} // who is in the file and not in Postgres
	plain := []string{"door_nobody", "secret"}
	for _, role := range []string{"door_user", "door_expired", "door_group", "door_limited"} {
		secret, err := p.Value(ctx, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
		if err != nil {
			t.Fatal(err)
		}
		secrets, plain = append(secrets, role, secret), append(plain, role, "secret")
	}
	for source, file := range map[string]string{"catalog": "", "SCRAM secrets in a file": userlist(t, secrets...), "passwords in a file": userlist(t, plain...)} {
		in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.AuthFile = file })
		for _, tt := range []struct{ user, password, database, code string }{
			{"door_user", "secret", cluster.App, ""},
			{"door_user", "wrong", cluster.App, "28P01"},
			{"door_expired", "secret", cluster.App, "28P01"},
			{"door_nobody", "secret", cluster.App, "28P01"},
			{"door_group", "secret", cluster.App, "28000"},
			{"door_limited", "secret", cluster.App, "53300"},
			{"door_user", "secret", "door_private", "42501"},
			{"door_user", "secret", "door_closed", "55000"},
			{"door_user", "secret", "door_full", "53300"},
			{"door_user", "secret", "door_missing", "3D000"},
		} {
			login := tt.user + ":" + tt.password + "@%s/" + tt.database + "?sslmode=disable"
			direct := refused(t, "postgres://"+fmt.Sprintf(login, p.Addr()))
			here := refused(t, "postgres://"+fmt.Sprintf(login, in.Addrs()[0]))
			if tt.code == "" {
				if direct != nil || here != nil {
					t.Errorf("%s: %s: %v, directly %v", source, login, here, direct)
				}
				continue
			}
			if direct == nil || here == nil || here.Severity != "FATAL" || here.Code != tt.code || here.Code != direct.Code || here.Message != direct.Message {
				t.Errorf("%s: %s: %v, directly %v", source, login, here, direct)
			}
		}
		// With the file, who isn't in it isn't known, whatever Postgres says. The words are those for a wrong password.
		if file == "" {
			continue
		}
		unknown := refused(t, "postgres://app:"+c.AppPassword()+"@"+in.Addrs()[0]+"/app?sslmode=disable")
		wrong := refused(t, "postgres://door_user:wrong@"+in.Addrs()[0]+"/app?sslmode=disable")
		if unknown == nil || wrong == nil || unknown.Code != wrong.Code || unknown.Hint != wrong.Hint || unknown.Detail != wrong.Detail ||
			strings.Replace(unknown.Message, "app", "door_user", 1) != wrong.Message {
			t.Errorf("%v, and with a wrong password %v", unknown, wrong)
		}
	}
}

func TestAuthFileIsReadAgainOnSIGHUP(t *testing.T) {
	c := shared.Get(t)
	file := userlist(t, "app", "wrong")
	p := startFreshet(t, []string{"FRESHET_PRIMARY=" + c.Primary().URL("app")}, "serve", "--listen", "127.0.0.1:0", "--http", "", "--auth-file", file)
	addr := p.find(&p.stderr, `accepts clients" addresses=\[(\S+)\]`, 20*time.Second)
	url := "postgres://app:" + c.AppPassword() + "@" + addr + "/app?sslmode=disable"
	if pg := refused(t, url); pg == nil || pg.Code != "28P01" {
		t.Error(pg)
	}
	write := func(text, logged string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGHUP)
		p.find(&p.stderr, logged, 10*time.Second)
	}
	write(`"app" "`+c.AppPassword()+"\"\n\"old\" \"md5"+strings.Repeat("0", 32)+`"`, `1 users have an MD5 hash.*: old"`)
	p.find(&p.stderr, `reload: done`, 10*time.Second)
	conn := connectTo(t, url)
	write(`"app" `+c.AppPassword(), `nothing has changed" error="--auth-file .*line 1: expected a password in double quotes`)
	if got := one(t, connectTo(t, url), "SELECT current_user"); got != "app" {
		t.Error(got)
	}
	if got := one(t, conn, "SELECT current_user"); got != "app" {
		t.Error(got)
	}
	if out := p.stderr.String(); strings.Contains(out, c.AppPassword()) {
		t.Error("a password is in the log")
	}
}

// Under trust, a file of users says who there is, and with which passwords to go to the servers.
func TestTrustWithAnAuthFile(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) {
		cfg.AuthType, cfg.AuthFile = "trust", userlist(t, "app", c.AppPassword(), "none", "")
	})
	base := "@" + in.Addrs()[0] + "/app?sslmode=disable"
	if got := one(t, connectTo(t, "postgres://app"+base), "SELECT current_user"); got != "app" {
		t.Error(got)
	}
	for user, want := range map[string]string{
		"postgres": `user "postgres" is not in Freshet's --auth-file`,
		"none":     `Freshet can't log in to the server as user "none"`,
	} {
		if pg := refused(t, "postgres://"+user+base); pg == nil || pg.Code != "28000" || pg.Message != want {
			t.Errorf("%s: %v", user, pg)
		}
	}
}

func TestMaxClients(t *testing.T) {
	c := shared.Get(t)
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.MaxClients = 2 })
	url := "postgres://postgres:%s@" + in.Addrs()[0] + "/app?sslmode=disable"
	first := in.connect(t, c, cluster.App, "")
	second := in.connect(t, c, cluster.App, "")
	full := func(what, password string) {
		t.Helper()
		if pg := refused(t, fmt.Sprintf(url, password)); pg == nil || pg.Severity != "FATAL" || pg.Code != "53300" || pg.Message != "sorry, too many clients already" {
			t.Errorf("%s: %v", what, pg)
		}
	}
	full("a third", c.Password())
	full("before anything is done for it", "wrong")
	// A request to cancel gets through.
	done := make(chan error, 1)
	go func() {
		_, err := first.Exec(context.Background(), "SELECT pg_sleep(30)")
		done <- err
	}()
	var err error
	eventually(t, "the cancel", func() bool {
		first.PgConn().CancelRequest(context.Background())
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "57014" {
		t.Error(err)
	}
	// Whoever is refused takes nobody's place.
	second.Close(context.Background())
	eventually(t, "a free place", func() bool { return refused(t, fmt.Sprintf(url, "wrong")).Code == "28P01" })
	third := in.connect(t, c, cluster.App, "")
	full("a fourth", c.Password())
	in.server.SetMaxClients(3)
	in.connect(t, c, cluster.App, "")
	full("a fifth", c.Password())
	in.server.SetMaxClients(1)
	if got := one(t, third, "SELECT 3"); got != "3" {
		t.Errorf("who is in is out: %s", got)
	}
}

// A role's CONNECTION LIMIT bounds Freshet's connections as that role, and not its clients: they share them, also when
// there is none left for the login by which the server would welcome one more.
func TestPooledLoginsUnderAConnectionLimit(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{})
	ctx := context.Background()
	if err := c.Primary().Exec(ctx, "CREATE ROLE limited LOGIN PASSWORD 'secret' CONNECTION LIMIT 2"); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, nil)
	url := "postgres://limited:secret@" + in.Addrs()[0] + "/app?sslmode=disable"
	conns := []*pgx.Conn{connectTo(t, url)}
	for len(conns) < 3 {
		conns = append(conns, connectTo(t, url))
	}
	// Both connections to the server are taken, and what was known when the first client came is outdated.
	for _, conn := range conns[:2] {
		do(t, conn, "BEGIN")
		do(t, conn, "SELECT txid_current()")
	}
	time.Sleep(1100 * time.Millisecond) // AdmitConfig.WelcomeFor
	conn := connectTo(t, url)
	for _, conn := range conns[:2] {
		do(t, conn, "ROLLBACK")
	}
	conns = append(conns, conn)
	var wg sync.WaitGroup
	for _, conn := range conns {
		wg.Go(func() {
			for range 5 {
				if _, err := conn.Exec(ctx, "SELECT pg_sleep(0.01)"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// With nothing to serve it, a client is refused as Postgres refuses it.
	if err := c.Primary().Exec(ctx, "ALTER ROLE limited CONNECTION LIMIT 0"); err != nil {
		t.Fatal(err)
	}
	other := startTestServer(t, c, nil)
	if pg := refused(t, strings.Replace(url, in.Addrs()[0], other.Addrs()[0], 1)); pg == nil || pg.Code != "53300" {
		t.Error(pg)
	}
}
