package shapes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Config says what to compare.
type Config struct {
	// Direct and Through are URLs of the superuser, of the role app as App…, to the primary and to Freshet. They name a database in which
	// nobody else does anything.
	Direct, Through, AppDirect, AppThrough string
	Seed                                   uint64
	Shapes                                 int // statements in all, those among them that Postgres refuses
	PerWorld                               int // statements in one world
	Writes                                 int // rounds of a few writes in each world, each of which all of its statements come after
	// Plans says what answers depend on, by what the catalog holds now; nil: that isn't counted.
	Plans func(context.Context) (Plans, error)
	Out   io.Writer // hears of progress; may be nil
}

// Plans says, for a statement, on what its answer depends: a line for each place, as `freshet explain` has it.
type Plans func(sql, role, path string, types []uint32) []string

// Report is what was found.
type Report struct {
	Shapes        int // that Postgres takes
	Refused       int // that it doesn't
	Varying       int // whose answers vary, or whose cause to vary is known
	Deterministic int
	Cached        int // of these
	Reasons       map[string]int
	Examples      map[string]string
	// Of the cached ones: whose answers depend on rows only, on rows of some tables and on others as a whole, on tables only, on nothing.
	Rows, Mixed, Tables, Constant int
	Writes, Failed                int // writes, and those that Postgres refused
	Again                         int // reads after writes
	Sampled, SampledCached        int // of these: who was asked where the answer came from, and of how many it was the cache
	Unsteady                      int // where Postgres itself answers otherwise by another plan
	Violations                    []Violation
}

// Violation is an answer through Freshet that isn't the one of Postgres.
type Violation struct {
	World, SQL, Params, Mode, Look, After, Source, Want, Got string
	Depends                                                  []string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s, %s, %s\n%s %s\n-- after: %s\n-- depends on: %s\n-- Postgres:\n%s\n-- through Freshet (%s):\n%s", v.World, v.Look, v.Mode, v.SQL, v.Params,
		v.After, strings.Join(v.Depends, "; "), v.Want, v.Source, v.Got)
}

// otherPlans has Postgres choose them, where it can.
const otherPlans = "SET enable_hashjoin = off; SET enable_hashagg = off; SET enable_seqscan = off; SET enable_material = off; SET enable_nestloop = off"

// asked is a statement with how it is asked.
type asked struct {
	Statement
	look  *look
	mode  mode
	deps  []string
	off   bool // it isn't asked any more: Postgres refuses it, or it varies
	asked int
}

type run struct {
	cfg    Config
	rand   *rand.Rand
	report *Report
	looks  []*look
	mu     sync.Mutex     // guards report
	direct *pgconn.PgConn // the superuser's, for writes
	behind *pgconn.PgConn // the same through Freshet
	closes []func()

	extensions []string // that there are
}

// Run compares. It returns an error where it can't go on.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg.PerWorld = cmp.Or(cfg.PerWorld, 100)
	r := &run{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 1)), report: &Report{Reasons: map[string]int{}, Examples: map[string]string{}}}
	defer func() {
		for _, c := range r.closes {
			c()
		}
	}()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	for n := 0; n*cfg.PerWorld < cfg.Shapes; n++ {
		if err := r.world(ctx, n); err != nil {
			return r.report, fmt.Errorf("world %d of seed %d: %w", n, cfg.Seed, err)
		}
		if cfg.Out != nil {
			fmt.Fprintf(cfg.Out, "world %d: %d statements, %d writes, %d reads after writes, %d violations\n", n, r.report.Shapes, r.report.Writes, r.report.Again, len(r.report.Violations))
		}
	}
	return r.report, nil
}

