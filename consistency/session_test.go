package consistency

import (
	"math"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const (
	unbounded = time.Duration(math.MaxInt64)
	second    = int64(time.Second)
)

// at makes a source that has reached a position, and contains what was acknowledged before an instant.
func at(position LSN, asOf int64) *Source {
	s := &Source{}
	s.Advance(position)
	s.Observe(asOf, 1)
	return s
}

// own is a read of the level session.
func own(refNow int64, bound time.Duration) Read {
	return Read{Level: SessionLevel, RefNow: refNow, Bound: bound}
}

func expect(t *testing.T, s *Session, src *Source, refNow int64, want Verdict, why string) {
	t.Helper()
	if got := s.Judge(src, own(refNow, unbounded)); got != want {
		t.Errorf("%s: verdict %d, want %d", why, got, want)
	}
}

func TestSessionWithoutWritesReadsAnywhereWithinTheBound(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	expect(t, s, at(1, 1), 1, Admitted, "a session that did nothing")
	expect(t, s, &Source{}, 1, NothingKnown, "a source that was never heard of")
	if s.Admits(at(1, 100), own(100+2*second+1, 2*time.Second)) {
		t.Error("beyond the bound")
	}
	if !s.Admits(at(1, 100), own(100+2*second, 2*time.Second)) {
		t.Error("just within the bound")
	}
}

func TestSessionReadsItsWriteFromTheFirstByteToTheSourceThatHasIt(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	s.WriteBegan()
	if !s.Pinned(0) {
		t.Error("not pinned during the write")
	}
	expect(t, s, at(1000, 1000*second), 1000*second, Writing, "during the write, however far the source")
	ticket := s.WriteEnded(100)
	if !s.Pinned(100) {
		t.Error("not pinned though the position isn't known")
	}
	expect(t, s, at(1000, 100), 200, Pinned, "a source that contains what was acknowledged before the write's end")
	expect(t, s, at(1000, 101), 200, Admitted, "a source that contains everything up to after the write's end")
	s.Learned(ticket, 50)
	if s.Pinned(200) || s.Floor() != 50 {
		t.Errorf("pinned %v, floor %s", s.Pinned(200), s.Floor())
	}
	expect(t, s, at(49, 99), 200, BehindFloor, "a source before the write")
	expect(t, s, at(50, 99), 200, Admitted, "a source at the write")
}

func TestSessionWindowAloneReleasesNoWriteWhosePositionIsUnknown(t *testing.T) {
	for _, release := range []Release{CaughtUp, Window} {
		s := NewSession(10*time.Second, release)
		s.WriteBegan()
		s.WriteEnded(100)
		later := 100 + 3600*second
		expect(t, s, at(1000, 100), later, Pinned, "an hour later")
		if !s.Pinned(later) {
			t.Error("not pinned an hour later")
		}
		expect(t, s, at(1000, 101), later, Admitted, "an hour later, with proof")
	}
}

func TestSessionReleaseWindowKeepsThePinWhateverIsLearned(t *testing.T) {
	s := NewSession(10*time.Second, Window)
	s.WriteBegan()
	s.Learned(s.WriteEnded(100), 50)
	src := at(1000, 1000*second)
	expect(t, s, src, 100+10*second-1, Pinned, "within the window")
	if !s.Pinned(100 + 10*second - 1) {
		t.Error("not pinned within the window")
	}
	expect(t, s, src, 100+10*second, Admitted, "after the window")
	expect(t, s, at(49, 1000*second), 100+10*second, BehindFloor, "after the window, but the source lacks the write")

	// While no primary is there, refNow stands still; the window goes on all the same.
	expect(t, s, src, 101, Pinned, "refNow within the window")
	if s.Pinned(100 + 10*second) {
		t.Error("pinned after the window")
	}
	expect(t, s, src, 101, Admitted, "the window is known to be over")
	s.WriteBegan()
	s.Learned(s.WriteEnded(200), 60)
	expect(t, s, src, 201, Pinned, "the next write's window")
}

func TestSessionLearnedTooEarlyLeavesLaterWritesPinned(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	s.WriteBegan()
	first := s.WriteEnded(100)
	s.WriteBegan()
	s.Learned(first, 50)
	expect(t, s, at(1000, 1000), 1000, Writing, "the second is under way")
	second := s.WriteEnded(200)
	s.Learned(first, 50)
	expect(t, s, at(1000, 150), 1000, Pinned, "the second's position isn't known")
	s.Learned(second, 70)
	expect(t, s, at(69, 150), 1000, BehindFloor, "")
	expect(t, s, at(70, 150), 1000, Admitted, "")

	// The answer for a later ticket holds for those before it, in whatever order they come.
	s.WriteBegan()
	s.WriteBegan()
	third, fourth := s.WriteEnded(300), s.WriteEnded(310)
	s.Learned(fourth, 90)
	s.Learned(third, 80)
	expect(t, s, at(89, 200), 1000, BehindFloor, "")
	expect(t, s, at(90, 200), 1000, Admitted, "")
}

// Connections that name the same session_key.
func TestSessionSharedByConnectionsWaitsForAllOfTheirWrites(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	s.WriteBegan() // connection a
	s.WriteBegan() // connection b
	a := s.WriteEnded(100)
	s.Learned(a, 50)
	expect(t, s, at(1000, 1000), 1000, Writing, "b writes still")
	b := s.WriteEnded(90) // its event loop's clock is a little behind a's
	expect(t, s, at(1000, 95), 1000, Pinned, "the later end counts")
	s.Learned(b, 60)
	expect(t, s, at(60, 1), 1000, Admitted, "")
}

// A caller that ends what it never began must not undo the pin of a write elsewhere.
func TestSessionUnbalancedEndPins(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	s.Learned(s.WriteEnded(1), 1)
	expect(t, s, at(1000, 1000), 1000, Writing, "")
}

func TestSessionNeverGoesBackInTime(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	s.Saw(70)
	s.Saw(60)
	expect(t, s, at(69, 100), 100, BehindFloor, "has seen 70")
	expect(t, s, at(70, 100), 100, Admitted, "has seen 70")
	s.LowerFloor(80)
	if s.Floor() != 70 {
		t.Error("raised by LowerFloor")
	}
	s.LowerFloor(65)
	expect(t, s, at(65, 100), 100, Admitted, "after a failover that lost what was seen")
}

// A naive model: connections of one session write on a primary that numbers its commits, questions are answered late and
// out of order, sources follow. Whatever the gate admits contains every write that was acknowledged and all that was seen.
func TestSessionModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		release := rapid.SampledFrom([]Release{CaughtUp, Window}).Draw(t, "release")
		const window = 20
		s := NewSession(window, release)
		sources := []*Source{{}, {}, {}}
		type connection struct {
			writing, committed bool
			commit             LSN
		}
		type question struct {
			ticket uint64 // 0: a sample for the sources
			began  int64
			lsn    LSN
			asked  bool
		}
		conns := make([]connection, 3)
		var questions []question
		now, primary := int64(1), LSN(1)
		var acknowledged, seen LSN
		var lastEnd int64
		writing := 0
		t.Repeat(map[string]func(*rapid.T){
			"time":         func(t *rapid.T) { now += rapid.Int64Range(1, 5).Draw(t, "by") },
			"others write": func(t *rapid.T) { primary++ },
			"write": func(t *rapid.T) {
				c := &conns[rapid.IntRange(0, 2).Draw(t, "connection")]
				switch {
				case !c.writing:
					s.WriteBegan()
					c.writing = true
					writing++
				case !c.committed:
					primary++
					c.commit, c.committed = primary, true
				default:
					ticket := s.WriteEnded(now)
					lastEnd = now
					acknowledged = max(acknowledged, c.commit)
					*c = connection{}
					writing--
					if rapid.Bool().Draw(t, "learns") {
						questions = append(questions, question{ticket: ticket, began: now})
					}
				}
			},
			"sample": func(t *rapid.T) { questions = append(questions, question{began: now}) },
			"ask": func(t *rapid.T) {
				if len(questions) > 0 {
					q := &questions[rapid.IntRange(0, len(questions)-1).Draw(t, "which")]
					if !q.asked {
						q.asked, q.lsn = true, primary
					}
				}
			},
			"answer": func(t *rapid.T) {
				if len(questions) == 0 {
					return
				}
				i := rapid.IntRange(0, len(questions)-1).Draw(t, "which")
				q := questions[i]
				if !q.asked {
					return
				}
				questions = append(questions[:i], questions[i+1:]...)
				for _, src := range sources {
					src.Observe(q.began, q.lsn)
				}
				if q.ticket != 0 {
					s.Learned(q.ticket, q.lsn)
				}
			},
			"follow": func(t *rapid.T) {
				src := rapid.SampledFrom(sources).Draw(t, "source")
				src.Advance(LSN(rapid.Uint64Range(uint64(src.Position()), uint64(primary)).Draw(t, "to")))
			},
			"": func(t *rapid.T) {
				for _, src := range sources {
					if !s.Admits(src, own(now, unbounded)) {
						continue
					}
					switch {
					case writing > 0:
						t.Fatalf("admitted during a write")
					case src.Position() < acknowledged:
						t.Fatalf("source at %s admitted, acknowledged write at %s", src.Position(), acknowledged)
					case src.Position() < seen:
						t.Fatalf("source at %s admitted, seen %s", src.Position(), seen)
					case release == Window && lastEnd != 0 && now-lastEnd < window:
						t.Fatalf("admitted within the window")
					}
					seen = max(seen, src.Position())
					s.Saw(src.Position())
				}
			},
		})
	})
}

