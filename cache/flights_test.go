package cache

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/freshet/freshet/consistency"
)

func TestFirstLeadsOthersFollow(t *testing.T) {
	fs := NewFlights()
	var woken []int
	wake := func(i int) func() { return func() { woken = append(woken, i) } }
	lead, leading := fs.Join([]byte("k"), 0, wake(0))
	if !leading {
		t.Fatal("nobody leads")
	}
	a, leads := fs.Join([]byte("k"), 0, wake(1))
	_, leads2 := fs.Join([]byte("k"), 0, wake(2))
	if leads || leads2 {
		t.Fatal("two lead")
	}
	if _, leads := fs.Join([]byte("other"), 0, wake(3)); !leads {
		t.Fatal("another key's flight was joined")
	}
	a.Done() // not its to end
	if len(woken) != 0 || lead.Outcome() != Airborne || lead.Followers() != 2 || fs.Len() != 2 {
		t.Fatal("a follower ended the flight")
	}
	lead.Done()
	lead.Done()
	lead.Abandon()
	lead.Leave()
	if fmt.Sprint(woken) != "[1 2]" || a.Outcome() != Landed || lead.Followers() != 0 || fs.Len() != 1 {
		t.Fatalf("woken %v, outcome %v", woken, a.Outcome())
	}
	if _, leads := fs.Join([]byte("k"), 0, wake(4)); !leads {
		t.Fatal("the newcomer follows a flight that is over")
	}
}

func TestVanishedLeaderWakesFollowers(t *testing.T) {
	fs := NewFlights()
	n := 0
	lead, _ := fs.Join([]byte("k"), 0, nil)
	f, _ := fs.Join([]byte("k"), 0, func() { n++ })
	if !lead.Leave() || n != 1 || f.Outcome() != Lost {
		t.Fatalf("woken %d times, %v", n, f.Outcome())
	}
	if lead.Leave() || f.Leave() {
		t.Fatal("left twice")
	}
}

func TestFollowerThatLeftIsNotWoken(t *testing.T) {
	fs := NewFlights()
	lead, _ := fs.Join([]byte("k"), 0, nil)
	var n [3]int
	var f [3]*Flight
	for i := range f {
		f[i], _ = fs.Join([]byte("k"), 0, func() { n[i]++ })
	}
	if !f[0].Leave() || !f[2].Leave() || f[0].Leave() {
		t.Fatal("Leave says the wrong thing")
	}
	lead.Abandon()
	if n != [3]int{0, 1, 0} || f[1].Outcome() != Unstorable {
		t.Fatalf("woken %v, %v", n, f[1].Outcome())
	}
}

// A flight whose answer will lack what has been applied meanwhile isn't joined; those who were there before are served by it.
func TestInvalidatedFlightIsNotJoined(t *testing.T) {
	fed := newFed(t)
	before := fed.commit(1)
	fs, key := NewFlights(), []byte("k")
	cells := []*consistency.Cell{fed.table.Global(), fed.cell(1)}
	lead, _ := fs.Join(key, before, nil)
	early, _ := fs.Join(key, before, func() {})
	lead.Began(cells, before)
	fed.commit(2) // touches something else
	other, leads := fs.Join(key, fed.table.Applied(), func() {})
	if leads {
		t.Fatal("a flight that nothing has touched isn't joined")
	}
	after := fed.commit(1)
	second, leads := fs.Join(key, after, func() {})
	if !leads || fs.Len() != 1 {
		t.Fatalf("leading %v, %d flights under way", leads, fs.Len())
	}
	third, leads := fs.Join(key, after, func() {})
	if leads {
		t.Fatal("two lead")
	}
	e := &Entry{Seq: before, Deps: cells, Until: fed.lsn}
	for f, want := range map[*Flight]bool{early: true, other: true, third: false, lead: false} {
		if f.Covers(e, fed.table) != want {
			t.Errorf("covers: %v, want %v", !want, want)
		}
	}
	if early.Covers(&Entry{Seq: before - 1, Deps: cells, Until: fed.lsn}, fed.table) {
		t.Error("an answer that lacks what had been applied covers")
	}
	// As long as the feed hasn't told of all that the answer contains, what it depends on is only supposed.
	e.Until += 0x100
	for f, want := range map[*Flight]bool{early: true, other: false} {
		if f.Covers(e, fed.table) != want {
			t.Errorf("before the feed has reached it: covers %v, want %v", !want, want)
		}
	}
	fed.catalog()
	for f, want := range map[*Flight]bool{early: true, other: false} {
		if f.Covers(e, fed.table) != want {
			t.Errorf("with a change of the catalog: covers %v, want %v", !want, want)
		}
	}
	lead.Done()
	if early.Outcome() != Landed || third.Outcome() != Airborne || fs.Len() != 1 {
		t.Error("the old flight has ended the new one")
	}
	second.Lose()
	if third.Outcome() != Lost || fs.Len() != 0 {
		t.Errorf("outcome %v", third.Outcome())
	}
}

