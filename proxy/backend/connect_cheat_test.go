package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// server is one that says what a test has it say.
func server(t *testing.T, serve func(conn net.Conn)) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return mustTarget(t, "postgres://u:p@"+l.Addr().String()+"/d?sslmode=disable")
}

// says is a server that reads the startup packet, says something, and waits for the client to go.
func says(t *testing.T, messages []byte) Target {
	return server(t, func(conn net.Conn) {
		if _, err := wire.NewReader(conn).Startup(); err != nil {
			return
		}
		conn.Write(messages)
		io.Copy(io.Discard, conn)
	})
}

func TestConnectToServersThatMisbehave(t *testing.T) {
	noLeaks(t)
	ok := wire.AppendAuthenticationOk(nil)
	ready := wire.AppendReadyForQuery(nil, wire.TxIdle)
	cat := func(parts ...[]byte) (all []byte) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		messages []byte
		ok       bool
	}{
		{"right", cat(ok, wire.AppendBackendKeyData(nil, 1, []byte("abcd")), ready), true},
		{"no key", cat(ok, ready), true},
		{"more after it", cat(ok, ready, wire.AppendNoticeResponse(nil, wire.Errorf("01000", "hi"))), true},
		{"ready before authentication", ready, false},
		{"key before authentication", cat(wire.AppendBackendKeyData(nil, 1, []byte("abcd")), ok, ready), false},
		{"authentication twice", cat(ok, ok, ready), false},
		{"in a transaction", cat(ok, wire.AppendReadyForQuery(nil, wire.TxActive)), false},
		{"another protocol", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false},
		{"2 GB", []byte("R\x7f\xff\xff\xff"), false},
		{"a long message", []byte("S\x00\x02\x00\x00"), false},
		{"endless messages", bytesRepeat(wire.AppendNoticeResponse(nil, wire.Errorf("01000", "x")), 2000), false},
		{"half a message", cat(ok, []byte("S\x00\x00\x00\x09a\x00")), false},
		{"an error that can't be read", []byte("E\x00\x00\x00\x05X"), false},
		{"a method that isn't supported", wire.AppendAuthentication(nil, wire.AuthGSS, nil), false},
		{"a signature without an exchange", cat(wire.AppendAuthentication(nil, wire.AuthSASLFinal, []byte("v=AAAA")), ok, ready), false},
		{"SCRAM cut short", cat(wire.AppendAuthenticationSASL(nil, auth.MechanismSCRAM), ok, ready), false},
		{"two methods", cat(wire.AppendAuthentication(nil, wire.AuthCleartextPassword, nil), wire.AppendAuthentication(nil, wire.AuthMD5Password, []byte("salt")), ok, ready), false},
		{"a newer protocol than asked for", cat(wire.AppendNegotiateProtocolVersion(nil, wire.Protocol32), ok, ready), false},
		{"the minor version alone", cat(wire.AppendNegotiateProtocolVersion(nil, 0), ok, ready), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := says(t, tt.messages)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			login, err := Connect(ctx, ConnectConfig{Target: target, Identity: target.Service()})
			if err == nil {
				defer login.Conn.Close()
			}
			if (err == nil) != tt.ok {
				t.Fatal(err)
			}
			if tt.name == "more after it" && len(login.Leftover) == 0 {
				t.Error("what came after ReadyForQuery is lost")
			}
		})
	}
}

func bytesRepeat(b []byte, n int) []byte { return []byte(strings.Repeat(string(b), n)) }

// HAZARDS 23: what comes in clear after the server's 'S' must not be taken for something that came through TLS.
func TestHazard23BytesBeforeTheHandshake(t *testing.T) {
	noLeaks(t)
	injected := append(wire.AppendAuthenticationOk(nil), wire.AppendReadyForQuery(nil, wire.TxIdle)...)
	plain := server(t, func(conn net.Conn) {
		if _, err := wire.NewReader(conn).Startup(); err != nil {
			return
		}
		conn.Write(append([]byte{'S'}, injected...))
		io.Copy(io.Discard, conn)
	})
	for _, mode := range []string{"require", "verify-full"} {
		target := mustTarget(t, "postgres://u:p@"+plain.Addr()+"/d?sslmode="+mode)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := Connect(ctx, ConnectConfig{Target: target, Identity: target.Service()}); err == nil {
			t.Errorf("%s: logged in by injected bytes", mode)
		}
		if err := SendCancel(ctx, target, 1, []byte("abcd")); err == nil {
			t.Errorf("%s: cancelled by injected bytes", mode)
		}
		cancel()
	}
}

