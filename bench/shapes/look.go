package shapes

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// look is a role with settings, and connections of its own. There are several of each, which ask at the same time.
type look struct {
	name                 string
	role                 string
	settings             []string
	direct, through, odd *pgconn.PgConn

	changes []string // settings that are changed before the next round of questions
	begin   string   // with what the transaction begins that they are asked in; empty: none
	state   string   // what has been changed in this world
}

// changes are settings that may change at any time. What they are set to by a look comes back with the next world.
var changes = []string{"SET TimeZone = 'UTC'", "SET TimeZone = 'Asia/Kolkata'", "SET DateStyle = 'German'", "SET DateStyle = 'ISO, DMY'", "SET IntervalStyle = 'sql_standard'",
	"SET IntervalStyle = 'postgres_verbose'", "SET extra_float_digits = 0", "SET extra_float_digits = 3", "SET bytea_output = 'escape'", "SET bytea_output = 'hex'",
	"SET search_path = {world}, public", "SET search_path = early, {world}, public", "SET search_path = public, {world}", "SET app.tenant = '1'", "SET app.tenant = '2'", "SET app.tenant = '3'",
	"SET xmlbinary = 'hex'", "SET enable_seqscan = off", "SET enable_indexscan = off", "SET work_mem = '64kB'", "SET plan_cache_mode = 'force_generic_plan'", "SET row_security = on",
	"SET lc_monetary = 'C'", "SET pg_trgm.similarity_threshold = 0.9", "SET pg_trgm.similarity_threshold = 0.1"}

// roles change who asks. Only a superuser can.
var roles = []string{"SET ROLE app", "RESET ROLE", "SET SESSION AUTHORIZATION app", "RESET SESSION AUTHORIZATION"}

var begins = []string{"BEGIN", "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
	"BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "BEGIN; SET LOCAL TimeZone = 'Europe/Moscow'; SET LOCAL extra_float_digits = -1", "BEGIN; SAVEPOINT a"}

// next makes up what changes before the next round of questions.
func (l *look) next(w *world) {
	l.changes, l.begin = l.changes[:0], ""
	if w.one(3) {
		l.changes = append(l.changes, strings.ReplaceAll(w.pick(changes), "{world}", w.name))
	}
	if l.role != "app" && w.one(4) {
		l.changes = append(l.changes, w.pick(roles))
	}
	if w.one(3) {
		l.begin = w.pick(begins)
	}
}

// enter changes settings and begins the transaction, if there is to be one.
func (l *look) enter(ctx context.Context) error {
	for _, sql := range l.changes {
		l.state += "; " + sql
		if err := l.all(ctx, sql); err != nil {
			return err
		}
	}
	return l.both(ctx, l.begin)
}

// leave ends the transaction.
func (l *look) leave(ctx context.Context) error {
	if l.begin == "" {
		return nil
	}
	return l.both(ctx, "COMMIT")
}

// all runs a statement on all connections, both on those whose answers are compared.
func (l *look) all(ctx context.Context, sql string) error {
	_, err := l.odd.Exec(ctx, sql).ReadAll()
	if sql == "" || err != nil {
		return err
	}
	return l.both(ctx, sql)
}

func (l *look) both(ctx context.Context, sql string) error {
	for _, conn := range []*pgconn.PgConn{l.direct, l.through} {
		if sql == "" {
			continue
		}
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// anew has the look as it was.
func (l *look) anew(ctx context.Context, path string) error {
	sql := "RESET SESSION AUTHORIZATION; RESET ROLE"
	for _, name := range []string{"TimeZone", "DateStyle", "IntervalStyle", "extra_float_digits", "bytea_output", "xmlbinary", "enable_indexscan", "work_mem", "plan_cache_mode", "row_security",
		"lc_monetary", "pg_trgm.similarity_threshold"} {
		sql += "; RESET " + name
	}
	l.state, l.begin, l.changes = "", "", nil
	if err := l.both(ctx, "RESET enable_seqscan"); err != nil {
		return err
	}
	return l.all(ctx, sql+"; DEALLOCATE ALL; "+strings.Join(l.settings, "; ")+"; SET search_path = "+path)
}

func looks() []*look {
	return []*look{
		{name: "app", role: "app", settings: []string{"SET app.tenant = '1'"}},
		{name: "app, other settings", role: "app", settings: []string{"SET app.tenant = '2'", "SET TimeZone = 'America/New_York'", "SET DateStyle = 'SQL, DMY'",
			"SET IntervalStyle = 'iso_8601'", "SET extra_float_digits = -3", "SET bytea_output = 'escape'"}},
		{name: "superuser", role: "postgres", settings: []string{"SET app.tenant = '1'", "SET TimeZone = 'Asia/Tokyo'"}},
	}
}

// lanes is how many of each look there are.
const lanes = 4
