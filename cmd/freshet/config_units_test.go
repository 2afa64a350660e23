package main

import (
	"testing"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "12B": 12, "64MiB": 64 << 20, "1.5GiB": 3 << 29, "2 KiB": 2048, "1TiB": 1 << 40, " 8KiB ": 8192,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "-1MiB", "64MB", "64M", "1e9", "0x10", "1.5", "NaN", "+Inf", "9999999TiB", "1..2KiB", "99999999999999999999"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
	for size, want := range map[Size]string{0: "0", 1: "1", 1 << 10: "1KiB", 1536: "1536", 256 << 20: "256MiB", 3 << 40: "3TiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d: %s, want %s", int64(size), got, want)
		}
	}
}
