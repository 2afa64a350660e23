package admin

import (
	"context"
	"fmt"
	"strconv"
)

// Commander does what commands other than FLUSH CACHE ask for. What it doesn't do for a reason that the client can do something about is an
// *Error.
type Commander interface {
	// Drain takes a replica out of rotation; Enable takes it back.
	Drain(node string) error
	Enable(node string) error
	// Kill ends a client. False: there is none of that number.
	Kill(pid uint32) bool
	// Reload reads the configuration again, as SIGHUP does; an error says why nothing has changed.
	Reload() error
	// Stop begins to stop Freshet, as SIGTERM does, and returns at once.
	Stop() error
	// Pause has statements of a database (empty: of all that clients have used) wait that need a server, closes its server connections as they
	// are given back, and returns when there is none any more. If ctx ends before, it is as if nothing had been done.
	Pause(ctx context.Context, database string) error
	// Resume undoes Pause.
	Resume(database string) error
}

// command is one that isn't SHOW or FLUSH CACHE.
type command struct {
	argument string // what it takes: "", "node", "[database]" …
	does     string
	run      func(ctx context.Context, o Operator, argument string) error
}

var commands = map[string]command{
	"DRAIN":  {"node", "no new reads to that replica, and its connections are closed as they are given back", func(_ context.Context, o Operator, node string) error { return o.Drain(node) }},
	"ENABLE": {"node", "undoes DRAIN", func(_ context.Context, o Operator, node string) error { return o.Enable(node) }},
	"KILL": {"pid", "ends the client with that pid (SHOW CLIENTS), at once", func(_ context.Context, o Operator, text string) error {
		pid, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return &Error{Code: "22023", Message: "KILL takes a number, not " + quoted(text), Hint: "It is the column pid of SHOW CLIENTS."}
		}
		if !o.Kill(uint32(pid)) {
			return &Error{Code: "42704", Message: fmt.Sprintf("there is no client with pid %d", pid), Hint: "It is the column pid of SHOW CLIENTS."}
		}
		return nil
	}},
	"PAUSE": {"[database]", "has statements wait that need a server, and returns when all server connections have been given back and closed",
		func(ctx context.Context, o Operator, database string) error { return o.Pause(ctx, database) }},
	"RESUME":   {"[database]", "undoes PAUSE", func(_ context.Context, o Operator, database string) error { return o.Resume(database) }},
	"RELOAD":   {"", "reads the configuration again, as SIGHUP does", func(_ context.Context, o Operator, _ string) error { return o.Reload() }},
	"SHUTDOWN": {"", "stops Freshet, as SIGTERM does: transactions may finish", func(_ context.Context, o Operator, _ string) error { return o.Stop() }},
}

// command understands one of commands.
func (c *Console) command(words []word) (*Statement, error) {
	name := words[0].keyword()
	cmd := commands[name]
	usage := name
	if cmd.argument != "" {
		usage += " " + cmd.argument
	}
	optional := cmd.argument == "" || cmd.argument[0] == '['
	most := 2
	if cmd.argument == "" {
		most = 1
	}
	switch {
	case len(words) > most:
		return nil, syntax(words, most, usage)
	case len(words) < 2 && !optional:
		return nil, syntax(words, 1, usage)
	}
	argument := ""
	if len(words) > 1 {
		var err error
		if argument, err = words[1].name(); err != nil {
			return nil, err
		}
	}
	return &Statement{Tag: name, admin: true, what: name, run: func(ctx context.Context, _ Client) (Result, error) {
		return Result{}, cmd.run(ctx, c.cfg.Operator, argument)
	}}, nil
}
