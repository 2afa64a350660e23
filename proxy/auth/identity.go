package auth

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
)

// keyLen is the length of SCRAM-SHA-256's keys.
const keyLen = sha256.Size

// Identity is a user and what is known to log in to a server as that user. It is immutable, can be copied, and is safe
// for concurrent use. However it is printed, only the user's name shows. The zero Identity is nobody's.
type Identity struct {
	user   string
	secret *sealed[secret] // nil: nothing is known
}

type secret struct {
	password    string
	hasPassword bool

	keys       bool
	clientKey  [keyLen]byte
	serverKey  [keyLen]byte
	salt       string
	iterations int
}

// Trusted is a user of whom nothing was proven and nothing is known: a server has to trust Freshet's address to let it
// in under that name.
func Trusted(user string) Identity { return Identity{user: user} }

// WithPassword is a user whose password is known, as of a service URL.
func WithPassword(user, password string) Identity {
	return Identity{user: user, secret: seal(&secret{password: password, hasPassword: true})}
}

// User is the role's name.
func (id Identity) User() string { return id.user }

// IsZero reports whether it is nobody's.
func (id Identity) IsZero() bool { return id == Identity{} }

// Trusted reports whether nothing is known by which to prove the identity to a server.
func (id Identity) Trusted() bool { return id.secret == nil }

// Equal reports whether two identities log in in the same way: the same user, with the same password or keys. After a
// change of password a client's identity isn't equal to that of one who came before.
func (id Identity) Equal(other Identity) bool {
	if id.user != other.user || (id.secret == nil) != (other.secret == nil) {
		return false
	}
	return id.secret == other.secret || *id.secret.open() == *other.secret.open()
}

// String is the user's name.
func (id Identity) String() string { return id.user }

// GoString hides the secrets from %#v.
func (id Identity) GoString() string { return fmt.Sprintf("auth.Identity(%q)", id.user) }

// LogValue is the user's name.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.user) }

// MarshalText is the user's name.
func (id Identity) MarshalText() ([]byte, error) { return []byte(id.user), nil }
