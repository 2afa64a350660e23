package shard

import (
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

func TestEchoAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, tr := range transports {
		if tr.name == "tls" {
			continue // crypto/tls allocates
		}
		t.Run(tr.name, func(t *testing.T) {
			l := tr.loop(t, Options{})
			ours, theirs := tr.pair(t)
			idle := Timer{}
			h := &funcs{}
			c := adopt(t, l, ours, h)
			on(t, l, func() {
				idle.Init(l, func() {})
				h.data = func(c *Conn, p []byte) { idle.Reset(time.Hour); c.Write(p) }
			})
			buf := make([]byte, 3000)
			note := func() { c.User = nil }
			turn := func() {
				theirs.Write(buf)
				if _, err := io.ReadFull(theirs, buf); err != nil {
					t.Fatal(err)
				}
				l.Post(note)
			}
			for range 100 {
				turn()
			}
			const turns = 2000
			var before, after runtime.MemStats // testing.AllocsPerRun would leave us one processor only
			runtime.ReadMemStats(&before)
			for range turns {
				turn()
			}
			runtime.ReadMemStats(&after)
			if n := float64(after.Mallocs-before.Mallocs) / turns; n > 0.1 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestBuffersComeBackWhenConnectionsClose(t *testing.T) {
	l := transport{}.loop(t, Options{})
	ours, _ := tcpPair(t)
	c := adopt(t, l, ours, &funcs{})
	kept := 0
	on(t, l, func() {
		kept = l.buffers.kept
		c.Write(make([]byte, 1000))
		c.Close()
	})
	on(t, l, func() {
		if l.buffers.kept <= kept {
			t.Error("the out buffer is lost")
		}
	})
}

// A backlog isn't copied over and over while it drains and grows.
func TestBacklogIsCopiedAFewTimesOnly(t *testing.T) {
	l := &Loop{opts: Options{}.withDefaults()}
	c := &Conn{loop: l, blocked: true}
	piece := make([]byte, 10<<10)
	for range 1600 { // a backlog of 16 MB, in a buffer that is hardly larger
		c.Write(piece)
	}
	moved, size := 0, 0
	for range 10000 { // that stays
		last := c.sent + 10<<10
		c.sent = last
		c.Write(piece)
		if c.sent != last {
			moved += c.Buffered()
		}
		size = max(size, cap(c.out))
	}
	if moved > 2*10000*len(piece) || size > 64<<20 {
		t.Errorf("%d bytes moved to pass on %d; %d held", moved, 10000*len(piece), size)
	}
}

// The other end of BenchmarkEcho's connections: so many clients, each with one question at a time.
func benchmarkEcho(b *testing.B, serve func(nc net.Conn)) {
	const clients = 16
	b.ReportAllocs()
	b.SetParallelism(clients / runtime.GOMAXPROCS(0))
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	before := usage.Utime.Nano() + usage.Stime.Nano()
	b.RunParallel(func(pb *testing.PB) {
		ours, theirs := tcpPair(b)
		serve(ours)
		buf := make([]byte, 100)
		for pb.Next() {
			theirs.Write(buf)
			if _, err := io.ReadFull(theirs, buf); err != nil {
				b.Error(err)
				return
			}
		}
		theirs.Close()
	})
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	b.ReportMetric(float64(usage.Utime.Nano()+usage.Stime.Nano()-before)/1e3/float64(b.N), "cpu-µs/op")
}

// BenchmarkEcho is for seeing changes and allocations. It says little about loops against goroutines, since the clients are goroutines of
// the same scheduler; bench/floor, with clients outside, does.
func BenchmarkEcho(b *testing.B) {
	for _, tr := range transports {
		if tr.name == "tcp" || tr.name == "portable tcp" {
			b.Run(tr.name, func(b *testing.B) {
				l := tr.loop(b, Options{})
				h := echo()
				benchmarkEcho(b, func(nc net.Conn) { l.Post(func() { l.Adopt(nc, h, nil) }) })
			})
		}
	}
	b.Run("goroutine per connection", func(b *testing.B) {
		benchmarkEcho(b, func(nc net.Conn) {
			go func() {
				defer nc.Close()
				buf := make([]byte, 4096)
				for {
					n, err := nc.Read(buf)
					if err != nil {
						return
					}
					nc.Write(buf[:n])
				}
			}()
		})
	})
}
