package consistency

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// asker is a primary whose position is the instant at which it is asked; each question takes some time.
type asker struct {
	t        *testing.T
	takes    func() time.Duration
	mu       sync.Mutex
	inFlight bool
	asked    int
}

func (a *asker) ask(ctx context.Context) (LSN, error) {
	a.mu.Lock()
	if a.inFlight {
		a.t.Error("two questions in flight")
	}
	a.inFlight = true
	a.asked++
	a.mu.Unlock()
	began := time.Now().UnixNano()
	defer func() {
		a.mu.Lock()
		a.inFlight = false
		a.mu.Unlock()
	}()
	select {
	case <-time.After(a.takes()):
		return LSN(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func TestClockAnswersComeFromQuestionsThatBeganAfterNext(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random, arrivals := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
			a := &asker{t: t, takes: func() time.Duration { return time.Duration(random.IntN(1000)) * time.Microsecond }}
			c := NewClock(a.ask, time.Second)
			answered := 0
			var wg sync.WaitGroup
			const waiters = 300
			for range waiters {
				time.Sleep(time.Duration(arrivals.IntN(100)) * time.Microsecond)
				wg.Go(func() {
					came := time.Now().UnixNano()
					c.Next(func(lsn LSN, err error) {
						answered++
						if err != nil {
							t.Error(err)
						}
						if int64(lsn) < came {
							t.Errorf("answered by a question that began %v before", time.Duration(came-int64(lsn)))
						}
					})
				})
			}
			wg.Wait()
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			if answered != waiters {
				t.Errorf("%d answers for %d", answered, waiters)
			}
			if a.asked >= waiters/2 {
				t.Errorf("%d questions for %d who waited: not coalesced", a.asked, waiters)
			}
			c.Close()
		})
	}
}

// Somebody who comes while a question is in flight gets the next one, begun at once when that is over.
func TestClockJoinsTheNextQuestionNotTheOneInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{t: t, takes: func() time.Duration { return 10 * time.Millisecond }}
		c := NewClock(a.ask, time.Second)
		defer c.Close()
		began := time.Now()
		var took []time.Duration
		note := func(LSN, error) { took = append(took, time.Since(began)) }
		c.Next(note)
		time.Sleep(4 * time.Millisecond)
		c.Next(note)
		c.Next(note)
		time.Sleep(time.Second)
		synctest.Wait()
		if len(took) != 3 || took[0] != 10*time.Millisecond || took[1] != 20*time.Millisecond || took[2] != 20*time.Millisecond || a.asked != 2 {
			t.Fatalf("answers after %v, %d questions", took, a.asked)
		}
	})
}

func TestClockHandsErrorsToThoseWhoWaitedAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("no primary")
		fail := true
		c := NewClock(func(ctx context.Context) (LSN, error) {
			time.Sleep(time.Millisecond)
			if fail {
				return 77, down
			}
			return 42, nil
		}, time.Second)
		defer c.Close()
		var first, second error
		var lsn1, lsn2 LSN
		c.Next(func(lsn LSN, err error) {
			lsn1, first = lsn, err
			fail = false
			c.Next(func(lsn LSN, err error) { lsn2, second = lsn, err })
		})
		time.Sleep(time.Second)
		synctest.Wait()
		if first != down || lsn1 != 0 || second != nil || lsn2 != 42 {
			t.Fatalf("first %s %v, second %s %v", lsn1, first, lsn2, second)
		}
	})
}

func TestClockBoundsAQuestionByItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{t: t, takes: func() time.Duration { return time.Hour }}
		c := NewClock(a.ask, 50*time.Millisecond)
		defer c.Close()
		began := time.Now()
		var took time.Duration
		var got error
		c.Next(func(_ LSN, err error) { took, got = time.Since(began), err })
		time.Sleep(time.Minute)
		synctest.Wait()
		if !errors.Is(got, context.DeadlineExceeded) || took != 50*time.Millisecond {
			t.Fatalf("%v after %v", got, took)
		}
	})
}

func TestClockCloseAnswersEverybodyAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{t: t, takes: func() time.Duration { return time.Hour }}
		c := NewClock(a.ask, 2*time.Hour)
		var got []error
		for range 3 {
			c.Next(func(_ LSN, err error) { got = append(got, err) })
			synctest.Wait()
		}
		c.Close()
		c.Close()
		c.Next(func(_ LSN, err error) { got = append(got, err) })
		if len(got) != 4 {
			t.Fatalf("%d of 4 were answered", len(got))
		}
		for _, err := range got {
			if !errors.Is(err, ErrClockClosed) {
				t.Errorf("got %v", err)
			}
		}
	})
}
