package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/freshet/freshet/bench/check"
	"github.com/freshet/freshet/bench/feedlag"
	"github.com/freshet/freshet/bench/hits"
)

type benchCommand struct {
	Hits        hitsCommand        `cmd:"" help:"How much is read from the cache while the same rows are written: with cells for rows, and for tables only."`
	Shapes      shapesCommand      `cmd:"" help:"Compare answers through Freshet with Postgres' own, for statements, schemas and writes made at random, and count what is cached."`
	Feed        feedCommand        `cmd:"" help:"How long after its acknowledgement a commit has its effect on cached answers, while many others write past Freshet."`
	Consistency consistencyCommand `cmd:"" help:"Try to catch Freshet lying: clients write and read through it and past it, while servers lag, stall, fail."`
}

type consistencyCommand struct {
	For          time.Duration `default:"30s" placeholder:"TIME" help:"How long. Default: ${default}. With --ops and 0: until those are done."`
	Ops          int64         `placeholder:"N" help:"Statements through Freshet after which it is over."`
	Clients      int           `default:"24" placeholder:"N" help:"Clients through Freshet. Default: ${default}."`
	Writers      int           `default:"3" placeholder:"N" help:"Writers past it. Default: ${default}."`
	Replicas     int           `default:"2" placeholder:"N" help:"Streaming replicas. Default: ${default}."`
	Seed         uint64        `placeholder:"N" help:"What clients do and what is broken, though not when. Default: a random one, which is printed."`
	Level        string        `default:"session" placeholder:"LEVEL" help:"eventual, session, strong, or mixed: clients of each. Default: ${default}."`
	Faults       string        `default:"all" placeholder:"LIST" help:"What is broken, with commas between: ${faults}; all; none. Default: ${default}."`
	MaxStaleness time.Duration `default:"2s" placeholder:"TIME" help:"As in serve. Default: ${default}."`
	Allow        []string      `hidden:"" help:"Rules whose violations are counted only."`
	Violations   int           `default:"1" placeholder:"N" help:"After so many it is over. Default: ${default}."`
}

type hitsCommand struct {
	Rows      int           `default:"1000000" placeholder:"N" help:"Rows of the table. Default: ${default}."`
	Clients   int           `default:"16" placeholder:"N" help:"Clients. Default: ${default}."`
	Writes    float64       `default:"0.05" placeholder:"SHARE" help:"Share of writes. Default: ${default}."`
	OwnWrites bool          `help:"The sessions that write are those that read: what they read next may have to wait for their own write, or come from the primary."`
	Zipf      float64       `default:"0.99" placeholder:"S" help:"How unequally popular the rows are, for reads and writes alike; 0: equally. Default: ${default}."`
	For       time.Duration `default:"20s" placeholder:"TIME" help:"How long is measured, twice. Default: ${default}."`
	Replicas  int           `default:"1" placeholder:"N" help:"Streaming replicas. Default: ${default}."`
	Level     string        `default:"session" enum:"eventual,session,strong" placeholder:"LEVEL" help:"eventual, session or strong. Default: ${default}."`
	RowsOnly  bool          `help:"Only with cells for rows."`
	L1Size    string        `name:"l1-size" default:"1GiB" placeholder:"SIZE" help:"As in serve. Default: ${default}."`
}

type feedCommand struct {
	Rate    int           `default:"5000" placeholder:"N" help:"Transactions a second that are written past Freshet; 0: as many as go. Default: ${default}."`
	Clients int           `default:"8" placeholder:"N" help:"Clients that write them. Default: ${default}."`
	Flushed bool          `help:"They wait for their commits to be flushed. Without: synchronous_commit=off, since one machine may not flush so many."`
	For     time.Duration `default:"10s" placeholder:"TIME" help:"How long is measured. Default: ${default}."`
}

// begin begins a measurement with what was found to be right, and otherwise says what is wrong: self is this program, by which others are started, and ctx ends
// with a first signal; a second one ends us at once.
func (v *validation) begin() (ctx context.Context, self string, stop func(), err error) {
	if err := errors.Join(v.wrong...); err != nil {
		return nil, "", nil, usageError{err}
	}
	if self, err = os.Executable(); err != nil {
		return nil, "", nil, err
	}
	ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, self, stop, nil
}

