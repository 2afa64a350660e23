package topology

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/consistency"
)

// stage is a topology without servers: the test says what the monitors would
// report.
type stage struct {
	*Topology
	log   *log
	leads []string
}

func newStage(t *testing.T, nodes int, change func(*Config)) *stage {
	s := &stage{log: &log{t: t}}
	cfg := Config{
		Primary: "postgres://svc:secret@a:1/db", Logger: slog.New(slog.NewTextHandler(s.log, nil)),
		OnPrimaryChange: func(n *Node) { s.leads = append(s.leads, n.Addr()) },
	}
	for i := range nodes - 1 {
		cfg.Replicas = append(cfg.Replicas, fmt.Sprintf("postgres://svc:secret@%c:1/db", 'b'+i))
	}
	if change != nil {
		change(&cfg)
	}
	topo, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Topology = topo
	return s
}

func (s *stage) met1(i int, system uint64, started int64) {
	s.met(s.nodes[i], identity{system: system, started: started})
}

// says has node i answer.
func (s *stage) says(i int, role Role, timeline uint32, lsn consistency.LSN) {
	now := consistency.Now()
	s.heard(s.nodes[i], answer{at: now, got: consistency.Now(), role: role, timeline: timeline, lsn: lsn, flushed: lsn, before: s.nodes[i].Position()})
}

// up connects and answers.
func (s *stage) up(i int, role Role, timeline uint32, lsn consistency.LSN) {
	s.met1(i, 7, int64(i+1))
	s.says(i, role, timeline, lsn)
}

func (s *stage) leader() string {
	if n := s.Primary(); n != nil {
		return n.Addr()
	}
	return ""
}

func TestFirstElectionWaitsForAllNodes(t *testing.T) {
	s := newStage(t, 3, nil)
	s.up(0, Primary, 1, 100)
	if s.leader() != "" {
		t.Fatal("elected before the others were heard of")
	}
	s.lost(s.nodes[1], errors.New("refused"))
	s.up(2, Primary, 2, 90)
	if s.leader() != "c:1" || s.Term() != 1 || !s.nodes[0].fenced.Load() {
		t.Fatalf("leader %q", s.leader())
	}
}

func TestFirstElectionDoesNotWaitForever(t *testing.T) {
	s := newStage(t, 2, func(c *Config) { c.DownAfter = 20 * time.Millisecond })
	s.up(0, Primary, 1, 100)
	until(t, "elected", time.Second, func() bool { s.says(0, Primary, 1, 100); return s.leader() == "a:1" })
}

func TestAmongEqualsTheLeaderStays(t *testing.T) {
	s := newStage(t, 2, nil)
	s.lost(s.nodes[0], errors.New("refused"))
	s.up(1, Primary, 1, 100)
	if s.leader() != "b:1" {
		t.Fatal("nobody elected")
	}
	s.up(0, Primary, 1, 500)
	if s.leader() != "b:1" || !s.nodes[0].fenced.Load() || s.nodes[0].Up() {
		t.Fatalf("leader %q", s.leader())
	}
}

// --primary is often a name that follows the primary, and --replica the
// servers one by one.
func TestTwoNamesOfOneServerAreNotTwoPrimaries(t *testing.T) {
	s := newStage(t, 2, nil)
	s.met1(0, 7, 1)
	s.met1(1, 7, 1)
	s.says(0, Primary, 1, 100)
	s.says(1, Primary, 1, 100)
	for range 5 {
		s.says(0, Primary, 1, 100)
		s.says(1, Primary, 1, 100)
	}
	if s.leader() != "a:1" || s.nodes[1].fenced.Load() || s.ambiguous.Load() {
		t.Fatalf("leader %q", s.leader())
	}
	if r := s.State()[1].Reason; r != "another address of the primary a:1" {
		t.Errorf("reason %q", r)
	}
	// The name is gone for a moment; the server isn't.
	s.lost(s.nodes[0], errors.New("no such host"))
	if s.leader() != "b:1" || s.Term() != 1 {
		t.Fatalf("leader %q, term %d", s.leader(), s.Term())
	}
	// It comes back, and leads to another server by now.
	s.met1(0, 7, 2)
	s.says(0, Primary, 2, 120)
	if s.leader() != "a:1" || s.Term() != 2 || !s.nodes[1].fenced.Load() {
		t.Fatalf("leader %q, term %d", s.leader(), s.Term())
	}
	if fmt.Sprint(s.leads) != "[a:1 a:1]" {
		t.Errorf("told of %v", s.leads)
	}
}

func TestDemotedPrimaryIsNobody(t *testing.T) {
	s := newStage(t, 1, nil)
	s.up(0, Primary, 1, 100)
	s.met1(0, 7, 2)
	s.says(0, Replica, 1, 100)
	if s.leader() != "" || picked(s, reader(), within(consistency.Now(), time.Hour), nil) != nil {
		t.Fatal("it is still used")
	}
}

func TestSilenceHasABound(t *testing.T) {
	s := newStage(t, 2, func(c *Config) { c.DownAfter = 30 * time.Millisecond })
	s.up(0, Primary, 1, 100)
	s.up(1, Replica, 1, 100)
	s.says(0, Primary, 1, 100)
	s.says(0, Primary, 1, 100)
	pick := func() *Node { return picked(s, reader(), within(s.RefNow(consistency.Now()), time.Hour), nil) }
	if s.leader() == "" || pick() == nil {
		t.Fatalf("not up: %+v", s.State())
	}
	seen := s.seen.Load()
	time.Sleep(40 * time.Millisecond) // nobody says anything; nobody says so, either
	if s.leader() != "" || pick() != nil || s.nodes[0].Up() || s.nodes[1].Up() {
		t.Fatal("up without a word")
	}
	if ref := s.RefNow(consistency.Now()); ref != seen {
		t.Errorf("RefNow %d after the last answer", ref-seen)
	}
}

