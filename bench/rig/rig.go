// Package rig puts the built Freshet in front of a cluster (bench/cluster), as
// an operator would: as a process of its own, with flags. The programs that
// compare what clients see direct and through Freshet (bench/regress,
// bench/clients) use it. Tests of the proxy start it in their own process
// instead; bench/compare, which measures several proxies, has its own.
//
// The rule it upholds: Stop ends the proxy and the servers, whatever state they
// are in, and a proxy that ends by itself is an error that somebody hears of.
package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/freshet/freshet/bench/cluster"
)

// Options say what to start.
type Options struct {
	Cluster cluster.Options
	// Freshet is the program; empty: only the cluster is started.
	Freshet string
	// Flags of `freshet serve`, beyond addresses and URLs.
	Flags []string
	// Log hears what is being done. Default: nobody.
	Log io.Writer
}

// Rig is a cluster with Freshet in front of it. Its methods are for one goroutine.
type Rig struct {
	Cluster *cluster.Cluster
	port    int
	cmd     *exec.Cmd
	log     string
	done    chan struct{} // closed when the proxy has ended
}

// Start starts the cluster and Freshet, and returns when Freshet lets the superuser in. When it fails, it has cleaned up.
//
// It must be called on a goroutine that is locked to the main thread (runtime.LockOSThread in main or init): the
// proxy dies with the thread that started it.
func Start(ctx context.Context, o Options) (_ *Rig, err error) {
	r := &Rig{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Stop())
		}
	}()
	o.Cluster.Log = o.Log
	if r.Cluster, err = cluster.Start(ctx, o.Cluster); err != nil {
		return nil, err
	}
	if o.Freshet == "" {
		return r, nil
	}
	if r.port, err = cluster.FreePort(ctx); err != nil {
		return nil, err
	}
	args := []string{"serve", "--listen", r.Addr(), "--http", "", "--log-level", "warn", "--primary", r.Cluster.Primary().URL("postgres")}
	for _, n := range r.Cluster.Replicas() {
		args = append(args, "--replica", n.URL("postgres"))
	}
	if err := r.run(o.Freshet, append(args, o.Flags...)); err != nil {
		return nil, err
	}
	return r, r.ready(ctx)
}

func (r *Rig) run(program string, args []string) error {
	r.log = filepath.Join(r.Cluster.Dir(), "freshet.log")
	out, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = dieWithUs()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	r.cmd, r.done = cmd, make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its ProcessState
		close(r.done)
	}()
	return nil
}

func (r *Rig) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, r.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-r.done:
			return fmt.Errorf("freshet has ended: %v\n%s", r.cmd.ProcessState, r.LogTail(3000))
		case <-ctx.Done():
			return fmt.Errorf("freshet isn't ready: %w\n%s", err, r.LogTail(3000))
		case <-time.After(50 * time.Millisecond): // polling
		}
	}
}

// Host and Port are where clients of Freshet connect, Addr both.
func (r *Rig) Host() string { return "127.0.0.1" }
func (r *Rig) Port() int    { return r.port }
func (r *Rig) Addr() string { return net.JoinHostPort(r.Host(), strconv.Itoa(r.port)) }

// URL is how the superuser connects to a database through Freshet.
func (r *Rig) URL(database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", cluster.Superuser, r.Cluster.Password(), r.Addr(), database)
}

// Alive is an error when Freshet was started and has ended.
func (r *Rig) Alive() error {
	if r.cmd == nil {
		return nil
	}
	select {
	case <-r.done:
		return fmt.Errorf("freshet has ended: %v\n%s", r.cmd.ProcessState, r.LogTail(3000))
	default:
		return nil
	}
}

// Pid of Freshet; 0 if there is none.
func (r *Rig) Pid() int {
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

// LogTail is the end of what Freshet has printed.
func (r *Rig) LogTail(bytesWanted int) string {
	b, err := os.ReadFile(r.log)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b[max(0, len(b)-bytesWanted):]))
}

// StopFreshet ends Freshet and leaves the servers; it may be called more than once.
func (r *Rig) StopFreshet() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(3 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.done
	}
}

// Stop ends everything; it may be called more than once.
func (r *Rig) Stop() error {
	r.StopFreshet()
	if r.Cluster == nil {
		return nil
	}
	return r.Cluster.Stop()
}
