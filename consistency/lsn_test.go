package consistency

import "testing"

func TestLSNReadsAndWritesPostgresForm(t *testing.T) {
	for _, c := range []struct {
		text string
		lsn  LSN
	}{
		{"0/0", 0},
		{"0/1", 1},
		{"16/B374D848", 0x16B374D848},
		{"FFFFFFFF/FFFFFFFF", 1<<64 - 1},
	} {
		got, err := ParseLSN(c.text)
		if err != nil || got != c.lsn || got.String() != c.text {
			t.Errorf("%s: got %d (%v), which prints as %s", c.text, got, err, got)
		}
	}
	for _, text := range []string{"", "/", "0", "0/", "/0", "0/100000000", "G/0", "-1/0", "0/0/0", " 0/0"} {
		if got, err := ParseLSN(text); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}
