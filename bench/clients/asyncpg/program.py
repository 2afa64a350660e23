"""asyncpg: always prepared, always binary; its pool, cursors, COPY, listeners, time-outs."""

import asyncio
import datetime

import asyncpg


async def code(c, sql, *args):
    try:
        await c.fetch(sql, *args)
    except asyncpg.PostgresError as e:
        return e.sqlstate
    return "no error"


async def queries(c):
    print(await c.fetchval("SELECT 'plain'"), await c.fetchval("SELECT $1::text || $2::text", "a", "b"))
    for i in range(50):
        await c.execute("UPDATE accounts SET balance = $1 WHERE id = 50", i)
        got = await c.fetchval("SELECT balance FROM accounts WHERE id = $1", 50)
        if got != i:
            print("own write not read:", got, "instead of", i)
    print([tuple(r) for r in await c.fetch("SELECT * FROM accounts WHERE id = ANY($1) ORDER BY id", [1, 2, 3])])
    print([await code(c, s) for s in ("SELECT nothing", "SELECT 1/0", "INSERT INTO accounts VALUES (1, 'x', 1)", "SELEC", "SELECT * FROM nowhere")])
    print(await c.execute("SELECT 1; UPDATE accounts SET balance = 7 WHERE id = 51; SELECT 2"))
    await c.executemany("INSERT INTO accounts VALUES ($1, 'many', 0)", [(i,) for i in range(1000, 1200)])
    print(await c.fetchval("SELECT count(*) FROM accounts WHERE owner = 'many'"))
    try:
        await c.executemany("INSERT INTO accounts VALUES ($1, 'undone', 0)", [(2000,), (2001,), (1,)])
    except asyncpg.UniqueViolationError:
        print(await c.fetchval("SELECT count(*) FROM accounts WHERE owner = 'undone'"))
    st = await c.prepare("SELECT owner FROM accounts WHERE id = $1")
    print([p.name for p in st.get_parameters()], [a.name for a in st.get_attributes()], [await st.fetchval(i) for i in (1, 2, 3)])
    # The result's type changes under a prepared statement.
    await c.execute("CREATE TABLE changing(a int); INSERT INTO changing VALUES (1)")
    print(tuple(await c.fetchrow("SELECT * FROM changing")))
    await c.execute("ALTER TABLE changing ADD b text DEFAULT 'new'")
    print(tuple(await c.fetchrow("SELECT * FROM changing")))


async def types(c):
    await c.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (a int, b text);"
        "CREATE TABLE types(id int PRIMARY KEY, b bool, i8 bigint, f8 float8, n numeric, t text, y bytea, d date, ts timestamp, tz timestamptz, iv interval, u uuid, jb jsonb, a int[], r int4range, ip inet, m mood, p pair)"
    )
    utc = datetime.timezone.utc
    await c.execute(
        "INSERT INTO types(id, b, i8, f8, n, t, y, d, ts, tz, iv, a, m, p, jb) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        1, True, 9007199254740993, 0.1, __import__("decimal").Decimal("1234567890.123456789"), "täxt", b"\xde\xad", datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 12, 34, 56, 789), datetime.datetime(2024, 2, 29, 12, 34, 56, tzinfo=utc), datetime.timedelta(days=3, seconds=7),
        [1, 2, None], "happy", (1, "x"), '{"a": [1, null]}',
    )
    for _ in range(3):
        print(tuple(await c.fetchrow("SELECT * FROM types WHERE id = $1", 1)))
    async with c.transaction():
        await c.set_type_codec("jsonb", encoder=str, decoder=__import__("json").loads, schema="pg_catalog")
        print(await c.fetchval("SELECT jb FROM types"))


