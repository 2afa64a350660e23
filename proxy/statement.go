package proxy

import (
	"encoding/binary"
	"strconv"
	"sync"
	"sync/atomic"

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
		byKey map[string]*internedStatement
		next  uint64
	}
}

type internedStatement struct {
	*statement
	refs int
}

func newStatements() *statements {
	s := &statements{}
	s.mu.byKey = map[string]*internedStatement{}
	return s
}

func statementKey(text, oids []byte, scope string) []byte {
	k := make([]byte, 0, len(text)+len(oids)+len(scope)+4)
	k = append(k, oids...) // begins with a count, so it says its own length
	k = binary.BigEndian.AppendUint32(k, uint32(len(scope)))
	k = append(k, scope...)
	return append(k, text...)
}

// intern returns the statement of a text and types in a scope, for use until release.
func (s *statements) intern(text, oids []byte, scope string, lexer *router.Lexer) *statement {
	key := statementKey(text, oids, scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.mu.byKey[string(key)]
	if st == nil {
		s.mu.next++
		id := s.mu.next
		st = &internedStatement{statement: newStatement(id, statementPrefix+strconv.FormatUint(id, 36), text, oids, lexer)}
		st.scope = scope
		s.mu.byKey[string(key)] = st
	}
	st.refs++
	return st.statement
}

// release ends a use. When nobody uses the statement any more its number isn't used again, so that what
// is left of it on server connections can't be mistaken for another.
func (s *statements) release(st *statement) {
	if st == nil || st.name == "" {
		return
	}
	key := statementKey([]byte(st.text), st.oids, st.scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.mu.byKey[string(key)]; in != nil && in.statement == st {
		in.refs--
		if in.refs <= 0 {
			delete(s.mu.byKey, string(key))
		}
	}
}

// retire has the next Parse of the statement's text make a new statement, while those who have this one keep it: what is prepared by its name
// on a server connection doesn't suit the catalog any more.
func (s *statements) retire(st *statement) {
	if st.name == "" {
		return
	}
	key := statementKey([]byte(st.text), st.oids, st.scope)
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.mu.byKey[string(key)]; in != nil && in.statement == st {
		delete(s.mu.byKey, string(key))
	}
}

// retain adds a use of a statement that is in use.
func (s *statements) retain(st *statement) {
	if st == nil || st.name == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.mu.byKey[string(statementKey([]byte(st.text), st.oids, st.scope))]; in != nil && in.statement == st {
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