// A waker may come straight back, and lead.
func TestWakeMayJoinAgain(t *testing.T) {
	fs := NewFlights()
	lead, _ := fs.Join([]byte("k"), 0, nil)
	leaders, again := 0, 0
	for range 5 {
		fs.Join([]byte("k"), 0, func() {
			if _, leads := fs.Join([]byte("k"), 0, func() { again++ }); leads {
				leaders++
			}
		})
	}
	lead.Leave()
	if leaders != 1 || again != 0 || fs.Len() != 1 {
		t.Fatalf("%d lead, %d woken again", leaders, again)
	}
}

// Whatever the order of calls: one leads at a time, a follower is woken
// exactly once if it stays and never if it left, and nothing is left over.
func TestFlightsKeepTheirPromises(t *testing.T) {
	type seat struct {
		f           *Flight
		key         int
		leading     bool
		woken       int
		left, ended bool
	}
	rapid.Check(t, func(t *rapid.T) {
		fs := NewFlights()
		var seats []*seat
		leader := map[int]*seat{}
		following := map[int][]*seat{}
		end := func(s *seat) {
			s.ended = true
			delete(leader, s.key)
			for _, f := range following[s.key] {
				f.ended = true
				if f.woken != 1 {
					t.Fatalf("woken %d times", f.woken)
				}
			}
			delete(following, s.key)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(seats) == 0 || rapid.IntRange(0, 2).Draw(t, "op") == 0 {
				s := &seat{key: rapid.IntRange(0, 2).Draw(t, "key")}
				s.f, s.leading = fs.Join([]byte{byte(s.key)}, 0, func() { s.woken++ })
				if s.leading != (leader[s.key] == nil) {
					t.Fatalf("leading: %v", s.leading)
				}
				if s.leading {
					leader[s.key] = s
				} else {
					following[s.key] = append(following[s.key], s)
				}
				seats = append(seats, s)
				continue
			}
			s := seats[rapid.IntRange(0, len(seats)-1).Draw(t, "seat")]
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				s.f.Done()
				if s.leading && !s.ended {
					end(s)
				}
			case 1:
				s.f.Abandon()
				if s.leading && !s.ended {
					end(s)
				}
			case 2:
				if left := s.f.Leave(); left != (!s.ended && !s.left) {
					t.Fatalf("Leave: %v", left)
				}
				if s.leading && !s.ended {
					end(s)
				} else if !s.leading && !s.ended && !s.left {
					s.left = true
					for i, f := range following[s.key] {
						if f == s {
							following[s.key] = append(following[s.key][:i:i], following[s.key][i+1:]...)
							break
						}
					}
				}
			}
			if s.leading && !s.ended && s.f.Followers() != len(following[s.key]) {
				t.Fatal("followers miscounted")
			}
		}
		for _, s := range leader {
			s.f.Done()
		}
		for _, s := range seats {
			want := 1
			if s.leading || s.left {
				want = 0
			}
			if s.woken != want {
				t.Fatalf("woken %d times, want %d (leading %v, left %v)", s.woken, want, s.leading, s.left)
			}
		}
		if fs.Len() != 0 {
			t.Fatalf("%d flights left over", fs.Len())
		}
	})
}

func TestFlightsAreSafeForConcurrentUse(t *testing.T) {
	fs := NewFlights()
	var flying, wakes, followed, left atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				woken := make(chan struct{})
				f, leading := fs.Join([]byte("k"), 0, func() { wakes.Add(1); close(woken) })
				if leading {
					if flying.Add(1) != 1 {
						t.Error("two lead at a time")
					}
					flying.Add(-1)
					switch i % 3 {
					case 0:
						f.Done()
					case 1:
						f.Abandon()
					case 2:
						f.Leave()
					}
					continue
				}
				if g%2 == 0 && f.Leave() {
					left.Add(1)
					continue
				}
				followed.Add(1)
				<-woken
				if f.Outcome() == Airborne {
					t.Error("woken in the air")
				}
			}
		})
	}
	wg.Wait()
	if wakes.Load() != followed.Load() || fs.Len() != 0 {
		t.Fatalf("%d followed, %d woken, %d left; %d flights over", followed.Load(), wakes.Load(), left.Load(), fs.Len())
	}
}

func BenchmarkFlightAlone(b *testing.B) {
	fs := NewFlights()
	keys := benchKeys(1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f, _ := fs.Join(keys[i%len(keys)], 0, nil)
		f.Done()
	}
}
