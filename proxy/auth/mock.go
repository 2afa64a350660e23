package auth

import (
	"crypto/rand"
	"crypto/sha256"
)

// Mock makes exchanges for users who can't log in, so that they look like everybody else's (as Postgres' mock
// authentication does). A user is given the same salt each time, or a second attempt would tell. It is safe for
// concurrent use.
type Mock struct {
	secret [sha256.Size]byte
}

// NewMock returns a Mock with a random secret, for the life of the process.
func NewMock() *Mock {
	m := new(Mock)
	rand.Read(m.secret[:]) // never fails
	return m
}

// NewServer begins an exchange that always fails at its end with ErrProof. iterations is what the cluster gives to new
// passwords; 0: Postgres' default.
func (m *Mock) NewServer(user string, iterations int) *Server {
	if iterations < 1 {
		iterations = defaultIterations
	}
	salt := mac(m.secret[:], []byte(user))
	v := &verifier{iterations: iterations, salt: salt[:saltLen]}
	rand.Read(v.storedKey[:])
	rand.Read(v.serverKey[:])
	s := NewServer(user, Verifier{seal(v)})
	s.doomed = true
	return s
}
