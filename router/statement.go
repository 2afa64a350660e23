package router

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// one plans a single statement by its parse tree. text is the statement's own.
func (st *statement) one(n *pg.Node, text string) *Plan {
	switch x := n.Node.(type) {
	case *pg.Node_SelectStmt:
		return st.selection(n)
	case *pg.Node_InsertStmt:
		return st.modification(n, x.InsertStmt.Relation)
	case *pg.Node_UpdateStmt:
		return st.modification(n, x.UpdateStmt.Relation)
	case *pg.Node_DeleteStmt:
		return st.modification(n, x.DeleteStmt.Relation)
	case *pg.Node_MergeStmt:
		return st.modification(n, x.MergeStmt.Relation)
	case *pg.Node_TransactionStmt:
		return transaction(x.TransactionStmt)
	case *pg.Node_VariableSetStmt:
		return st.set(x.VariableSetStmt, text)
	case *pg.Node_VariableShowStmt:
		return &Plan{Kind: KindShow, Show: strings.ToLower(x.VariableShowStmt.Name), Reason: "SHOW", OnPrimary: true,
			PrimaryReason: "SHOW depends on the session"}
	case *pg.Node_DiscardStmt:
		return discard(x.DiscardStmt)
	case *pg.Node_CopyStmt:
		return st.copyStmt(x.CopyStmt)
	case *pg.Node_ExplainStmt:
		return st.explain(x.ExplainStmt)
	case *pg.Node_DeclareCursorStmt, *pg.Node_FetchStmt, *pg.Node_ClosePortalStmt:
		return st.cursor(n)
	case *pg.Node_PrepareStmt:
		return st.prepare(x.PrepareStmt)
	case *pg.Node_ExecuteStmt:
		return st.execute(x.ExecuteStmt)
	case *pg.Node_DeallocateStmt:
		p := &Plan{Kind: KindDeallocate, Name: x.DeallocateStmt.Name, Reason: "DEALLOCATE", OnPrimary: true, PrimaryReason: "DEALLOCATE", ReplicaToo: true}
		if p.Name != "" {
			p.Mentions = []Mention{{p.Name, KindDeallocate}}
		}
		return p
	case *pg.Node_ListenStmt:
		return st.binding(n, "LISTEN")
	case *pg.Node_LoadStmt:
		return st.binding(n, "LOAD")
	case *pg.Node_DoStmt:
		return st.do(n, x.DoStmt)
	case *pg.Node_TruncateStmt:
		p := st.utility(n, KindUtility)
		for _, r := range x.TruncateStmt.Relations {
			p.addBinds(st.writing(r.GetRangeVar()))
		}
		return p
	}
	if plainUtility(n) {
		p := st.utility(n, KindUtility)
		p.executing(st, n)
		p.DDL = changesCatalog(n)
		p.Vacates = vacating(n)
		if st.j != nil {
			// For DDL; of the others few are frequent, and event triggers are rare.
			c := closure{j: st.j}
			for _, f := range st.j.s.EventTriggers {
				c.function(st.j.s.Function(f))
			}
			p.addBinds(c.effect)
		}
		return p
	}
	return st.binding(n, nodeName(n)+" isn't understood")
}

