package router

import (
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// function looks at a call of a function. A user-defined one in SQL or PL/pgSQL is looked into, whatever volatility it
// claims to have: if its body is proven to read only, and nothing but tables, a call of it is like a view. If not, what is
// known of it by its declaration and by the words in its body holds (closure).
func (a *analysis) function(f *catalog.Function) {
	switch {
	case f == nil || f.Builtin():
		a.add(a.j.function(f))
	case f.Kind == catalog.KindAggregate:
		a.aggregate(f)
	case f.Kind == catalog.KindFunction && (f.Language == "sql" || f.Language == "plpgsql"):
		a.merge(a.remember(findingKey{ofFunction, f.OID, a.role, a.calling()}, func() *finding { return a.lookInto(f) }))
	default:
		a.add(a.j.function(f))
	}
}

// aggregate looks at what an aggregate is made of. It is called immutable whatever that is.
func (a *analysis) aggregate(f *catalog.Function) {
	for _, part := range f.Parts {
		a.function(a.s.Function(part))
	}
	for _, text := range f.Initial {
		if ClockWord([]byte(text)) {
			a.add(notCacheable(fmt.Sprintf("aggregate %s.%s() begins with a value that may read the clock", f.Schema, f.Name)))
		}
	}
}

func (a *analysis) lookInto(f *catalog.Function) *finding {
	name := fmt.Sprintf("function %s.%s()", f.Schema, f.Name)
	b := a.inBody(f)
	if b.effect.write == "" {
		b.clockWords(f.Source)
		if f.Language == "sql" {
			b.sqlBody(f)
		} else {
			b.plpgsqlBody(f)
		}
	}
	// The defaults of arguments that aren't given; which these are isn't asked.
	defaults := a.within()
	defaults.deparsed(f.DefaultArgs, nil)
	b.merge(defaults.found("a default of its arguments"))
	if b.effect.write == "" {
		return b.found(name)
	}
	known := a.j.function(f)
	if known.write == "" && known.uncacheable != "" {
		known.uncacheable = name + ": " + b.effect.uncacheable
	} else if known.write == name+volatileFunction {
		known = known.because(b.effect.write)
	}
	return &finding{effect: known}
}

// harmlessSettings are those that a function may set for itself: they decide how something is computed, or are among
// those that the session might have as well.
var harmlessSettings = names(map[string]string{
	"": `search_path timezone datestyle intervalstyle extra_float_digits bytea_output lc_monetary lc_numeric lc_time
		default_text_search_config client_min_messages work_mem hash_mem_multiplier statement_timeout lock_timeout
		idle_in_transaction_session_timeout max_parallel_workers_per_gather plan_cache_mode jit row_security check_function_bodies
		enable_seqscan enable_indexscan enable_indexonlyscan enable_bitmapscan enable_hashjoin enable_mergejoin enable_nestloop
		enable_hashagg enable_sort enable_material enable_memoize join_collapse_limit from_collapse_limit geqo random_page_cost`,
})

// inBody returns an analysis for a function's body: as whom it runs, and where it looks up names.
func (a *analysis) inBody(f *catalog.Function) *analysis {
	b := a.within()
	for _, c := range f.Config {
		setting, _, _ := strings.Cut(c, "=")
		if _, ok := harmlessSettings[strings.ToLower(setting)]; !ok && !strings.Contains(setting, ".") {
			b.add(writes("it sets " + setting))
			return b
		}
	}
	if f.Definer {
		b.role = a.s.RoleName(f.Owner)
		b.as = b.role
	}
	path, own := f.Setting("search_path")
	switch {
	case own:
		b.calls = a.s.EffectiveSearchPath(b.role, b.role, path, true)
	case f.Definer:
		b.calls = nil
	}
	switch {
	case f.Deparsed:
	case own:
		b.path = b.calls
	case f.Definer:
		// Which schemas of the session's search path the owner may use isn't known here.
		b.add(writes("it is SECURITY DEFINER without a search_path of its own"))
	case a.calls == nil:
		b.add(writes("it is called by a SECURITY DEFINER function without a search_path of its own"))
	default:
		b.path = a.calls
	}
	b.params = make([]uint32, len(f.Args))
	for i, t := range f.Args {
		if !a.j.pseudo(t) {
			b.params[i] = t
		}
	}
	return b
}

// arguments is the scope in which a function's body finds its arguments: by their names, and by the function's name and
// theirs. What a query within finds as a column comes first.
func (a *analysis) arguments(f *catalog.Function) *table {
	t := &table{name: f.Name}
	for i, name := range f.ArgNames {
		if name != "" && i < len(a.params) {
			t.columns = append(t.columns, column{name, typ{oid: a.params[i]}})
		}
	}
	return t
}

// sqlBody looks at the body of a function in SQL.
func (a *analysis) sqlBody(f *catalog.Function) {
	queries, ok := a.sqlStatements(f)
	if !ok {
		a.add(writes("its body isn't understood"))
		return
	}
	sc := &scope{tables: []*table{a.arguments(f)}}
	var last *table
	for _, n := range queries {
		if n.GetSelectStmt() == nil {
			a.add(writes(strings.TrimSuffix(nodeName(n), "Stmt") + " in it isn't a SELECT"))
			return
		}
		last = a.query(n, sc)
	}
	if last != nil {
		a.resultOf(f, last)
	}
}

// sqlStatements are the statements of a body; RETURN is made a SELECT.
func (a *analysis) sqlStatements(f *catalog.Function) (list []*pg.Node, ok bool) {
	if !f.Deparsed {
		tree, err := parse(f.Source)
		if err != nil {
			return nil, false
		}
		for _, raw := range tree.Stmts {
			list = append(list, raw.Stmt)
		}
		return list, true
	}
	tree, err := parse("CREATE FUNCTION f() RETURNS int LANGUAGE sql " + f.Source)
	if err != nil || len(tree.Stmts) != 1 {
		return nil, false
	}
	body := tree.Stmts[0].Stmt.GetCreateFunctionStmt().GetSqlBody()
	if r := body.GetReturnStmt(); r != nil {
		return []*pg.Node{selecting(r.Returnval)}, true
	}
	for _, part := range body.GetList().GetItems() {
		for _, n := range part.GetList().GetItems() {
			if r := n.GetReturnStmt(); r != nil {
				n = selecting(r.Returnval)
			}
			list = append(list, n)
		}
	}
	return list, body.GetList() != nil
}

// selecting is SELECT with an expression.
func selecting(expr *pg.Node) *pg.Node {
	target := &pg.Node{Node: &pg.Node_ResTarget{ResTarget: &pg.ResTarget{Val: expr}}}
	return &pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: &pg.SelectStmt{TargetList: []*pg.Node{target}}}}
}

