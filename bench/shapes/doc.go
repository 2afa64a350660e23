// Package shapes compares answers that come through Freshet with those that Postgres gives directly, for statements, schemas, data and
// writes made at random. In each of several worlds (a schema with tables, partitions, views, policies, functions, triggers) it
// asks some dozens of questions; each is asked directly and twice through Freshet, the second time to be answered from the cache. Then the world
// is written to, through Freshet and past it, settings and roles change, and after each write all questions are asked again, at the level strong,
// in transactions or outside.
//
// The rule it upholds: bytes are equal, or it is a violation. Excused is only what Postgres itself answers differently when it chooses
// other plans. What isn't cached is counted by its reason, out of those that are in fact deterministic: whose
// answers are a function of tables, settings and role.
package shapes