// plainUtility tells whether a statement is known to leave nothing behind on the connection apart from what the
// functions and temporary objects in it do.
func plainUtility(n *pg.Node) bool {
	switch n.Node.(type) {
	case *pg.Node_CallStmt, *pg.Node_NotifyStmt, *pg.Node_UnlistenStmt, *pg.Node_LockStmt, *pg.Node_ConstraintsSetStmt,
		*pg.Node_VacuumStmt, *pg.Node_ClusterStmt, *pg.Node_ReindexStmt, *pg.Node_CheckPointStmt, *pg.Node_RefreshMatViewStmt,
		*pg.Node_CreateStmt, *pg.Node_CreateTableAsStmt, *pg.Node_ViewStmt, *pg.Node_IndexStmt, *pg.Node_RuleStmt,
		*pg.Node_CreateSeqStmt, *pg.Node_AlterSeqStmt, *pg.Node_CreateSchemaStmt, *pg.Node_AlterTableStmt, *pg.Node_DropStmt,
		*pg.Node_RenameStmt, *pg.Node_AlterObjectSchemaStmt, *pg.Node_AlterOwnerStmt, *pg.Node_AlterObjectDependsStmt,
		*pg.Node_CommentStmt, *pg.Node_SecLabelStmt, *pg.Node_GrantStmt, *pg.Node_GrantRoleStmt, *pg.Node_AlterDefaultPrivilegesStmt,
		*pg.Node_CreateRoleStmt, *pg.Node_AlterRoleStmt, *pg.Node_AlterRoleSetStmt, *pg.Node_DropRoleStmt,
		*pg.Node_DropOwnedStmt, *pg.Node_ReassignOwnedStmt, *pg.Node_CreateFunctionStmt, *pg.Node_AlterFunctionStmt,
		*pg.Node_CreateTrigStmt, *pg.Node_CreateEventTrigStmt, *pg.Node_AlterEventTrigStmt, *pg.Node_CreatePolicyStmt,
		*pg.Node_AlterPolicyStmt, *pg.Node_CreateExtensionStmt, *pg.Node_AlterExtensionStmt, *pg.Node_AlterExtensionContentsStmt,
		*pg.Node_DefineStmt, *pg.Node_CompositeTypeStmt, *pg.Node_CreateEnumStmt, *pg.Node_AlterEnumStmt, *pg.Node_CreateRangeStmt,
		*pg.Node_AlterTypeStmt, *pg.Node_CreateDomainStmt, *pg.Node_AlterDomainStmt, *pg.Node_CreateCastStmt,
		*pg.Node_CreateConversionStmt, *pg.Node_CreateTransformStmt, *pg.Node_CreatePlangStmt, *pg.Node_CreateAmStmt,
		*pg.Node_CreateOpClassStmt, *pg.Node_CreateOpFamilyStmt, *pg.Node_AlterOpFamilyStmt, *pg.Node_AlterOperatorStmt,
		*pg.Node_AlterCollationStmt, *pg.Node_CreateStatsStmt, *pg.Node_AlterStatsStmt, *pg.Node_AlterTsdictionaryStmt,
		*pg.Node_AlterTsconfigurationStmt, *pg.Node_CreatePublicationStmt, *pg.Node_AlterPublicationStmt,
		*pg.Node_CreateSubscriptionStmt, *pg.Node_AlterSubscriptionStmt, *pg.Node_DropSubscriptionStmt,
		*pg.Node_CreateFdwStmt, *pg.Node_AlterFdwStmt, *pg.Node_CreateForeignServerStmt, *pg.Node_AlterForeignServerStmt,
		*pg.Node_CreateForeignTableStmt, *pg.Node_ImportForeignSchemaStmt, *pg.Node_CreateUserMappingStmt,
		*pg.Node_AlterUserMappingStmt, *pg.Node_DropUserMappingStmt, *pg.Node_CreatedbStmt, *pg.Node_DropdbStmt,
		*pg.Node_AlterDatabaseStmt, *pg.Node_AlterDatabaseSetStmt, *pg.Node_AlterDatabaseRefreshCollStmt,
		*pg.Node_AlterSystemStmt, *pg.Node_CreateTableSpaceStmt, *pg.Node_DropTableSpaceStmt,
		*pg.Node_AlterTableSpaceOptionsStmt, *pg.Node_AlterTableMoveAllStmt, *pg.Node_ReplicaIdentityStmt:
		return true
	}
	return false
}

