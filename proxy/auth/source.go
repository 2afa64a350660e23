package auth

import "context"

// Role is what is known about a role that wants to log in.
type Role struct {
	// Exists is false for a role that there isn't.
	Exists bool
	// Verifier is zero when there is none that can be used now; Unusable then says why, for the log.
	Verifier Verifier
	Unusable error
	CanLogin bool
	// Identity is what to log in to servers with, where the source knows more than a client's proof teaches: the password
	// itself. Zero: what the proof teaches.
	Identity Identity
	// Iterations is the count that new passwords get in this cluster; 0: not known. A role that doesn't exist is given it,
	// so as not to stand out.
	Iterations int
}

// Source tells what is known about roles. It is safe for concurrent use.
type Source interface {
	// Verifier looks a role up by its exact name. A role that doesn't exist is no error. An error says that the source
	// couldn't be asked.
	Verifier(ctx context.Context, role string) (Role, error)
}
