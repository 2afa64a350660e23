package cluster

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// againMark is in the environment of tests that Again runs.
const againMark = "FRESHET_TEST_AGAIN"

// RunsAgain tells whether Again runs us, so that long tests can be shorter.
func RunsAgain() bool { return os.Getenv(againMark) != "" }

// Again runs tests of the package once more, with servers of another major
// version: in a process of their own, which finds these where it would find
// the machine's own, and with flags. A test that isn't there, or that fails,
// fails t.
func Again(t TB, major int, flags []string, tests ...string) {
	t.Helper()
	if RunsAgain() {
		t.Fatalf("tests that run again must not be among those that do")
	}
	bin, err := FindVersion(major)
	if err != nil {
		t.Fatalf("%v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	args := append([]string{"-test.run=^(" + strings.Join(tests, "|") + ")$", "-test.v", "-test.count=1", "-test.timeout=4m"}, flags...)
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), "FRESHET_PG_BIN="+bin, againMark+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("on Postgres %d: %v\n%s", major, err, out)
	}
	for _, name := range tests {
		passed := regexp.MustCompile(`(?m)^--- PASS: ` + regexp.QuoteMeta(name) + ` \((.*)\)$`).FindSubmatch(out)
		if passed == nil {
			t.Fatalf("on Postgres %d: there is no test %s:\n%s", major, name, out)
		}
		t.Logf("on Postgres %d: %s (%s)", major, name, passed[1])
	}
}
