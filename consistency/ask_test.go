package consistency

import "testing"

func TestPositionOfItsParts(t *testing.T) {
	for _, tt := range []struct {
		insert         LSN
		segment, block string
		want           LSN
	}{
		{0x3000000, "16MB", "8192", 0x3000000},
		{0x3000000 + 40, "16MB", "8192", 0x3000000}, // the header of a segment's first page
		{0x3000000 + 24, "16MB", "8192", 0x3000000}, // (doesn't occur)
		{0x3002000 + 24, "16MB", "8192", 0x3002000}, // of another page
		{0x3002000 + 40, "16MB", "8192", 0x3002028}, // a record may end there
		{0x3001000 + 24, "16MB", "8192", 0x3001018}, // in the middle of a page
		{0x3001000 + 24, "16MB", "4096", 0x3001000}, // unless they are smaller
		{0x3000000 + 40, "64MB", "8192", 0x3000028}, // in the middle of a segment
		{0x3000000 + 40, "1048576B", "8192", 0x3000000},
		{0x40000000 + 40, "1GB", "8kB", 0x40000000},
		{0x3000000 + 40, "16 MB", "8192", 0x3000028}, // not understood: no less than it is
		{0x3000000 + 24, "16MB", "", 0x3000018},
		{0x3000000 + 24, "16MB", "99999999999999999999", 0x3000018},
	} {
		if got := PositionOf(tt.insert, []byte(tt.segment), []byte(tt.block)); got != tt.want {
			t.Errorf("%s, %s, %s: %s, want %s", tt.insert, tt.segment, tt.block, got, tt.want)
		}
	}
}
