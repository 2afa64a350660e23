package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/freshet/freshet/proxy/wire"
)

// ErrProof: the client's proof is wrong, or there was nothing that it could have proven.
var ErrProof = errors.New("password authentication failed")

// Server is the server's side of one SCRAM-SHA-256 exchange: Bind on an encrypted connection, offer Mechanisms, Choose
// what the client chose, call First with its first message, then Final with its last. It is not safe for concurrent use.
type Server struct {
	user   string
	v      *verifier
	doomed bool // there is no such verifier: the exchange runs to its end, and fails there

	certificateHash []byte // nil: there is no channel that can be bound to
	plus            bool   // the client chose to bind

	gs2              string
	clientFirstBare  []byte
	serverFirst      []byte
	nonce            []byte // both sides'
	serverNonceBytes [nonceLen]byte
}

// NewServer begins an exchange in which the client has to prove that it knows the password behind v.
func NewServer(user string, v Verifier) *Server {
	s := &Server{user: user, v: v.secret.open()}
	rand.Read(s.serverNonceBytes[:]) // never fails
	return s
}

// Bind offers channel binding (tls-server-end-point): certificateHash is CertificateHash of the certificate that this
// client was shown. nil: no offer.
func (s *Server) Bind(certificateHash []byte) { s.certificateHash = certificateHash }

// Mechanisms are those to offer, in Postgres' order.
func (s *Server) Mechanisms() []string {
	if s.certificateHash != nil {
		return []string{MechanismSCRAMPlus, MechanismSCRAM}
	}
	return []string{MechanismSCRAM}
}

// Choose takes the client's choice of a mechanism. Without it, that's the one without channel binding.
func (s *Server) Choose(mechanism string) error {
	s.plus = mechanism == MechanismSCRAMPlus && s.certificateHash != nil
	if !s.plus && mechanism != MechanismSCRAM {
		return wire.Fatal("08P01", "client selected an invalid SASL authentication mechanism")
	}
	return nil
}

// First reads the client-first-message and returns the server-first-message. An error is a *wire.Error, FATAL, in
// Postgres' words.
func (s *Server) First(clientFirst []byte) ([]byte, error) {
	if err := checkLength(clientFirst); err != nil {
		return nil, err
	}
	p, err := s.bindingFlag(clientFirst)
	if err != nil {
		return nil, err
	}
	if len(p) < 2 || p[0] != ',' {
		return nil, malformed("Comma expected.")
	}
	if p[1] == 'a' {
		return nil, wire.Fatal("0A000", "client uses authorization identity, but it is not supported")
	}
	if p[1] != ',' {
		return nil, malformed("Unexpected attribute in client-first-message.")
	}
	p = p[2:]
	s.clientFirstBare = append([]byte(nil), p...)
	if len(p) > 0 && p[0] == 'm' {
		return nil, wire.Fatal("0A000", "client requires an unsupported SCRAM extension")
	}
	// The user's name in here is ignored, as in Postgres: that of the startup packet counts.
	if _, p, err = attribute(p, 'n'); err != nil {
		return nil, malformed("Attribute \"n\" expected.")
	}
	nonce, p, err := attribute(p, 'r')
	if err != nil {
		return nil, malformed("Attribute \"r\" expected.")
	}
	if !printable(nonce) {
		return nil, wire.Fatal("08P01", "non-printable characters in SCRAM nonce")
	}
	if len(nonce) > maxNonce {
		return nil, malformed("Nonce is too long.")
	}
	for len(p) > 0 {
		if _, _, p, err = anyAttribute(p); err != nil {
			return nil, malformed("Attribute expected.")
		}
	}
	s.nonce = append(append([]byte(nil), nonce...), encode64(s.serverNonceBytes[:])...)
	s.serverFirst = fmt.Appendf(nil, "r=%s,s=%s,i=%d", s.nonce, encode64(s.v.salt), s.v.iterations)
	return s.serverFirst, nil
}

