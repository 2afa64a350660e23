package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/freshet/freshet/bench/cluster"
	"github.com/freshet/freshet/proxy/auth"
	"github.com/freshet/freshet/proxy/wire"
)

// acquainted is a Source of one role.
type acquainted struct {
	name string
	role auth.Role
}

func (a acquainted) Verifier(_ context.Context, name string) (auth.Role, error) {
	if name == a.name {
		return a.role, nil
	}
	return auth.Role{}, nil
}

func acquaint(t *testing.T, name, password string) acquainted {
	t.Helper()
	v, err := auth.NewVerifier(password, []byte("0123456789abcdef"), 64)
	if err != nil {
		t.Fatal(err)
	}
	return acquainted{name, auth.Role{Exists: true, CanLogin: true, Verifier: v}}
}

// papers are what TLS needs, in files.
type papers struct {
	t         testing.TB
	dir       string
	authority *cluster.Authority
}

func newPapers(t testing.TB) *papers {
	t.Helper()
	a, err := cluster.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	p := &papers{t, t.TempDir(), a}
	p.write("ca.crt", a.PEM())
	p.renew()
	p.user("u", "u")
	return p
}

func (p *papers) path(name string) string { return filepath.Join(p.dir, name) }

func (p *papers) write(name string, text []byte) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), text, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// renew makes a new certificate for the server.
func (p *papers) renew() {
	p.t.Helper()
	cert, key, err := p.authority.Server()
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("server.crt", cert)
	p.write("server.key", key)
}

// user makes a client's certificate, in NAME.crt and NAME.key.
func (p *papers) user(file, user string) { p.issue(file, pkix.Name{CommonName: user}) }

func (p *papers) issue(file string, subject pkix.Name) {
	p.t.Helper()
	cert, key, err := p.authority.Issue(&x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(file+".crt", cert)
	p.write(file+".key", key)
}

func (p *papers) load(mode auth.TLSMode) *auth.TLSState {
	p.t.Helper()
	s, warnings, err := auth.LoadTLS(auth.TLSFiles{Mode: mode, Cert: p.path("server.crt"), Key: p.path("server.key"), ClientCA: p.path("ca.crt")})
	if err != nil || len(warnings) > 0 {
		p.t.Fatal(err, warnings)
	}
	return s
}

// params are what a client needs to show NAME's certificate.
func (p *papers) params(name string) string {
	return fmt.Sprintf(" sslcert=%s sslkey=%s", p.path(name+".crt"), p.path(name+".key"))
}

// secured opens a door with TLS, behind which there is only the console.
func secured(t *testing.T, p *papers, mode auth.TLSMode, cfg AdmitConfig) (*door, *auth.TLS) {
	t.Helper()
	var current auth.TLS
	current.Store(p.load(mode))
	cfg.TLS, cfg.Console = &current, "freshet"
	if cfg.Verifiers == nil {
		cfg.Verifiers = acquaint(t, "u", "secret")
	}
	return open(t, NewAdmitter(cfg)), &current
}

func TestTLSModes(t *testing.T) {
	p := newPapers(t)
	const plain, asked = "sslmode=disable", "sslmode=require"
	verified := "sslmode=verify-full sslrootcert=" + p.path("ca.crt")
	direct := verified + " sslnegotiation=direct"
	certified := p.params("u")
	const requires, noCertificate, refuses = "28000 connection requires TLS", "28000 connection requires a valid client certificate", "server refused TLS"
	for _, tt := range []struct {
		mode           auth.TLSMode
		client, refuse string
	}{
		{auth.TLSOff, plain, ""},
		{auth.TLSOff, asked, refuses},
		{auth.TLSOff, direct, "failed to"},
		{auth.TLSAllow, plain, ""},
		{auth.TLSAllow, asked, ""},
		{auth.TLSAllow, verified, ""},
		{auth.TLSAllow, direct, ""},
		{auth.TLSAllow, direct + certified, ""},
		{auth.TLSRequire, plain, requires},
		{auth.TLSRequire, "sslmode=prefer", ""},
		{auth.TLSRequire, "sslmode=allow", ""}, // in clear first, then with TLS
		{auth.TLSRequire, asked, ""},
		{auth.TLSRequire, direct, ""},
		{auth.TLSRequire, verified + certified, ""},
		{auth.TLSVerifyClient, plain, requires},
		{auth.TLSVerifyClient, plain + certified, requires},
		{auth.TLSVerifyClient, verified, noCertificate},
		{auth.TLSVerifyClient, direct, noCertificate},
		{auth.TLSVerifyClient, verified + certified, ""},
		{auth.TLSVerifyClient, direct + certified, ""},
	} {
		t.Run(string(tt.mode)+" "+strings.ReplaceAll(tt.client, p.dir+"/", ""), func(t *testing.T) {
			d, _ := secured(t, p, tt.mode, AdmitConfig{})
			conn, err := d.connect(t.Context(), "user=u password=secret dbname=freshet "+tt.client)
			if err == nil {
				defer conn.Close(t.Context())
				if _, isTLS := conn.Conn().(*tls.Conn); isTLS == (tt.client == plain) {
					t.Errorf("encrypted: %t", isTLS)
				}
			}
			switch {
			case tt.refuse == "" && err != nil:
				t.Error(err)
			case tt.refuse != "" && err == nil:
				t.Error("let in")
			case tt.refuse != "" && !strings.Contains(sqlstate(err)+err.Error(), tt.refuse):
				t.Error(err)
			}
		})
	}
}

// sqlstate is the server's error in short.
func sqlstate(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code + " " + e.Message
	}
	return ""
}

