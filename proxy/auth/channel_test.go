package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
)

func TestChannelBinding(t *testing.T) {
	v := testVerifier(t, "secret")
	hash, other := []byte("hash of our certificate"), []byte("hash of somebody else's")
	for _, tt := range []struct {
		name          string
		server        []byte   // what the server can bind to
		offered       []string // what of its offer reaches the client; nil: all
		client        []byte   // what the client has seen; nil: it can't bind
		code, text    string
		wantMechanism string
	}{
		{"bound", hash, nil, hash, "", "", MechanismSCRAMPlus},
		{"the client can't", hash, nil, nil, "", "", MechanismSCRAM},
		{"the server can't", nil, nil, hash, "", "", MechanismSCRAM},
		{"neither can", nil, nil, nil, "", "", MechanismSCRAM},
		{"somebody shows the client another certificate", hash, nil, other, "28000", "SCRAM channel binding check failed", MechanismSCRAMPlus},
		{"somebody hides the offer", hash, []string{MechanismSCRAM}, hash, "28000", "SCRAM channel binding negotiation error", MechanismSCRAM},
	} {
		s := NewServer("u", v)
		s.Bind(tt.server)
		offered := tt.offered
		if offered == nil {
			offered = s.Mechanisms()
		}
		c, err := NewClient(WithPassword("u", "secret"), offered, true, tt.client)
		if err != nil {
			t.Fatal(err)
		}
		if c.Mechanism() != tt.wantMechanism {
			t.Errorf("%s: %s", tt.name, c.Mechanism())
		}
		err = s.Choose(c.Mechanism())
		var first, final, end []byte
		var id Identity
		if err == nil {
			first, err = s.First(c.First())
		}
		if err == nil {
			if final, err = c.Final(first); err != nil {
				t.Fatal(err)
			}
			end, id, err = s.Final(final)
		}
		if err == nil {
			err = c.Verify(end)
		}
		checkRefused(t, tt.name, err, tt.code, tt.text)
		if (err == nil) == id.Trusted() {
			t.Errorf("%s: %v, and an identity: %t", tt.name, err, !id.Trusted())
		}
	}
}

func TestServerFirstMessagesWithChannelBinding(t *testing.T) {
	for _, tt := range []struct {
		name, mechanism, message string
		code, text               string
	}{
		{"bound", MechanismSCRAMPlus, "p=tls-server-end-point,,n=,r=abc", "", ""},
		{"not bound", MechanismSCRAM, "n,,n=,r=abc", "", ""},
		{"bound, and it isn't said how", MechanismSCRAMPlus, "p=,,n=,r=abc", "08P01", `unsupported SCRAM channel-binding type ""`},
		{"bound in another way", MechanismSCRAMPlus, "p=tls-unique,,n=,r=abc", "08P01", `unsupported SCRAM channel-binding type "tls-unique"`},
		{"bound without binding", MechanismSCRAMPlus, "n,,n=,r=abc", "08P01", "does not include channel binding data"},
		{"bound, and it thinks we can't", MechanismSCRAMPlus, "y,,n=,r=abc", "08P01", "does not include channel binding data"},
		{"not bound, with binding", MechanismSCRAM, "p=tls-server-end-point,,n=,r=abc", "08P01", "includes channel binding data"},
		{"flag alone", MechanismSCRAMPlus, "p", "08P01", `"p" expected`},
		{"the end after the type", MechanismSCRAMPlus, "p=tls-server-end-point", "08P01", "Comma expected"},
		{"the end after the comma", MechanismSCRAMPlus, "p=tls-server-end-point,", "08P01", "Comma expected"},
		{"authorization identity", MechanismSCRAMPlus, "p=tls-server-end-point,a=root,n=,r=abc", "0A000", "authorization identity"},
		{"another mechanism", "PLAIN", "n,,n=,r=abc", "08P01", "invalid SASL authentication mechanism"},
	} {
		s := NewServer("u", testVerifier(t, "x"))
		s.Bind([]byte("hash"))
		err := s.Choose(tt.mechanism)
		if err == nil {
			_, err = s.First([]byte(tt.message))
		}
		checkRefused(t, tt.name, err, tt.code, tt.text)
	}
	s := NewServer("u", testVerifier(t, "x")) // nothing to bind to
	if err := s.Choose(MechanismSCRAMPlus); err == nil || slices.Contains(s.Mechanisms(), MechanismSCRAMPlus) {
		t.Error("channel binding without a channel")
	}
}

// HAZARDS 26: a user who doesn't exist is offered the same, and fails in the same words.
func TestHazard26MockBindsToChannels(t *testing.T) {
	s := NewMock().NewServer("nobody", 64)
	s.Bind([]byte("hash"))
	if !slices.Equal(s.Mechanisms(), []string{MechanismSCRAMPlus, MechanismSCRAM}) {
		t.Error(s.Mechanisms())
	}
	c, err := NewClient(WithPassword("nobody", "x"), s.Mechanisms(), true, []byte("hash"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Choose(c.Mechanism()); err != nil {
		t.Fatal(err)
	}
	first, err := s.First(c.First())
	if err != nil {
		t.Fatal(err)
	}
	final, err := c.Final(first)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Final(final); err != ErrProof {
		t.Error(err)
	}
}

func TestCertificateHash(t *testing.T) {
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sum256 := func(b []byte) []byte { h := sha256.Sum256(b); return h[:] }
	sum384 := func(b []byte) []byte { h := sha512.Sum384(b); return h[:] }
	sum512 := func(b []byte) []byte { h := sha512.Sum512(b); return h[:] }
	for algorithm, tt := range map[x509.SignatureAlgorithm]struct {
		key  crypto.Signer
		hash func([]byte) []byte
	}{
		x509.ECDSAWithSHA256:  {ecKey, sum256},
		x509.ECDSAWithSHA384:  {ecKey, sum384},
		x509.ECDSAWithSHA512:  {ecKey, sum512},
		x509.SHA256WithRSA:    {rsaKey, sum256},
		x509.SHA384WithRSA:    {rsaKey, sum384},
		x509.SHA512WithRSA:    {rsaKey, sum512},
		x509.SHA256WithRSAPSS: {rsaKey, sum256},
		x509.SHA384WithRSAPSS: {rsaKey, sum384},
		x509.PureEd25519:      {edKey, nil},
	} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), SignatureAlgorithm: algorithm}
		der, err := x509.CreateCertificate(rand.Reader, template, template, tt.key.Public(), tt.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		if tt.hash != nil {
			want = tt.hash(der)
		}
		if got := CertificateHash(cert); !bytes.Equal(got, want) {
			t.Errorf("%v: %x", algorithm, got)
		}
	}
	// SHA-1 is too weak to bind to, so SHA-256 takes its place.
	if got := CertificateHash(&x509.Certificate{SignatureAlgorithm: x509.SHA1WithRSA, Raw: []byte("x")}); !bytes.Equal(got, sum256([]byte("x"))) {
		t.Errorf("%x", got)
	}
}
