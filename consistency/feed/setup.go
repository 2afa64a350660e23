package feed

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Options say what Plan is to set up.
type Options struct {
	Publication string // default "freshet"
	ServiceUser string // who Freshet logs in as, and who may call the authentication function; default: the role that plans
	Remove      bool   // undo it
}

// Report is what there is to do in a database.
type Report struct {
	Statements []string // in this order, in one transaction; none: everything is as it should be
	Parts      []Part   // for each of Statements, what it is for
	Notes      []Note   // what can't be covered or done, and why

	part Part     // of what is being added
	adds *Options // tables are added to the publication by name: see unfit
}

// Part is what a statement or a note is about.
type Part string

// The parts.
const (
	PartPublication    Part = "publication"
	PartAuthentication Part = "authentication function"
	PartEvents         Part = "event triggers"
	PartSchema         Part = "schema" // of the last two
)

// Note is about one relation, or, when Relation is "", about something else.
type Note struct {
	Relation string // schema-qualified, quoted where needed
	Part     Part
	Text     string
	Unowned  bool // it could be published, by its owner
}

// String is the note as a line.
func (n Note) String() string {
	if n.Relation == "" {
		return n.Text
	}
	return n.Relation + ": " + n.Text
}

// Plan works out the statements that make the database ready: a publication which names exactly the tables that can be
// covered, the function by which a service user who is no superuser gets at the verifiers of the clients' roles, and the
// event triggers that tell the feed of changes to the catalog. It changes nothing. When everything is in place there are no statements.
//
// Only tables that have a usable replica identity are published: in a publication, a table without one makes the
// application's UPDATEs and DELETEs fail (HAZARDS 13). Adding tables takes no lock that writers would notice: it doesn't
// keep out transactions which are changing the table at the time, but a feed doesn't take a table as covered before those
// have ended (HAZARDS 12; see coverage).
func Plan(ctx context.Context, conn *pgx.Conn, o Options) (Report, error) {
	o.Publication = cmp.Or(o.Publication, "freshet")
	p, err := readPlan(ctx, conn, o)
	if err != nil {
		return Report{}, err
	}
	if o.Remove {
		return p.remove(o), nil
	}
	var r Report
	p.publish(o, &r)
	p.authenticate(o, &r)
	p.observe(o, &r)
	return r, nil
}

// Apply carries out what Plan found, all or nothing. It waits for locks no longer than 5 s.
func Apply(ctx context.Context, conn *pgx.Conn, r Report) error {
	return apply(ctx, conn, r, "5s")
}

func apply(ctx context.Context, conn *pgx.Conn, r Report, lockTimeout string) error {
	if len(r.Statements) == 0 {
		return nil
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = "+quoteLiteral(lockTimeout)); err != nil {
			return err
		}
		for _, s := range r.Statements {
			if _, err := tx.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", firstLine(s), err)
			}
		}
		if r.adds == nil {
			return nil
		}
		return unfit(ctx, tx, *r.adds)
	})
}

