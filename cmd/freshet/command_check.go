package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/freshet/freshet/proxy/admin"
)

type checkCommand struct {
	Flags  serveFlags `embed:""`
	Config string     `placeholder:"FILE" help:"As in serve."`
}

// checkTimeout bounds all of it.
const checkTimeout = time.Minute

// Run looks at everything that serve would use, with the same flags. The exit
// status says how it is: 0 well, 1 degraded, 2 it can't serve.
func (c *checkCommand) Run(env *environment) error {
	cfg := c.Flags.config()
	if err := cfg.Validate(); err != nil {
		return usageError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	k := &inspection{cfg: cfg}
	k.run(ctx)
	if err := k.print(env.stdout); err != nil {
		return err
	}
	switch k.worst() {
	case levelDegraded:
		return exitStatus(exitFailure)
	case levelDown:
		return exitStatus(exitUsage)
	}
	return nil
}

// inspection looks at the servers, and notes what it finds.
type inspection struct {
	cfg      ServeConfig
	findings []finding
	primary  *checkedServer // nil: it couldn't be reached
}

// finding is a line of the table.
type finding struct {
	level  level
	what   string
	detail string
	mend   []string // SQL, or what else is to be done, a line each
}

// level says how bad something is.
type level int

const (
	levelOK level = iota
	levelNote
	levelDegraded // works, but less well than it could
	levelDown     // doesn't work without
)

func (l level) String() string { return [...]string{"ok", "note", "degraded", "down"}[l] }

func (k *inspection) add(l level, what, detail string, mend ...string) {
	k.findings = append(k.findings, finding{l, what, detail, mend})
}

func (k *inspection) run(ctx context.Context) {
	k.checkFiles()
	k.checkPrimary(ctx)
	if len(k.cfg.Replica) == 0 {
		k.add(levelNote, "replicas", "none are named: the primary answers what the cache doesn't", "--replica URL")
	}
	for _, url := range k.cfg.Replica {
		k.checkReplica(ctx, url)
	}
}

func (k *inspection) worst() (worst level) {
	for _, f := range k.findings {
		worst = max(worst, f.level)
	}
	return worst
}

// print writes the table: a line for each finding, and below it, indented, what
// mends it.
func (k *inspection) print(w io.Writer) error {
	width := 0
	for _, f := range k.findings {
		width = max(width, len(f.what))
	}
	var b strings.Builder
	for _, f := range k.findings {
		fmt.Fprintf(&b, "%-8s  %-*s  %s\n", f.level, width, f.what, admin.Redact(oneLine(f.detail)))
		for _, line := range f.mend {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	switch k.worst() {
	case levelDegraded:
		b.WriteString("It serves, but less well than it could. What is indented mends it.\n")
	case levelDown:
		b.WriteString("It can't serve. What is indented mends it.\n")
	default:
		b.WriteString("All is well.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
