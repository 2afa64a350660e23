package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// The part of a page that is written by us stands between these.
const (
	measuredBegin = "<!-- measured: written by `make bench` -->"
	measuredEnd   = "<!-- measured: end -->"
)

// replaceMeasured is the page's text with its measured part replaced.
func replaceMeasured(page, measured string) (string, error) {
	b, err := os.ReadFile(page)
	if err != nil {
		return "", err
	}
	before, rest, ok := strings.Cut(string(b), measuredBegin)
	_, after, ok2 := strings.Cut(rest, measuredEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("%s has no lines %q and %q", page, measuredBegin, measuredEnd)
	}
	return before + measuredBegin + "\n\n" + strings.TrimSpace(measured) + "\n\n" + measuredEnd + after, nil
}

// table is one of Markdown's: the first row is the header. A column is set flush right if its header is, i.e. begins with a space.
type table [][]string

func (t table) String() string {
	widths := make([]int, len(t[0]))
	for _, row := range t {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(strings.TrimSpace(c)), 3)
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, c := range row {
			c = strings.TrimSpace(c)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if right := strings.HasPrefix(t[0][i], " "); right {
				c = pad + c
			} else {
				c += pad
			}
			b.WriteString("| " + c + " ")
		}
		b.WriteString("|\n")
	}
	line(t[0])
	var rule []string
	for i, w := range widths {
		if dashes := strings.Repeat("-", w-1); strings.HasPrefix(t[0][i], " ") {
			rule = append(rule, dashes+":")
		} else {
			rule = append(rule, dashes+"-")
		}
	}
	line(rule)
	for _, row := range t[1:] {
		line(row)
	}
	return b.String()
}

// text is the result for a terminal: tables are readable as they are.
func (r *Result) text() string {
	var b strings.Builder
	for _, w := range r.Workloads {
		fmt.Fprintf(&b, "%s\n\n%s%s\n", w.Title, r.workloadTable(&w), w.notes(r))
	}
	fmt.Fprintf(&b, "%s\n%s", r.writesTable(), r.goalsTable())
	return b.String()
}

// markdown is the result for a page; charts are found at prefix.
func (r *Result) markdown(prefix string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Goals\n\n%s\n%s\n", r.verdict(), r.goalsTable())
	fmt.Fprintf(&b, "### The run\n\n%s\n", r.circumstances())
	fmt.Fprintf(&b, "![throughput, by contender and protocol mode](%s%s)\n\n", prefix, throughputFile)
	if r.hasCPU() {
		fmt.Fprintf(&b, "![CPU time of the proxy by query](%s%s)\n\n", prefix, cpuFile)
	}
	for _, w := range r.Workloads {
		fmt.Fprintf(&b, "### %s\n\n%s%s\n", w.Title, r.workloadTable(&w), w.notes(r))
	}
	if len(r.Allocations) > 0 {
		t := table{{"mode", " queries watched", " cached", " allocations", " when idle", " difference, per query"}}
		for _, a := range r.Allocations {
			t = append(t, []string{a.Mode, thousands(int(a.Queries)), percent(a.CacheShare),
				thousands(int(a.Busy)), thousands(int(a.Idle)), fmt.Sprintf("%.4f", a.PerQuery)})
		}
		fmt.Fprintf(&b, "### Allocations\n\n%s\n", t)
	}
	if len(r.Writes) > 0 {
		fmt.Fprintf(&b, "### Writes\n\nShort runs, to see that nothing is lost; they are too short to compare.\n\n%s\n", r.writesTable())
	}
	if r.Sums != nil {
		var through []string
		for _, key := range r.Sums.Through {
			through = append(through, r.label(key))
		}
		fmt.Fprintf(&b, "Afterwards the history held all %s transactions that pgbench had counted, and accounts (%s), branches (%s) and tellers (%s) "+
			"agreed with it. The same sums were read through: %s.\n", thousands(int(r.Sums.Transactions)), thousands(int(r.Sums.Accounts)),
			thousands(int(r.Sums.Branches)), thousands(int(r.Sums.Tellers)), strings.Join(through, "; "))
	}
	return b.String()
}

// circumstances say how it was measured, and on what.
func (r *Result) circumstances() string {
	var b strings.Builder
	fmt.Fprintf(&b, "- %s, `%s`\n", r.Started.Format("2006-01-02 15:04 MST"), r.Command)
	fmt.Fprintf(&b, "- %d rounds of %d s for each; %d clients on %d threads; %s accounts, of which %s are read where answers are cached\n",
		r.Rounds, r.RunSeconds, r.Clients, r.Threads, thousands(r.Accounts), thousands(r.HotKeys))
	var versions []string
	for name, v := range r.Versions {
		versions = append(versions, name+" "+v)
	}
	sort.Strings(versions)
	fmt.Fprintf(&b, "- %s\n", strings.Join(versions, "; "))
	cpu := r.Host.CPU
	if cpu != "" {
		cpu = " (" + cpu + ")"
	}
	fmt.Fprintf(&b, "- %d cores%s, shared by pgbench, Postgres and the proxy; %s", r.Host.Cores, cpu, r.Host.OS)
	if r.Host.Load >= 0 {
		fmt.Fprintf(&b, "; load average before the start %.2f", r.Host.Load)
	}
	if r.Host.Steal >= 0 {
		fmt.Fprintf(&b, "; %s of CPU time taken by the hypervisor", percent(r.Host.Steal))
	}
	b.WriteString("\n")
	for _, c := range r.Contenders {
		fmt.Fprintf(&b, "- *%s*: %s\n", c.Label, c.Setup)
	}
	return b.String()
}

