package router_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// breadthSchema is an application's database with a little of everything, and the same contents each time.
const breadthSchema = `
CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore; CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION pgcrypto;
CREATE EXTENSION unaccent; CREATE EXTENSION ltree; CREATE EXTENSION fuzzystrmatch; CREATE EXTENSION intarray; CREATE EXTENSION btree_gist;
CREATE EXTENSION cube; CREATE EXTENSION earthdistance; CREATE EXTENSION tablefunc;
CREATE TYPE status AS ENUM ('new', 'paid', 'sent', 'done');
CREATE TYPE address AS (street text, zip text, since date);
CREATE DOMAIN email AS citext CHECK (VALUE ~ '@');
CREATE DOMAIN quantity AS int CHECK (VALUE > 0) NOT NULL;
CREATE DOMAIN slug AS text CHECK (VALUE ~ '^[a-z0-9-]+$' AND length(VALUE) < 60);
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, mail email, born date, created timestamptz NOT NULL, seen timestamp,
	active bool NOT NULL, score numeric(10,2), ratio float8, tags text[], doc jsonb, raw json, home address, token uuid, bits bit(4), ip inet,
	attrs hstore, hash bytea, span interval, at time, price money, geo point, doc_tsv tsvector, path ltree, boss bigint REFERENCES users);
INSERT INTO users SELECT i, 'User ' || i, 'user' || i || '@Example.org', date '1990-01-01' + i::int * 37, timestamptz '2023-01-01 10:00+00' + i * interval '31 hours',
	timestamp '2023-05-01' + i * interval '7 hours', i % 3 <> 0, i * 10.25, i / 7.0, ARRAY['t' || i % 4, 'all'],
	jsonb_build_object('n', i, 'name', 'x' || i, 'list', jsonb_build_array(i, i + 1), 'sub', jsonb_build_object('a', i % 5), 'when', '2024-01-0' || i % 9 + 1),
	json_build_object('k', i), ROW('Street ' || i, i::text, date '2020-01-01' + i::int)::address, uuid_generate_v5(uuid_ns_url(), i::text), (i::int % 16)::bit(4),
	('10.0.0.' || i)::inet, hstore('a', i::text), decode(lpad(i::text, 4, '0'), 'hex'), i * interval '1 day 2 hours', time '08:00' + i * interval '10 minutes',
	(i * 3)::money, point(i, i * 2), to_tsvector('english', 'the quick fox number ' || i), ('top.a' || i % 3 || '.b' || i)::ltree, nullif(i / 4, 0)
	FROM generate_series(1, 24) i;
CREATE TABLE orders (id bigint PRIMARY KEY, usr bigint NOT NULL REFERENCES users, state status NOT NULL, total numeric NOT NULL, placed timestamptz NOT NULL, note text, during tstzrange, days daterange);
INSERT INTO orders SELECT i, i % 24 + 1, (enum_range(NULL::status))[i % 4 + 1], i * 1.5, timestamptz '2023-06-01 12:00+00' + i * interval '5 hours', CASE WHEN i % 5 = 0 THEN NULL ELSE 'note ' || i END,
	tstzrange(timestamptz '2023-06-01 12:00+00' + i * interval '5 hours', timestamptz '2023-06-02 12:00+00' + i * interval '5 hours'), daterange(date '2023-06-01' + i::int, date '2023-06-05' + i::int) FROM generate_series(1, 80) i;
CREATE TABLE items (ord bigint REFERENCES orders, line int, product bigint, qty quantity, price numeric, PRIMARY KEY (ord, line));
INSERT INTO items SELECT o, l, (o * 7 + l) % 10 + 1, l, o + l FROM generate_series(1, 80) o, generate_series(1, 3) l;
CREATE TABLE products (id bigint PRIMARY KEY, title text NOT NULL, slug slug, parent bigint, data jsonb, sizes int[], words tsvector, UNIQUE (slug));
INSERT INTO products SELECT i, 'Product número ' || i, 'product-' || i, nullif(i / 2, 0), jsonb_build_object('p', i), ARRAY[i, i + 1], to_tsvector('simple', 'p ' || i) FROM generate_series(1, 10) i;
CREATE TABLE events (id bigint, day date, kind text, PRIMARY KEY (id, day, kind)) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2023-01-01') TO ('2023-07-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2023-07-01') TO ('2024-01-01') PARTITION BY LIST (kind);
CREATE TABLE events_2a PARTITION OF events_2 FOR VALUES IN ('a'); CREATE TABLE events_2b PARTITION OF events_2 DEFAULT;
INSERT INTO events SELECT i, date '2023-01-05' + i::int * 7, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 50) i;
CREATE TABLE vehicles (id int PRIMARY KEY, wheels int); CREATE TABLE trucks (load int) INHERITS (vehicles); ALTER TABLE trucks ADD PRIMARY KEY (id);
INSERT INTO vehicles VALUES (1, 2), (2, 4); INSERT INTO trucks VALUES (3, 6, 1000);
CREATE TABLE tenants (id int PRIMARY KEY, owner text); INSERT INTO tenants VALUES (1, 'postgres'), (2, 'app');
CREATE TABLE docs (id int PRIMARY KEY, tenant int, body text); INSERT INTO docs SELECT i, i % 2 + 1, 'doc ' || i FROM generate_series(1, 10) i;
ALTER TABLE docs ENABLE ROW LEVEL SECURITY; ALTER TABLE docs FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON docs USING (tenant = nullif(current_setting('app.tenant', true), '')::int OR tenant IN (SELECT id FROM tenants WHERE owner = current_user));
CREATE VIEW active_users AS SELECT id, name, mail, created, score FROM users WHERE active;
CREATE VIEW user_totals AS SELECT u.id, u.name, sum(o.total) AS total, count(*) AS n, max(o.placed) AS latest FROM active_users u JOIN orders o ON o.usr = u.id GROUP BY u.id, u.name;
CREATE VIEW invoker_users WITH (security_invoker) AS SELECT * FROM active_users;
CREATE VIEW me AS SELECT current_user AS role, id FROM users WHERE name = 'User 1';
CREATE MATERIALIZED VIEW order_stats AS SELECT state, count(*) AS n, sum(total) AS total FROM orders GROUP BY state;
CREATE VIEW stats_view AS SELECT * FROM order_stats;
CREATE FUNCTION add_tax(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 1.19';
CREATE FUNCTION full_label(id bigint, label text DEFAULT 'user') RETURNS text LANGUAGE sql STABLE AS $$SELECT label || ' ' || name FROM users u WHERE u.id = full_label.id$$;
CREATE FUNCTION order_count(bigint) RETURNS bigint LANGUAGE sql AS $$SELECT count(*) FROM orders WHERE usr = $1$$;
CREATE FUNCTION orders_of(uid bigint) RETURNS SETOF orders LANGUAGE sql STABLE AS $$SELECT * FROM orders WHERE usr = uid ORDER BY id$$;
CREATE FUNCTION order_lines(uid bigint) RETURNS TABLE (ord bigint, total numeric) LANGUAGE sql STABLE BEGIN ATOMIC SELECT o.id, sum(i.price * i.qty) FROM orders o JOIN items i ON i.ord = o.id WHERE o.usr = uid GROUP BY o.id; END;
CREATE FUNCTION initials(users) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT left($1.name, 1)$$;
CREATE FUNCTION grade(score numeric) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN IF score > 100 THEN RETURN 'high'; ELSIF score > 50 THEN RETURN 'middle'; END IF; RETURN 'low'; END$$;
CREATE FUNCTION spent(uid bigint) RETURNS numeric LANGUAGE plpgsql STABLE AS $$DECLARE s numeric := 0; r record; BEGIN FOR r IN SELECT * FROM orders WHERE usr = uid LOOP s := s + r.total; END LOOP; RETURN s; END$$;
CREATE FUNCTION top_orders(n int) RETURNS SETOF orders LANGUAGE plpgsql STABLE AS $$BEGIN RETURN QUERY SELECT * FROM orders ORDER BY total DESC LIMIT n; END$$;
CREATE FUNCTION fib(n int) RETURNS bigint LANGUAGE plpgsql AS $$DECLARE a bigint := 0; b bigint := 1; t bigint; BEGIN FOR i IN 1..n LOOP t := a + b; a := b; b := t; END LOOP; RETURN a; END$$;
CREATE FUNCTION tenant() RETURNS int LANGUAGE sql STABLE AS $$SELECT nullif(current_setting('app.tenant', true), '')::int$$;
CREATE FUNCTION since_now(timestamptz) RETURNS interval LANGUAGE sql STABLE AS 'SELECT now() - $1';
CREATE FUNCTION touch(bigint) RETURNS bigint LANGUAGE plpgsql AS $$BEGIN UPDATE users SET seen = now() WHERE id = $1; RETURN $1; END$$;
CREATE FUNCTION stamp() RETURNS text LANGUAGE plpgsql STABLE AS $$DECLARE d date := 'today'; BEGIN RETURN d::text; END$$;
CREATE FUNCTION concat_lower(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT lower($1 || $2)$$;
CREATE OPERATOR ||| (leftarg = text, rightarg = text, function = concat_lower);
CREATE AGGREGATE product(numeric) (sfunc = numeric_mul, stype = numeric, initcond = '1');
CREATE TYPE stamped AS (a text, since date);
CREATE DOMAIN birthday AS date;
CREATE SCHEMA other; CREATE FUNCTION other.lower(text) RETURNS text LANGUAGE sql STABLE AS $$SELECT $1 || now()$$; GRANT USAGE ON SCHEMA other TO app;
CREATE FUNCTION trap1(text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE d date := $1; BEGIN RETURN d; END$$;
CREATE FUNCTION trap2(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE d date; BEGIN SELECT t INTO d; RETURN d; END$$;
CREATE FUNCTION trap3(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE d date; r record; BEGIN SELECT t AS x INTO r; d := r.x; RETURN d; END$$;
CREATE FUNCTION trap4(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE d date; BEGIN FOR d IN SELECT t LOOP RETURN d; END LOOP; END$$;
CREATE FUNCTION trap5(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE d date; BEGIN FOREACH d IN ARRAY ARRAY[t] LOOP RETURN d; END LOOP; END$$;
CREATE FUNCTION trap6(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$BEGIN RETURN t; END$$;
CREATE FUNCTION trap7(x timestamptz DEFAULT now()) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$SELECT x$$;
CREATE FUNCTION trap8(t text) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$DECLARE q orders%ROWTYPE; BEGIN q.placed := t; RETURN q.placed; END$$;
CREATE FUNCTION trap9(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE a date[]; BEGIN a[1] := t; RETURN a[1]; END$$;
CREATE FUNCTION trap10(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE v users.born%TYPE := t; BEGIN RETURN v; END$$;
CREATE FUNCTION trap11(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE r record; BEGIN SELECT date '2020-01-01' AS x INTO r; FOR i IN 1..2 LOOP IF i = 2 THEN RETURN r.x::date; END IF; SELECT t AS x INTO r; END LOOP; END$$;
CREATE FUNCTION trap12(t text, OUT d date) LANGUAGE plpgsql STABLE AS $$BEGIN d := t; END$$;
CREATE FUNCTION trap13(t text) RETURNS SETOF date LANGUAGE plpgsql STABLE AS $$BEGIN RETURN NEXT t; END$$;
CREATE FUNCTION trap14(text) RETURNS date LANGUAGE sql IMMUTABLE AS $$SELECT $1::date$$;
CREATE FUNCTION trap15(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE d birthday := t; BEGIN RETURN d; END$$;
CREATE FUNCTION trap16(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE c stamped; BEGIN c := ROW('a', t); RETURN c.since; END$$;
CREATE FUNCTION trap17(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE c stamped; BEGIN SELECT 'a', t INTO c; RETURN c.since; END$$;
CREATE FUNCTION trap18(t text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = other, pg_catalog AS $$SELECT lower(t)$$;
CREATE FUNCTION trap19(t text) RETURNS date LANGUAGE plpgsql STABLE AS $$DECLARE d date; x text := t; BEGIN IF x IS NOT NULL THEN CASE WHEN true THEN d := x; END CASE; END IF; RETURN d; END$$;
CREATE FUNCTION trap20(t text) RETURNS text LANGUAGE plpgsql STABLE AS $$DECLARE born text := t; BEGIN RETURN (SELECT trap14(born)); END$$;
CREATE FUNCTION trap21(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN t || to_char(clock_timestamp(), 'YYYY'); END$$;
CREATE FUNCTION trap22(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$DECLARE r text; BEGIN EXECUTE 'SELECT now()' INTO r; RETURN r; END$$;
CREATE FUNCTION trap23(t text) RETURNS timestamptz LANGUAGE sql IMMUTABLE RETURN statement_timestamp();
CREATE FUNCTION trap24(t text) RETURNS stamped LANGUAGE plpgsql IMMUTABLE AS $$DECLARE c stamped; BEGIN c.since := t; RETURN c; END$$;
CREATE AGGREGATE trap25(date) (sfunc = date_larger, stype = date, initcond = 'today');
CREATE FUNCTION trap26(n int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN IF n > 0 THEN RETURN trap26(n - 1); END IF; RETURN now(); END$$;
CREATE FUNCTION trap27(n int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN IF n > 0 THEN RETURN trap28(n - 1); END IF; RETURN ''; END$$;
CREATE FUNCTION trap28(n int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN trap27(n - 1) || now(); END$$;
CREATE VIEW trap29 AS SELECT trap27(2) AS x;
ANALYZE;
`

