package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/shapes"
	"github.com/freshet/freshet/router"
	"github.com/freshet/freshet/router/catalog"
)

type shapesCommand struct {
	Shapes   int    `default:"5000" placeholder:"N" help:"Statements. Default: ${default}."`
	World    int    `default:"100" placeholder:"N" help:"Statements for each schema with its data. Default: ${default}."`
	Writes   int    `default:"12" placeholder:"N" help:"Writes to each of them; after each, all of its statements are asked again. Default: ${default}."`
	Replicas int    `default:"0" placeholder:"N" help:"Streaming replicas. Default: ${default}."`
	Seed     uint64 `placeholder:"N" help:"What is made up. Default: a random one, which is printed."`
	Verbose  bool   `help:"Say what is going on, and which statements Postgres refuses."`
}

// Run compares and prints.
func (c *shapesCommand) Run(env *environment) (err error) {
	v := validation{}
	v.atLeast("shapes", c.Shapes, 1)
	v.atLeast("world", c.World, 1)
	if c.Writes < 0 {
		v.add("--writes: %d is out of range: at least 0", c.Writes)
	}
	if c.Replicas < 0 || c.Replicas > 16 {
		v.add("--replicas: %d is out of range: from 0 to 16", c.Replicas)
	}
	ctx, self, stop, err := v.begin()
	if err != nil {
		return err
	}
	defer stop()
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	_, _ = fmt.Fprintf(env.stdout, "seed %d\n", c.Seed)
	lab, err := shapes.NewLab(ctx, self, c.Replicas)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Stop()) }()
	cfg := lab.Config()
	cfg.Seed, cfg.Shapes, cfg.PerWorld, cfg.Writes = c.Seed, c.Shapes, min(c.World, c.Shapes), c.Writes
	cfg.Plans = shapePlans(cfg.Direct)
	if c.Verbose {
		cfg.Out = env.stdout
	}
	report, err := shapes.Run(ctx, cfg)
	if report != nil {
		report.Print(env.stdout)
	}
	if err == nil && len(report.Violations) > 0 {
		err = errors.New("an answer through Freshet wasn't that of Postgres")
	}
	return err
}

// shapePlans says on what answers depend, by the catalog as it is at the time of asking.
func shapePlans(url string) func(context.Context) (shapes.Plans, error) {
	return func(ctx context.Context) (shapes.Plans, error) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		snapshot, err := catalog.Load(ctx, conn)
		if err != nil {
			return nil, err
		}
		planner := router.NewPlanner(func() *catalog.Snapshot { return snapshot })
		return func(sql, role, path string, types []uint32) []string {
			return planner.Plan(sql, router.Context{Role: role, SearchPath: snapshot.EffectiveSearchPath(role, role, path, true), ParamTypes: types}).DependsOn()
		}, nil
	}
}