// A snapshot was put back under the primary: same server, same timeline, less
// WAL than the replica has.
func TestPrimaryThatComesBackWithLessIsANewOne(t *testing.T) {
	s := newStage(t, 2, nil)
	s.up(0, Primary, 1, 100)
	s.up(1, Replica, 1, 100)
	s.says(0, Primary, 1, 100)
	s.lost(s.nodes[0], errors.New("reset"))
	s.met1(0, 7, 50)
	s.says(0, Primary, 1, 90)
	if s.Term() != 2 {
		t.Fatalf("term %d", s.Term())
	}
	s.says(1, Replica, 1, 100)
	s.says(0, Primary, 1, 95)
	if s.nodes[1].AsOf() != 0 || !s.nodes[1].strayed.Load() {
		t.Fatal("the replica is used")
	}
	// With as much, it is a restart like any other.
	s = newStage(t, 2, nil)
	s.up(0, Primary, 1, 100)
	s.up(1, Replica, 1, 100)
	s.lost(s.nodes[0], errors.New("reset"))
	s.met1(0, 7, 50)
	s.says(0, Primary, 1, 100)
	if s.Term() != 1 || s.leader() != "a:1" {
		t.Fatalf("term %d", s.Term())
	}
}

func TestReplicaIsUsedOnlyOnThePrimarysTimeline(t *testing.T) {
	s := newStage(t, 2, nil)
	s.up(1, Replica, 1, 100)
	s.up(0, Primary, 2, 90)
	r := s.nodes[1]
	s.says(1, Replica, 1, 200)
	if r.Position() != 0 || r.follows.Load() {
		t.Fatal("a position of timeline 1 counts on timeline 2")
	}
	s.says(1, Replica, 2, 80)
	s.says(0, Primary, 2, 90)
	if r.Position() != 80 || !r.follows.Load() {
		t.Fatal("it doesn't count on its own timeline")
	}
	// The last restart point is behind what was seen streaming.
	s.says(1, Replica, 1, 90)
	if r.Position() != 90 || r.Timeline() != 2 {
		t.Fatal("the timeline went back")
	}
	epoch := r.Epoch()
	s.says(1, Replica, 3, 95)
	if r.Position() != 0 || r.Epoch() == epoch {
		t.Fatal("a position of timeline 3 counts on timeline 2")
	}
}

func TestReplicaThatGoesBackStartsAnew(t *testing.T) {
	s := newStage(t, 2, nil)
	s.up(0, Primary, 1, 100)
	s.up(1, Replica, 1, 100)
	epoch := s.nodes[1].Epoch()
	s.says(1, Replica, 1, 60)
	if s.nodes[1].Position() != 60 || s.nodes[1].Epoch() == epoch {
		t.Fatalf("position %v", s.nodes[1].Position())
	}
}

// Whatever the nodes say, in whatever order:
//   - two are never sent writes, and nobody on a timeline below one that led;
//   - a replica is admitted only with a position of the present leader's
//     timeline.
func TestElectionsKeepTheirPromises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newStage(t, 4, nil)
		highest := uint32(0)
		said := make([]answer, 4)
		for i := range 4 {
			s.met1(i, 7, int64(i+1))
		}
		for step := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			i := rapid.IntRange(0, 3).Draw(rt, "node")
			switch rapid.IntRange(0, 5).Draw(rt, "op") {
			case 0:
				s.lost(s.nodes[i], errors.New("lost"))
				said[i] = answer{}
			case 1:
				s.met1(i, 7, int64(100+step))
			default:
				role := rapid.SampledFrom([]Role{Primary, Replica, Replica}).Draw(rt, "role")
				tli := uint32(rapid.IntRange(1, 3).Draw(rt, "timeline"))
				lsn := consistency.LSN(rapid.IntRange(1, 1000).Draw(rt, "lsn"))
				s.says(i, role, tli, lsn)
				said[i] = answer{role: role, timeline: tli, lsn: lsn}
			}
			p := s.Primary()
			if p != nil {
				if p.Timeline() < highest {
					rt.Fatalf("a primary on timeline %d after %d", p.Timeline(), highest)
				}
				highest = p.Timeline()
				if said[p.index].role != Primary {
					rt.Fatalf("the primary is one that said %v", said[p.index].role)
				}
			}
			up := 0
			for _, st := range s.State() {
				if st.Role == Primary && st.Up {
					up++
				}
			}
			if up > 1 && s.Term() > 0 { // before the first election nobody is sent anything
				rt.Fatal("two primaries are up")
			}
			for i, n := range s.nodes {
				if !n.follows.Load() {
					if n.AsOf() != 0 {
						rt.Fatal("a node that doesn't follow has an AsOf")
					}
					continue
				}
				if n.Timeline() != s.Timeline() {
					rt.Fatalf("node %d follows on timeline %d of %d", i, n.Timeline(), s.Timeline())
				}
				if said[i].role == Replica && n.Position() != 0 && n.Position() > said[i].lsn {
					rt.Fatalf("position %v, it said %v", n.Position(), said[i].lsn)
				}
			}
		}
		if !slices.Equal(s.leads, s.leads[:s.Term()]) {
			rt.Fatalf("told of %v, term %d", s.leads, s.Term())
		}
	})
}
