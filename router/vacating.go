package router

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// Vacating says which database a statement needs for itself: Postgres refuses it while others are connected there.
type Vacating struct {
	Database string
	// Ends: afterwards there is no database of this name: it is dropped or renamed.
	Ends bool
	// Force: who is connected is disconnected.
	Force bool
	// Makes is the name of the database that there will be: a copy, or the same one renamed. Empty: none.
	Makes string
}

// template1 is the database that CREATE DATABASE copies if it isn't told otherwise.
const template1 = "template1"

// vacating tells what a plain utility statement needs; nil: nothing.
func vacating(n *pg.Node) *Vacating {
	switch x := n.Node.(type) {
	case *pg.Node_DropdbStmt:
		return &Vacating{Database: x.DropdbStmt.Dbname, Ends: true, Force: option(x.DropdbStmt.Options, "force") != nil}
	case *pg.Node_RenameStmt:
		if x.RenameStmt.RenameType == pg.ObjectType_OBJECT_DATABASE {
			return &Vacating{Database: x.RenameStmt.Subname, Ends: true, Makes: x.RenameStmt.Newname}
		}
	case *pg.Node_AlterDatabaseStmt:
		if option(x.AlterDatabaseStmt.Options, "tablespace") != nil {
			return &Vacating{Database: x.AlterDatabaseStmt.Dbname}
		}
	case *pg.Node_CreatedbStmt:
		v := &Vacating{Database: template1, Makes: x.CreatedbStmt.Dbname}
		if name := option(x.CreatedbStmt.Options, "template").GetArg().GetString_().GetSval(); name != "" {
			v.Database = name
		}
		return v
	}
	return nil
}

// option returns the last option of this name; nil: there is none.
func option(list []*pg.Node, name string) (found *pg.DefElem) {
	for _, o := range list {
		if d := o.GetDefElem(); strings.EqualFold(d.GetDefname(), name) {
			found = d
		}
	}
	return found
}
