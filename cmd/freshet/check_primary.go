package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/consistency/feed"
)

// checkedServer is a server that was reached.
type checkedServer struct {
	conn     *pgx.Conn
	addr     string
	version  int // server_version_num
	system   string
	settings map[string]string // those that answers depend on
}

// sessionSettings are the settings that can change the bytes of an answer, so that servers should agree on them.
var sessionSettings = strings.Fields(`TimeZone DateStyle IntervalStyle extra_float_digits bytea_output search_path client_encoding
	default_text_search_config lc_monetary lc_numeric lc_time xmlbinary xmloption standard_conforming_strings`)

// reach connects to a server and asks what it is.
func (k *inspection) reach(ctx context.Context, url string) (s *checkedServer, standby bool, err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, false, err
	}
	s = &checkedServer{addr: net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))), settings: map[string]string{}}
	cfg.ConnectTimeout = k.cfg.ConnectTimeout
	cfg.RuntimeParams["application_name"] = "freshet check"
	if s.conn, err = pgx.ConnectConfig(ctx, cfg); err != nil {
		return s, false, err
	}
	rows, err := s.conn.Query(ctx, `SELECT name, setting FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) ANY ($1)`, sessionSettings)
	if err == nil {
		var name, value string
		_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { s.settings[name] = value; return nil })
	}
	if err == nil {
		_, err = s.conn.Exec(ctx, "SET search_path = pg_catalog, pg_temp")
	}
	if err == nil {
		err = s.conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery()`).Scan(&s.version, &standby)
	}
	if err != nil {
		return s, false, err
	}
	// Not everybody may ask.
	_ = s.conn.QueryRow(ctx, `SELECT system_identifier::text FROM pg_control_system()`).Scan(&s.system)
	return s, standby, nil
}

// oldestServer is the first major version that is supported.
const oldestServer = 14

func (k *inspection) checkPrimary(ctx context.Context) {
	s, standby, err := k.reach(ctx, k.cfg.Primary)
	what := "primary"
	if s != nil {
		what += " " + s.addr
	}
	switch {
	case err != nil:
		k.add(levelDown, what, "it can't be used: "+err.Error(), "see --primary, pg_hba.conf, and whether the server runs")
		return
	case standby:
		k.add(levelDown, what, "it is a standby", "name the primary as --primary, and this server as --replica")
		return
	case s.version < oldestServer*10000:
		k.add(levelDown, what, fmt.Sprintf("its version is %d", s.version/10000), fmt.Sprintf("Postgres %d or later is needed", oldestServer))
		return
	}
	k.primary = s
	k.add(levelOK, what, fmt.Sprintf("PostgreSQL %d.%d, database %s, role %s", s.version/10000, s.version%10000, s.conn.Config().Database, s.conn.Config().User))
	for _, part := range []func(context.Context) error{k.checkLogins, k.checkConnections, k.checkFeed} {
		if err := part(ctx); err != nil {
			k.add(levelDegraded, "questions to the primary", err.Error())
		}
	}
}

// checkLogins looks at whether clients can log in.
func (k *inspection) checkLogins(ctx context.Context) error {
	if k.cfg.AuthType != "scram-sha-256" || k.cfg.AuthFile != "" {
		k.add(levelOK, "logins", "as --auth-type and --auth-file say")
		return nil
	}
	conn := k.primary.conn
	var may bool
	if err := conn.QueryRow(ctx, `SELECT has_table_privilege('pg_authid', 'SELECT')`).Scan(&may); err != nil {
		return err
	}
	if !may {
		var pg *pgconn.PgError
		_, err := conn.Exec(ctx, `SELECT FROM freshet.freshet_auth('postgres'::name)`)
		switch {
		case err == nil:
			k.add(levelOK, "logins", "verifiers are read by freshet.freshet_auth()")
			return nil
		case !errors.As(err, &pg):
			return err
		}
		k.add(levelDown, "logins", "the service role may not read verifiers: "+pg.Message, "freshet setup --primary URL-of-a-superuser --service-user "+conn.Config().User)
		return nil
	}
	var old []string
	if err := conn.QueryRow(ctx, `SELECT coalesce(array_agg(rolname::text ORDER BY rolname), '{}') FROM pg_authid WHERE rolcanlogin AND rolpassword LIKE 'md5%'`).Scan(&old); err != nil {
		return err
	}
	if len(old) > 0 {
		k.add(levelDegraded, "logins", fmt.Sprintf("roles with MD5 passwords can't log in through Freshet: %s", some(old, ", ")),
			"ALTER SYSTEM SET password_encryption = 'scram-sha-256'; SELECT pg_reload_conf();", "and set their passwords again, as with \\password in psql")
		return nil
	}
	k.add(levelOK, "logins", "verifiers are read from pg_authid")
	return nil
}

// some shows the first of a list.
func some(list []string, sep string) string {
	const shown = 10
	if len(list) <= shown {
		return strings.Join(list, sep)
	}
	return strings.Join(list[:shown], sep) + fmt.Sprintf("%sand %d more", sep, len(list)-shown)
}

// checkConnections looks at whether the server takes as many as the pools may open.
func (k *inspection) checkConnections(ctx context.Context) error {
	var limit, reserved int
	if err := k.primary.conn.QueryRow(ctx, `SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int`).Scan(&limit, &reserved); err != nil {
		return err
	}
	if k.cfg.PoolSize > limit-reserved {
		k.add(levelDegraded, "connections", fmt.Sprintf("--pool-size is %d for each user, and the server takes %d in all", k.cfg.PoolSize, limit-reserved),
			fmt.Sprintf("--pool-size %d, or ALTER SYSTEM SET max_connections = %d; -- then restart the server", max(1, (limit-reserved)/2), 2*k.cfg.PoolSize+reserved))
		return nil
	}
	k.add(levelOK, "connections", fmt.Sprintf("--pool-size %d for each user, of %d in all", k.cfg.PoolSize, limit-reserved))
	return nil
}

// checkFeed looks at what the cache needs.
func (k *inspection) checkFeed(ctx context.Context) error {
	if k.cfg.Cache == "off" {
		k.add(levelNote, "cache", "--cache=off")
		return nil
	}
	conn := k.primary.conn
	var level string
	var slots, usedSlots, senders, usedSenders int
	err := conn.QueryRow(ctx, `SELECT current_setting('wal_level'), current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots),
		current_setting('max_wal_senders')::int, (SELECT count(*) FROM pg_stat_replication)`).Scan(&level, &slots, &usedSlots, &senders, &usedSenders)
	if err != nil {
		return err
	}
	if level == "logical" {
		k.add(levelOK, "wal_level", level)
	} else {
		k.add(levelDegraded, "wal_level", level+": there is no cache", "ALTER SYSTEM SET wal_level = 'logical'; -- then restart the server")
	}
	if k.cfg.Slot == "" {
		k.room("max_replication_slots", slots, usedSlots)
	}
	k.room("max_wal_senders", senders, usedSenders)
	k.checkReplication(ctx)
	if err := k.checkSlot(ctx); err != nil {
		return err
	}
	return k.checkSetup(ctx)
}

// room looks at whether there is one left of something.
func (k *inspection) room(setting string, limit, used int) {
	if used < limit {
		k.add(levelOK, setting, fmt.Sprintf("%d of %d are in use (a running Freshet has one for each database)", used, limit))
		return
	}
	k.add(levelDegraded, setting, fmt.Sprintf("all %d are in use: there is no cache, unless it is Freshet that has them", limit),
		fmt.Sprintf("ALTER SYSTEM SET %s = %d; -- then restart the server", setting, limit+10))
}

// checkReplication tries whether the service role may have the WAL.
func (k *inspection) checkReplication(ctx context.Context) {
	cfg := k.primary.conn.Config().Config.Copy()
	cfg.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		_, err = pglogrepl.IdentifySystem(ctx, conn)
	}
	if err == nil {
		k.add(levelOK, "replication", "the service role may read the WAL")
		return
	}
	mend := "see pg_hba.conf"
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42501" {
		mend = "ALTER ROLE " + pgx.Identifier{cfg.User}.Sanitize() + " REPLICATION;"
	}
	k.add(levelDegraded, "replication", "there is no cache: "+err.Error(), mend)
}

// checkSlot looks at a permanent slot.
func (k *inspection) checkSlot(ctx context.Context) error {
	if k.cfg.Slot == "" {
		return nil
	}
	var ours bool
	var status, behind string
	err := k.primary.conn.QueryRow(ctx, `SELECT plugin = 'pgoutput' AND database = current_database(), coalesce(wal_status, ''),
		coalesce(pg_size_pretty(pg_current_wal_lsn() - confirmed_flush_lsn), '') FROM pg_replication_slots WHERE slot_name = $1`, k.cfg.Slot).Scan(&ours, &status, &behind)
	drop := fmt.Sprintf("SELECT pg_drop_replication_slot('%s');", k.cfg.Slot)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		k.add(levelOK, "slot "+k.cfg.Slot, "it is made when Freshet first runs")
	case err != nil:
		return err
	case !ours:
		k.add(levelDegraded, "slot "+k.cfg.Slot, "it isn't one of this database for pgoutput", "give another name as --slot")
	case status == "lost":
		k.add(levelDegraded, "slot "+k.cfg.Slot, "the server has removed WAL that it needs (max_slot_wal_keep_size)", drop+" -- Freshet makes it again")
	default:
		k.add(levelOK, "slot "+k.cfg.Slot, behind+" behind")
	}
	return nil
}

// checkSetup looks at what freshet setup makes.
func (k *inspection) checkSetup(ctx context.Context) error {
	conn := k.primary.conn
	report, err := feed.Plan(ctx, conn, feed.Options{Publication: k.cfg.Publication})
	if err != nil {
		return err
	}
	covered, not, err := feed.Published(ctx, conn, k.cfg.Publication)
	if err != nil {
		return err
	}
	for _, part := range []feed.Part{feed.PartPublication, feed.PartEvents} {
		what := string(part)
		if part == feed.PartPublication {
			what += " " + k.cfg.Publication
		}
		var missing []string
		for i, s := range report.Statements {
			if report.Parts[i] == part {
				missing = append(missing, s+";")
			}
		}
		if slices.ContainsFunc(missing, func(s string) bool { return strings.Contains(s, "\n") }) {
			missing = []string{"freshet setup --primary URL --publication " + k.cfg.Publication + " (with --dry-run it prints its SQL)"}
		}
		consequence := "changes of the catalog take up to a second to reach the cache, and materialized views aren't cached"
		if part == feed.PartPublication {
			consequence = fmt.Sprintf("%d relations are covered; what isn't is not cached", len(covered))
		}
		notes := 0
		for _, n := range report.Notes {
			if n.Part == part && n.Relation == "" {
				notes++
				k.add(levelDegraded, what, n.Text)
			}
		}
		switch {
		case len(missing) > 0:
			k.add(levelDegraded, what, "it isn't as freshet setup makes it: "+consequence, missing...)
		case notes == 0 && part == feed.PartPublication:
			k.add(levelOK, what, fmt.Sprintf("%d relations are covered", len(covered)))
		case notes == 0:
			k.add(levelOK, what, "they tell of changes of the catalog at their commit")
		}
	}
	var keyless, others []string
	for _, n := range report.Notes {
		switch {
		case n.Relation == "":
		case strings.HasPrefix(n.Text, feed.NoIdentity):
			keyless = append(keyless, n.Relation)
		default:
			others = append(others, n.String())
		}
	}
	for _, u := range not {
		if !slices.Contains(keyless, u.Name) && !slices.Contains(others, u.Name+": "+u.Reason) {
			others = append(others, u.Name+": "+u.Reason)
		}
	}
	if len(keyless) > 0 {
		slices.Sort(keyless)
		var mend []string
		for _, table := range keyless[:min(len(keyless), 10)] {
			mend = append(mend, "ALTER TABLE "+table+" ADD PRIMARY KEY (…); -- or: ALTER TABLE "+table+" REPLICA IDENTITY FULL;")
		}
		k.add(levelDegraded, "tables without replica identity", "they aren't cached: "+some(keyless, ", "), mend...)
	}
	if len(others) > 0 {
		slices.Sort(others)
		k.add(levelNote, "other tables that aren't cached", some(others, "; "))
	}
	return nil
}
