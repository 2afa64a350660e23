\set ECHO all
SELECT 1 AS one, 'a' AS a, NULL AS nothing;
\d accounts
\dt
\x on
SELECT * FROM accounts WHERE id = 3;
\x off
SELECT id AS first FROM accounts ORDER BY id LIMIT 1 \gset
\echo :first
SELECT balance FROM accounts WHERE id = :first;
UPDATE accounts SET balance = balance + 5 WHERE id = 1 RETURNING balance;
SELECT balance FROM accounts WHERE id = 1;
SELECT balance FROM accounts WHERE id = 1;
BEGIN;
UPDATE accounts SET balance = 0 WHERE id = 2;
SAVEPOINT a;
UPDATE accounts SET balance = -1 WHERE id = 2;
SELECT nothing_here;
ROLLBACK TO a;
SELECT balance FROM accounts WHERE id = 2;
ROLLBACK;
SELECT balance FROM accounts WHERE id = 2;
\set AUTOCOMMIT off
UPDATE accounts SET balance = 5 WHERE id = 2;
ROLLBACK;
\set AUTOCOMMIT on
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1/0;
UPDATE accounts SET balance = 1001 WHERE id = 2;
COMMIT;
\set ON_ERROR_ROLLBACK off
SELECT balance FROM accounts WHERE id = 2;
INSERT INTO accounts VALUES (1, 'again', 0);
SELECT 1; SELECT 2 \; SELECT 3;
CREATE TEMP TABLE mine(i int);
INSERT INTO mine SELECT generate_series(1, 3);
SELECT sum(i) FROM mine;
\copy (SELECT id FROM accounts WHERE id <= 3 ORDER BY id) TO STDOUT
COPY mine FROM STDIN;
4
5
\.
SELECT sum(i) FROM mine;
DROP TABLE mine;
SET TimeZone = 'Asia/Kolkata';
SELECT '2024-02-03 04:05:06+00'::timestamptz;
SET LOCAL TimeZone = 'UTC';
SHOW TimeZone;
RESET TimeZone;
SHOW search_path;
CREATE SCHEMA other;
SET search_path = other, public;
CREATE TABLE accounts(id int PRIMARY KEY, balance bigint);
SELECT count(*) FROM accounts;
RESET search_path;
SELECT count(*) FROM accounts;
PREPARE p(int) AS SELECT owner FROM accounts WHERE id = $1;
EXECUTE p(5);
EXECUTE p(6);
DEALLOCATE p;
EXECUTE p(5);
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM accounts ORDER BY id;
FETCH 2 FROM c;
MOVE LAST IN c;
FETCH PRIOR FROM c;
CLOSE c;
COMMIT;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM accounts ORDER BY id LIMIT 3;
FETCH ALL FROM h;
CLOSE h;
\set FETCH_COUNT 10
SELECT id FROM accounts WHERE id <= 25 ORDER BY id;
\set FETCH_COUNT 0
LISTEN news;
NOTIFY news, 'hello';
UNLISTEN news;
DO $$ BEGIN RAISE NOTICE 'a notice'; RAISE WARNING 'a warning'; END $$;
SELECT id, owner FROM accounts WHERE id = 4 \gdesc
SELECT format('SELECT %s AS x', i) FROM generate_series(1, 2) i \gexec
SELECT count(*) FROM generate_series(1, 200000);
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a + 1';
SELECT f(41);
\df f
SELECT lo_from_bytea(0, 'large') > 0 AS made;
\conninfo_is_not_a_command
SELECT pg_advisory_lock(7);
SELECT pg_advisory_unlock(7);
SELECT current_setting('application_name'), current_user;
DISCARD ALL;
SELECT balance FROM accounts WHERE id = 1 /* the end */;