func TestTLSThatIsRefused(t *testing.T) {
	noLeaks(t)
	startup := make(chan bool, 10)
	plain := server(t, func(conn net.Conn) {
		r := wire.NewReader(conn)
		if _, err := r.Startup(); err != nil {
			return
		}
		conn.Write([]byte{'N'})
		_, err := r.Startup()
		startup <- err == nil
		if err == nil {
			conn.Write(wire.AppendReadyForQuery(wire.AppendAuthenticationOk(nil), wire.TxIdle))
			io.Copy(io.Discard, conn)
		}
	})
	at := func(mode string) Target { return mustTarget(t, "postgres://u:p@"+plain.Addr()+"/d?sslmode="+mode) }
	if _, err := connect(t, ConnectConfig{Target: at("require"), Identity: auth.Trusted("x")}); err == nil || <-startup {
		t.Error("sslmode=require went on in clear", err)
	}
	login, err := connect(t, ConnectConfig{Target: at("prefer"), Identity: auth.Trusted("x")})
	if err != nil || !<-startup {
		t.Error(err)
	} else {
		login.Conn.Close()
	}
}

func TestConnectEnds(t *testing.T) {
	noLeaks(t)
	gone := make(chan struct{}, 10)
	silent := server(t, func(conn net.Conn) {
		io.Copy(io.Discard, conn)
		gone <- struct{}{}
	})
	begun := time.Now()
	_, err := Connect(t.Context(), ConnectConfig{Target: silent, Identity: auth.Trusted("x"), Timeout: 20 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-gone
	ctx, cancel := context.WithCancel(t.Context())
	cause := time.AfterFunc(20*time.Millisecond, cancel)
	defer cause.Stop()
	if _, err = Connect(ctx, ConnectConfig{Target: silent, Identity: auth.Trusted("x")}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	<-gone
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := SendCancel(ctx, silent, 1, []byte("abcd")); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-gone
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	if _, err := Connect(t.Context(), ConnectConfig{}); err == nil {
		t.Error("logged in nowhere")
	}
}

// FuzzLogIn is a server that says anything. The login must end, and be one only if the server let us in.
func FuzzLogIn(f *testing.F) {
	ok := wire.AppendAuthenticationOk(nil)
	f.Add(ok)
	f.Add(wire.AppendReadyForQuery(ok, wire.TxIdle))
	f.Add(wire.AppendAuthenticationSASL(nil, auth.MechanismSCRAM))
	f.Add(wire.AppendAuthentication(wire.AppendAuthenticationSASL(nil, auth.MechanismSCRAM), wire.AuthSASLContinue, []byte("r=x,s=c2FsdA==,i=1")))
	f.Add(wire.AppendErrorResponse(nil, wire.Fatal("28P01", "no")))
	f.Add(wire.AppendBackendKeyData(wire.AppendParameterStatus(ok, "a", "b"), 1, []byte("abcd")))
	target, err := ParseTarget("postgres://u:p@h/d?sslmode=disable")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		login, err := logIn(&scripted{strings.NewReader(string(said))}, ConnectConfig{Target: target, Identity: target.Service()})
		if (err == nil) != (login != nil) {
			t.Fatal(err)
		}
		if err == nil && !strings.Contains(string(said), string(ok)) {
			t.Fatal("logged in without having been let in")
		}
	})
}

// scripted is a connection whose peer has said all it will say.
type scripted struct{ *strings.Reader }

func (c *scripted) Write(p []byte) (int, error)      { return len(p), nil }
func (c *scripted) Close() error                     { return nil }
func (c *scripted) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scripted) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scripted) SetDeadline(time.Time) error      { return nil }
func (c *scripted) SetReadDeadline(time.Time) error  { return nil }
func (c *scripted) SetWriteDeadline(time.Time) error { return nil }

// Who takes TLS from the first byte has to say that it speaks Postgres' protocol: else we may have been led to a server of another one.
func TestDirectTLSNeedsALPN(t *testing.T) {
	noLeaks(t)
	authority, err := cluster.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.Server()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, protos := range [][]string{nil, {auth.ALPN}} {
		asked := make(chan bool, 1)
		plain := server(t, func(conn net.Conn) {
			secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: protos})
			_, err := wire.NewReader(secure).Startup()
			asked <- err == nil
			secure.Write(wire.AppendReadyForQuery(wire.AppendAuthenticationOk(nil), wire.TxIdle))
		})
		target := mustTarget(t, "postgres://u:p@"+plain.Addr()+"/d?sslmode=require&sslnegotiation=direct")
		_, err := connect(t, ConnectConfig{Target: target, Identity: target.Service()})
		if protos == nil && (err == nil || !strings.Contains(err.Error(), "ALPN")) || protos != nil && err != nil {
			t.Errorf("%q: %v", protos, err)
		}
		if <-asked != (protos != nil) {
			t.Errorf("%q: a startup message, or none", protos)
		}
	}
}