// unfit looks, before the transaction that has added tables to the publication is committed, whether one is in it now that mustn't be. Tables are added by
// name: one without replica identity may have taken the name since it was planned, and the application couldn't update it (HAZARDS 13). From
// being added on a table is locked against losing its identity.
func unfit(ctx context.Context, tx pgx.Tx, o Options) error {
	p, err := readPlanIn(ctx, tx, o)
	if err != nil {
		return err
	}
	for _, t := range p.tables {
		if t.listed && t.problem != "" && !p.allTables {
			return fmt.Errorf("%s has changed meanwhile: %s", t.name, t.problem)
		}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if runes := []rune(line); len(runes) > 120 {
		return string(runes[:120]) + "…"
	}
	return line
}

// plan is what is in the database now.
type plan struct {
	superuser bool
	user      string
	exists    bool // the publication
	owned     bool // by the role that plans
	allTables bool
	complete  bool // it publishes all kinds of changes, under the partitions' own names
	tables    []table
	schema    string // the owner of the schema freshet; "": there is none
	trusted   bool   // that is a superuser, or the role that plans
	function  bool   // freshet.freshet_auth, as it should be
	granted   bool   // to the service user, and not to everybody
	events    events
}

type table struct {
	name     string // qualified and quoted
	problem  string // why it can't be published; "": it can
	owned    bool
	listed   bool // in the publication by its own name
	narrowed bool // with a row filter or column list
}

// publish plans the publication.
func (p *plan) publish(o Options, r *Report) {
	r.part = PartPublication
	publication := quoteIdentifier(o.Publication)
	var add, drop []string
	for _, t := range p.tables {
		fits := t.problem == ""
		if !fits {
			r.note(t.name, t.problem)
		}
		if p.allTables {
			continue
		}
		switch wanted := fits && !t.narrowed; {
		case wanted == t.listed:
			continue
		case fits && !t.owned:
			r.note(t.name, "role "+p.user+" doesn't own it, so can't publish it")
			r.Notes[len(r.Notes)-1].Unowned = true
			continue
		}
		if t.listed { // narrowed: it has to go before it can come back
			drop = append(drop, t.name)
		}
		if fits {
			add = append(add, t.name)
		}
	}
	switch {
	case !p.exists:
		r.adds = &o
		r.do("CREATE PUBLICATION " + publication + only(" FOR TABLE ", add) +
			" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = false)")
		return
	case !p.owned:
		if len(add)+len(drop) > 0 || !p.complete {
			r.note("", fmt.Sprintf("the publication %s must be changed, but role %s doesn't own it", publication, p.user))
		}
		return
	case p.allTables:
		r.note("", fmt.Sprintf("the publication %s is FOR ALL TABLES, so that a table without replica identity can't be updated; "+
			"DROP PUBLICATION %s, and set up again", publication, publication))
	}
	if !p.complete {
		r.do("ALTER PUBLICATION " + publication + " SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = false)")
	}
	if len(drop) > 0 {
		r.do("ALTER PUBLICATION " + publication + " DROP TABLE " + strings.Join(drop, ", "))
	}
	if len(add) > 0 {
		r.adds = &o
		r.do("ALTER PUBLICATION " + publication + only(" ADD TABLE ", add))
	}
}

// only lists tables without those that inherit from them: each is published in its own right, or not.
func only(verb string, tables []string) string {
	if len(tables) == 0 {
		return ""
	}
	return verb + "ONLY " + strings.Join(tables, ", ONLY ")
}

// authenticate plans the authentication function. Everything in it is qualified, and its search_path fixed, as it runs with
// its owner's rights whoever calls it (CVE-2025-12819 and its like).
func (p *plan) authenticate(o Options, r *Report) {
	r.part = PartAuthentication
	service := quoteIdentifier(cmp.Or(o.ServiceUser, p.user))
	switch {
	case p.schema != "" && !p.trusted:
		// Who owns a schema can put there what they like, and so say who may log in.
		r.note("", fmt.Sprintf("the schema freshet belongs to %s, so that the authentication function can't be there: ALTER SCHEMA freshet OWNER TO a superuser",
			p.schema))
		return
	case p.function && p.granted:
		return
	case !p.superuser:
		if !p.function {
			r.note("", "the authentication function freshet.freshet_auth can only be made by a superuser; without it, and unless the "+
				"service user may read pg_authid, clients need --auth-file")
		} else {
			r.note("", "only a superuser can let "+service+" call freshet.freshet_auth")
		}
		return
	}
	r.schema()
	r.do("GRANT USAGE ON SCHEMA freshet TO " + service)
	r.do(functionHead + " AS " + quoteLiteral(functionBody))
	r.do("REVOKE ALL ON FUNCTION freshet.freshet_auth(pg_catalog.name) FROM PUBLIC")
	r.do("GRANT EXECUTE ON FUNCTION freshet.freshet_auth(pg_catalog.name) TO " + service)
}

const (
	functionHead = `CREATE OR REPLACE FUNCTION freshet.freshet_auth(role pg_catalog.name,
	OUT rolpassword pg_catalog.text, OUT rolvaliduntil pg_catalog.timestamptz, OUT rolcanlogin pg_catalog.bool)
RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp`
	functionBody = `SELECT a.rolpassword, a.rolvaliduntil, a.rolcanlogin FROM pg_catalog.pg_authid AS a
	WHERE a.rolname OPERATOR(pg_catalog.=) freshet_auth.role`
)

// schema makes the schema freshet, once.
func (r *Report) schema() {
	if !slices.Contains(r.Statements, createSchema) {
		part := r.part
		r.part = PartSchema
		r.do(createSchema)
		r.do("REVOKE ALL ON SCHEMA freshet FROM PUBLIC")
		r.part = part
	}
}

const createSchema = "CREATE SCHEMA IF NOT EXISTS freshet"

// remove plans the way back.
func (p *plan) remove(o Options) (r Report) {
	if p.exists {
		if p.owned {
			r.do("DROP PUBLICATION " + quoteIdentifier(o.Publication))
		} else {
			r.note("", fmt.Sprintf("role %s doesn't own the publication %s", p.user, o.Publication))
		}
	}
	p.events.remove(p, &r)
	if p.schema != "" && p.trusted {
		if p.superuser {
			r.do("DROP FUNCTION IF EXISTS freshet.freshet_auth(pg_catalog.name)")
			r.do("DROP SCHEMA freshet") // fails if somebody else has put something in it
		} else {
			r.note("", "the schema freshet can only be dropped by a superuser")
		}
	}
	return r
}

func (r *Report) do(statement string) {
	r.Statements, r.Parts = append(r.Statements, statement), append(r.Parts, r.part)
}

func (r *Report) note(relation, text string) {
	r.Notes = append(r.Notes, Note{Relation: relation, Part: r.part, Text: text})
}

// readPlan reads what is there, in one snapshot.
func readPlan(ctx context.Context, conn *pgx.Conn, o Options) (p *plan, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		p, err = readPlanIn(ctx, tx, o)
		return err
	})
	return p, err
}

