"""psycopg2: autocommit and transactions, named cursors, COPY, LISTEN, cancel, threads."""

import io
import select
import threading

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool


def connect(**kw):
    return psycopg2.connect("", **kw)


def one(cur, sql, args=None):
    cur.execute(sql, args)
    return cur.fetchone()[0]


def code(cur, sql, args=None):
    try:
        cur.execute(sql, args)
    except psycopg2.Error as e:
        return e.pgcode
    return "no error"


print("== autocommit")
conn = connect()
conn.autocommit = True
cur = conn.cursor()
print(one(cur, "SELECT 'plain'"), one(cur, "SELECT %s::text || %s", ("a", 1)))
for i in range(50):
    cur.execute("UPDATE accounts SET balance = %s WHERE id = 50", (i,))
    got = one(cur, "SELECT balance FROM accounts WHERE id = 50")
    if got != i:
        print("own write not read:", got, "instead of", i)
for _ in range(3):
    cur.execute("SELECT * FROM accounts WHERE id IN (1, 2, 3) ORDER BY id")
    print(cur.fetchall(), [d.name for d in cur.description])
print([code(cur, s) for s in ("SELECT nothing", "SELECT 1/0", "INSERT INTO accounts VALUES (1, 'x', 1)", "SELEC", "SELECT * FROM nowhere")])

print("== types")
cur.execute(
    "SELECT true, 1::smallint, 9007199254740993, 1.5::real, 0.1::float8, 1234567890.12345, 'täxt', '\\xdeadbeef'::bytea, '2024-02-29'::date,"
    " '2024-02-29 12:34:56.789'::timestamp, '2024-02-29 12:34:56+00'::timestamptz, '1 day 02:00'::interval, '{1,2,NULL}'::int[], '{\"a\": [1]}'::jsonb, NULL"
)
print([bytes(v) if isinstance(v, memoryview) else v for v in cur.fetchone()])
with conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as d:
    d.execute("SELECT id, owner FROM accounts WHERE id = 9")
    print(dict(d.fetchone()))

print("== transactions")
conn.autocommit = False
before = one(cur, "SELECT balance FROM accounts WHERE id = 60")
cur.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 60")
cur.execute("SAVEPOINT a")
print(code(cur, "SELECT 1/0"), code(cur, "SELECT 1"))
cur.execute("ROLLBACK TO SAVEPOINT a")
print(one(cur, "SELECT balance FROM accounts WHERE id = 60") - before)
conn.rollback()
print(one(cur, "SELECT balance FROM accounts WHERE id = 60") - before)
conn.commit()
for level in (psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE, psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ):
    conn.set_session(isolation_level=level)
    print(one(cur, "SHOW transaction_isolation"))
    conn.commit()
conn.set_session(isolation_level=psycopg2.extensions.ISOLATION_LEVEL_READ_COMMITTED, readonly=True)
print(code(cur, "DELETE FROM accounts"))
conn.rollback()
conn.set_session(readonly=False)
with conn, conn.cursor() as c:
    c.execute("UPDATE accounts SET balance = 5 WHERE id = 61")
print(one(cur, "SELECT balance FROM accounts WHERE id = 61"))
conn.commit()
conn.tpc_begin("one transaction, two phases")
cur.execute("UPDATE accounts SET balance = 6 WHERE id = 61")
conn.tpc_prepare()
conn.tpc_commit()
print(one(cur, "SELECT balance FROM accounts WHERE id = 61"))
conn.commit()

print("== named cursor")
with conn.cursor("named") as c:
    c.itersize = 1000
    c.execute("SELECT i FROM generate_series(1, 10000) i")
    print(sum(r[0] for r in c))
conn.commit()
with conn.cursor("held", withhold=True) as c:
    c.execute("SELECT i FROM generate_series(1, 5) i")
    conn.commit()
    print(c.fetchall())
conn.commit()

print("== session")
conn.autocommit = True
cur.execute("SET TimeZone = 'Asia/Kolkata'; SET search_path = pg_catalog, public")
print(one(cur, "SELECT current_setting('TimeZone') || ' ' || current_setting('search_path') || ' ' || ('2024-01-01 00:00+00'::timestamptz)::text"))
cur.execute("RESET search_path")
cur.execute("CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i")
print(one(cur, "SELECT sum(i) FROM t"))
cur.execute("DROP TABLE t")
cur.callproc("concat", ("a", "b"))
print(cur.fetchone()[0])
cur.execute("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$")
print(conn.notices[-1:])

print("== copy")
cur.execute("CREATE TABLE copied(i int PRIMARY KEY, t text)")
cur.copy_expert("COPY copied FROM STDIN", io.StringIO("".join(f"{i}\trow {i}\n" for i in range(20000))))
print(one(cur, "SELECT count(*) FROM copied"))
try:
    cur.copy_from(io.StringIO("1\tagain\n"), "copied")
except psycopg2.Error as e:
    print(e.pgcode)
out = io.StringIO()
cur.copy_expert("COPY (SELECT * FROM copied ORDER BY i) TO STDOUT WITH (FORMAT csv)", out)
print(len(out.getvalue()))
psycopg2.extras.execute_values(cur, "INSERT INTO copied VALUES %s", [(i, "v") for i in range(30000, 30500)])
print(one(cur, "SELECT count(*) FROM copied"))

print("== cancel")
timer = threading.Timer(0.3, conn.cancel)
timer.start()
print(code(cur, "SELECT pg_sleep(60)"), one(cur, "SELECT 'goes on'"))

print("== notify")
listener = connect()
listener.autocommit = True
listener.cursor().execute("LISTEN news")
cur.execute("NOTIFY news, 'hello'")
listener.cursor().execute("NOTIFY news, 'to myself'")
got = []
while len(got) < 2 and select.select([listener], [], [], 20)[0]:
    listener.poll()
    while listener.notifies:
        n = listener.notifies.pop(0)
        got.append((n.payload, n.pid == listener.get_backend_pid()))
print(sorted(got))
listener.close()

print("== large objects")
conn.autocommit = False
lo = conn.lobject(0, "wb")
lo.write(b"x" * 100000)
oid = lo.oid
lo.close()
conn.commit()
print(len(conn.lobject(oid, "rb").read()))
conn.commit()

print("== threads")
conn.autocommit = True
cur.execute("CREATE TABLE counter(i int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)")


def work():
    c = connect()
    k = c.cursor()
    for _ in range(20):
        n = one(k, "SELECT n FROM counter WHERE i = 1 FOR UPDATE")
        k.execute("UPDATE counter SET n = %s WHERE i = 1", (n + 1,))
        c.commit()
        one(k, "SELECT owner FROM accounts WHERE id = %s", (5,))
        c.commit()
    c.close()


threads = [threading.Thread(target=work) for _ in range(12)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(one(cur, "SELECT n FROM counter"))
print(len(one(cur, "SELECT repeat('y', 10000000)")), one(cur, "SELECT length(%s)", ("z" * 5000000,)))
conn.close()