// fragment is an expression over one row of users (u), by category. Where what it gives depends on more than the tables,
// it isn't deterministic.
type fragment struct {
	category, sql string
	varies        bool
}

// scalars are expressions over users u. Those after !! aren't deterministic.
const scalars = `
column: u.id; u.name; u.mail; u.born; u.created; u.seen; u.score; u.ratio; u.tags; u.doc; u.raw; u.home; u.token; u.bits; u.ip; u.attrs; u.hash; u.span; u.at; u.price; u.geo; u.doc_tsv; u.path; u; u.*; u.active
arithmetic: u.id + 1; u.score * 1.19; u.ratio / 3; u.id % 7; -u.score; @ u.ratio; u.id::float8 ^ 2; |/ u.ratio; u.id & 3; u.id << 2; u.id # 5; ~u.id; div(u.score, 3); round(u.score, 1); trunc(u.ratio::numeric, 2); ceil(u.score); power(u.ratio, 2); sqrt(u.score); ln(u.score); width_bucket(u.score, 0, 100, 5); gcd(u.id, 12); sign(u.score); mod(u.id, 3); greatest(u.score, 50); pi() * u.ratio; scale(u.score); to_hex(u.id); u.id::bit(8); degrees(u.ratio)
string: lower(u.name); upper(u.name); initcap(u.name); length(u.name); u.name || '!' ; concat(u.name, '-', u.id); concat_ws(',', u.name, u.id, u.score); format('%s:%s', u.name, u.id); substring(u.name from 2 for 3); substring(u.name from '[0-9]+'); position('s' in u.name); replace(u.name, 'User', 'Client'); regexp_replace(u.name, '\d+', '#'); split_part(u.name, ' ', 2); left(u.name, 2); lpad(u.name, 10, '*'); trim(both 'U' from u.name); reverse(u.name); md5(u.name); encode(sha256(u.name::bytea), 'hex'); string_to_array(u.name, ' '); ascii(u.name); translate(u.name, 'abc', 'xyz'); overlay(u.name placing 'X' from 1 for 1); starts_with(u.name, 'User'); u.name COLLATE "C"; quote_literal(u.name); quote_ident(u.name); repeat(u.name, 2); regexp_match(u.name, '(\w+) (\d+)'); strpos(u.name, 'r'); chr(u.id::int + 64); u.name::varchar(3); u.name::char(10); u.name::name; octet_length(u.name); normalize(u.name); convert_to(u.name, 'UTF8'); u.name ^@ 'U'
date: extract(year from u.created); extract(epoch from u.created); date_part('hour', u.created); date_trunc('month', u.created); date_trunc('day', u.created, 'Europe/Berlin'); u.created::date; u.created::time; u.created AT TIME ZONE 'Asia/Tokyo'; u.seen AT TIME ZONE 'UTC'; u.born + 30; u.born - date '1980-01-01'; u.born + interval '1 month'; u.created - interval '1 day'; u.created - timestamptz '2023-01-01'; age(u.created, u.seen); age(u.born::timestamp, timestamp '1990-01-01'); to_char(u.created, 'YYYY-MM-DD HH24:MI'); to_char(u.born, 'Day'); to_char(u.span, 'HH24:MI'); to_char(u.score, 'FM999.00'); make_date(2020, u.id::int % 12 + 1, 1); make_timestamptz(2020, 1, 1, 0, 0, 0); justify_hours(u.span); u.span * 2; isfinite(u.created); u.at + interval '1 hour'; extract(dow from u.born); date_bin('1 hour', u.created, timestamptz '2020-01-01'); to_timestamp(u.id); to_date('2020-01-05', 'YYYY-MM-DD'); (u.created, interval '1 day') OVERLAPS (timestamptz '2023-01-03', interval '2 days'); extract(isodow from u.created); u.created::timestamp; u.seen::timestamptz; u.born::timestamptz; make_interval(days => u.id::int); u.created::text; u.born::text; date '2020-01-01' + u.at; u.created < '2023-01-20'; u.born BETWEEN '1990-01-01' AND '1991-01-01'; extract(timezone from u.created)
!!date: now(); u.created > now() - interval '3 years'; CURRENT_DATE - u.born; age(u.created); age(u.born); current_timestamp; localtimestamp; clock_timestamp(); 'today'::date; u.at::timetz; date 'tomorrow'; statement_timestamp(); transaction_timestamp(); timeofday(); localtime; CURRENT_TIME; to_char(now(), 'YYYY'); extract(epoch from now() - u.created)
json: u.doc -> 'name'; u.doc ->> 'name'; u.doc #> '{sub,a}'; u.doc #>> '{sub,a}'; u.doc['n']; (u.doc -> 'n')::int; u.doc ? 'n'; u.doc @> '{"n": 1}'; u.doc - 'n'; u.doc || '{"z": 1}'; jsonb_array_length(u.doc -> 'list'); jsonb_typeof(u.doc -> 'n'); jsonb_set(u.doc, '{n}', '5'); jsonb_strip_nulls(u.doc); jsonb_pretty(u.doc); jsonb_path_query_first(u.doc, '$.list[*]'); jsonb_path_exists(u.doc, '$.n'); u.doc @? '$.n'; u.doc @@ '$.n > 3'; to_json(u.name); to_jsonb(u); row_to_json(u); json_build_object('id', u.id, 'name', u.name); jsonb_build_array(u.id, u.created); u.raw ->> 'k'; u.raw::jsonb; u.doc::text; jsonb_extract_path_text(u.doc, 'sub', 'a'); json_object(ARRAY['a', 'b'], ARRAY['1', '2']); jsonb_populate_record(NULL::products, u.doc -> 'sub') ; array_to_json(u.tags); jsonb_insert(u.doc, '{list,0}', '0'); u.doc <@ u.doc; hstore_to_json(u.attrs); to_jsonb(u.created); (u.doc -> 'n')::numeric + 1; (SELECT json_agg(x) FROM (SELECT o.id, o.state FROM orders o WHERE o.usr = u.id ORDER BY o.id) x)
array: u.tags[1]; u.tags[1:1]; array_length(u.tags, 1); cardinality(u.tags); u.tags || 'x'::text; array_append(u.tags, 'x'); array_position(u.tags, 'all'); array_remove(u.tags, 't1'); array_to_string(u.tags, ','); u.tags @> ARRAY['all']; u.tags && ARRAY['t1', 't2']; 'all' = ANY (u.tags); ARRAY[u.id, 2]; ARRAY(SELECT o.id FROM orders o WHERE o.usr = u.id ORDER BY 1); array_upper(u.tags, 1); trim_array(u.tags, 1); u.tags::varchar[]; ARRAY[[1, 2], [3, 4]]; array_replace(u.tags, 'all', 'none'); u.id = ANY ('{1,2,3}'::bigint[]); u.id <> ALL (ARRAY[1, 2]); ARRAY[1, 2] + u.id::int
cast: u.id::text; u.id::int; u.score::int; u.score::float8; u.ratio::numeric(6,2); u.active::int; u.active::text; '5'::int + u.id; u.name::text; u.token::text; 'a@b.c'::email; 3::quantity; 'ok-slug'::slug; 'new'::status; '{1,2}'::int[]; '(a,b,2020-01-01)'::address; '1.2.3.4'::inet; u.id::quantity; CAST(u.name AS citext); u.ip::text; '2020-01-01'::date; '10:00'::time; timestamptz '2020-01-01 00:00+00'; interval '1 day'; u.id::numeric; '{"a":1}'::jsonb; (u.home).street::text; u.bits::int; u.price::numeric; u.hash::text; u.span::text; '[1,5)'::int4range; 'a=>1'::hstore; 'top.b'::ltree
!!cast: ((u.doc ->> 'when') || '')::date; (u.doc ->> 'when')::date; (u.doc ->> 'when')::timestamptz; ROW('a', 'b', u.doc ->> 'when')::address; ARRAY[u.doc ->> 'when']::date[]
reg: pg_typeof(u.id); 'users'::regclass; u.tableoid::regclass; to_regclass('users'); 'int4'::regtype; 'lower(text)'::regprocedure; u.tableoid; u.xmin; 'english'::regconfig
conditional: CASE WHEN u.score > 50 THEN 'rich' ELSE 'poor' END; CASE u.id WHEN 1 THEN 'one' WHEN 2 THEN 'two' END; coalesce(u.boss, 0); nullif(u.id, 3); least(u.id, 10); u.boss IS NULL; u.boss IS DISTINCT FROM 1; u.active IS TRUE; NOT u.active; u.active AND u.score > 3; u.name LIKE 'User 1%'; u.name ILIKE '%ser%'; u.name SIMILAR TO '%(1|2)'; u.name ~ '^U'; u.name !~* 'x$'; u.id IN (1, 2, 3); u.id NOT IN (4, 5); (u.id, u.name) = (1, 'User 1'); ROW(u.id, u.score) < ROW(5, 1); u.id BETWEEN 1 AND 5; u.id BETWEEN SYMMETRIC 9 AND 3; u.home IS NOT NULL; coalesce(u.mail, 'none@x'); num_nulls(u.boss, u.name); u.mail = 'USER1@example.org'; u.active IS NOT UNKNOWN
subquery: (SELECT count(*) FROM orders o WHERE o.usr = u.id); EXISTS (SELECT FROM orders o WHERE o.usr = u.id AND o.total > 50); u.id IN (SELECT o.usr FROM orders o WHERE o.state = 'paid'); u.id = ANY (SELECT o.usr FROM orders o); u.score > ALL (SELECT o.total FROM orders o WHERE o.usr = u.id); (SELECT max(o.placed) FROM orders o WHERE o.usr = u.id); (SELECT b.name FROM users b WHERE b.id = u.boss); u.id NOT IN (SELECT o.usr FROM orders o WHERE o.note IS NULL); (SELECT (o.state, o.total)::text FROM orders o WHERE o.usr = u.id ORDER BY o.id LIMIT 1); (u.id, u.active) IN (SELECT o.usr, true FROM orders o); (SELECT sum(i.qty * i.price) FROM orders o JOIN items i ON i.ord = o.id WHERE o.usr = u.id)
composite: (u.home).street; (u.home).since; ROW(u.id, u.name); (u).name; u.home = ROW('Street 1', '1', date '2020-01-02')::address; ROW(u.id, u.home); (ROW('a', 'b', date '2020-01-01')::address).zip; row_to_json(u.home)
enum: (SELECT state FROM orders o WHERE o.id = u.id); enum_range(NULL::status); enum_first(NULL::status); 'paid'::status > 'new'; (SELECT max(o.state) FROM orders o)
range: int4range(1, u.id::int); numrange(0, u.score); daterange('2020-01-01', '2020-02-01') @> date '2020-01-05'; tstzrange(u.created, u.created + interval '1 day') && tstzrange('2023-01-01', '2023-01-09'); upper(int8range(1, u.id)); lower(daterange(u.born, u.born + 3)); int4range(1, 5) * int4range(3, 9); isempty(int4range(u.id::int, u.id::int)); int4multirange(int4range(1, 3), int4range(5, 7)); (SELECT range_agg(o.days) FROM orders o WHERE o.usr = u.id); upper_inf(int4range(1, NULL)); (SELECT o.during -|- o.during FROM orders o WHERE o.id = u.id)
fulltext: to_tsvector('english', u.name); u.doc_tsv @@ to_tsquery('english', 'fox'); u.doc_tsv @@ plainto_tsquery('quick fox'); ts_rank(u.doc_tsv, to_tsquery('fox')); ts_headline('english', u.name, to_tsquery('user')); websearch_to_tsquery('english', 'fox -dog'); to_tsvector(u.name); numnode(plainto_tsquery('a b')); strip(u.doc_tsv); setweight(u.doc_tsv, 'A'); tsvector_to_array(u.doc_tsv); phraseto_tsquery('english', 'quick fox'); to_tsvector('english', u.doc); u.doc_tsv @@ 'fox'
network: host(u.ip); u.ip << '10.0.0.0/8'; masklen(u.ip); network(u.ip); u.ip + 5; family(u.ip); u.ip - '10.0.0.0'::inet; abbrev(u.ip)
extension: similarity(u.name, 'User 3'); u.name % 'User 3'; u.name <-> 'User'; word_similarity('ser', u.name); show_trgm(u.name); u.mail; lower(u.mail); u.attrs -> 'a'; u.attrs ? 'a'; akeys(u.attrs); u.attrs || hstore('b', '2'); uuid_generate_v5(uuid_ns_dns(), u.name); digest(u.name, 'sha256'); crypt('x', 'ab'); encode(hmac(u.name, 'k', 'sha1'), 'base64'); unaccent(u.name); unaccent('unaccent', u.name); u.path <@ 'top.a1'; nlevel(u.path); subpath(u.path, 0, 1); u.path ~ 'top.*'; levenshtein(u.name, 'User'); soundex(u.name); metaphone(u.name, 4); dmetaphone(u.name); ARRAY[3, 1, 2]::int[] & ARRAY[1]; sort(ARRAY[3, 1, 2]); idx(ARRAY[3, 1], 1); cube(1, 2); cube_distance(cube(1), cube(2)); earth_distance(ll_to_earth(1, 2), ll_to_earth(3, 4)); svals(u.attrs); strict_word_similarity('a', u.name)
!!extension: uuid_generate_v4(); gen_random_bytes(4); gen_salt('bf'); crypt('x', gen_salt('md5')); gen_random_uuid()
function: add_tax(u.score); full_label(u.id); full_label(u.id, 'x'); full_label(id => u.id, label => 'y'); order_count(u.id); initials(u); u.initials; grade(u.score); spent(u.id); fib(u.id::int); u.name ||| 'X'; (SELECT product(o.total) FROM orders o WHERE o.id < 4); (SELECT count(*) FROM orders_of(u.id)); (SELECT sum(total) FROM order_lines(u.id)); tenant(); (SELECT sum(t.total) FROM top_orders(3) t)
!!function: since_now(u.created); stamp(); touch(u.id)
!!trap: trap1('tod' || 'ay'); trap2('tod' || 'ay'); trap3('tod' || 'ay'); trap4('tod' || 'ay'); trap5('tod' || 'ay'); trap6('tod' || 'ay'); trap8('tod' || 'ay'); trap9('tod' || 'ay'); trap10('tod' || 'ay'); trap11('tod' || 'ay'); trap12('tod' || 'ay'); trap13('tod' || 'ay'); trap14('tod' || 'ay'); trap15('tod' || 'ay'); trap16('tod' || 'ay'); trap17('tod' || 'ay'); trap18('tod' || 'ay'); trap19('tod' || 'ay'); trap20('tod' || 'ay'); trap21('tod' || 'ay'); trap22('tod' || 'ay'); trap23('tod' || 'ay'); trap24('tod' || 'ay'); trap7(); (SELECT trap25('2020-01-01')); trap26(2); trap27(2); (SELECT x FROM trap29)
session: current_user; session_user; current_database(); current_catalog; current_schema(); current_role; user
!!session: pg_column_size(u.name); pg_backend_pid(); random(); random() + u.id; inet_server_port(); txid_current_if_assigned(); pg_postmaster_start_time(); gen_random_uuid(); current_query(); txid_current_snapshot(); pg_current_wal_lsn(); pg_conf_load_time()
xml: xmlelement(name a, u.name); xmlforest(u.id, u.name); xpath('/a/text()', '<a>1</a>'::xml); xmlconcat('<a/>'::xml, '<b/>'::xml); '<a/>'::xml IS DOCUMENT; xmlserialize(content '<a/>'::xml as text); xmlparse(document '<a/>'); xmlcomment('x'); xpath_exists('/a', '<a/>')
other: u.geo <-> point(0, 0); u.geo[0]; box(u.geo, point(0, 0)); get_byte(u.hash, 0); u.bits | B'0001'; bit_count(u.bits); u.price * 2; u.price::text; decode('ff', 'hex'); u.hash || '\x00'::bytea; hashtext(u.name); pg_size_pretty(u.id * 1024); int8send(u.id); u.token < '80000000-0000-0000-0000-000000000000'; bool 'yes'; U&'d\0061t'; E'a\nb'; $$q$$; B'101'; X'1F'; 1e10; .5; u.name::text COLLATE "POSIX" > 'A'; length(u.hash); txid_visible_in_snapshot(5, '4:9:'); point(1, 2) ~= u.geo; circle(u.geo, 2) @> point(1, 1); pg_lsn '0/0' + 5::numeric
`

