package router

// Kind is the kind of a statement.
type Kind uint8

// Kinds of statements. The zero value is the one about which nothing may be assumed.
const (
	KindInvalid            Kind = iota // doesn't parse, or can't be understood: the primary shall say
	KindEmpty                          // nothing but whitespace, comments and semicolons
	KindRead                           // SELECT, VALUES, TABLE, EXPLAIN … that is proven to write nothing
	KindWrite                          // INSERT, UPDATE, DELETE, MERGE, a SELECT that isn't proven a read
	KindUtility                        // everything else that Postgres has (DDL, CALL, DO, VACUUM, LISTEN …): a write
	KindCopy                           // COPY in either direction (Writes tells FROM from TO)
	KindCursor                         // DECLARE, FETCH, MOVE, CLOSE
	KindMulti                          // more than one statement; Parts has them
	KindBegin                          // BEGIN, START TRANSACTION (Transaction)
	KindCommit                         // COMMIT, END (Transaction.Chain)
	KindRollback                       // ROLLBACK, ABORT (Transaction.Chain)
	KindSavepoint                      // SAVEPOINT Name
	KindRelease                        // RELEASE [SAVEPOINT] Name
	KindRollbackTo                     // ROLLBACK TO [SAVEPOINT] Name
	KindPrepareTransaction             // PREPARE TRANSACTION 'gid'
	KindCommitPrepared                 // COMMIT PREPARED 'gid'
	KindRollbackPrepared               // ROLLBACK PREPARED 'gid'
	KindSet                            // SET, SET LOCAL, SET TRANSACTION, SET TIME ZONE … (Set)
	KindReset                          // RESET name, RESET ALL (Set)
	KindShow                           // SHOW name, SHOW ALL (Show)
	KindDiscard                        // DISCARD ALL | PLANS | SEQUENCES | TEMP (Name, lower-case)
	KindPrepare                        // PREPARE Name AS …
	KindExecute                        // EXECUTE Name
	KindDeallocate                     // DEALLOCATE Name; Name is empty for ALL
)

var kindNames = [...]string{"invalid", "empty", "read", "write", "utility", "copy", "cursor", "multi", "begin", "commit", "rollback", "savepoint",
	"release", "rollback to", "prepare transaction", "commit prepared", "rollback prepared", "set", "reset", "show", "discard",
	"prepare", "execute", "deallocate"}

// String is a word for users.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Isolation is the isolation level that BEGIN or SET TRANSACTION asks for.
type Isolation uint8

// Isolation levels.
const (
	IsolationUnset Isolation = iota
	IsolationReadUncommitted
	IsolationReadCommitted
	IsolationRepeatableRead
	IsolationSerializable
)

// Access is the access mode that BEGIN or SET TRANSACTION asks for.
type Access uint8

// Access modes.
const (
	AccessUnset Access = iota
	AccessReadWrite
	AccessReadOnly
)

// Transaction holds the options of a transaction control statement.
type Transaction struct {
	Isolation     Isolation
	Access        Access
	Deferrable    bool
	NotDeferrable bool // said so; neither: the default
	// Start: the statement is spelled START TRANSACTION, which its command tag shows.
	Start bool
	// Chain: COMMIT or ROLLBACK AND CHAIN: a new transaction begins at once.
	Chain bool
}

// Setting is what a single SET or RESET does.
type Setting struct {
	// Name of the setting in lower case, empty for RESET ALL. SET TIME ZONE is timezone, SET NAMES client_encoding,
	// SET ROLE role, SET SESSION AUTHORIZATION session_authorization; SET TRANSACTION is transaction_mode, and SET
	// SESSION CHARACTERISTICS AS TRANSACTION is default_transaction_mode: what they say is in Plan.Transaction.
	Name string
	// SQL is the statement without what stands around it: it does the same on another connection.
	SQL string
	// IsLocal: it ends with the transaction: SET LOCAL, SET TRANSACTION, and SET of the three settings that it stands
	// for.
	IsLocal bool
	// Value is what set_config() would be given, where the statement has only constants (lists are joined as Postgres
	// does it). Empty for Default and for an INTERVAL as time zone, for which HasValue is false.
	Value    string
	HasValue bool
	// Default: RESET name, or SET name TO DEFAULT.
	Default bool
	// All: RESET ALL. It leaves role, session authorization and the transaction's modes as they are.
	All bool
}

// Assignment is what one set_config() call does.
type Assignment struct{ Name, Value, Local Argument }

