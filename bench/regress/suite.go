package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/bench/rig"
)

// suite is one of Postgres' test suites.
type suite struct {
	program  string // its driver, in the server's pgxs folder
	schedule string
	flags    []string
	database string   // where the tests run
	freshet  []string // flags of freshet serve
}

var theSuites = map[string]suite{
	"regress": {program: "regress/pg_regress", schedule: "parallel_schedule", flags: []string{"--max-concurrent-tests=20"}, database: "regression"},
	// A session of it is one server process, by whose pid locks are looked up. One test names the database.
	"isolation": {program: "isolation/pg_isolation_regress", schedule: "isolation_schedule", database: "isolation_regression",
		freshet: []string{"--pool-mode", "session", "--pool-size", "30"}},
}

// outcome is what one suite said on one side.
type outcome struct {
	tests    []string // in the order in which they were reported
	passed   map[string]bool
	excused  []string          // fail by nothing but the traces of `freshet setup` (withoutTraces), and so count as passed
	output   map[string]string // what each test printed
	took     time.Duration
	postgres string // version of the server
	sources  string // version of the tests
	unended  error  // why the run didn't reach its end, if it didn't
}

func (o *outcome) passes() int {
	n := 0
	for _, ok := range o.passed {
		if ok {
			n++
		}
	}
	return n
}

func (o *outcome) summary() string {
	s := fmt.Sprintf("%d of %d pass, in %v", o.passes(), len(o.tests), o.took.Round(time.Second))
	if o.unended != nil {
		s += fmt.Sprintf("; it did not reach its end: %v", o.unended)
	}
	return s
}

// runSide runs a suite on a cluster of its own: whatever a test leaves behind concerns nobody else.
func runSide(ctx context.Context, o options, name, side string, say func(string, ...any)) (_ *outcome, err error) {
	freshet := ""
	if side == through {
		freshet = o.freshet
	}
	r, err := rig.Start(ctx, rig.Options{
		// Tests make roles and connect as them, without passwords.
		Cluster: cluster.Options{Replicas: o.replicas, HBA: []string{"host all all 127.0.0.1/32 trust"}},
		Freshet: freshet,
		Flags:   slices.Concat([]string{"--auth-type", "trust"}, theSuites[name].freshet, o.flags),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()

	primary := r.Cluster.Primary()
	src, err := openSources(ctx, r.Cluster.Version(), say)
	if err != nil {
		return nil, err
	}
	s := &sideRun{options: o, name: name, suite: theSuites[name], rig: r, host: primary.Host(), port: primary.Port(), dir: filepath.Join(r.Cluster.Dir(), name)}
	if side == through {
		s.host, s.port = r.Host(), r.Port()
	}
	if err := s.prepare(ctx, src); err != nil {
		return nil, err
	}
	began := time.Now()
	out, err := s.run(ctx, src)
	if err != nil {
		return nil, err
	}
	out.took, out.sources = time.Since(began), src.version
	if out.postgres, err = primary.Value(ctx, "SHOW server_version"); err != nil {
		return nil, err
	}
	if err := s.excuse(ctx, out); err != nil {
		return nil, err
	}
	return out, errors.Join(s.keep(filepath.Join(o.results, name, side)), r.Alive())
}

// sideRun is one run of a suite.
type sideRun struct {
	options
	name     string
	suite    suite
	rig      *rig.Rig
	host     string // where the tests connect
	port     int
	dir      string // the suite's files, where the server can read and write them
	uid, gid int
}

// prepare copies the suite to where the server can read it, and makes the database, as pg_regress would.
func (s *sideRun) prepare(ctx context.Context, src *sources) error {
	fi, err := os.Stat(s.rig.Cluster.Dir())
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.uid, s.gid = int(st.Uid), int(st.Gid)
	}
	if err := copyTree(src.suite(s.name), s.dir, s.uid, s.gid); err != nil {
		return err
	}
	if err := copyTree(src.library(), filepath.Join(s.dir, "lib"), s.uid, s.gid); err != nil {
		return err
	}
	primary, database := s.rig.Cluster.Primary(), s.suite.database
	for _, sql := range []string{
		"CREATE DATABASE " + database + " TEMPLATE template0",
		"ALTER DATABASE " + database + " SET lc_messages TO 'C'",
		"ALTER DATABASE " + database + " SET lc_monetary TO 'C'",
		"ALTER DATABASE " + database + " SET lc_numeric TO 'C'",
		"ALTER DATABASE " + database + " SET lc_time TO 'C'",
		"ALTER DATABASE " + database + " SET bytea_output TO 'hex'",
		"ALTER DATABASE " + database + " SET timezone_abbreviations TO 'Default'",
	} {
		if err := primary.ExecIn(ctx, "postgres", sql); err != nil {
			return err
		}
	}
	if !s.setup {
		return nil
	}
	out, err := exec.CommandContext(ctx, s.freshet, "setup", "--primary", primary.URL(database)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("freshet setup: %w\n%s", err, out)
	}
	return nil
}

// run runs the suite to its end, or to its time limit.
func (s *sideRun) run(ctx context.Context, src *sources) (*outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	psql, err := s.rig.Cluster.Program("psql")
	if err != nil {
		return nil, err
	}
	program, err := s.driver(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{
		"--inputdir=" + s.dir, "--outputdir=" + s.dir, "--dlpath=" + filepath.Join(s.dir, "lib"), "--bindir=" + filepath.Dir(psql),
		"--host=" + s.host, "--port=" + strconv.Itoa(s.port), "--user=" + cluster.Superuser, "--dbname=" + s.suite.database, "--use-existing",
	}
	args = append(args, s.suite.flags...)
	if len(s.tests) == 0 {
		args = append(args, "--schedule="+filepath.Join(s.dir, s.suite.schedule))
	}
	cmd := exec.CommandContext(ctx, program, append(args, s.tests...)...)
	cmd.Dir = s.dir
	// The driver starts psql by the dozen: all of them go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.uid), Gid: uint32(s.gid)}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var printed bytes.Buffer
	cmd.Stdout = &printed
	if s.verbose {
		cmd.Stdout = io.MultiWriter(&printed, os.Stdout)
	}
	cmd.Stderr = cmd.Stdout
	err = cmd.Run()
	out := readVerdicts(printed.String())
	if len(out.tests) == 0 {
		return nil, fmt.Errorf("%s has run no test: %v\n%s", program, err, printed.Bytes())
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		out.unended = ctx.Err()
	case err != nil && !errors.As(err, &exit):
		return nil, err
	}
	for _, test := range out.tests {
		b, err := os.ReadFile(filepath.Join(s.dir, "results", test+".out"))
		if err == nil {
			out.output[test] = string(b)
		}
	}
	return out, os.WriteFile(filepath.Join(s.dir, "printed"), printed.Bytes(), 0o644)
}

// excuse passes the tests that only fail because `freshet setup` can be seen in what they print.
func (s *sideRun) excuse(ctx context.Context, out *outcome) error {
	if !s.setup {
		return nil
	}
	for _, test := range out.tests {
		if out.passed[test] {
			continue
		}
		// The variants are boolean.out, boolean_1.out, …
		expected, err := filepath.Glob(filepath.Join(s.dir, "expected", test+"*.out"))
		if err != nil {
			return err
		}
		for _, e := range expected {
			if variant := strings.TrimPrefix(filepath.Base(e), test); variant != ".out" && !regexp.MustCompile(`^_[0-9]\.out$`).MatchString(variant) {
				continue
			}
			b, err := os.ReadFile(e)
			if err != nil {
				return err
			}
			if blanks(withoutTraces(string(b))) == blanks(withoutTraces(out.output[test])) {
				out.passed[test] = true
				out.excused = append(out.excused, test)
				break
			}
		}
	}
	return nil
}

// footer is what psql's \d says below a table that is in publications, of which ours is the only one.
var footer = regexp.MustCompile(`(?m)^Publications:\n    "freshet"\n`)

// withoutTraces is what a test has printed without what tells only that the cache's feed knows a table.
func withoutTraces(s string) string { return footer.ReplaceAllString(s, "") }

// blanks is a text as pg_regress compares it (diff -w): without any.
func blanks(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' {
			return -1
		}
		return r
	}, s)
}