// verdict is the goals in a sentence.
func (r *Result) verdict() string {
	count := map[string]int{}
	var missing []string
	for _, g := range r.Goals {
		count[g.Verdict]++
		if g.Verdict == missed {
			m := fmt.Sprintf("%s (%s): %s", g.Text, g.Mode, g.got())
			if !g.AtMost {
				m += fmt.Sprintf(", %s short", percent(g.missedBy()))
			}
			missing = append(missing, "- "+m)
		}
	}
	var parts []string
	for _, v := range []string{met, missed, notJudged, notMeasured} {
		if count[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[v], v))
		}
	}
	s := fmt.Sprintf("Of %d goals: %s.\n", len(r.Goals), strings.Join(parts, ", "))
	if len(missing) > 0 {
		s += "\nMissed:\n\n" + strings.Join(missing, "\n") + "\n"
	}
	return s
}

func (g Goal) got() string {
	if g.AtMost {
		return fmt.Sprintf("%.4f", g.Got)
	}
	return fmt.Sprintf("%.2f", g.Got)
}

func (r *Result) goalsTable() table {
	t := table{{"goal", "mode", " reached", " single rounds", "verdict"}}
	for _, g := range r.Goals {
		row := []string{g.Text, g.Mode, "–", "–", "**" + g.Verdict + "**"}
		if g.Verdict != notMeasured {
			row[2] = g.got()
		}
		if g.High > 0 {
			row[3] = fmt.Sprintf("%.2f–%.2f", g.Low, g.High)
		}
		if g.Verdict == missed && !g.AtMost {
			row[4] += " by " + percent(g.missedBy())
		}
		if g.Note != "" {
			row[4] += ": " + g.Note
		}
		t = append(t, row)
	}
	return t
}

func (r *Result) workloadTable(w *Workload) table {
	bases := []struct{ key, title string }{{"direct", " of direct"}, {"pgbouncer", " of PgBouncer"}, {"floor", " of floor"}}
	bases = slices.DeleteFunc(bases, func(b struct{ key, title string }) bool { return w.series(b.key) == nil })
	head := []string{"", " tps", " spread", " latency", " CPU/query", " CPU/login", " cached"}
	for _, b := range bases {
		head = append(head, b.title)
	}
	t := table{head}
	for _, s := range w.Series {
		m := s.Median
		name := r.label(s.Contender)
		if s.Note != "" {
			name += " (" + s.Note + ")"
		}
		row := []string{name, thousands(int(math.Round(m.TPS))), percent(s.spread()), fmt.Sprintf("%.3f ms", m.LatencyMS), "–", "–", "–"}
		if m.CPUMicros != nil {
			row[4] = fmt.Sprintf("%.1f µs", *m.CPUMicros)
		}
		if s.LoginMicros != nil {
			row[5] = fmt.Sprintf("%.0f µs", *s.LoginMicros)
		}
		if m.CacheShare != nil {
			row[6] = percent(*m.CacheShare)
		}
		for _, b := range bases {
			cell := "–"
			if x, ok := ratioOf(&s, w.series(b.key)); ok {
				cell = fmt.Sprintf("%.2f", x.of)
			}
			row = append(row, cell)
		}
		t = append(t, row)
	}
	return t
}

// notes are said below a workload's table.
func (w *Workload) notes(r *Result) string {
	var notes []string
	for _, s := range w.Series {
		if s.Note != "" {
			notes = append(notes, fmt.Sprintf("%s ran in %s here, as it can't do this otherwise: its server connections aren't shared, "+
				"so this isn't the same job.\n", r.label(s.Contender), s.Note))
		}
	}
	if len(notes) == 0 {
		return ""
	}
	return "\n" + strings.Join(notes, "\n")
}

func (r *Result) writesTable() table {
	t := table{{"script", "through", " tps", " of direct"}}
	for _, w := range r.Writes {
		name, of := r.label(w.Contender), "–"
		if w.Note != "" {
			name += " (" + w.Note + ")"
		}
		for _, d := range r.Writes {
			if d.Contender == "direct" && d.Script == w.Script && d.TPS > 0 {
				of = fmt.Sprintf("%.2f", w.TPS/d.TPS)
			}
		}
		t = append(t, []string{w.Script + " -M " + w.Mode, name, thousands(int(math.Round(w.TPS))), of})
	}
	return t
}

func (r *Result) hasCPU() bool {
	for _, w := range r.Workloads {
		for _, s := range w.Series {
			if s.Median.CPUMicros != nil {
				return true
			}
		}
	}
	return false
}

func percent(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*x)
}

// thousands is a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