// Argument is an argument of a call: a constant, or a parameter of the statement.
type Argument struct {
	Param int // $1 is 1; 0: a constant
	Text  string
	Null  bool
}

// Constant returns the argument that is a constant.
func Constant(text string) Argument { return Argument{Text: text} }

// Plan is what there is to know about a statement before it runs. It is immutable, and safe for concurrent use.
type Plan struct {
	Kind Kind
	// Generation of the catalog snapshot by which the plan was made; 0: there was none.
	Generation uint64
	// Cacheable: the answer may be stored and served again as long as nothing in Relations and no catalog cell has
	// changed, under a key with database, effective role, settings, statement and parameters.
	Cacheable bool
	// Reason says why the statement isn't cacheable, for users, naming the construct. Empty when it is.
	Reason string
	// ForATime: though it may not be cacheable, the answer is the same for all with the same key, and nobody is served worse by an
	// earlier one than by its age: an application may ask to have it cached for a time (freshet.cache_ttl). Of what it depends
	// on, Relations has what is known.
	ForATime bool
	// OnPrimary: a read that only the primary may answer. PrimaryReason says why.
	OnPrimary     bool
	PrimaryReason string
	// Writes: counts as a write for read-your-writes: everything that isn't proven to be a read.
	Writes bool
	// WriteReason says why a statement that looks like a read counts as a write. May be empty.
	WriteReason string
	// Binds: the statement leaves state on its server connection that isn't tracked; the value says which. Empty: it
	// doesn't.
	Binds string
	// DDL: the statement changes the catalog, by which others are planned.
	DDL bool
	// Lasting: some of that is nothing that a server can be asked about (as it can about temporary tables, LISTEN, advisory
	// locks, cursors WITH HOLD and SQL-level PREPARE), so that nobody can tell when it is gone.
	Lasting bool
	// Frees: what an earlier statement has left may be gone after this one.
	Frees bool
	// Unbinds: DISCARD ALL: the connection's session state is gone.
	Unbinds bool
	// Relations are the OIDs of every relation with storage that the answer depends on, sorted, without duplicates:
	// views followed, partitions and inheritance children included. Complete only for plans that are Cacheable; some for those that are
	// ForATime; none for others.
	Relations []uint32
	// Deps say for each of Relations whether the answer depends on all of its rows, or on which.
	Deps []Dependency
	// Set describes KindSet and KindReset.
	Set *Setting
	// Assigns: the statement sets these settings, in this order, and does nothing else to the session: a SELECT of
	// set_config() calls, or SET SESSION CHARACTERISTICS.
	Assigns []Assignment
	// Start and End say where the statement stands in its text. They hold for texts whose fingerprint is exact.
	Start, End int
	// Show is the setting's name in lower case for KindShow; "all" for SHOW ALL.
	Show string
	// Name: savepoint, prepared statement, cursor, target of DISCARD, gid.
	Name string
	// Mentions are the names of prepared statements that the text refers to, or gives, in their order.
	Mentions []Mention
	// Prepared is the plan of the statement in a KindPrepare, as it counts where it is executed.
	Prepared *Plan
	// Transaction: options of KindBegin, KindCommit, KindRollback, and of SET TRANSACTION.
	Transaction Transaction
	// ReadsSequenceState: currval() or lastval(): the answer depends on what this session did before.
	ReadsSequenceState bool
	// LeavesSequenceState: nextval() or setval() is called, in the statement itself or in a function, trigger or
	// column default: currval() and lastval() on the same server connection change.
	LeavesSequenceState bool
	// Hint is what the text's hint comments ask for.
	Hint Hint
	// ReadsCatalogs: system catalogs are read. Who does that at the beginning of a transaction may be about to do what only the
	// primary can (pg_dump locks tables).
	ReadsCatalogs bool
	// ShowsPrepared: it shows the prepared statements of the server connection.
	ShowsPrepared bool
	// Notifies: it may send notifications, by itself, a function or a trigger. Everything that isn't known not to does.
	Notifies bool
	// ReplicaToo: in a READ ONLY transaction a replica does the same with the statement as the primary (which may be to refuse it).
	ReplicaToo bool
	// Vacates: the statement needs a database in which nobody is.
	Vacates *Vacating
	// Parts are the plans of the single statements of KindMulti.
	Parts []*Plan

	utf8 bool // the database's encoding is UTF8

	// See execute.go.
	arguments  *Plan // of the EXECUTE in it
	resolved   bool  // what it executes is known
	plainTypes bool  // of Prepared: its parameters have types of Postgres' own; of arguments: they are literals
}