// driver is pg_regress, or its like, of the server's version.
func (s *sideRun) driver(ctx context.Context) (string, error) {
	config := filepath.Join("/usr/lib/postgresql", strconv.Itoa(s.rig.Cluster.Version()), "lib/pgxs/src/test", s.suite.program)
	if _, err := os.Stat(config); err != nil {
		return "", fmt.Errorf("%s isn't there: it is part of postgresql-client-%d: %w", filepath.Base(config), s.rig.Cluster.Version(), err)
	}
	return config, nil
}

// keep copies what the run has left to a folder.
func (s *sideRun) keep(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := copyTree(filepath.Join(s.dir, "results"), filepath.Join(dir, "results"), os.Getuid(), os.Getgid()); err != nil {
		return err
	}
	for _, f := range []string{"printed", "regression.diffs", "output_iso/regression.diffs"} {
		if err := copyFile(filepath.Join(s.dir, f), filepath.Join(dir, filepath.Base(f))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for from, to := range map[string]string{"freshet.log": "freshet.log", "primary.log": "primary.log"} {
		if err := copyFile(filepath.Join(s.rig.Cluster.Dir(), from), filepath.Join(dir, to)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// verdict is a line of pg_regress: "test boolean ... ok  123 ms", or with only blanks before the name, within a group.
var verdict = regexp.MustCompile(`^(?:test| {4}) +(\S+) +\.\.\. +(ok|FAILED|failed \(ignored\))`)

func readVerdicts(printed string) *outcome {
	o := &outcome{passed: map[string]bool{}, output: map[string]string{}}
	for line := range strings.Lines(printed) {
		if m := verdict.FindStringSubmatch(line); m != nil {
			o.tests = append(o.tests, m[1])
			o.passed[m[1]] = m[2] == "ok"
		}
	}
	return o
}
