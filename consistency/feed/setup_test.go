package feed

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const shapes = `
	CREATE TABLE keyed (id int PRIMARY KEY);
	CREATE TABLE keyless (v int);
	CREATE TABLE full_identity (v int); ALTER TABLE full_identity REPLICA IDENTITY FULL;
	CREATE TABLE by_index (v int NOT NULL UNIQUE); ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_v_key;
	CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
	CREATE TABLE deferrable_key (id int PRIMARY KEY DEFERRABLE);
	CREATE TABLE index_gone (v int NOT NULL UNIQUE); ALTER TABLE index_gone REPLICA IDENTITY USING INDEX index_gone_v_key;
	ALTER TABLE index_gone DROP CONSTRAINT index_gone_v_key;
	CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
	CREATE TEMPORARY TABLE temporary (id int PRIMARY KEY);
	CREATE TABLE parent (id int PRIMARY KEY);
	CREATE TABLE heir (v int) INHERITS (parent); -- inherits no key
	CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
	CREATE TABLE leaf PARTITION OF parted FOR VALUES FROM (0) TO (9);
	CREATE TABLE keyless_parted (id int) PARTITION BY RANGE (id);
	CREATE TABLE keyless_leaf PARTITION OF keyless_parted FOR VALUES FROM (0) TO (9);
	CREATE VIEW a_view AS SELECT * FROM keyed;
	CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM keyed;
	CREATE SEQUENCE a_sequence;
	CREATE SCHEMA "Other ""schema"; CREATE TABLE "Other ""schema"."Table, odd" (id int PRIMARY KEY)`

var published = []string{`"Other ""schema"."Table, odd"`, `"public"."by_index"`, `"public"."full_identity"`, `"public"."keyed"`, `"public"."leaf"`, `"public"."parent"`}

// publishedNow is what is in the publication.
func (f *fixture) publishedNow() []string {
	f.Helper()
	rows, err := f.conn.Query(f.Context(), `SELECT format('%I.%I', schemaname, tablename), schemaname, tablename FROM pg_publication_tables WHERE pubname = 'freshet'`)
	f.must(err)
	names, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var quoted, schema, name string
		err := row.Scan(&quoted, &schema, &name)
		return pgx.Identifier{schema, name}.Sanitize(), err
	})
	f.must(err)
	slices.Sort(names)
	return names
}

func (f *fixture) plan(o Options) Report {
	f.Helper()
	r, err := Plan(f.Context(), f.conn, o)
	f.must(err)
	return r
}

func TestSetupPublishesExactlyWhatHasAReplicaIdentity(t *testing.T) {
	f := newDatabase(t, servers.Get(t), "SELECT 1")
	f.exec("DROP PUBLICATION freshet")
	f.exec(shapes)
	r := f.plan(Options{})
	if n := f.value("SELECT count(*) FROM pg_publication"); n != "0" {
		t.Fatalf("Plan has made %s publications", n)
	}
	f.must(Apply(f.Context(), f.conn, r))
	if got := f.publishedNow(); !slices.Equal(got, published) {
		t.Errorf("published: %v", got)
	}
	notes := map[string]string{}
	for _, n := range r.Notes {
		notes[n.Relation] = n.Text
	}
	for relation, text := range map[string]string{
		"keyless": "primary key", "nothing": "REPLICA IDENTITY NOTHING", "deferrable_key": "primary key", "index_gone": "is gone",
		"unlogged": "unlogged", "heir": "primary key", "keyless_leaf": "primary key",
	} {
		if !strings.Contains(notes[`"public"."`+relation+`"`], text) {
			t.Errorf("%s: noted as %q", relation, notes[`"public"."`+relation+`"`])
		}
		delete(notes, `"public"."`+relation+`"`)
	}
	if len(notes) > 0 {
		t.Errorf("also noted: %v", notes)
	}
	if r := f.plan(Options{}); len(r.Statements) > 0 {
		t.Errorf("not idempotent: %v", r.Statements)
	}
	// HAZARDS 13: the application goes on with all of them.
	for _, sql := range []string{
		"INSERT INTO keyless VALUES (1); UPDATE keyless SET v = 2; DELETE FROM keyless",
		"INSERT INTO nothing VALUES (1); UPDATE nothing SET id = 2; DELETE FROM nothing",
		"INSERT INTO deferrable_key VALUES (1); UPDATE deferrable_key SET id = 2; DELETE FROM deferrable_key",
		"INSERT INTO index_gone VALUES (1); UPDATE index_gone SET v = 2; DELETE FROM index_gone",
		"INSERT INTO heir VALUES (1, 1); UPDATE parent SET id = 3; DELETE FROM parent",
		"INSERT INTO keyless_parted VALUES (1); UPDATE keyless_parted SET id = 2; DELETE FROM keyless_parted",
		"INSERT INTO parted VALUES (1); UPDATE parted SET id = 2; DELETE FROM parted",
		"INSERT INTO full_identity VALUES (1); UPDATE full_identity SET v = 2; DELETE FROM full_identity",
		"INSERT INTO by_index VALUES (1); UPDATE by_index SET v = 2; DELETE FROM by_index",
	} {
		f.exec(sql)
	}
}

