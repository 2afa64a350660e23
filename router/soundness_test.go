package router_test

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// expressions are for the comparison of types with those of Postgres, besides the queries.
var expressions = strings.Split(strings.TrimSpace(`
1; 2147483647; 2147483648; -2147483648; -2147483649; 9223372036854775807; -9223372036854775808; 9223372036854775808; 1.5; 1e3; 0x7fffffff; 'x'; NULL; TRUE; b'01'
id; a.name; a.*; email; big; at; born; created; tags; doc; state; kind
id + 1; id + big; id + 1.5; balance * 2; big % 3; -id; -big; @ balance; id || name; name || 'x'; created + '1 day'; created - created; at - at; born - born; born + 1; created < born; id = 1; name ~ 'x'
tags[1]; tags[1:2]; doc -> 'a'; doc ->> 'a'; doc['a']; doc #> '{a}'; tags || name; tags || tags; ARRAY[id, 2]; ARRAY[name]; ARRAY[[1]]; ARRAY[email]
COALESCE(id, 1); COALESCE(name, 'x'); COALESCE(id, big); COALESCE(kind, 'x'); COALESCE(kind, kind); COALESCE(created, at); NULLIF(id, 2); NULLIF(name, 'x'); GREATEST(id, big); LEAST(at, at); CASE WHEN active THEN id ELSE big END; CASE WHEN active THEN name ELSE 'x' END; CASE id WHEN 1 THEN born END
lower(name); lower(email); upper('x'); length(name); abs(id); abs(balance); round(balance, 1); round(id); sqrt(id); concat(id, name); substr(name, 1); left(name, 1); date_trunc('day', created); date_trunc('day', at); date_trunc('day', born); date(created); date(at); extract(year from created); date_part('year', at); to_char(created, 'x'); age(created, created); age(at); now(); now()::date; current_date; current_timestamp; localtimestamp; current_time; current_user; created AT TIME ZONE 'UTC'; at AT TIME ZONE 'UTC'; make_date(1, 1, 1); to_date('1', 'Y'); to_timestamp(1); to_timestamp('1', 'Y'); justify_days(at - at)
unnest(tags); generate_series(1, 2); generate_series(at, at, '1 day'); jsonb_array_elements(doc); array_length(tags, 1); array_append(tags, name); array_agg(id); to_json(id); row_to_json(a); jsonb_build_object('a', id)
count(*); count(id); sum(id); sum(big); sum(balance); avg(id); min(name); max(created); max(at); max(born); max(email); bool_and(active); string_agg(name, ','); array_agg(name); json_agg(id); percentile_cont(0.5) WITHIN GROUP (ORDER BY balance); mode() WITHIN GROUP (ORDER BY name); percentile_disc(0.5) WITHIN GROUP (ORDER BY at)
row_number() OVER (); lag(id) OVER (); lag(at, 1) OVER (); first_value(name) OVER (); ntile(2) OVER (); rank() OVER (ORDER BY id)
id::text; '1'::int; name::varchar(3); born::timestamptz; created::date; id::numeric; '{1}'::int[]; state::text; 'x'::code; 5::positive; ROW(1, '2020-01-01')::pair; (ROW(1, '2020-01-01')::pair).b; name::code
id IN (1, 2); id = ANY('{1}'); id BETWEEN 1 AND 2; name LIKE 'x'; id IS NULL; active IS TRUE; EXISTS (SELECT 1); (SELECT max(id) FROM orders); (SELECT placed FROM orders LIMIT 1); ARRAY(SELECT id FROM orders); id IN (SELECT 1)
pure(1); narrow(1, 2); narrow(1, '2'); narrow(1, COALESCE(id, balance)); looks(); a.fullname; similarity(name, 'x'); pg_typeof(1); mysum(id); gen_random_uuid(); random(); clock_timestamp(); version(); nextval('seq'); name COLLATE "C"; GROUPING(id); substring(name from 1 for 2); position('a' in name); trim(name); overlay(name placing 'x' from 1); 'a'::text = name; floor(id); ceil(balance); power(id, 2); mod(id, 2); mod(big, 2); div(balance, 2); md5(name); nullif(big, 1); width_bucket(balance, 1, 2, 3); pi(); now() - created; interval '1 day' * 2; 2 * interval '1 day'; date '2020-01-01' + time '10:00'; timestamp '2020-01-01' - interval '1 day'; '2020-01-01'::date - '1 day'::interval; at + interval '1 day'; at::date - born; (born - 1)::timestamp; lower(int4range(1, 2)); int4range(1, 2); isempty(int4range(1, 2)); int4range(1, 2) * int4range(2, 3); id = 1.5; doc = doc; doc - 'a'; doc || doc; doc @> '{}'; host('1.2.3.4'::inet); name::bytea; encode('a', 'hex'); regexp_matches(name, 'x'); regexp_replace(name, 'a', 'b'); string_to_array(name, ','); array_to_string(tags, ','); cardinality(tags); tags @> ARRAY['x']; array_agg(kind); ARRAY[kind]; array_append(ARRAY[kind], kind); unnest(ARRAY[kind]); max(kind); kind || 'x'; lower(kind); mode() WITHIN GROUP (ORDER BY kind); array_agg(tags); to_tsvector('x'); to_tsvector('x') @@ to_tsquery('y'); ts_rank(to_tsvector('x'), to_tsquery('y'))
`), "\n")

