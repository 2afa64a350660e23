package shapes

import "strings"

// Templates of expressions: {x} stands for an expression of the class x.

var scalars = templates(`
i {i} + {i} | {i} - {i} | {i} * 2 | -{i} | abs({i}) | {i} % 3 | {i} / 2 | length({s}) | octet_length({s}) | position('a' IN {s}) | strpos({s}, 'b') | ascii({s})
i coalesce({i}, {i}) | nullif({i}, {i}) | greatest({i}, {i}) | least({i}, 2, {i}) | CASE WHEN {b} THEN {i} ELSE {i} END | CASE {i} WHEN 1 THEN {i} WHEN 2 THEN 7 END
i cardinality({I}) | array_length({I}, 1) | ({I})[1] | extract(year FROM {d})::int | date_part('day', {t})::int | {d} - date '2020-01-01' | extract(hour FROM {z})::int
i ({n})::numeric(8,2)::int | ({b})::int | ({k} ->> 'n')::int | lower({r}) | upper({r}) | ({c}).a | width_bucket({f}, 0, 10, 5) | array_position({I}, ({i})::int) | array_position(enum_range(NULL::mood), {e})
i plus1(({i})::int) | twice(({i})::int) | num_nonnulls({i}, {s}, {d}) | sign({i})::int | {i}::smallint | {i}::bigint::int | {i} & 3 | {i} # 1 | bit_count({y})::int | masklen({w}) | family({w}) | jsonb_array_length(jsonb_path_query_array({k}, '$.tags[*]'))
i rows_with(({i})::int) | hashtext({s}) % 10 | (SELECT {i}) | array_ndims({I}) | extract(epoch FROM {v})::int | char_length({q}) | (({k} -> 'o') ->> 'x')::int | extract(dow FROM {d})::int | gcd({i}, 6)
s {s} || {s} | upper({s}) | lower({s}) | initcap({s}) | substr({s}, 1, 2) | left({s}, 1) | right({s}, -1) | replace({s}, 'a', 'z') | btrim({s}) | concat({s}, {i}, {d}) | format('%s-%s', {s}, {i}) | concat_ws('/', {s}, {s})
s ({i})::text | ({d})::text | ({t})::text | ({z})::text | ({v})::text | ({f})::text | ({y})::text | ({u})::text | ({I})::text | ({k})::text | ({e})::text | ({b})::text | ({r})::text | ({w})::text | ({c})::text | ({q})::text | ({S})::text
s to_char({d}, 'YYYY-MM-DD') | to_char({z}, 'HH24:MI TZH') | to_char({t}, 'Day DD Mon') | to_char({n}, 'FM9990.00') | to_char({i}, '999') | {k} ->> 'n' | {k} ->> 's' | {j} ->> 's' | {k} #>> '{tags,0}' | array_to_string({S}, ',', '*') | ({S})[1]
s coalesce({s}, {s}) | CASE WHEN {b} THEN {s} END | md5({s}) | ({c}).b | encode({y}, 'hex') | CURRENT_USER::text | current_setting('app.tenant', true) | current_schema()::text | current_database()::text | quote_literal({s}) | repeat({s}, 2)
s rpad({s}, 3, '.') | translate({s}, 'ab', 'xy') | regexp_replace({s}, '[ab]', '_', 'g') | split_part({s}, ' ', 1) | pg_typeof({i})::text | host({w}) | reverse({s}) | overlay({s} PLACING 'x' FROM 1) | label(({i})::int) | greet({s}) | {s} COLLATE "C" | substring({s} FROM '^.')
s ROW({i}, {s})::text | to_json({s})::text | nullif({s}, 'a') | greatest({s}, {s}) | ({n})::numeric(8,2)::text | current_setting('TimeZone') | jsonb_typeof({k}) | {d}::timestamp::text | {d}::timestamptz::text | chr(65 + abs(({i})::int) % 20) | obj_description(0) | session_user::text | current_setting('server_version_num') | {s}::varchar(2)
n {n} + {n} | {n} * {i} | round({n}, 1) | ({i})::numeric | coalesce({n}, 0) | trunc({n}) | abs({n}) | ({i})::numeric / 4 | {n} - 1.5 | greatest({n}, {n}) | ({f})::numeric
f {f} + {f} | ({i})::float8 | sqrt(abs({f})) | {f} * 0.5 | coalesce({f}, 1) | ({f})::real::float8 | power({f}, 2) | ({n})::float8
b {i} = {i} | {i} <> {i} | {i} < {i} | {i} >= {i} | {s} = {s} | {s} < {s} | {s} LIKE 'a%' | {s} ILIKE '%A' | {s} ~ '^[ab]' | {s} !~* 'B' | {n} > {n} | {f} <= {f} | {d} > {d} | {t} < {t} | {z} >= {z} | {v} > {v} | {u} = {u} | {e} = {e} | {e} < {e}
b {I} = {I} | {I} @> ARRAY[({i})::int] | {I} && {I} | ({i})::int = ANY ({I}) | {s} = ANY ({S}) | ({i})::int <> ALL ({I}) | {k} @> '{"n": 1}' | {k} ? 'n' | {k} ?| ARRAY['n', 's'] | {k} = {k} | {y} = {y} | {r} @> ({i})::int | {r} && {r} | {c} = {c} | {w} << '10.0.0.0/7' | {q} = {q} | {q} = 'A' | {q} LIKE 'a%'
b NOT {b} | {b} AND {b} | {b} OR {b} | {i} IS NULL | {s} IS NOT NULL | {b} IS TRUE | {b} IS NOT FALSE | {b} IS UNKNOWN | {i} IS DISTINCT FROM {i} | {s} IS NOT DISTINCT FROM {s} | {i} BETWEEN {i} AND 3 | {i} IN (1, {i}, 3) | {s} IN ('a', {s}) | {i} NOT IN (0, 2) | {d} BETWEEN SYMMETRIC {d} AND {d}
b ({i}, {s}) = ({i}, {s}) | ({i}, {i}) < ({i}, {i}) | ROW({i}, {s}) IS NULL | {s} SIMILAR TO '(a|b)%' | starts_with({s}, 'a') | {i}::text = {s} | {s} = ({i})::text | coalesce({b}, false) | CASE WHEN {b} THEN {b} ELSE {b} END | {i} = {n} | {n} = 2.0 | {i} = 1.0 | is_even(({i})::int) | {s} ^@ 'a'
b ({d}, {d}) OVERLAPS (date '2020-01-01', date '2020-06-01') | isempty({r}) | {d} = {t} | {d} <= {z} | {t} < {z} | {k} @? '$.tags[*]' | jsonb_exists({k}, 's') | {S} @> ARRAY['a'] | {w} = '::1' | to_tsvector('simple', {s}) @@ to_tsquery('simple', 'a') | {e} IN ('sad', 'ok') | {e}::text = {s} | ({k} ->> 'n') = '1'
d {d} + ({i})::int | ({t})::date | ({z})::date | date_trunc('month', {t})::date | make_date(2020, 1, 5) | coalesce({d}, '2020-03-03') | greatest({d}, {d}) | ({d} + {v})::date | to_date('2020-05-' || (abs(({i})::int) % 20 + 1), 'YYYY-MM-DD')
t {d} + {v} | {z} AT TIME ZONE 'UTC' | ({d})::timestamp | {t} + {v} | date_trunc('hour', {t}) | ({z})::timestamp | coalesce({t}, {t}) | make_timestamp(2020, 1, 2, 3, 4, 5) | timezone('Asia/Tokyo', {z})
z {t} AT TIME ZONE 'Asia/Tokyo' | ({t})::timestamptz | {z} + {v} | date_trunc('day', {z}) | to_timestamp({i}) | coalesce({z}, {z}) | ({d})::timestamptz | date_trunc('day', {z}, 'UTC')
v {t} - {t} | make_interval(days => ({i})::int) | interval '1 day' * {i} | age({t}, {t}) | justify_days({v}) | {v} + {v} | -{v} | ({s} || 'x' IS NULL)::int * interval '1 hour'
u coalesce({u}, {u}) | md5({s})::uuid
e coalesce({e}, 'ok') | CASE WHEN {b} THEN {e} ELSE 'sad' END | greatest({e}, {e}) | enum_first({e})
I {I} || ({i})::int | array_append({I}, ({i})::int) | ARRAY[({i})::int, {i}::int] | array_remove({I}, ({i})::int) | ({I})[1:2] | array_cat({I}, {I}) | coalesce({I}, '{}') | array_prepend(({i})::int, {I}) | array_fill(({i})::int, ARRAY[2]) | '{1,2}'::int[]
S string_to_array({s}, ' ') | ARRAY[{s}, {s}] | {S} || {s} | regexp_split_to_array({s}, 'a') | array_replace({S}, 'a', {s})
j json_build_object('a', {i}, 's', {s}) | to_json({s}) | json_build_array({i}, {d}) | row_to_json(ROW({i}, {s})) | {j} -> 'tags' | json_strip_nulls({j}) | to_json({z}) | array_to_json({I})
k jsonb_build_object('n', {i}, 's', {s}) | {k} || {k} | jsonb_set({k}, ARRAY['n'], '7') | {k} - 'n' | to_jsonb({d}) | {k} -> 'tags' | {k} #> '{o,x}' | jsonb_path_query_first({k}, '$.tags[0]') | to_jsonb({S}) | jsonb_strip_nulls({k}) | to_jsonb({t}) | to_jsonb({z}) | ({j})::jsonb
y {y} || {y} | decode(md5({s}), 'hex') | convert_to({s}, 'UTF8') | sha256({y}) | substring({y} FROM 1 FOR 1)
r int4range(NULL, ({i})::int) | {r} * {r} | int4range(0, abs(({i})::int) + 1)
c ROW({i}, {s})::pair | coalesce({c}, ROW(1, 'x')::pair)
w coalesce({w}, '::1') | set_masklen('10.1.2.3'::inet, 8 + abs(({i})::int) % 8)
q ({s})::char(4) | coalesce({q}, {q})
`)