// aggregates are expressions over a group of orders o (joined to users u), windows over the same.
const aggregates = `
aggregate: count(*); count(DISTINCT o.state); sum(o.total); avg(o.total); min(o.placed); max(o.state); bool_and(o.total > 1); every(o.total > 1); string_agg(o.note, ',' ORDER BY o.id); array_agg(o.id ORDER BY o.id); array_agg(DISTINCT o.state); json_agg(o.total ORDER BY o.id); jsonb_agg(to_jsonb(o.state) ORDER BY o.id); json_object_agg(o.id, o.total ORDER BY o.id); jsonb_object_agg(o.id, o.state); count(*) FILTER (WHERE o.state = 'paid'); sum(o.total) FILTER (WHERE o.total > 20); percentile_cont(0.5) WITHIN GROUP (ORDER BY o.total); percentile_disc(ARRAY[0.1, 0.9]) WITHIN GROUP (ORDER BY o.total); mode() WITHIN GROUP (ORDER BY o.state); rank(10) WITHIN GROUP (ORDER BY o.total); stddev(o.total); var_pop(o.total); corr(o.total::float8, o.id::float8); regr_slope(o.total::float8, o.id::float8); bit_or(o.id); bit_xor(o.id); range_agg(o.days); xmlagg(xmlelement(name x, o.id) ORDER BY o.id); sum(DISTINCT o.total); product(o.total::numeric(4,1)); max(o.placed) - min(o.placed); round(avg(o.total), 2); coalesce(sum(o.total), 0); sum(CASE WHEN o.state = 'new' THEN 1 ELSE 0 END); extract(epoch from max(o.placed) - min(o.placed)); range_intersect_agg(o.during)
!!aggregate: max(now() - o.placed); sum(random()); count(*) FILTER (WHERE o.placed > now())
`

