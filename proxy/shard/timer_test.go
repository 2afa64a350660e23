package shard

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTimersFireOnceInTimeAndInOrder(t *testing.T) {
	for _, tr := range []transport{{portable: false}, {portable: true}} {
		l := tr.loop(t, Options{})
		fired := make(chan time.Duration, 10)
		began := time.Now()
		on(t, l, func() {
			for _, d := range []time.Duration{30, 10, 20, 0, -5} {
				d *= time.Millisecond
				l.After(d, func() {
					if time.Since(began) < d-time.Millisecond {
						t.Errorf("%v fired too early", d)
					}
					fired <- d
				})
			}
			l.After(5*time.Millisecond, func() { t.Error("a stopped timer fired") }).Stop()
		})
		var got []time.Duration
		for range 5 {
			got = append(got, wait(t, fired, "a timer fires"))
		}
		slices.Sort(got[:2]) // 0 and -5 ms are the same
		if !slices.IsSorted(got) {
			t.Errorf("fired in the order %v", got)
		}
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("took %v", d)
		}
	}
}

func TestTimerResetToNowFiresInALaterTurn(t *testing.T) {
	l := transport{}.loop(t, Options{})
	turns := map[uint64]int{}
	done := make(chan struct{})
	var timer Timer
	on(t, l, func() {
		timer.Init(l, func() {
			turns[l.count.turns]++
			if len(turns) < 10 {
				timer.Reset(0)
			} else {
				close(done)
			}
		})
		timer.Reset(0)
	})
	wait(t, done, "it fired ten times")
	for _, n := range turns {
		if n > 1 {
			t.Error("fired twice in a turn")
		}
	}
}

func TestTimerAfterEternityDoesNotOverflow(t *testing.T) {
	l := transport{}.loop(t, Options{})
	on(t, l, func() { l.After(1<<63-1, func() { t.Error("eternity is over") }) })
	on(t, l, func() {})
	on(t, l, func() {})
}

// Whatever is done with timers, each fires when it should, as a plain list of times says.
func TestTimersAgreeWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Loop{opts: Options{}.withDefaults()}
		const n = 40
		var owned [n]Timer
		var want [n]int64 // 0: not running
		var fired [n]int
		var expect [n]int
		for i := range owned {
			owned[i].Init(l, func() {
				fired[i]++
				if want[i] == 0 || want[i] > l.mono {
					t.Fatalf("timer %d fired at %d instead of %d", i, l.mono, want[i])
				}
				want[i] = 0
			})
		}
		t.Repeat(map[string]func(*rapid.T){
			"reset": func(t *rapid.T) {
				i, d := rapid.IntRange(0, n-1).Draw(t, "timer"), rapid.Int64Range(1, 1000).Draw(t, "d")
				owned[i].Reset(time.Duration(d))
				want[i] = l.mono + d
			},
			"reset all": func(t *rapid.T) { // a heap with few in it can hardly be wrong
				r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)) // rapid's own numbers are too often the same
				for i := range owned {
					d := 1 + r.Int64N(1000)
					owned[i].Stop()
					owned[i].Reset(time.Duration(d))
					want[i] = l.mono + d
				}
			},
			"stop": func(t *rapid.T) {
				i := rapid.IntRange(0, n-1).Draw(t, "timer")
				if owned[i].Stop() != (want[i] != 0) {
					t.Fatalf("Stop of timer %d said otherwise", i)
				}
				want[i] = 0
			},
			"time": func(t *rapid.T) {
				l.mono += rapid.Int64Range(0, 400).Draw(t, "passes")
				for i := range want {
					if want[i] != 0 && want[i] <= l.mono {
						expect[i]++
					}
				}
				l.timers.fire(l)
			},
			"": func(t *rapid.T) {
				for i, k := range l.timers.heap {
					if parent := l.timers.heap[max(i-1, 0)/4]; parent.when > k.when || int(k.t.place) != i+1 || k.when > k.t.when {
						t.Fatalf("the heap is out of order at %d", i)
					}
				}
				running, least := 0, int64(1<<62)
				for i := range want {
					if owned[i].Active() != (want[i] != 0) {
						t.Fatalf("timer %d: active is %v", i, owned[i].Active())
					}
					if want[i] != 0 {
						running++
						least = min(least, want[i])
					}
				}
				if fired != expect {
					t.Fatalf("fired %v, expected %v", fired, expect)
				}
				if len(l.timers.heap) != running {
					t.Fatalf("%d timers in the heap, %d running", len(l.timers.heap), running)
				}
				if running > 0 && int64(l.timers.next(0)) > least {
					t.Fatalf("the loop would sleep over a timer")
				}
			},
		})
	})
}

func TestTimersCostNoAllocation(t *testing.T) {
	l := &Loop{opts: Options{}.withDefaults()}
	var many [5000]Timer
	for i := range many {
		many[i].Init(l, func() {})
		many[i].Reset(time.Duration(i) * time.Second)
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		k := &many[i*37%len(many)]
		k.Stop()
		k.Reset(time.Duration(i))
		k.Reset(time.Duration(2 * i))
		l.mono++
		l.timers.fire(l)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTimerPutOff(b *testing.B) {
	l := &Loop{opts: Options{}.withDefaults()}
	var many [10000]Timer
	for i := range many {
		many[i].Init(l, func() {})
		many[i].Reset(time.Hour)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.mono++
		many[i%len(many)].Reset(time.Hour)
	}
}

func BenchmarkTimerStartAndStop(b *testing.B) {
	l := &Loop{opts: Options{}.withDefaults()}
	var many [10000]Timer
	for i := range many {
		many[i].Init(l, func() {})
		many[i].Reset(time.Duration(i) * time.Second)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		t := &many[i*7919%len(many)]
		t.Stop()
		t.Reset(time.Duration(i*31%10000) * time.Second)
	}
}
