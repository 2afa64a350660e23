package main

import (
	"strings"
	"testing"
)

// sample is a result with given throughputs in one mode, and answers all from the cache.
func sample(mode string, tps map[string]float64) *Result {
	w := Workload{Key: "select-" + mode, Title: "select " + mode, Mode: mode, Cached: true}
	r := &Result{Rounds: 1}
	for _, key := range contenderKeys {
		x, ok := tps[key]
		if !ok {
			continue
		}
		s := runs(x, x, x)
		s.Contender = key
		share := 1.0
		s.Median.CacheShare = &share
		w.Series = append(w.Series, *s)
		r.Contenders = append(r.Contenders, Contender{Key: key, Label: "the " + key})
	}
	r.Workloads = []Workload{w}
	return r
}

func goalOf(t *testing.T, r *Result, text, mode string) Goal {
	t.Helper()
	for _, g := range r.judge() {
		if strings.HasPrefix(g.Text, text) && g.Mode == mode {
			return g
		}
	}
	t.Fatalf("no goal %s in mode %s", text, mode)
	return Goal{}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		text    string
		tps     map[string]float64
		verdict string
	}{
		{"cached", map[string]float64{"floor": 100, "freshet": 70}, met},
		{"cached", map[string]float64{"floor": 100, "freshet": 69}, missed},
		{"uncached", map[string]float64{"pgbouncer": 100, "freshet-off": 90}, met},
		{"uncached", map[string]float64{"pgbouncer": 100, "freshet-off": 89}, missed},
		{"uncached", map[string]float64{"pgbouncer": 100}, notMeasured},
	} {
		if g := goalOf(t, sample("simple", c.tps), c.text, "simple"); g.Verdict != c.verdict {
			t.Errorf("%v: %s goal is %s, not %s", c.tps, c.text, g.Verdict, c.verdict)
		}
	}
}

// What a fill costs is judged by the workload that misses, and by the one that does nothing else.
func TestGoalOfMisses(t *testing.T) {
	for _, c := range []struct {
		misses  float64
		verdict string
	}{{85, met}, {84, missed}} {
		r := sample("extended", map[string]float64{"freshet": 10, "freshet-misses": c.misses, "freshet-off": 100})
		if g := goalOf(t, r, "a miss", "extended"); g.Verdict != notMeasured {
			t.Errorf("judged by another workload: %s", g.Verdict)
		}
		r.Workloads[0].Key = missesKey
		if g := goalOf(t, r, "a miss", "extended"); g.Verdict != c.verdict {
			t.Errorf("%.0f of 100: %s", c.misses, g.Verdict)
		}
	}
}

func TestAMissedGoalSaysByHowMuch(t *testing.T) {
	r := sample("simple", map[string]float64{"floor": 100, "freshet": 35})
	r.Goals = r.judge()
	if by := goalOf(t, r, "cached", "simple").missedBy(); by != 0.5 {
		t.Errorf("missed by %v, want a half", by)
	}
	text := r.markdown("")
	for _, want := range []string{"1 missed", "**missed** by 50 %", "0.35, 50 % short"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page doesn't say %q:\n%s", want, text)
		}
	}
}

// What wasn't measured for what it is can't be judged, however good it looks.
func TestGoalsThatCannotBeJudged(t *testing.T) {
	tps := map[string]float64{"floor": 100, "freshet": 99, "pgbouncer": 100, "freshet-off": 99}
	cold := sample("simple", tps)
	*cold.Workloads[0].series("freshet").Median.CacheShare = 0.5
	if g := goalOf(t, cold, "cached", "simple"); g.Verdict != notJudged || !strings.Contains(g.Note, "50 %") {
		t.Errorf("half of the answers weren't cached: %+v", g)
	}
	unknown := sample("simple", tps)
	unknown.Workloads[0].series("freshet").Median.CacheShare = nil
	if g := goalOf(t, unknown, "cached", "simple"); g.Verdict != notJudged {
		t.Errorf("nobody knows whether answers were cached: %+v", g)
	}
	session := sample("prepared", tps)
	session.Workloads[0].series("pgbouncer").Note = "session mode"
	if g := goalOf(t, session, "uncached", "prepared"); g.Verdict != notJudged || !strings.Contains(g.Note, "session mode") {
		t.Errorf("PgBouncer did another job: %+v", g)
	}
}

func TestGoalOfAllocations(t *testing.T) {
	for _, c := range []struct {
		perQuery, share, idle float64
		verdict               string
	}{{-0.001, 1, 100, met}, {0.01, 1, 100, met}, {1, 1, 100, missed}, {0, 0.5, 100, notJudged}, {0, 1, 600, notJudged}} {
		r := &Result{Allocations: []Allocation{{Mode: "simple", Queries: 1000, PerQuery: c.perQuery, CacheShare: c.share, Idle: c.idle}}}
		if g := goalOf(t, r, "no allocation", "simple"); g.Verdict != c.verdict {
			t.Errorf("%+v: %s, not %s", c, g.Verdict, c.verdict)
		}
	}
}
