package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/consistency/feed"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

type explainCommand struct {
	SQL         string `arg:"" name:"sql" help:"The statement."`
	Primary     string `placeholder:"URL" help:"URL of the database on the primary. Nothing is run there but questions about the catalog."`
	User        string `env:"-" placeholder:"ROLE" help:"Who would run it. Default: the role in --primary."`
	SearchPath  string `env:"-" placeholder:"LIST" help:"search_path of the session. Default: that of the role."`
	Publication string `default:"freshet" placeholder:"NAME" help:"As in serve. Default: ${default}."`
	Config      string `placeholder:"FILE" help:"As in serve."`
}

// explainTimeout bounds all of it.
const explainTimeout = 30 * time.Second

// Run says what Freshet would do with a statement, and why.
func (c *explainCommand) Run(env *environment) error {
	if err := validateDatabase(c.Primary, c.Publication); err != nil {
		return usageError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.Primary)
	if err != nil {
		return fmt.Errorf("explain: connecting to --primary: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	snapshot, err := catalog.Load(ctx, conn)
	if errors.Is(err, catalog.ErrNotPrimary) {
		return errors.New("explain: --primary leads to a replica; give the URL of the primary")
	} else if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	user := cmp.Or(c.User, conn.Config().User)
	if !snapshot.RoleExists(user) {
		return usageError{fmt.Errorf("--user: there is no role %q", user)}
	}
	e := explanation{snapshot: snapshot, text: c.SQL,
		context: router.Context{Role: user, SearchPath: snapshot.EffectiveSearchPath(user, user, c.SearchPath, c.SearchPath != "")}}
	e.plan = router.NewPlanner(func() *catalog.Snapshot { return snapshot }).Plan(c.SQL, e.context)
	if e.plan.Cacheable {
		if e.coverage, err = readCoverage(ctx, conn, c.Publication); err != nil {
			return fmt.Errorf("explain: %w", err)
		}
	}
	_, err = io.WriteString(env.stdout, e.String())
	return err
}

// coverage is which relations the feed covers, and why not the others.
type coverage struct {
	problem string // why there is no cache at all
	covered map[uint32]bool
	reasons map[string]string // by the relation's name, qualified and quoted
}

func readCoverage(ctx context.Context, conn *pgx.Conn, publication string) (c coverage, err error) {
	c = coverage{covered: map[uint32]bool{}, reasons: map[string]string{}}
	oids, not, err := feed.Published(ctx, conn, publication)
	if err != nil {
		return c, err
	}
	for _, oid := range oids {
		c.covered[oid] = true
	}
	report, err := feed.Plan(ctx, conn, feed.Options{Publication: publication})
	if err != nil {
		return c, err
	}
	for _, n := range report.Notes {
		c.reasons[n.Relation] = n.Text
	}
	for _, n := range not {
		c.reasons[n.Name] = n.Reason
	}
	var level string
	var exists bool
	err = conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('wal_level'), EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = $1)", publication).Scan(&level, &exists)
	switch {
	case !exists:
		c.problem = "there is no publication " + publication + ": freshet setup makes it"
	case level != "logical":
		c.problem = "wal_level is " + level + ", and the cache needs logical"
	}
	return c, err
}

// explanation is what there is to say about a statement.
type explanation struct {
	snapshot *catalog.Snapshot
	text     string
	context  router.Context
	plan     *router.Plan
	coverage coverage
}

func (e *explanation) String() string {
	var b strings.Builder
	line := func(what, text string) { fmt.Fprintf(&b, "%-13s %s\n", what, text) }
	lexer := router.NewLexer()
	line("fingerprint", lexer.StatementID([]byte(e.text)))
	line("kind", e.plan.Kind.String())
	line("goes to", e.destination())
	if len(e.plan.Parts) == 0 {
		line("cacheable", e.cacheable(lexer))
		for i, d := range e.plan.DependsOn() {
			line([]string{"depends on", ""}[min(i, 1)], d)
		}
	}
	if e.plan.Binds != "" {
		line("binds", e.plan.Binds+": the session keeps its server connection from then on")
	}
	if problem := router.HintProblem([]byte(e.text)); problem != "" {
		line("hint", problem)
	}
	for i, part := range e.plan.Parts {
		line(fmt.Sprintf("part %d", i+1), part.Kind.String()+", "+destination(part))
	}
	line("as", fmt.Sprintf("role %s, search_path %s", e.context.Role, strings.Join(e.context.SearchPath, ", ")))
	return b.String()
}

func (e *explanation) destination() string { return destination(e.plan) }

func destination(p *router.Plan) string {
	switch {
	case p.Kind == router.KindMulti:
		return "the primary, whole: it is more than one statement"
	case p.Writes:
		return because("the primary", p.WriteReason)
	case p.OnPrimary:
		return because("the primary", p.PrimaryReason)
	case p.Cacheable:
		return "the cache; what isn't there to a replica that has caught up, else to the primary"
	case p.Kind == router.KindRead:
		return "a replica that has caught up, else the primary"
	}
	return "Freshet, which keeps track of it, and the server that the session uses"
}

func because(where, why string) string {
	if why == "" {
		return where
	}
	return where + ": " + why
}

// cacheable says whether, or why not.
func (e *explanation) cacheable(lexer *router.Lexer) string {
	if !e.plan.Cacheable {
		return "no: " + e.plan.Reason
	}
	if _, scan := lexer.Scan([]byte(e.text)); scan.ClockWord {
		return "no: a literal like 'now' or 'today' reads the clock, or may hide behind its escapes"
	}
	if e.coverage.problem != "" {
		return "it would be, but " + e.coverage.problem
	}
	var missing []string
	for _, oid := range e.plan.Relations {
		r := e.snapshot.Relation(oid)
		if r == nil || e.coverage.covered[oid] {
			continue
		}
		name := pgx.Identifier{r.Schema, r.Name}.Sanitize()
		missing = append(missing, fmt.Sprintf("%s: %s", name, cmp.Or(e.coverage.reasons[name], "it isn't in the publication: freshet setup adds it")))
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return "it would be, but the feed doesn't cover " + strings.Join(missing, "; ")
	}
	return "yes"
}