// bindingFlag reads the message's first field, which says whether the client binds to the channel, and returns the rest.
func (s *Server) bindingFlag(p []byte) (rest []byte, err error) {
	switch {
	case p[0] == 'n' || p[0] == 'y':
		if s.plus {
			return nil, malformed("The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data.")
		}
		// "y" is a client that could bind to the channel and thinks that we can't. If we can, somebody in between has taken
		// our offer out of the list (RFC 5802, 6).
		if p[0] == 'y' && s.certificateHash != nil {
			return nil, wire.Fatal("28000", "SCRAM channel binding negotiation error").
				WithDetail("The client supports SCRAM channel binding but thinks the server does not.  However, this server does support channel binding.")
		}
		s.gs2 = string(p[:1]) + ",,"
		return p[1:], nil
	case p[0] == 'p':
		if !s.plus {
			return nil, malformed("The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.")
		}
		kind, _, err := attribute(p, 'p')
		if err != nil {
			return nil, malformed("Attribute \"p\" expected.")
		}
		if string(kind) != bindingType {
			return nil, wire.Fatal("08P01", "unsupported SCRAM channel-binding type \"%s\"", kind)
		}
		s.gs2 = "p=" + bindingType + ",,"
		return p[len("p=")+len(kind):], nil
	}
	return nil, malformed("Unexpected channel-binding flag.")
}

// Final reads the client-final-message. When the proof is right it returns the server-final-message and the identity
// with which to log in to servers. The error is ErrProof, or a *wire.Error as of First.
func (s *Server) Final(clientFinal []byte) ([]byte, Identity, error) {
	if err := checkLength(clientFinal); err != nil {
		return nil, Identity{}, err
	}
	proof, withoutProof, err := s.readFinal(clientFinal)
	if err != nil {
		return nil, Identity{}, err
	}
	message := bytes.Join([][]byte{s.clientFirstBare, s.serverFirst, withoutProof}, []byte{','})
	signature := mac(s.v.storedKey[:], message)
	clientKey := xor(proof, signature)
	storedKey := sha256.Sum256(clientKey[:])
	match := subtle.ConstantTimeCompare(storedKey[:], s.v.storedKey[:])
	serverSignature := mac(s.v.serverKey[:], message)
	if match != 1 || s.doomed {
		return nil, Identity{}, ErrProof
	}
	return append([]byte("v="), encode64(serverSignature[:])...), Identity{s.user, seal(&secret{
		keys:       true,
		clientKey:  clientKey,
		serverKey:  s.v.serverKey,
		salt:       string(s.v.salt),
		iterations: s.v.iterations,
	})}, nil
}

// readFinal takes a client-final-message apart: the proof, and the message without it.
func (s *Server) readFinal(m []byte) (proof [keyLen]byte, withoutProof []byte, err error) {
	binding, p, err := attribute(m, 'c')
	if err != nil {
		return proof, nil, malformed("Attribute \"c\" expected.")
	}
	want := encode64(append([]byte(s.gs2), s.bound()...))
	switch {
	case string(binding) == want:
	case s.plus:
		return proof, nil, wire.Fatal("28000", "SCRAM channel binding check failed")
	default:
		return proof, nil, wire.Fatal("08P01", "unexpected SCRAM channel-binding attribute in client-final-message")
	}
	nonce, p, err := attribute(p, 'r')
	if err != nil {
		return proof, nil, malformed("Attribute \"r\" expected.")
	}
	if !bytes.Equal(nonce, s.nonce) {
		return proof, nil, wire.Fatal("08P01", "invalid SCRAM response").WithDetail("Nonce does not match.")
	}
	for {
		if len(p) == 0 {
			return proof, nil, malformed("Attribute \"p\" expected.")
		}
		at := len(m) - len(p)
		name, value, rest, err := anyAttribute(p)
		if err != nil {
			return proof, nil, malformed("Attribute expected.")
		}
		if name != 'p' {
			p = rest
			continue
		}
		b, err := base64.StdEncoding.DecodeString(string(value))
		if err != nil || len(b) != keyLen {
			return proof, nil, malformed("Malformed proof in client-final-message.")
		}
		if len(value) != len(p)-2 {
			return proof, nil, malformed("Garbage found at the end of client-final-message.")
		}
		copy(proof[:], b)
		return proof, m[:at-1], nil
	}
}

// bound is what the client has to have seen, too.
func (s *Server) bound() []byte {
	if s.plus {
		return s.certificateHash
	}
	return nil
}

// checkLength is what Postgres checks before it reads a message.
func checkLength(m []byte) error {
	if len(m) == 0 {
		return malformed("The message is empty.")
	}
	if bytes.IndexByte(m, 0) >= 0 {
		return malformed("Message length does not match input length.")
	}
	if len(m) > MaxSASLMessage {
		return malformed("The message is too long.")
	}
	return nil
}
