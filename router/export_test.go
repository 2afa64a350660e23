package router

import (
	"github.com/freshet/freshet/consistency"
	"github.com/freshet/freshet/router/catalog"
)

// ColumnTypes is what the planner takes the types of a query's columns to be; 0 where it doesn't know.
func ColumnTypes(s *catalog.Snapshot, path []string, sql string) []uint32 {
	tree, err := parse(sql)
	if err != nil || len(tree.Stmts) != 1 || tree.Stmts[0].Stmt.GetSelectStmt() == nil {
		return nil
	}
	a := newAnalysis(newJudge(s), path, nil, "postgres")
	t := a.selectStmt(tree.Stmts[0].Stmt.GetSelectStmt(), nil)
	if t.partial {
		return nil
	}
	var out []uint32
	for _, c := range t.columns {
		out = append(out, c.typ.oid)
	}
	return out
}

// ListedFunctions are the names of functions that the planner knows by name.
func ListedFunctions() []string {
	var out []string
	for _, m := range []map[string]string{stableCacheable, stableOnReplica, writingStable, immutableUncacheable, volatileReads, volatileOnReplica, binding, runSQL} {
		for name := range m {
			out = append(out, name)
		}
	}
	return out
}

// CacheableStable tells whether a function is on the list of stable functions whose result may be cached.
func CacheableStable(name string) bool { _, ok := stableCacheable[name]; return ok }

// HasOverlooked plants a function call in a field of a parse tree that the planner doesn't look at, and tells what it
// makes of it.
func HasOverlooked(s *catalog.Snapshot) (uncacheable, write string) {
	tree, err := parse("SELECT EXISTS (SELECT 1)")
	if err != nil {
		return err.Error(), err.Error()
	}
	planted, err := parse("SELECT random()")
	if err != nil {
		return err.Error(), err.Error()
	}
	call := planted.Stmts[0].Stmt.GetSelectStmt().TargetList[0].GetResTarget().Val
	tree.Stmts[0].Stmt.GetSelectStmt().TargetList[0].GetResTarget().Val.GetSubLink().Xpr = call
	a := newAnalysis(newJudge(s), []string{"pg_catalog"}, nil, "postgres")
	a.query(tree.Stmts[0].Stmt, nil)
	return a.effect.uncacheable, a.effect.write
}

// FunctionEffect is what the planner thinks of a call of a function.
func FunctionEffect(s *catalog.Snapshot, oid uint32) (uncacheable, write string) {
	if f := s.Function(oid); f.Builtin() && f.Name == "current_setting" {
		return "", "" // by its argument
	}
	a := newAnalysis(newJudge(s), []string{"pg_catalog", "public"}, nil, "postgres")
	a.function(s.Function(oid))
	return a.effect.uncacheable, a.effect.write
}

// ReadsClock tells whether the input of a type can read the clock.
func ReadsClock(s *catalog.Snapshot, oid uint32) bool { return newJudge(s).readsClock(oid) }

// ParamUse is a parameter that a dependency takes values from.
type ParamUse struct {
	Index int
	Kind  consistency.ValueKind
	Array bool
}

// ParamUses returns the parameters that a plan's dependencies take values from.
func ParamUses(p *Plan) (uses []ParamUse) {
	for _, d := range p.Deps {
		if d.Set == nil {
			continue
		}
		for i, c := range d.Set.Columns() {
			for _, v := range d.Values[i] {
				if v.from == fromParam {
					uses = append(uses, ParamUse{v.index, c.Kind, v.array})
				}
			}
		}
	}
	return uses
}

// ElementTypes are the types of a kind.
func ElementTypes(k consistency.ValueKind) []uint32 { return elementTypes[k] }