// extras are of extensions, where there are these.
var extras = map[string]map[class][]string{
	"hstore": templates(`
s {h} -> 'a' | ({h})::text | array_to_string(akeys({h}), ',') | coalesce({h} -> {s}, 'none')
b {h} ? 'a' | {h} @> 'a=>1'::hstore | exist({h}, {s}) | {h} = {h} | defined({h}, 'b')
i ({h} -> 'n')::int | cardinality(avals({h}))
h {h} || {h} | hstore({s}, {s}) | delete({h}, 'a') | coalesce({h}, '') | slice({h}, {S}) | hstore(ROW({i}, {s})::pair)
k hstore_to_jsonb({h})
`),
	"pg_trgm": templates(`
b {s} % {s} | similarity({s}, {s}) > 0.3 | {s} <% {s}
f similarity({s}, 'ab') | word_similarity({s}, {s}) | {s} <-> {s}
S show_trgm({s})
`),
}

// varying have answers that aren't a function of tables, settings and role, or read the clock.
var varying = templates(`
b random() < 2 | now() > '2000-01-01' | clock_timestamp() > {z} | pg_backend_pid() > 0 | CURRENT_DATE > {d} | noise(({i})::int) >= 0 | 'now'::timestamptz > '2000-01-01' | gen_random_uuid() IS NOT NULL | 'today'::date > '2000-01-01' | CURRENT_TIMESTAMP > {t} | age({t}) > '1 second' | pg_is_in_recovery() IS NOT NULL | txid_current() > 0 | statement_timestamp() > '2000-01-01' | LOCALTIME IS NOT NULL | inet_client_port() > 0
`)