func (r *run) connect(ctx context.Context) error {
	open := func(into **pgconn.PgConn, url string, statements ...string) error {
		conn, err := pgconn.Connect(ctx, url)
		if err != nil {
			return err
		}
		r.closes = append(r.closes, func() { _ = conn.Close(context.WithoutCancel(ctx)) })
		*into = conn
		for _, s := range statements {
			if _, err := conn.Exec(ctx, s).ReadAll(); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	}
	if err := open(&r.direct, r.cfg.Direct); err != nil {
		return err
	}
	for _, name := range []string{"citext", "hstore", "pg_trgm"} {
		if _, err := r.direct.Exec(ctx, "CREATE EXTENSION IF NOT EXISTS "+name).ReadAll(); err == nil {
			r.extensions = append(r.extensions, name)
		}
	}
	var all []*look
	for range lanes {
		all = append(all, looks()...)
	}
	for _, l := range all {
		direct, through := r.cfg.AppDirect, r.cfg.AppThrough
		if l.role != "app" {
			direct, through = r.cfg.Direct, r.cfg.Through
		}
		if err := errors.Join(open(&l.direct, direct, l.settings...), open(&l.odd, direct, append(slices.Clone(l.settings), otherPlans)...),
			open(&l.through, through, append(slices.Clone(l.settings), "SET freshet.consistency = 'strong'")...)); err != nil {
			return err
		}
		r.looks = append(r.looks, l)
	}
	return open(&r.behind, r.cfg.Through)
}

// world makes one, asks, writes, and asks again.
func (r *run) world(ctx context.Context, n int) error {
	name := "w" + itoa(n)
	w := newWorld(rand.New(rand.NewPCG(r.rand.Uint64(), 2)), name, r.extensions)
	if err := r.build(ctx, w); err != nil {
		return err
	}
	path := "early, " + name + ", public"
	for _, l := range r.looks {
		if err := l.anew(ctx, path); err != nil {
			return err
		}
	}
	var plans Plans
	if r.cfg.Plans != nil {
		var err error
		if plans, err = r.cfg.Plans(ctx); err != nil {
			return err
		}
	}
	var all []*asked
	for i := range r.cfg.PerWorld {
		m := mode(w.IntN(int(modes)))
		a := &asked{Statement: w.statement(m != simple), look: r.looks[i%len(r.looks)], mode: m, asked: i}
		a.Name, a.on = "p"+itoa(i), map[*pgconn.PgConn]*pgconn.StatementDescription{}
		all = append(all, a)
	}
	if err := r.each(ctx, all, func(a *asked) error { return r.first(ctx, w, a, plans, path) }); err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(a *asked) bool { return a.off })
	for range r.cfg.Writes {
		sql := strings.Join(r.write(ctx, w), "; then ")
		for _, l := range r.looks {
			l.next(w)
		}
		if strings.Contains(sql, "early.") {
			// Postgres goes on with the table that a name meant when the statement was prepared, until something has it look again. Then it
			// is the one that has come before it; with a server connection that hasn't prepared it yet, that is at once.
			for _, a := range all {
				a.Name += "x"
				clear(a.on)
			}
		}
		if err := r.each(ctx, all, func(a *asked) error { return r.again(ctx, w, a, sql) }); err != nil {
			return fmt.Errorf("after %s: %w", sql, err)
		}
	}
	_, err := r.direct.Exec(ctx, "DROP SCHEMA "+name+" CASCADE; DROP SCHEMA early CASCADE").ReadAll()
	return err
}

// write writes, a few times, half of it past Freshet.
func (r *run) write(ctx context.Context, w *world) []string {
	var all []string
	if w.one(5) {
		all = append(all, w.definition())
	} else {
		for range 1 + w.IntN(4) { // nothing that makes all answers stale, so that it's seen what rows do
			all = append(all, w.write())
		}
	}
	for i, sql := range all {
		conn := r.behind
		if w.one(2) {
			conn = r.direct
			all[i] += " (past Freshet)"
		}
		r.report.Writes++
		if err := write(ctx, conn, sql); err != nil {
			r.report.Failed++
		}
	}
	return all
}

// each does something with all of them, at the same time where they are of different looks.
func (r *run) each(ctx context.Context, all []*asked, do func(*asked) error) error {
	errs := make([]error, len(r.looks))
	var looks sync.WaitGroup
	for i, l := range r.looks {
		looks.Go(func() {
			if errs[i] = l.enter(ctx); errs[i] != nil {
				return
			}
			defer func() { errs[i] = errors.Join(errs[i], l.leave(ctx)) }()
			for _, a := range all {
				if a.look == l && errs[i] == nil {
					if err := do(a); err != nil {
						errs[i] = fmt.Errorf("%s: %w", a.SQL, err)
					}
				}
			}
		})
	}
	looks.Wait()
	return errors.Join(errs...)
}

