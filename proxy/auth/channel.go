package auth

import (
	"crypto"
	"crypto/x509"

	// The hashes that certificates are signed with: crypto.Hash.New needs them linked in.
	_ "crypto/sha256"
	_ "crypto/sha512"
)

// CertificateHash is the channel binding tls-server-end-point (RFC 5929, 4.1): the hash of the server's certificate by
// its own signature's hash function, SHA-256 in place of older ones. It is nil where that isn't defined (Ed25519).
func CertificateHash(cert *x509.Certificate) []byte {
	var h crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		h = crypto.SHA512
	default:
		return nil
	}
	d := h.New()
	d.Write(cert.Raw)
	return d.Sum(nil)
}