// aggregates have values that don't depend on the order of rows.
var aggregates = templates(`
i count(*)::int | count({i})::int | count(DISTINCT {s})::int | sum({i})::int | max({i}) | min({i}) | (count(*) FILTER (WHERE {b}))::int | bit_or({i}) | (sum({i}) FILTER (WHERE {b}))::int | sum(DISTINCT {i})::int | biggest(({i})::int) | regr_count({f}, {f})::int
n avg({i})::numeric(8,3) | sum({n}) | max({n})::numeric(8,2) | (stddev({i}))::numeric(8,3) | avg({n})
s max({s}) | min({s}) | string_agg({s}, ',' ORDER BY {s}) | string_agg(DISTINCT {s}, '') | string_agg({s}, '-' ORDER BY {s} DESC NULLS LAST) FILTER (WHERE {b}) | (array_agg({d} ORDER BY {d}))::text
b bool_or({b}) | bool_and({b}) | every({b})
d max({d}) | min({d})
e max({e})
I array_agg(({i})::int ORDER BY {i}) | array_agg(DISTINCT ({i})::int)
f percentile_cont(0.5) WITHIN GROUP (ORDER BY ({i})::float8)
k jsonb_agg({i} ORDER BY {i}) | to_jsonb(array_agg({s} ORDER BY {s}))
`)

// windows give the same to rows that are peers.
var windows = templates(`
i (rank() OVER (ORDER BY {i}))::int | (dense_rank() OVER (PARTITION BY {i} ORDER BY {s}))::int | (count(*) OVER (PARTITION BY {s}))::int | (sum({i}) OVER (PARTITION BY {i} ORDER BY {i}))::int | max({i}) OVER () | (sum({i}) OVER (ORDER BY {i} RANGE BETWEEN 1 PRECEDING AND CURRENT ROW))::int | (count(*) FILTER (WHERE {b}) OVER (PARTITION BY {b}))::int | (count(*) OVER (ORDER BY {s} GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING))::int | (count(*) OVER (ORDER BY {d} RANGE BETWEEN '1 year' PRECEDING AND '1 day' FOLLOWING))::int
s max({s}) OVER (PARTITION BY {i}) | min({s}) OVER (ORDER BY {i})
b bool_or({b}) OVER (PARTITION BY {i})
f cume_dist() OVER (ORDER BY {i}) | percent_rank() OVER (PARTITION BY {b} ORDER BY {i})
`)