// changesCatalog tells whether a plain utility statement changes what the catalog says of the database.
func changesCatalog(n *pg.Node) bool {
	switch n.Node.(type) {
	case *pg.Node_CallStmt, *pg.Node_NotifyStmt, *pg.Node_UnlistenStmt, *pg.Node_LockStmt, *pg.Node_ConstraintsSetStmt,
		*pg.Node_VacuumStmt, *pg.Node_ClusterStmt, *pg.Node_ReindexStmt, *pg.Node_CheckPointStmt, *pg.Node_RefreshMatViewStmt,
		*pg.Node_CreatedbStmt, *pg.Node_DropdbStmt, *pg.Node_AlterSystemStmt, *pg.Node_CreateTableSpaceStmt, *pg.Node_DropTableSpaceStmt,
		*pg.Node_CreatePublicationStmt, *pg.Node_AlterPublicationStmt, *pg.Node_CommentStmt:
		return false
	}
	return true
}

// CatalogUnknown is the Binds of a plan that was made before anything was known about the catalog.
const CatalogUnknown = "the catalog isn't known yet"

// selection plans SELECT, VALUES and TABLE.
func (st *statement) selection(n *pg.Node) *Plan {
	if st.j == nil {
		p := &Plan{Kind: KindWrite, Reason: CatalogUnknown}
		p.markWrite(CatalogUnknown)
		p.Binds = CatalogUnknown
		return p
	}
	a := newAnalysis(st.j, st.path, st.params, st.role)
	a.query(n, nil)
	if mentionsTemp(n) {
		a.add(effect{binds: "temporary table"})
	}
	p := a.effect.plan(KindRead)
	if p.ForATime {
		p.Relations = a.relations()
	}
	if p.Cacheable {
		p.Deps = a.dependencies(n, st.text)
		p.utf8 = a.s.Encoding == "UTF8"
	}
	if assigns := st.assignments(n); assigns != nil {
		p.Assigns, p.Binds, p.Lasting = assigns, "", false
	}
	return p
}

// plan makes a plan of an effect.
func (e effect) plan(kind Kind) *Plan {
	p := &Plan{Kind: kind, Reason: e.uncacheable, Binds: e.binds, Lasting: e.leavesLasting(), Frees: e.frees,
		OnPrimary: e.primary != "", PrimaryReason: e.primary, Writes: e.write != "", WriteReason: e.write,
		ReadsSequenceState: e.readsSeq, LeavesSequenceState: e.leavesSeq, ReadsCatalogs: e.catalogs, ShowsPrepared: e.prepared,
		Notifies: e.notifies}
	if p.Writes {
		p.OnPrimary = true
		if kind == KindRead {
			p.Kind = KindWrite
		}
	}
	if p.Binds != "" && p.Reason == "" {
		p.Reason = p.Binds
	}
	p.Cacheable = kind == KindRead && p.Reason == "" && !p.OnPrimary && !p.Writes
	p.ForATime = kind == KindRead && !p.Writes && p.Binds == "" && !p.Frees && !e.untimed && !e.readsSeq && !e.leavesSeq
	return p
}

// modification plans INSERT, UPDATE, DELETE and MERGE.
func (st *statement) modification(n *pg.Node, target *pg.RangeVar) *Plan {
	p := st.utility(n, KindWrite)
	p.addBinds(st.writing(target))
	p.ReplicaToo = true // it is refused before anything is done
	return p
}

// writing is what a write to a relation sets off.
func (st *statement) writing(target *pg.RangeVar) effect {
	if st.j == nil {
		return effect{binds: CatalogUnknown}
	}
	g := generic{j: st.j, path: st.path}
	g.written(target)
	return g.effect
}

func (p *Plan) addBinds(e effect) {
	if p.Binds == "" {
		p.Binds = e.binds
	}
	p.Lasting = p.Lasting || e.leavesLasting()
	p.Frees = p.Frees || e.frees
	p.LeavesSequenceState = p.LeavesSequenceState || e.leavesSeq
	p.Notifies = p.Notifies || e.notifies
}

