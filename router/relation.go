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
		a.add(systemCatalog(r))
		return
	}
	a.storage(r)
	a.rowSecurity(r) // that of children doesn't count where they are read through their parent
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
		a.merge(a.view(r))
	}
}

// systemCatalog is the effect of reading a relation that came with the server. Catalogs change in ways that aren't in the feed, but
// every replica has them; views of what a server is doing are asked about the primary.
func systemCatalog(r *catalog.Relation) effect {
	reason := r.Name + " is a system catalog"
	_, node := nodeViews[r.Name]
	if r.Schema == "pg_catalog" && r.Kind == catalog.KindView && (node || strings.HasPrefix(r.Name, "pg_stat_") || strings.HasPrefix(r.Name, "pg_statio_")) {
		e := onPrimary(reason)
		e.prepared = r.Name == "pg_prepared_statements"
		if _, own := sessionViews[r.Name]; own || strings.HasPrefix(r.Name, "pg_stat_xact_") {
			return e
		}
		return e.forATime()
	}
	if r.Kind == catalog.KindTable || r.Kind == catalog.KindView {
		e := notCacheable(reason)
		e.catalogs = true
		return e
	}
	return onPrimary(reason)
}

// storage looks at a relation for itself.
func (a *analysis) storage(r *catalog.Relation) {
	switch r.Kind {
	case catalog.KindTable:
		a.reads(r.OID)
	case catalog.KindPartitionedTable, catalog.KindView:
		// It has no rows of its own. A change of what it consists of is a change of the catalog.
	case catalog.KindMaterializedView:
		if !a.s.SeesRefresh {
			a.add(notCacheable(fmt.Sprintf("%s is a materialized view, and without the event triggers of freshet setup its REFRESH goes unseen", r.Name)))
		}
		a.reads(r.OID)
	case catalog.KindForeignTable:
		a.add(onPrimary(fmt.Sprintf("%s is a foreign table", r.Name)).forATime())
	case catalog.KindSequence:
		a.add(onPrimary(fmt.Sprintf("%s is a sequence", r.Name)).forATime())
	default:
		a.add(writes(fmt.Sprintf("%s isn't a table or view", r.Name)))
	}
	switch r.Persistence {
	case catalog.Permanent:
	case catalog.Unlogged:
		a.add(onPrimary(fmt.Sprintf("table %s is unlogged", r.Name)).forATime())
	default:
		a.add(onPrimary(fmt.Sprintf("table %s is temporary", r.Name)))
	}
	for _, c := range r.Columns {
		if problem := a.j.typeProblem(c.Type); problem != "" {
			a.add(notCacheable(fmt.Sprintf("column %s.%s: %s", r.Name, c.Name, problem)))
			break
		}
	}
}

// rowSecurity looks at the policies that hold for whoever reads a relation (check_enable_rls, get_row_security_policies).
// What depends on the role alone is safe: the role is in the key, and a change of roles invalidates everything.
func (a *analysis) rowSecurity(r *catalog.Relation) {
	if !r.RowSecurity || a.s.BypassesRowSecurity(a.as) || a.s.HasPrivilegesOf(a.as, r.Owner) && !r.Forced {
		return
	}
	for _, p := range r.Policies {
		if p.Command != 'r' && p.Command != '*' || !a.isFor(p) {
			continue
		}
		policy := a.within()
		policy.as = a.as
		policy.deparsed(p.Using, &scope{tables: []*table{relationTable(r)}})
		where := fmt.Sprintf("policy %s of table %s", p.Name, r.Name)
		if policy.effect.write != "" {
			c := closure{j: a.j}
			c.body(p.Using, where, true)
			policy.effect = effect{uncacheable: policy.effect.uncacheable}
			policy.effect.add(c.effect)
		}
		a.merge(policy.found(where))
	}
}

// isFor tells whether a policy is for the role that reads. About a role that isn't known yet nothing is assumed.
func (a *analysis) isFor(p catalog.Policy) bool {
	if !a.s.RoleExists(a.as) {
		return true
	}
	for _, role := range p.Roles {
		if a.s.HasPrivilegesOf(a.as, role) {
			return true
		}
	}
	return false
}

// view looks at a view's definition.
func (a *analysis) view(r *catalog.Relation) *finding {
	return a.remember(findingKey{ofView, r.OID, a.role, a.calling()}, func() *finding { return a.newView(r) })
}

func (a *analysis) newView(r *catalog.Relation) *finding {
	name := "view " + r.Name
	b := a.within()
	// The relations of a view are read with the rights of its owner; those of a security_invoker view with those of whoever
	// runs the statement, also when it is read through another view.
	if on, ok := r.Option("security_invoker"); !ok || on == "false" || on == "off" || on == "0" || on == "no" {
		b.as = a.s.RoleName(r.Owner)
	}
	tree, err := parse(r.Definition)
	if err != nil || len(tree.Stmts) != 1 || tree.Stmts[0].Stmt.GetSelectStmt() == nil {
		b.add(writes("its definition isn't understood"))
	} else {
		b.query(tree.Stmts[0].Stmt, nil)
	}
	b.clockWords(r.Definition)
	if b.effect.write != "" {
		c := closure{j: a.j}
		c.body(r.Definition, name, true)
		b.effect.add(c.effect)
	}
	return b.found(name)
}