// Between planning and doing, another table has taken the name.
func TestHazard13ATableOfTheSameNameIsNotPublished(t *testing.T) {
	f := newDatabase(t, servers.Get(t), "CREATE TABLE first (id int PRIMARY KEY)")
	f.must(Apply(f.Context(), f.conn, f.plan(Options{})))
	f.exec("CREATE TABLE again (id int PRIMARY KEY)")
	r := f.plan(Options{})
	f.exec("DROP TABLE again; CREATE TABLE again (id int); INSERT INTO again VALUES (1)")
	if err := Apply(f.Context(), f.conn, r); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("applied: %v", err)
	}
	f.exec("DELETE FROM again")
	if got := f.publishedNow(); !slices.Equal(got, []string{`"public"."first"`}) {
		t.Errorf("published are %q", got)
	}
}

func TestSetupBringsAPublicationUpToDate(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a", "b", "c", "d"))
	f.exec(`ALTER TABLE a DROP CONSTRAINT a_pkey; CREATE TABLE e (id int PRIMARY KEY);
		ALTER PUBLICATION freshet DROP TABLE b, c; ALTER PUBLICATION freshet ADD TABLE b WHERE (id > 1), TABLE c (id);
		ALTER PUBLICATION freshet SET (publish = 'insert', publish_via_partition_root)`)
	f.setup()
	if got := f.publishedNow(); !slices.Equal(got, []string{`"public"."b"`, `"public"."c"`, `"public"."d"`, `"public"."e"`}) {
		t.Errorf("published: %v", got)
	}
	f.exec("UPDATE a SET v = 1")
	f.start(Config{})
	f.covers()
	for _, name := range []string{"b", "c", "d", "e"} {
		if !f.cell(name).Covered() {
			t.Errorf("%s isn't covered", name)
		}
	}
	if r := f.plan(Options{}); len(r.Statements) > 0 {
		t.Errorf("not idempotent: %v", r.Statements)
	}
}

func TestSetupSaysWhatItMayNotDo(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.exec(`DROP ROLE IF EXISTS owner; CREATE ROLE owner LOGIN PASSWORD 'x'; CREATE TABLE its (id int PRIMARY KEY); ALTER TABLE its OWNER TO owner`)
	conn, err := pgx.Connect(t.Context(), f.c.Primary().UserURL("owner", "x", f.db))
	f.must(err)
	defer func() { closeConn(conn); f.exec("DROP TABLE its; DROP OWNED BY owner; DROP ROLE owner") }()
	r, err := Plan(t.Context(), conn, Options{})
	f.must(err)
	var text string
	for _, n := range r.Notes {
		text += n.String() + "\n"
	}
	if len(r.Statements) > 0 || !strings.Contains(text, "doesn't own it") || !strings.Contains(text, "only a superuser") {
		t.Errorf("%v\n%s", r.Statements, text)
	}

	// With a publication of its own it can publish its own tables.
	f.exec("DROP PUBLICATION freshet; GRANT CREATE ON DATABASE " + f.db + " TO owner")
	r, err = Plan(t.Context(), conn, Options{})
	f.must(err)
	f.must(Apply(t.Context(), conn, r))
	if got := f.publishedNow(); !slices.Equal(got, []string{`"public"."its"`}) {
		t.Errorf("published: %v", got)
	}
	r, err = Plan(t.Context(), conn, Options{})
	f.must(err)
	if len(r.Statements) > 0 {
		t.Errorf("not idempotent: %v", r.Statements)
	}
}