// utility plans a statement that counts as a write, with what it may leave behind.
func (st *statement) utility(n *pg.Node, kind Kind) *Plan {
	e := effect{binds: CatalogUnknown}
	if st.j != nil {
		g := generic{j: st.j, path: st.path}
		g.node(n)
		// Data-modifying WITH clauses, and statements in EXPLAIN, rules and the like.
		each(n.ProtoReflect(), func(n *pg.Node) bool {
			for _, target := range []*pg.RangeVar{n.GetInsertStmt().GetRelation(), n.GetUpdateStmt().GetRelation(),
				n.GetDeleteStmt().GetRelation(), n.GetMergeStmt().GetRelation()} {
				if target != nil {
					g.written(target)
				}
			}
			return true
		})
		e = g.effect
	} else if !needsCatalog(n) {
		e = effect{}
	}
	p := &Plan{Kind: kind, Reason: "it isn't a SELECT", Binds: e.binds, Lasting: e.leavesLasting(), Frees: e.frees, ReadsSequenceState: e.readsSeq, LeavesSequenceState: e.leavesSeq, Notifies: e.notifies}
	p.markWrite(strings.TrimSuffix(nodeName(n), "Stmt"))
	return p
}

// needsCatalog tells whether a statement has names in it whose effects only the catalog tells.
func needsCatalog(n *pg.Node) bool {
	return !each(n.ProtoReflect(), func(n *pg.Node) bool {
		switch n.Node.(type) {
		case *pg.Node_FuncCall, *pg.Node_SelectStmt, *pg.Node_InsertStmt, *pg.Node_UpdateStmt, *pg.Node_DeleteStmt,
			*pg.Node_MergeStmt, *pg.Node_RangeVar, *pg.Node_CallStmt, *pg.Node_CopyStmt:
			return false
		}
		return true
	})
}

// binding plans a statement that leaves state behind.
func (st *statement) binding(n *pg.Node, what string) *Plan {
	p := st.utility(n, KindUtility)
	p.Binds = what
	return p
}

func discard(x *pg.DiscardStmt) *Plan {
	p := &Plan{Kind: KindDiscard, Reason: "DISCARD", OnPrimary: true, PrimaryReason: "DISCARD"}
	switch x.Target {
	case pg.DiscardMode_DISCARD_ALL:
		p.Name, p.Unbinds = "all", true
	case pg.DiscardMode_DISCARD_PLANS:
		p.Name = "plans"
	case pg.DiscardMode_DISCARD_SEQUENCES:
		p.Name = "sequences"
	case pg.DiscardMode_DISCARD_TEMP:
		p.Name = "temp"
	default:
		return UnknownPlan("DISCARD isn't understood")
	}
	return p
}

// copyStmt plans COPY. Out of the database it is a read, for the primary.
func (st *statement) copyStmt(x *pg.CopyStmt) *Plan {
	whole := &pg.Node{Node: &pg.Node_CopyStmt{CopyStmt: x}}
	p := st.utility(whole, KindCopy)
	p.Reason = "COPY"
	switch {
	case x.IsFrom:
		p.addBinds(st.writing(x.Relation))
	case x.IsProgram, x.Filename != "":
	case x.Query.GetSelectStmt() != nil:
		q := st.selection(x.Query)
		p.Writes, p.WriteReason = q.Writes, q.WriteReason
		p.ReplicaToo = q.replicaToo() && p.Binds == ""
		p.ShowsPrepared = q.ShowsPrepared
	case x.Relation != nil && st.j != nil:
		a := newAnalysis(st.j, st.path, nil, st.role)
		a.rangeVar(x.Relation, nil)
		p.Writes, p.WriteReason = a.effect.write != "", a.effect.write
		p.ReplicaToo = a.effect.primary == "" && a.effect.write == "" && p.Binds == ""
	}
	p.OnPrimary, p.PrimaryReason = true, "COPY"
	return p
}

