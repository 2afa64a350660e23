package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/text/secure/precis"
)

// Why there is no verifier.
var (
	// ErrNoPassword: the role has no password.
	ErrNoPassword = errors.New("the role has no password")
	// ErrMD5: the password is stored as an MD5 hash, by which no SCRAM proof can be checked.
	ErrMD5 = errors.New("the role's password is stored as an MD5 hash: set it again under password_encryption = 'scram-sha-256'")
	// ErrExpired: the password's VALID UNTIL has passed.
	ErrExpired = errors.New("the role's password has expired (VALID UNTIL)")
	// ErrVerifier: what is stored is neither.
	ErrVerifier = errors.New("the role's stored password is of an unknown form")
)

// Verifier is what Postgres stores to check SCRAM-SHA-256 proofs. It doesn't hold a password, but ServerKey and a
// captured exchange are enough to log in, so it is treated as a secret: it prints as nothing.
type Verifier struct {
	secret *sealed[verifier]
}

type verifier struct {
	iterations int
	salt       []byte
	storedKey  [keyLen]byte
	serverKey  [keyLen]byte
}

// scramPrefix is how a stored SCRAM secret begins.
const scramPrefix = "SCRAM-SHA-256$"

// ParseVerifier reads what pg_authid.rolpassword holds: SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>. The
// errors are ErrNoPassword (empty), ErrMD5 and ErrVerifier; none of them quotes its input.
func ParseVerifier(stored string) (Verifier, error) {
	if stored == "" {
		return Verifier{}, ErrNoPassword
	}
	if isMD5(stored) {
		return Verifier{}, ErrMD5
	}
	rest, ok := strings.CutPrefix(stored, scramPrefix)
	if !ok {
		return Verifier{}, ErrVerifier
	}
	params, keys, ok1 := strings.Cut(rest, "$")
	iterations, salt, ok2 := strings.Cut(params, ":")
	stored64, server64, ok3 := strings.Cut(keys, ":")
	if !ok1 || !ok2 || !ok3 {
		return Verifier{}, ErrVerifier
	}
	var v verifier
	n, err := strconv.ParseInt(iterations, 10, 32)
	if err != nil || n < 1 {
		return Verifier{}, ErrVerifier
	}
	v.iterations = int(n)
	if v.salt, err = base64.StdEncoding.DecodeString(salt); err != nil || len(v.salt) == 0 || len(v.salt) > maxSalt {
		return Verifier{}, ErrVerifier
	}
	if !decodeKey(&v.storedKey, stored64) || !decodeKey(&v.serverKey, server64) {
		return Verifier{}, ErrVerifier
	}
	return Verifier{seal(&v)}, nil
}

// NewVerifier makes the verifier of a password, as Postgres does when a password is set.
func NewVerifier(password string, salt []byte, iterations int) (Verifier, error) {
	clientKey, serverKey, err := deriveKeys(password, salt, iterations)
	if err != nil {
		return Verifier{}, err
	}
	return Verifier{seal(&verifier{
		iterations: iterations,
		salt:       append([]byte(nil), salt...),
		storedKey:  sha256.Sum256(clientKey[:]),
		serverKey:  serverKey,
	})}, nil
}

// IsZero reports whether there is no verifier.
func (v Verifier) IsZero() bool { return v.secret == nil }

// String hides the verifier.
func (v Verifier) String() string { return "SCRAM-SHA-256 verifier" }

// GoString hides the verifier from %#v.
func (v Verifier) GoString() string { return "auth.Verifier{}" }

// isMD5 is Postgres' own test (get_password_type).
func isMD5(s string) bool {
	return len(s) == 35 && strings.HasPrefix(s, "md5") && strings.Trim(s[3:], "0123456789abcdef") == ""
}

func decodeKey(key *[keyLen]byte, s string) bool {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != keyLen {
		return false
	}
	copy(key[:], b)
	return true
}

// deriveKeys works ClientKey and ServerKey out of a password (RFC 5802, 3).
func deriveKeys(password string, salt []byte, iterations int) (clientKey, serverKey [keyLen]byte, err error) {
	if iterations < 1 {
		return clientKey, serverKey, fmt.Errorf("iteration count %d is impossible", iterations)
	}
	salted, err := pbkdf2.Key(sha256.New, normalize(password), salt, iterations, keyLen)
	if err != nil {
		return clientKey, serverKey, err
	}
	return mac(salted, []byte("Client Key")), mac(salted, []byte("Server Key")), nil
}

// normalize prepares a password as SASLprep does for those that people have. What can't be prepared is used as it is,
// as Postgres does.
func normalize(password string) string {
	ascii := true
	for i := 0; i < len(password); i++ {
		if password[i] >= 0x80 {
			ascii = false
		}
	}
	if ascii {
		return password
	}
	n, err := precis.OpaqueString.String(password)
	if err != nil {
		return password
	}
	return n
}

func mac(key, message []byte) (sum [keyLen]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	h.Sum(sum[:0])
	return sum
}

func xor(a, b [keyLen]byte) (x [keyLen]byte) {
	for i := range x {
		x[i] = a[i] ^ b[i]
	}
	return x
}
