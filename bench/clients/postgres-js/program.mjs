// postgres.js: statements prepared by themselves, pipelines, transactions, savepoints, cursors, COPY streams, LISTEN, cancel.
import postgres from 'postgres'
import { pipeline } from 'node:stream/promises'
import { Readable, Writable } from 'node:stream'

const print = (...a) => console.log(...a.map((x) => (typeof x === 'string' ? x : JSON.stringify(x))))
const connect = (options = {}) => postgres({ max: 1, ssl: false, onnotice: () => {}, username: process.env.PGUSER, ...options })
const code = async (q) => { try { await q; return 'no error' } catch (e) { return e.code } }

const sql = connect()
print('== queries')
print(await sql`SELECT 'plain' AS a`, await sql`SELECT ${'a'}::text || ${'b'} AS a`)
for (let i = 0; i < 50; i++) {
  await sql`UPDATE accounts SET balance = ${i} WHERE id = 50`
  const [{ balance }] = await sql`SELECT balance FROM accounts WHERE id = ${50}`
  if (balance !== String(i)) print('own write not read:', balance, 'instead of', i)
}
print(await sql`SELECT * FROM accounts WHERE id IN ${sql([1, 2, 3])} ORDER BY id`)
print(await sql`SELECT id, owner FROM accounts WHERE id = ANY(${[4, 5]}) ORDER BY id`.values())
print((await sql`SELECT 1 AS a; UPDATE accounts SET balance = 7 WHERE id = 51; SELECT 2 AS b`.simple()).map((r) => [r.command, r.count]))
print((await sql`INSERT INTO accounts ${sql([{ id: 201, owner: 'x', balance: 1 }, { id: 202, owner: 'y', balance: 2 }])} RETURNING id`).length)
print((await sql`SELECT owner, balance FROM accounts WHERE id = ${1}`.describe()).columns.map((c) => [c.name, c.type]))
const errors = []
for (const t of ['SELECT nothing', 'SELECT 1/0', "INSERT INTO accounts VALUES (1, 'x', 1)", 'SELEC', 'SELECT * FROM nowhere']) errors.push(await code(sql.unsafe(t)), await code(sql.unsafe(t, [], { prepare: true })))
print(errors)
// Sent without waiting: one pipeline.
print((await Promise.all([...Array(40).keys()].map((i) => sql`SELECT owner FROM accounts WHERE id = ${i + 1}`))).map(([r]) => r.owner).join(' '))

print('== types')
await sql`SET TimeZone = 'UTC'`
print(await sql`SELECT ${1}::int AS i, true AS b, 9007199254740993 AS i8, 0.5::float8 AS f, 'täxt' AS t, '\\xdead'::bytea AS y, '2024-02-29 12:34:56+00'::timestamptz AS tz, NULL AS n`)
print(await sql`SELECT 1234567890.123456789 AS n, '{1,2,NULL}'::int[] AS a, ${sql.json({ a: [1, null] })}::jsonb AS j, '1 day 02:00'::interval AS iv`)

print('== transactions')
const balance = async (q) => Number((await q`SELECT balance FROM accounts WHERE id = 60`)[0].balance)
print(await code(sql.begin(async (tx) => {
  await tx`UPDATE accounts SET balance = balance + 1 WHERE id = 60`
  print(await code(tx.savepoint(async (sp) => { await sp`UPDATE accounts SET balance = 0 WHERE id = 60`; await sp`SELECT 1/0` })), await balance(tx))
  throw Object.assign(new Error('changed my mind'), { code: 'mine' })
})), await balance(sql))
print(await sql.begin('isolation level repeatable read read only', async (tx) => [await balance(tx), await code(tx.savepoint((sp) => sp`DELETE FROM accounts`))]))
print(await sql.begin((tx) => [tx`SELECT 1 AS a`, tx`UPDATE accounts SET balance = 61 WHERE id = 61`, tx`SELECT balance FROM accounts WHERE id = 61`]))

print('== session')
await sql.unsafe("SET TimeZone = 'Asia/Kolkata'; SET search_path = pg_catalog, public")
print(await sql`SELECT current_setting('TimeZone') || ' ' || current_setting('search_path') || ' ' || ('2024-01-01 00:00+00'::timestamptz)::text AS a`)
await sql.unsafe('RESET search_path; CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i')
print(await sql`SELECT sum(i) FROM t`)
await sql`DROP TABLE t`
const named = connect({ connection: { application_name: 'from the startup packet', search_path: 'pg_catalog' } })
print(await named`SELECT current_setting('application_name') AS a, current_setting('search_path') AS b`)
await named.end()
const unprepared = connect({ prepare: false })
print(await unprepared`SELECT owner FROM accounts WHERE id = ${7}`, await unprepared`SELECT owner FROM accounts WHERE id = ${8}`)
await unprepared.end()

print('== cursor and copy')
const sizes = []
await sql`SELECT i FROM generate_series(1, 1000) i`.cursor(300, (rows) => { sizes.push(rows.length) })
for await (const rows of sql`SELECT i FROM generate_series(1, 1000) i`.cursor(400)) { sizes.push(rows.length); if (sizes.length === 6) break }
print(sizes)
let seen = 0
await sql`SELECT i FROM generate_series(1, 5000) i`.forEach(() => { seen++ })
print(seen)
await sql`CREATE TABLE copied(i int PRIMARY KEY, t text)`
await pipeline(Readable.from(Array.from({ length: 20000 }, (_, i) => `${i}\trow ${i}\n`)), await sql`COPY copied FROM STDIN`.writable())
print(await sql`SELECT count(*) FROM copied`)
let bytes = 0
await pipeline(await sql`COPY (SELECT * FROM copied ORDER BY i) TO STDOUT`.readable(), new Writable({ write(d, _, done) { bytes += d.length; done() } }))
print(bytes, await sql`SELECT 'goes on' AS a`)

print('== cancel and notify')
const other = connect()
await other`SELECT 1`
const sleeping = other`SELECT pg_sleep(60)`
const ended = code(sleeping)
await new Promise((r) => setTimeout(r, 300))
await sleeping.cancel()
print(await ended, await other`SELECT 'goes on' AS a`)
await sql`SET statement_timeout = 50`
print(await code(sql`SELECT pg_sleep(60)`))
await sql`RESET statement_timeout`
const heard = []
let enough
const all = new Promise((r) => { enough = r })
await other.listen('news', (x) => { heard.push(x); if (heard.length === 2) enough() })
await sql.notify('news', 'hello')
await other.notify('news', 'to myself')
await all
print(heard)
await other.end()

print('== big and concurrent')
print((await sql`SELECT generate_series(1, 100000) AS i`).length, (await sql`SELECT repeat('y', 10000000) AS a`)[0].a.length, await sql`SELECT length(${'z'.repeat(5000000)}) AS a`)
await sql`CREATE TABLE counter(i int PRIMARY KEY, n int)`
await sql`INSERT INTO counter VALUES (1, 0)`
const pool = connect({ max: 12 })
await Promise.all([...Array(12)].map(async () => {
  for (let i = 0; i < 20; i++) {
    await pool.begin(async (tx) => {
      const [{ n }] = await tx`SELECT n FROM counter WHERE i = 1 FOR UPDATE`
      await tx`UPDATE counter SET n = ${n + 1} WHERE i = 1`
    })
    await pool`SELECT owner FROM accounts WHERE id = ${5}`
  }
}))
await pool.end()
print(await sql`SELECT n FROM counter`)
await sql.end()