func TestKnownTypesAreThoseOfPostgres(t *testing.T) {
	s := testSnapshot(t)
	ctx := context.Background()
	conn, err := pg.Get(t).Primary().Connect(ctx, "planner")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var texts []string
	for _, line := range expressions {
		for _, e := range strings.Split(line, "; ") {
			texts = append(texts, "SELECT "+e+" FROM accounts a",
				"SELECT x.* FROM (SELECT "+e+" AS c, 1 AS d FROM accounts a) x",
				"WITH x AS (SELECT "+e+" AS c FROM accounts a UNION ALL SELECT "+e+" FROM accounts a) SELECT c FROM x",
				"SELECT c FROM accounts a, LATERAL (SELECT "+e+") AS y(c)")
		}
	}
	for _, q := range queries {
		texts = append(texts, q.sql)
	}
	known, unknown := 0, 0
	for _, text := range texts {
		ours := router.ColumnTypes(s, publicPath, text)
		if ours == nil || strings.Contains(text, " INTO ") {
			continue
		}
		sd, err := conn.Prepare(ctx, "", text)
		if err != nil {
			continue // not every expression goes into every query
		}
		if len(ours) != len(sd.Fields) {
			t.Errorf("%s: %d columns, for Postgres %d", text, len(ours), len(sd.Fields))
			continue
		}
		for i, f := range sd.Fields {
			switch {
			case ours[i] == 0:
				unknown++
			case ours[i] != f.DataTypeOID && !domainOver(s, ours[i], f.DataTypeOID):
				t.Errorf("%s: column %d is of type %d, for Postgres %d", text, i, ours[i], f.DataTypeOID)
			default:
				known++
			}
		}
	}
	t.Logf("%d types known, %d not", known, unknown)
	if known < 3*unknown {
		t.Errorf("only %d types known, %d not", known, unknown)
	}
}

// domainOver: in the result of a query, Postgres names what a domain is over.
func domainOver(s *catalog.Snapshot, domain, base uint32) bool {
	d := s.Type(domain)
	return d != nil && d.Kind == catalog.TypeDomain && d.Base == base
}

func TestANodeThatWasOverlookedMakesAWrite(t *testing.T) {
	if uncacheable, write := router.HasOverlooked(testSnapshot(t)); uncacheable == "" || write == "" {
		t.Errorf("%q %q", uncacheable, write)
	}
}

// otherVersions are functions on our lists that aren't in every supported version: the test runs on one of them.
var otherVersions = strings.Fields(`
	date_add date_subtract random_normal array_shuffle array_sample uuidv4 uuidv7 json_agg_strict jsonb_agg_strict json_object_agg_strict
	json_object_agg_unique json_object_agg_unique_strict jsonb_object_agg_strict jsonb_object_agg_unique
	jsonb_object_agg_unique_strict pg_start_backup pg_backup_start pg_split_walfile_name pg_get_wal_resource_managers
	pg_stat_get_xact_tuples_newpage_updated pg_stat_get_io pg_get_wait_events pg_stat_have_stats pg_ident_file_mappings
	pg_stat_get_recovery_prefetch pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_database_collation_actual_version
	has_parameter_privilege pg_get_function_sqlbody pg_get_statisticsobjdef_columns pg_get_statisticsobjdef_expressions pg_get_catalog_foreign_keys`)

func TestListedFunctionsExist(t *testing.T) {
	s := testSnapshot(t)
	for _, name := range router.ListedFunctions() {
		builtin := slices.ContainsFunc(s.FunctionsNamed(name), (*catalog.Function).Builtin)
		if !builtin && !slices.Contains(otherVersions, name) {
			t.Errorf("function %s() is on a list and doesn't exist", name)
		}
	}
}

