package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const stat = "4711 (a ) (name) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 20 0 6 0 1000 0 0"
	if got, ok := parseStat([]byte(stat)); !ok || got != 3*time.Second {
		t.Errorf("got %v, %v; want 3 s", got, ok)
	}
	for _, s := range []string{"", "4711 (x) S 1 2", "4711 (x) S 1 2 3 4 5 6 7 8 9 10 a b 1"} {
		if _, ok := parseStat([]byte(s)); ok {
			t.Errorf("%q is taken", s)
		}
	}
}

// The kernel's own idea of our CPU time grows when we use some.
func TestProcessCPU(t *testing.T) {
	before, ok := processCPU(os.Getpid())
	if !ok {
		t.Fatal("we have no CPU time")
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		if now, _ := processCPU(os.Getpid()); now > before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("half a minute of work took no CPU time")
		}
	}
}
