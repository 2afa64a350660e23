package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet/freshet/bench/cluster"
)

// TestCheckLooksAtFiles: what would keep serve from starting, or clients from trusting it, is found without a server.
func TestCheckLooksAtFiles(t *testing.T) {
	dir := t.TempDir()
	authority, err := cluster.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate := func(name string, from, until time.Duration, mode os.FileMode) []string {
		t.Helper()
		now := time.Now()
		cert, key, err := authority.Issue(&x509.Certificate{NotBefore: now.Add(from), NotAfter: now.Add(until)})
		if err != nil {
			t.Fatal(err)
		}
		return []string{"--tls-mode", "require", "--tls-cert", write(name+".crt", cert, 0o600), "--tls-key", write(name+".key", key, mode)}
	}
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		flags []string
		want  string
	}{
		{"good", certificate("good", -day, 300*day, 0o600), `ok +TLS for clients +--tls-mode=require, the certificate is good until 2`},
		{"soon", certificate("soon", -day, 3*day, 0o600), `note +TLS for clients +the certificate in .*soon.crt expires on 2.*\n    put another`},
		{"expired", certificate("expired", -3*day, -day, 0o604), `degraded +TLS for clients +the certificate in .*expired.crt has expired on .*\n    put another.*\ndegraded +TLS for clients +the key .* chmod`},
		{"early", certificate("early", day, 300*day, 0o600), `degraded +TLS for clients +the certificate in .*early.crt isn't valid before`},
		{"absent", []string{"--tls-mode", "require", "--tls-cert", "/no/such", "--tls-key", "/no/such"}, `down +TLS for clients +--tls-cert /no/such.*no such file`},
		{"users", []string{"--auth-file", write("users", []byte("\"app\" \"secret\"\n"), 0o600)}, `ok +users of --auth-file +1 in `},
		{"users seen", []string{"--auth-file", write("seen", []byte("\"app\" \"secret\"\n"), 0o604)}, `degraded +users of --auth-file .*chmod`},
		{"no users", []string{"--auth-file", "/no/such"}, `down +users of --auth-file +--auth-file: open /no/such`},
	} {
		out, _ := runCommand(t, exitUsage, append([]string{"check", "--primary", "postgres://svc:hunter2@127.0.0.1:1/app"}, c.flags...)...)
		if !line(out, c.want) || leaks(out) {
			t.Errorf("%s: want %s:\n%s", c.name, c.want, out)
		}
	}
}
