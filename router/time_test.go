package router

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"500ms": 500 * time.Millisecond, "2s": 2 * time.Second, "1.5s": 1500 * time.Millisecond, "3 min": 3 * time.Minute, " 1h ": time.Hour,
		"2m": 2 * time.Minute, "1d": 24 * time.Hour, "250us": 250 * time.Microsecond, "0": 0, "0s": 0, "0.25ms": 250 * time.Microsecond, ".5s": time.Second / 2,
	} {
		if got, ok := ParseTime(text); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", text, got, ok, want)
		}
		if got, ok := ParseTime([]byte(text)); !ok || got != want {
			t.Errorf("%q as bytes: %v %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "s", "5", "-1s", "1e3s", "NaN", "1 fortnight", "1s1s", "99999999999999999999s", "9223372036854775807d", ".", "1,5s", "0x10ms"} {
		if got, ok := ParseTime(text); ok {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
	p := []byte("1.5 min")
	if n := testing.AllocsPerRun(100, func() { ParseTime(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