// build makes the world, without what Postgres doesn't take of it.
func (r *run) build(ctx context.Context, w *world) error {
	for _, sql := range append([]string{"CREATE SCHEMA early; GRANT USAGE ON SCHEMA early TO app"}, w.ddl...) {
		if _, err := r.direct.Exec(ctx, sql).ReadAll(); err != nil && !strings.HasPrefix(sql, "CREATE VIEW") && !strings.HasPrefix(sql, "CREATE MATERIALIZED VIEW") {
			if r.cfg.Out != nil {
				fmt.Fprintf(r.cfg.Out, "%s: %v\n", sql, err)
			}
		}
	}
	list, err := r.direct.Exec(ctx, "SELECT relname FROM pg_class WHERE relnamespace = '"+w.name+"'::regnamespace").ReadAll()
	if err != nil {
		return err
	}
	exists := map[string]bool{}
	for _, row := range list[0].Rows {
		exists[string(row[0])] = true
	}
	w.keep(exists)
	for _, sql := range w.data() {
		_ = write(ctx, r.direct, sql) // a row that doesn't fit in isn't there
	}
	_, err = r.direct.Exec(ctx, "SET search_path = "+w.name+", public; ANALYZE").ReadAll()
	if err == nil {
		_, err = r.behind.Exec(ctx, "SET search_path = "+w.name+", public").ReadAll()
	}
	return err
}

// first asks for the first time: whether the answer is the same, and comes from the cache afterwards.
func (r *run) first(ctx context.Context, w *world, a *asked, plans Plans, path string) error {
	a.off = true
	want, err := answer(ctx, a.look.direct, a.Statement, a.mode)
	if err != nil {
		return err
	}
	if strings.HasPrefix(want, refused) {
		r.note(func(report *Report) { report.Refused++ }, "refused: %s\n   %s\n", want, a.SQL)
		return nil
	}
	r.note(func(report *Report) { report.Shapes++ }, "")
	other, err := answer(ctx, a.look.odd, a.Statement, a.mode)
	if err != nil {
		return err
	}
	if a.Varies || other != want {
		r.note(func(report *Report) { report.Varying++ }, "")
		if !a.Varies {
			r.note(func(report *Report) { report.Unsteady++ }, "unsteady: %s\n%s\n%s\n", a.SQL, want, other)
		}
		return nil
	}
	r.note(func(report *Report) { report.Deterministic++ }, "")
	if plans != nil {
		var types []uint32
		if a.mode == declared || a.mode == binaryParams {
			for _, p := range a.Params {
				types = append(types, oids[p.class])
			}
		}
		r.mu.Lock()
		a.deps = plans(a.SQL, a.look.role, path, types)
		r.mu.Unlock()
	}
	for begun := time.Now(); ; {
		for range 2 {
			got, err := answer(ctx, a.look.through, a.Statement, a.mode)
			if err != nil {
				return err
			}
			if !r.compare(ctx, w, a, want, got, "the data was made") {
				return nil
			}
		}
		a.off = false
		source, err := told(ctx, a.look.through, "source")
		if err != nil {
			return err
		}
		if source == "l1" {
			r.note(func(report *Report) { report.cached(a) }, "")
			return nil
		}
		reason, err := told(ctx, a.look.through, "reason")
		if err != nil {
			return err
		}
		if strings.HasPrefix(reason, "not cacheable") || time.Since(begun) > patience {
			reason = strings.TrimPrefix(reason, "not cacheable: ")
			r.note(func(report *Report) {
				report.Reasons[reason]++
				if old := report.Examples[reason]; old == "" || len(a.SQL) < len(old) {
					report.Examples[reason] = a.SQL
				}
			}, "")
			return nil
		}
	}
}

// patience is how long one waits for the feed to cover a new table.
const patience = time.Minute

