package catalog

import "strings"

// Volatilities (pg_proc.provolatile).
const (
	Immutable = 'i'
	Stable    = 's'
	Volatile  = 'v'
)

// Kinds of functions (pg_proc.prokind).
const (
	KindFunction  = 'f'
	KindProcedure = 'p'
	KindAggregate = 'a'
	KindWindow    = 'w'
)

// Function is an entry of pg_proc.
type Function struct {
	OID        uint32
	Schema     string
	Name       string
	Kind       byte
	Volatility byte
	Language   string
	// Args are the types of the input arguments. Defaults of them, counted from the end, may be left out. Where Variadic
	// isn't 0, the last one may be given any number of times: Variadic is its element type, or that of "any".
	Args       []uint32
	Defaults   int
	Variadic   uint32
	Result     uint32
	ReturnsSet bool
	// Columns are the columns of a result with OUT arguments or TABLE; nil otherwise.
	Columns []Column
	// Extension is the name of the extension it belongs to, or empty.
	Extension string
	// ArgNames are the names of the input arguments, empty ones included; nil where none has a name.
	ArgNames []string
	// Source is the body of a function that isn't of the server itself: prosrc, or prosqlbody as text. In the latter case it
	// is Deparsed: every name outside of pg_catalog is qualified.
	Source   string
	Deparsed bool
	// DefaultArgs are the default expressions, separated by commas, every name outside of pg_catalog qualified.
	DefaultArgs string
	// Owner is whose rights a function has that is a Definer (SECURITY DEFINER).
	Owner   uint32
	Definer bool
	// Config are the settings that hold while it runs, as name=value.
	Config []string
	// Library is probin: the file of a C function.
	Library string
	// Parts are the functions that an aggregate is made of, and Initial are its initial values.
	Parts   []uint32
	Initial []string
}

// Builtin tells whether the function came with the server.
func (f *Function) Builtin() bool { return f.OID < FirstUserOID }

// Accepts tells whether the function can be called with n positional arguments.
func (f *Function) Accepts(n int) bool {
	if f.Variadic != 0 && n >= len(f.Args)-1 {
		return true
	}
	return n <= len(f.Args) && n >= len(f.Args)-f.Defaults
}

// Arg returns the type of the i-th of n positional arguments, with a variadic argument spread out.
func (f *Function) Arg(i, n int) uint32 {
	if f.Variadic != 0 && i >= len(f.Args)-1 {
		return f.Variadic
	}
	if i < len(f.Args) {
		return f.Args[i]
	}
	return 0
}

// Operator is an entry of pg_operator. Left is 0 for a prefix operator.
type Operator struct {
	OID      uint32
	Schema   string
	Name     string
	Left     uint32
	Right    uint32
	Result   uint32
	Function uint32
}

// Cast is an entry of pg_cast.
type Cast struct {
	OID    uint32
	Source uint32
	Target uint32
	// Function is 0 where Method is 'b' (binary compatible) or 'i' (by the types' input and output functions).
	Function uint32
	// Context is 'e' (explicit), 'a' (assignment) or 'i' (implicit).
	Context byte
	Method  byte
}

// Kinds of types (pg_type.typtype).
const (
	TypeBase       = 'b'
	TypeComposite  = 'c'
	TypeDomain     = 'd'
	TypeEnum       = 'e'
	TypePseudo     = 'p'
	TypeRange      = 'r'
	TypeMultirange = 'm'
)

// Type is an entry of pg_type.
type Type struct {
	OID      uint32
	Schema   string
	Name     string
	Kind     byte
	Category byte
	// Elem is the element type of a true array, otherwise 0; Array is the type of arrays of it, or 0.
	Elem  uint32
	Array uint32
	// Base is what a domain is over; Subtype what a range or multirange is over; Relation that of a composite type.
	Base     uint32
	Subtype  uint32
	Relation uint32
	// The functions between text or wire format and the type.
	Input, Output, Receive, Send uint32
	// Checks are the expressions of a domain's CHECK constraints, which call the value VALUE.
	Checks []string
}

// Builtin tells whether the type came with the server.
func (t *Type) Builtin() bool { return t.OID < FirstUserOID }

// Setting returns what a function sets a setting to while it runs.
func (f *Function) Setting(name string) (string, bool) {
	for _, c := range f.Config {
		if key, value, _ := strings.Cut(c, "="); strings.EqualFold(key, name) {
			return value, true
		}
	}
	return "", false
}
