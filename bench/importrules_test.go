// Package bench_test holds what must be true of the project as a whole.
package bench_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const module = "github.com/freshet/freshet"

// mayImport is DESIGN's table (section 1): which package of ours may import
// which others of ours. "all" stands for all but cmd and bench. A package
// that isn't here may not be: give it a row, here and in .golangci.yml.
var mayImport = map[string][]string{
	"cmd/freshet":      {"all", "bench/cluster", "bench/check", "bench/feedlag", "bench/hits", "bench/shapes", "bench"},
	"proxy":            {"all"},
	"proxy/shard":      {},
	"proxy/wire":       {},
	"proxy/auth":       {"proxy/wire"},
	"proxy/backend":    {"proxy/shard", "proxy/wire", "proxy/auth"}, // a pool's connections live on the shards
	"proxy/admin":      {},                                          // reads the others through small interfaces of its own
	"proxy/limit":      {},
	"router":           {"router/catalog", "router/topology", "consistency"},
	"router/catalog":   {},
	"router/topology":  {"consistency"},
	"consistency":      {"consistency/rule"},
	"consistency/rule": {},
	"consistency/feed": {"consistency", "consistency/rule"},
	"cache":            {"consistency", "consistency/rule"},
	"bench":            {"bench/cluster"}, // drives the binary from outside
	"bench/cluster":    {},
	"bench/check":      {"bench/cluster", "bench/rig"},
	"bench/clients":    {"bench/cluster", "bench/rig"},
	"bench/compare":    {"bench/cluster", "bench/rig"},
	"bench/feedlag":    {"bench/cluster", "bench/rig"},
	"bench/hits":       {"bench/cluster", "bench/rig"},
	"bench/regress":    {"bench/cluster", "bench/rig"},
	"bench/rig":        {"bench/cluster"},
	"bench/servers":    {"bench/cluster"},
	"bench/shapes":     {"bench/cluster", "bench/rig"},
	// The only one that isn't from outside: what a proxy without logic costs.
	"bench/floor": {"proxy/shard", "proxy/wire"},
}

// testsMayImport is what tests may import beyond what their package may.
var testsMayImport = []string{"bench/cluster"}

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Error                              *struct{ Err string }
}

// TestImportRules: a package imports only what DESIGN lets it import, on each
// system that Freshet is built for.
func TestImportRules(t *testing.T) {
	for _, goos := range []string{"linux", "darwin"} {
		for _, p := range list(t, goos) {
			name := local(p.ImportPath)
			rule, ok := mayImport[name]
			if !ok {
				t.Errorf("%s has no row in mayImport: say what it may import", name)
				continue
			}
			check := func(kind string, imports, allowed []string) {
				for _, imp := range imports {
					if to := local(imp); to != "" && to != name && !permitted(allowed, to) {
						t.Errorf("GOOS=%s: %s%s imports %s, which DESIGN's table doesn't allow", goos, name, kind, to)
					}
				}
			}
			check("", p.Imports, rule)
			tests := append(slices.Clone(rule), testsMayImport...)
			check(" (tests)", slices.Concat(p.TestImports, p.XTestImports), tests)
		}
	}
}

func permitted(allowed []string, to string) bool {
	inner := !strings.HasPrefix(to, "cmd/") && to != "bench" && !strings.HasPrefix(to, "bench/")
	return slices.Contains(allowed, to) || inner && slices.Contains(allowed, "all")
}

// local is an import path without the module's; empty for others' packages.
func local(path string) string {
	rest, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(rest, "_test")
}

func list(t *testing.T, goos string) []listed {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports,Error", module+"/...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=1")
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 3 {
		t.Fatalf("go list has found %d packages", len(all))
	}
	return all
}

// TestImportRulesOfGolangci: .golangci.yml, which editors go by, says the same
// as mayImport.
func TestImportRulesOfGolangci(t *testing.T) {
	text, err := os.ReadFile("../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	var conf struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]struct {
						Files, Allow []string
						Deny         []struct{ Pkg, Desc string }
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &conf); err != nil {
		t.Fatal(err)
	}
	rules := conf.Linters.Settings.Depguard.Rules
	for _, name := range slices.Sorted(maps.Keys(mayImport)) {
		if name == "cmd/freshet" {
			continue // everything
		}
		rule, ok := rules[strings.ReplaceAll(name, "/", "-")]
		if !ok {
			t.Errorf(".golangci.yml has no rule for %s", name)
			continue
		}
		delete(rules, strings.ReplaceAll(name, "/", "-"))
		if want := []string{"**/" + name + "/*.go", "!$test"}; !slices.Equal(rule.Files, want) {
			t.Errorf("%s: files are %q, not %q", name, rule.Files, want)
		}
		var allow, deny []string
		if slices.Contains(mayImport[name], "all") {
			deny = []string{module + "/bench", module + "/cmd"}
		} else {
			deny = []string{module}
			for _, to := range mayImport[name] {
				allow = append(allow, module+"/"+to+"$")
			}
		}
		var denied []string
		for _, d := range rule.Deny {
			denied = append(denied, d.Pkg)
		}
		if slices.Sort(rule.Allow); !slices.Equal(rule.Allow, slices.Sorted(slices.Values(allow))) {
			t.Errorf("%s: may import %q in .golangci.yml, %q here", name, rule.Allow, allow)
		}
		if slices.Sort(denied); !slices.Equal(denied, deny) {
			t.Errorf("%s: .golangci.yml denies %q, not %q", name, denied, deny)
		}
	}
	for extra := range rules {
		t.Errorf(".golangci.yml has a rule %s, which isn't here", extra)
	}
}
