package router

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// identifierLists are the settings whose value is a list of identifiers, which are quoted where needed (GUC_LIST_QUOTE).
var identifierLists = []string{"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries", "shared_preload_libraries"}

// transactionSettings are the settings that SET TRANSACTION sets; they end with the transaction however they are set.
var transactionSettings = []string{"transaction_isolation", "transaction_read_only", "transaction_deferrable"}

// settingName is the name by which a setting is known, whatever a statement calls it (guc.c: guc_name_compare,
// map_old_guc_names).
func settingName(name string) string {
	switch name = lowerASCII(name); name {
	case "sort_mem":
		return "work_mem"
	case "vacuum_mem":
		return "maintenance_work_mem"
	}
	return name
}

// set plans SET and RESET.
func (st *statement) set(x *pg.VariableSetStmt, text string) *Plan {
	name := settingName(x.Name)
	s := &Setting{Name: name, SQL: trimStatement(text), IsLocal: x.IsLocal || slices.Contains(transactionSettings, name)}
	p := &Plan{Kind: KindSet, Reason: "SET", Set: s}
	switch x.Kind {
	case pg.VariableSetKind_VAR_SET_VALUE:
		s.Value, s.HasValue = settingValue(name, x.Args)
	case pg.VariableSetKind_VAR_SET_DEFAULT:
		s.Default = true
	case pg.VariableSetKind_VAR_RESET:
		p.Kind, s.Default = KindReset, true
	case pg.VariableSetKind_VAR_RESET_ALL:
		p.Kind, s.All = KindReset, true
	case pg.VariableSetKind_VAR_SET_MULTI:
		switch x.Name {
		case "TRANSACTION":
			s.Name, s.IsLocal = "transaction_mode", true
			p.Transaction = transactionOptions(x.Args)
		case "SESSION CHARACTERISTICS":
			s.Name = "default_transaction_mode"
			p.Transaction = transactionOptions(x.Args)
			p.Assigns = characteristics(x.Args)
		default: // TRANSACTION SNAPSHOT
			s.Name, s.IsLocal = "transaction_snapshot", true
			p.Binds = "SET " + x.Name
		}
	default:
		return UnknownPlan("SET FROM CURRENT isn't understood")
	}
	switch {
	case name == "search_path" && strings.Contains(s.Value, "pg_temp"):
		p.Binds = "pg_temp in search_path" // where it comes first, CREATE TABLE makes temporary ones
	case s.Default || s.IsLocal:
		// What was bound to is gone, or ends with the transaction.
	case name == "seed":
		p.Binds = "setseed()"
	case name == "idle_session_timeout" && s.Value != "0":
		p.Binds = name // the server has to see the session idle
	}
	return p
}

// characteristics are the settings that SET SESSION CHARACTERISTICS AS TRANSACTION stands for.
func characteristics(options []*pg.Node) []Assignment {
	var out []Assignment
	for _, n := range options {
		d := n.GetDefElem()
		arg := d.GetArg().GetAConst()
		value := arg.GetSval().GetSval()
		if arg.GetSval() == nil {
			value = "off"
			if arg.GetIval().GetIval() != 0 {
				value = "on"
			}
		}
		out = append(out, Assignment{Constant("default_" + d.GetDefname()), Constant(value), Constant("false")})
	}
	return out
}

// settingValue is flatten_set_variable_args(): the value as text.
func settingValue(name string, args []*pg.Node) (string, bool) {
	parts := make([]string, 0, len(args))
	for _, n := range args {
		c := n.GetAConst()
		if c == nil {
			return "", false
		}
		switch v := c.Val.(type) {
		case *pg.A_Const_Ival:
			parts = append(parts, itoa(int(v.Ival.Ival)))
		case *pg.A_Const_Fval:
			parts = append(parts, v.Fval.Fval)
		case *pg.A_Const_Sval:
			value := v.Sval.Sval
			if slices.Contains(identifierLists, name) {
				value = quoteIdentifier(value)
			}
			parts = append(parts, value)
		default:
			return "", false
		}
	}
	return strings.Join(parts, ", "), true
}

// quoteIdentifier quotes a name unless it is one that needs none. (More quotes than Postgres would set do no harm.)
func quoteIdentifier(name string) string {
	plain := name != ""
	for i := range len(name) {
		c := name[i]
		plain = plain && (c >= 'a' && c <= 'z' || c == '_' || i > 0 && c >= '0' && c <= '9')
	}
	if plain {
		return name
	}
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// trimStatement cuts whitespace, comments and semicolons around a statement.
func trimStatement(text string) string {
	s := scanner{text: []byte(text)}
	start, end := -1, 0
	for {
		t := s.next()
		switch {
		case t.kind == tokenEOF || t.kind == tokenBad:
			if start < 0 {
				return ""
			}
			return text[start:end]
		case t.kind == tokenHint || t.kind == tokenSelf && text[t.start] == ';':
			continue
		}
		if start < 0 {
			start = t.start
		}
		end = t.end
	}
}

// transactionOptions reads the options of BEGIN and SET TRANSACTION.
func transactionOptions(options []*pg.Node) (t Transaction) {
	for _, n := range options {
		d := n.GetDefElem()
		arg := d.GetArg().GetAConst()
		on := arg.GetIval().GetIval() != 0
		switch d.GetDefname() {
		case "transaction_isolation":
			switch arg.GetSval().GetSval() {
			case "read uncommitted":
				t.Isolation = IsolationReadUncommitted
			case "read committed":
				t.Isolation = IsolationReadCommitted
			case "repeatable read":
				t.Isolation = IsolationRepeatableRead
			case "serializable":
				t.Isolation = IsolationSerializable
			}
		case "transaction_read_only":
			t.Access = AccessReadWrite
			if on {
				t.Access = AccessReadOnly
			}
		case "transaction_deferrable":
			t.Deferrable, t.NotDeferrable = on, !on
		}
	}
	return t
}

// transaction plans transaction control.
func transaction(x *pg.TransactionStmt) *Plan {
	p := &Plan{Reason: "transaction control", Name: x.SavepointName}
	switch x.Kind {
	case pg.TransactionStmtKind_TRANS_STMT_BEGIN, pg.TransactionStmtKind_TRANS_STMT_START:
		p.Kind, p.Transaction = KindBegin, transactionOptions(x.Options)
		p.Transaction.Start = x.Kind == pg.TransactionStmtKind_TRANS_STMT_START
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT:
		p.Kind = KindCommit
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:
		p.Kind = KindRollback
	case pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
		p.Kind = KindSavepoint
	case pg.TransactionStmtKind_TRANS_STMT_RELEASE:
		p.Kind = KindRelease
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
		p.Kind = KindRollbackTo
	case pg.TransactionStmtKind_TRANS_STMT_PREPARE:
		p.Kind, p.Name = KindPrepareTransaction, x.Gid
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED:
		p.Kind, p.Name = KindCommitPrepared, x.Gid
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
		p.Kind, p.Name = KindRollbackPrepared, x.Gid
	default:
		return UnknownPlan("a transaction statement isn't understood")
	}
	p.Transaction.Chain = x.Chain
	switch p.Kind {
	case KindPrepareTransaction, KindCommitPrepared, KindRollbackPrepared:
		p.markWrite(p.Reason)
	}
	return p
}

func (p *Plan) markWrite(reason string) {
	p.Writes, p.WriteReason = true, reason
	p.OnPrimary, p.PrimaryReason = true, reason
}