func TestSetupOfTheAuthenticationFunction(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.exec(`DROP ROLE IF EXISTS service, stranger, limited;
		CREATE ROLE service LOGIN PASSWORD 'x' REPLICATION; CREATE ROLE stranger LOGIN PASSWORD 'x';
		CREATE ROLE limited LOGIN PASSWORD 'y' VALID UNTIL '2001-02-03 04:05:06+00'`)
	defer f.exec("DROP ROLE limited")
	r := f.plan(Options{ServiceUser: "service"})
	f.must(Apply(t.Context(), f.conn, r))
	if r := f.plan(Options{ServiceUser: "service"}); len(r.Statements) > 0 {
		t.Errorf("not idempotent: %v", r.Statements)
	}
	login := func(user string) *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), f.c.Primary().UserURL(user, "x", f.db))
		f.must(err)
		return conn
	}
	service, stranger := login("service"), login("stranger")
	defer func() {
		closeConn(service)
		closeConn(stranger)
		f.exec("DROP OWNED BY service, stranger; DROP ROLE service, stranger")
	}()
	// What is before pg_catalog in the caller's search_path, or in its temporary schema, plays no part.
	f.exec(`CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO service;
		CREATE VIEW evil.pg_authid AS SELECT 'limited'::name rolname, 'stolen' rolpassword, NULL::timestamptz rolvaliduntil, true rolcanlogin;
		GRANT SELECT ON evil.pg_authid TO service;
		CREATE FUNCTION evil.equal(name, name) RETURNS bool LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = name, FUNCTION = evil.equal)`)
	f.execOn(service, "SET search_path = evil, pg_catalog; CREATE TEMPORARY TABLE pg_authid AS TABLE evil.pg_authid")
	const ask = "SELECT rolpassword || ' ' || rolvaliduntil || ' ' || rolcanlogin FROM freshet.freshet_auth('limited')"
	if got := f.valueOn(service, ask); !strings.HasPrefix(got, "SCRAM-SHA-256$") || !strings.HasSuffix(got, " 2001-02-03 04:05:06+00 true") {
		t.Errorf("got %s", got)
	}
	if got := f.valueOn(service, "SELECT count(*) FROM freshet.freshet_auth('nobody of that name')"); got != "0" {
		t.Errorf("%s rows for a role that doesn't exist", got)
	}
	if _, err := stranger.Exec(t.Context(), ask); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("a stranger may call it: %v", err)
	}
	// Somebody has tampered with it.
	f.exec("GRANT EXECUTE ON FUNCTION freshet.freshet_auth TO PUBLIC; GRANT USAGE ON SCHEMA freshet TO PUBLIC")
	r = f.plan(Options{ServiceUser: "service"})
	f.must(Apply(t.Context(), f.conn, r))
	if _, err := stranger.Exec(t.Context(), ask); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("a stranger may call it after setup: %v", err)
	}

	// And back.
	r = f.plan(Options{ServiceUser: "service", Remove: true})
	if len(r.Notes) > 0 {
		t.Errorf("%v", r.Notes)
	}
	f.must(Apply(t.Context(), f.conn, r))
	if got := f.value("SELECT (SELECT count(*) FROM pg_publication) + (SELECT count(*) FROM pg_namespace WHERE nspname = 'freshet') + (SELECT count(*) FROM pg_proc WHERE proname = 'freshet_auth')"); got != "0" {
		t.Errorf("%s things remain", got)
	}
	if r := f.plan(Options{ServiceUser: "service", Remove: true}); len(r.Statements) > 0 {
		t.Errorf("there is nothing left to remove, but: %v", r.Statements)
	}
}

