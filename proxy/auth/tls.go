package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// TLSMode says which clients need TLS: the values of --tls-mode.
type TLSMode string

// Modes of TLS for clients.
const (
	TLSOff          TLSMode = "off"           // none
	TLSAllow        TLSMode = "allow"         // who wants to
	TLSRequire      TLSMode = "require"       // everybody, except over Unix sockets
	TLSVerifyClient TLSMode = "verify-client" // and everybody shows a certificate that ClientCA vouches for
)

// ALPN is the protocol's name in TLS handshakes. Who begins with TLS directly has to name it, so that nobody can lead a
// client of another protocol here (ALPACA).
const ALPN = "postgresql"

// TLSFiles says where TLS for clients comes from.
type TLSFiles struct {
	Mode      TLSMode // empty: TLSOff
	Cert, Key string  // PEM files: the chain, our own certificate first; its key
	ClientCA  string  // PEM file with the authorities of clients' certificates; empty: clients aren't asked for any
}

// TLSState is what was read from the files at one time. It is immutable. A nil TLSState is that of TLSOff.
type TLSState struct {
	mode     TLSMode
	config   *tls.Config // nil: no TLS
	hash     []byte      // CertificateHash
	notAfter time.Time
	verifies bool
}

// LoadTLS reads the files. Its errors name the flags, and no secrets. warnings are what an operator should know and
// doesn't keep TLS from working.
func LoadTLS(f TLSFiles) (state *TLSState, warnings []string, err error) {
	if f.Mode == "" || f.Mode == TLSOff {
		return nil, nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		if encryptedKey(f.Key) {
			return nil, nil, fmt.Errorf("--tls-key %s: the key is encrypted, which isn't supported: decrypt it, and protect the file", f.Key)
		}
		return nil, nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", f.Cert, f.Key, err)
	}
	s := &TLSState{
		mode:     f.Mode,
		hash:     CertificateHash(pair.Leaf),
		notAfter: pair.Leaf.NotAfter,
		config: &tls.Config{
			Certificates: []tls.Certificate{pair},
			MinVersion:   tls.VersionTLS12, // Postgres' default, too
			NextProtos:   []string{ALPN},
			// As in Postgres: a login is dear, a handshake more is not, and whoever resumes isn't asked for a certificate again.
			SessionTicketsDisabled: true,
		},
	}
	if f.ClientCA != "" {
		pem, err := os.ReadFile(f.ClientCA)
		if err != nil {
			return nil, nil, fmt.Errorf("--tls-client-ca: %w", err)
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("--tls-client-ca %s: there is no certificate in it", f.ClientCA)
		}
		// Who shows none is told so in words, after the handshake: an alert of TLS says little.
		s.config.ClientAuth, s.config.ClientCAs, s.verifies = tls.VerifyClientCertIfGiven, authorities, true
	} else if f.Mode == TLSVerifyClient {
		return nil, nil, errors.New("--tls-mode=verify-client needs --tls-client-ca: who vouches for clients?")
	}
	return s, s.warnings(f, time.Now()), nil
}

func (s *TLSState) warnings(f TLSFiles, now time.Time) (list []string) {
	leaf := s.config.Certificates[0].Leaf
	switch {
	case now.After(leaf.NotAfter):
		list = append(list, fmt.Sprintf("the certificate in --tls-cert %s has expired on %s", f.Cert, leaf.NotAfter.Format(time.RFC3339)))
	case now.Before(leaf.NotBefore):
		list = append(list, fmt.Sprintf("the certificate in --tls-cert %s isn't valid before %s", f.Cert, leaf.NotBefore.Format(time.RFC3339)))
	}
	if info, err := os.Stat(f.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
		list = append(list, fmt.Sprintf("the key in --tls-key %s can be read by everybody on this machine: chmod 0600 or 0640", f.Key))
	}
	return list
}

// encryptedKey reports whether a file holds a key that needs a password.
func encryptedKey(path string) bool {
	pem, err := os.ReadFile(path)
	return err == nil && (strings.Contains(string(pem), "BEGIN ENCRYPTED PRIVATE KEY") || strings.Contains(string(pem), "Proc-Type: 4,ENCRYPTED"))
}

// Config is the configuration of a handshake with a client; nil: there is no TLS. It must not be modified.
func (s *TLSState) Config() *tls.Config {
	if s == nil {
		return nil
	}
	return s.config
}

// CertificateHash is what clients can bind their proofs to; nil: nothing.
func (s *TLSState) CertificateHash() []byte { return s.hash }

// Required reports whether clients that come over a network need TLS.
func (s *TLSState) Required() bool { return s != nil && s.mode != TLSAllow }

// CertificateRequired reports whether clients that come over a network have to show a certificate.
func (s *TLSState) CertificateRequired() bool { return s != nil && s.mode == TLSVerifyClient }

// VerifiesClients reports whether clients are asked for certificates.
func (s *TLSState) VerifiesClients() bool { return s != nil && s.verifies }

// NotAfter is when our certificate expires; zero without TLS.
func (s *TLSState) NotAfter() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.notAfter
}

// TLS is TLS for clients, as it is now. Each client's handshake takes the state once: what is stored meanwhile is for the
// next. It is safe for concurrent use. The zero TLS is off.
type TLS struct {
	state atomic.Pointer[TLSState]
}

// Load returns the current state; nil is off.
func (t *TLS) Load() *TLSState { return t.state.Load() }

// Store replaces the state.
func (t *TLS) Store(s *TLSState) { t.state.Store(s) }
