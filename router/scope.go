package router

// scope holds what column names can refer to, of one query level.
type scope struct {
	parent  *scope
	tables  []*table
	rows    []*table        // records of PL/pgSQL: their fields are found by name and field only
	using   map[string]bool // columns that JOIN … USING has merged
	natural bool            // any column may be merged
	ctes    map[string]*table
}

// table is an item of a FROM clause.
type table struct {
	name    string
	columns []column
	// partial: there may be more columns than are known here, or with other names.
	partial bool
	// scalar: of a function that gives one value, whose only column has the table's name if it isn't given one.
	scalar bool
}

type column struct {
	name string
	typ  typ
}

// inner returns a scope for a query within this one.
func (sc *scope) inner() *scope { return &scope{parent: sc} }

// cte finds a common table expression.
func (sc *scope) cte(name string) *table {
	for ; sc != nil; sc = sc.parent {
		if t := sc.ctes[name]; t != nil {
			return t
		}
	}
	return nil
}

// table finds a FROM item by the name that it is known under.
func (sc *scope) table(name string) *table {
	for ; sc != nil; sc = sc.parent {
		for _, t := range sc.tables {
			if t.name == name {
				return t
			}
		}
		for _, t := range sc.rows {
			if t.name == name {
				return t
			}
		}
	}
	return nil
}

// column finds the type of an unqualified column; found is false if there can't be one of that name.
func (sc *scope) column(name string) (t typ, found bool) {
	for ; sc != nil; sc = sc.parent {
		partial, same := false, true
		n := 0
		for _, tab := range sc.tables {
			partial = partial || tab.partial
			if c, ok := tab.column(name); ok {
				if n > 0 && c != t {
					same = false
				}
				t = c
				n++
			}
		}
		merged := sc.natural || sc.using[name]
		switch {
		case n > 0 && same && !(merged && partial):
			return t, true
		case n > 0 || partial:
			return hidden, true
		}
	}
	return hidden, false
}

func (t *table) column(name string) (typ, bool) {
	found := false
	var out typ
	for _, c := range t.columns {
		if c.name == name {
			if found && c.typ != out {
				return hidden, true
			}
			found, out = true, c.typ
		}
	}
	return out, found
}

// renamed returns the table under another name, with its first columns renamed.
func (t *table) renamed(name string, columns []string) *table {
	out := &table{name: name, partial: t.partial}
	out.columns = append(out.columns, t.columns...)
	if t.scalar {
		out.columns[0].name = name
	}
	for i, c := range columns {
		if i < len(out.columns) {
			out.columns[i].name = c
		} else {
			out.columns = append(out.columns, column{c, hidden})
		}
	}
	if len(columns) > 0 && t.partial {
		// Which columns the names went to isn't known.
		out.columns = nil
	}
	return out
}
