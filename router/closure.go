package router

import (
	"fmt"

	"github.com/freshet/freshet/router/catalog"
)

// closure collects the effect of everything that a function, a rule or a write to a table can reach: the functions
// called in its body, the triggers of the tables written there, and so on. It is a search without memory of partial
// results, so that cycles do no harm.
//
// Bodies are looked at as text, word by word, not parsed: what matters is only whether any of the words by which
// state is left behind, or any function with an effect, is in them. A name counts wherever it stands and whatever its
// schema.
type closure struct {
	j         *judge
	effect    effect
	functions map[uint32]bool
	written   map[uint32]bool
	viewed    map[uint32]bool
}

func (c *closure) function(f *catalog.Function) {
	if f == nil {
		c.effect.add(writes("a function isn't known"))
		return
	}
	if f.Builtin() {
		c.effect.add(c.j.builtin(f))
		return
	}
	if c.functions[f.OID] {
		return
	}
	if c.functions == nil {
		c.functions = map[uint32]bool{}
	}
	c.functions[f.OID] = true
	c.effect.add(c.j.direct(f))
	for _, part := range f.Parts {
		c.function(c.j.s.Function(part))
	}
	if f.Language == "sql" || f.Language == "plpgsql" {
		c.body(f.Source, fmt.Sprintf("function %s.%s()", f.Schema, f.Name), false)
		c.body(f.DefaultArgs, fmt.Sprintf("a default of function %s.%s()", f.Schema, f.Name), true)
	}
}

// write adds what a write to a relation sets off.
func (c *closure) write(r *catalog.Relation) {
	if r == nil || c.written[r.OID] {
		return
	}
	if c.written == nil {
		c.written = map[uint32]bool{}
	}
	c.written[r.OID] = true
	for _, f := range r.Triggers {
		c.function(c.j.s.Function(f))
	}
	for _, rule := range r.Rules {
		c.body(rule, "a rule on "+r.Name, true)
	}
	for _, expr := range r.Defaults {
		c.body(expr, "a column default of "+r.Name, true)
	}
	for _, p := range r.Policies {
		c.body(p.Using+" "+p.Check, "a policy on "+r.Name, true)
	}
	for _, oid := range r.Cascades {
		c.write(c.j.s.Relation(oid))
	}
	for _, oid := range r.Children {
		c.write(c.j.s.Relation(oid))
	}
	if r.Kind == catalog.KindView {
		c.body(r.Definition, "view "+r.Name, true)
	}
}

// read adds what reading a relation by name, in a body, sets off.
func (c *closure) read(r *catalog.Relation) {
	if r.Persistence == catalog.Unlogged || r.Kind == catalog.KindForeignTable || r.Kind == catalog.KindSequence {
		c.effect.add(onPrimary(fmt.Sprintf("%s can't be read on a replica", r.Name)).forATime())
	}
	if c.viewed[r.OID] {
		return
	}
	if c.viewed == nil {
		c.viewed = map[uint32]bool{}
	}
	c.viewed[r.OID] = true
	if r.Kind == catalog.KindView && r.Definition != "" {
		c.body(r.Definition, "view "+r.Name, true)
	}
	for _, p := range r.Policies {
		c.body(p.Using+" "+p.Check, "a policy on "+r.Name, true)
	}
}

// body adds what the text of a function, rule or expression can do. where names it. A text that the server has
// deparsed names everything outside of pg_catalog with its schema; in others an unqualified name can be of any.
func (c *closure) body(text, where string, deparsed bool) {
	words := words(text)
	writing := false
	for _, w := range words {
		switch w.text {
		case "insert", "update", "delete", "merge", "copy", "truncate":
			writing = true
		}
	}
	operators := map[string]bool{} // those without a schema that were looked at
	for i, w := range words {
		if b := stateWord(words, i); b != "" {
			c.effect.add(effect{binds: b + " in " + where})
		}
		if w.first && w.kind == tokenIdent && w.text == "notify" {
			c.effect.add(effect{notifies: true})
		}
		// Where a name follows schema and point, the schema is certain for operators and in calls; elsewhere it could
		// be the alias of a table.
		schema := ""
		if i >= 2 && words[i-1].text == "." && words[i-1].kind == tokenSelf {
			schema = words[i-2].text
		} else if deparsed {
			schema = "pg_catalog"
		}
		switch w.kind {
		case tokenOperator:
			if i == 0 || words[i-1].text != "." {
				if operators[w.text] {
					continue
				}
				operators[w.text] = true
			}
			for _, o := range c.j.s.OperatorsNamed(w.text) {
				if o.OID >= catalog.FirstUserOID && (schema == "" || schema == o.Schema) {
					c.function(c.j.s.Function(o.Function))
				}
			}
		case tokenIdent, tokenQuoted:
			called := i+1 < len(words) && words[i+1].text == "(" && words[i+1].kind == tokenSelf
			for _, f := range c.j.s.FunctionsNamed(w.text) {
				switch {
				case called && schema != "" && schema != f.Schema:
				case !called && (f.Builtin() || i == 0 || words[i-1].text != "."):
					// Without parentheses it is a call only as in row.function.
				case f.Name == "set_config" && localSetConfig(words[i:]):
				default:
					c.function(f)
				}
			}
			for _, r := range c.j.s.RelationsNamed(w.text) {
				if r.System() {
					continue
				}
				c.read(r)
				if writing {
					c.write(r)
				}
			}
		}
	}
}
