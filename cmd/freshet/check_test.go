package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// line finds a line of check's table.
func line(out, pattern string) bool { return regexp.MustCompile(`(?m)^` + pattern).MatchString(out) }

func TestCheck(t *testing.T) {
	c := shared.Get(t)
	name, conn := setupDatabase(t, c)
	ctx := context.Background()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	args := func(more ...string) []string {
		list := []string{"check", "--primary", c.Primary().URL(name)}
		for _, r := range c.Replicas() {
			list = append(list, "--replica", r.URL(name))
		}
		return append(list, more...)
	}
	if err := c.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	want := func(out string, patterns ...string) {
		t.Helper()
		for _, p := range patterns {
			if !line(out, p) {
				t.Errorf("no line %q:\n%s", p, out)
			}
		}
		if strings.Contains(out, c.Password()) {
			t.Errorf("a password is shown:\n%s", out)
		}
	}

	out, _ := runCommand(t, exitFailure, args()...)
	want(out, `ok +primary 127.0.0.1:\d+ +PostgreSQL 1\d\.\d+, database `+name+`, role postgres`, `ok +wal_level +logical`, `ok +replication +`, `ok +max_replication_slots `,
		`degraded +publication freshet +it isn't as freshet setup makes it`, ` +CREATE PUBLICATION "freshet" FOR TABLE ONLY "public"\."Full", ONLY "public"\."good"`,
		`degraded +event triggers +it isn't`, ` +freshet setup --primary URL --publication freshet `, `degraded +tables without replica identity +they aren't cached: "public"\."keyless"`,
		` +ALTER TABLE "public"\."keyless" ADD PRIMARY KEY`, `note +other tables that aren't cached +"public"\."hasty": it is unlogged`, `ok +replica 127.0.0.1:\d+ +PostgreSQL .* streaming`, `It serves, but`)

	// What it says mends it.
	for _, l := range strings.Split(out, "\n") {
		if sql, ok := strings.CutPrefix(l, "    "); ok && strings.Contains(sql, "PUBLICATION") {
			exec(sql)
		}
	}
	runSetup(t, exitOK, "--primary", c.Primary().URL(name), "--publication", "freshet")
	exec("DROP TABLE keyless, hasty")
	out, _ = runCommand(t, exitOK, args()...)
	want(out, `ok +publication freshet +2 relations are covered`, `ok +event triggers +they tell`, `note +replica .*hot|note +replica .*VACUUM`, `All is well\.`)

	exec("ALTER EVENT TRIGGER freshet_sql_drop DISABLE; ALTER PUBLICATION freshet DROP TABLE good")
	out, _ = runCommand(t, exitFailure, args()...)
	want(out, `degraded +publication freshet `, ` +ALTER PUBLICATION "freshet" ADD TABLE ONLY "public"\."good";`, `degraded +event triggers`, ` +ALTER EVENT TRIGGER freshet_sql_drop ENABLE ALWAYS;`)
	out, _ = runCommand(t, exitOK, args("--cache", "off")...)
	want(out, `note +cache +--cache=off`, `All is well`)

	out, _ = runCommand(t, exitFailure, args("--pool-size", "100000", "--slot", "nosuch")...)
	want(out, `degraded +connections +--pool-size is 100000`, `ok +slot nosuch +it is made when`)
	exec("SELECT pg_create_logical_replication_slot('other_" + name + "', 'test_decoding')")
	out, _ = runCommand(t, exitFailure, args("--slot", "other_"+name)...)
	exec("SELECT pg_drop_replication_slot('other_" + name + "')")
	want(out, `degraded +slot other_`+name+` +it isn't one of this database for pgoutput`)
}

func TestCheckOfServersThatDontServe(t *testing.T) {
	c := shared.Get(t)
	name, conn := setupDatabase(t, c)
	ctx := context.Background()
	if _, err := conn.PgConn().Exec(ctx, "DROP ROLE IF EXISTS check_service; CREATE ROLE check_service LOGIN PASSWORD 'x'; SET password_encryption = md5; DROP ROLE IF EXISTS check_md5; CREATE ROLE check_md5 LOGIN PASSWORD 'x'").ReadAll(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_, _ = conn.PgConn().Exec(ctx, "DROP ROLE check_service; DROP ROLE check_md5").ReadAll()
	}()
	if err := c.WaitCaughtUp(ctx); err != nil {
		t.Fatal(err)
	}
	out, _ := runCommand(t, exitUsage, "check", "--primary", "postgres://svc:hunter2@127.0.0.1:1/app", "--replica", c.Replicas()[0].URL(name))
	if !line(out, `down +primary 127.0.0.1:1 +it can't be used: .*refused`) || !line(out, `note +replica `) || !line(out, `It can't serve`) || leaks(out) {
		t.Error(out)
	}
	out, _ = runCommand(t, exitUsage, "check", "--primary", c.Replicas()[0].URL(name), "--replica", c.Primary().URL(name))
	if !line(out, `down +primary .* it is a standby`) || !line(out, `degraded +replica .* out of recovery`) {
		t.Error(out)
	}
	out, _ = runCommand(t, exitFailure, "check", "--primary", c.Primary().URL(name), "--replica", c.Primary().URL(name))
	if !line(out, `note +replica .* it is the primary itself`) {
		t.Error(out)
	}
	// A role that may do next to nothing.
	out, _ = runCommand(t, exitUsage, "check", "--primary", c.Primary().UserURL("check_service", "x", name))
	if !line(out, `down +logins +the service role may not read verifiers`) || !line(out, ` +freshet setup .* --service-user check_service`) || !line(out, `degraded +replication `) ||
		!line(out, ` +ALTER ROLE "check_service" REPLICATION;`) || !line(out, `degraded +event triggers +only a superuser`) {
		t.Error(out)
	}
	out, _ = runCommand(t, exitFailure, "check", "--primary", c.Primary().URL(name))
	if !line(out, `degraded +logins +roles with MD5 passwords .*check_md5`) {
		t.Error(out)
	}
	_, stderr := runCommand(t, exitUsage, "check")
	if !strings.Contains(stderr, "--primary is needed") {
		t.Error(stderr)
	}
}

// TestCheckOfAReplicaThatIsBehind has a cluster of its own, as it pauses replay and changes settings.
func TestCheckOfAReplicaThatIsBehind(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{Replicas: 1, Settings: map[string]string{"wal_level": "replica"}})
	ctx := context.Background()
	r := c.Replicas()[0]
	args := []string{"check", "--primary", c.Primary().URL(cluster.App), "--replica", r.URL(cluster.App), "--max-staleness", "200ms"}
	out, _ := runCommand(t, exitFailure, args...)
	if !line(out, `degraded +wal_level +replica: there is no cache`) || !line(out, ` +ALTER SYSTEM SET wal_level = 'logical'; -- then restart`) || !line(out, `ok +replica `) {
		t.Error(out)
	}
	if err := r.PauseReplay(ctx); err != nil {
		t.Fatal(err)
	}
	out, _ = runCommand(t, exitFailure, args...)
	if !line(out, `degraded +replica .* replay is paused`) || !line(out, ` +SELECT pg_wal_replay_resume\(\);`) {
		t.Error(out)
	}
	if err := r.ResumeReplay(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Primary().Set(ctx, "TimeZone", "Asia/Tokyo"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for !line(out, `degraded +replica .* TimeZone is "UTC", on the primary "Asia/Tokyo"`) {
		if time.Now().After(deadline) {
			t.Fatal(out)
		}
		out, _ = runCommand(t, exitFailure, args...)
	}
}
