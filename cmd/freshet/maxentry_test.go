package main

import (
	"testing"
)

// --cache-max-entry is the limit of one answer; what is beyond it is passed on all the same, and says why it isn't cached.
func TestAnswersAboveCacheMaxEntryArePassedOn(t *testing.T) {
	c := shared.Get(t)
	db := c.NewDatabase(t)
	if err := c.Primary().ExecIn(t.Context(), db, `CREATE TABLE t (id int PRIMARY KEY, v text);
		INSERT INTO t VALUES (1, repeat('x', 3000)), (2, repeat('x', 5000))`); err != nil {
		t.Fatal(err)
	}
	in := startTestServer(t, c, func(cfg *ServeConfig) { cfg.CacheMaxEntry = 4 << 10 })
	covered(t, c, in, db)
	conn := in.connect(t, c, db, "")
	const small, large = "SELECT v FROM t WHERE id = 1", "SELECT v FROM t WHERE id = 2"
	eventually(t, "the smaller one is cached", func() bool {
		if got := one(t, conn, small); len(got) != 3000 {
			t.Fatalf("%d bytes", len(got))
		}
		return source(t, conn) == "l1"
	})
	for range 3 {
		if got := one(t, conn, large); len(got) != 5000 {
			t.Fatalf("%d bytes", len(got))
		}
		if from := source(t, conn); from == "l1" || from == "flight" {
			t.Errorf("the larger one came from %s", from)
		}
		one(t, conn, large)
		if why := reason(t, conn); why != "not stored: the answer is larger than --cache-max-entry" {
			t.Errorf("reason: %s", why)
		}
	}
}
