package catalog

import "context"

// relations reads pg_class. Temporary relations of other sessions are of no concern to anybody; those of a session's
// own are hidden from the planner by binding. TOAST tables can't be named in a path.
func (l *loader) relations(ctx context.Context) error {
	var r Relation
	var kind, persistence, identity string
	return l.each(ctx, `SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, c.relowner, c.reltype,
			c.relrowsecurity, c.relforcerowsecurity, c.relispartition, c.relreplident::text, coalesce(c.reloptions, '{}'),
			EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relpersistence <> 't' AND c.relkind <> 't'`,
		[]any{&r.OID, &r.Schema, &r.Name, &kind, &persistence, &r.Owner, &r.RowType,
			&r.RowSecurity, &r.Forced, &r.IsPartition, &identity, &r.Options, &r.HasPrimaryKey}, func() {
			r.Kind, r.Persistence, r.ReplicaIdentity = kind[0], persistence[0], identity[0]
			rel := r
			r.Options = nil
			l.s.relations[rel.OID] = &rel
			l.s.relByName[qualifiedName{rel.Schema, rel.Name}] = &rel
			l.s.relsNamed[rel.Name] = append(l.s.relsNamed[rel.Name], &rel)
		})
}

func (l *loader) columns(ctx context.Context) error {
	var oid uint32
	var names []string
	var types []uint32
	return l.each(ctx, `SELECT attrelid, array_agg(attname::text ORDER BY attnum), array_agg(atttypid ORDER BY attnum)
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'm', 'f', 'p', 'c')
			AND c.relpersistence <> 't'
		GROUP BY attrelid`,
		[]any{&oid, &names, &types}, func() {
			r := l.s.relations[oid]
			if r == nil {
				return
			}
			r.Columns = make([]Column, len(names))
			for i := range names {
				r.Columns[i] = Column{names[i], types[i]}
			}
			names, types = nil, nil
		})
}

func (l *loader) inheritance(ctx context.Context) error {
	var child, parent uint32
	return l.each(ctx, `SELECT inhrelid, inhparent FROM pg_inherits ORDER BY 1, 2`,
		[]any{&child, &parent}, func() {
			if r := l.s.relations[parent]; r != nil && l.s.relations[child] != nil {
				r.Children = append(r.Children, child)
			}
		})
}

// perRelation runs a query of (relation, text) and gives each row to add.
func (l *loader) perRelation(ctx context.Context, sql string, add func(*Relation, string)) error {
	var oid uint32
	var text *string
	return l.each(ctx, sql, []any{&oid, &text}, func() {
		if r := l.s.relations[oid]; r != nil && text != nil {
			add(r, *text)
		}
	})
}

func (l *loader) views(ctx context.Context) error {
	return l.perRelation(ctx, `SELECT oid, pg_get_viewdef(oid) FROM pg_class
		WHERE oid >= 16384 AND relkind = 'v' AND relpersistence <> 't'`,
		func(r *Relation, def string) { r.Definition = def })
}

func (l *loader) rules(ctx context.Context) error {
	return l.perRelation(ctx, `SELECT ev_class, pg_get_ruledef(oid) FROM pg_rewrite
		WHERE oid >= 16384 AND rulename <> '_RETURN' ORDER BY oid`,
		func(r *Relation, def string) { r.Rules = append(r.Rules, def) })
}

func (l *loader) triggers(ctx context.Context) error {
	var oid, function uint32
	var ours, seesRefresh bool
	err := l.each(ctx, `SELECT e.evtfoid, o.ours, o.ours AND e.evtname = 'freshet_ddl_command_end' AND e.evtenabled = 'A'
		FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
		CROSS JOIN LATERAL (SELECT e.evtname IN ('freshet_ddl_command_end', 'freshet_sql_drop', 'freshet_ddl_command_start') AND p.pronamespace::regnamespace::text = 'freshet' AS ours) o
		WHERE e.evtenabled <> 'D' ORDER BY e.oid`, []any{&function, &ours, &seesRefresh}, func() {
		if !ours { // those are known to leave nothing behind
			l.s.EventTriggers = append(l.s.EventTriggers, function)
		}
		l.s.SeesRefresh = l.s.SeesRefresh || seesRefresh
	})
	if err != nil {
		return err
	}
	return l.each(ctx, `SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' ORDER BY oid`,
		[]any{&oid, &function}, func() {
			if r := l.s.relations[oid]; r != nil {
				r.Triggers = append(r.Triggers, function)
			}
		})
}

func (l *loader) cascades(ctx context.Context) error {
	var from, to uint32
	return l.each(ctx, `SELECT confrelid, conrelid FROM pg_constraint
		WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) ORDER BY oid`,
		[]any{&from, &to}, func() {
			if r := l.s.relations[from]; r != nil {
				r.Cascades = append(r.Cascades, to)
			}
		})
}

func (l *loader) defaults(ctx context.Context) error {
	return l.perRelation(ctx, `SELECT adrelid, pg_get_expr(adbin, adrelid) FROM pg_attrdef d JOIN pg_class c ON c.oid = adrelid
		WHERE c.oid >= 16384 AND c.relpersistence <> 't' ORDER BY d.oid`,
		func(r *Relation, expr string) { r.Defaults = append(r.Defaults, expr) })
}

func (l *loader) policies(ctx context.Context) error {
	var oid uint32
	var p Policy
	var command string
	return l.each(ctx, `SELECT polrelid, polname::text, polcmd::text, polroles, coalesce(pg_get_expr(polqual, polrelid), ''),
			coalesce(pg_get_expr(polwithcheck, polrelid), '')
		FROM pg_policy ORDER BY polrelid, polname`,
		[]any{&oid, &p.Name, &command, &p.Roles, &p.Using, &p.Check}, func() {
			p.Command = command[0]
			if r := l.s.relations[oid]; r != nil {
				r.Policies = append(r.Policies, p)
			}
			p.Roles = nil
		})
}
