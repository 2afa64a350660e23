package auth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/freshet/freshet/proxy/wire"
)

func testVerifier(t testing.TB, password string) Verifier {
	t.Helper()
	v, err := NewVerifier(password, []byte("0123456789abcdef"), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// exchange runs a client against a server, and returns what the server learned.
func exchange(id Identity, s *Server) (Identity, error) {
	c, err := NewClient(id, []string{MechanismSCRAM}, false, nil)
	if err != nil {
		return Identity{}, err
	}
	first, err := s.First(c.First())
	if err != nil {
		return Identity{}, err
	}
	final, err := c.Final(first)
	if err != nil {
		return Identity{}, err
	}
	end, learned, err := s.Final(final)
	if err != nil {
		return Identity{}, err
	}
	return learned, c.Verify(end)
}

func TestServerLearnsWhatLogsIn(t *testing.T) {
	v := testVerifier(t, "secret")
	learned, err := exchange(WithPassword("u", "secret"), NewServer("u", v))
	if err != nil {
		t.Fatal(err)
	}
	if learned.User() != "u" || learned.Trusted() {
		t.Fatal(learned)
	}
	// What was learned logs in to another server with the same verifier, and teaches that one the same.
	again, err := exchange(learned, NewServer("u", v))
	if err != nil || !again.Equal(learned) {
		t.Fatal(err)
	}
}

func TestWrongPasswordFails(t *testing.T) {
	if _, err := exchange(WithPassword("u", "wrong"), NewServer("u", testVerifier(t, "secret"))); err != ErrProof {
		t.Fatal(err)
	}
}

func TestStaleIdentityIsToldSo(t *testing.T) {
	learned, err := exchange(WithPassword("u", "secret"), NewServer("u", testVerifier(t, "secret")))
	if err != nil {
		t.Fatal(err)
	}
	changed, err := NewVerifier("secret", []byte("another salt 123"), 64)
	if err != nil {
		t.Fatal(err)
	}
	_, err = exchange(learned, NewServer("u", changed))
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != "28P01" || e.Detail == "" {
		t.Fatal(err)
	}
}

// HAZARDS 26: the exchange of a user who doesn't exist looks like any other, and like itself the second time.
func TestHazard26MockLooksReal(t *testing.T) {
	m := NewMock()
	first := func(s *Server) string {
		c, _ := NewClient(WithPassword("u", "x"), []string{MechanismSCRAM}, false, nil)
		b, err := s.First(c.First())
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), ",")
		return rest
	}
	a, b := first(m.NewServer("nobody", 0)), first(m.NewServer("nobody", 0))
	if a != b {
		t.Errorf("the same user is given %q, then %q", a, b)
	}
	if a == first(m.NewServer("noone", 0)) {
		t.Error("two users are given the same salt")
	}
	if a == first(NewMock().NewServer("nobody", 0)) {
		t.Error("two processes give the same salt: it could be computed by anybody")
	}
	real := NewServer("u", mustParse(t, "SCRAM-SHA-256$4096:"+encode64(make([]byte, 16))+"$"+encode64(make([]byte, 32))+":"+encode64(make([]byte, 32))))
	if len(first(real)) != len(a) {
		t.Errorf("%q doesn't look like %q", a, first(real))
	}
	if !strings.HasSuffix(first(m.NewServer("nobody", 10000)), ",i=10000") {
		t.Error("the cluster's iteration count isn't used")
	}
	for _, password := range []string{"", "x"} {
		if _, err := exchange(WithPassword("nobody", password), m.NewServer("nobody", 0)); err != ErrProof {
			t.Error(err)
		}
	}
	// Not even somebody who knows the very key gets in.
	doomed := m.NewServer("nobody", 64)
	v := testVerifier(t, "secret")
	doomed.v = v.secret.open()
	if _, err := exchange(WithPassword("nobody", "secret"), doomed); err != ErrProof {
		t.Error(err)
	}
}

