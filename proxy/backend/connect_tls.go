package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// tlsError marks a failure of TLS, as opposed to one of the server behind it.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// secureConn brings the connection to the wanted mode.
func secureConn(ctx context.Context, conn net.Conn, way tlsMode, ways [2]tlsMode) (net.Conn, error) {
	switch way.is {
	case modePlain:
		return conn, nil
	case modeTLS:
		yes, err := requestTLS(conn)
		if err != nil {
			return nil, &tlsError{err}
		}
		if !yes {
			if ways[0].is == modeTLS && ways[1].is == modePlain { // sslmode=prefer: go on as it is, like libpq
				return conn, nil
			}
			return nil, errors.New("the server refuses TLS, which sslmode demands")
		}
	}
	t := tls.Client(conn, way.config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, &tlsError{err}
	}
	// A server that takes TLS directly has to say that it speaks Postgres' protocol, or it may be one of another protocol
	// to which somebody has led us (libpq asks the same).
	if way.is == modeDirect && t.ConnectionState().NegotiatedProtocol != auth.ALPN {
		return nil, &tlsError{errors.New("direct TLS was established without ALPN protocol \"postgresql\": is that a Postgres server, 17 or later?")}
	}
	return t, nil
}

// requestTLS asks for TLS. It reads the one byte of the answer and no more: what an attacker has sent after it must meet
// the TLS handshake and fail there, and not be taken for something that came through it (CVE-2021-23222, CVE-2021-3935).
func requestTLS(conn net.Conn) (bool, error) {
	if _, err := conn.Write(wire.AppendSSLRequest(nil)); err != nil {
		return false, err
	}
	var answer [1]byte
	if _, err := conn.Read(answer[:]); err != nil {
		return false, readError(err)
	}
	switch answer[0] {
	case 'S':
		return true, nil
	case 'N':
		return false, nil
	}
	// An ErrorResponse comes from a server that knows no SSLRequest, or from somebody in between: it wasn't authenticated,
	// so its text isn't passed on (CVE-2024-10977).
	return false, errors.New("the server answers SSLRequest with an error")
}