// explain plans EXPLAIN: with ANALYZE it runs its statement.
func (st *statement) explain(x *pg.ExplainStmt) *Plan {
	analyze := false
	for _, o := range x.Options {
		if d := o.GetDefElem(); d.GetDefname() == "analyze" {
			// Any value but a plain "off" is taken for "on".
			analyze = d.Arg == nil || !isOff(d.Arg)
		}
	}
	if !analyze {
		// Planning runs no volatile function, but others, to simplify and to estimate.
		q := st.utility(x.Query, KindRead)
		p := &Plan{Kind: KindRead, Reason: "EXPLAIN", OnPrimary: true, PrimaryReason: "EXPLAIN",
			Binds: q.Binds, Lasting: q.Lasting, Frees: q.Frees}
		return p.executing(st, x.Query)
	}
	p := st.one(x.Query, "")
	switch p.Kind {
	case KindRead, KindWrite:
	default:
		p.Kind = KindUtility
		p.markWrite("EXPLAIN ANALYZE")
	}
	if p.Assigns != nil && p.Binds == "" {
		p.Binds = "set_config()"
	}
	p.Cacheable, p.ForATime, p.Reason, p.Relations, p.Deps = false, false, "EXPLAIN", nil, nil
	p.Set, p.Assigns, p.Unbinds = nil, nil, false
	p.OnPrimary, p.PrimaryReason = true, "EXPLAIN"
	return p
}

func isOff(n *pg.Node) bool {
	switch strings.ToLower(n.GetString_().GetSval()) {
	case "off", "false":
		return true
	}
	return n.GetInteger() != nil && n.GetInteger().Ival == 0 || n.GetBoolean() != nil && !n.GetBoolean().Boolval
}

// cursorHold is CURSOR_OPT_HOLD of parsenodes.h.
const cursorHold = 0x0020

// cursor plans DECLARE, FETCH, MOVE and CLOSE. A cursor without hold ends with its transaction.
func (st *statement) cursor(n *pg.Node) *Plan {
	p := &Plan{Kind: KindCursor, Reason: "cursor"}
	p.OnPrimary, p.PrimaryReason = true, "cursor"
	switch x := n.Node.(type) {
	case *pg.Node_DeclareCursorStmt:
		q := st.selection(x.DeclareCursorStmt.Query)
		p.Name = x.DeclareCursorStmt.Portalname
		p.Writes, p.WriteReason, p.Binds, p.Lasting = q.Writes, q.WriteReason, q.Binds, q.Lasting
		if x.DeclareCursorStmt.Options&cursorHold != 0 {
			p.Binds = "WITH HOLD cursor"
		}
		p.ReplicaToo = q.replicaToo() && p.Binds == ""
	case *pg.Node_FetchStmt:
		// What it runs was looked at when the cursor was declared; a refcursor that a function has opened can do
		// anything.
		p.Name = x.FetchStmt.Portalname
		p.markWrite("FETCH")
		p.ReplicaToo = true
	case *pg.Node_ClosePortalStmt:
		p.Name = x.ClosePortalStmt.Portalname
		p.ReplicaToo = true
	}
	return p
}

// do plans DO. Its body is looked at word by word.
func (st *statement) do(n *pg.Node, x *pg.DoStmt) *Plan {
	p := st.utility(n, KindUtility)
	p.Reason = "DO"
	body, language := "", "plpgsql"
	for _, o := range x.Args {
		switch d := o.GetDefElem(); d.GetDefname() {
		case "as":
			body = d.Arg.GetString_().GetSval()
		case "language":
			language = d.Arg.GetString_().GetSval()
		}
	}
	switch {
	case p.Binds != "":
	case language != "plpgsql":
		p.Binds = "DO in " + language
	case st.j == nil:
		p.Binds = CatalogUnknown
	default:
		c := closure{j: st.j}
		c.body(body, "DO", false)
		p.addBinds(c.effect)
	}
	return p
}
