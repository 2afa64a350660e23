package auth

import (
	"bytes"
	"encoding/base64"
	"errors"

	"github.com/freshet/freshet/proxy/wire"
)

// Mechanism names.
const (
	MechanismSCRAM     = "SCRAM-SHA-256"
	MechanismSCRAMPlus = "SCRAM-SHA-256-PLUS"
)

// bindingType is the only channel binding that Postgres knows.
const bindingType = "tls-server-end-point"

// Bounds of what is accepted in an exchange.
const (
	// MaxSASLMessage is Postgres' bound for a client's message (PG_MAX_SASL_MESSAGE_LENGTH). Towards a server it bounds
	// what that sends.
	MaxSASLMessage = 1024
	// maxNonce bounds one side's nonce. Postgres and libpq use 24 characters.
	maxNonce = 256
	maxSalt  = 256
	// MaxIterations bounds how long a server can keep us busy with a password (CVE-2026-6664 and its kin). With keys the
	// count costs nothing.
	MaxIterations = 1_000_000
	// nonceLen is the number of random bytes in a nonce, as in Postgres (SCRAM_RAW_NONCE_LEN).
	nonceLen = 18
	// saltLen is the length of Postgres' salts (SCRAM_DEFAULT_SALT_LEN).
	saltLen = 16
	// defaultIterations is Postgres' own (SCRAM_SHA_256_DEFAULT_ITERATIONS).
	defaultIterations = 4096
)

// malformed is Postgres' error for a message that can't be read.
func malformed(detail string) error {
	return wire.Fatal("08P01", "malformed SCRAM message").WithDetail("%s", detail)
}

var errAttribute = errors.New("malformed SCRAM attribute")

// attribute cuts "x=value" off the front of a message, with the comma after it.
func attribute(s []byte, name byte) (value, rest []byte, err error) {
	if len(s) < 2 || s[0] != name || s[1] != '=' {
		return nil, nil, errAttribute
	}
	_, value, rest, err = anyAttribute(s)
	return value, rest, err
}

// anyAttribute is attribute for an extension, whose name may be any letter.
func anyAttribute(s []byte) (name byte, value, rest []byte, err error) {
	if len(s) < 2 || s[1] != '=' || !letter(s[0]) {
		return 0, nil, nil, errAttribute
	}
	name, s = s[0], s[2:]
	if i := bytes.IndexByte(s, ','); i >= 0 {
		return name, s[:i], s[i+1:], nil
	}
	return name, s, nil, nil
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// printable is RFC 5802's set for nonces, without the comma.
func printable(s []byte) bool {
	for _, c := range s {
		if c < 0x21 || c > 0x7e || c == ',' {
			return false
		}
	}
	return len(s) > 0
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
