package main

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asFreshet in the environment of the tests' binary makes it the freshet command: so tests run it with signals and exit
// statuses, and with the race detector if they have it.
const asFreshet = "RUN_AS_FRESHET"

// The programs that the tests make at random are the same on each run, so that a change is judged by what it changes. FRESHET_RANDOM=1 (as in
// `make fuzz`) or -rapid.seed asks for others.
func init() {
	if os.Getenv("FRESHET_RANDOM") == "" {
		if err := flag.Set("rapid.seed", "20261128"); err != nil {
			panic(err)
		}
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(asFreshet) != "" {
		main()
	}
	goleak.VerifyTestMain(shared.Main(m))
}
