package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/freshet/freshet/proxy/wire"
)

// ErrNoSecret: the server asks for a proof, and nothing is known by which to give it.
var ErrNoSecret = errors.New("the server asks for a password, and none is known")

// ErrServerProof: the server couldn't prove that it knows the user's verifier. It may be an impostor.
var ErrServerProof = errors.New("the server's SCRAM signature is wrong")

// Client is the client's side of one SCRAM-SHA-256 exchange: First, Final, Verify, in this order. It is not safe for
// concurrent use.
type Client struct {
	id        Identity
	mechanism string
	gs2       string
	binding   []byte

	nonce           string
	clientFirstBare []byte
	serverSignature [keyLen]byte
	done            bool
}

// NewClient begins an exchange. offered is the server's list of mechanisms. certificateHash is the hash of the
// server's certificate for tls-server-end-point (RFC 5929), nil without TLS or where it can't be had; tls says whether
// the connection is encrypted. The error is ErrNoSecret, or that the server offers no mechanism that is known here.
func NewClient(id Identity, offered []string, tls bool, certificateHash []byte) (*Client, error) {
	if id.secret == nil {
		return nil, ErrNoSecret
	}
	c := &Client{id: id, gs2: "n,,"}
	var plain, plus bool
	for _, m := range offered {
		plain = plain || m == MechanismSCRAM
		plus = plus || m == MechanismSCRAMPlus
	}
	switch {
	case plus && certificateHash != nil:
		c.mechanism, c.gs2, c.binding = MechanismSCRAMPlus, "p="+bindingType+",,", certificateHash
	case plain:
		c.mechanism = MechanismSCRAM
		if tls && certificateHash != nil {
			c.gs2 = "y,," // "I could, but you didn't offer": a server that did then knows that somebody is between us
		}
	default:
		return nil, fmt.Errorf("the server offers no SASL mechanism that is supported here, but %q", offered)
	}
	var b [nonceLen]byte
	rand.Read(b[:]) // never fails
	c.nonce = encode64(b[:])
	return c, nil
}

// Mechanism is the mechanism that was chosen.
func (c *Client) Mechanism() string { return c.mechanism }

// First returns the client-first-message.
func (c *Client) First() []byte {
	c.clientFirstBare = []byte("n=,r=" + c.nonce)
	return append([]byte(c.gs2), c.clientFirstBare...)
}

// Final reads the server-first-message and returns the client-final-message. When the server holds another verifier than
// the one which the identity was learned from, the keys are of no use there: the error is a *wire.Error with SQLSTATE
// 28P01 that says so.
func (c *Client) Final(serverFirst []byte) ([]byte, error) {
	if len(serverFirst) > MaxSASLMessage {
		return nil, errors.New("SCRAM message of the server is too long")
	}
	nonce, p, err1 := attribute(serverFirst, 'r')
	salt64, p, err2 := attribute(p, 's')
	count, _, err3 := attribute(p, 'i')
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, errors.New("malformed SCRAM message from the server")
	}
	if !bytes.HasPrefix(nonce, []byte(c.nonce)) || len(nonce) == len(c.nonce) ||
		len(nonce) > len(c.nonce)+maxNonce || !printable(nonce) {
		return nil, errors.New("the server's SCRAM nonce is wrong")
	}
	salt, err := base64.StdEncoding.DecodeString(string(salt64))
	if err != nil || len(salt) == 0 || len(salt) > maxSalt {
		return nil, errors.New("the server's SCRAM salt is wrong")
	}
	iterations, err := strconv.ParseUint(string(count), 10, 31)
	if err != nil || iterations < 1 {
		return nil, errors.New("the server's SCRAM iteration count is wrong")
	}

	var clientKey, serverKey [keyLen]byte
	if s := c.id.secret.open(); s.keys {
		if s.salt != string(salt) || s.iterations != int(iterations) {
			return nil, wire.Fatal("28P01", "password authentication failed for user \"%s\"", c.id.user).
				WithDetail("The server holds another SCRAM secret than the one by which this client's password was checked.").
				WithHint("Connect again with the current password. Where Freshet has an --auth-file, that has to hold the server's secret, or the password.")
		}
		clientKey, serverKey = s.clientKey, s.serverKey
	} else if iterations > MaxIterations {
		return nil, fmt.Errorf("the server's SCRAM iteration count %d is above %d", iterations, MaxIterations)
	} else if clientKey, serverKey, err = deriveKeys(s.password, salt, int(iterations)); err != nil {
		return nil, err
	}

	final := fmt.Appendf(nil, "c=%s,r=%s", encode64(append([]byte(c.gs2), c.binding...)), nonce)
	message := bytes.Join([][]byte{c.clientFirstBare, serverFirst, final}, []byte{','})
	storedKey := sha256.Sum256(clientKey[:])
	proof := xor(clientKey, mac(storedKey[:], message))
	c.serverSignature = mac(serverKey[:], message)
	c.done = true
	return fmt.Appendf(final, ",p=%s", encode64(proof[:])), nil
}

// Verify reads the server-final-message. The error is ErrServerProof, or what the server says is wrong.
func (c *Client) Verify(serverFinal []byte) error {
	if len(serverFinal) > MaxSASLMessage || !c.done {
		return ErrServerProof
	}
	if e, _, err := attribute(serverFinal, 'e'); err == nil {
		return fmt.Errorf("the server refuses the SCRAM proof: %q", e)
	}
	v, _, err := attribute(serverFinal, 'v')
	if err != nil {
		return ErrServerProof
	}
	signature, err := base64.StdEncoding.DecodeString(string(v))
	if err != nil || subtle.ConstantTimeCompare(signature, c.serverSignature[:]) != 1 {
		return ErrServerProof
	}
	return nil
}
