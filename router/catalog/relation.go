package catalog

// Kinds of relations (pg_class.relkind).
const (
	KindTable            = 'r'
	KindIndex            = 'i'
	KindSequence         = 'S'
	KindToast            = 't'
	KindView             = 'v'
	KindMaterializedView = 'm'
	KindComposite        = 'c'
	KindForeignTable     = 'f'
	KindPartitionedTable = 'p'
	KindPartitionedIndex = 'I'
)

// Kinds of persistence (pg_class.relpersistence). Temporary relations aren't in a snapshot.
const (
	Permanent = 'p'
	Unlogged  = 'u'
)

// Schema is a namespace.
type Schema struct {
	OID  uint32
	Name string
	// usage are the roles that were granted USAGE (as a rule the owner is among them); 0 is PUBLIC.
	usage []uint32
}

// Column is a column of a relation, or an output column of a function.
type Column struct {
	Name string
	Type uint32
}

// Relation is an entry of pg_class. Columns are given for relations with OIDs from FirstUserOID on.
type Relation struct {
	OID         uint32
	Schema      string
	Name        string
	Kind        byte
	Persistence byte
	Owner       uint32
	RowType     uint32
	// RowSecurity: its policies hold, for the owner too where it is Forced.
	RowSecurity bool
	Forced      bool
	IsPartition bool
	// ReplicaIdentity is pg_class.relreplident: d, n, f or i. HasPrimaryKey tells what d means.
	ReplicaIdentity byte
	HasPrimaryKey   bool
	// PrimaryKey and Identity are the names of the key columns of the primary key, and of the index that is the replica identity, in
	// the order of the names; nil where there is none. (With f, the identity is all columns.)
	PrimaryKey, Identity []string
	// Unkeyed are the columns by whose values rows can't be picked: generated ones, which aren't in the stream of changes, and those
	// with a nondeterministic collation, under which other bytes can be equal. Only for tables.
	Unkeyed []string
	// Rows is about how many rows a table has; -1 where nobody has counted.
	Rows    int64
	Options []string
	Columns []Column
	// Children are the direct partitions and inheritance children.
	Children []uint32
	// Definition is the query of a view, with every name outside of pg_catalog qualified.
	Definition string
	// Rules are the definitions of its rules but the one that makes a view a view.
	Rules []string
	// Triggers are the functions of its enabled triggers but those of constraints.
	Triggers []uint32
	// Cascades are the relations to which its deletes and updates are carried on by foreign keys.
	Cascades []uint32
	Policies []Policy
	// Defaults are the expressions of its column defaults and generated columns.
	Defaults []string
}

// Policy is a row security policy.
type Policy struct {
	Name string
	// Command is r (SELECT), a (INSERT), w (UPDATE), d (DELETE) or * (all).
	Command byte
	// Roles are those that it is for; 0 is PUBLIC.
	Roles []uint32
	// Using and Check are its expressions, empty where there is none; every name outside of pg_catalog is qualified, but the
	// columns of the relation aren't.
	Using, Check string
}

// System tells whether the relation came with the server.
func (r *Relation) System() bool { return r.OID < FirstUserOID }

// Option returns the value of a storage parameter such as security_invoker.
func (r *Relation) Option(name string) (string, bool) {
	for _, o := range r.Options {
		if len(o) > len(name) && o[:len(name)] == name && o[len(name)] == '=' {
			return o[len(name)+1:], true
		}
	}
	return "", false
}

// Column returns the column of that name.
func (r *Relation) Column(name string) (Column, bool) {
	for _, c := range r.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}