// A schema of that name which belongs to another: its owner could put any function there, and say who may log in.
func TestSetupDoesNotTrustAnothersSchema(t *testing.T) {
	f := newDatabase(t, servers.Get(t), "SELECT 1")
	f.exec("DROP SCHEMA freshet CASCADE; DROP ROLE IF EXISTS mallory; CREATE ROLE mallory; CREATE SCHEMA freshet AUTHORIZATION mallory")
	defer f.exec("DROP OWNED BY mallory; DROP ROLE mallory")
	r := f.plan(Options{})
	if len(r.Statements) > 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0].Text, "mallory") {
		t.Errorf("%v %v", r.Statements, r.Notes)
	}
	if r := f.plan(Options{Remove: true}); slices.ContainsFunc(r.Statements, func(s string) bool { return strings.Contains(s, "SCHEMA") }) {
		t.Errorf("what is another's is removed: %v", r.Statements)
	}
}

func TestMaintainCoversTablesThatAreMadeLater(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a", "z"))
	f.start(Config{Maintain: true})
	f.covers()
	f.exec(tables("b") + "CREATE TABLE keyless (v int)")
	f.until("b is covered", func() bool { return f.cell("b").Covered() })
	f.stamps("UPDATE b SET v = 1", []string{"b"}, []string{"a"})
	f.exec("ALTER TABLE keyless ADD PRIMARY KEY (v)")
	f.until("a table that got its key later is covered", func() bool { return f.cell("keyless").Covered() })
	// It can't be updated any more, until it is taken out.
	f.exec("ALTER TABLE a DROP CONSTRAINT a_pkey")
	f.until("a table that lost its key isn't published", func() bool { return !slices.Contains(f.publishedNow(), `"public"."a"`) })
	f.exec("UPDATE a SET v = 1")
	f.until("nor covered", func() bool { return !f.cell("a").Covered() })
	if !f.cell("z").Covered() || f.feed.Status().Connections != 1 {
		t.Error("others were touched by that")
	}
}

// It waits for nobody's lock for long, and says once what it can't do.
func TestMaintainIsQuietAboutWhatItCannotDo(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	var log countingLog
	f.start(Config{Maintain: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f.covers()
	locker := f.connect(f.c.Primary())
	f.exec(tables("b"))
	f.execOn(locker, "BEGIN; LOCK TABLE b IN SHARE ROW EXCLUSIVE MODE")
	f.until("it has failed", func() bool { return log.count("lock timeout") > 0 || f.cell("b").Covered() })
	at := f.feed.table.AsOf()
	f.until("some polls", func() bool { return f.table.AsOf() > at+int64(500*time.Millisecond) })
	if n := log.count("can't be brought up to date"); n > 1 {
		t.Errorf("logged %d times", n)
	}
	f.execOn(locker, "COMMIT")
	f.until("b is covered", func() bool { return f.cell("b").Covered() })
}

func TestMaintainLeavesAnothersPublicationAlone(t *testing.T) {
	f := newDatabase(t, servers.Get(t), tables("a"))
	f.exec("DROP ROLE IF EXISTS follower; CREATE ROLE follower LOGIN PASSWORD 'x' REPLICATION")
	defer func() { f.stop(); f.exec("DROP ROLE follower") }()
	f.start(Config{Maintain: true, PrimaryURL: func() (string, error) { return f.c.Primary().UserURL("follower", "x", f.db), nil }})
	f.covers()
	f.exec(tables("b"))
	at := f.table.AsOf()
	f.until("some polls", func() bool { return f.table.AsOf() > at+int64(300*time.Millisecond) })
	if slices.Contains(f.publishedNow(), `"public"."b"`) || f.feed.Status().State != Streaming {
		t.Errorf("%v %+v", f.publishedNow(), f.feed.Status())
	}
}