// connect is client without an sslmode.
func (d *door) connect(ctx context.Context, more string) (*pgconn.PgConn, error) {
	_, port, _ := net.SplitHostPort(d.addr)
	cfg, err := pgconn.ParseConfig("host=127.0.0.1 port=" + port + " " + more)
	if err != nil {
		return nil, err
	}
	return pgconn.ConnectConfig(ctx, cfg)
}

func TestWhatIsSaidOfTLS(t *testing.T) {
	p := newPapers(t)
	d, _ := secured(t, p, auth.TLSAllow, AdmitConfig{})
	for client, want := range map[string]string{"sslmode=require": "TLS 1.3/TLS_", "sslmode=disable": ""} {
		conn, err := d.connect(t.Context(), "user=u password=secret dbname=freshet "+client)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close(t.Context())
		admitted, err := d.last(t)
		if err != nil || !strings.HasPrefix(admitted.TLS, want) || (want == "") != (admitted.TLS == "") {
			t.Errorf("%s: %q %v", client, admitted.TLS, err)
		}
	}
}

func TestChannelBindingWithClients(t *testing.T) {
	p := newPapers(t)
	d, current := secured(t, p, auth.TLSAllow, AdmitConfig{})
	const bound = "user=u password=secret dbname=freshet sslmode=require channel_binding=require"
	for i := range 2 {
		for _, client := range []string{bound, bound + " sslnegotiation=direct"} {
			conn, err := d.connect(t.Context(), client)
			if err != nil {
				t.Errorf("certificate %d: %s: %v", i, client, err)
				continue
			}
			conn.Close(t.Context())
		}
		p.renew() // the next certificate has another hash
		current.Store(p.load(auth.TLSAllow))
	}
	if _, err := d.connect(t.Context(), strings.Replace(bound, "secret", "wrong", 1)); !strings.HasPrefix(sqlstate(err), "28P01") {
		t.Error(err)
	}
	if _, err := d.connect(t.Context(), strings.Replace(bound, "sslmode=require", "sslmode=disable", 1)); err == nil {
		t.Error("bound to a channel that there isn't")
	}
	// Somebody in between who decrypts, and encrypts again with a certificate of his own, is found out.
	between, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer between.Close()
	p.renew()
	pair, err := tls.LoadX509KeyPair(p.path("server.crt"), p.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		client, err := between.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := tls.Dial("tcp", d.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{auth.ALPN}})
		if err != nil {
			return
		}
		defer server.Close()
		client = tls.Server(client, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{auth.ALPN}})
		go io.Copy(server, client)
		io.Copy(client, server)
	}()
	_, port, _ := net.SplitHostPort(between.Addr().String())
	_, err = pgconn.Connect(t.Context(), "host=127.0.0.1 port="+port+" sslnegotiation=direct "+bound)
	if got := sqlstate(err); got != "28000 SCRAM channel binding check failed" {
		t.Errorf("%v", err)
	}
}