// A session that wants no more than the bound gets it from anywhere, whatever it has written and seen.
func TestEventualReadsAskForNothingButTheBound(t *testing.T) {
	s := NewSession(10*time.Second, Window)
	s.Saw(1000)
	s.WriteBegan()
	read := Read{Level: Eventual, RefNow: 100 + 2*second, Bound: 2 * time.Second}
	if got := s.Judge(at(1, 100), read); got != Admitted {
		t.Errorf("within the bound: verdict %d", got)
	}
	if got := s.Judge(at(1, 99), read); got != TooStale {
		t.Errorf("beyond the bound: verdict %d", got)
	}
	if got := s.Judge(&Source{}, read); got != NothingKnown {
		t.Errorf("a source that was never heard of: verdict %d", got)
	}
}

// A strong read takes no source before it knows where the primary was, and then only one that has got there.
func TestStrongReadsWaitForThePrimarysPosition(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	s.Saw(40)
	s.See(at(40, 1), 0, 90)
	read := Read{Level: Strong, RefNow: 100, Bound: unbounded}
	if got := s.Judge(at(1000, 99), read); got != BehindPrimary {
		t.Errorf("not asked yet: verdict %d", got)
	}
	read.Floor = 50
	for position, want := range map[LSN]Verdict{39: BehindPrimary, 49: BehindPrimary, 50: Admitted} {
		if got := s.Judge(at(position, 99), read); got != want {
			t.Errorf("at %s: verdict %d, want %d", position, got, want)
		}
	}
}

