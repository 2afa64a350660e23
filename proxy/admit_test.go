package proxy

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/backend"
	"github.com/freshet/freshet/proxy/wire"
)

func TestAdmit(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1})
	p := c.Primary()
	long := strings.Repeat("long", 20)
	execute(t, c,
		`CREATE ROLE admit_user LOGIN PASSWORD 'secret'`,
		`CREATE ROLE admit_expired LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01'`,
		`CREATE ROLE admit_nopassword LOGIN`,
		`CREATE ROLE admit_group NOLOGIN PASSWORD 'secret'`,
		`CREATE ROLE admit_limited LOGIN PASSWORD 'secret' CONNECTION LIMIT 0`,
		`CREATE ROLE admit_changing LOGIN PASSWORD 'secret'`,
		`CREATE ROLE admit_set LOGIN PASSWORD 'secret'; ALTER ROLE admit_set SET timezone = 'Asia/Tokyo'`,
		`CREATE ROLE `+long[:63]+` LOGIN PASSWORD 'secret'`,
		`SET password_encryption = 'md5'; CREATE ROLE admit_md5 LOGIN PASSWORD 'secret'`,
		`CREATE DATABASE admit_user`,
		`CREATE DATABASE admit_closed`,
		`REVOKE CONNECT ON DATABASE admit_closed FROM public`,
	)
	if err := c.WaitCaughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	var logins atomic.Int32
	service := target(t, p.URL(cluster.App))
	a := admitter(t, AdmitConfig{Console: "freshet", Timeout: time.Minute, Nodes: func() []backend.Target {
		logins.Add(1)
		return []backend.Target{service}
	}}, p.URL(cluster.App))
	d := open(t, a)

	t.Run("welcomes as Postgres does", func(t *testing.T) {
		for _, tt := range []string{
			"user=admit_user password=secret",
			"user=admit_set password=secret dbname=app",
			"user=admit_user password=secret dbname=app client_encoding=latin1 application_name='grüße\u0001'",
			"user=admit_user password=secret options='-c IntervalStyle=iso_8601 -c datestyle=german'",
			"user=postgres password=" + c.Password() + " dbname=app",
		} {
			admitted, told, err := d.login(t, tt)
			if err != nil {
				t.Errorf("%s: %v %v", tt, told, err)
				continue
			}
			cfg, err := pgconn.ParseConfig(p.URL("") + "") // for host and port
			if err != nil {
				t.Fatal(err)
			}
			direct, err := pgconn.ParseConfig(fmt.Sprintf("host=%s port=%d sslmode=disable %s", cfg.Host, cfg.Port, tt))
			if err != nil {
				t.Fatal(err)
			}
			conn, err := pgconn.ConnectConfig(t.Context(), direct)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range admitted.Welcome {
				if want := conn.ParameterStatus(s.Name); want != s.Value {
					t.Errorf("%s: %s is %q, directly %q", tt, s.Name, s.Value, want)
				}
			}
			if len(admitted.Welcome) < 10 {
				t.Errorf("%s: %v", tt, admitted.Welcome)
			}
			conn.Close(t.Context())
		}
	})

	t.Run("and learns who logs in to servers", func(t *testing.T) {
		admitted, _, err := d.login(t, "user=admit_user password=secret dbname=app")
		if err != nil {
			t.Fatal(err)
		}
		if admitted.User != "admit_user" || admitted.Database != "app" || admitted.Protocol != wire.Protocol30 {
			t.Errorf("%+v", admitted)
		}
		login, err := backend.Connect(t.Context(), backend.ConnectConfig{Target: service, Database: "app", Identity: admitted.Identity})
		if err != nil {
			t.Fatal(err)
		}
		login.Conn.Close()
	})

	t.Run("psql", func(t *testing.T) {
		if out, err := d.psql(t, c, "secret", "-U", "admit_user", "-d", "app", "-c", "select 1"); err != nil || out != "admit_user" {
			t.Errorf("%s %v", out, err)
		}
		d.last(t)
		out, err := d.psql(t, c, "wrong", "-U", "admit_user", "-d", "app", "-c", "select 1")
		if err == nil || !strings.Contains(out, `FATAL:  password authentication failed for user "admit_user"`) {
			t.Errorf("%s %v", out, err)
		}
		d.last(t)
		d.psql(t, c, "", "-U", "admit_user", "-d", "app", "-c", "select 1") // goes away when it is asked for a password
		if _, err := d.last(t); !errors.Is(err, ErrClientGone) {
			t.Error(err)
		}
	})

	// HAZARDS 25 and 26: who can't log in can't learn why, nor whether the user exists.
	t.Run("failures are alike", func(t *testing.T) {
		reasons := map[string]string{
			"user=admit_user password=wrong":        "wrong password",
			"user=admit_nobody password=secret":     "no such role",
			"user=admit_expired password=secret":    "VALID UNTIL",
			"user=admit_nopassword password=secret": "no password",
			"user=admit_md5 password=secret":        "password_encryption",
			"user=admit_group password=wrong":       "wrong password",
		}
		for login, reason := range reasons {
			_, told, err := d.login(t, login+" dbname=app")
			if told == nil {
				t.Errorf("%s: %v", login, err)
				continue
			}
			user := strings.TrimPrefix(strings.Fields(login)[0], "user=")
			told.Message = strings.ReplaceAll(told.Message, user, "USER")
			if told.Severity != "FATAL" || told.Code != "28P01" || told.Message != `password authentication failed for user "USER"` ||
				told.Detail != "" || told.Hint != wrongPassword("").Hint {
				t.Errorf("%s: %+v", login, told)
			}
			if !strings.Contains(err.Error(), reason) {
				t.Errorf("%s: the log says %v", login, err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the log shows the password: %v", login, err)
			}
		}
	})

	t.Run("refusals are Postgres' own", func(t *testing.T) {
		for _, login := range []string{
			"user=admit_group password=secret dbname=app",
			"user=admit_user password=secret dbname=nowhere",
			"user=admit_user password=secret dbname=admit_closed",
			"user=admit_limited password=secret dbname=app",
			"user=admit_set password=secret", // no database of that name
			"user=admit_user password=secret client_encoding=klingon",
			"user=admit_user password=secret no_such_thing=1",
			"user=admit_user password=secret work_mem=much",
			"user=admit_user password=secret log_statement=none",
			"user=admit_user password=secret options='-c work_mem=much'",
			"user=admit_user password=secret options='-c work_mem'",
			"user=admit_user password=secret options='--work-mem'",
			"user=admit_user password=secret options='-Q'",
			"user=admit_user password=secret options='what'",
			"user=admit_user password=secret options='-c log_statement=none'",
		} {
			_, told, err := d.login(t, login)
			direct, err2 := pgconn.Connect(t.Context(), fmt.Sprintf("host=127.0.0.1 port=%d sslmode=disable %s", p.Port(), login))
			if err2 == nil {
				direct.Close(t.Context())
			}
			var want *pgconn.PgError
			if !errors.As(err2, &want) || told == nil {
				t.Errorf("%s: %v, and directly %v", login, err, err2)
				continue
			}
			if !reflect.DeepEqual(withoutPlace(told), withoutPlace(want)) {
				t.Errorf("%s:\nhere     %+v\ndirectly %+v", login, told, want)
			}
		}
	})

	t.Run("names are cut like Postgres cuts them", func(t *testing.T) {
		admitted, _, err := d.login(t, "user="+long+" password=secret dbname=app")
		if err != nil || admitted.User != long[:63] {
			t.Errorf("%+v %v", admitted, err)
		}
	})

	t.Run("settings", func(t *testing.T) {
		_, _, err := d.login(t, `user=admit_user password=secret application_name=x Work_Mem=1MB freshet.route=primary
			options='-c freshet.consistency=strong --Search-Path=a\ b -ce=f.g=h -S 123 -fs'`)
		if err == nil {
			t.Fatal("e=f.g=h is no setting")
		}
		admitted, _, err := d.login(t, `user=admit_user password=secret application_name=x Work_Mem=1MB freshet.route=primary
			options='-c freshet.consistency=strong --Search-Path=a,\\ b -cf.g=h=i -S 123 -fs'`)
		if err != nil {
			t.Fatal(err)
		}
		n := 5 // those of options come first, in order; pgx sends the others in no order
		want := []wire.Param{{Name: "freshet.consistency", Value: "strong"}, {Name: "search_path", Value: "a, b"},
			{Name: "f.g", Value: "h=i"}, {Name: "work_mem", Value: "123"}, {Name: "enable_seqscan", Value: "false"}}
		if len(admitted.Params) < n || !reflect.DeepEqual(admitted.Params[:n], want) {
			t.Errorf("%v", admitted.Params)
		}
		rest := map[wire.Param]bool{}
		for _, p := range admitted.Params[n:] {
			rest[p] = true
		}
		for _, p := range []wire.Param{{Name: "application_name", Value: "x"}, {Name: "work_mem", Value: "1MB"}, {Name: "freshet.route", Value: "primary"}} {
			if !rest[p] {
				t.Errorf("%v isn't in %v", p, admitted.Params)
			}
		}
	})

	// What was read must be what Postgres set.
	t.Run("options mean what they mean to Postgres", func(t *testing.T) {
		for _, options := range []string{
			`-c a.b=1`,
			`  -c   a.b=1	`,
			`-ca.b=1`,
			`--a.b=1`,
			`-c a.b=x\ y`,
			`-c a.b=x\\y`,
			`-c a.b=x\\\ y -c a.c=2`,
			`-c a.b='quoted"`,
			`-c a.b=1 -c a.b=2`,
			`-c A.B=1 -c a.b=2`,
			`-c a.b=c=d`,
			`-c a.b=`,
			`-ec a.b=1`,
			`-S 99 -c a.b=1`,
			`-S99 -f t -fm`,
			`-c work-mem=77 --statement-timeout=5s`,
			"-c a.b=x\\\ny\v--a.c=\\\tz",
			`-c a.b=1 \`,
			`-c a.b=ä`,
		} {
			q := startupRequest{user: "admit_user", database: "app", options: options}
			settings, err := q.settings()
			if err != nil {
				if options == `-c a.b=1 \` { // an empty argument, at which Postgres gives up, too
					continue
				}
				t.Errorf("%q: %v", options, err)
				continue
			}
			show := func(params []wire.Param) []string {
				login, err := backend.Connect(t.Context(), backend.ConnectConfig{
					Target: service, Database: "app", Identity: service.Service(), Params: params, Timeout: 10 * time.Second})
				if err != nil {
					t.Fatalf("%q: %v", options, err)
				}
				defer login.Conn.Close()
				login.Conn.Write(wire.AppendQuery(nil, `SELECT current_setting('a.b', true), current_setting('a.c', true),
					name || '=' || setting FROM (SELECT string_agg(name, ',') AS name, string_agg(setting, ',') AS setting FROM
					(SELECT name, setting FROM pg_settings WHERE source IN ('client', 'session') ORDER BY name) s) s`))
				r := wire.NewReader(login.Conn)
				for {
					typ, body, err := r.Message(1 << 20)
					if err != nil || typ == wire.MsgErrorResponse {
						t.Fatalf("%q: %q %v", options, body, err)
					}
					if typ == wire.MsgDataRow {
						row, _ := wire.DecodeDataRow(body)
						var out []string
						for v, ok := row.Next(); ok; v, ok = row.Next() {
							out = append(out, fmt.Sprintf("%v %s", v == nil, v))
						}
						return out
					}
				}
			}
			there, here := show([]wire.Param{{Name: "options", Value: options}}), show(settings)
			if !reflect.DeepEqual(there, here) {
				t.Errorf("%q is %q to Postgres, and was read as %q %q", options, there, settings, here)
			}
		}
	})

	t.Run("a switch that Postgres takes and we don't", func(t *testing.T) {
		_, told, _ := d.login(t, "user=postgres dbname=app options=-s password="+c.Password())
		if told == nil || told.Code != "0A000" {
			t.Errorf("%+v", told)
		}
	})

	t.Run("a new password counts at once, and the old no more", func(t *testing.T) {
		for i := range 5 {
			execute(t, c, fmt.Sprintf("ALTER ROLE admit_changing PASSWORD 'new %d'", i))
			if _, _, err := d.login(t, fmt.Sprintf("user=admit_changing dbname=app password='new %d'", i)); err != nil {
				t.Error(err)
			}
			if _, told, _ := d.login(t, fmt.Sprintf("user=admit_changing dbname=app password='new %d'", i-1)); told == nil {
				t.Error("the old password works")
			}
		}
		execute(t, c, "ALTER ROLE admit_changing NOLOGIN")
		if _, told, _ := d.login(t, "user=admit_changing dbname=app password='new 4'"); told == nil || told.Code != "28000" {
			t.Errorf("%+v", told)
		}
	})

	// HAZARDS 18.
	t.Run("a thousand at once are one login", func(t *testing.T) {
		before := logins.Load()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				conn, err := d.client(t.Context(), "user=admit_user password=secret dbname=app application_name=crowd")
				if err != nil {
					t.Error(err)
					return
				}
				conn.Close(t.Context())
			})
		}
		wg.Wait()
		for range 100 {
			<-d.news
		}
		d.mu.Lock()
		d.mu.admitted = nil
		d.mu.Unlock()
		if n := logins.Load() - before; n > 10 {
			t.Errorf("%d logins for 100 clients", n)
		}
	})

	t.Run("welcomes are not confused", func(t *testing.T) {
		for range 2 {
			for _, tz := range []string{"UTC", "Asia/Tokyo", "Europe/Vienna"} {
				admitted, _, err := d.login(t, "user=admit_user password=secret timezone="+tz)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range admitted.Welcome {
					if s.Name == "TimeZone" && s.Value != tz {
						t.Errorf("%s for %s", s.Value, tz)
					}
				}
			}
		}
	})

	t.Run("a welcome belongs to its receiver", func(t *testing.T) {
		const who = "user=admit_user password=secret application_name=belongs"
		for range 3 { // the first fetches it, the others are given it
			admitted, _, err := d.login(t, who)
			if err != nil {
				t.Fatal(err)
			}
			if admitted.Welcome[0].Value == "changed" {
				t.Error("what one client's session did to its welcome is in another's")
			}
			admitted.Welcome[0].Value = "changed"
		}
	})

	t.Run("protocol 3.2", func(t *testing.T) {
		admitted, _, err := d.login(t, "user=admit_user password=secret max_protocol_version=3.2")
		if err != nil || admitted.Protocol != wire.Protocol32 {
			t.Errorf("%+v %v", admitted, err)
		}
	})

	t.Run("the console needs a password, and no server", func(t *testing.T) {
		before := logins.Load()
		admitted, _, err := d.login(t, "user=admit_user password=secret dbname=freshet")
		if err != nil || admitted.Welcome != nil || admitted.Database != "freshet" || logins.Load() != before {
			t.Errorf("%+v %v", admitted, err)
		}
		if _, told, _ := d.login(t, "user=admit_user password=wrong dbname=freshet"); told == nil {
			t.Error("a wrong password gets into the console")
		}
	})

	t.Run("trust", func(t *testing.T) {
		d := open(t, admitter(t, AdmitConfig{AuthType: AuthTrust}, p.URL(cluster.App)))
		admitted, _, err := d.login(t, "user=postgres dbname=app")
		if err != nil || !admitted.Identity.Trusted() {
			t.Errorf("the service user has the service URL's password: %+v %v", admitted, err)
		}
		// HAZARDS 26: nobody else gets in by it.
		for _, user := range []string{"admit_user", "admit_nobody"} {
			if _, told, _ := d.login(t, "user="+user+" dbname=app"); told == nil || told.Code != "28000" {
				t.Errorf("%s: %+v", user, told)
			}
		}
	})

	t.Run("by a replica when the primary is away", func(t *testing.T) {
		d := open(t, admitter(t, AdmitConfig{}, nowhere(t), c.Replicas()[0].URL(cluster.App)))
		admitted, _, err := d.login(t, "user=admit_user password=secret dbname=app")
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(only(admitted.Welcome, "in_hot_standby"), []wire.ParamStatus{{Name: "in_hot_standby", Value: "on"}}) {
			t.Errorf("%v", admitted.Welcome)
		}
	})

	t.Run("no server for the welcome", func(t *testing.T) {
		gone := target(t, nowhere(t))
		d := open(t, admitter(t, AdmitConfig{Nodes: func() []backend.Target { return []backend.Target{gone, gone} }}, p.URL(cluster.App)))
		_, told, _ := d.login(t, "user=admit_user password=secret dbname=app")
		if told == nil || told.Severity != "FATAL" || told.Code != "57P03" || !strings.Contains(told.Detail, gone.Addr()) ||
			strings.Contains(told.Detail, "p4ssw0rd") {
			t.Errorf("%+v", told)
		}
		if _, told, _ = d.login(t, "user=admit_user password=wrong dbname=app"); told == nil || told.Code != "28P01" || told.Detail != "" {
			t.Errorf("%+v", told)
		}
	})

	t.Run("no server for the verifiers", func(t *testing.T) {
		d := open(t, admitter(t, AdmitConfig{}, nowhere(t)))
		_, told, err := d.login(t, "user=admit_user password=secret dbname=app")
		if told == nil || told.Severity != "FATAL" || told.Code != "57P03" || strings.Contains(told.Detail+told.Message+told.Hint, "127.0.0.1") {
			t.Errorf("%+v", told)
		}
		if !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("the log says %v", err)
		}
	})
}

// withoutPlace is an error without the place in Postgres' source.
func withoutPlace(e *pgconn.PgError) pgconn.PgError {
	c := *e
	c.File, c.Line, c.Routine = "", 0, ""
	return c
}

func only(list []wire.ParamStatus, name string) (found []wire.ParamStatus) {
	for _, p := range list {
		if p.Name == name {
			found = append(found, p)
		}
	}
	return found
}

// nowhere is the service URL of a server that isn't there.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "postgres://u:p4ssw0rd@" + l.Addr().String() + "/d?sslmode=disable"
}