func TestCertificateAuthentication(t *testing.T) {
	p := newPapers(t)
	p.user("other", "somebody")
	p.user("nul", "u\x00.example.org")
	p.issue("none", pkix.Name{Organization: []string{"u"}})
	p.issue("two", pkix.Name{CommonName: "u", ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin"}}})
	p.issue("two2", pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: "admin"}, {Type: oidCommonName, Value: "u"}}})
	stranger, err := cluster.NewAuthority("stranger")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := stranger.Client("u")
	if err != nil {
		t.Fatal(err)
	}
	p.write("foreign.crt", cert)
	p.write("foreign.key", key)
	// A certificate of the server's is none of a client's.
	p.write("server2.crt", mustRead(t, p.path("server.crt")))
	p.write("server2.key", mustRead(t, p.path("server.key")))

	d, _ := secured(t, p, auth.TLSAllow, AdmitConfig{AuthType: AuthCert})
	for _, tt := range []struct{ name, client, code, detail string }{
		{"right", "user=u sslmode=require" + p.params("u"), "", ""},
		{"right, directly", "user=u sslmode=require sslnegotiation=direct" + p.params("u"), "", ""},
		{"a password is of no use", "user=u password=secret sslmode=require", "28000 connection requires a valid client certificate", ""},
		{"nor without TLS", "user=u password=secret sslmode=disable", "28000 connection requires a valid client certificate", ""},
		{"another user", "user=admin sslmode=require" + p.params("u"), `28000 certificate authentication failed for user "admin"`, `for user "u"`},
		{"another's certificate", "user=u sslmode=require" + p.params("other"), `28000 certificate authentication failed for user "u"`, `for user "somebody"`},
		{"a null byte", "user=u sslmode=require" + p.params("nul"), `28000 certificate authentication failed for user "u"`, "null byte"},
		{"no name", "user=u sslmode=require" + p.params("none"), `28000 certificate authentication failed for user "u"`, "no common name"},
		{"two names", "user=u sslmode=require" + p.params("two"), `28000 certificate authentication failed for user "u"`, ""},
		{"two names, ours last", "user=u sslmode=require" + p.params("two2"), `28000 certificate authentication failed for user "u"`, "2 common names"},
		// Go's client doesn't show it: the server has said whose it takes.
		{"of a stranger", "user=u sslmode=require" + p.params("foreign"), "28000 connection requires a valid client certificate", ""},
	} {
		conn, err := d.connect(t.Context(), "dbname=freshet "+tt.client)
		var e *pgconn.PgError
		errors.As(err, &e)
		switch {
		case tt.code == "":
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				break
			}
			conn.Close(t.Context())
			if admitted, err := d.last(t); err != nil || !admitted.Identity.Trusted() || admitted.User != "u" {
				t.Errorf("%s: %+v %v", tt.name, admitted, err)
			}
			continue
		case err == nil:
			t.Errorf("%s: let in", tt.name)
			conn.Close(t.Context())
		case sqlstate(err) != tt.code || !strings.Contains(e.Detail, tt.detail):
			t.Errorf("%s: %+v", tt.name, err)
		}
		if _, err := d.last(t); err == nil {
			t.Errorf("%s: not refused", tt.name)
		}
	}
	for name, want := range map[string]string{"foreign": "tls: unknown certificate authority", "server2": "tls: bad certificate"} {
		pair, err := tls.LoadX509KeyPair(p.path(name+".crt"), p.path(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", d.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{auth.ALPN},
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }})
		if err == nil { // with TLS 1.3 it is over for the client before the server has looked
			conn.Write(startup(wire.Protocol30, "user", "u", "database", "freshet"))
			_, err = conn.Read(make([]byte, 100))
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := d.last(t); !errors.As(err, new(*tlsError)) {
			t.Error(err)
		}
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestNewCertificatesWithoutDroppingConnections(t *testing.T) {
	p := newPapers(t)
	d, current := secured(t, p, auth.TLSRequire, AdmitConfig{})
	old, err := d.connect(t.Context(), "user=u password=secret dbname=freshet sslmode=require")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(t.Context())
	serial := func(c *pgconn.PgConn) string {
		return c.Conn().(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	p.renew()
	current.Store(p.load(auth.TLSRequire))
	conn, err := d.connect(t.Context(), "user=u password=secret dbname=freshet channel_binding=require sslmode=verify-full sslrootcert="+p.path("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if serial(old) == serial(conn) {
		t.Error("the new certificate isn't used")
	}
	for _, c := range []*pgconn.PgConn{old, conn} {
		if _, err := c.Exec(t.Context(), "select 1").ReadAll(); err != nil {
			t.Error(err)
		}
	}
	// And without TLS from now on.
	current.Store(nil)
	if _, err := d.connect(t.Context(), "user=u password=secret dbname=freshet sslmode=require"); err == nil {
		t.Error("TLS although it is off")
	}
}

// HAZARDS 23: what was sent before the handshake isn't read as if it had come through it.
func TestHazard23BytesBeforeTheClientsHandshake(t *testing.T) {
	d, _ := secured(t, newPapers(t), auth.TLSAllow, AdmitConfig{})
	u := startup(wire.Protocol30, "user", "u", "database", "freshet")
	got := answer(t, d, cat(wire.AppendSSLRequest(nil), u))
	if !strings.HasPrefix(got, "E") || !strings.Contains(got, "C08P01\x00Mreceived unencrypted data after SSL request\x00") ||
		strings.Contains(got, auth.MechanismSCRAM) {
		t.Errorf("%q", got)
	}
	d.last(t)
	// What comes after our answer meets the handshake, and fails there.
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	conn.Write(wire.AppendSSLRequest(nil))
	var yes [1]byte
	if _, err := io.ReadFull(conn, yes[:]); err != nil || yes[0] != 'S' {
		t.Fatalf("%q %v", yes, err)
	}
	conn.Write(u)
	rest, _ := io.ReadAll(conn)
	if strings.Contains(string(rest), auth.MechanismSCRAM) {
		t.Errorf("%q", rest)
	}
	var handshake *tlsError
	if _, err := d.last(t); !errors.As(err, &handshake) {
		t.Error(err)
	}
}

func TestEncryptionIsAskedForOnce(t *testing.T) {
	d, _ := secured(t, newPapers(t), auth.TLSAllow, AdmitConfig{})
	ssl, gss := wire.AppendSSLRequest(nil), wire.AppendGSSENCRequest(nil)
	for _, first := range []string{"", "direct", "GSS"} {
		for _, again := range [][]byte{ssl, gss} {
			conn, err := net.Dial("tcp", d.addr)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			expect := func(request []byte, want byte) {
				conn.Write(request)
				var b [1]byte
				if _, err := io.ReadFull(conn, b[:]); err != nil || b[0] != want {
					t.Errorf("%s: %q %v", first, b, err)
				}
			}
			if first == "GSS" {
				expect(gss, 'N')
			}
			if first != "direct" {
				expect(ssl, 'S')
			}
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{auth.ALPN}})
			secure.Write(again)
			typ, body, err := wire.NewReader(secure).Message(1000)
			if typ != wire.MsgErrorResponse || err != nil || string(wire.ErrorField(body, 'C')) != "0A000" {
				t.Errorf("%s, %q: %q %q %v", first, again, typ, body, err)
			}
			secure.Close()
			d.last(t)
		}
	}
	// A handshake in clear after 'N' is none.
	d, _ = secured(t, newPapers(t), auth.TLSOff, AdmitConfig{})
	conn, _ := in(t, d, ssl)
	if err := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}).HandshakeContext(t.Context()); err == nil {
		t.Error("TLS after it was declined")
	}
	if _, err := d.last(t); !errors.Is(err, ErrDirectTLS) {
		t.Error(err)
	}
}

