package check

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// The rules, by the names under which a violation is reported.
const (
	ruleOwnWrites = "read-your-writes"
	ruleMonotonic = "monotonic-reads"
	ruleStaleness = "staleness"
	// What the session had seen, on a replica, wasn't acknowledged yet: its commit was in the WAL, but waited for a
	// synchronous standby, so that the primary didn't show it.
	ruleUnacknowledged = "monotonic-unacknowledged"
	ruleLinearizable   = "linearizability"
	ruleTorn           = "torn"            // a statement's answer isn't of one moment
	ruleRepeatable     = "repeatable-read" // a transaction with one snapshot sees two
	ruleUnwritten      = "unwritten"       // nobody has written what was read
	ruleRolledBack     = "rolled-back"
	ruleVersions       = "versions" // the primary has put writes in two orders
	ruleLost           = "lost"     // an acknowledged write isn't there
	ruleTwice          = "twice"    // a write was done more than once
)

// Violation is a promise that was broken, with what a person needs to see it.
type Violation struct {
	Rule   string // which promise
	Detail string
	Object string

	reading *reading
	needed  int64 // the version that should have been in the answer
	events  []event
	asked   []string // how the answer came about, as Freshet says
	client  []string // what the client did last
	faults  []string // what was broken at the time
}

// What is written by DDL has names of its own: other parts of Freshet answer for it.
const ddl = "ddl-"

func (o *object) violationLocked(rule, detail string) *Violation {
	if o.kind == view {
		rule = ddl + rule
	}
	v := &Violation{Rule: rule, Detail: detail, Object: o.String()}
	for i := max(0, o.events-len(o.recent)); i < o.events; i++ {
		v.events = append(v.events, o.recent[i%len(o.recent)])
	}
	return v
}

func (v *Violation) of(r *reading) *Violation {
	v.reading = r
	return v
}

func (v *Violation) need(n int64) *Violation {
	v.needed = n
	return v
}

func (v *Violation) Error() string {
	return fmt.Sprintf("%s: %s: %s", v.Rule, v.Object, v.Detail)
}

// relevant are the events that show it: writes between what was read and what was needed, reads of the same client, and of
// the rest the last few.
func (v *Violation) relevant() []event {
	r := v.reading
	if r == nil {
		return v.events[max(0, len(v.events)-8):]
	}
	var list []event
	others := 0
	for _, e := range slices.Backward(v.events) {
		between := e.what == "write" && e.n >= r.n && e.n <= max(r.n, v.needed)
		same := e.who == r.by && e.ended >= r.began-2e9
		value := e.value == r.value
		if !between && !same && (!value || others > 4) {
			if others++; others > 4 {
				continue
			}
		}
		if list = append(list, e); len(list) == 24 {
			break
		}
	}
	slices.SortStableFunc(list, func(a, b event) int { return int(a.began - b.began) })
	return list
}

// Print writes it for a person.
func (v *Violation) Print(w io.Writer) {
	var b strings.Builder
	fmt.Fprintf(&b, "VIOLATION %s\n  %s: %s\n", v.Rule, v.Object, v.Detail)
	zero := instant(0)
	if r := v.reading; r != nil {
		zero = r.began
		fmt.Fprintf(&b, "  read by %s at level %s, from %v to %v of the run\n", r.by, r.level, r.began, r.ended)
	}
	for _, line := range v.asked {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	fmt.Fprintf(&b, "  history (milliseconds; 0 is when the read began)\n")
	for _, e := range v.relevant() {
		end := "          …"
		if e.ended != 0 {
			end = fmt.Sprintf("%11.3f", float64(e.ended-zero)/1e6)
		}
		mark := " "
		if r := v.reading; r != nil && e.what == "read" && e.who == r.by && e.began == r.began {
			mark = ">"
		}
		fmt.Fprintf(&b, "  %s %11.3f %s  %-24s %-5s version %d = %s %s\n", mark, float64(e.began-zero)/1e6, end, e.who, e.what, e.n, name(e.value), e.note)
	}
	if len(v.client) > 0 {
		fmt.Fprintf(&b, "  the client's last statements\n")
		for _, line := range v.client {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	if len(v.faults) > 0 {
		fmt.Fprintf(&b, "  what was broken within the five seconds before\n")
		for _, line := range v.faults {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	_, _ = io.WriteString(w, b.String())
}
