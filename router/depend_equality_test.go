package router_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// The equalities that stand for bytes or numbers being the same.
var plainEqualities = strings.Fields(`int2eq int4eq int8eq int24eq int42eq int28eq int82eq int48eq int84eq texteq uuid_eq booleq`)

func TestEqualityIsTheOneThatPostgresChooses(t *testing.T) {
	ctx := context.Background()
	db := pg.Get(t).NewDatabase(t)
	conn, err := pg.Get(t).Primary().Connect(ctx, db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec(`CREATE EXTENSION citext; CREATE EXTENSION hstore;
		CREATE DOMAIN di AS int; CREATE DOMAIN dt AS text; CREATE DOMAIN dv AS varchar(5); CREATE DOMAIN du AS uuid; CREATE DOMAIN ddi AS di;
		CREATE COLLATION loose (provider = icu, locale = 'und', deterministic = false);
		CREATE TABLE t (k int PRIMARY KEY, i2 int2, i4 int4, i8 int8, t text, v varchar(5), u uuid, b bool, di di, ddi ddi, dt dt, dv dv, du du,
			c char(5), n name, num numeric, f float8, o oid, ci citext, l text COLLATE loose, ch "char", d date);
		ALTER TABLE t REPLICA IDENTITY FULL;
		CREATE SCHEMA odd; CREATE FUNCTION odd.eq(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR odd.= (leftarg = int, rightarg = int, function = odd.eq);
		CREATE FUNCTION odd.eqd(di, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
		CREATE OPERATOR odd.= (leftarg = di, rightarg = int, function = odd.eqd)`)
	s, err := catalog.Load(ctx, conn)
	if err != nil {
		t.Fatal(err)
	}
	planner := router.NewPlanner(func() *catalog.Snapshot { return s })
	columns := strings.Fields("i2 i4 i8 t v u b di ddi dt dv du c n num f o ci l ch d")
	const uuid = "'00112233-4455-6677-8899-aabbccddeeff'"
	values := []string{"1", "5000000000", "1.5", "'1'", "'1'::int2", "'1'::int", "1::int8", "'1'::text", "'1'::varchar", "'1'::varchar(3)", "'1'::char(3)",
		"'1'::name", "true", "'t'", "'t'::bool", uuid, uuid + "::uuid", "1::oid", "'1'::di", "'1'::citext", "1::numeric", "1::float8"}
	var conditions []string
	for _, c := range columns {
		for _, v := range values {
			conditions = append(conditions, c+" = "+v, v+" = "+c, c+" IN ("+v+", "+v+")", c+" = ANY(ARRAY["+v+"])", c+" IS NOT DISTINCT FROM "+v)
		}
		for _, o := range columns {
			// A row of the other is fixed if the columns are known to be equal.
			conditions = append(conditions, fmt.Sprintf("%s = x.%s AND x.k = 1 AND x.%[2]s = %[1]s", "t."+c, o))
		}
		conditions = append(conditions, c+" = ANY('{1}')", c+" = ANY('{t}')", c+" = ANY('{"+strings.Trim(uuid, "'")+"}')", c+" = ANY('{1}'::int[])", c+" = ANY('{1}'::text[])",
			c+" = ANY(ARRAY['1']::int8[])", c+" = ANY(ARRAY['1']::varchar[])", c+"::text = '1'", c+"::int8 = 1", c+"::varchar = '1'", c+"::int2 = 1",
			c+" = '1' COLLATE \"C\"", c+" = '1' COLLATE loose", "("+c+" COLLATE loose) = '1'")
	}
	opno := regexp.MustCompile(`:opno (\d+)`)
	for _, path := range [][]string{{"pg_catalog", "public"}, {"public", "odd", "pg_catalog"}} {
		exec("SET search_path = " + strings.Join(path, ", "))
		onRows, valid := 0, 0
		for _, c := range conditions {
			from := "t"
			if strings.Contains(c, "x.") {
				from = "t, t AS x"
			}
			sql := "SELECT 1 FROM " + from + " WHERE " + c
			plan := planner.Plan(sql, router.Context{Role: "postgres", SearchPath: path})
			if !slices.ContainsFunc(plan.Deps, func(d router.Dependency) bool { return d.Set != nil && from == "t" }) && !pinsBoth(plan) {
				continue
			}
			if _, err := conn.Exec(ctx, "CREATE OR REPLACE VIEW public.z AS "+sql); err != nil {
				continue // not an operator, not a value of the type
			}
			valid++
			var action string
			if err := conn.QueryRow(ctx, "SELECT ev_action::text FROM pg_rewrite WHERE ev_class = 'public.z'::regclass").Scan(&action); err != nil {
				t.Fatal(err)
			}
			for _, m := range opno.FindAllStringSubmatch(action, -1) {
				var name string
				if err := conn.QueryRow(ctx, "SELECT proname FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode WHERE o.oid = $1::text::oid", m[1]).Scan(&name); err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(plainEqualities, name) {
					t.Errorf("path %v: %s compares by %s; depends on %v", path, c, name, plan.DependsOn())
				}
				onRows++
			}
		}
		t.Logf("path %v: %d conditions, %d valid, %d operators", path, len(conditions), valid, onRows)
		if want := 300; path[0] == "pg_catalog" && onRows < want {
			t.Errorf("only %d operators", onRows)
		}
	}
}

// pinsBoth tells whether a plan depends on rows in two places, neither of which is by the key alone.
func pinsBoth(p *router.Plan) bool {
	n := 0
	for _, d := range p.Deps {
		if d.Set != nil && d.Set.Columns()[0].Name != "k" {
			n++
		}
	}
	return n > 0
}

// Whoever takes a parameter's bytes for those of a type must know the type as Postgres does.
func TestParametersHaveTheTypesThatPostgresGivesThem(t *testing.T) {
	planner, s := testPlanner(t)
	ctx := context.Background()
	conn, err := pg.Get(t).Primary().Connect(ctx, "planner")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	texts := strings.Split(strings.TrimSpace(`
SELECT 1 FROM accounts WHERE id = $1 AND big = $1
SELECT 1 FROM accounts WHERE big = $1 AND id = $1
SELECT 1 FROM accounts WHERE balance = $1 AND id = $1
SELECT 1 FROM accounts WHERE id = $1 AND balance = $1
SELECT 1 FROM accounts WHERE id = $1 AND balance > $1
SELECT $1::float8 FROM accounts WHERE id = $1
SELECT 1 FROM accounts WHERE id = $1::bigint AND balance = $1
SELECT 1 FROM accounts WHERE id IN ($1, 1.5)
SELECT 1 FROM accounts WHERE id IN ($1, 5000000000)
SELECT 1 FROM accounts WHERE id IN ($1, big)
SELECT 1 FROM accounts WHERE name IN ($1, 'x')
SELECT 1 FROM accounts WHERE name = ANY($1) AND id = $2
SELECT 1 FROM accounts WHERE name = ANY(ARRAY[$1, $2])
SELECT 1 FROM accounts WHERE id = ANY(ARRAY[1, $1])
SELECT 1 FROM accounts WHERE id = ANY(ARRAY[$1, $2]::int[])
SELECT 1 FROM accounts WHERE id = ANY($1::bigint[])
SELECT 1 FROM accounts WHERE kind = $1
SELECT 1 FROM accounts WHERE active = $1
SELECT 1 FROM accounts WHERE id = $1 AND EXISTS (SELECT FROM orders WHERE account = $1 AND id = $1)
SELECT 1 FROM accounts WHERE id = $1 UNION SELECT 1 FROM orders WHERE total = $1
SELECT 1 FROM accounts WHERE id = $1 LIMIT $1
SELECT 1 FROM accounts WHERE (id, name) = ($1, $2)
SELECT 1 FROM accounts a JOIN orders o ON o.id = $1 AND a.id = $2 AND o.account = a.id
SELECT 1 FROM accounts WHERE email = $1 AND name = $1
SELECT 1 FROM accounts WHERE name = $1 AND email = $1
SELECT 1 FROM accounts WHERE id = $1 AND ($1 = 1.5 OR id > 0)
SELECT 1 FROM accounts WHERE id = $1 ORDER BY $1::numeric`), "\n")
	for _, c := range dependencies {
		texts = append(texts, c.sql)
	}
	known := 0
	for _, sql := range texts {
		plan := planner.Plan(sql, router.Context{Role: "postgres", SearchPath: publicPath})
		uses := router.ParamUses(plan)
		if len(uses) == 0 {
			continue
		}
		sd, err := conn.Prepare(ctx, "", sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		for _, u := range uses {
			typ := sd.ParamOIDs[u.Index]
			if u.Array {
				typ = s.Type(typ).Elem
			}
			if !slices.Contains(router.ElementTypes(u.Kind), typ) {
				t.Errorf("%s: $%d is of type %d, and taken for kind %d", sql, u.Index+1, typ, u.Kind)
			}
			known++
		}
	}
	if known < 30 {
		t.Errorf("only %d parameters", known)
	}
}
