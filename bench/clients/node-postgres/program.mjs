// node-postgres: pool, named statements, cursors, COPY streams, LISTEN, cancel.
import pg from 'pg'
import Cursor from 'pg-cursor'
import copy from 'pg-copy-streams'
import { pipeline } from 'node:stream/promises'
import { Readable, Writable } from 'node:stream'

const { Client, Pool } = pg
const print = (...a) => console.log(...a.map((x) => (typeof x === 'string' ? x : JSON.stringify(x))))
const connect = async (options = {}) => { const c = new Client(options); await c.connect(); return c }
const one = async (c, text, values) => Object.values((await c.query(text, values)).rows[0])[0]
const code = async (c, text, values) => { try { await c.query(text, values); return 'no error' } catch (e) { return e.code } }

const c = await connect()
print('== queries')
print(await one(c, "SELECT 'plain' AS a"), await one(c, 'SELECT $1::text || $2 AS a', ['a', 'b']))
for (let i = 0; i < 50; i++) {
  await c.query('UPDATE accounts SET balance = $1 WHERE id = 50', [i])
  const got = await one(c, { name: 'balance', text: 'SELECT balance FROM accounts WHERE id = $1', values: [50] })
  if (got !== String(i)) print('own write not read:', got, 'instead of', i)
}
print((await c.query({ text: 'SELECT * FROM accounts WHERE id = ANY($1) ORDER BY id', values: [[1, 2, 3]], rowMode: 'array' })).rows)
print((await c.query('SELECT 1 AS a; UPDATE accounts SET balance = 7 WHERE id = 51; SELECT 2 AS b')).map((r) => [r.command, r.rowCount]))
const errors = []
for (const t of ['SELECT nothing', 'SELECT 1/0', "INSERT INTO accounts VALUES (1, 'x', 1)", 'SELEC', 'SELECT * FROM nowhere']) errors.push(await code(c, t), await code(c, t + ' ', []))
print(errors)
// Sent without waiting.
print((await Promise.all([...Array(20).keys()].map((i) => one(c, 'SELECT owner FROM accounts WHERE id = $1', [i + 1])))).join(' '))

print('== types')
await c.query("SET TimeZone = 'UTC'")
for (const binary of [false, true]) {
  const r = await c.query({ binary, text: "SELECT $1::int AS i, true AS b, 9007199254740993 AS i8, 0.5::float8 AS f, 'täxt' AS t, '\\xdead'::bytea AS y, '2024-02-29 12:34:56+00'::timestamptz AS tz, NULL AS n", values: [1] })
  print(r.rows[0], r.fields.map((f) => [f.name, f.dataTypeID]))
}
print((await c.query("SELECT 1234567890.123456789 AS n, '{1,2,NULL}'::int[] AS a, '{\"a\": [1, null]}'::jsonb AS j, '1 day 02:00'::interval AS iv")).rows[0])

print('== transactions')
const before = Number(await one(c, 'SELECT balance FROM accounts WHERE id = 60'))
const balance = async () => Number(await one(c, 'SELECT balance FROM accounts WHERE id = 60')) - before
await c.query('BEGIN')
await c.query('UPDATE accounts SET balance = balance + 1 WHERE id = 60')
await c.query('SAVEPOINT a')
print(await code(c, 'SELECT 1/0'), await code(c, 'SELECT 1'))
await c.query('ROLLBACK TO a')
print(await balance())
await c.query('ROLLBACK')
print(await balance())
await c.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
print(await balance(), await code(c, 'DELETE FROM accounts'))
await c.query('COMMIT')

print('== session')
await c.query("SET TimeZone = 'Asia/Kolkata'; SET search_path = pg_catalog, public")
print(await one(c, "SELECT current_setting('TimeZone') || ' ' || current_setting('search_path') || ' ' || ('2024-01-01 00:00+00'::timestamptz)::text"))
await c.query('RESET search_path; CREATE TEMP TABLE t AS SELECT generate_series(1, 10) AS i')
print(await one(c, 'SELECT sum(i) FROM t'))
await c.query('DISCARD ALL')

print('== cursor and copy')
const cursor = c.query(new Cursor('SELECT i FROM generate_series(1, $1::int) i', [1000]))
print((await cursor.read(3)).length, (await cursor.read(500)).length)
await cursor.close()
await c.query('CREATE TABLE copied(i int PRIMARY KEY, t text)')
await pipeline(Readable.from(Array.from({ length: 20000 }, (_, i) => `${i}\trow ${i}\n`)), c.query(copy.from('COPY copied FROM STDIN')))
print(await one(c, 'SELECT count(*) FROM copied'))
try { await pipeline(Readable.from(['1\tagain\n']), c.query(copy.from('COPY copied FROM STDIN'))) } catch (e) { print(e.code) }
let bytes = 0
await pipeline(c.query(copy.to('COPY (SELECT * FROM copied ORDER BY i) TO STDOUT')), new Writable({ write(d, _, done) { bytes += d.length; done() } }))
print(bytes, await one(c, "SELECT 'goes on' AS a"))

print('== cancel and notify')
const other = await connect()
const sleeping = code(other, 'SELECT pg_sleep(60)')
const canceller = new Client()
await new Promise((r) => setTimeout(r, 300))
canceller.cancel(other, other.activeQuery ?? other._activeQuery ?? other._getActiveQuery())
print(await sleeping, await one(other, "SELECT 'goes on' AS a"))
await c.query('SET statement_timeout = 50')
print(await code(c, 'SELECT pg_sleep(60)'))
await c.query('RESET statement_timeout')
const heard = new Promise((resolve) => { const got = []; other.on('notification', (n) => { got.push([n.channel, n.payload, n.processId === other.processID]); if (got.length === 2) resolve(got) }) })
await other.query('LISTEN news')
await c.query("NOTIFY news, 'hello'")
await other.query("NOTIFY news, 'to myself'")
print(await heard)
await other.end()

print('== big and concurrent')
print((await c.query('SELECT generate_series(1, 100000) AS i')).rows.length, (await one(c, "SELECT repeat('y', 10000000) AS a")).length, await one(c, 'SELECT length($1) AS a', ['z'.repeat(5000000)]))
await c.query('CREATE TABLE counter(i int PRIMARY KEY, n int); INSERT INTO counter VALUES (1, 0)')
const pool = new Pool({ max: 12 })
await Promise.all([...Array(12)].map(async () => {
  for (let i = 0; i < 20; i++) {
    const k = await pool.connect()
    await k.query('BEGIN')
    const n = await one(k, 'SELECT n FROM counter WHERE i = 1 FOR UPDATE')
    await k.query({ name: 'count', text: 'UPDATE counter SET n = $1 WHERE i = 1', values: [n + 1] })
    await k.query('COMMIT')
    k.release()
    await pool.query('SELECT owner FROM accounts WHERE id = $1', [5])
  }
}))
await pool.end()
print(await one(c, 'SELECT n FROM counter'))
await c.end()
