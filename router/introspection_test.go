package router_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/freshet/freshet/router"
)

// TestIntrospectionIsReadByReplicas: what psql asks for its backslash commands, and what object-relational mappers ask when they
// start, leaves nothing behind, is no write, and next to all of it is answered by a replica.
func TestIntrospectionIsReadByReplicas(t *testing.T) {
	planner, s := testPlanner(t)
	psql, err := pg.Get(t).Program("psql")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var commands []string
	for _, c := range strings.Fields(`\d \d+ \dt \dt+ \di \ds \dv \dm \dn \dn+ \df \dfS \du \dg \dp \dT \dT+ \dx \l \dC \dD \do \da \dL \dO \dRp \des \det \ddp \dconfig \dy \dF \db \dA`) {
		commands = append(commands, "-c", c)
	}
	for _, c := range []string{`\d accounts`, `\d+ accounts`, `\d measures`, `\d+ measures_1`, `\d secrets`, `\d v_nested`, `\d+ mv`, `\d seq`, `\d accounts_pkey`, `\df+ pure`, `\sf pure`, `\sv v_nested`, `\dp accounts`, `\dT+ mood`} {
		commands = append(commands, "-c", c)
	}
	cmd := exec.CommandContext(context.Background(), psql, append([]string{"-X", "-E", pg.Get(t).Primary().URL("planner")}, commands...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "PAGER=cat"), &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	// -E shows each query between lines of asterisks.
	texts := ormQueries
	for i, part := range strings.Split(out.String(), "********* QUERY **********\n") {
		if query, _, ok := strings.Cut(part, "**************************"); ok && i > 0 {
			texts = append(texts, query)
		}
	}
	if len(texts) < 100 {
		t.Fatalf("%d queries", len(texts))
	}
	primary := 0
	for _, text := range texts {
		p := planner.Plan(text, router.Context{Role: "postgres", SearchPath: publicPath})
		switch {
		case p.Writes || p.Binds != "" || p.Cacheable && strings.Contains(text, "pg_class "):
			t.Errorf("%s\n%s", describe(s, p), text)
		case p.OnPrimary:
			primary++
			t.Logf("%s\n%s", describe(s, p), strings.TrimSpace(text))
		}
	}
	t.Logf("%d queries, %d for the primary", len(texts), primary)
	if primary > len(texts)/10 {
		t.Errorf("%d of %d queries for the primary", primary, len(texts))
	}
}

// ormQueries are such as Rails, Django, Hibernate (pgjdbc), SQLAlchemy, Npgsql and Prisma send.
var ormQueries = []string{
	`SELECT a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod, c.collname, col_description(a.attrelid, a.attnum) AS comment, attgenerated as attgenerated
		FROM pg_attribute a LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum LEFT JOIN pg_type t ON a.atttypid = t.oid LEFT JOIN pg_collation c ON a.attcollation = c.oid AND a.attcollation <> t.typcollation
		WHERE a.attrelid = '"accounts"'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`,
	`SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relname = 'accounts' AND c.relkind IN ('r','v','m','p','f')`,
	`SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype FROM pg_type as t LEFT JOIN pg_range as r ON oid = rngtypid WHERE t.typname IN ('int2', 'int4')`,
	`SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE 't' END, obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid)`,
	`SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, CASE n.nspname ~ '^pg_' OR n.nspname = 'information_schema' WHEN true THEN 'SYSTEM' ELSE 'TABLE' END AS TABLE_TYPE, d.description AS REMARKS
		FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 and d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND c.relname LIKE 'accounts' ORDER BY TABLE_TYPE, TABLE_SCHEM, TABLE_NAME`,
	`SELECT result.TABLE_CAT, (result.KEYS).n AS KEY_SEQ FROM (SELECT NULL AS TABLE_CAT, information_schema._pg_expandarray(i.indkey) AS KEYS, i.indkey FROM pg_catalog.pg_index i) result`,
	`SELECT pg_catalog.pg_get_constraintdef(r.oid, true) as condef, n.nspname as conschema FROM pg_catalog.pg_constraint r, pg_namespace n, pg_class c WHERE r.contype = 'f' AND r.conrelid = 16400 AND c.oid = confrelid AND n.oid = c.relnamespace`,
	`SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns WHERE table_schema = 'public' ORDER BY ordinal_position`,
	`SELECT kcu.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kcu USING (constraint_name, table_schema) WHERE tc.constraint_type = 'PRIMARY KEY'`,
	`SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid FROM (SELECT typ.oid, typ.typnamespace, typ.typname, typ.typtype, typ.typrelid, typ.typnotnull, proc.proname, COALESCE(typ.typelem, 0) AS elemtypoid FROM pg_type AS typ
		LEFT JOIN pg_class AS cls ON (cls.oid = typ.typrelid) LEFT JOIN pg_proc AS proc ON proc.oid = typ.typreceive) AS t JOIN pg_namespace AS ns ON (ns.oid = typnamespace) WHERE typtype IN ('b', 'r', 'm', 'e', 'd')`,
	`SELECT version()`, `SELECT current_schemas(true)`, `SELECT nspname FROM pg_namespace`, `SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'citext')`,
}
