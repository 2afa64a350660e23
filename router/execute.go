package router

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Mention is a name of a prepared statement in a text, and what becomes of it there: KindPrepare, KindExecute or KindDeallocate.
type Mention struct {
	Name string
	As   Kind
}

// prepare plans PREPARE. It runs nothing; what its statement does matters when it is executed.
func (st *statement) prepare(x *pg.PrepareStmt) *Plan {
	inner := &statement{j: st.j, path: st.path, role: st.role, text: st.text}
	plain := st.j != nil
	if plain {
		a := newAnalysis(st.j, st.path, nil, st.role)
		for _, t := range x.Argtypes {
			oid := a.resolveType(t.GetTypeName())
			inner.params = append(inner.params, oid)
			plain = plain && oid != 0 && st.j.typeProblem(oid) == ""
		}
	}
	q := *inner.one(x.Query, "")
	q.Cacheable, q.ForATime, q.Relations, q.Deps, q.utf8 = false, false, nil, nil, false
	q.Reason = executeReason
	q.plainTypes = plain && len(x.Argtypes) > 0
	inner.finish(&q, Scan{})
	q.Generation = st.generation
	return &Plan{Kind: KindPrepare, Name: x.Name, Reason: "PREPARE", OnPrimary: true, PrimaryReason: "PREPARE", ReplicaToo: true,
		Mentions: []Mention{{x.Name, KindPrepare}}, Prepared: &q}
}

const executeReason = "EXECUTE of a prepared statement"

// execute plans EXECUTE as far as the statement that is executed isn't known: it may do anything.
func (st *statement) execute(x *pg.ExecuteStmt) *Plan {
	p := &Plan{Kind: KindExecute, Name: x.Name, Reason: executeReason, Mentions: []Mention{{x.Name, KindExecute}}, arguments: st.arguments(x)}
	p.markWrite("EXECUTE")
	p.addSideEffects(p.arguments)
	return p
}

// arguments plans the computing of what EXECUTE hands over.
func (st *statement) arguments(x *pg.ExecuteStmt) *Plan {
	if len(x.Params) == 0 {
		return &Plan{Kind: KindRead, ReplicaToo: true, plainTypes: true}
	}
	plain := true
	list := make([]*pg.Node, len(x.Params))
	for i, arg := range x.Params {
		plain = plain && isConstant(arg)
		list[i] = &pg.Node{Node: &pg.Node_ResTarget{ResTarget: &pg.ResTarget{Val: arg}}}
	}
	p := st.selection(&pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: &pg.SelectStmt{TargetList: list,
		LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT, Op: pg.SetOperation_SETOP_NONE}}})
	if p.Assigns != nil {
		p.Assigns, p.Binds = nil, "set_config() in EXECUTE"
	}
	p.Lasting = p.Lasting || lasting(p.Binds)
	p.ReplicaToo = p.replicaToo()
	p.plainTypes = plain
	return p
}

// isConstant tells whether an argument is a literal, for which no cast of the application's is looked up.
func isConstant(n *pg.Node) bool {
	if c := n.GetTypeCast(); c != nil {
		return false
	}
	if e := n.GetAExpr(); e != nil { // -1
		return e.Kind == pg.A_Expr_Kind_AEXPR_OP && e.Lexpr == nil && len(e.Name) == 1 && e.Name[0].GetString_().GetSval() == "-" && e.Rexpr.GetAConst() != nil
	}
	return n.GetAConst() != nil
}

// executed returns the EXECUTE that is all or a part of a statement; nil: there is none.
func executed(n *pg.Node) *pg.ExecuteStmt {
	if c := n.GetCreateTableAsStmt(); c != nil {
		n = c.Query
	}
	return n.GetExecuteStmt()
}

// executing adds to the plan of EXPLAIN or CREATE TABLE AS what follows from the EXECUTE in it.
func (p *Plan) executing(st *statement, n *pg.Node) *Plan {
	x := executed(n)
	if x == nil {
		return p
	}
	p.Mentions = []Mention{{x.Name, KindExecute}}
	p.arguments = st.arguments(x)
	p.addSideEffects(p.arguments)
	return p
}