// readPlanIn is readPlan within a transaction.
func readPlanIn(ctx context.Context, tx pgx.Tx, o Options) (*plan, error) {
	p := &plan{}
	err := func() error {
		var version int
		if err := tx.QueryRow(ctx, planSQL, o.Publication, o.ServiceUser, functionBody).Scan(&p.superuser, &p.user, &version,
			&p.exists, &p.owned, &p.allTables, &p.complete, &p.schema, &p.trusted, &p.function, &p.granted); err != nil {
			return err
		}
		if err := p.events.read(ctx, tx, o.Publication); err != nil {
			return err
		}
		narrowed := "false"
		if version >= 150000 {
			narrowed = "r.prqual IS NOT NULL OR r.prattrs IS NOT NULL"
		}
		rows, err := tx.Query(ctx, strings.ReplaceAll(tablesSQL, "%NARROWED%", narrowed), o.Publication)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t table
			var schema, name string
			if err := rows.Scan(&schema, &name, &t.problem, &t.owned, &t.listed, &t.narrowed); err != nil {
				return err
			}
			t.name = pgx.Identifier{schema, name}.Sanitize()
			p.tables = append(p.tables, t)
		}
		return rows.Err()
	}()
	slices.SortFunc(p.tables, func(a, b table) int { return strings.Compare(a.name, b.name) })
	return p, err
}

// planSQL: publication, service user, body of the function.
const planSQL = `
SELECT u.rolsuper, u.rolname::text, pg_catalog.current_setting('server_version_num')::int,
	p.oid IS NOT NULL,
	coalesce(u.rolsuper OR pg_catalog.pg_has_role(p.pubowner, 'USAGE'), false),
	coalesce(p.puballtables, false),
	coalesce(p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AND NOT p.pubviaroot, false),
	coalesce(o.rolname::text, ''), coalesce(o.rolsuper OR o.oid = u.oid, false),
	f.oid IS NOT NULL,
	f.oid IS NOT NULL AND coalesce(
		pg_catalog.has_schema_privilege(service.name, s.oid, 'USAGE') AND pg_catalog.has_function_privilege(service.name, f.oid, 'EXECUTE')
		AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(coalesce(f.proacl, pg_catalog.acldefault('f', f.proowner))) WHERE grantee = 0), false)
FROM pg_catalog.pg_roles u
CROSS JOIN LATERAL (SELECT coalesce(nullif($2, ''), u.rolname::text) AS name) service
LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = 'freshet'
LEFT JOIN pg_catalog.pg_roles o ON o.oid = s.nspowner
LEFT JOIN pg_catalog.pg_proc f ON f.pronamespace = s.oid AND f.proname = 'freshet_auth' AND f.prosrc = $3 AND f.prosecdef
WHERE u.rolname = current_user`

// NoIdentity is how the note on a table begins that has no replica identity.
const NoIdentity = "it has no replica identity"

// tablesSQL lists the tables of the database's users, and those in the publication, with the reason why one can't be
// published. A replica identity is a table's whole row, or an index: the one that was chosen, or that of the primary key,
// which counts only when it is valid and not deferrable (RelationGetReplicaIndex).
const tablesSQL = `
SELECT n.nspname::text, c.relname::text,
	CASE
		WHEN c.relpersistence = 'u' THEN 'it is unlogged'
		WHEN c.relkind <> 'r' THEN 'it is not an ordinary table'
		WHEN c.relreplident = 'f' THEN ''
		WHEN c.relreplident = 'n' THEN 'it has REPLICA IDENTITY NOTHING'
		WHEN c.relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
			WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate)
			THEN '` + NoIdentity + `: it needs a primary key that is not deferrable, or ALTER TABLE … REPLICA IDENTITY'
		WHEN c.relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
			WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid AND i.indimmediate)
			THEN 'the index of its REPLICA IDENTITY is gone'
		ELSE ''
	END,
	pg_catalog.pg_has_role(c.relowner, 'USAGE'),
	r.oid IS NOT NULL,
	coalesce(%NARROWED%, false)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid
WHERE r.oid IS NOT NULL
	OR c.relkind = 'r' AND c.relpersistence IN ('p', 'u')
	AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'freshet')
	AND n.nspname NOT LIKE 'pg\_temp\_%' AND n.nspname NOT LIKE 'pg\_toast\_temp\_%'`
