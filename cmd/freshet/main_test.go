package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// asFreshet in the environment of the tests' binary makes it the freshet command: so tests run it with signals and exit
// statuses, and with the race detector if they have it.
const asFreshet = "RUN_AS_FRESHET"

func TestMain(m *testing.M) {
	if os.Getenv(asFreshet) != "" {
		main()
	}
	goleak.VerifyTestMain(shared.Main(m))
}
