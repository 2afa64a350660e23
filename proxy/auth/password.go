package auth

import (
	"crypto/md5"
	"encoding/hex"
)

// MD5 is the answer to AuthenticationMD5Password with this salt. ok is false when the password isn't known: keys of
// SCRAM are of no use here.
func (id Identity) MD5(salt []byte) (answer string, ok bool) {
	s := id.secret.open()
	if s == nil || !s.hasPassword {
		return "", false
	}
	inner := hexMD5(append([]byte(s.password), id.user...))
	return "md5" + hexMD5(append([]byte(inner), salt...)), true
}

// Cleartext is the answer to AuthenticationCleartextPassword. ok is false when the password isn't known.
func (id Identity) Cleartext() (password string, ok bool) {
	s := id.secret.open()
	if s == nil || !s.hasPassword {
		return "", false
	}
	return s.password, true
}

func hexMD5(b []byte) string {
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}