func TestNoOverloadSlipsOntoTheListOfCacheableFunctions(t *testing.T) {
	s := testSnapshot(t)
	// Every stable overload that is cacheable by its name, in one reviewed list: an overload that a new version of
	// Postgres adds under one of the names fails here, and has to be looked at.
	var got []string
	for f := range s.Functions {
		if f.Builtin() && f.Schema == "pg_catalog" && f.Volatility == catalog.Stable && router.CacheableStable(f.Name) {
			var args []string
			for _, a := range f.Args {
				args = append(args, s.Type(a).Name)
			}
			got = append(got, fmt.Sprintf("%s(%s)", f.Name, strings.Join(args, ",")))
		}
	}
	if len(got) == 0 {
		t.Error("there are none")
	}
	reviewed := strings.Fields(reviewedOverloads)
	for _, f := range got {
		if !slices.Contains(reviewed, f) {
			t.Errorf("%s is cacheable and wasn't reviewed", f)
		}
	}
}

// literals are other values of the class of a literal.
var literals = map[byte][]string{'n': {"7", "0", "2147483647"}, 's': {"'other'", "''", "$q$x$q$", "'{1}'"}}

// TestPlanIsAFunctionOfTheFingerprint changes the literals of every statement and plans it again.
func TestPlanIsAFunctionOfTheFingerprint(t *testing.T) {
	planner, _ := testPlanner(t)
	lexer := router.NewLexer()
	ctx := router.Context{Role: "postgres", SearchPath: publicPath}
	changed := 0
	for _, q := range queries {
		fp, scan := lexer.Scan([]byte(q.sql))
		if scan.Exact {
			continue
		}
		want := planner.Plan(q.sql, ctx)
		for i := range q.sql {
			for _, other := range replacements(q.sql, i) {
				if again, s := lexer.Scan([]byte(other)); s.Exact || again != fp {
					continue
				}
				changed++
				if got := planner.Plan(other, ctx); !reflect.DeepEqual(got, want) {
					t.Errorf("%s\n  %+v\n%s\n  %+v", q.sql, want, other, got)
				}
			}
		}
	}
	if changed < 200 {
		t.Errorf("only %d variants", changed)
	}
}

// replacements returns the text with the literal that begins at i replaced by others.
func replacements(text string, i int) []string {
	end, class := i, byte(0)
	switch c := text[i]; {
	case c == '\'':
		if j := strings.IndexByte(text[i+1:], '\''); j >= 0 {
			end, class = i+1+j+1, 's'
		}
	case c >= '0' && c <= '9' && (i == 0 || !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_$.", rune(text[i-1]))):
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		class = 'n'
	}
	var out []string
	for _, l := range literals[class] {
		out = append(out, text[:i]+l+text[end:])
	}
	return out
}

func FuzzPlan(f *testing.F) {
	planner, s := testPlanner(f)
	for _, q := range queries {
		f.Add(q.sql)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		p := planner.Plan(text, router.Context{Role: "postgres", SearchPath: publicPath})
		switch {
		case p == nil:
			t.Fatal("no plan")
		case p.Cacheable && (p.Kind != router.KindRead || p.Writes || p.OnPrimary || p.Binds != "" || p.Reason != ""):
			t.Errorf("%q: %+v", text, p)
		case !p.Cacheable && p.Reason == "":
			t.Errorf("%q: not cacheable without a reason", text)
		case p.Kind == router.KindRead && p.Writes:
			t.Errorf("%q: a read that writes", text)
		}
		for _, oid := range p.Relations {
			if s.Relation(oid) == nil {
				t.Errorf("%q: depends on %d", text, oid)
			}
		}
	})
}

func BenchmarkPlan(b *testing.B) {
	planner, _ := testPlanner(b)
	for name, text := range map[string]string{
		"point": "SELECT name FROM accounts WHERE id = 1",
		"join":  "SELECT a.name, sum(o.total) FROM accounts a JOIN orders o ON o.account = a.id WHERE a.created > '2020-01-01' AND a.state IN ('sad', 'happy') GROUP BY a.name HAVING sum(o.total) > 10 ORDER BY 2 DESC LIMIT 10",
		"view":  "SELECT total FROM v_nested WHERE id = 1",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				planner.Plan(text, router.Context{SearchPath: publicPath})
			}
		})
	}
}
