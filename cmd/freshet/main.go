// Command freshet is a Postgres proxy that scales reads without making them
// wrong: writes go to the primary, reads to a cache or to replicas, and a
// session always reads its own writes.
//
// This package is the outside of it: flags, subcommands, signals, exit codes,
// and how the parts are wired together (serve.go). It decides nothing about
// queries.
//
// The rules it upholds: whatever is wrong is said in one line that tells what
// to do, with exit status 2 when it is the command or the configuration and 1
// when it came up while running; and no password is printed.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/freshet/freshet/proxy/admin"
)

// Exit statuses. INTERFACE: relied on.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	invocation, _, err := parse(args, stdout, stderr)
	if err == nil {
		err = invocation.Run(&environment{args: args, stdout: stdout, stderr: stderr})
	}
	if err == nil {
		return exitOK
	}
	if status := exitStatus(0); errors.As(err, &status) {
		return int(status)
	}
	report(stderr, err)
	if usage := (usageError{}); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// report prints an error, a line for each one that was joined to others.
func report(w io.Writer, err error) {
	// pgx puts what it tried on further lines, indented.
	text := strings.ReplaceAll(err.Error(), "\n\t", " ")
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			_, _ = fmt.Fprintln(w, "freshet:", admin.Redact(line))
		}
	}
}

// environment is what a subcommand gets from main.
type environment struct {
	args           []string // to be parsed again, on SIGHUP
	stdout, stderr io.Writer
}

// usageError says that the command or its configuration is wrong: nothing was
// tried.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// exitStatus ends the command with a status, where all there is to say has been
// said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
