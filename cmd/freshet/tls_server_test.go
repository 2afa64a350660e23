package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/freshet/freshet/bench/cluster"
)

// The service URL decides how every connection to a server is made: those that watch it, those that read verifiers and
// the WAL, and those as the clients' users, which log in by keys that were learned and bind them to the channel all the same.
func TestTLSToServers(t *testing.T) {
	c := cluster.ForTest(t, cluster.Options{TLS: true, HBA: []string{
		"hostssl all         app      127.0.0.1/32 scram-sha-256 clientcert=verify-ca",
		"host    all         app      127.0.0.1/32 reject",
		"hostssl all         postgres 127.0.0.1/32 scram-sha-256",
		"hostssl replication postgres 127.0.0.1/32 scram-sha-256",
	}})
	ctx := context.Background()
	p := c.Primary()
	papers := newCertificates(t)
	cert, key, err := c.Authority().Client("freshet")
	if err != nil {
		t.Fatal(err)
	}
	papers.write("freshet.crt", cert)
	papers.write("freshet.key", key)
	shows := "&sslcert=" + papers.path("freshet.crt") + "&sslkey=" + papers.path("freshet.key")
	trusts, distrusts := "&sslrootcert="+c.CAFile(), "&sslrootcert="+papers.path("ca.crt")
	cases := []struct {
		name, url string
		refused   string // the beginning of SQLSTATE and message; empty: works
	}{
		{"allow", "sslmode=allow" + shows, ""}, // in clear first, which pg_hba.conf refuses for app
		{"prefer", "sslmode=prefer" + shows, ""},
		{"require", "sslmode=require" + shows, ""},
		{"require, bound to the channel", "sslmode=require&channel_binding=require" + shows, ""},
		{"verify-ca", "sslmode=verify-ca" + trusts + shows, ""},
		{"verify-full", "sslmode=verify-full&channel_binding=require" + trusts + shows, ""},
		{"without a certificate of its own", "sslmode=verify-full" + trusts, "28000 "},
		{"disable", "sslmode=disable", "28000 "},
		{"an authority that we don't trust", "sslmode=verify-full" + distrusts + shows, "57P03 "},
		{"the same, and only the chain counts", "sslmode=verify-ca" + distrusts + shows, "57P03 "},
	}
	if c.Version() >= 17 {
		cases = append(cases, struct{ name, url, refused string }{"direct", "sslmode=verify-full&sslnegotiation=direct&channel_binding=require" + trusts + shows, ""})
	} else {
		cases = append(cases, struct{ name, url, refused string }{"direct", "sslmode=verify-full&sslnegotiation=direct" + trusts + shows, "57P03 "})
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			in := startTestServer(t, c, func(cfg *ServeConfig) {
				cfg.Primary = fmt.Sprintf("postgres://postgres:%s@%s/app?%s", c.Password(), p.Addr(), tt.url)
			})
			client := "postgres://app:" + c.AppPassword() + "@" + in.Addrs()[0] + "/app?sslmode=disable"
			if tt.refused != "" {
				pg := refused(t, client)
				if pg == nil || !strings.HasPrefix(pg.Code+" "+pg.Message, tt.refused) {
					t.Errorf("%v", pg)
				}
				return
			}
			conn := connectTo(t, client)
			if got := one(t, conn, "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "app true" {
				t.Error(got)
			}
			if tt.name == "allow" {
				return // the service's may be in clear
			}
			clear, err := p.Value(ctx, "SELECT count(*) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid) WHERE a.application_name LIKE 'freshet%' AND NOT s.ssl")
			if err != nil || clear != "0" {
				t.Errorf("%s connections of ours in clear, %v", clear, err)
			}
		})
	}
}
