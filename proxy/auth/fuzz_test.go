package auth

import (
	"strings"
	"testing"
)

func FuzzServer(f *testing.F) {
	f.Add("n,,n=,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("y,,n=,r=abc,x=y", "c=eSws,r=abc,x=y,p=AAAA")
	f.Add("p=tls-server-end-point,,n=,r=abc", "")
	f.Add("n,a=x,n=,r=abc", ",,,,")
	f.Add("p=tls-server-end-point,,n=,r=abc", "c="+encode64([]byte("p=tls-server-end-point,,hash"))+",r=abc,p=AAAA")
	f.Add("p=tls-unique,,n=,r=abc", "")
	v := testVerifier(f, "secret")
	f.Fuzz(func(t *testing.T, first, final string) {
		for _, mechanism := range []string{MechanismSCRAM, MechanismSCRAMPlus} {
			fuzzServer(t, v, mechanism, first, final)
		}
	})
}

func fuzzServer(t *testing.T, v Verifier, mechanism, first, final string) {
	for _, hash := range [][]byte{nil, []byte("hash")} {
		s := NewServer("u", v)
		s.Bind(hash)
		if err := s.Choose(mechanism); err != nil {
			continue
		}
		challenge, err := s.First([]byte(first))
		if err != nil {
			continue
		}
		if len(challenge) > 2*MaxSASLMessage {
			t.Fatal("a huge challenge")
		}
		// Half of the time, a final message with the nonce that is wanted, so that what follows it is reached.
		nonce, _, _ := strings.Cut(string(challenge), ",")
		for _, m := range []string{final, strings.Replace(final, "r=abc", nonce, 1)} {
			if _, id, err := s.Final([]byte(m)); err == nil || !id.Trusted() {
				t.Fatalf("%q proves a password", m)
			}
		}
	}
}

func FuzzClient(f *testing.F) {
	f.Add("server,s=c2FsdA==,i=1", "v=AAAA")
	f.Add("server,s=,i=-1", "e=other-error")
	f.Add(",,", "")
	f.Fuzz(func(t *testing.T, rest, end string) {
		if strings.Contains(rest, ",i=") && len(rest[strings.LastIndex(rest, ",i="):]) > len(",i=999") {
			return // more work than a fuzzer should do
		}
		c, err := NewClient(WithPassword("u", "secret"), []string{MechanismSCRAM}, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.First()
		for _, m := range []string{rest, "r=" + c.nonce + rest} {
			if _, err := c.Final([]byte(m)); err == nil {
				if err := c.Verify([]byte(end)); err == nil {
					t.Fatalf("%q proves that the server knows the verifier", end)
				}
			}
		}
	})
}

func FuzzParseVerifier(f *testing.F) {
	f.Add("")
	f.Add("md5" + strings.Repeat("0a", 16))
	f.Add("SCRAM-SHA-256$4096:c2FsdA==$" + encode64(make([]byte, keyLen)) + ":" + encode64(make([]byte, keyLen)))
	f.Fuzz(func(t *testing.T, stored string) {
		v, err := ParseVerifier(stored)
		if (err == nil) == v.IsZero() {
			t.Fatal(err)
		}
		if err != nil && len(stored) > 8 && strings.Contains(err.Error(), stored) {
			t.Fatal("the error quotes what is stored")
		}
	})
}