async def transactions(c):
    async def balance():
        return await c.fetchval("SELECT balance FROM accounts WHERE id = 60")

    before = await balance()
    try:
        async with c.transaction():
            await c.execute("UPDATE accounts SET balance = balance + 1 WHERE id = 60")
            try:
                async with c.transaction():
                    await c.execute("UPDATE accounts SET balance = 0 WHERE id = 60")
                    await c.fetch("SELECT 1/0")
            except asyncpg.DivisionByZeroError as e:
                print(e.sqlstate, await balance() - before)
            raise RuntimeError
    except RuntimeError:
        print(await balance() - before)
    for options in ({"isolation": "serializable"}, {"isolation": "repeatable_read", "readonly": True}, {"isolation": "serializable", "readonly": True, "deferrable": True}):
        async with c.transaction(**options):
            print(await c.fetchval("SHOW transaction_isolation"), await balance() - before)
    async with c.transaction():
        print(sum([r["i"] async for r in c.cursor("SELECT i FROM generate_series(1, 10000) i", prefetch=100)]))
        cur = await c.cursor("SELECT i FROM generate_series(1, 100) i")
        print([r["i"] for r in await cur.fetch(3)], await cur.forward(10), (await cur.fetchrow())["i"])


async def session(c):
    await c.execute("SET TimeZone = 'Asia/Kolkata'; SET search_path = pg_catalog, public")
    print(await c.fetchval("SELECT current_setting('TimeZone') || ' ' || current_setting('search_path') || ' ' || ('2024-01-01 00:00+00'::timestamptz)::text"), c.get_settings().TimeZone)
    await c.execute("RESET search_path")
    await c.execute("CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i")
    print(await c.fetchval("SELECT sum(i) FROM t"))
    await c.reset()
    print(await c.fetchval("SHOW TimeZone"))
    await c.execute("DROP TABLE t")


async def copy(c):
    await c.execute("CREATE TABLE copied(i int PRIMARY KEY, t text)")
    print(await c.copy_records_to_table("copied", records=[(i, f"row {i}") for i in range(20000)]))
    try:
        await c.copy_records_to_table("copied", records=[(1, "again")])
    except asyncpg.UniqueViolationError as e:
        print(e.sqlstate)
    n = 0

    async def count(data):
        nonlocal n
        n += len(data)

    print(await c.copy_from_query("SELECT * FROM copied WHERE i >= $1 ORDER BY i", 10000, output=count), n)


async def cancel(c):
    try:
        await c.fetch("SELECT pg_sleep(60)", timeout=0.3)
    except asyncio.TimeoutError:
        print("timed out")
    print(await c.fetchval("SELECT 'goes on'"))


async def notify(c):
    listener = await asyncpg.connect()
    got = asyncio.Queue()
    await listener.add_listener("news", lambda conn, pid, channel, payload: got.put_nowait((channel, payload, pid == listener.get_server_pid())))
    for i in range(3):
        await c.execute("SELECT pg_notify('news', $1)", f"number {i}")
    for _ in range(3):
        print(await asyncio.wait_for(got.get(), 20))
    await listener.execute("NOTIFY news, 'to myself'")
    print(await asyncio.wait_for(got.get(), 20))
    await listener.close()


async def concurrent(c):
    await c.execute("CREATE TABLE counter(i int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)")
    async with asyncpg.create_pool(min_size=12, max_size=12) as pool:

        async def work():
            for _ in range(20):
                async with pool.acquire() as k, k.transaction():
                    n = await k.fetchval("SELECT n FROM counter WHERE i = 1 FOR UPDATE")
                    await k.execute("UPDATE counter SET n = $1 WHERE i = 1", n + 1)
                await pool.fetchval("SELECT owner FROM accounts WHERE id = $1", 5)

        await asyncio.gather(*(work() for _ in range(16)))
        print(await pool.fetchval("SELECT n FROM counter"))
    print(len(await c.fetchval("SELECT repeat('y', 10000000)")), await c.fetchval("SELECT length($1)", "z" * 5000000), len(await c.fetch("SELECT generate_series(1, 100000)")))


async def main():
    for size in (100, 0):  # statements that it caches
        c = await asyncpg.connect(statement_cache_size=size)
        print("== queries, statement cache", size)
        await queries(c)
        await c.execute("DELETE FROM accounts WHERE id > 100; DROP TABLE changing")
        await c.close()
    c = await asyncpg.connect()
    for part in (types, transactions, session, copy, cancel, notify, concurrent):
        print("==", part.__name__)
        await part(c)
    await c.close()


asyncio.run(main())
