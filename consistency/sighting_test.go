package consistency

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSessionStaysWithItsSourceUntilItKnowsWhatItHasSeen(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	a, b, primary := at(100, 50), at(100, 50), &Source{}
	read := Read{Level: SessionLevel, RefNow: 60, Bound: unbounded, Primary: primary}
	judge := func(src *Source, want Verdict, why string) {
		t.Helper()
		if got := s.Judge(src, read); got != want {
			t.Errorf("%s: verdict %d, want %d", why, got, want)
		}
	}
	s.See(a, a.Epoch(), 70)
	judge(a, Admitted, "the source itself")
	judge(b, Unsettled, "another one, which may lack what was seen")
	a.AdvanceIn(a.Epoch(), 70, 110)
	judge(b, Unsettled, "the question was asked before the answer came")
	a.AdvanceIn(a.Epoch(), 71, 120)
	judge(b, BehindFloor, "now it is known to be behind")
	if s.Floor() != 120 || s.Unsettled() {
		t.Errorf("floor %s, unsettled %v", s.Floor(), s.Unsettled())
	}
	b.Advance(120)
	judge(b, Admitted, "it has caught up")

	// Where the primary was bounds everything, but isn't more than is needed for who has got there.
	s.See(b, b.Epoch(), 80)
	primary.AdvanceIn(primary.Epoch(), 81, 200)
	judge(a, Unsettled, "nothing is known about b, and a hasn't got where the primary was")
	a.Advance(200)
	judge(a, Admitted, "a has")
	if s.Floor() != 120 {
		t.Errorf("floor %s: the primary's position isn't what was seen", s.Floor())
	}

	// A source that was reset can't tell any more what it had shown.
	b.Reset()
	s.See(a, a.Epoch(), 90)
	a.Reset()
	b.Advance(150)
	b.Observe(85, 1)
	judge(b, Unsettled, "what a had shown isn't known")
	primary.AdvanceIn(primary.Epoch(), 91, 210)
	judge(b, BehindFloor, "not more than there was")
	if s.Floor() != 210 {
		t.Errorf("floor %s", s.Floor())
	}
}

func TestSeenUntilSettlesWhatCameBefore(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	a, b := at(100, 50), at(100, 50)
	s.See(a, a.Epoch(), 70)
	s.SeenUntil(a, a.Epoch(), 70, 100)
	if got := s.Judge(b, own(60, unbounded)); got != Admitted || s.Floor() != 100 {
		t.Errorf("verdict %d, floor %s", got, s.Floor())
	}
	s.See(a, a.Epoch(), 80) // another connection of the same session, meanwhile
	s.SeenUntil(a, a.Epoch(), 75, 100)
	if got := s.Judge(b, own(60, unbounded)); got != Unsettled {
		t.Errorf("verdict %d, though more has been seen", got)
	}
}

func TestLowerFloorForgetsWhatIsLost(t *testing.T) {
	s := NewSession(10*time.Second, CaughtUp)
	a, primary := at(100, 50), &Source{}
	s.Saw(500)
	s.See(a, a.Epoch(), 70)
	s.See(primary, primary.Epoch(), 71)
	a.Reset()
	primary.Reset()
	s.LowerFloor(90)
	if s.Floor() != 90 || s.Unsettled() {
		t.Errorf("floor %s, unsettled %v", s.Floor(), s.Unsettled())
	}
}

func TestInheritTakesOverWhatWasSeen(t *testing.T) {
	s, heir := NewSession(time.Second, CaughtUp), NewSession(time.Second, CaughtUp)
	a, b := at(100, 50), at(100, 50)
	s.Saw(90)
	s.See(a, a.Epoch(), 70)
	heir.Inherit(s)
	if got := heir.Judge(b, own(60, unbounded)); got != Unsettled || heir.Floor() != 90 {
		t.Errorf("verdict %d, floor %s", got, heir.Floor())
	}
}

