"""psycopg 3: sync and async, server-side binding and cursors, automatic preparation, pipeline mode, binary, COPY, LISTEN, cancel."""

import asyncio
import datetime
import threading

import psycopg
from psycopg.rows import dict_row


def one(c, sql, args=None, **kw):
    return c.execute(sql, args, **kw).fetchone()[0]


def code(c, sql, args=None):
    try:
        c.execute(sql, args)
    except psycopg.Error as e:
        return e.sqlstate
    return "no error"


def queries(conn):
    print(one(conn, "SELECT 'plain'"), one(conn, "SELECT %s::text || %s::text", ("a", 1)))
    for i in range(50):  # from the sixth on prepared
        conn.execute("UPDATE accounts SET balance = %s WHERE id = 50", (i,))
        got = one(conn, "SELECT balance FROM accounts WHERE id = %s", (50,))
        if got != i:
            print("own write not read:", got, "instead of", i)
    print([code(conn, s) for s in ("SELECT nothing", "SELECT 1/0", "INSERT INTO accounts VALUES (1, 'x', 1)", "SELEC", "SELECT * FROM nowhere")])
    with conn.cursor(row_factory=dict_row) as cur:
        print(cur.execute("SELECT * FROM accounts WHERE id = ANY(%s) ORDER BY id", ([1, 2, 3],)).fetchall())
        cur.executemany("INSERT INTO accounts VALUES (%s, 'many', 0)", [(i,) for i in range(1000, 1100)])
        print(cur.rowcount)
        cur.executemany("DELETE FROM accounts WHERE id = %s RETURNING id", [(i,) for i in range(1000, 1100)], returning=True)
        n = 1
        while cur.nextset():
            n += 1
        print(n)


def types(conn):
    conn.execute("CREATE TABLE types(id int PRIMARY KEY, b bool, i8 bigint, f8 float8, n numeric, t text, y bytea, d date, ts timestamp, tz timestamptz, iv interval, u uuid, jb jsonb, a int[], r int4range, ip inet)")
    conn.execute("SET TimeZone = 'UTC'")
    conn.execute(
        "INSERT INTO types VALUES (1, true, 9007199254740993, 0.1, 123456789012345678901234567890.123456789, 'täxt', '\\xdeadbeef', '2024-02-29', '2024-02-29 12:34:56.789',"
        " '2024-02-29 12:34:56+02', '3 days 04:05:06', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": [1, null]}', '{1,2,NULL}', '[1,10)', '10.0.0.1')"
    )
    for binary in (False, True):
        for _ in range(3):
            with conn.cursor(binary=binary) as cur:
                print(cur.execute("SELECT * FROM types WHERE id = %s", (1,)).fetchone())
    print(one(conn, "SELECT %s::timestamptz + %s", (datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(days=1))))


def transactions(conn):
    def balance():
        return one(conn, "SELECT balance FROM accounts WHERE id = 60")

    before = balance()
    try:
        with conn.transaction():
            conn.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 60")
            try:
                with conn.transaction():  # a savepoint
                    conn.execute("UPDATE accounts SET balance = 0 WHERE id = 60")
                    conn.execute("SELECT 1/0")
            except psycopg.errors.DivisionByZero as e:
                print(e.sqlstate, balance() - before)
            raise RuntimeError
    except RuntimeError:
        print(balance() - before)
    with conn.transaction(force_rollback=True):
        conn.execute("DELETE FROM accounts WHERE id = 60")
    print(balance() - before)
    for level in psycopg.IsolationLevel:
        conn.isolation_level = level
        with conn.transaction():
            print(one(conn, "SHOW transaction_isolation"))
    conn.isolation_level = None
    conn.read_only = True
    with conn.transaction(force_rollback=True):
        print(code(conn, "DELETE FROM accounts"))
    conn.read_only = None


def pipeline(conn):
    with conn.pipeline() as p:
        cursors = [conn.execute("SELECT owner FROM accounts WHERE id = %s", (i + 1,)) for i in range(10)]
        conn.execute("UPDATE accounts SET balance = 31 WHERE id = 31")
        after = conn.execute("SELECT balance FROM accounts WHERE id = 31")
        p.sync()
        print([c.fetchone()[0] for c in cursors], after.fetchone()[0])
        try:
            with conn.transaction():
                conn.execute("UPDATE accounts SET balance = 0 WHERE id = 31")
                conn.execute("SELECT 1/0")
                conn.execute("SELECT 'skipped'")
        except psycopg.Error as e:
            print(e.sqlstate)
        print(one(conn, "SELECT balance FROM accounts WHERE id = 31"))
    print(one(conn, "SELECT 'goes on'"))


