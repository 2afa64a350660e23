package shapes

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/rig"
)

// Lab is a cluster with Freshet in front of it, as an operator would set it up.
type Lab struct{ rig *rig.Rig }

// NewLab starts one. It and Stop are to be called on one goroutine. freshet is the program; what it is started with dies with the thread.
func NewLab(ctx context.Context, freshet string, replicas int) (_ *Lab, err error) {
	runtime.LockOSThread()
	g, err := rig.Start(ctx, rig.Options{Cluster: cluster.Options{Replicas: replicas, Cache: true}, Freshet: freshet})
	if err != nil {
		return nil, err
	}
	l := &Lab{g}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Stop())
		}
	}()
	out, err := exec.CommandContext(ctx, freshet, "setup", "--primary", g.Cluster.Primary().URL(database)).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("freshet setup: %w\n%s", err, out)
	}
	return l, nil
}

const database = "postgres" // that of the service URL

// Config has the lab's addresses.
func (l *Lab) Config() Config {
	c := l.rig.Cluster
	return Config{
		Direct: c.Primary().URL(database), AppDirect: c.Primary().UserURL(cluster.App, c.AppPassword(), database),
		Through:    l.rig.URL(database),
		AppThrough: fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", cluster.App, c.AppPassword(), l.rig.Addr(), database),
	}
}

// Stop ends everything.
func (l *Lab) Stop() error {
	defer runtime.UnlockOSThread()
	return errors.Join(l.rig.Alive(), l.rig.Stop())
}
