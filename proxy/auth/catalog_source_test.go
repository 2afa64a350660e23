package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
)

func config(t *testing.T, url string) *pgconn.Config {
	t.Helper()
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func source(t *testing.T, urls ...string) *CatalogSource {
	t.Helper()
	var nodes []*pgconn.Config
	for _, u := range urls {
		nodes = append(nodes, config(t, u))
	}
	s := NewCatalogSource(CatalogConfig{Nodes: func() []*pgconn.Config { return nodes }})
	t.Cleanup(s.Close)
	return s
}

func exec(t *testing.T, n *cluster.Node, sql string) {
	t.Helper()
	if err := n.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func lookup(t *testing.T, s Source, role string) Role {
	t.Helper()
	r, err := s.Verifier(t.Context(), role)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// authFunction is what `freshet setup` makes for a service user who may not read pg_authid.
const authFunction = `
	CREATE SCHEMA freshet;
	CREATE FUNCTION freshet.freshet_auth(name) RETURNS TABLE (rolpassword text, rolvaliduntil timestamptz, rolcanlogin bool)
		LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
		AS 'SELECT rolpassword, rolvaliduntil, rolcanlogin FROM pg_catalog.pg_authid WHERE rolname = $1';
	REVOKE ALL ON FUNCTION freshet.freshet_auth(name) FROM public;
	CREATE ROLE source_service LOGIN PASSWORD 'service';
	GRANT USAGE ON SCHEMA freshet TO source_service;
	GRANT EXECUTE ON FUNCTION freshet.freshet_auth(name) TO source_service;`

const dropAuthFunction = `DROP SCHEMA freshet CASCADE; DROP ROLE source_service`

func TestCatalogSource(t *testing.T) {
	c := pg.Get(t)
	p := c.Primary()
	exec(t, p, authFunction)
	t.Cleanup(func() { p.Exec(context.Background(), dropAuthFunction) })
	exec(t, p, `
		CREATE ROLE "Source Good" LOGIN PASSWORD 'secret';
		CREATE ROLE source_forever LOGIN PASSWORD 'secret' VALID UNTIL 'infinity';
		CREATE ROLE source_later LOGIN PASSWORD 'secret' VALID UNTIL '2999-01-01';
		CREATE ROLE source_expired LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01';
		CREATE ROLE source_neverwas LOGIN PASSWORD 'secret' VALID UNTIL '-infinity';
		CREATE ROLE source_group NOLOGIN PASSWORD 'secret';
		CREATE ROLE source_nopassword LOGIN;
		SET password_encryption = 'md5';
		CREATE ROLE source_md5 LOGIN PASSWORD 'secret'`)
	t.Cleanup(func() {
		p.Exec(context.Background(), `DROP ROLE "Source Good", source_forever, source_later, source_expired,
			source_neverwas, source_group, source_nopassword, source_md5`)
	})
	for name, url := range map[string]string{
		"superuser": p.URL(cluster.App),
		"function":  p.UserURL("source_service", "service", cluster.App),
	} {
		t.Run(name, func(t *testing.T) {
			s := source(t, url)
			for _, tt := range []struct {
				role             string
				exists, canLogin bool
				unusable         error // nil: the password works
			}{
				{"Source Good", true, true, nil},
				{"source_forever", true, true, nil},
				{"source_later", true, true, nil},
				{"source_expired", true, true, ErrExpired},  // HAZARDS 25
				{"source_neverwas", true, true, ErrExpired}, // HAZARDS 25
				{"source_group", true, false, nil},          // HAZARDS 25
				{"source_nopassword", true, true, ErrNoPassword},
				{"source_md5", true, true, ErrMD5},
				{"source_nobody", false, false, nil},
				{"source good", false, false, nil}, // names aren't folded
				{"' OR true --", false, false, nil},
				{"", false, false, nil},
				{"\xff", false, false, nil},
				{"a\x00b", false, false, nil},
			} {
				r := lookup(t, s, tt.role)
				if r.Exists != tt.exists || r.CanLogin != tt.canLogin || r.Unusable != tt.unusable {
					t.Errorf("%q: %+v", tt.role, r)
				}
				if works := tt.exists && tt.unusable == nil; works == r.Verifier.IsZero() {
					t.Errorf("%q: verifier %v", tt.role, !r.Verifier.IsZero())
				} else if works {
					if _, err := exchange(WithPassword("u", "secret"), NewServer("u", r.Verifier)); err != nil {
						t.Errorf("%q: %v", tt.role, err)
					}
				}
			}
		})
	}
}

// HAZARDS 24: what stands before pg_catalog in the service role's search_path changes nothing.
func TestHazard24SearchPathOfTheServiceRole(t *testing.T) {
	p := pg.Get(t).Primary()
	exec(t, p, `
		CREATE ROLE source_trap LOGIN SUPERUSER PASSWORD 'trap';
		CREATE SCHEMA trap;
		CREATE VIEW trap.pg_authid AS SELECT 'forged'::text AS rolpassword, NULL::timestamptz AS rolvaliduntil,
			true AS rolcanlogin, 'source_victim'::name AS rolname;
		CREATE FUNCTION trap.never(name, name) RETURNS bool LANGUAGE sql AS 'SELECT false';
		CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.never);
		CREATE FUNCTION trap.never(timestamptz, timestamptz) RETURNS bool LANGUAGE sql AS 'SELECT false';
		CREATE OPERATOR trap.< (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = trap.never);
		CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT '-infinity'::timestamptz$$;
		CREATE FUNCTION trap.has_table_privilege(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';
		CREATE DOMAIN trap.name AS text;
		ALTER ROLE source_trap SET search_path = trap, pg_catalog;
		CREATE ROLE source_victim LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01'`)
	t.Cleanup(func() {
		p.Exec(context.Background(), `DROP SCHEMA trap CASCADE; DROP ROLE source_trap, source_victim`)
	})
	r := lookup(t, source(t, p.UserURL("source_trap", "trap", cluster.App)), "source_victim")
	if !r.Exists || r.Unusable != ErrExpired {
		t.Fatalf("%+v", r)
	}
}

func TestCatalogSourceNeedsSetup(t *testing.T) {
	c := pg.Get(t)
	s := source(t, c.Primary().AppURL())
	if _, err := s.Verifier(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "freshet setup") {
		t.Fatal(err)
	}
	// And once it is there, no restart is needed.
	exec(t, c.Primary(), authFunction+`GRANT USAGE ON SCHEMA freshet TO `+cluster.App+`;
		GRANT EXECUTE ON FUNCTION freshet.freshet_auth(name) TO `+cluster.App)
	t.Cleanup(func() { c.Primary().Exec(context.Background(), dropAuthFunction) })
	if r := lookup(t, s, "source_service"); !r.Exists {
		t.Fatalf("%+v", r)
	}
}

func TestChangesCountForTheNextClient(t *testing.T) {
	p := pg.Get(t).Primary()
	exec(t, p, `CREATE ROLE source_changing LOGIN PASSWORD 'secret 0'`)
	t.Cleanup(func() { p.Exec(context.Background(), `DROP ROLE source_changing`) })
	s := source(t, p.URL(cluster.App))
	// Others ask all the time, so that there is always a look-up to join.
	var others sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.Verifier(t.Context(), "source_changing")
				}
			}
		})
	}
	defer others.Wait()
	defer close(stop)
	for i := range 20 {
		password := fmt.Sprintf("secret %d", i)
		exec(t, p, fmt.Sprintf(`ALTER ROLE source_changing PASSWORD '%s'`, password))
		r := lookup(t, s, "source_changing")
		if _, err := exchange(WithPassword("u", password), NewServer("u", r.Verifier)); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	exec(t, p, `ALTER ROLE source_changing NOLOGIN`)
	if lookup(t, s, "source_changing").CanLogin {
		t.Fatal("NOLOGIN didn't count")
	}
}

