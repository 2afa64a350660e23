package router

import (
	"slices"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/freshet/freshet/router/catalog"
)

// generic looks through any part of a parse tree for what leaves state behind, without understanding its structure:
// by the names of all functions, operators, types and relations in it. It is for statements that are writes anyway.
type generic struct {
	j      *judge
	path   []string
	effect effect
}

func (g *generic) node(n *pg.Node) { g.message(n.ProtoReflect()) }

func (g *generic) message(m protoreflect.Message) {
	if !m.IsValid() {
		return
	}
	switch x := m.Interface().(type) {
	case *pg.FuncCall:
		g.call(x)
	case *pg.A_Expr:
		g.operator(x.Name)
	case *pg.SortBy:
		g.operator(x.UseOp)
	case *pg.TypeCast:
		g.cast(x.TypeName)
	case *pg.RangeVar:
		g.relation(x)
	case *pg.ColumnRef:
		if n := len(x.Fields); n > 1 {
			g.projection(x.Fields[n-1].GetString_().GetSval())
		}
	case *pg.A_Indirection:
		for _, n := range x.Indirection {
			g.projection(n.GetString_().GetSval())
		}
	case *pg.String:
		if strings.HasPrefix(x.Sval, "pg_temp") {
			g.effect.add(effect{binds: "temporary table"})
		}
		return
	case *pg.A_Const:
		return // a literal decides nothing: all of its class have one plan
	}
	children(m, g.message)
}

func lastName(list []*pg.Node) string {
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1].GetString_().GetSval()
}

func (g *generic) call(x *pg.FuncCall) {
	name := lastName(x.Funcname)
	local := name == "set_config" && len(x.Args) == 3 && x.Args[2].GetAConst().GetBoolval().GetBoolval()
	found := false
	for _, f := range g.j.s.FunctionsNamed(name) {
		if !g.visible(x.Funcname, f.Schema) {
			continue
		}
		found = true
		e := g.j.function(f)
		if local && f.Builtin() {
			e.binds = ""
		}
		g.effect.add(e)
	}
	if !found {
		g.effect.add(writes("function " + name + "() isn't known"))
	}
}

// visible tells whether something in a schema can be meant by a name.
func (g *generic) visible(name []*pg.Node, schema string) bool {
	if n := len(name); n > 1 {
		return name[n-2].GetString_().GetSval() == schema
	}
	return slices.Contains(g.path, schema)
}

func (g *generic) operator(name []*pg.Node) {
	for _, o := range g.j.s.OperatorsNamed(lastName(name)) {
		if o.OID >= catalog.FirstUserOID && g.visible(name, o.Schema) {
			g.effect.add(g.j.function(g.j.s.Function(o.Function)))
		}
	}
}

func (g *generic) projection(name string) {
	for _, f := range g.j.s.FunctionsNamed(name) {
		if !f.Builtin() && f.Accepts(1) && slices.Contains(g.path, f.Schema) {
			g.effect.add(g.j.function(f))
		}
	}
}

func (g *generic) cast(t *pg.TypeName) {
	if t == nil {
		return
	}
	for c := range g.j.s.UserCasts {
		if target := g.j.s.Type(c.Target); target != nil && target.Name == lastName(t.Names) && c.Function != 0 {
			g.effect.add(g.j.function(g.j.s.Function(c.Function)))
		}
	}
}

// relation adds what reading a relation sets off: functions in views and policies.
func (g *generic) relation(v *pg.RangeVar) {
	if v.Relpersistence == "t" || strings.HasPrefix(v.Schemaname, "pg_temp") {
		g.effect.add(effect{binds: "temporary table"})
	}
	if r := g.find(v); r != nil {
		c := closure{j: g.j}
		c.read(r)
		g.effect.add(c.effect)
	}
}

func (g *generic) find(v *pg.RangeVar) *catalog.Relation {
	if v == nil {
		return nil
	}
	path := g.path
	if v.Schemaname != "" {
		path = []string{v.Schemaname}
	}
	return g.j.s.FindRelation(path, v.Relname)
}

// written adds what writing to a relation sets off: triggers, rules, defaults, cascades.
func (g *generic) written(v *pg.RangeVar) {
	if r := g.find(v); r != nil {
		c := closure{j: g.j}
		c.write(r)
		g.effect.add(c.effect)
	}
}

// mentionsTemp tells whether the name of a temporary schema is anywhere in a statement but in its literals.
func mentionsTemp(n *pg.Node) bool {
	found := false
	var look func(m protoreflect.Message)
	look = func(m protoreflect.Message) {
		switch x := m.Interface().(type) {
		case *pg.RangeVar:
			found = found || x.Relpersistence == "t" || strings.HasPrefix(x.Schemaname, "pg_temp")
		case *pg.String:
			found = found || strings.HasPrefix(x.Sval, "pg_temp")
		case *pg.A_Const:
			return
		}
		children(m, look)
	}
	look(n.ProtoReflect())
	return found
}

// children calls visit for every message directly within one.
func children(m protoreflect.Message, visit func(protoreflect.Message)) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			list := v.List()
			for i := range list.Len() {
				visit(list.Get(i).Message())
			}
		default:
			visit(v.Message())
		}
		return true
	})
}