const windows = `
window: row_number() OVER (ORDER BY o.id); rank() OVER (PARTITION BY o.state ORDER BY o.total DESC); dense_rank() OVER (ORDER BY o.usr); percent_rank() OVER (ORDER BY o.total); ntile(4) OVER (ORDER BY o.id); lag(o.total) OVER (ORDER BY o.id); lead(o.total, 2, 0::numeric) OVER (PARTITION BY o.usr ORDER BY o.id); first_value(o.state) OVER (PARTITION BY o.usr ORDER BY o.id); last_value(o.id) OVER (PARTITION BY o.usr ORDER BY o.id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING); nth_value(o.id, 2) OVER (ORDER BY o.id); sum(o.total) OVER (ORDER BY o.id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW); avg(o.total) OVER (ORDER BY o.placed RANGE BETWEEN interval '1 day' PRECEDING AND CURRENT ROW); count(*) OVER (PARTITION BY o.state); sum(o.total) OVER w; max(o.total) OVER (w ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE CURRENT ROW); sum(sum(o.total)) OVER (ORDER BY o.usr GROUPS 1 PRECEDING); cume_dist() OVER (ORDER BY o.total); string_agg(o.note, ',') OVER (ORDER BY o.id); count(*) FILTER (WHERE o.total > 9) OVER (PARTITION BY o.usr); o.total - avg(o.total) OVER (PARTITION BY o.state)
!!window: sum(random()) OVER (); lag(now()) OVER (ORDER BY o.id)
`