func TestDirectTLSNeedsALPN(t *testing.T) {
	d, _ := secured(t, newPapers(t), auth.TLSAllow, AdmitConfig{})
	for _, tt := range []struct {
		name   string
		protos []string
		err    func(error) bool
	}{
		{"none", nil, func(err error) bool { return errors.Is(err, ErrNoALPN) }},
		{"another", []string{"http/1.1"}, func(err error) bool { return errors.As(err, new(*tlsError)) }},
	} {
		conn, err := tls.Dial("tcp", d.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: tt.protos})
		if err == nil {
			conn.Write(startup(wire.Protocol30, "user", "u"))
			if got, _ := io.ReadAll(conn); len(got) > 0 {
				t.Errorf("%s: %q", tt.name, got)
			}
			conn.Close()
		}
		if _, err := d.last(t); !tt.err(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// After an SSLRequest it may be missing, as in every client before 17; but another protocol's is refused there, too.
	for _, tt := range []struct {
		protos []string
		ok     bool
	}{{nil, true}, {[]string{auth.ALPN}, true}, {[]string{"http/1.1"}, false}} {
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(wire.AppendSSLRequest(nil))
		io.ReadFull(conn, make([]byte, 1))
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: tt.protos})
		if err := secure.HandshakeContext(t.Context()); (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.protos, err)
		}
		conn.Close()
		d.last(t)
	}
}