// A naive model of replicas that replay when they like, of polls that are answered late and out of order, of restarts that
// lose what was replayed, and of a session with several connections whose queries take some time: whoever is admitted
// contains all that any answer that was here has shown.
func TestSessionNeverGoesBackInTimeModel(t *testing.T) {
	admitted, unsettled := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		type replica struct {
			Source
			replayed LSN
		}
		type poll struct {
			r        *replica // nil: the primary
			epoch    uint64
			asked    int64
			answered bool
			lsn      LSN
		}
		type query struct {
			r       *replica // nil: the primary
			epoch   uint64
			content LSN
		}
		s := NewSession(20, CaughtUp)
		primarySource := &Source{}
		replicas := []*replica{{}, {}, {}}
		now, primary, shown := int64(1), LSN(1), LSN(0)
		var polls []poll
		var queries []query
		for _, r := range replicas {
			r.replayed = 1
			r.AdvanceIn(0, 0, 1)
			r.Observe(1, 1)
		}
		read := func() Read {
			return Read{Level: SessionLevel, RefNow: now, Bound: unbounded, Primary: primarySource}
		}
		of := func(r *replica) *Source {
			if r == nil {
				return primarySource
			}
			return &r.Source
		}
		pick := func(t *rapid.T) *replica { return rapid.SampledFrom(replicas).Draw(t, "replica") }
		t.Repeat(map[string]func(*rapid.T){
			"time":  func(t *rapid.T) { now += rapid.Int64Range(1, 3).Draw(t, "by") },
			"write": func(t *rapid.T) { primary++ },
			"replay": func(t *rapid.T) {
				r := pick(t)
				r.replayed = LSN(rapid.Uint64Range(uint64(r.replayed), uint64(primary)).Draw(t, "to"))
			},
			"restart": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
					return
				}
				r := pick(t)
				r.replayed = LSN(rapid.Uint64Range(1, uint64(r.replayed)).Draw(t, "to"))
				r.Reset()
				r.Observe(now, 1)
			},
			"ask": func(t *rapid.T) {
				p := poll{asked: now}
				if rapid.IntRange(0, 3).Draw(t, "whom") > 0 {
					p.r = pick(t)
				}
				p.epoch = of(p.r).Epoch()
				polls = append(polls, p)
			},
			"answer": func(t *rapid.T) {
				for i := range polls {
					if p := &polls[i]; !p.answered && rapid.Bool().Draw(t, "now") {
						p.answered, p.lsn = true, primary
						if p.r != nil {
							p.lsn = p.r.replayed
						}
					}
				}
			},
			"hear": func(t *rapid.T) {
				for i := 0; i < len(polls); i++ {
					if p := polls[i]; p.answered && rapid.Bool().Draw(t, "now") {
						polls = append(polls[:i], polls[i+1:]...)
						i--
						of(p.r).AdvanceIn(p.epoch, p.asked, p.lsn)
					}
				}
			},
			"read": func(t *rapid.T) {
				if rapid.IntRange(0, 5).Draw(t, "where") == 0 {
					queries = append(queries, query{nil, primarySource.Epoch(), primary})
					return
				}
				r := pick(t)
				switch s.Judge(&r.Source, read()) {
				case Admitted:
					admitted++
					if r.replayed < shown {
						t.Fatalf("a replica at %s is admitted after %s was shown", r.replayed, shown)
					}
					queries = append(queries, query{r, r.Epoch(), r.replayed})
				case Unsettled:
					unsettled++
				}
			},
			"arrive": func(t *rapid.T) {
				for i := 0; i < len(queries); i++ {
					q := queries[i]
					if !rapid.Bool().Draw(t, "now") {
						continue
					}
					queries = append(queries[:i], queries[i+1:]...)
					i--
					if q.r != nil && q.epoch != q.r.Epoch() {
						continue // its connection is gone
					}
					s.See(of(q.r), q.epoch, now)
					shown = max(shown, q.content)
					if rapid.IntRange(0, 3).Draw(t, "asks after it") == 0 {
						upper := primary
						if q.r != nil {
							upper = q.r.replayed
						}
						s.SeenUntil(of(q.r), q.epoch, now, upper)
					}
				}
			},
		})
	})
	// To admit nothing, or to know nothing, keeps the promise, too.
	if admitted < 500 || unsettled == 0 {
		t.Errorf("%d admitted, %d unsettled: this tests little", admitted, unsettled)
	}
	t.Logf("%d admitted, %d unsettled", admitted, unsettled)
}

func TestAwaitWakesThoseWhoHaveWaitedLongEnough(t *testing.T) {
	s := at(100, 1)
	var woken []LSN
	wait := func(lsn LSN) *Wait { return s.Await(lsn, func() { woken = append(woken, lsn) }) }
	wait(100)
	if len(woken) != 1 {
		t.Fatal("it is there already")
	}
	wait(110)
	wait(120)
	gone := wait(115)
	gone.Cancel()
	s.Advance(115)
	if len(woken) != 2 || woken[1] != 110 || !s.Awaited() {
		t.Fatalf("woken %v", woken)
	}
	s.Reset()
	if len(woken) != 3 || woken[2] != 120 || s.Awaited() {
		t.Fatalf("woken %v after a reset", woken)
	}
	gone.Cancel()
}

func TestAwaitUntilWaitsForALaterQuestion(t *testing.T) {
	s := at(100, 1)
	woken := 0
	s.AwaitUntil(70, func() { woken++ })
	s.Advance(200)
	s.AdvanceIn(s.Epoch(), 70, 300)
	if woken != 0 {
		t.Fatal("woken by an answer to an earlier question")
	}
	s.AdvanceIn(s.Epoch(), 71, 300)
	s.AwaitUntil(70, func() { woken++ })
	if woken != 2 {
		t.Fatalf("woken %d times", woken)
	}
}

func TestAwaitConcurrently(t *testing.T) {
	s := at(1, 1)
	var waiting, moving sync.WaitGroup
	for range 4 {
		moving.Go(func() {
			for lsn := LSN(2); lsn <= 2000; lsn++ {
				waiting.Add(1)
				w := s.Await(lsn, func() {
					if s.Position() < lsn {
						t.Error("woken too early")
					}
					waiting.Done()
				})
				if lsn%3 == 0 {
					s.Advance(lsn)
				}
				_ = w
			}
		})
	}
	moving.Wait()
	s.Advance(2000)
	waiting.Wait()
}

func TestSightingsAllocateNothing(t *testing.T) {
	s, a, b := NewSession(10*time.Second, CaughtUp), at(100, 100), at(100, 100)
	s.See(a, 0, 1)
	if n := testing.AllocsPerRun(100, func() {
		s.See(a, 0, 200)
		if s.Admits(b, own(200, time.Second)) || !s.Admits(a, own(200, time.Second)) {
			t.Error("wrong")
		}
		s.SeenUntil(a, 0, 200, 100)
		if !s.Admits(b, own(200, time.Second)) {
			t.Error("wrong")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