// resultOf looks at how what a body's last query gives is brought to the result's type, which is an assignment.
func (a *analysis) resultOf(f *catalog.Function, t *table) {
	types := a.resultTypes(f)
	for i, target := range types {
		from := hidden
		if !t.partial && i < len(t.columns) && len(t.columns) == len(types) {
			from = t.columns[i].typ
		}
		a.assigned(from, target)
	}
}

// resultTypes are the types of the columns that a function returns; unknown ones are left out.
func (a *analysis) resultTypes(f *catalog.Function) (types []uint32) {
	if len(f.Columns) > 0 {
		for _, c := range f.Columns {
			types = append(types, c.Type)
		}
		return types
	}
	t := a.s.Type(a.j.base(f.Result))
	if t != nil && t.Kind == catalog.TypeComposite {
		if r := a.s.Relation(t.Relation); r != nil {
			for _, c := range r.Columns {
				types = append(types, c.Type)
			}
			return types
		}
	}
	if t != nil && t.Kind != catalog.TypePseudo {
		types = append(types, f.Result)
	}
	return types
}

// assigned looks at an assignment cast: one that goes by pg_cast, or from a literal, but never through the text of
// something else.
func (a *analysis) assigned(from typ, target uint32) {
	if from.oid == target || a.j.pseudo(target) {
		return
	}
	a.castFunctions(from, target)
	a.domain(target)
}