// Run measures and prints.
func (c *feedCommand) Run(env *environment) error {
	v := validation{}
	v.atLeast("clients", c.Clients, 1)
	v.atLeast("rate", c.Rate, 0)
	if c.For < time.Second {
		v.add("--for: %v is too little: at least 1s", c.For)
	}
	ctx, self, stop, err := v.begin()
	if err != nil {
		return err
	}
	defer stop()
	_, err = feedlag.Run(ctx, feedlag.Config{Freshet: self, Rate: c.Rate, Clients: c.Clients, Flushed: c.Flushed, For: c.For, Out: env.stdout})
	return err
}

// Run measures and prints.
func (c *hitsCommand) Run(env *environment) error {
	v := validation{}
	v.atLeast("rows", c.Rows, 1)
	v.atLeast("clients", c.Clients, 1)
	if !(c.Writes >= 0 && c.Writes <= 1) {
		v.add("--writes: %v is out of range: from 0 to 1", c.Writes)
	}
	if !(c.Zipf >= 0 && c.Zipf <= 10) {
		v.add("--zipf: %v is out of range: from 0 to 10", c.Zipf)
	}
	if c.For < time.Second {
		v.add("--for: %v is too little: at least 1s", c.For)
	}
	if c.Replicas < 0 || c.Replicas > 16 {
		v.add("--replicas: %d is out of range: from 0 to 16", c.Replicas)
	}
	ctx, self, stop, err := v.begin()
	if err != nil {
		return err
	}
	defer stop()
	_, _, err = hits.Run(ctx, hits.Config{Freshet: self, Rows: c.Rows, Clients: c.Clients, Writes: c.Writes, Own: c.OwnWrites, Zipf: c.Zipf, For: c.For,
		Replicas: c.Replicas, RowsOnly: c.RowsOnly, Level: c.Level, L1: c.L1Size, Out: env.stdout})
	return err
}

// Run runs the check and prints what it has found.
func (c *consistencyCommand) Run(env *environment) error {
	v := validation{}
	cfg := c.config(&v)
	ctx, self, stop, err := v.begin()
	if err != nil {
		return err
	}
	defer stop()
	cfg.Freshet = self
	_, _ = fmt.Fprintf(env.stdout, "seed %d, %d clients at level %s, %d writers past Freshet, %d replicas; broken: %s\n",
		cfg.Seed, cfg.Clients, cfg.Level, cfg.Past, cfg.Replicas, strings.Join(cfg.Faults, " "))
	report, err := check.Run(ctx, cfg)
	if err != nil {
		return err
	}
	report.Print(env.stdout)
	if len(report.Violations) > 0 {
		return fmt.Errorf("a promise was broken: %s", report.Violations[0].Rule)
	}
	return nil
}

func (c *consistencyCommand) config(v *validation) check.Config {
	v.atLeast("clients", c.Clients, 1)
	v.atLeast("violations", c.Violations, 1)
	v.notNegative("for", c.For)
	if c.Writers < 0 || c.Writers > 100 {
		v.add("--writers: %d is out of range: from 0 to 100", c.Writers)
	}
	if c.Replicas < 0 || c.Replicas > 16 {
		v.add("--replicas: %d is out of range: from 0 to 16", c.Replicas)
	}
	if c.Ops < 0 || c.Ops == 0 && c.For == 0 {
		v.add("--for or --ops has to say when it is over")
	}
	if !slices.Contains(check.Levels, c.Level) {
		v.add("--level: %q is none of %s", c.Level, strings.Join(check.Levels, ", "))
	}
	if c.MaxStaleness < 100*time.Millisecond {
		v.add("--max-staleness: %v is too little for this: at least 100ms", c.MaxStaleness)
	}
	var faults []string
	switch c.Faults {
	case "all":
		faults = check.FaultNames()
	case "none":
	default:
		for f := range strings.SplitSeq(c.Faults, ",") {
			if f = strings.TrimSpace(f); !slices.Contains(check.FaultNames(), f) {
				v.add("--faults: %q is none of %s", f, strings.Join(check.FaultNames(), ", "))
			}
			faults = append(faults, f)
		}
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	return check.Config{
		Replicas: c.Replicas, Clients: c.Clients, Past: c.Writers, Level: c.Level, For: c.For, Ops: c.Ops, Seed: c.Seed,
		Faults: faults, Bound: c.MaxStaleness, Most: c.Violations, Allow: c.Allow, Out: os.Stderr,
	}
}