// whole are statements of their own; parameters are given by $1, $2 …, with values after =>.
const whole = `
cte: WITH big AS (SELECT * FROM orders WHERE total > 50) SELECT u.name, b.total FROM big b JOIN users u ON u.id = b.usr ORDER BY b.id
cte: WITH RECURSIVE t(id, name, depth) AS (SELECT id, name, 0 FROM users WHERE boss IS NULL UNION ALL SELECT c.id, c.name, t.depth + 1 FROM users c JOIN t ON c.boss = t.id) SELECT * FROM t ORDER BY id
cte: WITH RECURSIVE t AS (SELECT id, parent FROM products WHERE id = 10 UNION SELECT p.id, p.parent FROM products p, t WHERE p.id = t.parent) SEARCH DEPTH FIRST BY id SET ord SELECT * FROM t ORDER BY ord
cte: WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i % 3 + 1 FROM t) CYCLE i SET looped USING trail SELECT * FROM t
cte: WITH a AS MATERIALIZED (SELECT 1 AS x), b AS NOT MATERIALIZED (SELECT x + 1 AS y FROM a) SELECT * FROM a, b
cte: WITH s AS (SELECT state, sum(total) t FROM orders GROUP BY 1), m AS (SELECT max(t) m FROM s) SELECT state FROM s, m WHERE t = m
cte: WITH x(a, b) AS (VALUES (1, 'a'), (2, 'b')) SELECT b FROM x WHERE a = $1 => 2
set: SELECT id FROM users UNION SELECT usr FROM orders ORDER BY 1
set: SELECT id, name FROM users UNION ALL SELECT id, title FROM products ORDER BY 2, 1 LIMIT 5
set: SELECT usr FROM orders INTERSECT SELECT id FROM users WHERE active ORDER BY 1
set: SELECT id FROM users EXCEPT ALL SELECT usr FROM orders WHERE state = 'done' ORDER BY 1
set: (SELECT id FROM users ORDER BY id LIMIT 2) UNION ALL (SELECT id FROM products ORDER BY id DESC LIMIT 2)
set: SELECT 'user' AS kind, name FROM users WHERE id = $1 UNION ALL SELECT 'product', title FROM products WHERE id = $2 => 1, 2
set: VALUES (1, 'a'), (2, 'b'), (3, NULL) ORDER BY 1 DESC
set: TABLE products ORDER BY id
set: SELECT * FROM (VALUES (1, 'x'), (2, 'y')) AS v(n, s) JOIN users u ON u.id = v.n ORDER BY 1
set: SELECT NULL, 1 UNION SELECT 'x', 2.5 ORDER BY 2
group: SELECT state, usr, sum(total) FROM orders GROUP BY GROUPING SETS ((state), (usr), ()) ORDER BY 1, 2
group: SELECT state, date_trunc('month', placed), count(*), grouping(state) FROM orders GROUP BY ROLLUP (1, 2) ORDER BY 1, 2
group: SELECT state, usr % 2, count(*) FROM orders GROUP BY CUBE (state, usr % 2) ORDER BY 1, 2
group: SELECT u.*, count(o.id) FROM users u LEFT JOIN orders o ON o.usr = u.id GROUP BY u.id ORDER BY u.id
group: SELECT usr, count(*) FROM orders GROUP BY usr HAVING count(*) > $1 ORDER BY usr => 2
group: SELECT DISTINCT state FROM orders ORDER BY state
group: SELECT DISTINCT ON (usr) usr, id, total FROM orders ORDER BY usr, placed DESC
group: SELECT count(DISTINCT (usr, state)) FROM orders
group: SELECT GROUPING(state, usr), state, usr FROM orders GROUP BY DISTINCT ROLLUP (state), ROLLUP (state, usr) ORDER BY 1, 2, 3
limit: SELECT * FROM orders ORDER BY id LIMIT $1 OFFSET $2 => 5, 10
limit: SELECT id FROM orders ORDER BY total DESC FETCH FIRST 3 ROWS ONLY
limit: SELECT id, total FROM orders ORDER BY total OFFSET $1 ROWS FETCH NEXT $2 ROWS WITH TIES => 2, 3
limit: SELECT id FROM orders ORDER BY id LIMIT ALL OFFSET 75
limit: SELECT id FROM orders WHERE (placed, id) > ($1, $2) ORDER BY placed, id LIMIT 5 => 2023-06-05 00:00+00, 3
limit: SELECT id FROM orders ORDER BY id LIMIT (SELECT 2 + 1)
parameter: SELECT * FROM users WHERE id = $1 => 7
parameter: SELECT * FROM users WHERE id = ANY ($1) ORDER BY id => {1,2,3}
parameter: SELECT * FROM users WHERE id IN ($1, $2) ORDER BY id => 4, 5
parameter: SELECT name FROM users WHERE name = $1::text => User 3
parameter: SELECT name FROM users WHERE ($1::bigint IS NULL OR id = $1) AND name LIKE $2 ORDER BY id => 3, User%
parameter: SELECT name FROM users WHERE created >= $1 AND created < $2 ORDER BY id => 2023-01-05, 2023-01-10
parameter: SELECT id FROM orders WHERE state = $1 ORDER BY id => paid
parameter: SELECT id FROM users WHERE doc @> $1 => {"n": 3}
parameter: SELECT id FROM users WHERE token = $1 => 00000000-0000-0000-0000-000000000000
parameter: SELECT u.name, $1::text AS tag FROM users u WHERE u.tags && $2 ORDER BY u.id => hello, {t1}
parameter: SELECT id FROM unnest($1::bigint[]) WITH ORDINALITY AS x(id, n) ORDER BY n => {3,1,2}
parameter: SELECT count(*) FROM events WHERE day BETWEEN $1 AND $2 => 2023-02-01, 2023-09-01
parameter: SELECT CASE WHEN $1 = 1 THEN 'one' ELSE 'many' END => 1
parameter: SELECT id FROM users WHERE lower(mail) = lower($1) => USER4@example.org
parameter: SELECT id FROM users WHERE active = $1 AND score > $2 ORDER BY CASE WHEN $3 = 'name' THEN name END, id => true, 20, name
parameter: SELECT coalesce($1, 'x') || name FROM users WHERE id = 1 => a
parameter: SELECT id FROM users WHERE born < $1::date - $2::int ORDER BY id => 1991-01-01, 30
lateral: SELECT u.id, l.* FROM users u, LATERAL (SELECT o.id AS oid, o.total FROM orders o WHERE o.usr = u.id ORDER BY o.total DESC LIMIT 2) l ORDER BY u.id, l.oid
lateral: SELECT u.id, x.n FROM users u LEFT JOIN LATERAL (SELECT count(*) AS n FROM orders o WHERE o.usr = u.id) x ON true ORDER BY u.id
lateral: SELECT u.id, t FROM users u CROSS JOIN unnest(u.tags) t ORDER BY 1, 2
lateral: SELECT u.id, k.key, k.value FROM users u, jsonb_each_text(u.doc) k ORDER BY 1, 2
lateral: SELECT u.id, e FROM users u, jsonb_array_elements(u.doc -> 'list') e ORDER BY 1, 2
lateral: SELECT p.id, s.size, s.n FROM products p, unnest(p.sizes) WITH ORDINALITY s(size, n) ORDER BY 1, 3
function: SELECT * FROM generate_series(1, 5)
function: SELECT d::date FROM generate_series(timestamp '2023-01-01', '2023-01-05', interval '1 day') d
function: SELECT d, count(o.id) FROM generate_series(date '2023-06-01', date '2023-06-10', '1 day') d LEFT JOIN orders o ON o.placed::date = d::date GROUP BY d ORDER BY d
function: SELECT * FROM generate_subscripts(ARRAY[5, 6], 1) i
function: SELECT * FROM regexp_split_to_table('a b c', ' ') w
function: SELECT * FROM string_to_table('a,b', ',') w
function: SELECT * FROM jsonb_to_record('{"a": 1, "b": "x"}') AS x(a int, b text)
function: SELECT * FROM jsonb_to_recordset('[{"a": 1}, {"a": 2}]') AS x(a int)
function: SELECT * FROM json_populate_recordset(NULL::tenants, '[{"id": 1, "owner": "x"}]')
function: SELECT * FROM jsonb_path_query('[1, 2, 3]', '$[*] ? (@ > 1)')
function: SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a', 'b'])) AS x(a, b)
function: SELECT * FROM orders_of(3) ORDER BY id
function: SELECT * FROM order_lines($1) ORDER BY 1 => 4
function: SELECT (order_lines(3)).total ORDER BY 1
function: SELECT * FROM top_orders(2)
function: SELECT o.* FROM users u, orders_of(u.id) o WHERE u.id < 3 ORDER BY o.id
function: SELECT * FROM full_label(1)
function: SELECT * FROM each('a=>1,b=>2') ORDER BY 1
function: SELECT unnest(tags), id FROM users ORDER BY 2, 1
function: SELECT word, ndoc FROM ts_stat('SELECT doc_tsv FROM users') ORDER BY 1
function: SELECT * FROM xmltable('/r/i' PASSING ('<r><i><a>1</a></i></r>'::xml) COLUMNS a int, b text DEFAULT 'x')
function: SELECT jsonb_object_keys(doc) FROM users WHERE id = 1 ORDER BY 1
view: SELECT * FROM active_users ORDER BY id
view: SELECT * FROM user_totals WHERE total > $1 ORDER BY id => 30
view: SELECT t.*, o.id FROM user_totals t JOIN orders o ON o.usr = t.id ORDER BY o.id LIMIT 5
view: SELECT * FROM invoker_users ORDER BY id
view: SELECT * FROM me
view: SELECT * FROM order_stats ORDER BY state
view: SELECT * FROM stats_view ORDER BY state
view: SELECT s.n FROM order_stats s JOIN orders o USING (state) WHERE o.id = $1 => 4
partition: SELECT * FROM events ORDER BY id
partition: SELECT count(*) FROM events WHERE day = '2023-08-03'
partition: SELECT * FROM events_2 ORDER BY id
partition: SELECT tableoid::regclass, count(*) FROM events GROUP BY 1 ORDER BY 1
partition: SELECT kind, max(day) FROM events WHERE day > $1 GROUP BY kind ORDER BY 1 => 2023-05-01
inherit: SELECT * FROM vehicles ORDER BY id
inherit: SELECT * FROM ONLY vehicles ORDER BY id
inherit: SELECT v.id, t.load FROM vehicles v LEFT JOIN trucks t USING (id) ORDER BY 1
rls: SELECT * FROM docs ORDER BY id
rls: SELECT d.body, t.owner FROM docs d JOIN tenants t ON t.id = d.tenant WHERE d.id = $1 => 2
join: SELECT u.name, o.id, i.line, p.title FROM users u JOIN orders o ON o.usr = u.id JOIN items i ON i.ord = o.id JOIN products p ON p.id = i.product WHERE u.id = $1 ORDER BY 2, 3 => 3
join: SELECT u.id, o.id FROM users u LEFT JOIN orders o ON o.usr = u.id AND o.total > 100 ORDER BY 1, 2
join: SELECT * FROM users u NATURAL JOIN tenants ORDER BY 1
join: SELECT id, state FROM orders JOIN items ON items.ord = orders.id JOIN products USING (id) ORDER BY 1, 2
join: SELECT a.id, b.id FROM users a FULL JOIN products b ON a.id = b.id ORDER BY 1, 2
join: SELECT count(*) FROM users CROSS JOIN products
join: SELECT a.name, b.name FROM users a JOIN users b ON b.boss = a.id ORDER BY 1, 2
join: SELECT j.uid FROM (users u JOIN tenants t ON t.id = u.id) AS j(uid, label) ORDER BY 1
join: SELECT u.id FROM users u WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.usr = u.id AND NOT EXISTS (SELECT 1 FROM items i WHERE i.ord = o.id)) ORDER BY 1
join: SELECT x.* FROM (SELECT id, name FROM users) AS x(a, b) ORDER BY a
join: SELECT u.id FROM users u RIGHT JOIN (SELECT usr, sum(total) AS s FROM orders GROUP BY usr) t ON t.usr = u.id WHERE t.s > 10 ORDER BY 1
join: SELECT o.id FROM orders o JOIN orders p ON o.during && p.during AND o.id < p.id ORDER BY 1 LIMIT 3
join: SELECT merged.id FROM users JOIN tenants USING (id) AS merged ORDER BY 1
plain: SELECT 1
plain: SELECT
plain: SELECT 'a' || 'b', 1 + 1, NULL, true
plain: SELECT * FROM users WHERE true ORDER BY users.id DESC
!!cte: WITH d AS (DELETE FROM docs WHERE false RETURNING *) SELECT * FROM d
!!limit: SELECT * FROM users ORDER BY random() LIMIT 1
!!parameter: SELECT id FROM orders WHERE placed > now() - $1::interval => 10 years
!!group: SELECT placed < now(), count(*) FROM orders GROUP BY 1
!!join: SELECT * FROM users TABLESAMPLE SYSTEM (50)
!!plain: SELECT * FROM users FOR UPDATE
`

