package router_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/freshet/freshet/router"
)

// dependencies are statements with what their answers depend on, in words.
var dependencies = []struct{ sql, want string }{
	{"SELECT name FROM accounts WHERE id = 1", "accounts: rows where id = ?"},
	{"SELECT name FROM accounts WHERE id = $1", "accounts: rows where id = $1"},
	{"SELECT name FROM accounts WHERE id = -7", "accounts: rows where id = ?"},
	{"SELECT name FROM accounts WHERE $1 = accounts.id", "accounts: rows where id = $1"},
	{"SELECT name FROM accounts WHERE id = '1'", "accounts: rows where id = ?"},
	{"SELECT name FROM accounts WHERE id = $1::bigint", "accounts: rows where id = $1"},
	{"SELECT name FROM accounts WHERE id = 5000000000", "accounts: rows where id = ?"},
	{"SELECT name FROM accounts WHERE id IN (1, $1, 3)", "accounts: rows where id IN (?, $1, ?)"},
	{"SELECT name FROM accounts WHERE id = ANY($1)", "accounts: rows where id = ANY($1)"},
	{"SELECT name FROM accounts WHERE id = ANY($1::int[])", "accounts: rows where id = ANY($1)"},
	{"SELECT name FROM accounts WHERE id = ANY('{1,2}')", "accounts: rows where id = ANY(?)"},
	{"SELECT name FROM accounts WHERE id = ANY(ARRAY[1, $1])", "accounts: rows where id IN (?, $1)"},
	{"SELECT name FROM accounts WHERE id IS NOT DISTINCT FROM $1", "accounts: rows where id = $1"},
	{"SELECT name FROM accounts WHERE (id, active) = (1, true)", "accounts: rows where id = ?"},
	{"SELECT n FROM coded WHERE (code, n) IN (('x', 1), ('y', $1))", "coded: rows where code IN (?, ?) and n IN (?, $1)"},
	{"SELECT n FROM coded WHERE (code, n) IN (('x', 1), ('y', n))", "coded: rows where code IN (?, ?)"},
	{"SELECT n FROM coded WHERE (code, n) NOT IN (('x', 1), ('y', 2))", "coded: all rows"},
	{"SELECT count(*), max(name) FROM accounts WHERE id = $1 AND created > $2 ORDER BY 1 LIMIT 3", "accounts: rows where id = $1"},
	{"SELECT name FROM accounts WHERE active AND name = 'x'", "accounts: rows where active = t and name = ? *"},
	{"SELECT id FROM orders WHERE account = $1", "orders: rows where account = $1 *"},
	// The whole relation.
	{"SELECT name FROM accounts", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id = 1 OR name = 'x'", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE NOT id = 1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id <> 1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id NOT IN (1, 2)", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id = ALL('{1}')", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id > 1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id = 1.5", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id = NULL", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id + 0 = 1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id = 1 + 1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id IN (1, 1.5)", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id = $1 AND balance = $1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE balance = $1 AND id = $1", "accounts: all rows"},
	{"SELECT name, $1 FROM accounts WHERE id = $1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE email = 'a@b'", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE name::varchar(3) = 'a'", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE name = 'a'::varchar(3)", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE id::numeric = 1", "accounts: all rows"},
	{"SELECT name FROM accounts WHERE balance = 1 AND created = '2020-01-01' AND born = '2020-01-01' AND big IS NULL", "accounts: all rows"},
	{"SELECT name FROM accounts GROUP BY name HAVING max(id) = 1", "accounts: all rows"},
	{"SELECT count(*) FILTER (WHERE id = 1) FROM accounts", "accounts: all rows"},
	{"SELECT id = 1 FROM accounts", "accounts: all rows"},
	// Joins.
	{"SELECT * FROM accounts a JOIN orders o ON o.account = a.id WHERE a.id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT * FROM accounts a, orders o WHERE o.account = a.id AND a.id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT * FROM accounts a JOIN orders o ON o.account = a.id AND a.id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT * FROM accounts a LEFT JOIN orders o ON o.account = a.id WHERE a.id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT * FROM accounts a LEFT JOIN orders o ON o.account = a.id AND o.id = $1", "accounts: all rows; orders: rows where id = $1"},
	{"SELECT * FROM accounts a LEFT JOIN orders o ON o.account = a.id AND a.id = $1", "accounts: all rows; orders: rows where account = $1 *"},
	{"SELECT * FROM accounts a LEFT JOIN orders o ON o.account = a.id WHERE o.account = $1", "accounts: rows where id = $1; orders: rows where account = $1 *"},
	{"SELECT * FROM orders o RIGHT JOIN accounts a ON o.account = a.id WHERE a.id = 1", "orders: rows where account = ? *; accounts: rows where id = ?"},
	{"SELECT * FROM accounts a FULL JOIN orders o ON o.account = a.id WHERE a.id = 1", "orders: all rows; accounts: rows where id = ?"},
	{"SELECT * FROM accounts a FULL JOIN orders o ON o.account = a.id AND a.id = 1", "accounts, orders: all rows"},
	{"SELECT * FROM accounts a JOIN accounts b ON a.id = b.id + 1 WHERE a.id = 1", "accounts: all rows"},
	{"SELECT * FROM accounts a JOIN accounts b ON a.name = b.name WHERE a.id = 1 AND b.id = 2", "accounts: rows where id = ?; accounts: rows where id = ?"},
	{"SELECT * FROM accounts JOIN regs USING (id) WHERE id = 1", "accounts: rows where id = ?; regs: rows where id = ?"},
	{"SELECT a.name FROM accounts a JOIN orders USING (id) WHERE id = 1", "accounts: rows where id = ?; orders: rows where id = ?"},
	{"SELECT a.name FROM accounts a NATURAL JOIN orders WHERE id = 1", "accounts, orders: all rows"},
	{"SELECT a.name FROM accounts a NATURAL JOIN orders WHERE a.id = 1", "orders: all rows; accounts: rows where id = ?"},
	{"SELECT * FROM (accounts a JOIN orders o ON o.account = a.id) j WHERE total = 1", "accounts, orders: all rows"},
	// Subqueries, each by its own names.
	{"SELECT name FROM accounts a WHERE a.id = $1 AND EXISTS (SELECT FROM orders o WHERE o.account = a.id)", "accounts: rows where id = $1; orders: rows where account = $1 *"},
	{"SELECT name, (SELECT count(*) FROM orders WHERE account = a.id) FROM accounts a WHERE id = $1", "accounts: rows where id = $1; orders: rows where account = $1 *"},
	{"SELECT name FROM accounts WHERE id IN (SELECT account FROM orders WHERE id = 3)", "accounts: all rows; orders: rows where id = ?"},
	{"SELECT name FROM accounts a WHERE NOT EXISTS (SELECT FROM orders WHERE id = 3) OR id = 1", "accounts: all rows; orders: rows where id = ?"},
	{"SELECT * FROM (SELECT id, name FROM accounts) x WHERE x.id = 1", "accounts: rows where id = ?"},
	{"SELECT * FROM (SELECT id AS n FROM accounts LIMIT 5) x WHERE n = 1", "accounts: all rows"},
	{"SELECT * FROM (SELECT id, row_number() OVER (ORDER BY name) FROM accounts) x WHERE id = 1", "accounts: all rows"},
	{"SELECT * FROM (SELECT DISTINCT ON (name) id, name FROM accounts) x WHERE id = 1", "accounts: all rows"},
	{"SELECT * FROM (SELECT DISTINCT id, name FROM accounts) x WHERE id = 1", "accounts: rows where id = ?"},
	{"SELECT * FROM (SELECT account, sum(total) FROM orders GROUP BY account) x WHERE account = 1", "orders: rows where account = ? *"},
	{"SELECT * FROM (SELECT account, sum(total) FROM orders GROUP BY 1) x WHERE account = 1", "orders: rows where account = ? *"},
	{"SELECT * FROM (SELECT account, sum(total) FROM orders GROUP BY ROLLUP (account)) x WHERE account = 1", "orders: rows where account = ? *"},
	{"SELECT * FROM (SELECT id FROM accounts UNION ALL SELECT account FROM orders) x WHERE id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT * FROM (SELECT id FROM accounts UNION ALL SELECT id FROM orders) x WHERE id = 1", "accounts, orders: all rows"},
	{"SELECT id FROM accounts WHERE id = 1 UNION SELECT account FROM orders", "orders: all rows; accounts: rows where id = ?"},
	{"WITH x AS (SELECT * FROM accounts WHERE id = 1) SELECT * FROM x JOIN orders o ON o.account = x.id", "orders: all rows; accounts: rows where id = ?"},
	{"WITH x AS (SELECT * FROM accounts) SELECT * FROM x WHERE id = 1", "accounts: rows where id = ?"},
	{"WITH x AS (SELECT * FROM accounts) SELECT * FROM x WHERE id = 1 UNION ALL SELECT * FROM x WHERE id = 2", "accounts: rows where id = ?; accounts: rows where id = ?"},
	{"WITH x AS (SELECT * FROM accounts) SELECT * FROM x WHERE id = 1 UNION ALL SELECT * FROM x", "accounts: all rows"},
	{"WITH accounts AS (SELECT 1 AS id) SELECT * FROM accounts WHERE id = 1", ""},
	{"WITH RECURSIVE t AS (SELECT id, account FROM orders WHERE id = 1 UNION ALL SELECT o.id, o.account FROM orders o JOIN t ON o.account = t.id) SELECT * FROM t", "orders: all rows"},
	{"WITH unused AS (SELECT * FROM orders WHERE id = 1) SELECT name FROM accounts WHERE id = 1", "orders: all rows; accounts: rows where id = ?"},
	{"SELECT * FROM accounts a, LATERAL (SELECT * FROM orders WHERE account = a.id) o WHERE a.id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT * FROM accounts a LEFT JOIN LATERAL (SELECT * FROM orders WHERE account = a.id ORDER BY id LIMIT 3) o ON true WHERE a.id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT name FROM accounts WHERE EXISTS (SELECT FROM orders WHERE big = 3)", "accounts, orders: all rows"},
	// Views.
	{"SELECT * FROM v_accounts WHERE id = 1", "accounts: rows where id = ?"},
	{"SELECT total FROM v_nested WHERE id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	{"SELECT total FROM v_nested v JOIN accounts a USING (id) WHERE id = 1", "accounts: rows where id = ?; orders: rows where account = ? *"},
	// Partitions and inheritance.
	{"SELECT * FROM measures WHERE id = 1", "measures: rows where id = ? *"},
	{"SELECT * FROM base WHERE id = 1", "base: rows where id = ? *"},
	{"SELECT * FROM ONLY base WHERE id = 1", "base: rows where id = ? *"},
	// Relations that are also read in ways that can't be seen in the text.
	{"SELECT looks() FROM accounts WHERE id = 1", "accounts: all rows"},
	{"SELECT looks() FROM orders WHERE id = 1", "accounts: all rows; orders: rows where id = ?"},
	{"SELECT * FROM guarded g JOIN teams t ON t.id = g.team WHERE g.id = 1 AND t.id = 2", "teams: all rows; guarded: rows where id = ?"},
	{"SELECT * FROM teams WHERE id = 2", "teams: rows where id = ?"},
	{"SELECT * FROM v_cycle WHERE id = 1", "accounts: all rows"},
	{"SELECT * FROM mv WHERE id = 1", "not cacheable"},
	{"SELECT code FROM coded WHERE code = 'x' AND n = 1", "coded: rows where code = ? and n = ?"},
}

func TestDependencies(t *testing.T) {
	planner, _ := testPlanner(t)
	for _, c := range dependencies {
		p := planner.Plan(c.sql, router.Context{Role: "alice", SearchPath: publicPath})
		lines := p.DependsOn()
		for i, l := range lines {
			if words, rest, ok := strings.Cut(l, " (an UPDATE or DELETE"); ok && rest != "" {
				lines[i] = words + " *"
			}
		}
		if !p.Cacheable {
			lines = []string{"not cacheable"}
		}
		if got := strings.Join(lines, "; "); got != c.want {
			t.Errorf("%s\n   %s\n  not %s (%s)", c.sql, got, c.want, p.Reason)
		}
		var all []uint32
		for _, d := range p.Deps {
			all = append(all, d.Relations...)
		}
		slices.Sort(all)
		// What isn't cacheable may still be cached for a time that the application has chosen: relations say by what it ends early.
		if all = slices.Compact(all); p.Cacheable && !slices.Equal(all, p.Relations) {
			t.Errorf("%s: relations %v, but depends on %v", c.sql, p.Relations, all)
		}
	}
}
