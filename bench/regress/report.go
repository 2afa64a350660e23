package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// comparison is one suite on both sides.
type comparison struct {
	suite string
	sides map[string]*outcome
}

// difference is a test that doesn't give through Freshet what it gives direct.
type difference struct {
	test string
	what string
	// verdict: it passes on one side only. Otherwise it fails on both, in different ways.
	verdict bool
}

// differences compares test by test: the verdicts, and, where both fail, what was printed. (Tests that pass may
// still print different things, where they have several expected outputs.)
func (c comparison) differences() []difference {
	d, f := c.sides[direct], c.sides[through]
	var list []difference
	for _, t := range union(d.tests, f.tests) {
		dp, dok := d.passed[t]
		fp, fok := f.passed[t]
		switch {
		case !dok:
			list = append(list, difference{t, "didn't run direct", true})
		case !fok:
			list = append(list, difference{t, "didn't run through Freshet", true})
		case dp && !fp:
			list = append(list, difference{t, "passes direct, fails through Freshet", true})
		case !dp && fp:
			list = append(list, difference{t, "fails direct, passes through Freshet", true})
		case !dp && normal(d.output[t]) != normal(f.output[t]):
			list = append(list, difference{t, "fails on both sides, with different output", false})
		}
	}
	return list
}

// failing are the tests that fail on both sides.
func (c comparison) failing() []string {
	var list []string
	for _, t := range c.sides[direct].tests {
		if ok, ran := c.sides[through].passed[t]; ran && !ok && !c.sides[direct].passed[t] {
			list = append(list, t)
		}
	}
	return list
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, x := range b {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

// changing is what no two runs print alike, on either side.
var changing = regexp.MustCompile(`/(tmp|dev/shm)/freshet-[A-Z0-9]+/`)

func normal(s string) string { return changing.ReplaceAllString(withoutTraces(s), "…") }

// What is between these lines of the page is written by report.
const (
	measuredBegin = "<!-- measured: written by make regress -->"
	measuredEnd   = "<!-- /measured -->"
)

// report prints the differences, writes the page, and returns how many differences the page doesn't explain. It explains a
// test by an item of a list that begins with its name: "- `stats`: …".
func report(all []comparison, o options, stdout io.Writer) (int, error) {
	page := ""
	if o.page != "" {
		b, err := os.ReadFile(o.page)
		if err != nil {
			return 0, err
		}
		page = string(b)
	}
	unexplained := 0
	for _, c := range all {
		fmt.Fprintf(stdout, "\n%s: direct %s; through Freshet %s\n", c.suite, c.sides[direct].summary(), c.sides[through].summary())
		diffs := c.differences()
		for _, d := range diffs {
			note := ""
			if d.verdict && !explained(page, d.test) {
				unexplained++
				if page != "" {
					note = " (not explained)"
				}
			}
			fmt.Fprintf(stdout, "  %-28s %s%s\n", d.test, d.what, note)
		}
		if len(diffs) == 0 {
			fmt.Fprintln(stdout, "  no test differs")
		}
		if f := c.failing(); len(f) > 0 {
			fmt.Fprintf(stdout, "  fail on both sides: %s\n", strings.Join(f, " "))
		}
		for _, side := range []string{direct, through} {
			if e := c.sides[side].excused; len(e) > 0 {
				fmt.Fprintf(stdout, "  %s: pass, apart from \\d showing the publication: %s\n", side, strings.Join(e, " "))
			}
		}
	}
	if page == "" || len(o.tests) > 0 {
		return unexplained, nil
	}
	before, rest, ok := strings.Cut(page, measuredBegin)
	_, after, ok2 := strings.Cut(rest, measuredEnd)
	if !ok || !ok2 {
		return 0, errors.New(o.page + " has no lines " + measuredBegin + " and " + measuredEnd)
	}
	text := before + measuredBegin + "\n\n" + markdown(all) + "\n" + measuredEnd + after
	return unexplained, os.WriteFile(o.page, []byte(text), 0o644)
}

func explained(page, test string) bool { return strings.Contains(page, "\n- `"+test+"`") }

// markdown is the table of the page.
func markdown(all []comparison) string {
	var b strings.Builder
	d := all[0].sides[direct]
	fmt.Fprintf(&b, "Postgres %s, tests of %s.\n\n", d.postgres, d.sources)
	b.WriteString("| suite | tests | pass direct | pass through Freshet | fail on both sides | differ |\n| --- | ---: | ---: | ---: | --- | --- |\n")
	for _, c := range all {
		var differ []string
		for _, diff := range c.differences() {
			if diff.verdict {
				differ = append(differ, fmt.Sprintf("`%s` (%s)", diff.test, diff.what))
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %s | %s |\n", c.suite, len(c.sides[direct].tests), c.sides[direct].passes(), c.sides[through].passes(),
			list(c.failing(), "`"), list(differ, ""))
	}
	return b.String()
}

func list(items []string, quote string) string {
	if len(items) == 0 {
		return "none"
	}
	return quote + strings.Join(items, quote+", "+quote) + quote
}
