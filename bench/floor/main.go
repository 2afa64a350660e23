// Command floor is a server that speaks just enough of Postgres' protocol to answer every query with the same canned row.
//
// It is the floor under benchmarks: what a client, the kernel, and the event loops of proxy/shard cost when there is no logic at all
// between the bytes in and the bytes out. It isn't for anything else: it lets everybody in and understands no SQL.
//
// The rule it upholds: it looks at message headers only.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"github.com/freshet/freshet/proxy/shard"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on; port 0: any")
	shards := flag.Int("shards", runtime.NumCPU(), "number of event loops")
	portable := flag.Bool("portable", false, "two goroutines per connection instead of epoll, for comparison")
	flag.Parse()
	if err := run(*listen, *shards, *portable); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

// run serves until SIGINT or SIGTERM.
func run(listen string, shards int, portable bool) error {
	if shards < 1 {
		return fmt.Errorf("--shards %d: at least 1 is needed", shards)
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), shards+shard.Headroom))
	var loops []*shard.Loop
	var running sync.WaitGroup
	defer func() {
		for _, l := range loops {
			l.Close()
		}
		running.Wait()
	}()
	for i := range shards {
		l, err := shard.New(shard.Options{Name: fmt.Sprint("floor ", i), Portable: portable})
		if err != nil {
			return err
		}
		loops = append(loops, l)
		running.Go(l.Run)
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	running.Go(func() { accept(ln, loops) })
	defer ln.Close()

	fmt.Println(ln.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return nil
}

// accept hands new connections to the loops in turn, until the listener is closed.
func accept(ln net.Listener, loops []*shard.Loop) {
	for i := 0; ; i++ {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "floor:", err)
			continue
		}
		l := loops[i%len(loops)]
		posted := l.Post(func() {
			if _, err := l.Adopt(nc, &session{}, nil); err != nil {
				fmt.Fprintln(os.Stderr, "floor:", err)
			}
		})
		if !posted {
			nc.Close()
		}
	}
}