// statementShape is one statement of the generator.
type statementShape struct {
	category, sql string
	args          []string
	varies        bool
}

// fragments reads a list.
func fragments(list string) []fragment {
	var out []fragment
	for line := range strings.SplitSeq(strings.TrimSpace(list), "\n") {
		category, rest, _ := strings.Cut(line, ": ")
		category, varies := strings.CutPrefix(category, "!!")
		for e := range strings.SplitSeq(rest, "; ") {
			out = append(out, fragment{category, strings.TrimSpace(e), varies})
		}
	}
	return out
}

// shapes makes statements: each expression by itself, the whole ones, and n random combinations.
func shapes(r *rand.Rand, n int) []statementShape {
	var out []statementShape
	one, groups, overs := fragments(scalars), fragments(aggregates), fragments(windows)
	for _, f := range one {
		out = append(out, statementShape{f.category, "SELECT " + f.sql + " FROM users u ORDER BY u.id", nil, f.varies})
	}
	for _, f := range groups {
		out = append(out, statementShape{f.category, "SELECT " + f.sql + " FROM orders o", nil, f.varies},
			statementShape{f.category, "SELECT o.usr, " + f.sql + " FROM orders o JOIN users u ON u.id = o.usr GROUP BY o.usr ORDER BY o.usr", nil, f.varies})
	}
	for _, f := range overs {
		sql := "SELECT o.id, " + f.sql + " FROM orders o WINDOW w AS (PARTITION BY o.state ORDER BY o.id) ORDER BY o.id"
		if strings.Contains(f.sql, "sum(sum(") {
			sql = "SELECT o.usr, " + f.sql + " FROM orders o GROUP BY o.usr ORDER BY o.usr"
		}
		out = append(out, statementShape{f.category, sql, nil, f.varies})
	}
	for line := range strings.SplitSeq(strings.TrimSpace(whole), "\n") {
		category, sql, _ := strings.Cut(line, ": ")
		category, varies := strings.CutPrefix(category, "!!")
		sql, values, _ := strings.Cut(sql, " => ")
		var args []string
		if values != "" {
			args = strings.Split(values, ", ")
			if strings.Count(sql, "$") == 1 || strings.HasPrefix(values, "{") && !strings.Contains(sql, "$2") {
				args = []string{values}
			}
		}
		out = append(out, statementShape{category, sql, args, varies})
	}
	pick := func(list []fragment) fragment { return list[r.IntN(len(list))] }
	var steady []fragment
	for _, f := range one {
		if !f.varies {
			steady = append(steady, f)
		}
	}
	for range n {
		a, b, c := pick(one), pick(steady), pick(steady)
		s := statementShape{category: "mixed", varies: a.varies}
		switch r.IntN(8) {
		case 0:
			s.sql = fmt.Sprintf("SELECT u.id, %s AS a, %s AS b FROM users u WHERE (%s) IS NOT NULL ORDER BY u.id LIMIT 7", a.sql, b.sql, c.sql)
		case 1:
			s.sql = fmt.Sprintf("SELECT x.a, x.b FROM (SELECT %s AS a, %s AS b, u.id FROM users u) x WHERE x.id > $1 ORDER BY x.id", a.sql, b.sql)
			s.args = []string{"3"}
		case 2:
			s.sql = fmt.Sprintf("WITH w AS (SELECT u.id, (%s)::text AS a FROM users u) SELECT w.a, (%s)::text FROM w JOIN users u USING (id) ORDER BY u.id", a.sql, b.sql)
		case 3:
			s.sql = fmt.Sprintf("SELECT (%s)::text, count(*) FROM users u GROUP BY (%s)::text ORDER BY 1, 2", a.sql, a.sql)
		case 4:
			s.sql = fmt.Sprintf("SELECT u.id, o.id FROM users u JOIN orders o ON o.usr = u.id AND (%s) IS NOT NULL ORDER BY (%s)::text, u.id, o.id", b.sql, a.sql)
		case 5:
			s.sql = fmt.Sprintf("SELECT CASE WHEN (%s) IS NULL THEN 'none' ELSE (%s)::text END, coalesce((%s)::text, '-') FROM users u ORDER BY u.id", a.sql, b.sql, c.sql)
		case 6:
			s.sql = fmt.Sprintf("SELECT (%s)::text FROM users u UNION SELECT (%s)::text FROM users u ORDER BY 1", a.sql, b.sql)
		case 7:
			g := pick(groups)
			s.varies = s.varies || g.varies
			s.sql = fmt.Sprintf("SELECT %s FROM orders o JOIN users u ON u.id = o.usr WHERE (%s) IS NOT NULL GROUP BY u.id, (%s)::text ORDER BY u.id", g.sql, a.sql, b.sql)
		}
		out = append(out, s)
	}
	return out
}
