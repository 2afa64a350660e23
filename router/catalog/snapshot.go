package catalog

// FirstUserOID is the first OID that initdb doesn't give out (FirstNormalObjectId): everything below it came with the
// server.
const FirstUserOID = 16384

// Snapshot is a picture of one database's catalog at one time, without temporary objects. It is immutable, and safe for
// concurrent use; what it returns belongs to it and must not be changed.
type Snapshot struct {
	// Generation is a number that no two snapshots of one process share; a newer one has a greater number. It is
	// never 0.
	Generation uint64
	// Digest is what the watcher compares: two snapshots with one digest say the same.
	Digest string
	// Database is the name of the database.
	Database string
	// ServerVersion is server_version_num.
	ServerVersion int
	// Encoding is the server's encoding, as pg_encoding_to_char gives it.
	Encoding string

	// SeesRefresh: there is an event trigger that tells the WAL feed of every REFRESH MATERIALIZED VIEW. (Whether the feed
	// follows a view is for it to say.)
	SeesRefresh bool
	// EventTriggers are the functions of the enabled event triggers, other than those of freshet setup, which DDL runs.
	EventTriggers []uint32

	databaseOwner uint32
	serverPath    string // search_path as the server has it without any role's or database's setting
	serverPathOK  bool   // serverPath is known

	schemas     map[string]*Schema
	relations   map[uint32]*Relation
	relByName   map[qualifiedName]*Relation
	relsNamed   map[string][]*Relation
	functions   map[uint32]*Function
	funcsByName map[string][]*Function
	types       map[uint32]*Type
	typeByName  map[qualifiedName]*Type
	opsByName   map[string][]*Operator
	casts       map[[2]uint32]*Cast
	castsTo     map[uint32][]*Cast
	roles       map[string]*role
	roleByOID   map[uint32]*role
	settings    []roleSetting
}

type qualifiedName struct{ schema, name string }

// Schema returns the schema of a name, or nil.
func (s *Snapshot) Schema(name string) *Schema { return s.schemas[name] }

// Relation returns the relation with an OID, or nil.
func (s *Snapshot) Relation(oid uint32) *Relation { return s.relations[oid] }

// RelationByName returns the relation of that name in a schema, or nil. Relations of every kind share one name space,
// also indexes and composite types.
func (s *Snapshot) RelationByName(schema, name string) *Relation {
	return s.relByName[qualifiedName{schema, name}]
}

// RelationsNamed returns every relation of that name, in any schema.
func (s *Snapshot) RelationsNamed(name string) []*Relation { return s.relsNamed[name] }

// FindRelation returns the first relation of that name in the schemas of path, or nil.
func (s *Snapshot) FindRelation(path []string, name string) *Relation {
	for _, schema := range path {
		if r := s.relByName[qualifiedName{schema, name}]; r != nil {
			return r
		}
	}
	return nil
}

// Descendants returns the OIDs of all partitions and inheritance children of a relation, of every depth, without itself.
func (s *Snapshot) Descendants(oid uint32) []uint32 {
	var out []uint32
	seen := map[uint32]bool{oid: true}
	queue := []uint32{oid}
	for len(queue) > 0 {
		r := s.relations[queue[0]]
		queue = queue[1:]
		if r == nil {
			continue
		}
		for _, child := range r.Children {
			if !seen[child] {
				seen[child] = true
				out = append(out, child)
				queue = append(queue, child)
			}
		}
	}
	return out
}

// Function returns the function, procedure, aggregate or window function with an OID, or nil.
func (s *Snapshot) Function(oid uint32) *Function { return s.functions[oid] }

// FunctionsNamed returns everything of that name in pg_proc, in any schema.
func (s *Snapshot) FunctionsNamed(name string) []*Function { return s.funcsByName[name] }

// OperatorsNamed returns every operator of that name in any schema.
func (s *Snapshot) OperatorsNamed(name string) []*Operator { return s.opsByName[name] }

// Type returns the type with an OID, or nil.
func (s *Snapshot) Type(oid uint32) *Type { return s.types[oid] }

// TypeByName returns the type of that name in a schema, or nil.
func (s *Snapshot) TypeByName(schema, name string) *Type {
	return s.typeByName[qualifiedName{schema, name}]
}

// FindType returns the first type of that name in the schemas of path, or nil.
func (s *Snapshot) FindType(path []string, name string) *Type {
	for _, schema := range path {
		if t := s.typeByName[qualifiedName{schema, name}]; t != nil {
			return t
		}
	}
	return nil
}

// Cast returns the entry of pg_cast for a pair of types, or nil.
func (s *Snapshot) Cast(source, target uint32) *Cast { return s.casts[[2]uint32{source, target}] }

// CastsTo returns every entry of pg_cast with that target.
func (s *Snapshot) CastsTo(target uint32) []*Cast { return s.castsTo[target] }

// UserCasts calls yield for every cast that didn't come with the server.
func (s *Snapshot) UserCasts(yield func(*Cast) bool) {
	for _, c := range s.casts {
		if c.OID >= FirstUserOID && !yield(c) {
			return
		}
	}
}

// Relations calls yield for every relation.
func (s *Snapshot) Relations(yield func(*Relation) bool) {
	for _, r := range s.relations {
		if !yield(r) {
			return
		}
	}
}

// Functions calls yield for every function.
func (s *Snapshot) Functions(yield func(*Function) bool) {
	for _, f := range s.functions {
		if !yield(f) {
			return
		}
	}
}