def cursors(conn):
    with conn.transaction():
        with conn.cursor("named", scrollable=True) as cur:
            cur.execute("SELECT i FROM generate_series(1, 10000) i")
            print(sum(r[0] for r in cur.fetchmany(100)))
            cur.scroll(0, mode="absolute")
            print(sum(r[0] for r in cur))
    with conn.cursor("held", withhold=True) as cur:
        cur.execute("SELECT i FROM generate_series(1, 5) i")
        print(cur.fetchall())
    with conn.cursor() as cur:
        print(sum(r[0] for r in cur.stream("SELECT i FROM generate_series(1, 50000) i")))


def session(conn):
    conn.execute("SET TimeZone = 'Asia/Kolkata'")
    conn.execute("SET search_path = pg_catalog, public")
    print(one(conn, "SELECT current_setting('TimeZone') || ' ' || current_setting('search_path') || ' ' || ('2024-01-01 00:00+00'::timestamptz)::text"), conn.info.timezone)
    conn.execute("RESET search_path")
    conn.execute("CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i")
    print(one(conn, "SELECT sum(i) FROM t"))
    conn.execute("DISCARD ALL")
    print(code(conn, "SELECT sum(i) FROM t"))


def copy(conn):
    conn.execute("CREATE TABLE copied(i int PRIMARY KEY, t text)")
    with conn.cursor().copy("COPY copied FROM STDIN") as c:
        for i in range(20000):
            c.write_row((i, f"row {i}"))
    with conn.cursor().copy("COPY copied FROM STDIN (FORMAT binary)") as c:
        c.set_types(["int4", "text"])
        for i in range(20000, 25000):
            c.write_row((i, f"row {i}"))
    try:
        with conn.cursor().copy("COPY copied FROM STDIN") as c:
            c.write_row((90000, ""))
            raise RuntimeError("the client gives up")
    except RuntimeError as e:
        print(e)
    try:
        with conn.cursor().copy("COPY copied FROM STDIN") as c:
            c.write("1\tagain\n")
    except psycopg.Error as e:
        print(e.sqlstate)
    with conn.cursor().copy("COPY (SELECT * FROM copied ORDER BY i) TO STDOUT") as c:
        rows = list(c.rows())
    print(len(rows), rows[0], rows[-1])
    with conn.cursor().copy("COPY copied TO STDOUT (FORMAT binary)") as c:
        print(sum(len(b) for b in c))


def cancel(conn):
    timer = threading.Timer(0.3, conn.cancel_safe)
    timer.start()
    print(code(conn, "SELECT pg_sleep(60)"))
    timer.join()
    print(one(conn, "SELECT 'goes on'"))


def notify(conn):
    with psycopg.connect("", autocommit=True) as listener:
        listener.execute("LISTEN news")
        for i in range(3):
            conn.execute("SELECT pg_notify('news', %s)", (f"number {i}",))
        print([n.payload for n in listener.notifies(timeout=20, stop_after=3)])
        listener.execute("NOTIFY news, 'to myself'")
        print([n.pid == listener.info.backend_pid for n in listener.notifies(timeout=20, stop_after=1)])


async def asynchronous():
    async with await psycopg.AsyncConnection.connect("", autocommit=True) as conn:
        await conn.execute("CREATE TABLE counter(i int PRIMARY KEY, n int)")
        await conn.execute("INSERT INTO counter VALUES (1, 0)")

        async def work():
            async with await psycopg.AsyncConnection.connect("") as c:
                for _ in range(20):
                    n = (await (await c.execute("SELECT n FROM counter WHERE i = 1 FOR UPDATE")).fetchone())[0]
                    await c.execute("UPDATE counter SET n = %s WHERE i = 1", (n + 1,))
                    await c.commit()
                    await c.execute("SELECT owner FROM accounts WHERE id = %s", (5,))
                    await c.commit()

        await asyncio.gather(*(work() for _ in range(12)))
        print((await (await conn.execute("SELECT n FROM counter")).fetchone())[0])
        async with conn.pipeline():
            curs = [await conn.execute("SELECT %s::int", (i,)) for i in range(100)]
            print(sum([(await c.fetchone())[0] for c in curs]))
        task = asyncio.create_task(conn.execute("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.3)
        task.cancel()
        try:
            await task
        except (asyncio.CancelledError, psycopg.errors.QueryCanceled):
            print("cancelled")
        print((await (await conn.execute("SELECT length(repeat('y', 10000000))")).fetchone())[0])


with psycopg.connect("", autocommit=True) as conn:
    for part in (queries, types, transactions, pipeline, cursors, session, copy, cancel, notify):
        print("==", part.__name__)
        part(conn)
print("== without automatic preparation")
with psycopg.connect("", autocommit=True, prepare_threshold=None) as conn:
    queries(conn)
print("== preparing at once, client-side binding")
with psycopg.connect("", autocommit=True, prepare_threshold=0) as conn:
    queries(conn)
with psycopg.connect("", cursor_factory=psycopg.ClientCursor, autocommit=True) as conn:
    queries(conn)
print("== async")
asyncio.run(asynchronous())
