package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseUserlist(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []user
		err        string
	}{
		{"nothing", "", nil, ""},
		{"one", `"u" "p"`, []user{{"u", "p"}}, ""},
		{"several, and what nobody reads", "; \"x\" \"y\"\n\n\"u\" \"p\" ignored \"too\"\r\n  \t\"v\"\t\t\"q\"", []user{{"u", "p"}, {"v", "q"}}, ""},
		{"quotes in quotes", `"a""b" """c"""`, []user{{`a"b`, `"c"`}}, ""},
		{"backslashes are nothing special", `"a\" "b\n"`, []user{{`a\`, `b\n`}}, ""},
		{"nothing between the two", `"u""p"`, nil, "line 1: expected a password"},
		{"an empty password", `"u" ""`, []user{{"u", ""}}, ""},
		{"not ASCII", `"Löwe" "pässwörd"`, []user{{"Löwe", "pässwörd"}}, ""},
		{"no quotes", "\nuser password", nil, `line 2: expected "user" "password"`},
		{"no password", `"u"`, nil, "line 1: expected a password"},
		{"no end", `"u" "p`, nil, "line 1: expected a password"},
		{"an end on the next line", "\"u\" \"p\n\"", nil, "line 1: expected a password"},
		{"no name", `"" "p"`, nil, "line 1: the user's name is empty"},
		{"a long name", `"` + strings.Repeat("u", 64) + `" "p"`, nil, "longer than 63 bytes"},
		{"null bytes", "\"u\x00\" \"p\"", nil, "null byte"},
		{"null bytes in the password", "\"u\" \"p\x00\"", nil, "null byte"},
		{"twice", "\"u\" \"p\"\n\"v\" \"p\"\n\"u\" \"hunter2\"", nil, `line 3: user "u" is here twice`},
	} {
		got, err := parseUserlist([]byte(tt.text))
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q %v", tt.name, got, err)
		}
	}
}

func FuzzParseUserlist(f *testing.F) {
	f.Add([]byte(`"u" "p"`))
	f.Add([]byte("; c\n\"a\"\"b\" \"\"\"\"\r\n\"\" \"\""))
	f.Add([]byte("\"u\" \"md5" + strings.Repeat("0a", 16) + "\"\n\"v\" \"SCRAM-SHA-256$1:\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseUserlist(text)
		if err != nil {
			if list != nil || !strings.HasPrefix(err.Error(), "line ") {
				t.Fatal(err)
			}
			return
		}
		// What was read is read again when it is written.
		var b strings.Builder
		for _, u := range list {
			if strings.ContainsAny(u.name+u.password, "\n\x00") || u.name == "" {
				t.Fatalf("%q", u.name)
			}
			fmt.Fprintf(&b, "%s %s\n", quote(u.name), quote(u.password))
		}
		again, err := parseUserlist([]byte(b.String()))
		if err != nil || !reflect.DeepEqual(list, again) {
			t.Fatalf("%q %v", again, err)
		}
	})
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func TestLoadUserlist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "userlist.txt")
	load := func(text string, before *Userlist) (*Userlist, []string, error) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l, warnings, err := LoadUserlist(path, before)
		if s := fmt.Sprintf("%v %+v %#v %v %v", l, l, l, warnings, err); strings.Contains(s, "hunter2") {
			t.Errorf("the password shows: %s", s)
		}
		return l, warnings, err
	}
	key := encode64(make([]byte, keyLen))
	secret := func(iterations int) string {
		return fmt.Sprintf("SCRAM-SHA-256$%d:c2FsdA==$%s:%s", iterations, key, key)
	}
	text := `"plain" "hunter2"
		"secret" "` + secret(10000) + `"
		"secret2" "` + secret(10000) + `"
		"none" ""
		"old" "md5` + strings.Repeat("0a", 16) + `"`
	l, warnings, err := load(text, nil)
	if err != nil || l.Len() != 5 {
		t.Fatal(l, err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "1 users have an MD5 hash") || !strings.HasSuffix(warnings[0], ": old") {
		t.Error(warnings)
	}
	var s FileSource
	if r, err := s.Verifier(t.Context(), "plain"); r.Exists || err != nil {
		t.Error("somebody is known before anything was read")
	}
	s.Store(l)
	for name, want := range map[string]struct {
		exists, verifier, password bool
		unusable                   error
	}{
		"plain": {true, true, true, nil}, "secret": {true, true, false, nil}, "none": {true, false, false, ErrNoPassword},
		"old": {true, false, false, ErrMD5}, "nobody": {},
	} {
		r, err := s.Verifier(t.Context(), name)
		if err != nil || r.Exists != want.exists || r.CanLogin != want.exists || r.Verifier.IsZero() == want.verifier ||
			r.Identity.IsZero() == want.password || r.Unusable != want.unusable {
			t.Errorf("%s: %+v %v", name, r, err)
		}
		if r.Iterations != 10000 { // as most have it, so that those who aren't known look like most
			t.Errorf("%s: %d iterations", name, r.Iterations)
		}
	}
	r, _ := s.Verifier(t.Context(), "plain")
	if learned, err := exchange(WithPassword("plain", "hunter2"), NewServer("plain", r.Verifier)); err != nil || learned.Trusted() {
		t.Error(err)
	}
	if _, err := exchange(WithPassword("plain", "hunter3"), NewServer("plain", r.Verifier)); err != ErrProof {
		t.Error(err)
	}
	if p, ok := r.Identity.Cleartext(); p != "hunter2" || !ok || r.Identity.User() != "plain" {
		t.Error("the password isn't there for the servers")
	}

	again, _, err := load(strings.Replace(text, "hunter2", "hunter22", 1), l)
	if err != nil {
		t.Fatal(err)
	}
	if same := again.roles["secret"].Verifier == l.roles["secret"].Verifier; !same {
		t.Error("what is the same is made anew")
	}
	if again.roles["plain"].Verifier == l.roles["plain"].Verifier {
		t.Error("a new password doesn't count")
	}

	for _, text := range []string{"nonsense hunter2", `"u" "SCRAM-SHA-256$hunter2"`, `"u" "SCRAM-SHA-256$4096:c2FsdA==$hunter2:` + key + `"`} {
		if l, _, err := load(text, nil); err == nil || l != nil || !strings.HasPrefix(err.Error(), "--auth-file "+path+": ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, _, err := LoadUserlist(path+".missing", nil); err == nil || !strings.HasPrefix(err.Error(), "--auth-file: open ") {
		t.Error(err)
	}
	if _, _, err := load(text, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, warnings, _ := LoadUserlist(path, nil); !strings.Contains(strings.Join(warnings, "\n"), "can be read by everybody") {
		t.Error(warnings)
	}
}
