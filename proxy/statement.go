package proxy

import (
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/freshet/freshet/router"
)

// statement is a text with declared parameter types, as Parse brings it. Named ones are interned: the
// same text and types, under settings that can't make a difference, have one statement, and one name on every server connection, whatever the
// clients call it. That keeps two texts under one client name apart (HAZARD 7), and lets sessions share what
// is already prepared.
type statement struct {
	id     uint64
	name   string // on the server; "" for an unnamed one
	text   string
	oids   []byte // as in Parse: count and OIDs, the tail of the message
	params []uint32
	scope  string // who has prepared it, and under which settings
	// edition keeps apart what has the same text but was prepared by another catalog, or promised to be something else.
	edition  string
	sql      bool      // made by PREPARE, which is the text; it has its own name on the server
	binds    bool      // … and the session is bound as long as it is there
	settings *settings // in force when it was made, where it has its own name
	fixed    bool      // an EXECUTE, of which it isn't asked again what it is

	promise   atomic.Pointer[description] // what clients have been told that it is; nil: not known
	confirmed atomic.Uint64               // the newest generation of the catalog by which a server has said the same

	fingerprint router.Fingerprint
	scan        router.Scan
	plan        atomic.Pointer[statementPlan] // the plan that was used last
}

// statementPlan is a plan and the circumstances for which it holds.
type statementPlan struct {
	context    router.Fingerprint
	generation uint64
	plan       *router.Plan
}

func (st *statement) remember(context router.Fingerprint, generation uint64, plan *router.Plan) {
	st.plan.Store(&statementPlan{context, generation, plan})
}

func newStatement(id uint64, name string, text []byte, oids []byte, lexer *router.Lexer) *statement {
	st := &statement{id: id, name: name, text: string(text), oids: append([]byte(nil), oids...)}
	st.fingerprint, st.scan = lexer.Scan(text)
	for rest := st.oids[2:]; len(rest) >= 4; rest = rest[4:] {
		st.params = append(st.params, binary.BigEndian.Uint32(rest))
	}
	return st
}

// statementPrefix begins the names of clients' statements on server connections.
const statementPrefix = "freshet_s"

// statements interns named prepared statements for the whole process. Safe for concurrent use.
type statements struct {
	mu struct {
		sync.Mutex
		byKey     map[string]*internedStatement
		unused    *simplelru.LRU[string, *internedStatement] // those of them without references
		described *simplelru.LRU[string, *description]       // by text, types and scope: what it was found to be last
		next      uint64
	}
}

type internedStatement struct {
	*statement
	key  string
	refs int
}

// Of statements that nobody uses, the last so many are kept: the next client will want them.
const (
	maxUnused     = 2000
	maxUnusedText = 8 << 10 // bytes of one's text
)

func newStatements() *statements {
	s := &statements{}
	s.mu.byKey = map[string]*internedStatement{}
	s.mu.unused, _ = simplelru.NewLRU(maxUnused, func(key string, _ *internedStatement) {
		if in := s.mu.byKey[key]; in != nil && in.refs == 0 {
			delete(s.mu.byKey, key)
		}
	})
	s.mu.described, _ = simplelru.NewLRU[string, *description](maxUnused, nil)
	return s
}

func statementKey(text, oids []byte, scope, edition string) []byte {
	k := make([]byte, 0, len(text)+len(oids)+len(scope)+len(edition)+8)
	k = append(k, oids...) // begins with a count, so it says its own length
	for _, part := range []string{scope, edition} {
		k = binary.BigEndian.AppendUint32(k, uint32(len(part)))
		k = append(k, part...)
	}
	return append(k, text...)
}

func (st *statement) key() []byte {
	return statementKey([]byte(st.text), st.oids, st.scope, st.edition)
}

// describe remembers what a statement has been found to be, beyond its edition.
func (s *statements) describe(st *statement) {
	key := string(statementKey([]byte(st.text), st.oids, st.scope, ""))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(st.text) <= maxUnusedText {
		s.mu.described.Add(key, st.promise.Load())
	}
}

// described returns what a statement was found to be last, or nil.
func (s *statements) described(st *statement) *description {
	key := string(statementKey([]byte(st.text), st.oids, st.scope, ""))
	s.mu.Lock()
	defer s.mu.Unlock()
	d, _ := s.mu.described.Get(key)
	return d
}

// find returns a statement that has been interned, or nil. It isn't for use: the caller may look at it.
func (s *statements) find(text, oids []byte, scope, edition string) *statement {
	key := statementKey(text, oids, scope, edition)
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.mu.byKey[string(key)]; in != nil {
		return in.statement
	}
	return nil
}

// intern returns the statement of a text and types in a scope and edition, for use until release.
func (s *statements) intern(text, oids []byte, scope, edition string, lexer *router.Lexer) *statement {
	key := statementKey(text, oids, scope, edition)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.mu.byKey[string(key)]
	if st == nil {
		s.mu.next++
		st = &internedStatement{statement: newNamed(s.mu.next, text, oids, lexer), key: string(key)}
		st.scope, st.edition = scope, edition
		s.mu.byKey[st.key] = st
	}
	if st.refs++; st.refs == 1 {
		s.mu.unused.Remove(st.key)
	}
	return st.statement
}

// private returns a statement that nobody else gets.
func (s *statements) private(of *statement, lexer *router.Lexer) *statement {
	st := newNamed(s.serial(), []byte(of.text), of.oids, lexer)
	st.scope, st.edition = of.scope, "private"
	return st
}

func newNamed(id uint64, text, oids []byte, lexer *router.Lexer) *statement {
	return newStatement(id, statementPrefix+strconv.FormatUint(id, 36), text, oids, lexer)
}

// release ends a use. The number of a statement that is forgotten isn't used again, so that what
// is left of it on server connections can't be mistaken for another.
func (s *statements) release(st *statement) {
	if st == nil || st.name == "" {
		return
	}
	key := st.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.mu.byKey[string(key)]; in != nil && in.statement == st {
		switch in.refs--; {
		case in.refs > 0:
		case len(st.text) > maxUnusedText:
			delete(s.mu.byKey, in.key)
		default:
			s.mu.unused.Add(in.key, in)
		}
	}
}

// retire has the next Parse of the statement's text make a new statement, while those who have this one keep it: what is prepared by its name
// on a server connection doesn't suit the catalog any more.
func (s *statements) retire(st *statement) {
	if st.name == "" {
		return
	}
	key := st.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.mu.byKey[string(key)]; in != nil && in.statement == st {
		delete(s.mu.byKey, in.key)
		s.mu.unused.Remove(in.key)
	}
}

// retain adds a use of a statement that is in use.
func (s *statements) retain(st *statement) {
	if st == nil || st.name == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.mu.byKey[string(st.key())]; in != nil && in.statement == st {
		in.refs++
	}
}

// serial numbers a statement that isn't interned.
func (s *statements) serial() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.next++
	return s.mu.next
}
