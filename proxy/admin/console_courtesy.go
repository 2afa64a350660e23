package admin

import (
	"context"
	"slices"
	"strings"
)

// Drivers, pools and tools say things to every server, without being asked to: they set what they want, look which server it is, and see
// whether it is still there. On the console all of this is answered, and has no effect.

// courtesy understands such a statement; nil without an error: it is none.
func courtesy(words []word, c *Console) (*Statement, error) {
	switch words[0].keyword() {
	case "SET":
		return &Statement{Tag: "SET"}, nil
	case "RESET":
		return &Statement{Tag: "RESET"}, nil
	case "BEGIN":
		return &Statement{Tag: "BEGIN", Transaction: TxBegin}, nil
	case "START":
		if len(words) > 1 && words[1].keyword() == "TRANSACTION" {
			return &Statement{Tag: "START TRANSACTION", Transaction: TxBegin}, nil
		}
	case "COMMIT", "END":
		return &Statement{Tag: "COMMIT", Transaction: TxCommit}, nil
	case "ROLLBACK", "ABORT":
		if len(words) < 3 {
			return &Statement{Tag: "ROLLBACK", Transaction: TxRollback}, nil
		}
		if slices.ContainsFunc(words[1:3], func(w word) bool { return w.keyword() == "TO" }) {
			return &Statement{Tag: "ROLLBACK", Transaction: TxRollbackTo}, nil
		}
	case "SAVEPOINT", "RELEASE":
		if len(words) > 1 {
			return &Statement{Tag: words[0].keyword(), Transaction: TxSavepoint}, nil
		}
	case "DISCARD":
		if len(words) == 2 {
			return &Statement{Tag: "DISCARD " + words[1].keyword(), Forgets: words[1].keyword() == "ALL"}, nil
		}
	case "DEALLOCATE":
		return deallocate(words)
	case "CLOSE":
		if len(words) == 2 && words[1].keyword() == "ALL" {
			return &Statement{Tag: "CLOSE CURSOR ALL"}, nil
		}
	case "LISTEN", "UNLISTEN":
		if len(words) == 2 {
			return &Statement{Tag: words[0].keyword()}, nil
		}
	case "SELECT":
		return c.courtesySelect(words), nil
	}
	return nil, nil
}

func deallocate(words []word) (*Statement, error) {
	rest := words[1:]
	if len(rest) > 0 && rest[0].keyword() == "PREPARE" {
		rest = rest[1:]
	}
	if len(rest) != 1 {
		return nil, syntax(words, len(words)-len(rest)+1, "DEALLOCATE name")
	}
	if rest[0].keyword() == "ALL" {
		return &Statement{Tag: "DEALLOCATE ALL", Forgets: true}, nil
	}
	name, err := rest[0].name()
	if err != nil {
		return nil, err
	}
	return &Statement{Tag: "DEALLOCATE", Deallocates: name}, nil
}

// courtesySelect understands what is selected to see who is there.
func (c *Console) courtesySelect(words []word) *Statement {
	var text strings.Builder
	for _, w := range words[1:] {
		text.WriteString(strings.ToLower(w.text))
	}
	one := func(name string, typ Type, value func(Client) any) *Statement {
		return &Statement{Columns: []Column{{name, typ}}, Tag: "SELECT", Counts: true,
			run: func(_ context.Context, client Client) (Result, error) {
				return Result{Rows: [][]any{{value(client)}}}, nil
			}}
	}
	constant := func(v any) func(Client) any { return func(Client) any { return v } }
	switch strings.TrimPrefix(text.String(), "pg_catalog.") {
	case "1":
		return one("?column?", Int4, constant(1))
	case "'x'":
		return one("?column?", Text, constant("x"))
	case "version()":
		return one("version", Text, constant("Freshet "+c.cfg.Version+" (console; PostgreSQL "+serverVersion+" protocol)"))
	case "current_catalog":
		return one("current_catalog", Text, constant(ConsoleDatabase))
	case "current_database()":
		return one("current_database", Text, constant(ConsoleDatabase))
	case "current_schema()":
		return one("current_schema", Text, constant(nil))
	case "current_user", "session_user", "user":
		return one(text.String(), Text, func(client Client) any { return client.User })
	case "pg_backend_pid()":
		return one("pg_backend_pid", Int4, func(client Client) any { return int(int32(client.PID)) })
	case "pg_is_in_recovery()":
		return one("pg_is_in_recovery", Bool, constant(false))
	case "pg_advisory_unlock_all()":
		return one("pg_advisory_unlock_all", Text, constant(""))
	}
	return nil
}

// serverSettings are those that clients ask for, and what holds for the console.
var serverSettings = map[string]string{
	"transaction_isolation": "read committed", "default_transaction_isolation": "read committed",
	"transaction_read_only": "off", "default_transaction_read_only": "off", "in_hot_standby": "off",
	"standard_conforming_strings": "on", "client_encoding": "UTF8", "server_encoding": "UTF8",
	"datestyle": "ISO, MDY", "intervalstyle": "postgres", "timezone": "UTC", "search_path": "", "integer_datetimes": "on",
	"extra_float_digits": "1", "bytea_output": "hex", "server_version": serverVersion, "server_version_num": "140000",
	"max_identifier_length": "63", "lc_collate": "C", "lc_ctype": "C", "statement_timeout": "0",
}

// Reported are the settings that a client is told at its login (ParameterStatus).
func (c *Console) Reported(user string) [][2]string {
	list := [][2]string{{"server_version", c.Version()}, {"session_authorization", user}, {"is_superuser", "off"}}
	for _, name := range []string{"server_encoding", "client_encoding", "DateStyle", "IntervalStyle", "TimeZone", "integer_datetimes",
		"standard_conforming_strings", "default_transaction_read_only", "in_hot_standby"} {
		list = append(list, [2]string{name, serverSettings[strings.ToLower(name)]})
	}
	return list
}

// courtesyShow understands SHOW of a setting; nil: it isn't one.
func courtesyShow(words []word) *Statement {
	name := strings.ToLower(words[1].text)
	if len(words) > 2 {
		var rest []string
		for _, w := range words[1:] {
			rest = append(rest, w.keyword())
		}
		switch strings.Join(rest, " ") {
		case "TRANSACTION ISOLATION LEVEL":
			name = "transaction_isolation"
		case "TIME ZONE":
			name = "timezone"
		default:
			return nil
		}
	}
	value, ok := serverSettings[name]
	if !ok {
		return nil
	}
	return &Statement{Columns: []Column{{name, Text}}, Tag: "SHOW",
		run: func(context.Context, Client) (Result, error) { return Result{Rows: [][]any{{value}}}, nil }}
}
