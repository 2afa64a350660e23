package router

import (
	"slices"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router/catalog"
)

// isEquality tells whether an operator is = by its name.
func isEquality(name []*pg.Node) bool {
	return lastName(name) == "=" && (len(name) == 1 || len(name) == 2 && name[0].GetString_().GetSval() == "pg_catalog")
}

// equality tells whether an operator that is called = is the one of the server for values of a kind, for two types of which one may
// be that of an untyped literal or parameter.
func (d *rowDeps) equality(name []*pg.Node, src *source, left, right uint32) bool {
	path := src.path
	if len(name) == 2 {
		path = []string{"pg_catalog"}
	}
	kind := d.a.j.kindOf(left)
	if kind == 0 || right != oidUnknown && d.a.j.kindOf(right) != kind {
		return false
	}
	var candidates []*catalog.Operator
	for _, in := range path {
		for _, o := range d.a.s.OperatorsNamed("=") {
			if o.Schema == in && o.Left != 0 {
				candidates = append(candidates, o)
			}
		}
	}
	l, r := typ{oid: left}, typ{oid: right}
	if right == oidUnknown {
		r = untyped
		right = left
	}
	chosen := d.a.chooseOperators(candidates, l, r, left, right)
	// Among those of the server, Postgres chooses the one for the kind (see TestEqualityIsTheOneThatPostgresChooses).
	return len(chosen) > 0 && !slices.ContainsFunc(chosen, func(o *catalog.Operator) bool { return o.OID >= catalog.FirstUserOID })
}

// comparable tells whether two columns are compared by such an operator where no operator is named.
func (d *rowDeps) comparable(src *source, a, b ref) bool {
	x, y := a.column(), b.column()
	return x.kind != 0 && x.kind == y.kind && d.equality([]*pg.Node{nil}, src, x.typ, y.typ)
}

// column returns the column that an expression is, and the type that it is compared as. Casts that change no value are looked through:
// Postgres itself adds them in views.
func (d *rowDeps) column(n *pg.Node, sc *naming) (ref, uint32, bool) {
	switch x := n.GetNode().(type) {
	case *pg.Node_ColumnRef:
		r, ok := sc.resolve(x.ColumnRef)
		if !ok || r.column().kind == 0 {
			return ref{}, 0, false
		}
		return r, r.column().typ, true
	case *pg.Node_TypeCast:
		r, _, ok := d.column(x.TypeCast.Arg, sc)
		if !ok {
			break
		}
		kind := r.column().kind
		if target, array := d.castType(x.TypeCast.TypeName, sc.source); !array && slices.Contains(elementTypes[kind], target) {
			return r, target, true
		}
	}
	return ref{}, 0, false
}

// castType returns the type that a cast is to, or that of the elements if it is an array; 0: one that doesn't matter here, or that could
// change the value (varchar(3)).
func (d *rowDeps) castType(t *pg.TypeName, src *source) (oid uint32, array bool) {
	if t == nil || t.Setof || t.PctType || len(t.Typmods) > 0 || len(t.ArrayBounds) > 1 || len(t.Names) == 0 || len(t.Names) > 2 {
		return 0, false
	}
	path := src.path
	if len(t.Names) == 2 {
		path = []string{t.Names[0].GetString_().GetSval()}
	}
	found := d.a.s.FindType(path, lastName(t.Names))
	if found == nil || !found.Builtin() {
		return 0, false
	}
	return found.OID, len(t.ArrayBounds) == 1
}

// scalar returns the value that a column is compared with.
func (d *rowDeps) scalar(op []*pg.Node, n *pg.Node, column uint32, kind consistency.ValueKind, src *source) (Value, bool) {
	begin := len(d.pending)
	v, ok := d.operand(op, n, column, kind, src)
	if !ok {
		d.pending = d.pending[:begin]
		return v, false
	}
	d.understood(begin)
	return v, d.certain([]Value{v})
}

// operand returns a value that a column is compared with. Its parameters are pending.
func (d *rowDeps) operand(op []*pg.Node, n *pg.Node, column uint32, kind consistency.ValueKind, src *source) (Value, bool) {
	v, typ, ok := d.value(n, kind, src)
	return v, ok && d.equality(op, src, column, typ)
}

// value returns what an expression stands for, if it is a literal or parameter, perhaps with a cast that changes no value.
func (d *rowDeps) value(n *pg.Node, kind consistency.ValueKind, src *source) (Value, uint32, bool) {
	switch x := n.GetNode().(type) {
	case *pg.Node_AConst:
		return d.constant(x.AConst, src)
	case *pg.Node_ParamRef:
		v, typ, ok := d.param(x.ParamRef, use{kind, false}, src)
		return v, typ, ok
	case *pg.Node_TypeCast:
		target, array := d.castType(x.TypeCast.TypeName, src)
		if array || !slices.Contains(elementTypes[kind], target) {
			break
		}
		if x.TypeCast.Arg.GetAConst() == nil && x.TypeCast.Arg.GetParamRef() == nil {
			break
		}
		v, typ, ok := d.value(x.TypeCast.Arg, kind, src)
		if typ != oidUnknown && !slices.Contains(elementTypes[kind], typ) {
			break // '1'::int reads a literal, 1::text writes one
		}
		return v, target, ok
	}
	return Value{}, 0, false
}

// array returns the values of an array that a column is compared with any of.
func (d *rowDeps) array(op []*pg.Node, n *pg.Node, column uint32, kind consistency.ValueKind, src *source) ([]Value, bool) {
	begin := len(d.pending)
	values, ok := d.elements(op, n, column, kind, src)
	if !ok {
		d.pending = d.pending[:begin]
		return nil, false
	}
	d.understood(begin)
	return values, d.certain(values)
}

