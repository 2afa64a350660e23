package check

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

const second = instant(time.Second)

// history is an object with versions 1 to 3, written and acknowledged at 1 s, 2 s and 3 s, and a write that was rolled
// back, one that is under way, and one of which nobody knows.
func history(t *testing.T) (o *object, undone, open, lost *write) {
	o = newObject(register, 7)
	for n := int64(1); n <= 3; n++ {
		if v := o.begin(value(0, n), "writer", instant(n)*second-1000).committed(n, instant(n)*second); v != nil {
			t.Fatal(v)
		}
	}
	undone, open, lost = o.begin(value(1, 1), "undone", 3*second), o.begin(value(2, 1), "open", 3*second), o.begin(value(3, 1), "lost", 3*second)
	if v := undone.rolledBack(4 * second); v != nil {
		t.Fatal(v)
	}
	lost.lost(4 * second)
	return o, undone, open, lost
}

// TestEachRuleIsJudged: a reading that breaks a rule is found, and the nearest one that doesn't isn't.
func TestEachRuleIsJudged(t *testing.T) {
	const bound = 2 * time.Second
	for _, c := range []struct {
		name string
		r    reading
		want string
	}{
		{"the newest", reading{n: 3, value: value(0, 3), began: 10 * second}, ""},
		{"older, within the bound", reading{n: 1, value: value(0, 1), began: 4*second - 1}, ""},
		{"older than the bound", reading{n: 1, value: value(0, 1), began: 4 * second}, ruleStaleness},
		{"older, at strong", reading{level: Strong, n: 2, value: value(0, 2), began: 3 * second}, ruleLinearizable},
		{"before the acknowledgement, at strong", reading{level: Strong, n: 2, value: value(0, 2), began: 3*second - 1}, ""},
		{"older, in a transaction that has written", reading{current: true, n: 2, value: value(0, 2), began: 3 * second}, ruleLinearizable},
		{"not the own write", reading{n: 2, value: value(0, 2), had: low{written: 3}, began: 3 * second}, ruleOwnWrites},
		{"the own write", reading{n: 3, value: value(0, 3), had: low{written: 3}, began: 3 * second}, ""},
		{"not what was seen", reading{n: 2, value: value(0, 2), had: low{seen: 3}, began: 3 * second}, ruleMonotonic},
		{"not what was seen before it was acknowledged", reading{n: 2, value: value(0, 2), had: low{seen: 3}, began: 3*second - 1}, ruleUnacknowledged},
		{"another's value", reading{n: 2, value: value(0, 3), began: 3 * second}, ruleUnwritten},
		{"nobody's value", reading{n: 4, value: value(9, 1), began: 3 * second}, ruleUnwritten},
		{"no value", reading{n: 2, began: 3 * second}, ruleUnwritten},
		{"rolled back", reading{n: 4, value: value(1, 1), began: 3 * second}, ruleRolledBack},
		{"under way", reading{n: 4, value: value(2, 1), began: 3 * second}, ""},
		{"of unknown outcome", reading{n: 4, value: value(3, 1), began: 3 * second}, ""},
		{"under way, as a version that was another's", reading{n: 3, value: value(2, 1), began: 3 * second}, ruleVersions},
		{"the transaction's own", reading{own: value(2, 1), n: 4, value: value(2, 1), began: 3 * second}, ""},
		{"not the transaction's own", reading{own: value(2, 1), n: 3, value: value(0, 3), began: 3 * second}, ruleOwnWrites},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.o, _, _, _ = history(t)
			c.r.by, c.r.ended = "reader", c.r.began+1000
			_, v := c.r.observe(bound)
			switch {
			case c.want == "" && v != nil:
				t.Error(v)
			case c.want != "" && (v == nil || v.Rule != c.want):
				t.Errorf("%v, want %s", v, c.want)
			case v != nil:
				var out bytes.Buffer
				v.Print(&out)
				if !strings.Contains(out.String(), "> ") || !strings.Contains(out.String(), "reader") {
					t.Errorf("the reading isn't in\n%s", &out)
				}
			}
		})
	}
}

// TestWhatWasReadTooEarly: a value that was read before its write was over is judged when that is.
func TestWhatWasReadTooEarly(t *testing.T) {
	read := func(o *object, n, value int64) {
		t.Helper()
		r := reading{o: o, by: "reader", n: n, value: value, began: 3 * second, ended: 4 * second}
		if _, v := r.observe(time.Minute); v != nil {
			t.Fatal(v)
		}
	}
	o, _, open, _ := history(t)
	read(o, 4, open.value)
	if v := open.rolledBack(5 * second); v == nil || v.Rule != ruleRolledBack {
		t.Errorf("%v", v)
	}
	o, _, open, _ = history(t)
	read(o, 4, open.value)
	if v := open.committed(5, 5*second); v == nil || v.Rule != ruleVersions {
		t.Errorf("%v", v)
	}
	o, _, open, _ = history(t)
	read(o, 4, open.value)
	if v := open.committed(4, 5*second); v != nil {
		t.Error(v)
	}
	o, _, open, lost := history(t)
	read(o, 4, lost.value)
	if v := open.committed(4, 5*second); v == nil || v.Rule != ruleVersions {
		t.Errorf("%v", v)
	}
}

// TestStaleness: what a reading lacks, and for how long that has been acknowledged.
func TestStaleness(t *testing.T) {
	o, _, _, _ := history(t)
	r := reading{o: o, n: 1, value: value(0, 1), began: 3*second + 500}
	stale, v := r.observe(time.Minute)
	if v != nil || stale != time.Second+500 {
		t.Errorf("%v %v", stale, v)
	}
}

// TestStrongHistory: porcupine is given whole windows, and finds what is wrong in them.
func TestStrongHistory(t *testing.T) {
	o := newObject(register, 1)
	o.strong.active = true
	var windows [][]porcupine.Operation
	o.strong.judge = func(_ *object, h []porcupine.Operation) { windows = append(windows, h) }
	at := second
	n := int64(0)
	write := func(acknowledged bool) {
		n++
		w := o.begin(value(0, n), "writer", at)
		if at += 10; acknowledged {
			w.committed(n, at)
		} else {
			w.lost(at)
		}
		at += 10
	}
	read := func(n int64) {
		o.reads(Strong)
		r := reading{o: o, by: "reader", level: Strong, n: n, value: value(0, n), began: at, ended: at + 10}
		o.mu.Lock()
		o.strong.read(o, &r)
		o.mu.Unlock()
		at += 20
	}
	for range 2 * window {
		write(n%7 != 3)
		read(n)
	}
	o.mu.Lock()
	o.strong.flush(o)
	o.mu.Unlock()
	if len(windows) < 3 {
		t.Fatalf("%d windows", len(windows))
	}
	for _, h := range windows {
		if !porcupine.CheckOperations(versionsModel(h[0].Input.(input).n), h) {
			t.Fatal("what is right is found wrong")
		}
	}
	// One read, in the middle, of what was no longer the newest.
	h := windows[1]
	h[len(h)/2].Input = input{false, h[len(h)/2].Input.(input).n - 1}
	if porcupine.CheckOperations(versionsModel(h[0].Input.(input).n), h) {
		t.Error("what is wrong isn't found")
	}
}
