package admin

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// ConsoleDatabase is the name of the database that is the console.
const ConsoleDatabase = "freshet"

// Right is what a user may do on the console.
type Right uint8

// Rights. Each has those before it.
const (
	NoRight    Right = iota // not even be there
	StatsRight              // SHOW
	AdminRight              // everything
)

// Error is an error of the console, for its client.
type Error struct {
	Code    string // SQLSTATE
	Message string
	Detail  string
	Hint    string
	At      int // where in the text, in bytes from 1; 0: nowhere
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Type is the type of a column: a name of Postgres'.
type Type uint8

// Types. A value of any of them may be nil: NULL.
const (
	Text  Type = iota // string
	Int               // int8: any of Go's integers
	Int4              // int4: int
	Float             // float8: float64
	Bool              // bool
)

// Column is a column of a result.
type Column struct {
	Name string
	Type Type
}

// Transaction is what a statement does to the transaction block that the client believes to be in.
type Transaction uint8

// What statements do to it.
const (
	TxNone Transaction = iota
	TxBegin
	TxCommit
	TxRollback
	TxSavepoint  // makes or releases one
	TxRollbackTo // one
)

// Statement is a command of the console that has been understood. It is immutable, and can be run any number of times.
type Statement struct {
	Columns     []Column // nil: it gives no rows
	Tag         string   // of its CommandComplete, without a count of rows
	Counts      bool     // … which follows
	Transaction Transaction
	// Forgets: the client's prepared statements are gone: DEALLOCATE ALL, DISCARD ALL. Deallocates: this one is.
	Forgets     bool
	Deallocates string

	admin bool // only for AdminRight
	what  string
	run   func(ctx context.Context, c Client) (Result, error)
}

// Client is who runs a statement.
type Client struct {
	User string
	PID  uint32
}

// Result is what has come of a statement.
type Result struct {
	Rows    [][]any
	Notices []string
}

// ConsoleConfig is what a Console works with.
type ConsoleConfig struct {
	Source   Source
	Operator Operator
	Version  string
}

// Operator does what the console's commands ask for. What it does not do for a reason that the client can do something about is an
// *Error. Its methods may be called from several goroutines.
type Operator interface {
	Inspector
	Commander
	// FlushCache makes what is cached stale, and drops it: all of it, or what depends on a table. Names are database (may be empty:
	// all that have such a table), schema and table. It returns how many answers that were.
	FlushCache(ctx context.Context, table *TableName) (dropped int, err error)
	// Statements are those that are remembered, in the order in which they are to be shown, and how many have been dropped.
	Statements(ctx context.Context) (list []StatementStats, dropped uint64, err error)
}

// TableName is the name of a table.
type TableName struct {
	Database string // empty: any
	Schema   string
	Table    string
}

// String is the name as it would be typed.
func (n TableName) String() string {
	parts := []string{quoteName(n.Schema), quoteName(n.Table)}
	if n.Database != "" {
		parts = slices.Insert(parts, 0, quoteName(n.Database))
	}
	return strings.Join(parts, ".")
}

// Console understands the commands of the database "freshet". The protocol is its caller's business. Safe for concurrent use.
type Console struct {
	cfg     ConsoleConfig
	started time.Time
	users   atomic.Pointer[consoleUsers]
	period  period
}

type consoleUsers struct{ admins, stats []string }

// NewConsole returns a console on which nobody may do anything yet: see SetUsers.
func NewConsole(cfg ConsoleConfig) *Console {
	c := &Console{cfg: cfg, started: time.Now()}
	c.SetUsers(nil, nil)
	return c
}

// SetUsers says who may run commands, and who may only look. It holds for clients who are there, too.
func (c *Console) SetUsers(admins, stats []string) {
	c.users.Store(&consoleUsers{slices.Clone(admins), slices.Clone(stats)})
}

// Right is what a user may do.
func (c *Console) Right(user string) Right {
	u := c.users.Load()
	switch {
	case slices.Contains(u.admins, user):
		return AdminRight
	case slices.Contains(u.stats, user):
		return StatsRight
	}
	return NoRight
}

// Version is what the console says that it is: a server_version that clients can read, since they compare it.
func (c *Console) Version() string { return serverVersion + " (Freshet " + c.cfg.Version + ")" }

// serverVersion is that of the oldest Postgres that Freshet works with: clients don't ask such a server for what only newer ones know.
const serverVersion = "14.0"

// Run runs a statement for a client. Errors are *Error, or something that went wrong here.
func (c *Console) Run(ctx context.Context, s *Statement, client Client) (Result, error) {
	switch right := c.Right(client.User); {
	case right == NoRight:
		return Result{}, &Error{Code: "42501", Message: "user \"" + client.User + "\" may not use the console any more"}
	case s.admin && right < AdminRight:
		return Result{}, &Error{Code: "42501", Message: "permission denied for " + s.what,
			Detail: "User \"" + client.User + "\" is one of --stats-users, who may only SHOW.", Hint: "Connect as one of --admin-users."}
	case s.run == nil:
		return Result{}, nil
	}
	return s.run(ctx, client)
}

// Parse understands a text of any number of statements. An error means that none of them is to be run.
func (c *Console) Parse(text string) ([]*Statement, error) {
	commands, err := split(text)
	if err != nil {
		return nil, err
	}
	var list []*Statement
	for _, words := range commands {
		s, err := c.statement(words)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// statement understands one command.
func (c *Console) statement(words []word) (*Statement, error) {
	first := words[0].keyword()
	switch first {
	case "SHOW":
		return c.show(words)
	case "FLUSH":
		return c.flush(words)
	}
	if _, ok := commands[first]; ok {
		return c.command(words)
	}
	if s, err := courtesy(words, c); s != nil || err != nil {
		return s, err
	}
	return nil, unknown(words)
}

// unknown is the error for what the console doesn't know.
func unknown(words []word) *Error {
	e := &Error{Code: "42601", At: words[0].at, Hint: helpHint}
	switch words[0].keyword() {
	case "SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "TABLE", "VALUES", "COPY", "EXPLAIN", "ANALYZE":
		e.Message = "the console doesn't run SQL"
		e.Detail = "The database \"" + ConsoleDatabase + "\" is Freshet's console. It has no tables, so that psql's \\d and the like don't work here, either."
	default:
		e.Message = "unknown command " + quoted(words[0].text)
	}
	return e
}

const helpHint = "SHOW HELP lists the commands."

// syntax is the error for a command that goes on as it can't. at is the word that is wrong; beyond the last one: there should be more.
func syntax(words []word, at int, usage string) *Error {
	e := &Error{Code: "42601", Hint: "The command is: " + usage + ". " + helpHint}
	if at < len(words) {
		e.Message, e.At = "syntax error at or near "+quoted(words[at].text), words[at].at
	} else {
		last := words[len(words)-1]
		e.Message, e.At = "syntax error at end of command", last.at+len(last.text)
	}
	return e
}

// flush understands FLUSH CACHE [table].
func (c *Console) flush(words []word) (*Statement, error) {
	const usage = "FLUSH CACHE [[database.]schema.]table]"
	switch {
	case len(words) < 2 || words[1].keyword() != "CACHE":
		return nil, syntax(words, 1, usage)
	case len(words) > 3:
		return nil, syntax(words, 3, usage)
	}
	var table *TableName
	if len(words) == 3 {
		names, err := words[2].names()
		if err != nil {
			return nil, err
		}
		switch len(names) {
		case 1:
			table = &TableName{"", "public", names[0]}
		case 2:
			table = &TableName{"", names[0], names[1]}
		case 3:
			table = &TableName{names[0], names[1], names[2]}
		default:
			return nil, syntax(words, 2, usage)
		}
	}
	return &Statement{Tag: "FLUSH CACHE", admin: true, what: "FLUSH CACHE", run: func(ctx context.Context, _ Client) (Result, error) {
		n, err := c.cfg.Operator.FlushCache(ctx, table)
		if err != nil {
			return Result{}, err
		}
		return Result{Notices: []string{plural(n, "cached answer was", "cached answers were") + " dropped"}}, nil
	}}, nil
}
