package router_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

// otherClock has a server live some years later, at another time of the day and of the year.
const otherClock = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
#define LATER (3L * 365 * 86400 + 173 * 86400 + 27451)
int gettimeofday(struct timeval *tv, void *tz) {
	int (*real)(struct timeval *, void *) = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
	int r = real(tv, tz);
	if (r == 0 && tv) tv->tv_sec += LATER;
	return r;
}
int clock_gettime(clockid_t c, struct timespec *ts) {
	int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(c, ts);
	if (r == 0 && c == CLOCK_REALTIME) ts->tv_sec += LATER;
	return r;
}
time_t time(time_t *t) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (t) *t = ts.tv_sec;
	return ts.tv_sec;
}
`

// elsewhere starts a server with another clock, and with other settings, of those that no answer may depend on.
func elsewhere(t *testing.T) *cluster.Cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-clock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // another account runs the server
		t.Fatal(err)
	}
	library, source := filepath.Join(dir, "clock.so"), filepath.Join(dir, "clock.c")
	if err := os.WriteFile(source, []byte(otherClock), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	t.Setenv("LD_PRELOAD", library)
	c := cluster.ForTest(t, cluster.Options{Settings: map[string]string{
		"enable_hashjoin": "off", "enable_hashagg": "off", "enable_seqscan": "off", "work_mem": "64kB", "jit": "off", "max_parallel_workers_per_gather": "0",
		"random_page_cost": "1.1", "autovacuum": "off",
	}})
	os.Unsetenv("LD_PRELOAD")
	return c
}

// breadthDatabase makes the database with breadthSchema, and a connection of an ordinary role to it.
func breadthDatabase(t *testing.T, c *cluster.Cluster) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	if err := c.Primary().ExecIn(ctx, "postgres", "CREATE DATABASE breadth"); err != nil {
		t.Fatal(err)
	}
	if err := c.Primary().ExecIn(ctx, "breadth", breadthSchema+"; GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app"); err != nil {
		t.Fatal(err)
	}
	return breadthConnect(t, c)
}

func breadthConnect(t *testing.T, c *cluster.Cluster) *pgx.Conn {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.Primary().UserURL(cluster.App, c.AppPassword(), "breadth"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(ctx) })
	// What is in the key is the same everywhere.
	if _, err := conn.Exec(ctx, "SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, DMY'; SET app.tenant = '1'"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestBreadth measures which of the statements whose answers depend on nothing but tables are cacheable, and checks
// that those which are cacheable have the same answers on a server with another clock and other settings.
func TestBreadth(t *testing.T) {
	ctx := context.Background()
	a := breadthDatabase(t, pg.Get(t))
	again := breadthConnect(t, pg.Get(t))
	b := breadthDatabase(t, elsewhere(t))
	super, err := pg.Get(t).Primary().Connect(ctx, "breadth")
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(ctx)
	snapshot, err := catalog.Load(ctx, super)
	if err != nil {
		t.Fatal(err)
	}
	planner := router.NewPlanner(func() *catalog.Snapshot { return snapshot })

	n := 600
	if testing.Short() {
		n = 100
	}
	type count struct{ steady, cacheable int }
	var total count
	categories, reasons, examples := map[string]*count{}, map[string]int{}, map[string]string{}
	accepted, refused, unstable := 0, 0, 0
	for _, s := range shapes(rand.New(rand.NewPCG(7, 11)), n) {
		want, err := answer(ctx, a, s)
		if err != nil {
			if s.category != "mixed" {
				t.Errorf("%s: Postgres doesn't take it: %v", s.sql, err)
			}
			refused++
			continue
		}
		accepted++
		p := planner.Plan(s.sql, router.Context{Role: cluster.App, SearchPath: publicPath})
		clock := false
		_, scan := router.NewLexer().Scan([]byte(s.sql))
		if scan.ClockWord {
			clock = true
		}
		for _, arg := range s.args {
			clock = clock || router.ClockWord([]byte(arg))
		}
		cacheable := p.Cacheable && !clock
		same := true
		for _, other := range []*pgx.Conn{again, b} {
			got, err := answer(ctx, other, s)
			same = same && err == nil && bytes.Equal(got, want)
		}
		if s.category == "trap" && same {
			t.Errorf("%s: its answer doesn't vary, so that it tests nothing", s.sql)
		}
		switch {
		case cacheable && !same:
			t.Errorf("%s: cacheable, and yet its answer varies", s.sql)
		case cacheable && s.varies:
			t.Errorf("%s: cacheable, and yet its answer depends on more than tables", s.sql)
		case !same && !s.varies:
			unstable++
			t.Errorf("%s: its answer varies", s.sql)
		}
		if s.varies {
			continue
		}
		c := categories[s.category]
		if c == nil {
			c = &count{}
			categories[s.category] = c
		}
		c.steady++
		total.steady++
		if cacheable {
			c.cacheable++
			total.cacheable++
			continue
		}
		reasons[p.Reason]++
		if s.category != "mixed" || examples[p.Reason] == "" {
			examples[p.Reason] = s.sql
		}
	}
	t.Logf("Postgres took %d texts (not %d); deterministic %d, of which cacheable %d (%.1f %%)", accepted, refused, total.steady, total.cacheable,
		100*float64(total.cacheable)/float64(total.steady))
	for _, category := range slices.Sorted(maps.Keys(categories)) {
		c := categories[category]
		t.Logf("%-12s %4d of %4d", category, c.cacheable, c.steady)
	}
	byCount := slices.SortedFunc(maps.Keys(reasons), func(x, y string) int { return reasons[y] - reasons[x] })
	for _, r := range byCount {
		t.Logf("%4d  %s   (%s)", reasons[r], r, examples[r])
	}
	if float64(total.cacheable) < 0.9*float64(total.steady) {
		t.Errorf("less than 90 %% of what is deterministic is cacheable")
	}
}

// answer runs a statement, and returns all that it says.
func answer(ctx context.Context, conn *pgx.Conn, s statementShape) ([]byte, error) {
	args := make([][]byte, len(s.args))
	for i, a := range s.args {
		args[i] = []byte(a)
	}
	// It might write.
	if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	r := conn.PgConn().ExecParams(ctx, s.sql, args, nil, nil, nil).Read()
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		return nil, err
	}
	return dump(r), r.Err
}

func dump(r *pgconn.Result) []byte {
	var b bytes.Buffer
	for _, f := range r.FieldDescriptions {
		fmt.Fprintf(&b, "%s %d, ", f.Name, f.DataTypeOID)
	}
	for _, row := range r.Rows {
		b.WriteString("\n")
		for _, v := range row {
			if v == nil {
				b.WriteString("NULL|")
			} else {
				b.WriteString(strings.ReplaceAll(string(v), "|", `\|`) + "|")
			}
		}
	}
	fmt.Fprintf(&b, "\n%s", r.CommandTag)
	return b.Bytes()
}
