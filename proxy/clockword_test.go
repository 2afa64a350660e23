package proxy

import (
	"testing"

	"github.com/freshet/freshet/proxy/wire"
)

// HAZARDS 10: whichever of the parameters it is.
func TestHazard10ClockWordIsFoundInEveryParameter(t *testing.T) {
	for n := 1; n <= 5; n++ {
		for at := range n {
			params := make([][]byte, n)
			for i := range params {
				params[i] = []byte("1")
			}
			clean, err := wire.DecodeBind(wire.Body(wire.AppendBind(nil, "", "", nil, params, nil)))
			if err != nil {
				t.Fatal(err)
			}
			params[at] = []byte("today")
			b, err := wire.DecodeBind(wire.Body(wire.AppendBind(nil, "", "", nil, params, nil)))
			if err != nil {
				t.Fatal(err)
			}
			if !hasClockWord(b) || hasClockWord(clean) {
				t.Errorf("parameter %d of %d: %v, without one %v", at, n, hasClockWord(b), hasClockWord(clean))
			}
		}
	}
}
