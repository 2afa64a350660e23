package topology

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/freshet/freshet/consistency"
)

// served is a stage with a primary and replicas that have caught up.
func served(t *testing.T, replicas int, b Balance) *stage {
	s := newStage(t, replicas+1, func(c *Config) { c.Balance = b; c.DownAfter = time.Hour })
	s.up(0, Primary, 1, 100)
	for i := range replicas {
		s.up(i+1, Replica, 1, 100)
	}
	// The election was after the last of them; what a replica says counts from
	// then on, and is compared with what the primary says later.
	for i := range replicas {
		s.says(i+1, Replica, 1, 100)
	}
	s.says(0, Primary, 1, 100)
	for _, n := range s.nodes[1:] {
		if n.AsOf() == 0 {
			t.Fatalf("%s isn't in use", n.Addr())
		}
	}
	return s
}

// shares counts who is picked.
func (s *stage) shares(n int, skip *Node) map[string]int {
	m := map[string]int{}
	session := reader()
	for range n {
		p := picked(s, session, within(consistency.Now(), time.Hour), skip)
		if p == nil {
			m["none"]++
			continue
		}
		m[p.Addr()]++
	}
	return m
}

func TestLeastOutstandingIsPicked(t *testing.T) {
	s := served(t, 3, LeastOutstanding)
	s.nodes[1].Begin()
	s.nodes[2].Begin()
	s.nodes[2].Begin()
	if m := s.shares(100, nil); m["d:1"] != 100 {
		t.Errorf("%v", m)
	}
	if m := s.shares(100, s.nodes[3]); m["b:1"] != 100 {
		t.Errorf("%v", m)
	}
	s.nodes[2].End()
	s.nodes[3].Drain(true)
	if m := s.shares(1000, nil); m["b:1"] < 400 || m["c:1"] < 400 {
		t.Errorf("equals aren't treated as such: %v", m)
	}
	s.nodes[3].Drain(false)
	if m := s.shares(10, nil); m["d:1"] != 10 {
		t.Errorf("%v", m)
	}
	// Below the floor, and too stale.
	session := reader()
	session.Saw(101)
	if picked(s, session, within(consistency.Now(), time.Hour), nil) != nil {
		t.Error("picked below the floor")
	}
	if picked(s, reader(), within(consistency.Now()+int64(time.Minute), time.Second), nil) != nil {
		t.Error("picked though too stale")
	}
}

func TestEveryBalanceIsFairAndMindsTheGate(t *testing.T) {
	for _, b := range []Balance{LeastOutstanding, RoundRobin, Random} {
		s := served(t, 4, b)
		s.nodes[2].Drain(true)
		m := s.shares(3000, nil)
		for _, a := range []string{"b:1", "d:1", "e:1"} {
			if math.Abs(float64(m[a])-1000) > 150 {
				t.Errorf("%d: %v", b, m)
			}
		}
		if len(m) != 3 {
			t.Errorf("%d: %v", b, m)
		}
		for _, n := range s.nodes {
			n.Drain(true)
		}
		if m := s.shares(10, nil); m["none"] != 10 {
			t.Errorf("%d: %v", b, m)
		}
	}
	if _, err := ParseBalance("best"); err == nil {
		t.Error("no error")
	}
}

func TestHotPathAllocatesNothing(t *testing.T) {
	for _, b := range []Balance{LeastOutstanding, RoundRobin, Random} {
		s := served(t, 3, b)
		session := reader()
		if n := testing.AllocsPerRun(100, func() {
			now := consistency.Now()
			p := s.Primary()
			n := picked(s, session, within(s.RefNow(now), time.Hour), nil)
			if p == nil || n == nil || !n.Up() || n.Role() != Replica {
				t.Fatal("nobody")
			}
			n.Begin()
			n.End()
			n.Worked()
			s.Hurry()
		}); n != 0 {
			t.Errorf("%d: %v allocations", b, n)
		}
	}
}

func TestURLs(t *testing.T) {
	for _, test := range []struct {
		cfg   Config
		addrs string
		err   string
	}{
		{Config{}, "", "--primary"},
		{Config{Primary: "postgres://u:secret@h:99999/db"}, "", "service URL"},
		{Config{Primary: "postgres://u:secret@h1,h2/db"}, "", "several servers"},
		{Config{Primary: "postgres://u:secret@h/db", Replicas: []string{"postgres://u:secret@h:nonsense/db"}}, "", "service URL"},
		{Config{Primary: "postgres://u:secret@h/db?target_session_attrs=read-write&application_name=x"}, "[h:5432]", ""},
		{Config{Primary: "postgres://h:1/db", Replicas: []string{"postgres://h:2/db", "postgres://h:1/other"}}, "[h:1 h:2]", ""},
		{Config{Replicas: []string{"postgres://[::1]:7/db"}}, "[[::1]:7]", ""},
		{Config{Primary: "postgres:///db?host=/run/pg&port=6"}, "[/run/pg/.s.PGSQL.6]", ""},
		{Config{Primary: "postgres://nowhere.invalid/db?sslmode=prefer"}, "[nowhere.invalid:5432]", ""},
	} {
		topo, err := New(test.cfg)
		if err != nil {
			if test.err == "" || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
			continue
		}
		var addrs []string
		for _, n := range topo.Nodes() {
			addrs = append(addrs, n.Addr())
			c := n.ConnConfig()
			if c.RuntimeParams["application_name"] != "freshet" || c.ValidateConnect != nil || c.ConnectTimeout != 5*time.Second {
				t.Errorf("%+v", c)
			}
		}
		if test.err != "" || fmt.Sprint(addrs) != test.addrs {
			t.Errorf("%v, want %v or an error with %q", addrs, test.addrs, test.err)
		}
	}
}

func TestAnswersThatAreNoneAreErrors(t *testing.T) {
	good := func() [][]byte { return bytes.Split([]byte("f||0/10|0/8|000000020000000000000001|"), []byte("|")) }
	var a answer
	if err := a.read(good()); err != nil || a.role != Primary || a.lsn != 0x10 || a.flushed != 8 || a.timeline != 2 {
		t.Fatalf("%+v: %v", a, err)
	}
	for i, bad := range map[int]string{2: "x", 3: "", 4: "zz"} {
		v := good()
		v[i] = []byte(bad)
		if err := a.read(v); err == nil {
			t.Errorf("column %d: no error", i)
		}
	}
	if err := a.read(good()[:3]); err == nil {
		t.Error("no error for three columns")
	}
	// A replica, before anything was replayed and without a timeline.
	a = answer{}
	if err := a.read([][]byte{[]byte("t"), nil, nil, nil, nil, nil}); err != nil || a.role != Replica || a.lsn != 0 || a.timeline != 0 {
		t.Errorf("%+v: %v", a, err)
	}
	// It was promoted while it answered.
	v := good()
	v[0], v[1] = []byte("t"), []byte("0/5")
	if err := a.read(v); err != nil || a.role != Primary {
		t.Errorf("%+v: %v", a, err)
	}
}

func BenchmarkPickReplica(b *testing.B) {
	var t testing.T
	for _, n := range []int{1, 3, 10} {
		s := served(&t, n, LeastOutstanding)
		session := reader()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				now := consistency.Now()
				if s.Primary() == nil || picked(s, session, within(s.RefNow(now), time.Hour), nil) == nil {
					b.Fatal("nobody")
				}
			}
		})
	}
}