func templates(text string) map[class][]string {
	out := map[class][]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		c := class(line[0])
		for t := range strings.SplitSeq(line[2:], " | ") {
			out[c] = append(out[c], t)
		}
	}
	return out
}

// fill puts expressions in the places of a template. Those of aggregates and windows get none with subqueries.
func (g *gen) fill(template string, sc []item, depth int) string {
	var b strings.Builder
	for i := 0; i < len(template); i++ {
		if template[i] == '{' && i+2 < len(template) && template[i+2] == '}' && strings.IndexByte("isnfbdtzvueISjkyrcwqh", template[i+1]) >= 0 {
			b.WriteString(g.expr(class(template[i+1]), sc, depth-1))
			i += 2
			continue
		}
		b.WriteByte(template[i])
	}
	return b.String()
}

// expr makes an expression of a class over the columns of the items.
func (g *gen) expr(c class, sc []item, depth int) string {
	if depth > 0 && !g.one(3) {
		if c == 'b' && g.varyOK && g.one(60) {
			g.varies = true
			return "(" + g.fill(g.pick(varying['b']), sc, depth) + ")"
		}
		if g.one(14) && g.sub < 2 {
			if s := g.subExpr(c, sc); s != "" {
				return s
			}
		}
		list := scalars[c]
		if more := g.extra(c); more != nil && (list == nil || g.one(8)) {
			list = more
		}
		return "(" + g.fill(g.pick(list), sc, depth) + ")"
	}
	if !g.one(5) {
		if col := g.column(sc, c); col != "" {
			return col
		}
	}
	return g.valueAs(c, g.one(12))
}

// extra are templates of an extension.
func (g *gen) extra(c class) []string {
	for _, name := range g.extensions { // in their order, or a seed wouldn't make the same statements again
		if list := extras[name][c]; list != nil && (c == 'h' || g.one(2)) {
			return list
		}
	}
	return nil
}

// subExpr is a scalar subquery.
func (g *gen) subExpr(c class, sc []item) string {
	g.sub++
	defer func() { g.sub-- }()
	switch c {
	case 'b':
		return g.pick([]string{"", "NOT "}) + "EXISTS (" + g.small(0, sc) + ")"
	case 'i':
		if g.one(2) {
			return "(SELECT " + g.pick([]string{"count(*)::int", "max(z.o)", "sum(z.o)::int", "coalesce(min(z.o), -1)"}) + " FROM (" + g.small('i', sc) + ") AS z(o))"
		}
	case 'I', 'S':
		return "ARRAY(" + g.small(map[class]class{'I': 'i', 'S': 's'}[c], sc) + " ORDER BY 1)::" + canon[c]
	}
	if strings.IndexByte("isdu", byte(c)) < 0 {
		return ""
	}
	return "(" + g.small(c, sc) + " ORDER BY 1 LIMIT 1)"
}

// small is a subquery of one column, which sees the items around it.
func (g *gen) small(c class, outer []item) string {
	from, items := g.from(outer, 1+g.IntN(2))
	target := "1"
	if c != 0 {
		target = g.expr(c, items, 1)
	}
	return "SELECT " + target + " FROM " + from + " WHERE " + g.condition(items, outer, 1)
}

// value is a literal or parameter, whose type needn't be said where it stands beside a column.
func (g *gen) value(c class) string { return g.valueAs(c, g.one(2)) }

func (g *gen) valueAs(c class, bare bool) string {
	if g.one(25) && c != 'e' {
		return "NULL::" + canon[c]
	}
	text := g.pick(classValues[c])
	if g.params != nil && strings.IndexByte("isbnudzeI", byte(c)) >= 0 && g.one(2) && len(*g.params) < 6 {
		*g.params = append(*g.params, param{class: c, text: text})
		p := "$" + itoa(len(*g.params))
		if bare {
			return p
		}
		return p + "::" + g.typeOf(c)
	}
	switch c {
	case 'i':
		return text
	case 'b':
		return g.pick([]string{"true", "false", "true", "'t'::bool"})
	case 's':
		return g.pick([]string{quote(text), quote(text), quote(text) + "::text", quote(text) + "::varchar", "E" + quote(text), "$$" + text + "$$"})
	}
	return quote(text) + "::" + g.typeOf(c)
}

func (g *gen) typeOf(c class) string {
	switch c {
	case 'i':
		return g.pick([]string{"int", "int", "bigint", "smallint", "int4"})
	case 's':
		return g.pick([]string{"text", "text", "varchar"})
	}
	return canon[c]
}