// HAZARDS 18: those who come at once share a look-up.
func TestHazard18LookupsAreShared(t *testing.T) {
	p := pg.Get(t).Primary()
	var asked atomic.Int32
	hold := make(chan struct{})
	nodes := []*pgconn.Config{config(t, p.URL(cluster.App))}
	s := NewCatalogSource(CatalogConfig{Nodes: func() []*pgconn.Config {
		asked.Add(1)
		<-hold
		return nodes
	}})
	defer s.Close()
	var wg sync.WaitGroup
	ask := func() {
		wg.Go(func() {
			if _, err := s.Verifier(t.Context(), cluster.App); err != nil {
				t.Error(err)
			}
		})
	}
	// One asks on each connection: each comes when the one before has been sent, or it would share that look-up.
	for n := range int32(catalogConns) {
		ask()
		for asked.Load() <= n {
			time.Sleep(time.Millisecond) // there is nothing else to wait for
		}
	}
	// All the others share the next look-up (or the one after, for those who come late).
	for range 200 {
		ask()
	}
	close(hold)
	wg.Wait()
	if n := asked.Load(); n > 20 {
		t.Fatalf("%d look-ups for 200 clients", n)
	}
}

func TestReplicaAnswersWhenThereIsNoPrimary(t *testing.T) {
	c := pg.Get(t)
	if err := c.WaitCaughtUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := source(t, refusing(t), c.Replicas()[0].URL(cluster.App))
	if r := lookup(t, s, cluster.App); !r.Exists || r.Verifier.IsZero() {
		t.Fatalf("%+v", r)
	}
}

// refusing is the URL of a server that isn't there.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "postgres://u:p4ssw0rd@" + l.Addr().String() + "/d?sslmode=disable"
}

func TestNoNode(t *testing.T) {
	_, err := source(t, refusing(t)).Verifier(t.Context(), "x")
	if err == nil || strings.Contains(err.Error(), "p4ssw0rd") {
		t.Fatal(err)
	}
	if _, err := source(t).Verifier(t.Context(), "x"); err == nil {
		t.Fatal("an answer from nowhere")
	}
}

func TestKeptConnectionThatDied(t *testing.T) {
	p := pg.Get(t).Primary()
	s := source(t, p.URL(cluster.App)+"&application_name=source_kept")
	for range 3 {
		lookup(t, s, cluster.App)
		exec(t, p, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'source_kept'`)
	}
}

func TestWaitingEndsWithTheContextAndWithClose(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and never says anything
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := source(t, "postgres://u:p@"+l.Addr().String()+"/d?sslmode=disable")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Verifier(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Verifier(context.Background(), "y")
		done <- err
	}()
	s.Close()
	s.Close()
	if err := <-done; err == nil {
		t.Fatal("an answer from nowhere")
	}
	if _, err := s.Verifier(t.Context(), "z"); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}
