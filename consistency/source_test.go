package consistency

import (
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestSourceAsOfFollowsTheSamplesItHasReached(t *testing.T) {
	var s Source
	s.Observe(100, 10)
	if s.AsOf() != 0 {
		t.Fatal("nothing has been reached yet")
	}
	s.Advance(9)
	if s.AsOf() != 0 {
		t.Fatal("9 is taken for 10")
	}
	s.Observe(200, 20)
	s.Observe(300, 30)
	s.Advance(25)
	if s.AsOf() != 200 {
		t.Fatalf("AsOf %d after reaching the samples of 100 and 200", s.AsOf())
	}
	if at, lsn, ok := s.Behind(); !ok || at != 300 || lsn != 30 {
		t.Fatalf("behind %d %s %v", at, lsn, ok)
	}
	s.Observe(400, 25)
	if s.AsOf() != 400 {
		t.Fatal("an answer that has been reached already counts at once")
	}
	s.Advance(30)
	if _, _, ok := s.Behind(); ok || s.AsOf() != 400 {
		t.Fatalf("AsOf %d: it never goes back", s.AsOf())
	}
}

// Questions of different askers overlap: the later can be answered first.
func TestSourceTakesAnswersInAnyOrder(t *testing.T) {
	var s Source
	s.Advance(1)
	s.Observe(100, 50)
	s.Observe(200, 40) // later and lower: says more than the first
	s.Observe(150, 60) // says less
	s.Advance(40)
	if s.AsOf() != 200 {
		t.Fatalf("AsOf %d", s.AsOf())
	}
	if _, _, ok := s.Behind(); ok {
		t.Fatal("samples that say nothing new are kept")
	}
}

func TestSourceForgetsNewsOfBeforeItsReset(t *testing.T) {
	var s Source
	old := s.Epoch()
	s.Observe(100, 10)
	s.Advance(5)
	s.Reset()
	if s.Position() != 0 || s.AsOf() != 0 {
		t.Fatal("reset keeps something")
	}
	s.AdvanceIn(old, 1, 1000)
	s.ObserveIn(old, 1000, 1)
	s.Advance(10)
	if s.Position() != 10 || s.AsOf() != 0 {
		t.Fatalf("position %s, as of %d: from before the reset", s.Position(), s.AsOf())
	}
	now := s.Epoch()
	s.AdvanceIn(now, 1, 20)
	s.ObserveIn(now, 50, 15)
	if s.Position() != 20 || s.AsOf() != 50 {
		t.Fatalf("position %s, as of %d: news of this epoch are lost", s.Position(), s.AsOf())
	}
}

// A source that lags by far more than the samples it keeps must neither claim too much nor stand still.
func TestSourceNeverClaimsMoreThanItsSamplesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Source
		type seen struct {
			at  int64
			lsn LSN
		}
		var all []seen
		now, primary := int64(1), LSN(1)
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			now += rapid.Int64Range(0, 3).Draw(t, "time")
			primary += LSN(rapid.Int64Range(0, 3).Draw(t, "wal"))
			if rapid.IntRange(0, 5).Draw(t, "what") > 0 {
				at, lsn := now-rapid.Int64Range(0, 4).Draw(t, "late"), primary-min(primary, LSN(rapid.IntRange(0, 4).Draw(t, "low")))
				s.Observe(at, lsn)
				all = append(all, seen{at, lsn})
			} else {
				s.Advance(s.Position() + LSN(rapid.Int64Range(0, int64(primary-s.Position()+1)).Draw(t, "advance")))
			}
			var exact int64
			for _, o := range all {
				if o.lsn > 0 && o.lsn <= s.Position() {
					exact = max(exact, o.at)
				}
			}
			if s.AsOf() > exact {
				t.Fatalf("AsOf %d, but the samples prove only %d", s.AsOf(), exact)
			}
		}
		s.Advance(primary)
		// What is forgotten among the pending samples never includes the newest but by one that says more.
		var newest int64
		for _, o := range all {
			if o.lsn > 0 {
				newest = max(newest, o.at)
			}
		}
		if len(all) > 0 && s.AsOf() < newest-4 {
			t.Fatalf("AsOf %d after everything was reached, newest sample %d", s.AsOf(), newest)
		}
	})
}

func TestSourceConcurrently(t *testing.T) {
	var s Source
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				switch (i + g) % 4 {
				case 0:
					s.Advance(LSN(i))
				case 1:
					s.Observe(int64(i), LSN(i))
				case 2:
					_, _ = s.Position(), s.AsOf()
				case 3:
					if i%500 == 3 {
						s.Reset()
					}
				}
			}
		})
	}
	wg.Wait()
}
