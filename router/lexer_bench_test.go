package router

import "testing"

var benchTexts = map[string]string{
	"pgbench": "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
	"orm":     `SELECT "users"."id", "users"."email", "users"."created_at" FROM "users" INNER JOIN "orders" ON "orders"."user_id" = "users"."id" WHERE "users"."active" = $1 AND "orders"."total" > 100.50 AND "users"."name" LIKE 'Sm%' ORDER BY "users"."created_at" DESC LIMIT $2 OFFSET $3`,
}

func BenchmarkScan(b *testing.B) {
	for name, text := range benchTexts {
		b.Run(name, func(b *testing.B) {
			l := NewLexer()
			p := []byte(text)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				l.Scan(p)
			}
		})
	}
}
