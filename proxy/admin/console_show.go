package admin

import (
	"context"
	"maps"
	"slices"
	"strings"
)

// show is one of the console's tables. Where PgBouncer (1.18) has it, its columns come first, under the same names, so that what reads
// them there can read them here.
type show struct {
	what    string // for SHOW HELP
	columns []Column
	rows    func(ctx context.Context, c *Console) (rows [][]any, notices []string, err error)
}

// shows are what SHOW can be followed by. It is filled by init, since SHOW HELP shows it.
var shows = map[string]show{}

func init() {
	maps.Copy(shows, map[string]show{
		"HELP":       {"this list", []Column{{"command", Text}, {"does", Text}, {"right", Text}}, showHelp},
		"STATEMENTS": {"a row for each statement, without its literals: calls, times, hits, and why it isn't cached", statementColumns, showStatements},
		"VERSION":    {"which Freshet this is", []Column{{"version", Text}}, showVersion},
	})
}

// show understands SHOW.
func (c *Console) show(words []word) (*Statement, error) {
	const usage = "SHOW what"
	if len(words) < 2 {
		return nil, syntax(words, 1, usage)
	}
	sh, ok := shows[words[1].keyword()]
	if ok && len(words) > 2 {
		return nil, syntax(words, 2, "SHOW "+words[1].keyword())
	}
	if !ok {
		if s := courtesyShow(words); s != nil {
			return s, nil
		}
		return nil, &Error{Code: "42601", Message: "there is no SHOW " + strings.Trim(quoted(words[1].text), `"`), At: words[1].at,
			Hint: "There are: " + strings.Join(slices.Sorted(maps.Keys(shows)), ", ") + "."}
	}
	return &Statement{Columns: sh.columns, Tag: "SHOW", what: "SHOW", run: func(ctx context.Context, _ Client) (Result, error) {
		rows, notices, err := sh.rows(ctx, c)
		return Result{Rows: rows, Notices: notices}, err
	}}, nil
}

// flushes are those ways of FLUSH, for SHOW HELP.
var flushes = [][2]string{
	{"FLUSH CACHE", "drops everything that is cached"},
	{"FLUSH CACHE [[database.]schema.]table", "drops what is cached and depends on a table; without a schema: public; without a database: all that have it"},
}

func showHelp(context.Context, *Console) ([][]any, []string, error) {
	var rows [][]any
	for _, name := range slices.Sorted(maps.Keys(shows)) {
		rows = append(rows, []any{"SHOW " + name, shows[name].what, "--stats-users"})
	}
	for _, f := range flushes {
		rows = append(rows, []any{f[0], f[1], "--admin-users"})
	}
	for _, name := range slices.Sorted(maps.Keys(commands)) {
		rows = append(rows, []any{strings.TrimSpace(name + " " + commands[name].argument), commands[name].does, "--admin-users"})
	}
	return rows, nil, nil
}

func showVersion(_ context.Context, c *Console) ([][]any, []string, error) {
	return [][]any{{"Freshet " + c.cfg.Version}}, nil, nil
}