// note takes note of something, and says it.
func (r *run) note(what func(*Report), format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what(r.report)
	if format != "" && r.cfg.Out != nil {
		fmt.Fprintf(r.cfg.Out, format, args...)
	}
}

// cached counts what a cached answer depends on.
func (r *Report) cached(a *asked) {
	r.Cached++
	rows, tables := 0, 0
	for _, d := range a.deps {
		if strings.HasSuffix(d, ": all rows") {
			tables++
		} else {
			rows++
		}
	}
	switch {
	case rows > 0 && tables > 0:
		r.Mixed++
	case rows > 0:
		r.Rows++
	case tables > 0:
		r.Tables++
	default:
		r.Constant++
	}
}

// again asks again after a write.
func (r *run) again(ctx context.Context, w *world, a *asked, after string) error {
	if a.mode == prepared {
		a.vary(a.asked)
	}
	got, err := answer(ctx, a.look.through, a.Statement, a.mode)
	if err != nil {
		return err
	}
	a.asked++
	sampled := a.asked%4 == 0
	source := ""
	if sampled {
		if source, err = told(ctx, a.look.through, "source"); err != nil {
			return err
		}
	}
	want, err := answer(ctx, a.look.direct, a.Statement, a.mode)
	if err != nil {
		return err
	}
	r.note(func(report *Report) {
		report.Again++
		if sampled {
			report.Sampled++
		}
		if source == "l1" {
			report.SampledCached++
		}
	}, "")
	r.compare(ctx, w, a, want, got, after)
	return nil
}

// compare says whether the answers are equal, and takes note if they are not.
func (r *run) compare(ctx context.Context, w *world, a *asked, want, got, after string) bool {
	if want == got {
		return true
	}
	source, _ := told(ctx, a.look.through, "source") // of the statement, unless it has been asked for already
	if other, err := answer(ctx, a.look.odd, a.Statement, a.mode); err != nil || other == got {
		r.note(func(report *Report) { report.Unsteady++ }, "")
		return true
	}
	params := ""
	for i, p := range a.Params {
		params += fmt.Sprintf(" $%d = %q", i+1, p.text)
	}
	v := Violation{World: w.name, SQL: a.SQL, Params: params, Mode: a.mode.String(), Look: a.look.name + a.look.state + "; " + a.look.begin, After: after,
		Source: source, Want: want, Got: got, Depends: a.deps}
	r.note(func(report *Report) { report.Violations = append(report.Violations, v) }, "VIOLATION %s\n", v)
	return false
}

// Share is how many of the deterministic statements were cached, in percent.
func (r *Report) Share() float64 { return 100 * float64(r.Cached) / float64(max(1, r.Deterministic)) }

// Print prints the report.
func (r *Report) Print(out io.Writer) {
	fmt.Fprintf(out, "%d statements (%d more that Postgres refuses); %d vary; of %d deterministic ones cached: %d (%.1f %%)\n", r.Shapes, r.Refused, r.Varying, r.Deterministic, r.Cached, r.Share())
	fmt.Fprintf(out, "cached answers depend on: rows %d, rows and tables %d, tables %d, nothing %d\n", r.Rows, r.Mixed, r.Tables, r.Constant)
	fmt.Fprintf(out, "%d writes (%d refused by Postgres), %d reads after them, %.1f %% of them from the cache; %d answers that Postgres itself gives otherwise by another plan\n",
		r.Writes, r.Failed, r.Again, 100*float64(r.SampledCached)/float64(max(1, r.Sampled)), r.Unsteady)
	for _, reason := range slices.SortedFunc(maps.Keys(r.Reasons), func(a, b string) int {
		return cmp.Or(r.Reasons[b]-r.Reasons[a], strings.Compare(a, b))
	}) {
		fmt.Fprintf(out, "%5d  not cached: %s\n         %s\n", r.Reasons[reason], reason, r.Examples[reason])
	}
	fmt.Fprintf(out, "%d violations\n", len(r.Violations))
	for _, v := range r.Violations[:min(len(r.Violations), 10)] {
		fmt.Fprintf(out, "%s\n\n", v)
	}
}
