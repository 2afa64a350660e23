package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net"
	"strings"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// isTLS reports whether what came first is the beginning of a TLS handshake. No startup packet is as long as it would
// be, read as one.
func isTLS(first []byte) bool { return len(first) > 0 && first[0] == 0x16 }

// tlsError marks a failure of the handshake. The client has been told, by an alert of TLS.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// requestTLS answers SSLRequest.
func (h *handshake) requestTLS(ctx context.Context) error {
	if h.local || h.tls.Config() == nil {
		return h.decline("SSL")
	}
	if err := h.nothingEarly("SSL"); err != nil {
		return err
	}
	if _, err := h.conn.Write([]byte{'S'}); err != nil {
		return err
	}
	return h.startTLS(ctx, h.conn)
}

// directTLS goes on with a handshake that has begun without an SSLRequest (sslnegotiation=direct).
func (h *handshake) directTLS(ctx context.Context) error {
	if h.local || h.tls.Config() == nil {
		return ErrDirectTLS
	}
	if err := h.startTLS(ctx, &preread{Conn: h.conn, first: append([]byte(nil), h.r.Leftover()...)}); err != nil {
		return err
	}
	if h.secure.NegotiatedProtocol != auth.ALPN {
		return ErrNoALPN
	}
	return nil
}

// startTLS runs the handshake. From there on, what h reads and writes goes through TLS.
func (h *handshake) startTLS(ctx context.Context, conn net.Conn) error {
	secure := tls.Server(conn, h.tls.Config())
	if err := secure.HandshakeContext(ctx); err != nil {
		return &tlsError{err}
	}
	state := secure.ConnectionState()
	h.secure, h.conn, h.r = &state, secure, wire.NewReader(secure)
	return nil
}

// checkTLS refuses a client that came without what --tls-mode demands. Unix sockets need no encryption, as in Postgres.
func (h *handshake) checkTLS() error {
	switch {
	case h.local:
	case h.secure == nil && h.tls.Required():
		return wire.Fatal("28000", "connection requires TLS").
			WithHint("Connect with sslmode=require, or better with sslmode=verify-full.")
	case h.secure != nil && h.tls.CertificateRequired():
		if _, err := h.certificate(); err != nil {
			return err
		}
	}
	return nil
}

// certificate is the client's, which the authorities in --tls-client-ca have vouched for.
func (h *handshake) certificate() (*x509.Certificate, error) {
	if h.secure == nil || len(h.secure.VerifiedChains) == 0 {
		return nil, wire.Fatal("28000", "connection requires a valid client certificate")
	}
	return h.secure.PeerCertificates[0], nil
}

// authenticateByCertificate compares the certificate's common name with the user's, as Postgres' cert method does.
func (h *handshake) authenticateByCertificate() error {
	cert, err := h.certificate()
	if err != nil {
		return err
	}
	name, err := commonName(cert)
	failed := wire.Fatal("28000", "certificate authentication failed for user \"%s\"", h.req.user)
	switch {
	case err != nil:
		return failed.WithDetail("The client certificate has %v.", err)
	case cutName(name) != h.req.user:
		// Whoever shows a certificate knows what is in it.
		return failed.WithDetail("The client certificate is for user \"%s\" (its common name).", name)
	}
	return nil
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonName is the certificate's only common name. With two, each reader might take another.
func commonName(cert *x509.Certificate) (string, error) {
	var names []string
	for _, n := range cert.Subject.Names {
		if s, ok := n.Value.(string); ok && n.Type.Equal(oidCommonName) {
			names = append(names, s)
		}
	}
	switch {
	case len(names) == 0 || names[0] == "":
		return "", fmt.Errorf("no common name")
	case len(names) > 1:
		return "", fmt.Errorf("%d common names", len(names))
	case strings.IndexByte(names[0], 0) >= 0: // CVE-2009-4034
		return "", fmt.Errorf("a null byte in its common name")
	}
	return names[0], nil
}

// preread is a connection of which the first bytes have been read.
type preread struct {
	net.Conn
	first []byte
}

// Read gives the first bytes first.
func (c *preread) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
