package router

import (
	"fmt"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/router/catalog"
)

// rangeVar looks at a relation, or common table expression, by its name.
func (a *analysis) rangeVar(v *pg.RangeVar, sc *scope) *table {
	if v.Schemaname == "" && v.Catalogname == "" {
		if cte := sc.cte(v.Relname); cte != nil {
			return cte
		}
	}
	if strings.HasPrefix(v.Schemaname, "pg_temp") {
		a.add(effect{binds: "temporary table"})
	}
	r := a.s.FindRelation(a.in(v.Schemaname), v.Relname)
	if r == nil || v.Catalogname != "" && v.Catalogname != a.s.Database {
		a.add(writes(fmt.Sprintf("relation %s isn't known", v.Relname)))
		return &table{name: v.Relname, partial: true}
	}
	a.relation(r, v.Inh)
	if r.System() {
		return &table{name: r.Name, partial: true}
	}
	return relationTable(r)
}

// relation looks at a relation that is read, with its partitions and inheritance children unless ONLY is said.
func (a *analysis) relation(r *catalog.Relation, children bool) {
	if r.System() {
		a.add(onPrimary(fmt.Sprintf("%s is a system catalog", r.Name)))
		return
	}
	a.storage(r)
	switch r.Kind {
	case catalog.KindTable, catalog.KindPartitionedTable:
		if !children {
			return
		}
		for _, oid := range a.s.Descendants(r.OID) {
			if child := a.s.Relation(oid); child != nil {
				a.storage(child)
			}
		}
	case catalog.KindView:
		v := a.j.view(r)
		a.add(v.effect)
		for oid, n := range v.rels {
			a.rels[oid] += n
		}
	}
}

// storage looks at a relation for itself.
func (a *analysis) storage(r *catalog.Relation) {
	switch r.Kind {
	case catalog.KindTable:
		a.reads(r.OID)
	case catalog.KindPartitionedTable, catalog.KindView:
		// It has no rows of its own. A change of what it consists of is a change of the catalog.
	case catalog.KindMaterializedView:
		a.add(notCacheable(fmt.Sprintf("%s is a materialized view", r.Name)))
	case catalog.KindForeignTable:
		a.add(onPrimary(fmt.Sprintf("%s is a foreign table", r.Name)))
	case catalog.KindSequence:
		a.add(onPrimary(fmt.Sprintf("%s is a sequence", r.Name)))
	default:
		a.add(writes(fmt.Sprintf("%s isn't a table or view", r.Name)))
	}
	if r.Persistence != catalog.Permanent {
		a.add(onPrimary(fmt.Sprintf("table %s is unlogged", r.Name)))
	}
	if r.RowSecurity {
		a.add(notCacheable(fmt.Sprintf("table %s has row-level security", r.Name)))
		c := closure{j: a.j}
		for _, policy := range r.Policies {
			c.body(policy, "a policy on "+r.Name, true)
		}
		a.add(c.effect)
	}
	for _, c := range r.Columns {
		if problem := a.j.typeProblem(c.Type); problem != "" {
			a.add(notCacheable(fmt.Sprintf("column %s.%s: %s", r.Name, c.Name, problem)))
			break
		}
	}
}

// viewPlan is what reading a view amounts to. It is the same for everybody: its definition is looked at with every
// name qualified.
type viewPlan struct {
	effect effect
	rels   map[uint32]int
}

// view looks at a view's definition, once.
func (j *judge) view(r *catalog.Relation) *viewPlan {
	j.mu.Lock()
	v := j.mu.views[r.OID]
	j.mu.Unlock()
	if v != nil {
		return v
	}
	v = j.newView(r)
	j.mu.Lock()
	j.mu.views[r.OID] = v
	j.mu.Unlock()
	return v
}

func (j *judge) newView(r *catalog.Relation) *viewPlan {
	refuse := func(e effect) *viewPlan {
		c := closure{j: j}
		c.body(r.Definition, "view "+r.Name, true)
		e.add(c.effect)
		return &viewPlan{effect: e}
	}
	tree, err := parse(r.Definition)
	if err != nil || len(tree.Stmts) != 1 || tree.Stmts[0].Stmt.GetSelectStmt() == nil {
		return refuse(writes(fmt.Sprintf("the definition of view %s isn't understood", r.Name)))
	}
	a := newAnalysis(j, []string{"pg_catalog"}, nil)
	a.query(tree.Stmts[0].Stmt)
	v := &viewPlan{effect: a.effect, rels: a.rels}
	if v.effect.uncacheable != "" {
		v.effect.uncacheable = fmt.Sprintf("view %s: %s", r.Name, v.effect.uncacheable)
	}
	if on, ok := r.Option("security_invoker"); ok && on != "false" && on != "off" && on != "0" && on != "no" {
		v.effect.add(notCacheable(fmt.Sprintf("view %s has security_invoker", r.Name)))
	}
	if _, scan := NewLexer().Scan([]byte(r.Definition)); scan.ClockWord {
		v.effect.add(notCacheable(fmt.Sprintf("view %s holds a word like 'now' or 'today'", r.Name)))
	}
	return v
}
