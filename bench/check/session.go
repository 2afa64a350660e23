package check

import "sync"

// Level is how fresh a client wants its reads (freshet.consistency).
type Level string

// The levels.
const (
	Eventual Level = "eventual"
	Session  Level = "session"
	Strong   Level = "strong"
)

// session is what a session has written and seen: that of one connection, or of all with one session_key.
type session struct {
	name string
	mu   sync.Mutex
	low  map[*object]low
	sums map[int]int64 // of the tables of registers
}

type low struct{ written, seen int64 }

func newSession(name string) *session {
	return &session{name: name, low: map[*object]low{}, sums: map[int]int64{}}
}

// has is what a read of the object that begins now has to contain.
func (s *session) has(o *object) low {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.low[o]
}

func (s *session) saw(o *object, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.low[o]
	l.seen = max(l.seen, n)
	s.low[o] = l
}

func (s *session) wrote(o *object, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.low[o]
	l.written = max(l.written, n)
	s.low[o] = l
}

func (s *session) sum(table int) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sums[table]
}

func (s *session) sawSum(table int, sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sums[table] = max(s.sums[table], sum)
}

// forget is for what a Freshet that is gone had known.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.low)
	clear(s.sums)
}
