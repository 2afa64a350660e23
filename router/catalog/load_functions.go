package catalog

import (
	"context"
	"strconv"
)

func (l *loader) types(ctx context.Context) error {
	var t Type
	var kind, category string
	err := l.each(ctx, `SELECT t.oid, n.nspname::text, t.typname::text, t.typtype::text, t.typcategory::text,
			CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE 0::oid END, t.typarray, t.typbasetype, t.typrelid,
			coalesce(r.rngsubtype, m.rngsubtype, 0::oid),
			t.typinput::oid, t.typoutput::oid, t.typreceive::oid, t.typsend::oid
		FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
		LEFT JOIN pg_range r ON r.rngtypid = t.oid AND t.typtype = 'r'
		LEFT JOIN pg_range m ON m.rngmultitypid = t.oid AND t.typtype = 'm'
		WHERE n.nspname !~ '^pg_(toast_)?temp_'`,
		[]any{&t.OID, &t.Schema, &t.Name, &kind, &category, &t.Elem, &t.Array, &t.Base, &t.Relation,
			&t.Subtype, &t.Input, &t.Output, &t.Receive, &t.Send}, func() {
			t.Kind, t.Category = kind[0], category[0]
			typ := t
			l.s.types[typ.OID] = &typ
			l.s.typeByName[qualifiedName{typ.Schema, typ.Name}] = &typ
		})
	return err
}

func (l *loader) domains(ctx context.Context) error {
	var oid uint32
	var text string
	return l.each(ctx, `SELECT contypid, pg_get_expr(conbin, 0) FROM pg_constraint WHERE contypid <> 0 AND contype = 'c' ORDER BY oid`,
		[]any{&oid, &text}, func() {
			if t := l.s.types[oid]; t != nil {
				t.Checks = append(t.Checks, text)
			}
		})
}

// functions reads pg_proc. The bodies of the server's own functions aren't needed: they are judged by name.
// Of these there are thousands, and reading them is most of what a load takes; they stay what they were as long as
// nothing in pg_proc has changed. (The text of other functions can change with the names in it.)
func (l *loader) functions(ctx context.Context) error {
	from := 0
	if l.same("proc", "namespace", "language") {
		from = FirstUserOID
		for name, list := range l.old.funcsByName {
			for _, f := range list {
				if f.Builtin() {
					l.s.functions[f.OID] = f
					l.s.funcsByName[name] = append(l.s.funcsByName[name], f)
				}
			}
		}
	}
	var f Function
	var kind, volatility string
	var all []uint32
	var modes, names []string
	var source, body *string
	return l.each(ctx, `SELECT p.oid, n.nspname::text, p.proname::text, p.prokind::text, p.provolatile::text, l.lanname::text,
			p.proargtypes::oid[], p.pronargdefaults, p.provariadic, p.prorettype, p.proretset,
			coalesce(p.proallargtypes, '{}'), coalesce(p.proargmodes::text[], '{}'), coalesce(p.proargnames, '{}'),
			coalesce(e.extname::text, ''),
			CASE WHEN p.oid >= 16384 THEN p.prosrc END, CASE WHEN p.oid >= 16384 THEN pg_get_function_sqlbody(p.oid) END, coalesce(p.probin, ''),
			p.proowner, p.prosecdef, coalesce(p.proconfig, '{}'), CASE WHEN p.oid >= 16384 THEN coalesce(pg_get_expr(p.proargdefaults, 0), '') ELSE '' END
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
		LEFT JOIN pg_depend d ON p.oid >= 16384 AND d.classid = 'pg_proc'::regclass AND d.objid = p.oid
			AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		LEFT JOIN pg_extension e ON e.oid = d.refobjid
		WHERE n.nspname !~ '^pg_(toast_)?temp_' AND p.oid >= `+strconv.Itoa(from),
		[]any{&f.OID, &f.Schema, &f.Name, &kind, &volatility, &f.Language, &f.Args, &f.Defaults, &f.Variadic, &f.Result, &f.ReturnsSet,
			&all, &modes, &names, &f.Extension, &source, &body, &f.Library, &f.Owner, &f.Definer, &f.Config, &f.DefaultArgs}, func() {
			f.Kind, f.Volatility = kind[0], volatility[0]
			fn := f
			if source != nil {
				fn.Source = *source
			}
			if body != nil {
				fn.Source, fn.Deparsed = *body, true
			}
			if len(modes) == 0 {
				fn.ArgNames = names
			}
			for i, mode := range modes {
				if i >= len(all) {
					break
				}
				name := ""
				if i < len(names) {
					name = names[i]
				}
				if mode == "o" || mode == "b" || mode == "t" {
					fn.Columns = append(fn.Columns, Column{Name: name, Type: all[i]})
				}
				if mode != "o" && mode != "t" {
					fn.ArgNames = append(fn.ArgNames, name)
				}
			}
			f.Args, all, modes, names, f.Config = nil, nil, nil, nil, nil
			l.s.functions[fn.OID] = &fn
			l.s.funcsByName[fn.Name] = append(l.s.funcsByName[fn.Name], &fn)
		})
}

// aggregates: an aggregate is called immutable whatever its parts are, so the parts have to be judged.
func (l *loader) aggregates(ctx context.Context) error {
	var oid uint32
	var parts []uint32
	var initial []string
	return l.each(ctx, `SELECT aggfnoid::oid, ARRAY[aggtransfn::oid, aggfinalfn::oid, aggcombinefn::oid, aggserialfn::oid,
			aggdeserialfn::oid, aggmtransfn::oid, aggminvtransfn::oid, aggmfinalfn::oid], array_remove(ARRAY[agginitval, aggminitval], NULL)
		FROM pg_aggregate WHERE aggfnoid::oid >= 16384`,
		[]any{&oid, &parts, &initial}, func() {
			if f := l.s.functions[oid]; f != nil {
				f.Initial = initial
				for _, p := range parts {
					if p != 0 {
						f.Parts = append(f.Parts, p)
					}
				}
			}
			parts, initial = nil, nil
		})
}

func (l *loader) operators(ctx context.Context) error {
	var o Operator
	return l.each(ctx, `SELECT o.oid, n.nspname::text, o.oprname::text, o.oprleft, o.oprright, o.oprresult, o.oprcode::oid
		FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE n.nspname !~ '^pg_(toast_)?temp_'`,
		[]any{&o.OID, &o.Schema, &o.Name, &o.Left, &o.Right, &o.Result, &o.Function}, func() {
			op := o
			l.s.opsByName[op.Name] = append(l.s.opsByName[op.Name], &op)
		})
}

func (l *loader) casts(ctx context.Context) error {
	var c Cast
	var context, method string
	return l.each(ctx, `SELECT oid, castsource, casttarget, castfunc, castcontext::text, castmethod::text FROM pg_cast`,
		[]any{&c.OID, &c.Source, &c.Target, &c.Function, &context, &method}, func() {
			c.Context, c.Method = context[0], method[0]
			cast := c
			l.s.casts[[2]uint32{cast.Source, cast.Target}] = &cast
			l.s.castsTo[cast.Target] = append(l.s.castsTo[cast.Target], &cast)
		})
}
