package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestHazard29PoliciesAndPrivilegesTellUsersApartInTheCacheToo: what a policy tells apart by role, setting or table, and what one may
// read and the other not, is never answered from what was cached for another.
func TestHazard29PoliciesAndPrivilegesTellUsersApartInTheCacheToo(t *testing.T) {
	d := newCatalogDatabase(t, `DROP ROLE IF EXISTS h29_a, h29_b; CREATE ROLE h29_a LOGIN PASSWORD 'x'; CREATE ROLE h29_b LOGIN PASSWORD 'x';
		CREATE TABLE docs (id int PRIMARY KEY, owner name, tenant int);
		INSERT INTO docs SELECT i, CASE WHEN i % 3 = 0 THEN 'h29_a' WHEN i % 3 = 1 THEN 'h29_b' ELSE 'app' END, i % 4 FROM generate_series(1, 60) i;
		CREATE TABLE byrole AS TABLE docs; ALTER TABLE byrole ADD PRIMARY KEY (id); CREATE TABLE bysetting AS TABLE docs; ALTER TABLE bysetting ADD PRIMARY KEY (id); CREATE TABLE bytable AS TABLE docs; ALTER TABLE bytable ADD PRIMARY KEY (id);
		CREATE TABLE members (who name, tenant int, PRIMARY KEY (who, tenant)); INSERT INTO members VALUES ('h29_a', 1), ('h29_b', 2);
		ALTER TABLE byrole ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON byrole USING (owner = current_user);
		ALTER TABLE bysetting ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON bysetting USING (tenant = nullif(current_setting('app.tenant', true), '')::int);
		ALTER TABLE bytable ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON bytable USING (tenant IN (SELECT m.tenant FROM members m WHERE m.who = current_user));
		CREATE TABLE private (id int PRIMARY KEY); GRANT SELECT ON byrole, bysetting, bytable, members TO h29_a, h29_b; GRANT SELECT ON private TO h29_a;
		CREATE VIEW v AS SELECT id FROM private; GRANT SELECT ON v TO h29_b`)
	defer func() {
		d.exec(t, "DROP OWNED BY h29_a, h29_b; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'h29%'; DROP ROLE h29_a, h29_b")
	}()
	type client struct {
		name            string
		direct, through *pgx.Conn
		cached          map[string]bool
	}
	var clients []*client
	for _, user := range []string{"h29_a", "h29_b"} {
		for _, tenant := range []string{"1", "2", ""} {
			c := &client{name: user + " of tenant " + tenant, cached: map[string]bool{}}
			c.direct = connectAs(t, d.c.Primary().Addr(), user, "x", d.name)
			c.through = connectAs(t, d.in.Addrs()[0], user, "x", d.name)
			for _, conn := range []*pgx.Conn{c.direct, c.through} {
				do(t, conn, "SET app.tenant = '"+tenant+"'")
			}
			clients = append(clients, c)
		}
	}
	queries := []string{"SELECT id FROM byrole ORDER BY id", "SELECT count(*), min(owner) FROM byrole", "SELECT id FROM bysetting ORDER BY id", "SELECT id FROM bysetting WHERE id = 5",
		"SELECT id FROM bytable ORDER BY id", "SELECT b.id FROM bytable b JOIN byrole r USING (id) ORDER BY 1", "SELECT id FROM private", "SELECT id FROM v", "SELECT current_user, current_setting('app.tenant')"}
	round := func() {
		t.Helper()
		for _, q := range queries {
			for _, c := range clients {
				want, got := said(c.direct, q), said(c.through, q)
				if want != got {
					t.Errorf("%s for %s (%s)\n got %s\nwant %s", q, c.name, source(t, c.through), got, want)
				}
				c.cached[q] = c.cached[q] || source(t, c.through) == "l1"
			}
		}
	}
	d.seen(t)
	for range 3 {
		round()
	}
	for _, c := range clients {
		for _, q := range queries {
			if refused := said(c.direct, q) == "error 42501"; !refused {
				eventually(t, fmt.Sprintf("%s is cached for %s", q, c.name), func() bool {
					_ = said(c.through, q)
					return source(t, c.through) == "l1"
				})
			}
		}
	}
	round()
	// A policy's own table, and privileges.
	for _, change := range []string{"UPDATE members SET tenant = 3 WHERE who = 'h29_a'", "GRANT SELECT ON private TO h29_b", "REVOKE SELECT ON private FROM h29_a", "REVOKE SELECT ON v FROM h29_b", "DELETE FROM members"} {
		d.exec(t, change)
		d.seen(t)
		round()
	}
	// The same connection with another setting, and as another role.
	a := clients[0]
	for _, tenant := range []string{"3", "1", "0"} {
		for _, conn := range []*pgx.Conn{a.direct, a.through} {
			do(t, conn, "SET app.tenant = '"+tenant+"'")
		}
		round()
	}
	d.exec(t, "GRANT h29_b TO h29_a")
	for _, role := range []string{"h29_b", "none"} {
		for _, conn := range []*pgx.Conn{a.direct, a.through} {
			if _, err := conn.Exec(context.Background(), "SET ROLE "+role); err != nil {
				t.Fatal(err)
			}
		}
		round()
	}
}
