package consistency

import (
	"encoding/binary"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestValuesAreReadAsPostgresWritesThem(t *testing.T) {
	const uuid = "00112233-4455-6677-8899-aabbccddeeff"
	same := []struct {
		kind ValueKind
		a, b string
	}{
		{KindInt, "42", "042"}, {KindInt, "-1", "-01"}, {KindInt, "0", "-0"}, {KindInt, "9223372036854775807", "9223372036854775807"},
		{KindInt, "-9223372036854775808", "-9223372036854775808"},
		{KindText, "a", "a"}, {KindText, "", ""}, {KindText, " ", " "},
		{KindUUID, uuid, "00112233-4455-6677-8899-AABBCCDDEEFF"}, {KindBool, "t", "true"}, {KindBool, "f", "false"},
	}
	for _, c := range same {
		a, ok := RowHash(0).Text(c.kind, []byte(c.a))
		b, also := RowHash(0).Text(c.kind, []byte(c.b))
		if !ok || !also || a != b {
			t.Errorf("%d: %q and %q: %v %v, %x %x", c.kind, c.a, c.b, ok, also, a, b)
		}
	}
	for _, c := range []struct {
		kind ValueKind
		v    string
	}{
		{KindInt, ""}, {KindInt, "-"}, {KindInt, " 42"}, {KindInt, "42 "}, {KindInt, "+1"}, {KindInt, "0x10"}, {KindInt, "1_000"}, {KindInt, "1.0"},
		{KindInt, "1e3"}, {KindInt, "9223372036854775808"}, {KindInt, "-9223372036854775809"}, {KindInt, "99999999999999999999"},
		{KindInt, "18446744073709551617"}, {KindInt, "NaN"},
		{KindUUID, ""}, {KindUUID, "{" + uuid + "}"}, {KindUUID, "00112233445566778899aabbccddeeff"}, {KindUUID, uuid[:35]}, {KindUUID, uuid[:35] + "g"},
		{KindUUID, "0011-22334455-6677-8899-aabbccddeeff"},
		{KindBool, ""}, {KindBool, "yes"}, {KindBool, "T"}, {KindBool, "1"}, {0, "1"},
	} {
		if _, ok := RowHash(0).Text(c.kind, []byte(c.v)); ok {
			t.Errorf("%d: %q is read", c.kind, c.v)
		}
	}
	for _, c := range []struct {
		kind ValueKind
		v    string
	}{{KindInt, ""}, {KindInt, "abc"}, {KindInt, "abcdefghi"}, {KindUUID, "abc"}, {KindBool, "\x02"}, {KindBool, ""}, {0, "1"}} {
		if _, ok := RowHash(0).Binary(c.kind, []byte(c.v)); ok {
			t.Errorf("%d: binary %q is read", c.kind, c.v)
		}
	}
}

func TestBinaryValuesAreThoseOfTheirText(t *testing.T) {
	check := func(t *rapid.T, kind ValueKind, text string, binary ...[]byte) {
		want, ok := RowHash(0).Text(kind, []byte(text))
		for _, b := range binary {
			if got, also := RowHash(0).Binary(kind, b); !ok || !also || got != want {
				t.Fatalf("%q: %v, %x: %v", text, ok, b, also)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int16().Draw(t, "n")
		check(t, KindInt, strconv.FormatInt(int64(n), 10), binary.BigEndian.AppendUint16(nil, uint16(n)), binary.BigEndian.AppendUint32(nil, uint32(int32(n))),
			binary.BigEndian.AppendUint64(nil, uint64(int64(n))))
		m := rapid.Int64().Draw(t, "m")
		check(t, KindInt, strconv.FormatInt(m, 10), binary.BigEndian.AppendUint64(nil, uint64(m)))
		s := rapid.String().Draw(t, "s")
		check(t, KindText, s, []byte(s))
	})
}

// Two values of one column, and the same values in other columns, seldom share a cell.
func TestHashesSpread(t *testing.T) {
	for name, hash := range map[string]func(i int64) RowHash{
		"ints":             func(i int64) RowHash { return intRow(i) },
		"every thousandth": func(i int64) RowHash { return intRow(1000 * i) },
		"second of two":    func(i int64) RowHash { return intRow(7, i) },
		"first of two":     func(i int64) RowHash { return intRow(i, 7) },
		"texts":            func(i int64) RowHash { h, _ := RowHash(0).Text(KindText, []byte(strconv.FormatInt(i, 10))); return h },
	} {
		const n = 1 << 14
		cells := map[uint64]int{}
		for i := range int64(n) {
			cells[uint64(hash(i))%n]++
		}
		if len(cells) < n*60/100 { // 63 % is what chance gives
			t.Errorf("%s: %d of %d cells", name, len(cells), n)
		}
	}
	if intRow(1, 2) == intRow(2, 1) || intRow(1) == intRow(1, 0) || intRow(0) == 0 {
		t.Error("the order or the number of values doesn't matter")
	}
}