func (p *Plan) addSideEffects(q *Plan) {
	if q.Writes && !p.Writes {
		p.Writes, p.WriteReason = true, q.WriteReason
	}
	if q.OnPrimary && !p.OnPrimary {
		p.OnPrimary, p.PrimaryReason = true, q.PrimaryReason
	}
	if p.Binds == "" {
		p.Binds = q.Binds
	}
	p.Lasting = p.Lasting || q.Lasting || lasting(q.Binds)
	p.Frees = p.Frees || q.Frees
	p.ReadsSequenceState = p.ReadsSequenceState || q.ReadsSequenceState
	p.LeavesSequenceState = p.LeavesSequenceState || q.LeavesSequenceState
	p.ReadsCatalogs = p.ReadsCatalogs || q.ReadsCatalogs
	p.ShowsPrepared = p.ShowsPrepared || q.ShowsPrepared
}

// Executes tells whether the plan is of a statement that executes a prepared one which isn't known yet: see Resolve.
func (p *Plan) Executes() bool {
	if p.Kind == KindMulti {
		return slices.ContainsFunc(p.Parts, (*Plan).Executes)
	}
	return p.arguments != nil && !p.resolved
}

// Resolve returns the plan with what the prepared statements that it executes do. prepared returns the plan of the statement
// of a name, or nil if there is none or nothing is known about it; what the text itself prepares and deallocates is taken into account.
func (p *Plan) Resolve(prepared func(name string) *Plan) *Plan {
	if !p.Executes() {
		return p
	}
	if p.Kind != KindMulti {
		inner := prepared(p.Mentions[0].Name)
		if inner == nil {
			return p
		}
		return p.resolve(inner)
	}
	own := map[string]*Plan{}
	none := false // all are gone
	lookup := func(name string) *Plan {
		if q, ok := own[name]; ok || none {
			return q
		}
		return prepared(name)
	}
	multi := &Plan{Kind: KindMulti, Reason: p.Reason, Generation: p.Generation, Hint: p.Hint}
	for _, part := range p.Parts {
		part = part.Resolve(lookup)
		switch {
		case part.Kind == KindPrepare && lookup(part.Name) == nil:
			own[part.Name] = part.Prepared
		case part.Kind == KindDeallocate && part.Name != "":
			own[part.Name] = nil
		case part.Kind == KindDeallocate, part.Unbinds:
			clear(own)
			none = true
		}
		multi.Parts = append(multi.Parts, part)
		multi.include(part)
	}
	multi.ReplicaToo = multi.replicaToo()
	return multi
}

func (p *Plan) resolve(inner *Plan) *Plan {
	q := *p
	q.resolved = true
	if p.Kind == KindExecute {
		q = Plan{Kind: KindExecute, Name: p.Name, Generation: p.Generation, Hint: p.Hint, Start: p.Start, End: p.End, Mentions: p.Mentions,
			Reason: executeReason, resolved: true, arguments: p.arguments}
		q.addSideEffects(p.arguments)
		switch {
		case inner.Kind != KindRead && inner.Kind != KindWrite:
			q.markWrite("EXECUTE")
			q.Binds, q.Lasting = "EXECUTE of something else than a query", true
		case q.Writes:
			q.Kind = KindWrite
		default:
			q.Kind = inner.Kind
			q.ReplicaToo = inner.replicaToo() && p.arguments.ReplicaToo
		}
		// Which casts the arguments go through isn't known, unless they or the parameters are plain.
		if !p.arguments.plainTypes && !inner.plainTypes {
			q.markWrite("the casts of EXECUTE's arguments")
			q.ReplicaToo = false
			if q.Kind == KindRead {
				q.Kind = KindWrite
			}
		}
	}
	q.addSideEffects(inner)
	if inner.Assigns != nil {
		if p.Kind == KindExecute && !slices.ContainsFunc(inner.Assigns, Assignment.hasParam) && q.Binds == "" {
			q.Assigns = inner.Assigns
		} else {
			q.Binds, q.Lasting = "set_config() in a prepared statement", true
		}
	}
	return &q
}

func (a Assignment) hasParam() bool {
	return a.Name.Param != 0 || a.Value.Param != 0 || a.Local.Param != 0
}