// A handshake that doesn't end is cut, too.
func TestSlowHandshakesAreCut(t *testing.T) {
	for _, mode := range []string{"asked", "direct"} {
		d, _ := secured(t, newPapers(t), auth.TLSAllow, AdmitConfig{Timeout: 60 * time.Millisecond})
		conn, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		if mode == "asked" {
			conn.Write(wire.AppendSSLRequest(nil))
		} else {
			conn.Write([]byte("\x16\x03\x01\x02\x00\x01\x00"))
		}
		io.ReadAll(conn)
		conn.Close()
		if _, err := d.last(t); !errors.Is(err, errAdmitTimeout) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestCancelRequestsThroughTLS(t *testing.T) {
	// Those of libpq before 17 come in clear whatever the session has.
	for _, mode := range []auth.TLSMode{auth.TLSAllow, auth.TLSVerifyClient} {
		d, _ := secured(t, newPapers(t), mode, AdmitConfig{})
		for _, how := range []string{"clear", "asked", "direct"} {
			conn, err := net.Dial("tcp", d.addr)
			if err != nil {
				t.Fatal(err)
			}
			if how == "asked" {
				conn.Write(wire.AppendSSLRequest(nil))
				io.ReadFull(conn, make([]byte, 1))
			}
			if how != "clear" {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{auth.ALPN}})
			}
			conn.Write(wire.AppendCancelRequest(nil, 42, []byte("abcd")))
			if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
				t.Errorf("%s: %q %v", how, got, err)
			}
			conn.Close()
			if admitted, err := d.last(t); err != nil || admitted.Cancel == nil || admitted.Cancel.PID != 42 {
				t.Errorf("%s: %+v %v", how, admitted, err)
			}
		}
	}
}

func TestPsqlWithTLS(t *testing.T) {
	p := newPapers(t)
	d, _ := secured(t, p, auth.TLSRequire, AdmitConfig{})
	c := cluster.ForTest(t, cluster.Options{}) // for psql alone
	for _, tt := range []struct{ conninfo, want string }{
		{"sslmode=require", "u"},
		{"sslmode=prefer channel_binding=require", "u"},
		{"sslmode=verify-full channel_binding=require sslrootcert=" + p.path("ca.crt"), "u"},
		{"sslmode=disable", "connection requires TLS"},
	} {
		out, _ := d.psql(t, c, "secret", tt.conninfo+" user=u dbname=freshet", "-c", "select 1")
		if !strings.Contains(out, tt.want) || tt.want == "u" && out != "u" {
			t.Errorf("%s: %s", tt.conninfo, out)
		}
		for len(d.news) > 0 {
			<-d.news
		}
	}
}