func (d *rowDeps) elements(op []*pg.Node, n *pg.Node, column uint32, kind consistency.ValueKind, src *source) ([]Value, bool) {
	elem := uint32(oidUnknown)
	if x := n.GetTypeCast(); x != nil {
		target, array := d.castType(x.TypeName, src)
		if !array || !slices.Contains(elementTypes[kind], target) {
			return nil, false
		}
		n, elem = x.Arg, target
	}
	if !d.equality(op, src, column, elem) {
		return nil, false
	}
	switch x := n.GetNode().(type) {
	case *pg.Node_AConst:
		v, typ, ok := d.constant(x.AConst, src)
		v.array = true
		return []Value{v}, ok && typ == oidUnknown
	case *pg.Node_ParamRef:
		v, _, ok := d.param(x.ParamRef, use{kind, true}, src)
		return []Value{v}, ok
	case *pg.Node_AArrayExpr:
		if len(x.AArrayExpr.Elements) > maxRows {
			return nil, false
		}
		var values []Value
		for _, e := range x.AArrayExpr.Elements {
			v, ok := d.operand(op, e, column, kind, src)
			if !ok {
				return nil, false
			}
			values = append(values, v)
		}
		return values, true
	}
	return nil, false
}

// constant returns a literal as a value, and its type before its surroundings give it one.
func (d *rowDeps) constant(c *pg.A_Const, src *source) (Value, uint32, bool) {
	t := d.a.constant(c)
	text := ""
	switch x := c.Val.(type) {
	case *pg.A_Const_Boolval: // a keyword
		text = "f"
		if x.Boolval.GetBoolval() {
			text = "t"
		}
		return Value{from: fromFixed, fixed: text}, t.oid, true
	case *pg.A_Const_Ival:
		text = itoa(int(x.Ival.GetIval()))
	case *pg.A_Const_Fval:
		text = x.Fval.GetFval()
	case *pg.A_Const_Sval:
		text = x.Sval.GetSval()
	default:
		return Value{}, 0, false // NULL, bits
	}
	if t.oid == oidNumeric {
		return Value{}, 0, false
	}
	if src.stored() {
		return Value{from: fromFixed, fixed: text}, t.oid, true
	}
	v, ok := src.literal(int(c.Location))
	return v, t.oid, ok
}

// literal finds the literal that a constant at a place in the text is made of. The grammar folds minus signs before a number into it, and
// then the place is that of the sign.
func (s *source) literal(at int) (Value, bool) {
	if at < 0 || at >= len(s.text) {
		return Value{}, false
	}
	v := Value{from: fromLiteral}
	sc := scanner{text: []byte(s.text), pos: at}
	for {
		t := sc.next()
		switch {
		case t.kind == tokenOperator && s.text[t.start:t.end] == "-":
			v.negative = !v.negative
			continue
		case t.kind == tokenSelf && s.text[t.start] == '(':
			continue
		}
		i, ok := slices.BinarySearchFunc(s.tokens, t.start, func(t token, start int) int { return t.start - start })
		v.index = i
		return v, ok && s.tokens[i].kind == t.kind
	}
}

// use is how a parameter is used: as a value of a kind, or as an array of such.
type use struct {
	kind  consistency.ValueKind
	array bool
}

type pendingUse struct {
	param *pg.ParamRef
	use   use
}

// param returns a parameter as a value. One without a declared type gets it from where it is first used, wherever that is; so each place
// that is understood is noted, and in the end all of them must be.
func (d *rowDeps) param(p *pg.ParamRef, u use, src *source) (Value, uint32, bool) {
	if src.stored() || p.Number < 1 {
		return Value{}, 0, false
	}
	v := Value{from: fromParam, index: int(p.Number) - 1, array: u.array}
	declared := uint32(0)
	if v.index < len(d.a.params) {
		declared = d.a.params[v.index]
	}
	if declared == 0 || declared == oidUnknown {
		d.pending = append(d.pending, pendingUse{p, u})
		return v, oidUnknown, true
	}
	typ := declared
	if u.array {
		t := d.a.s.Type(declared)
		if t == nil || t.Elem == 0 {
			return Value{}, 0, false
		}
		typ = t.Elem
	}
	return v, typ, slices.Contains(elementTypes[u.kind], typ)
}

// understood takes note of what became of parameters.
func (d *rowDeps) understood(begin int) {
	for _, p := range d.pending[begin:] {
		d.uses[p.param] = p.use
	}
	d.pending = d.pending[:begin]
}

// certain tells whether the types of all parameters among the values are known.
func (d *rowDeps) certain(values []Value) bool {
	for _, v := range values {
		if v.from != fromParam || v.index < len(d.a.params) && d.a.params[v.index] != 0 && d.a.params[v.index] != oidUnknown {
			continue
		}
		if d.doubtful[v.index] {
			return false
		}
	}
	return true
}

// doubt finds the parameters without a declared type that are also used in ways that weren't understood, or in several.
func (d *rowDeps) doubt(n *pg.Node) map[int]bool {
	doubtful := map[int]bool{}
	seen := map[int32]use{}
	each(n.ProtoReflect(), func(n *pg.Node) bool {
		if p := n.GetParamRef(); p != nil {
			u, ok := d.uses[p]
			if before, again := seen[p.Number]; !ok || again && before != u {
				doubtful[int(p.Number)-1] = true
			}
			seen[p.Number] = u
		}
		return true
	})
	return doubtful
}