func TestSessionConcurrently(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	src := at(1, 1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				s.WriteBegan()
				if s.Admits(src, own(second, unbounded)) {
					t.Error("admitted during a write")
				}
				ticket := s.WriteEnded(int64(i))
				s.Learned(ticket, LSN(ticket))
				src.Advance(LSN(ticket))
			}
		})
	}
	wg.Wait()
	if !s.Admits(src, own(second, unbounded)) || s.Floor() != 8000 {
		t.Errorf("all written and learned: floor %s, verdict %d", s.Floor(), s.Judge(src, own(second, unbounded)))
	}
}

func TestGateAllocatesNothing(t *testing.T) {
	s, src := NewSession(10*time.Second, CaughtUp), at(100, 100)
	s.Saw(50)
	if n := testing.AllocsPerRun(100, func() {
		s.WriteBegan()
		s.Learned(s.WriteEnded(1), 60)
		s.Saw(70)
		if s.Pinned(2) || !s.Admits(src, own(200, time.Second)) {
			t.Error("not admitted")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdmits(b *testing.B) {
	s, src := NewSession(10*time.Second, CaughtUp), at(100, 100)
	s.Saw(50)
	b.ReportAllocs()
	for b.Loop() {
		if !s.Admits(src, own(200, time.Second)) {
			b.Fatal("not admitted")
		}
	}
}

func BenchmarkSaw(b *testing.B) {
	s := NewSession(10*time.Second, CaughtUp)
	b.ReportAllocs()
	for b.Loop() {
		s.Saw(50)
	}
}

// Whoever has asked the primary after a write had ended has asked for the session, too.
func TestSessionLearnsFromAnyLaterQuestion(t *testing.T) {
	judge := func(s *Session, src, primary *Source, want Verdict, why string) {
		t.Helper()
		r := own(1000, unbounded)
		r.Primary = primary
		if got := s.Judge(src, r); got != want {
			t.Errorf("%s: %s, want %s", why, got, want)
		}
	}
	s, primary := NewSession(10*time.Second, CaughtUp), &Source{}
	s.WriteBegan()
	primary.AdvanceIn(primary.Epoch(), 150, 90)
	judge(s, at(1000, 1), primary, Writing, "it is under way")
	s.WriteEnded(100)
	s.WriteBegan()
	s.WriteEnded(150)
	if at, ok := s.Learning(); !ok || at != 150 {
		t.Errorf("learning %v about %d", ok, at)
	}
	judge(s, at(1000, 1), nil, Pinned, "nobody knows")
	judge(s, at(1000, 1), primary, Pinned, "the question may have been the earlier")
	primary.AdvanceIn(primary.Epoch(), 151, 95)
	judge(s, at(94, 1), primary, BehindFloor, "now it is known")
	judge(s, at(95, 1), nil, Admitted, "and remains so")
	if _, ok := s.Learning(); ok {
		t.Error("still learning")
	}
	s.WriteBegan()
	s.WriteEnded(160)
	judge(s, at(1000, 1), primary, Pinned, "the next write")
	primary.Reset()
	judge(s, at(1000, 1), primary, Pinned, "another primary, which hasn't been asked")
	primary.AdvanceIn(primary.Epoch(), 170, 40)
	judge(s, at(94, 1), primary, BehindFloor, "what was in the floor stays")
	judge(s, at(95, 1), primary, Admitted, "")

	w := NewSession(1000, Window)
	w.WriteBegan()
	w.WriteEnded(100)
	if _, ok := w.Learning(); ok {
		t.Error("to know would end nothing")
	}
	judge(w, at(1000, 500), primary, Pinned, "the window isn't over")
}