func mustParse(t *testing.T, s string) Verifier {
	t.Helper()
	v, err := ParseVerifier(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestServerFirstMessages(t *testing.T) {
	nonce := strings.Repeat("n", 24)
	for _, tt := range []struct {
		name, message string
		code, text    string // of the error; "": none
	}{
		{"plain", "n,,n=,r=" + nonce, "", ""},
		{"could bind", "y,,n=,r=" + nonce, "", ""},
		{"user's name is ignored", "n,,n=other,r=" + nonce, "", ""},
		{"extensions are ignored", "n,,n=,r=" + nonce + ",x=y", "", ""},
		{"nothing", "", "08P01", "The message is empty."},
		{"a NUL", "n,,n=,r=\x00", "08P01", "Message length does not match input length."},
		{"binds", "p=tls-unique,,n=,r=" + nonce, "08P01", "channel binding data"},
		{"no flag", ",,n=,r=" + nonce, "08P01", "channel-binding flag"},
		{"flag alone", "n", "08P01", "Comma expected"},
		{"flag and comma", "n,", "08P01", "Comma expected"},
		{"authorization identity", "n,a=root,n=,r=" + nonce, "0A000", "authorization identity"},
		{"no comma", "n,x", "08P01", "Unexpected attribute"},
		{"mandatory extension", "n,,m=x,n=,r=" + nonce, "0A000", "unsupported SCRAM extension"},
		{"no user", "n,,r=" + nonce, "08P01", `"n" expected`},
		{"no nonce", "n,,n=", "08P01", `"r" expected`},
		{"empty nonce", "n,,n=,r=", "08P01", "non-printable"},
		{"unprintable nonce", "n,,n=,r=a\x01", "08P01", "non-printable"},
		{"huge nonce", "n,,n=,r=" + strings.Repeat("n", maxNonce+1), "08P01", "Nonce is too long"},
		{"huge message", "n,,n=,r=n,x=" + strings.Repeat("n", MaxSASLMessage), "08P01", "too long"},
		{"garbage at the end", "n,,n=,r=" + nonce + ",?", "08P01", "Attribute expected"},
	} {
		_, err := NewServer("u", testVerifier(t, "x")).First([]byte(tt.message))
		checkRefused(t, tt.name, err, tt.code, tt.text)
	}
}

func checkRefused(t *testing.T, name string, err error, code, text string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	var e *wire.Error
	if !errors.As(err, &e) || e.Severity != "FATAL" || e.Code != code || !strings.Contains(e.Message+" "+e.Detail, text) {
		t.Errorf("%s: %v", name, err)
	}
}

func TestServerFinalMessages(t *testing.T) {
	const user, password = "u", "secret"
	v := testVerifier(t, password)
	proof := "p=" + encode64(make([]byte, keyLen))
	for _, tt := range []struct {
		name   string
		change func(final string) string
		code   string // "": right; "proof": ErrProof
		text   string
	}{
		{"right", func(s string) string { return s }, "", ""},
		{"nothing", func(string) string { return "" }, "08P01", "empty"},
		{"no binding", func(s string) string { return s[strings.Index(s, "r="):] }, "08P01", `"c" expected`},
		{"another flag than before", func(s string) string { return strings.Replace(s, "c=biws", "c=eSws", 1) }, "08P01", "channel-binding attribute"},
		{"another nonce", func(s string) string { return strings.Replace(s, "r=", "r=x", 1) }, "08P01", "invalid SCRAM response"},
		{"the client's nonce alone", func(s string) string { return "c=biws,r=" + "abc," + proof }, "08P01", "invalid SCRAM response"},
		{"no proof", func(s string) string { return s[:strings.Index(s, ",p=")] }, "08P01", `"p" expected`},
		{"wrong proof", func(s string) string { return s[:strings.Index(s, "p=")] + proof }, "proof", ""},
		{"short proof", func(s string) string { return s[:strings.Index(s, "p=")] + "p=abcd" }, "08P01", "Malformed proof"},
		{"no base64", func(s string) string { return s[:strings.Index(s, "p=")] + "p=????" }, "08P01", "Malformed proof"},
		{"an extension changes what is signed", func(s string) string { return strings.Replace(s, ",p=", ",x=y,p=", 1) }, "proof", ""},
		{"more behind the proof", func(s string) string { return s + ",x=y" }, "08P01", "Garbage"},
		{"a comma behind the proof", func(s string) string { return s + "," }, "08P01", "Garbage"},
		{"huge", func(s string) string { return s + strings.Repeat("x", MaxSASLMessage) }, "08P01", "too long"},
	} {
		s := NewServer(user, v)
		c, _ := NewClient(WithPassword(user, password), []string{MechanismSCRAM}, false, nil)
		first, err := s.First(c.First())
		if err != nil {
			t.Fatal(err)
		}
		final, err := c.Final(first)
		if err != nil {
			t.Fatal(err)
		}
		_, id, err := s.Final([]byte(tt.change(string(final))))
		if err != nil && !id.Trusted() {
			t.Errorf("%s: an identity in spite of %v", tt.name, err)
		}
		if tt.code == "proof" {
			if err != ErrProof {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		checkRefused(t, tt.name, err, tt.code, tt.text)
	}
}

func TestClientRefusesServersThatCheat(t *testing.T) {
	begin := func() (*Client, string) {
		c, err := NewClient(WithPassword("u", "secret"), []string{MechanismSCRAM}, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.First()
		return c, c.nonce
	}
	salt := encode64([]byte("0123456789abcdef"))
	for _, tt := range []struct {
		name    string
		message func(nonce string) string
		ok      bool
	}{
		{"right", func(n string) string { return "r=" + n + "server,s=" + salt + ",i=64" }, true},
		{"right, with an extension", func(n string) string { return "r=" + n + "server,s=" + salt + ",i=64,x=y" }, true},
		{"its nonce is ours", func(n string) string { return "r=" + n + ",s=" + salt + ",i=64" }, false},
		{"its nonce isn't for us", func(n string) string { return "r=server,s=" + salt + ",i=64" }, false},
		{"huge nonce", func(n string) string { return "r=" + n + strings.Repeat("x", maxNonce+1) + ",s=" + salt + ",i=64" }, false},
		{"huge message", func(n string) string {
			return "r=" + n + "server,s=" + salt + ",i=64,x=" + strings.Repeat("x", MaxSASLMessage)
		}, false},
		{"endless work", func(n string) string { return "r=" + n + "server,s=" + salt + ",i=2000000000" }, false},
		{"no work", func(n string) string { return "r=" + n + "server,s=" + salt + ",i=0" }, false},
		{"negative work", func(n string) string { return "r=" + n + "server,s=" + salt + ",i=-1" }, false},
		{"more work than a number holds", func(n string) string { return "r=" + n + "server,s=" + salt + ",i=99999999999999999999" }, false},
		{"no salt", func(n string) string { return "r=" + n + "server,s=,i=64" }, false},
		{"bad salt", func(n string) string { return "r=" + n + "server,s=?,i=64" }, false},
		{"huge salt", func(n string) string { return "r=" + n + "server,s=" + encode64(make([]byte, maxSalt+1)) + ",i=64" }, false},
		{"nothing", func(n string) string { return "" }, false},
	} {
		c, nonce := begin()
		if _, err := c.Final([]byte(tt.message(nonce))); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}

	c, nonce := begin()
	if err := c.Verify([]byte("v=" + encode64(make([]byte, keyLen)))); err != ErrServerProof {
		t.Errorf("a signature before the proof: %v", err)
	}
	if _, err := c.Final([]byte("r=" + nonce + "server,s=" + salt + ",i=64")); err != nil {
		t.Fatal(err)
	}
	for _, m := range []string{"", "v=", "v=?", "v=" + encode64(make([]byte, keyLen)), "x=y", strings.Repeat("v", 5000)} {
		if err := c.Verify([]byte(m)); err != ErrServerProof {
			t.Errorf("%q: %v", m, err)
		}
	}
	if err := c.Verify([]byte("e=other-error")); err == nil {
		t.Error("the server's error is taken for success")
	}
}

func TestMechanismChoice(t *testing.T) {
	id := WithPassword("u", "x")
	both := []string{MechanismSCRAMPlus, MechanismSCRAM}
	for _, tt := range []struct {
		name      string
		id        Identity
		offered   []string
		tls       bool
		hash      []byte
		mechanism string // "": error
		gs2       string
	}{
		{"clear", id, both[1:], false, nil, MechanismSCRAM, "n,,"},
		{"TLS, bound", id, both, true, []byte("hash"), MechanismSCRAMPlus, "p=tls-server-end-point,,"},
		{"TLS, not offered", id, both[1:], true, []byte("hash"), MechanismSCRAM, "y,,"},
		{"TLS, no hash", id, both, true, nil, MechanismSCRAM, "n,,"},
		{"unknown mechanisms", id, []string{"OAUTHBEARER"}, false, nil, "", ""},
		{"bound alone, and it can't be", id, both[:1], false, nil, "", ""},
		{"nothing known", Trusted("u"), both, false, nil, "", ""},
	} {
		c, err := NewClient(tt.id, tt.offered, tt.tls, tt.hash)
		if tt.mechanism == "" {
			if err == nil {
				t.Errorf("%s: no error", tt.name)
			}
			continue
		}
		if err != nil || c.Mechanism() != tt.mechanism || !bytes.HasPrefix(c.First(), []byte(tt.gs2)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestParseVerifier(t *testing.T) {
	key := encode64(make([]byte, keyLen))
	good := "SCRAM-SHA-256$4096:c2FsdA==$" + key + ":" + key
	if v := mustParse(t, good); v.secret.open().iterations != 4096 || string(v.secret.open().salt) != "salt" {
		t.Fatal("misread")
	}
	for _, tt := range []struct {
		stored string
		err    error
	}{
		{"", ErrNoPassword},
		{"md5" + strings.Repeat("0a", 16), ErrMD5},
		{"md5" + strings.Repeat("0A", 16), ErrVerifier},
		{"secret", ErrVerifier},
		{"SCRAM-SHA-256$", ErrVerifier},
		{strings.Replace(good, "4096", "0", 1), ErrVerifier},
		{strings.Replace(good, "4096", "-1", 1), ErrVerifier},
		{strings.Replace(good, "4096", "99999999999", 1), ErrVerifier},
		{strings.Replace(good, "c2FsdA==", "", 1), ErrVerifier},
		{strings.Replace(good, "c2FsdA==", "!", 1), ErrVerifier},
		{good[:len(good)-4], ErrVerifier},
		{good + "AAAA", ErrVerifier},
		{"SCRAM-SHA-512" + good[len("SCRAM-SHA-256"):], ErrVerifier},
	} {
		if _, err := ParseVerifier(tt.stored); err != tt.err {
			t.Errorf("%q: %v", tt.stored, err)
		}
	}
}

// HAZARDS 28: whatever is printed, no secret is in it.
func TestHazard28NothingPrintsSecrets(t *testing.T) {
	const password = "hunter2"
	v := testVerifier(t, password)
	id, err := exchange(WithPassword("u", password), NewServer("u", v))
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		id Identity
		v  Verifier
	}
	for _, x := range []any{
		WithPassword("u", password), id, v, &id, &v, holder{WithPassword("u", password), v}, []holder{{id, v}}, map[string]holder{"a": {id, v}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			out := fmt.Sprintf(verb, x)
			for _, secret := range []string{
				password, fmt.Sprintf("%x", password), encode64(v.secret.open().serverKey[:]), fmt.Sprintf("%x", v.secret.open().serverKey),
				fmt.Sprint(v.secret.open().serverKey[:4])[1:], fmt.Sprint(id.secret.open().clientKey[:4])[1:],
			} {
				if strings.Contains(out, strings.TrimSuffix(secret, "]")) {
					t.Errorf("%s of %T shows a secret: %s", verb, x, out)
				}
			}
		}
	}
}

func TestMD5(t *testing.T) {
	// echo -n secretu | md5sum, then that and the salt.
	got, ok := WithPassword("u", "secret").MD5([]byte("salt"))
	want := "md5" + hexMD5([]byte(hexMD5([]byte("secretu"))+"salt"))
	if !ok || got != want {
		t.Fatal(got)
	}
	if _, ok := Trusted("u").MD5([]byte("salt")); ok {
		t.Fatal("an answer without a password")
	}
	if _, ok := Trusted("u").Cleartext(); ok {
		t.Fatal("a password from nowhere")
	}
}
