package backend

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	for url, addr := range map[string]string{
		"postgres://u:p@h:1/d":                     "h:1",
		"postgres://u:p@[::1]/d":                   "[::1]:5432",
		"postgres:///d?host=/run/pg&port=7&user=u": "/run/pg/.s.PGSQL.7",
		"postgres://u:p@h/d?sslmode=verify-full":   "h:5432",
	} {
		if got := mustTarget(t, url).Addr(); got != addr {
			t.Errorf("%s: %s", url, got)
		}
	}
	if target := mustTarget(t, "postgres://u:p@h"); target.User() != "u" || target.Database() != "u" {
		t.Error(target.User(), target.Database())
	}
	for _, url := range []string{
		"postgres://u:hunter2@a,b/d",
		"postgres://u:hunter2@a:1,a:2/d?sslmode=disable",
		"postgres://u:hunter2@h/d?sslmode=maybe",
		"postgres://u:hunter2@h:x/d",
		"postgres://u:hunter2@h:1:2/d",
		"postgres://u:hunter2@h/%zz",
		"postgres://u:hunt%er2@h/d",
		"postgres://u:hunter2@h/d?sslcertmode=require",
		"postgres://u:hunter2@h/d?require_auth=md5,!password",
		"host=h password=hunter2 port=x",
		"host=h password='hunter2",
	} {
		_, err := ParseTarget(url)
		if err == nil {
			t.Errorf("%s: no error", url)
		} else if strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}

// HAZARDS 28: whatever is printed, no secret is in it.
func TestHazard28TargetsPrintAsAddresses(t *testing.T) {
	target := mustTarget(t, "postgres://u:hunter2@h/d")
	type holder struct{ t Target }
	for _, x := range []any{target, &target, holder{target}, &holder{target}, []Target{target}, []holder{{target}}, map[Target]holder{target: {target}},
		ConnectConfig{Target: target, Identity: target.Service()}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if out := fmt.Sprintf(verb, x); strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T shows the password: %s", verb, x, out)
			}
		}
	}
}
