package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

func TestLoadTLS(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, text []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path(name), text, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	authority, err := cluster.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, from, to time.Time) {
		t.Helper()
		cert, key, err := authority.Issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to})
		if err != nil {
			t.Fatal(err)
		}
		write(name+".crt", cert, 0o600)
		write(name+".key", key, 0o600)
	}
	now := time.Now()
	issue("good", now.Add(-time.Hour), now.Add(time.Hour))
	issue("other", now.Add(-time.Hour), now.Add(time.Hour))
	issue("expired", now.Add(-2*time.Hour), now.Add(-time.Hour))
	issue("early", now.Add(time.Hour), now.Add(2*time.Hour))
	issue("open", now.Add(-time.Hour), now.Add(time.Hour))
	if err := os.Chmod(path("open.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	write("ca.crt", authority.PEM(), 0o600)
	write("empty.crt", nil, 0o600)
	write("encrypted.key", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"), 0o600)

	files := func(mode TLSMode, cert, key, ca string) TLSFiles {
		f := TLSFiles{Mode: mode, Cert: path(cert), Key: path(key)}
		if ca != "" {
			f.ClientCA = path(ca)
		}
		return f
	}
	for _, tt := range []struct {
		name          string
		files         TLSFiles
		err, warnings string
	}{
		{"off", TLSFiles{}, "", ""},
		{"off, whatever the files", files(TLSOff, "missing", "missing", "missing"), "", ""},
		{"allow", files(TLSAllow, "good.crt", "good.key", ""), "", ""},
		{"verify-client", files(TLSVerifyClient, "good.crt", "good.key", "ca.crt"), "", ""},
		{"no certificate", files(TLSAllow, "missing.crt", "good.key", ""), "missing.crt", ""},
		{"no key", files(TLSAllow, "good.crt", "missing.key", ""), "missing.key", ""},
		{"empty certificate", files(TLSAllow, "empty.crt", "good.key", ""), "--tls-cert", ""},
		{"another's key", files(TLSAllow, "good.crt", "other.key", ""), "private key does not match public key", ""},
		{"encrypted key", files(TLSAllow, "good.crt", "encrypted.key", ""), "the key is encrypted", ""},
		{"no authority", files(TLSVerifyClient, "good.crt", "good.key", "missing.crt"), "--tls-client-ca", ""},
		{"nothing in the authorities' file", files(TLSAllow, "good.crt", "good.key", "empty.crt"), "there is no certificate in it", ""},
		{"nobody vouches", files(TLSVerifyClient, "good.crt", "good.key", ""), "needs --tls-client-ca", ""},
		{"expired", files(TLSAllow, "expired.crt", "expired.key", ""), "", "has expired on"},
		{"early", files(TLSAllow, "early.crt", "early.key", ""), "", "isn't valid before"},
		{"a key for everybody", files(TLSAllow, "open.crt", "open.key", ""), "", "can be read by everybody"},
	} {
		s, warnings, err := LoadTLS(tt.files)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if all := strings.Join(warnings, "\n"); tt.warnings == "" && all != "" || !strings.Contains(all, tt.warnings) {
			t.Errorf("%s: %q", tt.name, all)
		}
		if off := err != nil || tt.files.Mode == "" || tt.files.Mode == TLSOff; off != (s.Config() == nil) {
			t.Errorf("%s: %v", tt.name, s)
		}
	}
	var nobody *TLSState
	if nobody.Required() || nobody.CertificateRequired() || nobody.VerifiesClients() || !nobody.NotAfter().IsZero() {
		t.Error("what is off demands something")
	}
	s, _, err := LoadTLS(files(TLSVerifyClient, "good.crt", "good.key", "ca.crt"))
	if err != nil || !s.Required() || !s.CertificateRequired() || !s.VerifiesClients() || len(s.CertificateHash()) != 32 || s.NotAfter().Before(now) {
		t.Error(err)
	}
}
